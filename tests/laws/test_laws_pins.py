"""Known parameters, groups that share noise, and what a table says of them."""

import json

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.run_tables import read_runs
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=1.7, A=400.0, B=2000.0, alpha=0.34, beta=0.37)


def slices(shared: float, seed: int = 0, noise: float = 0.006) -> pd.DataFrame:
    """Six slices of equal compute with nine runs each, some of whose noise a slice has in common."""
    random = np.random.default_rng(seed)
    rows = []
    for C in np.geomspace(1e18, 1e21, 6):
        common = random.normal()
        best, _ = TRUTH.optimum(C)
        for N in float(best) * np.geomspace(0.2, 5, 9):
            deviation = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.normal()
            loss = float(TRUTH.loss(N, C / 6 / N)) * np.exp(noise * deviation)
            rows.append({"run": f"r{len(rows)}", "N": N, "D": C / 6 / N, "loss": loss})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def free():
    return sl.fit(read_runs(slices(0.0)), resamples=60)


def test_a_pinned_parameter_is_held_and_the_others_are_surer(free):
    pinned = sl.fit(read_runs(slices(0.0)), pins={"E": 1.7}, resamples=60)
    assert pinned.parameters["E"] == pytest.approx(1.7, rel=1e-12) and pinned.identified
    assert pinned.fit.objective >= free.fit.objective * (1 - 1e-9)
    assert pinned.certificate.gradient_norm < 1e-8 and pinned.certificate.share_at_best > 0.5
    for name in ("alpha", "beta"):
        (low, high), (wide_low, wide_high) = pinned.interval(name), free.interval(name)
        assert high - low < 0.9 * (wide_high - wide_low) and low < getattr(TRUTH, name) < high
    at_optimum = sl.fit(read_runs(slices(0.0)), pins={"E": free.parameters["E"]}, resamples=0)
    assert at_optimum.fit.objective == pytest.approx(free.fit.objective, rel=1e-6)
    assert at_optimum.parameters["alpha"] == pytest.approx(free.parameters["alpha"], rel=1e-4)


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({"floor": 1.7}, "no parameter 'floor' that can be pinned; it has E, alpha, beta"),
        ({"E": 9.0}, "E is pinned at 9, but the lowest loss is"),
        ({"E": -1.0}, "cannot be pinned at -1"),
    ],
)
def test_what_cannot_be_pinned_is_refused(pins, said):
    with pytest.raises(InputError, match=said):
        sl.fit(read_runs(slices(0.0)), pins=pins, resamples=0)


def test_shared_noise_of_slices_is_found_said_and_widens_the_intervals(tmp_path, capsys):
    for shared, found in ((0.6, True), (0.0, False)):
        path = tmp_path / f"runs_{found}.csv"
        slices(shared, seed=1).to_csv(path, index=False)
        chosen = ["--form", "chinchilla", "--bootstrap", "100"]
        main(["laws", str(path), *chosen])
        assert ("residuals move together within 6 groups of equal C" in capsys.readouterr().out) == found
    path = tmp_path / "runs_True.csv"
    plain = json.loads(path.with_suffix(".laws.json").read_text())["fits"][0]
    main(["laws", str(path), *chosen, "--cluster", "C", "--quiet"])
    clustered = json.loads(path.with_suffix(".laws.json").read_text())["fits"][0]
    assert clustered["n_clusters"] == 6 and plain["n_clusters"] == 54
    assert clustered["rows"] == "all rows, clustered by C"
    width = {
        name: fit["intervals"]["E"][1] - fit["intervals"]["E"][0]
        for name, fit in (("a", plain), ("b", clustered))
    }
    assert width["b"] > width["a"]


def test_pins_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    slices(0.0).to_csv(path, index=False)
    main(["laws", str(path), "--form", "chinchilla", "--pin", "E=1.7", "--bootstrap", "0", "--quiet"])
    fit = json.loads(path.with_suffix(".laws.json").read_text())["fits"][0]
    assert fit["parameters"]["E"] == pytest.approx(1.7) and fit["rows"] == "all rows, E pinned at 1.7"
    for arguments, said in (
        (["--pin", "E=1.7"], "--pin needs --form"),
        (["--form", "chinchilla", "--pin", "E"], "--pin E: write a parameter and its value, as E=1.69"),
        (["--form", "chinchilla", "--cluster", "node"], "no column 'node'"),
    ):
        with pytest.raises(SystemExit):
            main(["laws", str(path), *arguments])
        assert said in capsys.readouterr().err

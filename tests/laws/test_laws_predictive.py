"""The loss of a new run by profile prediction."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.predictive import profile_prediction
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.single import KaplanN

TRUTH = Chinchilla(E=1.8, A=400.0, B=1800.0, alpha=0.34, beta=0.36)


def runs(seed, sizes=4, horizons=6, noise=0.01):
    random = np.random.default_rng(seed)
    N, D = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 3e9, sizes), np.geomspace(1e9, 1e11, horizons)))
    common = random.normal(size=sizes)[np.unique(N, return_inverse=True)[1]]
    deviation = np.sqrt(0.7) * common + np.sqrt(0.3) * random.normal(size=N.size)
    trunk = [f"size {value:.0f}" for value in N]
    return pd.DataFrame({"N": N, "D": D, "loss": TRUTH.loss(N, D) * np.exp(noise * deviation), "run": trunk})


def test_of_a_straight_line_it_is_the_textbooks_interval():
    """ln L of a power law is a line in ln N: its prediction interval has a closed form."""
    random = np.random.default_rng(0)
    x = np.linspace(0, 4, 9)
    y = 1 - 0.1 * x + 0.01 * random.normal(size=9)
    fit = fit_law(KaplanN, make_rows({"N": np.exp(x)}, np.exp(y)), delta=10.0)
    assert fit.identified
    low, high = profile_prediction(fit, N=float(np.exp(6.0)))
    slope, intercept = np.polyfit(x, y, 1)
    sd = np.sqrt(np.sum((y - intercept - slope * x) ** 2) / 7)
    sd *= np.sqrt(1 + 1 / 9 + (6 - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
    expected = intercept + 6 * slope + np.array([-1, 1]) * sd * t.ppf(0.95, 7)
    np.testing.assert_allclose(np.log([low, high]), expected, rtol=1e-3)


def test_it_holds_new_runs_of_few_trainings_about_as_often_as_it_says():
    inside = []
    for seed in range(20):
        law = sl.fit(sl.read_runs(runs(seed, sizes=5), run="run"), "chinchilla", resamples=0)
        if law.identified:
            at = {"N": 1e10, "D": 3e11}
            low, high = law.predict_interval(method="profile", **at)
            new = float(TRUTH.loss(**at)) * np.exp(0.01 * np.random.default_rng(1000 + seed).normal())
            inside.append((low or 0.0) <= new <= (high or np.inf))
    assert len(inside) >= 15 and np.mean(inside) >= 0.75


def test_a_higher_level_is_wider_and_what_it_cannot_do_is_one_line():
    law = sl.fit(sl.read_runs(runs(3), run="run"), "chinchilla", resamples=0)
    inner = law.predict_interval(0.8, method="profile", N=1e10, D=3e11)
    outer = law.predict_interval(0.95, method="profile", N=1e10, D=3e11)
    assert outer[0] < inner[0] < inner[1] < outer[1]
    with pytest.raises(sl.InputError, match="there are bootstrap and profile"):
        law.predict_interval(method="guess", N=1e10, D=3e11)
    rows = law.fit.rows
    weighted = fit_law(Chinchilla, rows, weights=np.linspace(1, 2, rows.n))
    with pytest.raises(sl.InputError, match="leave the weights out"):
        profile_prediction(weighted, N=1e10, D=3e11)


def test_the_command_prints_both_intervals_and_writes_them(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    runs(3).to_csv(path, index=False)
    command = ["laws", str(path), "--form", "chinchilla", "--bootstrap", "20", "--predict"]
    main([*command, "N=10B,D=300B"])
    assert "a new run at N = 1e+10, D = 3e+11" in capsys.readouterr().out
    (fit,) = json.loads((tmp_path / "runs.laws.json").read_text())["fits"]
    (found,) = fit["predictions"]
    assert found["at"] == {"N": 1e10, "D": 3e11}
    assert found["profile_interval"][0] < found["loss_nats"] < found["profile_interval"][1]
    for wrong, says in (("N=10B", "needs N and D, not N"), ("10B", "--predict 10B"), ("N=x,D=1", "N of")):
        with pytest.raises(SystemExit):
            main([*command, wrong])
        assert says in capsys.readouterr().err

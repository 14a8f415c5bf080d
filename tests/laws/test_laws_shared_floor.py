"""One irreducible loss for several data sets, and rows above the law that count less."""

import json

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.results.types import Laws, read_laws


def table(floors, seed=0, noise=0.004):
    random = np.random.default_rng(seed)
    parts = []
    for k, E in enumerate(floors):
        law = Chinchilla(E=E, A=400 * (1 + 0.3 * k), B=1800.0, alpha=0.34, beta=0.36 + 0.03 * k)
        N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 3e9, 5), np.geomspace(1e9, 1e11, 5)))
        loss = law.loss(N, D) * np.exp(noise * random.normal(size=N.size))
        parts.append(pd.DataFrame({"data": f"set {k}", "N": N, "D": D, "loss": loss}))
    return pd.concat(parts, ignore_index=True)


def test_one_floor_is_found_and_its_interval_holds_it():
    found = sl.shared_floor(table([1.8, 1.8]), "data", resamples=60)
    low, high = found.E_interval
    assert found.identified and found.p > 0.05 and low < 1.8 < high
    own = [each.E_interval[1] - each.E_interval[0] for each in found.data_sets]
    assert high - low < max(own)
    assert [each.parameters["E"] for each in found.data_sets] == [found.E] * 2
    assert "may share one E" in found.sentence()


def test_two_floors_are_told_apart():
    found = sl.shared_floor(table([1.8, 2.0]), "data", resamples=0)
    assert found.rejected and "have no common E" in found.sentence()


def test_p_is_spread_where_the_floor_is_shared():
    """A test that is too eager rejects some of five tables of one floor."""
    values = [sl.shared_floor(table([1.8, 1.8], seed), "data", resamples=0).p for seed in range(5)]
    assert 0.2 < np.mean(values) < 0.8 and min(values) > 0.01


def test_too_few_runs_say_so():
    few = table([1.8, 1.8]).groupby("data").head(4)
    found = sl.shared_floor(few, "data", resamples=0)
    assert found.p is None and "not identified" in found.sentence()


@pytest.mark.parametrize(
    ("by", "form", "says"),
    [
        ("corpus", "chinchilla", "no column 'corpus'"),
        ("data", "kaplan_nd", "kaplan_nd has no irreducible loss"),
        ("one", "chinchilla", "has one value alone"),
    ],
)
def test_what_is_wrong_is_one_line(by, form, says):
    with pytest.raises(sl.InputError, match=says):
        sl.shared_floor(table([1.8, 1.8]).assign(one="x"), by, form)


def test_the_command_writes_the_test_into_laws_json(tmp_path, capsys):
    path = tmp_path / "runs.csv"
    table([1.8, 2.0]).to_csv(path, index=False)
    main(
        [
            "laws",
            str(path),
            "--form",
            "chinchilla",
            "--share-floor",
            "data",
            "--bootstrap",
            "20",
            "--above",
            "0.5",
        ]
    )
    printed = capsys.readouterr().out
    assert "set 0, set 1 have no common E" in printed and "count 0.5 times" in printed
    laws = read_laws(tmp_path / "runs.laws.json")
    assert laws.shared_floors[0].p == 0.005 and len(laws.shared_floors[0].data_sets) == 2
    assert Laws.from_json(json.loads(json.dumps(laws.to_json())), "again") == laws


def under_tuned(seed):
    """A third of the runs lie above the law, by up to 6 %."""
    random = np.random.default_rng(seed)
    runs = table([1.8], seed, noise=0.001)
    spoilt = random.random(len(runs)) < 1 / 3
    return runs.assign(loss=runs["loss"] * np.exp(spoilt * random.uniform(0, 0.06, size=len(runs))))


def test_rows_above_the_law_that_count_less_lift_it_less():
    truth = Chinchilla(E=1.8, A=400.0, B=1800.0, alpha=0.34, beta=0.36)
    at = {"N": np.geomspace(1e7, 3e9, 9), "D": np.geomspace(1e9, 1e11, 9)}

    def lifted(above):
        errors = []
        for seed in range(8):
            law = sl.fit(sl.read_runs(under_tuned(seed)), "chinchilla", above=above, delta=0.1, resamples=0)
            errors.append(np.mean(np.log(law.law.loss(**at) / truth.loss(**at))))
        return float(np.mean(errors))

    symmetric, asymmetric = lifted(1.0), lifted(0.1)
    assert symmetric > 0.005
    assert abs(asymmetric) < 0.5 * symmetric


def test_above_one_is_the_fit_as_it_was():
    runs = sl.read_runs(table([1.8]))
    assert sl.fit(runs, resamples=0).parameters == sl.fit(runs, above=1.0, resamples=0).parameters
    with pytest.raises(sl.InputError, match="above is 0"):
        sl.fit(runs, above=0.0)

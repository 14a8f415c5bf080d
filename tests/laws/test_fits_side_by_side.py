"""The methods that benchmarks/fits_side_by_side.py compares, on a table whose law is known."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla

SPECIFICATION = importlib.util.spec_from_file_location(
    "fits_side_by_side", Path(__file__).parents[2] / "benchmarks" / "fits_side_by_side.py"
)
side = importlib.util.module_from_spec(SPECIFICATION)
sys.modules[SPECIFICATION.name] = side
SPECIFICATION.loader.exec_module(side)
TRUTH = Chinchilla(E=1.8, A=480.0, B=2000.0, alpha=0.35, beta=0.37)


@pytest.fixture(scope="module")
def found():
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 3e11, 7)))
    noise = 0.003 * np.random.default_rng(0).normal(size=N.size)
    return side.side_by_side(make_rows({"N": N, "D": D}, TRUTH.loss(N, D) * np.exp(noise)), redrawn=2)


def test_each_method_reaches_its_own_objective(found):
    certified, curve_fit, grid = (found[name] for name in ("certified", "curve_fit", "grid"))
    assert certified["huber"] < min(curve_fit["huber"], grid["huber"])
    assert curve_fit["squares"] <= grid["squares"] < 1.001 * curve_fit["squares"]
    assert all(each["share_failed"] == 0 for each in found.values())


def test_tables_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(side, "DATA", tmp_path)
    there, missing = side.tables()
    assert set(there) == {"synthetic"} and set(missing) == {*side.TABLES, *side.CHECKPOINTS}
    assert "there is no opt_trajectories.csv" in missing["opt_trajectories"]


needs_tables = pytest.mark.skipif(
    not (side.DATA / "opt_trajectories.csv").exists(), reason="the golden tables are not here"
)


@needs_tables
def test_olmo_and_opt_are_read_as_their_golden_numbers_say():
    there, missing = side.tables()
    assert missing == {}
    olmo, opt = there["olmo_ladder_c4_curves"], there["opt_trajectories"]
    law = side.by_certified(olmo.fitted)
    assert olmo.fitted.n == 16 and side.objectives(law, olmo.fitted)["huber"] == pytest.approx(
        3.29986e-5, 1e-4
    )
    error = law.loss(olmo.larger.values["N"], olmo.larger.values["D"]) / olmo.larger.loss - 1
    assert float(error[0]) == pytest.approx(-0.0383, abs=2e-4)
    assert opt.fitted.n == 112
    found = side.fitted(opt.fitted, opt.larger)
    assert found["curve_fit"]["larger_error"] == pytest.approx(0.0504, abs=3e-4)


def test_a_method_that_finds_nothing_has_failed(found):
    nothing = {"huber": side.NOTHING, "squares": side.NOTHING}
    assert side.failed({**found, "curve_fit": nothing}) == {
        "certified": False,
        "curve_fit": True,
        "grid": False,
    }

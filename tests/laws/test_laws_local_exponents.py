"""Exponents at each horizon and size: the slopes that were put in, and those of the quick study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.checks.local_exponents import local_exponents
from scaling_laws.laws.selection import usable_runs

ROOT = Path(__file__).parents[2]


def test_exponents_are_the_slopes_that_were_put_in() -> None:
    N, D = (grid.ravel() for grid in np.meshgrid([1e4, 1e5, 1e6], [1e6, 1.01e6, 1e7, 1e8]))
    by_horizon = {1e6: 0.05, 1e7: 0.08, 1e8: 0.10}
    alpha = np.array([by_horizon[min(by_horizon, key=lambda at: abs(np.log(at / each)))] for each in D])
    found = local_exponents(pd.DataFrame({"N": N, "D": D, "loss": 9 * N**-alpha}))
    of_N = {each.at: each for each in found if each.of == "N"}
    assert {at: round(each.exponent, 10) for at, each in of_N.items()} == by_horizon
    assert all(each.n_points == 3 and each.interval[0] is not None for each in of_N.values())
    of_D = [each for each in found if each.of == "D"]
    assert [each.at for each in of_D] == [1e4, 1e5, 1e6]  # 1.00 and 1.01 M are one horizon
    assert all(each.n_points == 3 and each.interval == (None, None) for each in of_D)
    two_sizes = pd.DataFrame({"N": [1e4, 1e5], "D": 1e6, "loss": [5.0, 4.0]})
    assert local_exponents(two_sizes) == ()


def test_the_quick_studys_exponent_doubles_with_the_horizon() -> None:
    """An independent analysis found 0.042, 0.051, 0.065 and 0.086 from 0.5 to 4 M tokens."""
    runs, _ = usable_runs(pd.read_csv(ROOT / "results" / "quick" / "runs.csv"))
    found = local_exponents(runs[runs["family"] == "transformer"])
    exponents = [each.exponent for each in found if each.of == "N"][:4]
    assert exponents == pytest.approx([0.042, 0.051, 0.065, 0.086], abs=0.002)

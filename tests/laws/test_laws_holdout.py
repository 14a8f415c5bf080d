"""The largest size held out: of its own law it is predicted exactly."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.checks.holdout import hold_out_largest
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND

TRUTHS = [
    KaplanND(alpha_N=0.076, alpha_D=0.103, N_c=6.4e13, D_c=1.8e13),
    Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
]


def table(truth, sizes):
    runs = pd.DataFrame([{"N": N, "D": D} for N in sizes for D in (1e7, 1e8, 1e9)])
    names = [f"{N:g}-{D:g}" for N, D in zip(runs["N"], runs["D"], strict=True)]
    return runs.assign(loss=truth.loss(runs["N"], runs["D"]), run=names, trunk=names)


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda law: law.form)
def test_the_right_form_predicts_and_the_baseline_does_not(truth):
    runs = table(truth, np.geomspace(1e5, 1e8, 6))
    result = hold_out_largest(type(truth), runs)
    assert result.held_out == ("1e+08-1e+09", "1e+08-1e+08", "1e+08-1e+07")
    assert result.mean_absolute_error < 1e-5
    fitted = runs[runs["N"] < 1e8]
    assert result.baseline == fitted["loss"].min()
    assert result.actual == pytest.approx(truth.loss(1e8, np.array([1e9, 1e8, 1e7])))
    errors = result.baseline / np.array(result.actual) - 1
    assert result.baseline_relative_error == pytest.approx(errors)
    assert result.baseline_mean_absolute_error == pytest.approx(np.mean(np.abs(errors)))


def test_the_held_out_size_is_not_seen():
    runs = table(TRUTHS[1], np.geomspace(1e5, 1e8, 6))
    changed = runs.assign(loss=runs["loss"] * np.where(runs["N"] == 1e8, 2, 1))
    first, second = (hold_out_largest(Chinchilla, table) for table in (runs, changed))
    assert first.predicted == second.predicted


def test_too_few_sizes_say_so():
    result = hold_out_largest(Chinchilla, table(TRUTHS[1], [1e5, 1e6, 1e7]))
    assert result.held_out == ()
    assert result.reason == (
        "without the largest size: only 2 different N: an irreducible loss needs at least 3"
    )

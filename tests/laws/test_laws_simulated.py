"""Simulated studies: losses follow the law that is put in, and their power is what the design allows."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.plan import simulated
from scaling_laws.laws.published import BESIROGLU, KAPLAN_SINGLE
from scaling_laws.study.errors import InputError


def design(n_sizes: int, n_horizons: int) -> pd.DataFrame:
    N, D = np.meshgrid(np.geomspace(1e7, 1e9, n_sizes), np.geomspace(1e9, 1e11, n_horizons))
    return pd.DataFrame({"N": N.ravel(), "D": D.ravel()})


def test_the_examples_of_the_docstrings_hold() -> None:
    found = doctest.testmod(simulated)
    assert found.attempted > 5 and not found.failed


def test_losses_follow_the_law_with_the_noise_that_was_put_in() -> None:
    exact = sl.simulate(BESIROGLU, design(3, 3), noise=0.0)
    assert exact["loss"].to_numpy() == pytest.approx(BESIROGLU.loss(exact["N"], exact["D"]))
    assert exact["trunk"].nunique() == 3 and list(exact["C"]) == list(6 * exact["N"] * exact["D"])
    runs = sl.simulate(BESIROGLU, design(20, 5), noise=0.01, seeds=8, shared=0.7)
    noise = seed_noise(runs[["trunk", "family", "seed", "N", "D", "loss"]])
    assert noise.n_runs == 800 and noise.sd_log_loss == pytest.approx(0.01, rel=0.1)
    assert noise.shared == pytest.approx(0.7, abs=0.1)


def test_more_runs_tell_more_and_too_few_tell_nothing() -> None:
    wide = sl.power(BESIROGLU, design(3, 3), noise=0.005, studies=3, resamples=40)
    narrow = sl.power(BESIROGLU, design(6, 5), noise=0.005, seeds=3, studies=3, resamples=40)
    assert narrow.of("chinchilla").not_identified == 0
    alpha = next(each for each in narrow.of("chinchilla").parameters if each.name == "alpha")
    assert alpha.true == BESIROGLU.alpha and alpha.width < 0.1 and alpha.covered is not None
    few = wide.of("chinchilla")
    assert few.not_identified == 1 or few.parameters[1].width > 2 * alpha.width
    assert wide.of("power_n").not_identified == 1  # three sizes for three parameters
    assert "nothing is left to test" in wide.of("power_n").reason
    assert "power_n" in wide.summary() and "100 %" in wide.summary()


def test_the_work_is_shared_out_and_the_result_is_the_same() -> None:
    alone, shared = (sl.power(BESIROGLU, design(3, 2), studies=2, resamples=10, processes=n) for n in (1, 2))
    assert alone.laws == shared.laws


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": -1.0}, "noise is -1.0"),
        ({"seeds": 0}, "seeds 0"),
        ({"law": KAPLAN_SINGLE.of_N}, "from a law of N and D"),
        ({"design": pd.DataFrame({"N": [1e8]})}, "has no column 'D'"),
    ],
)
def test_a_wrong_question_is_one_line(change: dict[str, object], message: str) -> None:
    arguments = {"law": BESIROGLU, "design": design(3, 3), **change}
    with pytest.raises(InputError, match=message) as refused:
        sl.simulate(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)

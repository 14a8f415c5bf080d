"""Extrapolated curves against curves that are power laws, and against published scores."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.checks.learning_curve import (
    BEFORE_THE_RATE_FALLS,
    LAST_LOSS,
    RATE_FALLS_THROUGHOUT,
    RATE_UNKNOWN,
    extrapolate_curves,
    predict_final,
)
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.single import KaplanD, PowerD
from scaling_laws.study.errors import InputError

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[3] / "shared" / "data"))
public_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")

TRUTH = PowerD(E=3.0, B=400.0, beta=0.4)
TOKENS = np.geomspace(1e4, 1e8, 60)


def curve(run="a", truth=TRUTH, noise=0.0, seed=0, **columns):
    random = np.random.default_rng(seed)
    loss = truth.loss(TOKENS) * np.exp(random.normal(scale=noise, size=len(TOKENS)) if noise else 0)
    return pd.DataFrame({"run": run, "tokens": TOKENS, "test_loss_nats": loss, **columns})


def test_a_power_law_is_continued_exactly():
    result = predict_final(TOKENS[:40], TRUTH.loss(TOKENS[:40]), 1e8, resamples=20)
    assert result.loss == pytest.approx(float(TRUTH.loss(1e8)), rel=1e-8)
    assert result.interval == pytest.approx((result.loss, result.loss), rel=1e-6)


def test_intervals_cover_as_often_as_they_say():
    """90 % intervals of independent noise: within three binomial standard deviations of 60 curves."""
    covered = 0
    for seed in range(60):
        loss = curve(noise=0.01, seed=seed)["test_loss_nats"].to_numpy()
        result = predict_final(TOKENS[:40], loss[:40], 1e8, resamples=60, seed=seed)
        low, high = result.interval
        covered += low <= loss[-1] <= high
    assert 0.9 * 60 - 3 * np.sqrt(60 * 0.09) <= covered <= 60


def test_an_unidentified_curve_says_why():
    result = predict_final(TOKENS[:3], TRUTH.loss(TOKENS[:3]), 1e8)
    assert result.loss is None and result.interval is None
    assert "3 different points for 3 parameters" in result.reason


def test_the_right_form_beats_the_last_loss():
    curves = pd.concat([curve(run, noise=0.002, seed=seed) for seed, run in enumerate("abc")])
    result = extrapolate_curves(curves, resamples=30)
    for score in result.scores:
        assert score.n_compared == 3 and score.winner == "power_d"
        errors = score.mean_absolute_error
        assert errors["power_d"] < 0.02 < errors["kaplan_d"]
        assert errors["power_d"] < errors[LAST_LOSS]
    one = result.extrapolations[0]
    assert one.share == 0.1 and one.tokens_seen <= 1e7 < one.tokens == 1e8
    assert one.predicted[LAST_LOSS] == curves["test_loss_nats"].iloc[one.n_points - 1]
    assert one.target == RATE_UNKNOWN
    assert "power_d" in result.sentence and "interval" in result.sentence


def test_the_target_lies_before_the_rate_falls():
    """Warm-up, a constant rate, a cooldown that takes .3 nats off: neither end enters."""
    rate = np.where(TOKENS < 2e4, 0.5, np.where(TOKENS > 7e7, 0.1, 1.0))
    held = curve(learning_rate=rate)
    held.loc[TOKENS < 2e4, "test_loss_nats"] = 9.0
    held.loc[TOKENS > 7e7, "test_loss_nats"] -= 0.3
    (one,) = extrapolate_curves(held, shares=[0.5], resamples=0).extrapolations
    assert one.target == BEFORE_THE_RATE_FALLS
    assert one.tokens == TOKENS[TOKENS <= 7e7].max()
    assert one.relative_error["power_d"] == pytest.approx(0, abs=1e-7)


def test_a_rate_that_always_falls_leaves_the_whole_run():
    falling = curve(learning_rate=np.linspace(1, 0.1, len(TOKENS)))
    (one,) = extrapolate_curves(falling, shares=[0.5], resamples=0).extrapolations
    assert one.target == RATE_FALLS_THROUGHOUT and one.tokens == 1e8
    assert one.relative_error["power_d"] == pytest.approx(0, abs=1e-7)


def test_unmeasured_rows_and_warm_up_are_left_out():
    sparse = curve()
    sparse.loc[::2, "test_loss_nats"] = np.nan
    (one,) = extrapolate_curves(sparse, shares=[0.5], warmup_tokens=1e5, resamples=0).extrapolations
    within = (TOKENS > 1e5) & (TOKENS <= 5e7)
    assert one.n_points == within[1::2].sum()


def test_short_curves_are_left_out_by_name():
    result = extrapolate_curves(pd.concat([curve(), curve("b").head(1)]), resamples=0)
    assert [curve.run for curve in result.left_out] == ["b"]
    assert {one.run for one in result.extrapolations} == {"a"}


def test_errors():
    with pytest.raises(InputError, match="no column 'c4_loss'"):
        extrapolate_curves(curve(), loss="c4_loss")
    with pytest.raises(InputError, match="between 0 and 1"):
        extrapolate_curves(curve(), shares=[50])
    with pytest.raises(InputError, match="final_tokens"):
        predict_final(TOKENS, TRUTH.loss(TOKENS), float("nan"))


@public_data
def test_olmo_curves_are_told_better_by_a_law_than_by_their_last_loss():
    """Its cosine ends below the extrapolation, yet by less than the last loss seen lies above it."""
    curves = pd.read_csv(DATA / "olmo_ladder_c4_curves.csv")
    curves = curves[curves["run"].str.fullmatch(r"(190M|370M|760M)-(2|5|10)xC")]
    result = extrapolate_curves(curves, loss="c4_loss", learning_rate="lr", shares=[0.2, 0.5], resamples=0)
    assert {one.target for one in result.extrapolations} == {RATE_FALLS_THROUGHOUT}
    for score in result.scores:
        errors = score.mean_absolute_error
        assert score.n_compared == 9 and score.winner is not None
        assert errors["power_d"] < errors[LAST_LOSS] / 1.5


@public_data
@pytest.mark.parametrize(("form", "error", "digits"), [(KaplanD, 0.0140, 4), (PowerD, 0.00113, 5)])
def test_the_published_scores_of_language_curves(form, error, digits):
    """README, item 8: Domain LM, least squares in ln L (delta large), mean over curves of RMSE of ln L."""
    table = pd.read_csv(DATA / "revisiting_language_curves.csv")
    scores = []
    for _, one in table[table["Domain"] == "LM"].groupby(["Task", "Model"]):
        seen, held_out = (one[one["Training"] == flag] for flag in (1, 0))
        law = fit_law(form, make_rows({"D": seen["Seen Examples"]}, seen["Loss"]), delta=1e3).law
        residual = np.log(law.loss(held_out["Seen Examples"]) / held_out["Loss"])
        scores.append(np.sqrt(np.mean(residual**2)))
    assert len(scores) == 5
    assert round(float(np.mean(scores)), digits) == error

"""Batch scans against laws that are known, and against a published table (reference: hlzhang109)."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.batch.batch_scan import N_LEVELS, fit_time_data, scan_from_table, steps_to_target
from scaling_laws.laws.batch.constant_rate import constant_rate_part, curves_of_study, falling_curve
from scaling_laws.laws.batch.critical_batch import (
    critical_batch_from_curves,
    critical_batch_from_table,
    fit_critical_batch,
)
from scaling_laws.study.errors import InputError

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[3] / "shared" / "data"))
TRUTH = {"alpha_N": 0.1, "N_c": 1e11, "alpha_S": 0.6, "S_c": 300.0, "alpha_B": 0.25, "B_star": 2e6}


def training(run, N, batch, last_step, noise_sd=0.0, random=None, n=60):
    """A learning curve of `TRUTH`: explicit in S_min, and S = S_min (1 + B_crit(L)/B) by (5.4)."""
    S_min = np.geomspace(1e-1, 1e9, 4000)
    L = (TRUTH["N_c"] / N) ** TRUTH["alpha_N"] + (TRUTH["S_c"] / S_min) ** TRUTH["alpha_S"]
    S = S_min * (1 + TRUTH["B_star"] * L ** (-1 / TRUTH["alpha_B"]) / batch)
    step = np.geomspace(100, last_step, n)
    log_loss = np.interp(np.log(step), np.log(S), np.log(L))
    if random is not None:
        log_loss = log_loss + noise_sd * (random.normal(size=n) + random.normal())
    columns = {"run": run, "N": float(N), "batch_tokens": batch, "step": step, "tokens": batch * step}
    return pd.DataFrame({**columns, "loss": np.exp(log_loss)})


def batch_scan(noise_sd=0.0, seed=0, sizes=(1e5, 3e6), tokens=3e8):
    random = np.random.default_rng(seed) if noise_sd else None
    return pd.concat(
        [
            training(f"{N:.0e}-{batch:.0f}", N, batch, min(tokens / batch, 1e5), noise_sd, random)
            for N in sizes
            for batch in np.geomspace(1e3, 3e5, 7)
        ],
        ignore_index=True,
    )


def sweep(noise_sd=0.0, seed=0, sizes=8, batches=((16384.0, 3e4), (65536.0, 1e4))):
    random = np.random.default_rng(seed) if noise_sd else None
    return pd.concat(
        [
            training(f"a{N:.3e}-{batch:.0f}", N, batch, last_step, noise_sd, random)
            for N in np.geomspace(1e4, 1e7, sizes)
            for batch, last_step in batches
        ],
        ignore_index=True,
    )


def critical(loss):
    return TRUTH["B_star"] * loss ** (-1 / TRUTH["alpha_B"])


def test_exact_curves_give_the_law():
    law = critical_batch_from_curves(batch_scan(), resamples=20)
    assert law.reason == ""
    assert law.law.alpha_B == pytest.approx(TRUTH["alpha_B"], rel=2e-3)
    assert law.law.batch_tokens(4.0) == pytest.approx(critical(4.0), rel=2e-3)
    answered = [level for level in law.levels if not level.reason]
    assert len(answered) > N_LEVELS
    for level in answered:
        L = level.loss
        S_min = TRUTH["S_c"] * (L - (TRUTH["N_c"] / level.N) ** 0.1) ** (-1 / 0.6)
        assert level.S_min == pytest.approx(S_min, rel=5e-3)
        assert level.B_crit == pytest.approx(critical(L), rel=5e-3)
        assert level.E_min == pytest.approx(level.S_min * level.B_crit)
    assert law.size.exponent == pytest.approx(0, abs=2e-3)
    assert {model for model, *_ in law.size.by_model} == {"N = 100000", "N = 3000000"}
    assert "not measured" in law.noise_scale.sentence
    assert law.loss_range[0] < 3.3 < 5 < law.loss_range[1]


def test_noisy_curves_give_intervals_that_hold_the_law():
    law = critical_batch_from_curves(batch_scan(noise_sd=0.003, seed=3))
    for name in ("alpha_B", "B_star"):
        low, high = law.intervals[name]
        assert low < TRUTH[name] < high
    assert law.intervals["alpha_B"][1] - law.intervals["alpha_B"][0] < 0.15
    covered = [
        level.intervals["B_crit"][0] < critical(level.loss) < level.intervals["B_crit"][1]
        for level in law.levels
        if not level.reason
    ]
    assert np.mean(covered) > 0.6
    assert "14 trainings" in law.interval_method
    assert law.size.sentence.startswith("Beyond the loss no dependence")


def test_a_batch_law_that_depends_on_the_size_is_seen():
    scan = scan_of({1e5: 1.0, 1e6: 10**0.5, 1e7: 10.0})
    law = critical_batch_from_table(scan, batch="batch", resamples=50)
    assert law.size.exponent == pytest.approx(0.5, abs=0.01)
    assert law.size.sentence.startswith("At equal loss B_crit grows with the size, as N^0.50")


def scan_of(factor_of, losses=(4.0, 3.6, 3.2), noise_sd=0.005):
    random = np.random.default_rng(0)
    rows = [
        {"N": N, "loss": L, "batch": B, "steps": 1e3 * 4 / L * (1 + factor * critical(L) / B)}
        for N, factor in factor_of.items()
        for L in losses
        for B in np.geomspace(1e2, 1e6, 9)
    ]
    table = pd.DataFrame(rows)
    return table.assign(steps=table["steps"] * np.exp(noise_sd * random.normal(size=len(table))))


def test_noise_scale_is_compared():
    curves = batch_scan()
    curves = curves.assign(noise_scale_tokens=2 * critical(curves["loss"]))
    law = critical_batch_from_curves(curves, resamples=20)
    assert law.noise_scale.ratio == pytest.approx(2, rel=0.01)
    assert law.noise_scale.rank_correlation > 0.98
    assert law.noise_scale.n_points == sum(not level.reason for level in law.levels)


def test_reasons_in_words():
    scan = scan_of({1e6: 1.0}, losses=(4.0, 3.0, 2.0))
    scan.loc[scan["loss"] == 2.0, "steps"] = np.nan
    scan.loc[(scan["loss"] == 3.0) & (scan["batch"] > 400), "steps"] = np.nan
    levels = fit_time_data(scan_from_table(scan), resamples=20)
    assert levels[0].reason == ""
    assert levels[1].reason == "2 batches reached the loss 3: S_min and E_min need 3"
    assert levels[1].n_missed == 7
    assert levels[2].reason == "no batch reached the loss 2"
    law = fit_critical_batch(levels)
    assert law.law is None
    assert "only one L" in law.reason
    none = fit_critical_batch(levels[1:])
    assert none.reason.startswith("no level has an answer: 2 batches reached")
    assert fit_critical_batch([]).reason == "no loss was reached by 3 batches of one size"


def test_extrapolated_critical_batches_are_flagged():
    scan = scan_of({1e6: 1.0}, noise_sd=0.0)
    below = fit_time_data(scan_from_table(scan[scan["batch"] < 5e3]), resamples=20)
    assert critical(4.0) > 3162
    assert all("above the largest batch that was scanned" in level.warning for level in below)
    assert "B_crit lies outside" in fit_critical_batch(below).warnings[0]
    # Steps that fall as 1/B exactly have no S_min at all.
    linear = scan.assign(steps=1e9 / scan["batch"])
    assert "scan larger ones" in fit_time_data(scan_from_table(linear), resamples=5)[0].reason
    flat = scan.assign(steps=1e3)
    assert "scan smaller ones" in fit_time_data(scan_from_table(flat), resamples=5)[0].reason


def test_targets_and_the_fastest_learning_rate():
    one = batch_scan(sizes=(1e5,))
    slow = one.assign(run=one["run"] + "-slow", step=2 * one["step"], tokens=2 * one["tokens"])
    both = pd.concat([one.assign(learning_rate=1e-2), slow.assign(learning_rate=1e-3)], ignore_index=True)
    targets = [4.5, 4.2, 1.0]
    steps = steps_to_target(both, targets)
    expected = steps_to_target(one, targets)
    assert steps["steps"].to_numpy() == pytest.approx(expected["steps"].to_numpy(), nan_ok=True)
    assert steps.loc[steps["loss"] == 1.0, "steps"].isna().all()
    assert steps["tokens"].to_numpy() == pytest.approx(
        (steps["steps"] * steps["batch"]).to_numpy(), nan_ok=True
    )
    # Replicates of one learning rate are averaged, in logarithms.
    replicas = pd.concat([one, slow], ignore_index=True)
    ratio = steps_to_target(replicas, targets)["steps"] / expected["steps"]
    assert ratio.dropna().to_numpy() == pytest.approx(np.sqrt(2))
    two_batches = one[one["batch_tokens"] < 3e3]
    assert steps_to_target(two_batches).empty
    assert "3 batches of one size" in critical_batch_from_curves(two_batches).reason


def test_only_the_constant_rate_counts():
    """A trunk and its cooldown branch share rows; warm-up, cooldown and returning tokens are left out."""
    step = np.array([10, 20, 40, 80, 160, 320])
    trunk = pd.DataFrame(
        {"run": "t", "step": step, "tokens": 100 * step, "loss": 6 - np.log10(step), "trunk": "t"}
    ).assign(learning_rate=[0.5, 1, 1, 1, 1, 1], N=1e4, batch_tokens=100, unique_tokens=20_000)
    branch = trunk[:5].assign(run="b", learning_rate=[0.5, 1, 1, 1, 0.2])
    branch.loc[4, "loss"] = 3.0
    part = constant_rate_part(pd.concat([trunk, branch], ignore_index=True))
    assert part.points["step"].tolist() == [20, 40, 80, 160]
    assert part.points["loss"].tolist() == pytest.approx((6 - np.log10(step[1:5])).tolist())
    assert part.sentence.startswith("4 of 7 points of the curves: after warm-up")
    assert "no token returns" in part.sentence
    unknown = constant_rate_part(trunk.drop(columns=["learning_rate", "unique_tokens"]))
    assert "no learning_rate" in unknown.sentence
    with pytest.raises(InputError, match="no column 'N'"):
        constant_rate_part(trunk.drop(columns="N"))
    with pytest.raises(InputError, match="curve of t: step is 0"):
        constant_rate_part(trunk.assign(step=0))
    runs = trunk[["run", "trunk", "batch_tokens", "N", "unique_tokens"]].drop_duplicates()
    curves = trunk[["run", "step", "tokens", "learning_rate", "loss"]].rename(
        columns={"loss": "test_loss_nats"}
    )
    joined = curves_of_study(curves, runs)
    assert constant_rate_part(joined).points.equals(constant_rate_part(trunk).points)
    with pytest.raises(InputError, match="no column 'x'"):
        curves_of_study(curves, runs, loss="x")


def test_bumps_are_averaged_away():
    """A running minimum of noise lies below the truth, the falling curve does not."""
    random = np.random.default_rng(0)
    step = np.geomspace(10, 1e5, 400)
    truth = 10 * step**-0.05
    noisy = truth * np.exp(0.01 * random.normal(size=400))
    curve = falling_curve(step, noisy)
    assert np.all(np.diff(curve.log_loss) < 0)
    at = curve.log_step_at(truth[50:350])
    bias = np.mean(at - np.log(step[50:350]))
    minimum = np.minimum.accumulate(noisy)
    early = np.mean(np.interp(-np.log(truth[50:350]), -np.log(minimum), np.log(step)) - np.log(step[50:350]))
    assert abs(bias) < 0.05 < abs(early)
    assert np.isnan(curve.log_step_at([20.0, 1.0])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"N": "n"}, "no column 'N' for N"),
        ({"steps": 0.0}, "row 1 of the batch scan: steps is 0"),
        ({"batch": "many"}, "row 1 of the batch scan: batch is many"),
        ({"batch": 5.0}, "twice"),
    ],
)
def test_bad_tables(change, message):
    table = scan_of({1e6: 1.0})
    table = table.rename(columns=change) if change == {"N": "n"} else table.assign(**change)
    with pytest.raises(InputError, match=message):
        scan_from_table(table)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")
def test_public_batch_scan():
    """../shared/data/README.md, item 5."""
    table = pd.read_csv(DATA / "critical_batch_size.csv")
    columns = ("N", "target_c4_val_loss", "batch_size_seqs", "steps_to_target")
    law = critical_batch_from_table(table, *columns, model="model", resamples=100)
    assert [level.model for level in law.levels] == ["85M", "151M", "302M", "604M", "1.2B"]
    assert [round(level.B_crit) for level in law.levels] == [2191, 3240, 5433, 7907, 11131]
    S_min = [level.S_min for level in law.levels]
    assert S_min == pytest.approx([1293.83, 1752.42, 2095.35, 2459.93, 3897.31], abs=6e-3)
    assert "unit of the column batch_size_seqs" in law.warnings[0]
    assert "cannot be told apart" in law.size.sentence
    assert law.law is not None
    in_tokens = critical_batch_from_table(
        table, *columns, model="model", tokens_per_batch_unit="seq_len", resamples=20
    )
    assert in_tokens.levels[0].B_crit == pytest.approx(512 * law.levels[0].B_crit)
    assert in_tokens.law.alpha_B == pytest.approx(law.law.alpha_B)
    assert in_tokens.law.B_star == pytest.approx(512 * law.law.B_star)

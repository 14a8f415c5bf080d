"""Roll-outs: of its own law a form predicts exactly, and only windows that all predicted are compared."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.checks.rollout import roll_out
from scaling_laws.laws.checks.rollout_scores import LOWEST_LOSS, MOST_COMPUTE, Window, compare
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied
from scaling_laws.study.errors import InputError

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[3] / "shared" / "data"))
public_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")

TRUTH = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)


def table(truth, sizes=5, horizons=4):
    runs = pd.DataFrame(
        [{"N": N, "D": D} for N in np.geomspace(1e6, 1e9, sizes) for D in np.geomspace(1e8, 1e11, horizons)]
    )
    names = [f"{N:.3g}-{D:.3g}" for N, D in zip(runs["N"], runs["D"], strict=True)]
    C = 6 * runs["N"] * runs["D"]
    return runs.assign(C=C, loss=truth.loss(runs["N"], runs["D"]), run=names, trunk=names)


def scores(comparison):
    return {score.form: score for score in comparison.scores}


@pytest.fixture(scope="module")
def along_N():
    return roll_out(table(TRUTH), "N")


def test_windows_expand_and_say_how_far_they_reach(along_N):
    sizes = np.geomspace(1e6, 1e9, 5)
    # Two sizes identify Kaplan's law, which has no irreducible loss: the roll-out starts there.
    assert [window.cut for window in along_N.windows] == pytest.approx(sizes[1:4])
    assert [window.n_fitted for window in along_N.windows] == [8, 12, 16]
    first = along_N.windows[0]
    step = sizes[1] / sizes[0]
    assert sorted(first.reach) == pytest.approx([step] * 4 + [step**2] * 4)
    assert "only 2 different N" in first.refused["chinchilla"]


def test_the_true_form_predicts_exactly_and_wins(along_N):
    found = scores(along_N.joint)
    assert found["chinchilla"].error < 1e-6
    assert found["kaplan_nd"].error > 1e-3
    assert found["chinchilla"].n_refused == 1
    assert along_N.joint.n_compared == 2  # Kaplan's first window does not count: the others refused it
    assert found["kaplan_nd"].n_windows == 3
    # The gamma form contains Chinchilla's and predicts the same, to rounding.
    assert along_N.winner in ("chinchilla", "chinchilla_gamma", "droppo")
    assert "predicts best" in along_N.joint.sentence


def test_baselines_are_those_of_the_runs_below_the_cut(along_N):
    runs = table(TRUTH)
    window = along_N.windows[0]
    below = runs[runs["N"] <= window.cut * 1.01]
    assert (window.predicted[LOWEST_LOSS] == below["loss"].min()).all()
    assert (window.predicted[MOST_COMPUTE] == below.loc[below["C"].idxmax(), "loss"]).all()
    errors = [
        abs(guess / actual - 1)
        for window in along_N.windows[1:]
        for guess, actual in zip(window.predicted[LOWEST_LOSS], window.actual, strict=True)
    ]
    assert scores(along_N.joint)[LOWEST_LOSS].error == pytest.approx(np.mean(errors))


@pytest.mark.parametrize("axis", ["N", "D", "C"])
def test_runs_ahead_are_not_seen(axis):
    runs = table(TRUTH, horizons=5)
    top = runs[axis] > runs[axis].quantile(0.75)
    before = roll_out(runs, axis)
    after = roll_out(runs.assign(loss=runs["loss"] * np.where(top, 1.1, 1)), axis)
    for first, second in zip(before.windows, after.windows, strict=True):
        if first.cut <= runs.loc[~top, axis].max():
            for form, losses in first.predicted.items():
                # Which runs the laws of C are asked about may change, never what they say.
                both = np.isfinite(losses) & np.isfinite(second.predicted[form])
                assert losses[both] == pytest.approx(second.predicted[form][both], rel=1e-9)


def test_laws_of_one_variable_are_asked_about_their_own_runs():
    rollout = roll_out(table(TRUTH, sizes=6), "N")
    found = scores(rollout.single)
    assert "6 sizes at the largest horizon" in rollout.single.rows
    # At the common horizon the truth is E' + A/N^alpha with E' = E + B/D^beta.
    assert found["power_n"].own_error < 1e-6
    assert found["kaplan_n"].own_error > 1e-3
    for window in rollout.windows:
        asked = np.isfinite(window.predicted["log_n"]) if "log_n" in window.predicted else window.in_subset
        assert (asked == window.in_subset).all()
        assert window.in_subset.sum() == len(window.runs) / 4


def test_many_values_are_pooled():
    random = np.random.default_rng(0)
    runs = table(TRUTH, sizes=4, horizons=10)
    runs["N"] *= np.exp(random.uniform(0, 0.5, len(runs)))
    runs = runs.assign(C=6 * runs["N"] * runs["D"], loss=TRUTH.loss(runs["N"], runs["D"]))
    windows = roll_out(runs, "N").windows
    assert len(windows) <= 6
    assert all((window.reach > 1).all() for window in windows)


def test_where_nothing_was_learnt_no_form_beats_the_baseline():
    runs = table(ChinchillaTied(E=2.0, A=1.0, B=1.0, alpha=0.3))
    noisy = runs.assign(loss=2 * np.exp(np.random.default_rng(1).normal(scale=0.05, size=len(runs))))
    noisy.loc[runs["N"] > 1.1e6, "loss"] = 2.0
    noisy.loc[0, "loss"] = 2.0
    rollout = roll_out(noisy.assign(loss=noisy["loss"].clip(lower=2.0)), "N")
    assert rollout.winner is None
    assert "no form beats the baseline" in rollout.joint.sentence or "no cut" in rollout.joint.sentence


def window(cut, predicted, refused=()):
    actual = np.array([2.0, 2.0])
    return Window(
        cut=cut,
        n_fitted=10,
        runs=("a", "b"),
        reach=np.array([2.0, 4.0]),
        actual=actual,
        in_subset=np.array([True, True]),
        predicted={form: actual * (1 + error) for form, error in predicted.items()},
        refused=dict.fromkeys(refused, "E -> 0"),
    )


def test_a_form_does_not_win_by_refusing_the_hard_windows():
    baselines = {LOWEST_LOSS: 0.5, MOST_COMPUTE: 0.6}
    windows = [
        window(1, {"steady": 0.02, "picky": 0.03} | baselines),
        window(2, {"steady": 0.02, "picky": 0.03} | baselines),
        window(3, {"steady": 0.20} | baselines, refused=["picky", "rare"]),
        window(4, {"steady": 0.20, "rare": 0.0} | baselines, refused=["picky"]),
    ]
    for one in windows[:2]:
        one.refused["rare"] = "too few"
    comparison = compare("N", "joint", "all runs", ["steady", "picky", "rare"], windows)
    found = scores(comparison)
    assert found["picky"].own_error < found["steady"].own_error
    assert comparison.winner == "steady"
    assert comparison.n_compared == 2 and comparison.n_windows == 4
    assert found["steady"].error == pytest.approx(0.02) and found["steady"].n_best == 2
    assert found["rare"].error is None and found["rare"].reasons == ("too few", "E -> 0")
    assert "Not compared" in comparison.sentence and "rare (3)" in comparison.sentence


def test_a_baseline_that_is_best_leaves_no_winner():
    windows = [window(1, {"form": 0.2, LOWEST_LOSS: 0.1, MOST_COMPUTE: 0.3})]
    comparison = compare("C", "joint", "all runs", ["form"], windows)
    assert comparison.winner is None
    assert "no form beats the baseline (10 %)" in comparison.sentence


def test_one_size_rolls_out_to_nothing():
    rollout = roll_out(table(TRUTH, sizes=1), "N")
    assert rollout.windows == () and rollout.winner is None
    assert "no cut" in rollout.joint.sentence


def test_errors():
    with pytest.raises(InputError, match="give N, D or C"):
        roll_out(table(TRUTH), "E")
    with pytest.raises(InputError, match="steps_ahead is 0"):
        roll_out(table(TRUTH), "N", steps_ahead=0)
    with pytest.raises(InputError, match="no column 'C'"):
        roll_out(table(TRUTH).drop(columns="C"), "N")


@public_data
def test_the_olmo_ladder_contains_the_windows_of_its_13B_target():
    """-3.83 % from the sizes below 3B, -.96 % with the 3B rungs (README, item 3)."""
    curves = pd.read_csv(DATA / "olmo_ladder_c4_curves.csv").sort_values("step")
    runs = curves.groupby("run").agg(
        N=("N", "first"), D=("tokens", "max"), loss=("c4_loss", lambda loss: loss.tail(5).mean())
    )
    ladder = ~runs.index.str.endswith("-rerun") & ~runs.index.str.contains(r"0\.5xC|peteish")
    runs = runs[ladder | runs.index.isin(["peteish13_eval_final", "peteish7_eval_full"])].reset_index()
    rollout = roll_out(runs.assign(trunk=runs["run"], C=6 * runs["N"] * runs["D"]), "N", steps_ahead=3)
    found = {}
    for one in rollout.windows:
        if "peteish13_eval_final" in one.runs and "chinchilla" in one.predicted:
            i = one.runs.index("peteish13_eval_final")
            found[one.n_fitted] = one.predicted["chinchilla"][i] / one.actual[i] - 1
    assert found[16] == pytest.approx(-0.0383, abs=1e-4)
    assert found[20] == pytest.approx(-0.0096, abs=1e-4)


@public_data
def test_gadres_five_points_predict_their_over_trained_targets():
    """L = a N^b + c 6^(b/2) (M N)^b + E with M = D/N is the tied law: alpha = -b, A = a, B = c 6^(b/2).

    From C = 6 N D: (a' M^eta + b' M^-eta) C^-eta = a' 6^-eta N^-2eta + b' 6^-eta (M N)^-2eta, 2 eta = alpha.
    They minimise the squares of L itself, not of ln L. Weights (L_hat - L) L_hat/ln(L_hat/L) turn the one
    into the other: at their fixed point the two gradients are the same.
    """
    runs = pd.read_csv(DATA / "gadre_overtraining.csv")
    runs = runs[runs["dataset_name"] == "rpj"]
    testbed = runs["N"] < 1e9
    five = runs[testbed & ((runs["tok_mult"] == 20) | ((runs["tok_mult"] == 320) & (runs["N"] < 2e7)))]
    assert len(five) == 5
    rows = make_rows({"N": five["N"], "D": five["D"]}, five["loss_c4_val"])
    weights = rows.loss**2
    for _ in range(12):
        law = fit_law(ChinchillaTied, rows, weights=weights, delta=1e3).law
        predicted = law.loss(five["N"], five["D"])
        weights = (predicted - rows.loss) * predicted / np.log(predicted / rows.loss)
    assert law.alpha == pytest.approx(0.272851, abs=1e-6)
    assert law.E == pytest.approx(1.836648, abs=2e-6)  # noqa: SIM300
    for size, multiple, error in ((1.4e9, 640, 0.007103), (6.8e9, 20, 0.007320)):
        target = runs[(runs["N"] > size) & (runs["N"] < 1.1 * size) & (runs["tok_mult"] == multiple)].iloc[0]
        assert abs(law.loss(target["N"], target["D"]) / target["loss_c4_val"] - 1) == pytest.approx(
            error, abs=1e-6
        )

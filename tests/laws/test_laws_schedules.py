"""Laws of the learning rate: sums, derivatives and fits against truths, public curves and own branches."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.api.schedule_laws import predicted_branches
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.schedules.annealing import MultiPower, Tissue
from scaling_laws.laws.schedules.best import USUAL, best_schedule, usual_schedule
from scaling_laws.laws.schedules.curves import ScheduleCurve, make_curve
from scaling_laws.laws.schedules.falls import falls_of
from scaling_laws.laws.schedules.fitting import fit_schedule_law
from scaling_laws.laws.schedules.whole_curves import coordinates_of_schedule
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import load_study
from scaling_laws.study.schedule import Schedule

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[3] / "shared" / "data"))
RESULTS = Path(__file__).parents[2] / "results"
PEAK, WARMUP = 1e-3, 50
TRUE_TISSUE = Tissue(L0=2.5, A=0.6, alpha=0.45, B=150.0, memory_steps=120.0)
TRUE_POWER = MultiPower(L0=2.5, A=0.6, alpha=0.45, B=250.0, C=1.5, beta=0.5, gamma=0.6)


def a_schedule(decay, steps, final_share=0.1, points=60):
    of = Schedule(decay=decay, warmup_steps=WARMUP, cooldown_share=0.25, final_share=final_share)
    rates = PEAK * np.array([of.factor(k, steps) for k in range(steps)])
    step = np.unique(np.linspace(WARMUP + 10, steps, points).round().astype(int))
    return ScheduleCurve(run=f"{decay}_{steps}", rates=rates, step=step, loss=np.full(len(step), np.nan))


def measured(law, schedule, sd=0.0005, seed=0):
    random = np.random.default_rng(seed + len(schedule.rates))
    losses = law.losses(falls_of([schedule], warm_up=law.warm_up))
    return replace(schedule, loss=losses * np.exp(sd * random.normal(size=len(losses))))


def plain_sum(law, schedule, t):
    """The definition, term by term."""
    rates, summed = schedule.rates, schedule.summed
    change = np.diff(rates, prepend=0.0)[:t]
    if not law.warm_up:
        change[: schedule.peak_step] = 0.0
    k = np.arange(1, t + 1)
    if isinstance(law, Tissue):
        S2 = sum(-change[j - 1] * sum(law.momentum ** (i - j) for i in range(j, t + 1)) for j in k)
        brought = -law.B * (1 - law.momentum) * S2
    else:
        x = law.C * np.maximum(rates[:t], 1e-4 * PEAK) ** -law.gamma * (summed[t] - summed[k - 1])
        brought = law.B * np.sum(change * (1 - (1 + x) ** -law.beta))
    return law.L0 + law.A * summed[t] ** -law.alpha + brought


@pytest.mark.parametrize("law", [TRUE_TISSUE, TRUE_POWER], ids=["tissue", "multi_power"])
@pytest.mark.parametrize("decay", ["cosine", "cooldown"])
def test_terms_taken_together_give_the_plain_sum(law, decay):
    schedule = a_schedule(decay, 500).at([200, 400, 495])
    losses = law.losses(falls_of([schedule], warm_up=law.warm_up))
    exact = [plain_sum(law, schedule, int(t)) for t in schedule.step]
    assert np.abs(losses / exact - 1).max() < 3e-5
    assert np.ptp(losses - law.at(schedule.summed[schedule.step])) > 0.01  # the sums matter


@pytest.mark.parametrize("law", [TRUE_TISSUE, TRUE_POWER], ids=["tissue", "multi_power"])
def test_derivatives_are_those_of_differences(law):
    schedule = measured(law, a_schedule("cosine", 600, points=12))
    falls = falls_of([schedule], warm_up=law.warm_up)
    rows = make_rows({"S1": falls.summed}, schedule.loss)
    coordinates = coordinates_of_schedule(type(law), rows, falls)
    model = coordinates.model
    theta = np.array([[0.9, -1.0, 0.4, 5.0, *np.linspace(0.3, 0.6, coordinates.n_of_G)]])
    found, pull = model.predict(theta), np.linspace(-1, 2, 12)[None]
    curvature = model.curvature(theta, found, pull)
    for j in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[0, j] = 1e-5
        ahead, behind = model.predict(theta + step), model.predict(theta - step)
        slope = (ahead.log_loss - behind.log_loss) / 2e-5
        assert np.allclose(found.jacobian[..., j], slope, rtol=1e-5, atol=1e-9)
        bend = np.einsum("sni,sn->si", (ahead.jacobian - behind.jacobian) / 2e-5, pull)
        assert np.allclose(curvature[:, j], bend, rtol=1e-4, atol=1e-8)


@pytest.fixture(scope="module")
def tissue_fit():
    curves = [measured(TRUE_TISSUE, a_schedule(d, s)) for d, s in (("cosine", 1500), ("cooldown", 1000))]
    return fit_schedule_law(curves, Tissue, resamples=80)


def test_a_known_law_is_found_and_predicts_another_schedule(tissue_fit):
    assert tissue_fit.fit.identified and tissue_fit.fit.certificate.share_at_best >= 0.5
    assert tissue_fit.fit.certificate.gradient_norm < 1e-8
    for name, truth in vars(TRUE_TISSUE).items():
        low, high = tissue_fit.intervals[name]
        assert low < truth < high and high / low < 3, name
    other = measured(TRUE_TISSUE, a_schedule("linear", 1400))
    found = tissue_fit.predict(other)
    assert not found.fitted and np.abs(found.relative_error).mean() < 0.001
    assert found.covered > 0.8 and found.reason == ""
    longer = tissue_fit.predict(a_schedule("cosine", 6000))
    wide, narrow = (np.log(each.high / each.low)[-1] for each in (longer, found))
    assert longer.beyond > 3 and wide > 1.5 * narrow


def test_curves_at_a_constant_rate_do_not_show_what_a_fall_brings():
    constant = measured(TRUE_TISSUE, a_schedule("constant", 1200))
    found = fit_schedule_law([constant], Tissue)
    assert not found.fit.identified and "comes down" in found.fit.reason and not found.intervals
    with pytest.raises(InputError, match="not identified"):
        best_schedule(found, steps=1200)


def test_the_best_schedule_is_better_than_the_usual_ones(tissue_fit):
    best = best_schedule(tissue_fit, steps=1200)
    assert {gain.name for gain in best.gains} == set(USUAL)
    for gain in best.gains:
        assert gain.gain > 0 and gain.loss == pytest.approx(best.loss + gain.gain)
    rates = best.schedule.rates
    assert np.all(np.diff(rates[WARMUP + 1 :]) <= 1e-12) and rates.max() <= PEAK * 1.001
    exact = TRUE_TISSUE.losses(falls_of([best.schedule], warm_up=False))[0]
    usual = usual_schedule("cosine to 0", steps=1200, peak=PEAK, warmup_steps=WARMUP)
    gained = TRUE_TISSUE.losses(falls_of([usual], warm_up=False))[0] - exact
    low, high = next(gain.interval for gain in best.gains if gain.name == "cosine to 0")
    assert low < gained < high
    with pytest.raises(InputError, match="the peak is 1; the fitted curves"):
        best_schedule(tissue_fit, steps=1200, peak=1.0)


def test_gaps_are_filled_linearly_and_said():
    curve = make_curve("a", [10, 20, 30], [1e-3, 1e-3, 0.0], [4.0, 3.0, 2.0])
    assert curve.rates[4] == pytest.approx(5e-4) and curve.rates[24] == pytest.approx(5e-4)
    assert curve.filled_share == pytest.approx(0.9) and curve.peak_step == 10
    for step, rate, said in (
        ([1.5], [1e-3], "not a whole number"),
        ([1, 1], [1e-3, 1e-3], "has step 1 twice"),
        ([1, 2], [1e-3, -1.0], "learning rate of step 2 is -1"),
        ([1, 2], [0.0, 0.0], "always 0"),
    ):
        with pytest.raises(InputError, match=said):
            make_curve("a", step, rate, np.ones(len(step)))


def test_a_studys_branches_judge_what_its_trunks_predict():
    found = predicted_branches(load_study(RESULTS / "quick"))
    predicted = [each for each in found if each.predicted is not None]
    assert len(predicted) >= 8 and all(each.reason for each in found if each.predicted is None)
    error = np.median([abs(each.relative_error) for each in predicted])
    trunk = np.median([each.before_cooldown / each.measured - 1 for each in predicted])
    assert error < 0.02 < 4 * error < trunk


PUBLISHED_25M = MultiPower(
    L0=3.04045406,
    A=0.52468604,
    alpha=0.50786857,
    B=363.78751622,
    C=2.06560812,
    beta=0.58279013,
    gamma=0.64142257,
)


def public_curves(size):
    """The public curves with the rate of every step (../shared/data/README.md, item 9)."""
    table = pd.read_csv(DATA / "multi_power_law_curves.csv")
    curves = {}
    for name, rows in table[table["size"] == size].groupby("schedule"):
        kind, *numbers = str(name).split("_")
        step = np.arange(1, int(rows["step"].max()) + 1)
        rates = np.minimum(3e-4, 3e-4 * step / 2160)
        late = (step - 20_000) / 4_000
        if kind == "cosine":
            share = (step - 2160) / (int(numbers[0]) - 2160)
            rates = np.where(step >= 2160, 3e-5 + 2.7e-4 * (1 + np.cos(np.pi * share)) / 2, rates)
        if kind == "wsdcon":
            rates = np.where(step >= 8000, int(numbers[0]) * 1e-5, rates)
        if kind == "wsdld":
            rates = np.where(late >= 0, 3e-4 - 2.7e-4 * late, rates)
        if kind == "wsd":
            rates = np.where(late >= 0, 3e-4 * 0.1**late, rates)
        steps, losses = rows["step"].to_numpy(dtype=np.intp), rows["loss"].to_numpy()
        curves[str(name)] = ScheduleCurve(run=str(name), rates=rates, step=steps, loss=losses)
    return curves


@pytest.mark.skipif(not (DATA / "multi_power_law_curves.csv").exists(), reason=f"no public curves in {DATA}")
def test_the_published_multi_power_law_is_no_optimum_and_three_times_the_length_is_not_identified():
    curves = public_curves("25M")
    fitted = [curves[name] for name in ("cosine_24000", "constant_24000", "wsdcon_9")]
    found = fit_schedule_law(fitted, MultiPower, resamples=25)
    residual = np.log(PUBLISHED_25M.losses(falls_of(fitted, warm_up=True))) - np.log(
        np.concatenate([curve.loss for curve in fitted])
    )
    near = np.clip(residual, -1e-3, 1e-3)
    published = np.sum(near**2 / 2 + 1e-3 * (np.abs(residual) - np.abs(near)))
    assert published == pytest.approx(0.000291223, rel=0.01)
    assert found.fit.objective < 0.0001392 and published > 2 * found.fit.objective
    assert found.fit.certificate.share_at_best > 0.5 and found.fit.certificate.gradient_norm < 1e-8
    errors = {"wsd_20000_24000": 0.045, "wsdcon_18": 0.076, "constant_72000": 0.131, "cosine_72000": 0.383}
    for name, error in errors.items():
        prediction = found.predict(curves[name])
        assert 100 * np.abs(prediction.relative_error).mean() == pytest.approx(error, abs=0.004), name
        assert prediction.covered > 0.9, name
    longer = found.predict(curves["constant_72000"])
    assert "3.1 times as long as the longest fitted curve" in longer.reason
    inside = found.predict(curves["wsdld_20000_24000"])
    assert inside.reason == "" and longer.rolled_out > 4 * found.row_sd


def test_both_laws_in_python_and_what_one_says_of_the_other():
    curve = measured(TRUE_TISSUE, a_schedule("cosine", 700, points=30))
    rates = curve.rates[curve.step - 1]
    rows = pd.DataFrame({"step": curve.step, "learning_rate": rates, "loss": curve.loss})
    found = sl.fit_schedule(rows, resamples=0)
    assert {law.form.form for law in found.laws} == {"tissue", "multi_power"}
    assert "are filled linearly" in found.summary() and found.to_json()["kind"] == "schedules"
    with pytest.raises(InputError, match="not a law of the schedule; there are tissue, multi_power"):
        sl.fit_schedule(rows, "annealing")
    with pytest.raises(InputError, match="no curve is called 'b'; there are curve"):
        sl.fit_schedule(rows, held_out=["b"])
    with pytest.raises(InputError, match="learning_rate is missing"):
        sl.fit_schedule(rows.drop(columns="learning_rate"))

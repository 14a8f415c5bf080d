"""Claims about batches, steps and the frontier of compute (Kaplan 2020, sections 5 and 6, appendix B)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.laws.batch.batch_scan import FEWEST_BATCHES
from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.batch.constant_rate import curves_of_study, falling_curve
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.fit.straight_line import line_through, mean_interval
from scaling_laws.laws.forms.single import PowerD
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.papers.claim import Claim, Finding, Verdict, judged, not_measured, too_little
from scaling_laws.papers.kaplan2020.time_points import TimePoints, time_points
from scaling_laws.report.evidence import Laws, StudyTables, find_allocation
from scaling_laws.study.recipe import for_training_time
from scaling_laws.study.records import MAIN_CORPUS

TEST_LOSS = f"{MAIN_CORPUS}_loss_nats"
FEWEST_SIZES = 3
FEWEST_POINTS = 8
"""Of a size, for an alpha_S of its own."""
CHEAP_SIZES = (0.6, 2.2)
"""N / N_opt."""
WIDEST = 0.5
"""Half the interval of (1.8)'s difference, as a share of the exponent: wider ones say nothing."""


def _entry(laws: Laws, key: str, family: str | None) -> Mapping[str, Any]:
    reason = "no learning curves"
    return next((each for each in laws.get(key, ()) if each["family"] == family), {"reason": reason})


def _interval(ends: Any) -> Interval:
    return (None, None) if not ends else (ends[0], ends[1])


def _inverse(ends: Any) -> Interval:
    low, high = _interval(ends)
    return (0.0 if high is None else 1 / high), (None if not low else 1 / low)


def _no_batch_law(law: Mapping[str, Any]) -> Finding:
    """Whether nobody scanned batches, or the scan did not suffice."""
    why = f"no law of the critical batch: {law['reason']}"
    scanned = any(level["n_batches"] >= FEWEST_BATCHES for level in law.get("levels", ()))
    return too_little(why) if scanned else not_measured(why)


def _batch_grows(tables: StudyTables, laws: Laws) -> Finding:
    law = _entry(laws, "critical_batch", tables.main_family)
    if not law.get("identified"):
        return _no_batch_law(law)
    n_levels = sum(level["B_crit"] is not None for level in law["levels"])
    context = f"{n_levels} losses and sizes"
    return judged(
        1 / law["parameters"]["alpha_B"], _inverse(law["intervals"]["alpha_B"]), 1.0, np.inf, context
    )


def _loss_alone(tables: StudyTables, laws: Laws) -> Finding:
    law = _entry(laws, "critical_batch", tables.main_family)
    size = law.get("size_dependence") or {}
    if not law.get("identified"):
        return _no_batch_law(law)
    if size.get("exponent") is None:
        return too_little(size.get("sentence") or "one size")
    return judged(size["exponent"], _interval(size["interval"]), -0.25, 0.25)


def _noise_scale(tables: StudyTables, laws: Laws) -> Finding:
    law = _entry(laws, "critical_batch", tables.main_family)
    levels = [each for each in law.get("levels", ()) if each["B_crit"] and each["noise_scale"]]
    if not levels:
        return not_measured("no loss has both B_crit and a noise scale")
    table = pd.DataFrame(levels)
    table = table.assign(ratio=np.log(table["noise_scale"] / table["B_crit"]))
    if len(table) < 3:
        return too_little(f"{len(table)} losses", float(np.exp(table["ratio"].mean())))
    value, (low, high) = mean_interval(table["ratio"])
    interval = (None if low is None else float(np.exp(low))), (None if high is None else float(np.exp(high)))
    return judged(float(np.exp(value)), interval, 1 / 3, 3.0, f"{len(table)} losses and sizes")


def _points(tables: StudyTables, laws: Laws) -> TimePoints | None:
    """Learning curves of the main family at a constant rate; None without any."""
    runs = tables.complete
    if runs.empty or TEST_LOSS not in tables.curves.columns:
        return None
    runs = for_training_time(runs[runs["family"] == tables.main_family])
    curves = tables.curves[tables.curves["run"].isin(runs["run"])].dropna(subset=[TEST_LOSS])
    if curves.empty:
        return None
    points = time_points(curves_of_study(curves, runs, loss=TEST_LOSS, n=laws["conventions"]["N"]))
    return points if len(points.N) else None


def _sample_efficiency(tables: StudyTables, laws: Laws) -> Finding:
    points = _points(tables, laws)
    if points is None:
        return not_measured("no learning curves at a constant rate")
    batch = float(pd.Series(points.batch_tokens).mode().iloc[-1])
    table = pd.DataFrame(
        {
            "N": points.N[points.training],
            "training": points.training,
            "step": points.steps,
            "loss": points.loss,
        }
    )[points.batch_tokens[points.training] == batch]
    curves = [
        (float(rows["N"].iloc[0]), falling_curve(rows["step"], rows["loss"]))
        for _, rows in table.groupby("training")
    ]
    levels = np.geomspace(table["loss"].min(), table["loss"].max(), 40)
    log_step = np.array([curve.log_step_at(levels) for _, curve in curves])
    N = np.array([N for N, _ in curves])
    n_sizes = np.array([len(np.unique(N[np.isfinite(column)])) for column in log_step.T])
    wanted = max(FEWEST_SIZES, int(0.7 * len(np.unique(N))))
    if n_sizes.max() < FEWEST_SIZES:
        return too_little("no loss was reached by three sizes")
    level = int(np.flatnonzero(n_sizes >= min(wanted, n_sizes.max()))[0])  # the lowest loss of these
    reached = np.isfinite(log_step[:, level])
    by_size = pd.Series(log_step[reached, level]).groupby(N[reached]).mean()
    line = line_through(np.log(by_size.index.to_numpy(dtype=float)), by_size)
    context = f"tokens to {levels[level]:.2f} nats of {len(by_size)} sizes"
    return judged(line.slope, line.interval, -np.inf, -0.1, context)


def _universal_steps(tables: StudyTables, laws: Laws) -> Finding:
    law = _entry(laws, "critical_batch", tables.main_family)
    points = _points(tables, laws)
    if points is None:
        return not_measured("no learning curves at a constant rate")
    if not law.get("identified"):
        return _no_batch_law(law)
    batch = CriticalBatch(**law["parameters"])
    S_min, N = points.steps_min(batch, points.loss), points.N[points.training]
    exponents = {}
    for size in np.unique(N):
        of_size = size == N
        if of_size.sum() < FEWEST_POINTS:
            continue
        fit = fit_law(
            PowerD, make_rows({"D": S_min[of_size]}, points.loss[of_size], points.training[of_size])
        )
        if fit.identified and fit.law is not None:
            exponents[float(size)] = float(fit.law.beta)
    if len(exponents) < FEWEST_SIZES:
        return too_little(f"{len(exponents)} sizes have an α_S of their own")
    line = line_through(np.log10(list(exponents)), list(exponents.values()))
    values = sorted(exponents.values())
    context = f"{len(values)} sizes, α_S from {values[0]:.2f} to {values[-1]:.2f}"
    return judged(line.slope, line.interval, -0.25, 0.25, context)


def _route(tables: StudyTables, laws: Laws) -> Mapping[str, Any] | Finding:
    """The family's laws of training time, or what there is to say without them."""
    batch = _entry(laws, "critical_batch", tables.main_family)
    if not batch.get("identified"):
        return _no_batch_law(batch)
    entry = _entry(laws, "training_time", tables.main_family)
    steps = entry.get("steps")
    if not steps or not steps["identified"]:
        return too_little(entry["reason"])
    return entry


def _above_converged(tables: StudyTables, laws: Laws) -> Finding:
    route = _route(tables, laws)
    if isinstance(route, Finding):
        return route
    law, draws = route["steps"]["parameters"], route["resamples"]
    ratio = np.asarray(draws["alpha_N"], dtype=float) / np.asarray(draws["alpha_S"], dtype=float)
    interval = percentile_interval(100 * ratio)
    reached = [
        100 * (point["loss"] / (law["N_c"] / point["N"]) ** law["alpha_N"] - 1) for point in route["envelope"]
    ]
    context = f"on the envelope it is {np.median(reached):.0f} %" if reached else "there is no envelope"
    return judged(100 * law["alpha_N"] / law["alpha_S"], interval, 5.0, 20.0, context)


def _wrong_size(tables: StudyTables, laws: Laws) -> Finding:
    route = _route(tables, laws)
    if isinstance(route, Finding):
        return route

    def cost(alpha_N: float, alpha_S: float) -> float:
        law = ComputeEfficient(alpha_N=alpha_N, N_c=1.0, alpha_S=alpha_S, S_c=1.0, alpha_B=1.0, B_star=1.0)
        return 100 * (float(np.max(law.compute_ratio(CHEAP_SIZES))) - 1)

    law, draws = route["steps"]["parameters"], route["resamples"]
    costs = [cost(*pair) for pair in zip(draws["alpha_N"], draws["alpha_S"], strict=True) if None not in pair]
    return judged(
        cost(law["alpha_N"], law["alpha_S"]), percentile_interval(costs), -np.inf, 30.0, "by (B.16)"
    )


def _optimal(name: str, low: float, high: float, tables: StudyTables, laws: Laws) -> Finding:
    route = _route(tables, laws)
    if isinstance(route, Finding):
        return route
    if name not in route["optimal"]:
        return too_little(route["reason"])
    power = route["optimal"][name]
    C = [point["C_min"] for point in route["envelope"]]
    context = f"{len(C)} points over {np.log10(max(C) / min(C)):.1f} decades of C_min"
    return judged(power["exponent"], _interval(power["exponent_interval"]), low, high, context)


def _optimal_N(tables: StudyTables, laws: Laws) -> Finding:
    return _optimal("N", 0.63, 0.83, tables, laws)


def _optimal_S(tables: StudyTables, laws: Laws) -> Finding:
    return _optimal("S_min", -np.inf, 0.2, tables, laws)


def _cooled(tables: StudyTables, laws: Laws) -> Finding:
    entry = find_allocation(laws, "isoflop", tables.main_family)
    if entry["exponent"] is None:
        return not_measured(entry["reason"] or "no slices of equal compute")
    context = f"{entry.get('n_points', 0)} slices of equal compute"
    return judged(entry["exponent"], _interval(entry["exponent_interval"]), 0.4, 0.65, context)


def _counting(tables: StudyTables, laws: Laws) -> Finding:
    entry = next((e for e in laws.get("kaplan_counting", ()) if e["family"] == tables.main_family), None)
    if entry is None or entry["a"] is None or entry["a_total"] is None:
        return not_measured("no joint law with an irreducible loss in all parameters")
    without, with_them = _interval(entry["a_interval"]), _interval(entry["a_total_interval"])
    value = entry["a"] - entry["a_total"]
    if None in (*without, *with_them):
        return too_little("an exponent has no interval", value)
    interval = (without[0] or 0) - (with_them[1] or 0), (without[1] or 0) - (with_them[0] or 0)
    context = f"{entry['a']:.2f} without and {entry['a_total']:.2f} with embeddings"
    return judged(value, interval, 0.0, np.inf, context)


def _identity(tables: StudyTables, laws: Laws) -> Finding:
    route = _route(tables, laws)
    if isinstance(route, Finding):
        return route
    difference = route["difference"]
    if difference is None:
        return too_little(route["reason"])
    low, high = _interval(difference["interval"])
    measured, predicted = route["alpha_C_min"]["value"], route["predicted_alpha_C_min"]["value"]
    context = f"{predicted:.3f} by (1.8), {measured:.3f} measured"
    if low is None or high is None:
        return too_little(context, difference["value"])
    if low <= 0 <= high and (high - low) / 2 > WIDEST * measured:
        return too_little(f"too wide to tell; {context}", difference["value"], (low, high))
    verdict: Verdict = "confirmed" if low <= 0 <= high else "contradicted"
    return Finding(verdict=verdict, why=context, value=difference["value"], interval=(low, high))


CLAIMS = (
    Claim(
        number=15,
        text="The critical batch grows as the loss falls",
        source="(1.4), (5.3), Fig. 10",
        quantity="1/α_B of B_crit = B_* L^(-1/α_B)",
        paper="4.8",
        rule="Confirmed: the interval lies above 1. Contradicted: it lies below.",
        sweep="batch",
        evaluate=_batch_grows,
    ),
    Claim(
        number=16,
        text="The critical batch depends on the loss, not on the size",
        source="section 5.1, Fig. 10",
        quantity="exponent of N in B_crit beside that of L",
        paper="0",
        rule="Confirmed: the interval lies within 0.25 of 0. Contradicted: it lies outside.",
        sweep="batch",
        evaluate=_loss_alone,
    ),
    Claim(
        number=17,
        text="The gradient noise scale predicts the critical batch",
        source="section 5.1, Fig. 10",
        quantity="noise scale over B_crit, geometric mean",
        paper="roughly 1",
        rule="Confirmed: the interval over losses and sizes lies from 1/3 to 3. Contradicted: it lies "
        "outside.",
        sweep="batch",
        evaluate=_noise_scale,
    ),
    Claim(
        number=18,
        text="Larger networks reach a loss with fewer tokens",
        source="Figs. 2, 19",
        quantity="exponent of N in the tokens to one loss",
        paper="below 0",
        rule="At one batch and a constant rate, the lowest loss that most sizes reached. Confirmed: the "
        "interval lies below -0.1. Contradicted: it lies above.",
        sweep="size",
        evaluate=_sample_efficiency,
    ),
    Claim(
        number=19,
        text="Learning curves of all sizes have one exponent in steps",
        source="section 5.2, (5.6)",
        quantity="change of α_S a decade of N",
        paper="0",
        rule="L = E + (S_c/S_min)^α_S fitted to each size. Confirmed: the interval of the slope of α_S on "
        "log10 N lies within 0.25 of 0. Contradicted: it lies outside.",
        sweep="batch",
        evaluate=_universal_steps,
    ),
    Claim(
        number=20,
        text="Compute is best spent by stopping about 10 % above the converged loss",
        source="(B.5)",
        quantity="α_N/α_S of L(N, S_min), per cent",
        paper="10",
        rule="Confirmed: the interval lies from 5 to 20 %. Contradicted: it lies outside.",
        sweep="batch",
        evaluate=_above_converged,
    ),
    Claim(
        number=21,
        text="A size of 0.6 to 2.2 times the best costs at most a fifth more compute",
        source="(B.16), Fig. 12",
        quantity="extra compute at 0.6 or 2.2 N_opt, per cent",
        paper="20",
        rule="By (B.16) with the exponents of L(N, S_min). Confirmed: the interval lies below 30 %. "
        "Contradicted: above.",
        sweep="batch",
        evaluate=_wrong_size,
    ),
    Claim(
        number=22,
        text="The best size grows as C_min^0.73",
        source="(6.1), Fig. 14",
        quantity="exponent of N along the envelope in C_min",
        paper="0.73",
        rule="Confirmed: the interval lies from 0.63 to 0.83. Contradicted: it lies outside.",
        sweep="batch",
        evaluate=_optimal_N,
    ),
    Claim(
        number=23,
        text="More compute hardly takes more steps",
        source="(6.2), Fig. 14",
        quantity="exponent of S_min along the envelope in C_min",
        paper="0.03",
        rule="Confirmed: the interval lies below 0.2. Contradicted: it lies above.",
        sweep="batch",
        evaluate=_optimal_S,
    ),
    Claim(
        number=24,
        text="Trained to the end of their schedules, networks should grow more slowly: as C^0.5",
        source="Hoffmann et al. 2022, approach 2",
        quantity="exponent of N over slices of equal compute",
        paper="0.49 (Kaplan 0.73)",
        rule="Losses after the learning rate came down. Confirmed: the interval lies from 0.4 to 0.65, which "
        "leaves 0.73 out. Contradicted: it lies outside.",
        sweep="isoflop",
        evaluate=_cooled,
    ),
    Claim(
        number=25,
        text="Leaving embeddings out of N makes that exponent larger",
        source="Pearce & Song 2024",
        quantity="exponent without embeddings less that with them",
        paper="0.28",
        rule="L(N, D) with an irreducible loss in all parameters, seen through either N. Confirmed: the two "
        "intervals leave a difference above 0. Contradicted: below 0.",
        sweep="isoflop",
        evaluate=_counting,
    ),
    Claim(
        number=26,
        text="The exponents agree: 1/α_C = 1/α_N + 1/α_S + 1/α_B",
        source="(1.8), (6.4)",
        quantity="α_C_min by (1.8) less that of the envelope",
        paper="0.004",
        rule="Confirmed: the interval holds 0 and is half as wide as twice α_C_min at most. Contradicted: it "
        "leaves 0 out.",
        sweep="batch",
        evaluate=_identity,
    ),
)

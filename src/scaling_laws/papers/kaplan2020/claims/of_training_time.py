"""Claims about batches, steps and the frontier of compute (Kaplan 2020, sections 5 and 6, appendix B)."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from scaling_laws.laws.batch.batch_scan import FEWEST_BATCHES
from scaling_laws.laws.batch.compute_efficient import ComputeEfficient, change_of_step_exponent
from scaling_laws.laws.batch.constant_rate import falling_curve
from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.straight_line import line_through, mean_interval
from scaling_laws.laws.forms.steps import KaplanNS
from scaling_laws.laws.results.types import CriticalBatchLaw, Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.kaplan2020.route import KaplanRoute
from scaling_laws.papers.kaplan2020.time_points import TimePoints, time_points
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, inconclusive, not_measured

FEWEST_SIZES = 3
CHEAP_SIZES = (0.6, 2.2)
"""N / N_opt."""
RMS = "the rms distance from L(N, S_min) in per cent"
RANK = "the rank correlation of noise scale and critical batch"


def _inverse(ends: Interval) -> Interval:
    low, high = ends
    return (0.0 if high is None else 1 / high), (None if not low else 1 / low)


def _no_batch_law(law: CriticalBatchLaw) -> Finding:
    """Whether nobody scanned batches, or the scan did not suffice."""
    why = f"no law of the critical batch: {law.reason}"
    scanned = any(level.n_batches >= FEWEST_BATCHES for level in law.levels)
    return inconclusive(why) if scanned else not_measured(why)


def _batch_grows(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    law = tables.critical_batch()
    if not law.identified:
        return _no_batch_law(law)
    n_levels = sum(level.B_crit is not None for level in law.levels)
    interval = _inverse(law.intervals["alpha_B"])
    return Measured(value=1 / law.law.alpha_B, interval=interval, context=f"{n_levels} losses and sizes")


def _loss_alone(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    law, size = tables.critical_batch(), tables.critical_batch().size_dependence
    if not law.identified:
        return _no_batch_law(law)
    if size is None or size.exponent is None:
        return inconclusive("one size" if size is None else size.sentence)
    return Measured(value=size.exponent, interval=size.interval or (None, None))


def _noise_scale(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    levels = [level for level in tables.critical_batch().levels if level.noise_scale and level.B_crit]
    by_size: dict[float, list[float]] = {}
    for level in levels:
        assert level.noise_scale is not None and level.B_crit is not None
        by_size.setdefault(level.N, []).append(math.log(level.noise_scale / level.B_crit))
    if not by_size:
        return not_measured("no loss has both B_crit and a noise scale")
    # The levels of one size come from the same few trainings: sizes are what is independent.
    value, (low, high) = mean_interval([float(np.mean(ratios)) for ratios in by_size.values()])
    ranks = pd.DataFrame([(level.noise_scale, level.B_crit) for level in levels]).rank().to_numpy()
    rank = float(np.corrcoef(ranks.T)[0, 1]) if len(levels) > 2 else math.nan
    context = (
        f"{len(levels)} losses of {len(by_size)} size{'s' if len(by_size) > 1 else ''}, "
        f"rank correlation {rank:.2f}"
    )
    if low is None or high is None:
        return inconclusive(context, math.exp(value))
    interval = (math.exp(low), math.exp(high))
    return Measured(value=math.exp(value), interval=interval, context=context, limited={RANK: rank})


def _points(tables: KaplanTables) -> TimePoints | None:
    """Learning curves of the main family at a constant rate; None without any."""
    curves = tables.curves_for_time()
    points = None if curves.empty else time_points(curves)
    return points if points is not None and len(points.N) else None


def _sample_efficiency(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    points = _points(tables)
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
        return inconclusive("no loss was reached by three sizes")
    level = int(np.flatnonzero(n_sizes >= min(wanted, n_sizes.max()))[0])  # the lowest loss of these
    reached = np.isfinite(log_step[:, level])
    by_size = pd.Series(log_step[reached, level]).groupby(N[reached]).mean()
    line = line_through(np.log(by_size.index.to_numpy(dtype=float)), by_size)
    context = f"tokens to {levels[level]:.2f} nats of {len(by_size)} sizes"
    return Measured(value=line.slope, interval=line.interval, context=context)


def _universal_steps(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    """One law of all sizes whose exponent in steps may change with the size: one curve does not tell it."""
    known = _route(tables)
    if isinstance(known, Finding):
        return known
    _, law = known
    points, batch = _points(tables), tables.critical_batch().law
    assert points is not None and batch is not None
    N = points.N[points.training]
    n_sizes = len(np.unique(N))
    if n_sizes < FEWEST_SIZES:
        return inconclusive(f"{n_sizes} sizes")
    value, interval = change_of_step_exponent(law, N, points.steps_min(batch, points.loss), points.loss)
    context = f"{len(points.N)} trainings of {n_sizes} sizes; α_S = {law.alpha_S:.2f} if all sizes share it"
    return Measured(value=value, interval=interval, context=context)


def _route(tables: KaplanTables) -> tuple[KaplanRoute, KaplanNS] | Finding:
    """The family's route with L(N,S_min), or what there is to say without them."""
    if not tables.critical_batch().identified:
        return _no_batch_law(tables.critical_batch())
    route = tables.route()
    return inconclusive(route.reason) if route.law_of_steps is None else (route, route.law_of_steps)


def _above_converged(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    known = _route(tables)
    if isinstance(known, Finding):
        return known
    route, law = known
    interval = percentile_interval(100 * route.draws["alpha_N"] / route.draws["alpha_S"])
    context = "there is no envelope"
    if route.envelope is not None and len(route.envelope.N):
        above = route.envelope.loss / (law.N_c / route.envelope.N) ** law.alpha_N - 1
        context = f"on the envelope it is {100 * np.median(above):.0f} %"
    return Measured(value=float(100 * law.alpha_N / law.alpha_S), interval=interval, context=context)


def _wrong_size(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    known = _route(tables)
    if isinstance(known, Finding):
        return known
    route, law = known

    def cost(alpha_N: float, alpha_S: float) -> float:
        law = ComputeEfficient(alpha_N=alpha_N, N_c=1.0, alpha_S=alpha_S, S_c=1.0, alpha_B=1.0, B_star=1.0)
        return 100 * (float(np.max(law.compute_ratio(CHEAP_SIZES))) - 1)

    draws = route.columns("alpha_N", "alpha_S") or {}
    costs = [cost(alpha_N, alpha_S) for alpha_N, alpha_S in np.hstack(list(draws.values())).tolist()]
    value = cost(float(law.alpha_N), float(law.alpha_S))
    return Measured(value=value, interval=percentile_interval(costs), context="by (B.16)")


def _optimal(name: str, tables: KaplanTables, laws: Laws) -> Measured | Finding:
    known = _route(tables)
    if isinstance(known, Finding):
        return known
    route, _ = known
    power = route.optimal(name)
    if power is None or route.envelope is None:
        return inconclusive(route.reason)
    C = route.envelope.C_min
    context = f"{len(C)} points over {np.log10(C.max() / C.min()):.1f} decades of C_min"
    return Measured(value=power.exponent, interval=power.exponent_interval, context=context)


def _identity(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    known = _route(tables)
    if isinstance(known, Finding):
        return known
    route, _ = known
    assert route.steps is not None and route.steps.certificate is not None
    rms = 100 * route.steps.certificate.rms_log_residual
    difference = route.estimate("difference")
    if difference is None:
        return inconclusive(route.reason)
    low, high = difference.interval
    measured, predicted = route.numbers["alpha_C_min"], route.numbers["predicted alpha_C_min"]
    context = f"{predicted:.3f} by (1.8), {measured:.3f} measured; L(N, S_min) is {rms:.2g} % off"
    if low is None or high is None:
        return inconclusive(context, difference.value)
    return Measured(value=difference.value, interval=(low, high), context=context, limited={RMS: rms})


CLAIMS = (
    Claim(
        slug="critical-batch-grows",
        text="The critical batch grows as the loss falls",
        source="(1.4), (5.3), Fig. 10",
        quantity="1/α_B of B_crit = B_* L^(-1/α_B)",
        paper="4.8",
        confirmed=(1.0, np.inf),
        needs="batch",
        measure=_batch_grows,
    ),
    Claim(
        slug="critical-batch-by-loss-alone",
        text="The critical batch depends on the loss, not on the size",
        source="section 5.1, Fig. 10",
        quantity="exponent of N in B_crit, fitted together with that of L",
        paper="0",
        confirmed=(-0.25, 0.25),
        needs="batch",
        measure=_loss_alone,
    ),
    Claim(
        slug="noise-scale-predicts-batch",
        text="The gradient noise scale predicts the critical batch",
        source="section 5.1, Fig. 10",
        quantity="noise scale over B_crit, geometric mean",
        paper="roughly 1",
        method="Logarithms are averaged over the losses of each size, then over sizes.",
        confirmed=(1 / 3, 3.0),
        limits=(
            Limit(
                name=RANK,
                words="the two have a rank correlation of at least {least:g} over losses",
                least=0.5,
            ),
        ),
        needs="batch",
        measure=_noise_scale,
    ),
    Claim(
        slug="larger-need-fewer-tokens",
        text="Larger networks reach a loss with fewer tokens",
        source="Figs. 2, 19",
        quantity="exponent of N in the tokens that reach one loss",
        paper="below 0",
        method="At one batch and a constant learning rate, for the lowest loss that most sizes reached.",
        confirmed=(-np.inf, -0.1),
        needs="size",
        measure=_sample_efficiency,
    ),
    Claim(
        slug="one-exponent-in-steps",
        text="Learning curves of all sizes have the same exponent in steps",
        source="section 5.2, (5.6)",
        quantity="relative change of α_S per decade of N",
        paper="0",
        method="L(N, S_min) is fitted to all sizes by least squares, with an exponent α_S that is linear "
        "in ln N. The interval leaves out each size in turn.",
        confirmed=(-0.25, 0.25),
        needs="batch",
        measure=_universal_steps,
    ),
    Claim(
        slug="stop-above-converged",
        text="Compute is best spent by stopping about 10 % above the converged loss",
        source="(B.5)",
        quantity="α_N/α_S of L(N, S_min), per cent",
        paper="10",
        confirmed=(5.0, 20.0),
        needs="batch",
        measure=_above_converged,
    ),
    Claim(
        slug="wrong-size-costs-little",
        text="A size of 0.6 to 2.2 times the best costs at most a fifth more compute",
        source="(B.16), Fig. 12",
        quantity="extra compute at 0.6 or 2.2 N_opt, per cent",
        paper="20",
        method="Computed by (B.16) from the exponents of L(N, S_min).",
        confirmed=(-np.inf, 30.0),
        needs="batch",
        measure=_wrong_size,
    ),
    Claim(
        slug="best-size-grows-with-compute",
        text="The best size grows as C_min^0.73",
        source="(6.1), Fig. 14",
        quantity="exponent of N along the envelope in C_min",
        paper="0.73",
        confirmed=(0.63, 0.83),
        needs="batch",
        measure=partial(_optimal, "N"),
    ),
    Claim(
        slug="steps-hardly-grow-with-compute",
        text="More compute hardly needs more steps",
        source="(6.2), Fig. 14",
        quantity="exponent of S_min along the envelope in C_min",
        paper="0.03",
        confirmed=(-np.inf, 0.2),
        needs="batch",
        measure=partial(_optimal, "S_min"),
    ),
    Claim(
        slug="exponents-agree",
        text="The exponents agree: 1/α_C = 1/α_N + 1/α_S + 1/α_B",
        source="(1.8), (6.4)",
        quantity="α_C_min by (1.8) minus that of the envelope",
        paper="0.004",
        # A fifth of the paper's 0.050: an interval that must hold 0 fails by its precision alone.
        confirmed=(-0.01, 0.01),
        limits=(Limit(name=RMS, words="the losses lie within {most:g} % (rms) of L(N, S_min)", most=3.0),),
        needs="batch",
        measure=_identity,
    ),
)

"""Which one further run would tell most about a target, for what it costs.

The bootstrap's draws are taken as the posterior of the law. To first order, seeing ln L of a new run takes

    cov(target, ln L)^2 / (var(ln L) + row_sd^2)

from the variance of the target: the update of a linear Gaussian model, its gain in Fisher information.
Covariances are taken over the draws' predictions, not over parameters: E often lies at zero in some draws,
where a derivative in ln E means nothing.

Shapes: draws (r,), candidates (k,).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from scaling_laws.laws.fit.intervals import Bootstrap
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray
from scaling_laws.laws.plan.choice import chosen_fit, family_to_plan, joint_draws
from scaling_laws.laws.results.types import Laws
from scaling_laws.study.errors import InputError

Target = Literal["loss", "a_opt"]
TARGETS: tuple[Target, ...] = ("loss", "a_opt")
BEST = 5
BEYOND = 8.0
"""Candidates go up to this many times the largest N and D of the runs, and down to the smallest."""
FEWEST_DRAWS = 50
WORTHWHILE = 0.25
"""Share of the largest narrowing that a candidate must give: a tiny run is cheap, and tells nothing."""
LINEAR = 0.5
"""Above this standard deviation of ln L over the draws, a first-order update promises more than it keeps."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One candidate run.

    Attributes:
        N, D: parameters, tokens.
        cost: 6 N D, FLOPs.
        loss_nats: what the law expects of it.
        narrowing: share by which the target's interval is expected to shrink, 0 to 1.
        narrowing_per_flop: narrowing over cost, relative to the best candidate's, 1; 0 below `WORTHWHILE`.
    """

    N: float
    D: float
    cost: float
    loss_nats: float
    narrowing: float
    narrowing_per_flop: float


@dataclass(frozen=True, kw_only=True)
class NextRung:
    """The answer.

    Attributes:
        target: what is to be known better, in words.
        target_sd: its standard deviation over the draws: of ln loss, or of a_opt.
        best: the candidates of most narrowing a FLOP, the best first.
        most: the candidate of most narrowing, whatever it costs within the limit.
        warning: why the numbers are to be doubted; empty where nothing is known against them.
    """

    target: str
    target_sd: float
    best: tuple[Rung, ...]
    most: Rung
    warning: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def next_rung_from_laws(
    laws: Laws,
    *,
    family: str | None = None,
    target: Target = "loss",
    at: tuple[float, float] | None = None,
    cost: float | None = None,
) -> NextRung:
    """`next_rung` of the law that the planner would use, around the runs that it was fitted to.

    Args:
        at: (N, D) of the run whose loss is the target; needed for `target="loss"`.
        cost: the most a run may cost, FLOPs; by default that of the dearest fitted corner, N and D largest.

    Raises:
        InputError: no law, no draws, or no candidate within the cost.
    """
    family = family_to_plan(laws, family)
    fit, _ = chosen_fit(laws, family)
    draws = joint_draws(fit)
    if draws is None or np.size(draws.draws.a_opt) < FEWEST_DRAWS:
        raise InputError(f"{laws.study}: --next-rung needs the law's resamples; refit it")
    if not {"N", "D"} <= fit.ranges.keys():
        raise InputError(f"{laws.study}: the law's fit lacks ranges of N and D; refit it")
    N_range, D_range = fit.ranges["N"], fit.ranges["D"]
    limit = cost or FLOPS_PER_PARAMETER_TOKEN * N_range[1] * D_range[1]
    return next_rung(fit.law, draws, candidates(N_range, D_range, limit), target=target, at=at)


def candidates(
    N_range: tuple[float, float], D_range: tuple[float, float], cost: float
) -> tuple[FloatArray, FloatArray]:
    """A grid by factors of 2^(1/2) from the smallest N and D to `BEYOND` times the largest, within the cost.

    Raises:
        InputError: nothing is within the cost.
    """

    def ladder(low: float, high: float) -> FloatArray:
        return np.asarray(low * 2 ** np.arange(0, np.log2(BEYOND * high / low) + 0.01, 0.5))

    N, D = (axis.ravel() for axis in np.meshgrid(ladder(*N_range), ladder(*D_range)))
    costs = FLOPS_PER_PARAMETER_TOKEN * N * D
    within = costs <= cost * (1 + 1e-9)
    if not within.any():
        least = FLOPS_PER_PARAMETER_TOKEN * N_range[0] * D_range[0]
        raise InputError(f"--cost is {cost:.3g}: the smallest fitted run costs {least:.3g} FLOPs; allow more")
    return N[within], D[within]


def next_rung(
    law: JointLaw,
    result: Bootstrap[JointLaw],
    runs: tuple[FloatArray, FloatArray],
    *,
    target: Target = "loss",
    at: tuple[float, float] | None = None,
) -> NextRung:
    """Rank candidate runs by how much they narrow the target a FLOP.

    Args:
        law: at its optimum, for the expected losses.
        result: its draws, and the noise of one run.
        runs: (N, D) of the candidates, (k,) each.
        target: the loss at `at`, or a_opt.
        at: (N, D).

    Raises:
        InputError: no point for the loss, or an unknown target, or draws that do not differ.
    """
    if target not in TARGETS:
        raise InputError(f"no target {target!r}; there are {', '.join(TARGETS)}")
    N, D = runs
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        predictions = np.log(
            np.stack([result.draws.loss(*run) for run in zip(N, D, strict=True)], axis=1)
        )  # (r, k)
        if target == "a_opt":
            goal, words = np.asarray(result.draws.a_opt, dtype=np.float64), "a_opt, N_opt ~ C^a_opt"
        else:
            if at is None:
                raise InputError("the loss of which run? give --compute, or N and D")
            goal = np.log(result.draws.loss(*at))
            words = f"the loss at N = {at[0]:.3g}, D = {at[1]:.3g}"
    usable = np.isfinite(goal) & np.isfinite(predictions).all(axis=1)
    goal, predictions = goal[usable], predictions[usable]
    variance = float(np.var(goal)) if len(goal) else 0.0
    if not variance > 0:
        raise InputError(f"{words}: the draws do not differ; there is no interval to narrow")
    goal_centred = goal - goal.mean()
    centred = predictions - predictions.mean(axis=0)
    covariance = goal_centred @ centred / len(goal)
    spread = np.mean(centred**2, axis=0) + result.row_sd**2
    reduction = np.divide(covariance**2, spread, out=np.zeros_like(spread), where=spread > 0)
    narrowing = 1 - np.sqrt(np.clip(1 - reduction / variance, 0.0, 1.0))
    cost = FLOPS_PER_PARAMETER_TOKEN * N * D
    per_flop = np.where(narrowing >= WORTHWHILE * narrowing.max(), narrowing / cost, 0.0)
    per_flop = per_flop / max(per_flop.max(), np.finfo(np.float64).tiny)
    losses = law.loss(N, D)

    def rung(i: int) -> Rung:
        return Rung(
            N=float(N[i]),
            D=float(D[i]),
            cost=float(cost[i]),
            loss_nats=float(losses[i]),
            narrowing=float(narrowing[i]),
            narrowing_per_flop=float(per_flop[i]),
        )

    order = [i for i in np.argsort(-per_flop, kind="stable")[:BEST] if per_flop[i] > 0]
    return NextRung(
        target=words,
        target_sd=float(np.sqrt(variance)),
        best=tuple(rung(int(i)) for i in order),
        most=rung(int(np.argmax(narrowing))),
        warning=_warning(np.sqrt(variance) if target == "loss" else 0.0, int(usable.sum()), len(usable)),
    )


def _warning(log_sd: float, n_usable: int, n_draws: int) -> str:
    """What is known against a first-order answer, in words."""
    if log_sd > LINEAR:
        return (
            f"the target is known to a factor of {np.exp(log_sd):.2g} only: too wide for a first-order answer"
        )
    if n_usable < n_draws:
        return f"{n_draws - n_usable} of {n_draws} draws have no finite prediction there and were left out"
    return ""

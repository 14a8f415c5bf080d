"""A question to a law of N and D: the N and the D that answer it, at the law and at each of its draws."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.intervals import Bootstrap, Interval, loss_interval, percentile_interval
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray
from scaling_laws.laws.plan.question import SIZE_RATIOS, Question, SizeCost, TrainingPlan
from scaling_laws.study.errors import InputError


def answer(
    law: JointLaw,
    question: Question,
    *,
    draws: Bootstrap[JointLaw] | None,
    source: str,
    convention: str,
    notes: tuple[str, ...],
) -> TrainingPlan:
    """The plan of a law of N and D, without batch and learning rate.

    Args:
        draws: for the intervals; None where there are none.

    Raises:
        InputError: the target loss is never reached, or the answer is less than one parameter or token.
    """
    N, D = (float(value) for value in _solve(law, question))
    if not (np.isfinite(N) and np.isfinite(D)):
        raise InputError(_never(law, question))
    if N < 1 or D < 1:
        raise InputError(
            f"{question.words()}: the law gives N = {N:.2g} and D = {D:.2g}, less than one; ask for more"
        )
    C = question.C or FLOPS_PER_PARAMETER_TOKEN * N * D
    loss = float(law.loss(N, D))
    best_C = float(law.compute_to_reach(loss))
    return TrainingPlan(
        C=C,
        N=N,
        D=D,
        batch_tokens=None,
        steps=None,
        loss_nats=loss,
        intervals=_intervals(draws, question, N, D) if draws else {},
        compute_over_optimal=C / best_C if best_C > 0 else None,
        compute_ratio_half_N=compute_ratio(law, C, 0.5),
        compute_ratio_double_N=compute_ratio(law, C, 2.0),
        size_costs=size_costs(law, C),
        source=source,
        convention=convention,
        notes=notes,
    )


def compute_ratio(law: JointLaw, C: float, size_ratio: float) -> float | None:
    """Compute to reach the optimum's loss at N = size_ratio * N_opt, over C; None if it is never reached."""
    N, D = law.optimum(C)
    tokens = float(law.tokens_to_reach(law.loss(N, D), size_ratio * N))
    ratio = FLOPS_PER_PARAMETER_TOKEN * size_ratio * float(N) * tokens / C
    return ratio if np.isfinite(ratio) else None


def size_costs(law: JointLaw, C: float) -> tuple[SizeCost, ...]:
    """The loss at `SIZE_RATIOS` of N_opt, at equal compute."""
    N_opt, D_opt = (float(value) for value in law.optimum(C))
    best = float(law.loss(N_opt, D_opt))
    losses = {ratio: float(law.loss(ratio * N_opt, D_opt / ratio)) for ratio in SIZE_RATIOS}
    return tuple(
        SizeCost(
            size_ratio=ratio,
            N=ratio * N_opt,
            D=D_opt / ratio,
            loss_nats=loss,
            relative_excess=loss / best - 1,
        )
        for ratio, loss in losses.items()
    )


def _solve(law: JointLaw, question: Question) -> tuple[FloatArray, FloatArray]:
    """(N, D); infinite where the target loss is never reached. Broadcasts over draws."""
    C, N, D, loss = question.C, question.N, question.D, question.loss_nats
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if N is not None and loss is not None:
            return np.asarray(N), law.tokens_to_reach(loss, N)
        if loss is not None:
            least = law.compute_to_reach(loss)
            found_N, found_D = law.optimum(least)
            reached = np.isfinite(least)
            return np.where(reached, found_N, np.inf), np.where(reached, found_D, np.inf)
        if N is not None and D is not None:
            return np.asarray(N), np.asarray(D)
        if C is None:
            if N is not None:
                return np.asarray(N), law.tokens_of_best_size(N)
            assert D is not None
            return law.size_of_best_tokens(D), np.asarray(D)
        if N is not None:
            return np.asarray(N), np.asarray(C / (FLOPS_PER_PARAMETER_TOKEN * N))
        if D is not None:
            return np.asarray(C / (FLOPS_PER_PARAMETER_TOKEN * D)), np.asarray(D)
        return law.optimum(C)


def _intervals(result: Bootstrap[JointLaw], question: Question, N: float, D: float) -> dict[str, Interval]:
    """90 % of whatever the question left open, and of the loss of a new run at (N, D)."""
    N_draws, D_draws = _solve(result.draws, question)
    with np.errstate(invalid="ignore", over="ignore"):  # a draw may have no optimum
        C_draws = FLOPS_PER_PARAMETER_TOKEN * N_draws * D_draws
    open_quantities = {"N": N_draws, "D": D_draws, "C": C_draws}
    intervals = {
        name: percentile_interval(values)
        for name, values in open_quantities.items()
        if name not in question.given and np.ndim(values)  # N D / 6 is no matter of the law
    }
    return intervals | {"loss_nats": loss_interval(result, N=N, D=D)}


def _never(law: JointLaw, question: Question) -> str:
    """Why the target loss is out of reach."""
    irreducible = float(law.loss(np.inf, np.inf))
    target = f"a loss of {question.loss_nats:g} nats is never reached"
    if question.loss_nats is not None and question.loss_nats <= irreducible:
        return f"{target}: the law's irreducible loss is E = {irreducible:.4g}; ask for a higher loss"
    if question.N is not None:
        floor = float(law.loss(question.N, np.inf))
        return (
            f"{target} with N = {question.N:g}: unlimited tokens bring it to {floor:.4g}; ask for a larger N"
        )
    return f"{target} with a finite budget: the law's irreducible loss is E = {irreducible:.4g}; ask for more"

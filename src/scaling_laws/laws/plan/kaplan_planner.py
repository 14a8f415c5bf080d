"""Kaplan et al. 2020 as a planner: Tables 5 and 6 for a budget, Table 3 and appendix B where N or D is fixed.

C is the paper's C_min, compute at a batch far below the critical one. What is trained *at* the critical batch
takes twice that: one epoch is D = 2 C_min/(6 N) tokens (equation 6.7).
"""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.plan.question import SIZE_RATIOS, Question, SizeCost, TrainingPlan
from scaling_laws.laws.plan.rules import kaplan_learning_rate
from scaling_laws.laws.published import KAPLAN_SINGLE, KAPLAN_TABLE_3, KAPLAN_TABLE_6
from scaling_laws.study.errors import InputError

AT_CRITICAL_BATCH = 2.0
"""Tokens and compute at the critical batch, over the least that reach the same loss: equation (5.1)."""
N_COUNTS = "N is non-embedding; C is read as the paper's C_min, compute at a batch far below the critical one"


def answer_kaplan(question: Question) -> TrainingPlan:
    """The plan of the published laws.

    Raises:
        InputError: the size never reaches the target loss, or the answer is less than one parameter.
    """
    if len(question.given) == 1:
        return _efficient(question)
    return _of_fixed_size(question)


def _efficient(question: Question) -> TrainingPlan:
    """Table 6 for N, D and batch, Table 5 for the loss and for (B.16): two tables of one set of fits."""
    of_C = KAPLAN_SINGLE.of_C_min
    C = question.C
    if question.N is not None:
        C = KAPLAN_TABLE_6.N.compute_of(question.N)
    elif question.D is not None:
        C = KAPLAN_TABLE_6.D.compute_of(question.D)
    elif C is None:
        assert question.loss_nats is not None
        C = float(of_C.C_c) * question.loss_nats ** (-1 / float(of_C.alpha_C))
    N, D = float(KAPLAN_TABLE_6.N.at(C)), float(KAPLAN_TABLE_6.D.at(C))
    batch_tokens = float(KAPLAN_TABLE_6.batch_tokens.at(C))
    spent = FLOPS_PER_PARAMETER_TOKEN * N * D
    at_critical = f"one epoch of D at the critical batch takes 6 N D = {spent:.3g} FLOPs, about 2 C_min"
    return _plan(
        question,
        C=C,
        N=N,
        D=D,
        batch_tokens=batch_tokens,
        loss_nats=float(of_C.loss(C)),
        law=KAPLAN_SINGLE.efficient,
        compute_over_optimal=1.0,
        batch_origin="Kaplan et al. 2020, Table 6: the critical batch on the frontier",
        source="Kaplan et al. 2020, Tables 5 and 6",
        notes=(N_COUNTS, f"{at_critical} (equation 5.5)"),
    )


def _of_fixed_size(question: Question) -> TrainingPlan:
    """Table 3: L(N,S_min), with S_min = C_min/(6 N B_crit(L)) (B.3)."""
    law, N, D, C = KAPLAN_TABLE_3, question.N, question.D, question.C
    loss: float
    if N is not None and question.loss_nats is not None:
        loss = question.loss_nats
        C = float(law.compute_to_reach(N, loss))
        if not np.isfinite(C):
            raise InputError(
                f"a loss of {loss:g} nats is never reached with N = {N:g}: "
                f"unlimited steps bring it to {float(law.converged_loss(N)):.4g}; ask for a larger N"
            )
    elif N is not None and D is not None:
        C = FLOPS_PER_PARAMETER_TOKEN * N * D / AT_CRITICAL_BATCH
    elif N is None:
        assert C is not None and D is not None
        N = AT_CRITICAL_BATCH * C / (FLOPS_PER_PARAMETER_TOKEN * D)
    assert C is not None
    loss = question.loss_nats or float(law.loss_at_compute(N, C))
    D = D or AT_CRITICAL_BATCH * C / (FLOPS_PER_PARAMETER_TOKEN * N)
    best_C = law.C_c * float(np.power(loss, -1 / law.alpha_C))
    optimum = f"where N or D is fixed, Table 3 answers; its own optimum at this C is {law.optimal_N(C):.3g}"
    return _plan(
        question,
        C=C,
        N=N,
        D=D,
        batch_tokens=float(law.critical_batch(loss)),
        loss_nats=loss,
        law=law,
        compute_over_optimal=float(C / best_C),
        batch_origin="Kaplan et al. 2020, equation (1.4): the critical batch at the expected loss",
        source="Kaplan et al. 2020, Table 3 and appendix B",
        notes=(N_COUNTS, f"{optimum} parameters, Table 6 says {float(KAPLAN_TABLE_6.N.at(C)):.3g}"),
    )


def _plan(
    question: Question,
    *,
    C: float,
    N: float,
    D: float,
    batch_tokens: float,
    loss_nats: float,
    law: ComputeEfficient,
    compute_over_optimal: float,
    batch_origin: str,
    source: str,
    notes: tuple[str, ...],
) -> TrainingPlan:
    if N < 1 or D < 1:
        raise InputError(
            f"{question.words()}: the law gives N = {N:.2g} and D = {D:.2g}, less than one; ask for more"
        )
    half, double = law.compute_ratio([0.5, 2.0])
    learning_rate, rate_origin = kaplan_learning_rate(N)
    of_tables = len(question.given) == 1
    return TrainingPlan(
        C=C,
        N=N,
        D=D,
        batch_tokens=batch_tokens,
        steps=D / batch_tokens,
        learning_rate=learning_rate,
        loss_nats=loss_nats,
        intervals={},
        compute_over_optimal=compute_over_optimal,
        compute_ratio_half_N=float(half) if np.isfinite(half) else None,
        compute_ratio_double_N=float(double),
        size_costs=_size_costs(law, C, (N, D) if of_tables else None),
        source=source,
        convention="N",
        origins={"batch_tokens": batch_origin, "learning_rate": rate_origin},
        notes=notes,
    )


def _size_costs(law: ComputeEfficient, C: float, table: tuple[float, float] | None) -> tuple[SizeCost, ...]:
    """The valley of appendix B around its own optimum; around Table 6's (N, D), `table`, its shape alone."""
    own_N = float(law.optimal_N(C))
    losses = {ratio: float(law.loss_at_compute(ratio * own_N, C)) for ratio in SIZE_RATIOS}
    N, D = table or (own_N, AT_CRITICAL_BATCH * C / (FLOPS_PER_PARAMETER_TOKEN * own_N))
    return tuple(
        SizeCost(
            size_ratio=ratio,
            N=ratio * N,
            D=D / ratio,
            loss_nats=None if table else loss,
            relative_excess=loss / losses[1.0] - 1,
        )
        for ratio, loss in losses.items()
    )

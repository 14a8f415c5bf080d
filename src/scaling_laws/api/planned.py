"""What to train, for notebooks: `plan`, and in rounds: `plan_rounds`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.api.analysis import Analysis
from scaling_laws.api.one_law import LawFit, flops, question
from scaling_laws.laws.plan import rounds as rounds_of_a_budget
from scaling_laws.laws.plan.budget_ledger import read_ledger
from scaling_laws.laws.plan.planner import Source, answer_from_laws, answer_published
from scaling_laws.laws.plan.question import TrainingPlan
from scaling_laws.laws.results.types import Laws, read_laws
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def plan(
    laws: Analysis | LawFit | Laws | str | Path | None = None,
    *,
    published: Source | None = None,
    compute: float | str | None = None,
    n: float | str | None = None,
    d: float | str | None = None,
    loss: float | None = None,
    family: str | None = None,
) -> TrainingPlan:
    """What to train: N, D, compute and the loss to expect, with 90 % intervals.

    Args:
        laws: whose law: an analysis, a fit, or a laws.json.
        published: or a published one: "kaplan", "chinchilla" or "besiroglu".
        compute: FLOPs, as 1e22, "1e22 FLOPs" or "3 PF-days".
        n, d: parameters and tokens, where they are given: 7e9 or "7B".
        loss: nats per token, to be reached.
        family: whose law, where there are several.

    Raises:
        InputError: no law, no such question, a law that is not identified, or a loss that is never reached.

    Examples:
        >>> chosen = plan(published="besiroglu", compute="1e21 FLOPs")
        >>> f"{chosen.N:.3g} parameters, {chosen.D:.3g} tokens, {chosen.loss_nats:.3f} nats"
        '2.78e+09 parameters, 6e+10 tokens, 2.306 nats'
    """
    asked = question(compute=compute, n=n, d=d, loss=loss)
    if (laws is None) == (published is None):
        raise InputError("give a law: an analysis, a fit or a laws.json; or published=, but not both")
    if published is not None:
        return answer_published(published, asked)
    if isinstance(laws, LawFit):
        return laws.plan(compute=compute, n=n, d=d, loss=loss)
    if isinstance(laws, Analysis):
        return laws.plan(compute=compute, n=n, d=d, loss=loss, family=family)
    if isinstance(laws, str | Path):
        laws = read_laws(Path(laws))
    assert laws is not None
    return answer_from_laws(laws, asked, family=family)


def plan_rounds(
    compute: float | str,
    ledger: pd.DataFrame | str | Path | None = None,
    *,
    rounds: int = 3,
    shares: tuple[float, float, float] = rounds_of_a_budget.SHARES,
    learning_rate: float = rounds_of_a_budget.FIRST_RATE,
    settings: Mapping[str, float] | None = None,
    screen: Sequence[str] = (),
    smallest_n: float = 1.0,
) -> rounds_of_a_budget.RoundsPlan:
    """Spend a budget in rounds: what to screen, what to learn from it, what to keep for the last run.

    Call it without a ledger, train `to_train`, put each loss into the column `loss` of `RoundsPlan.ledger`,
    and call it again with that; the answer is the next round. No law and no runs are needed to begin.

    Args:
        compute: FLOPs in all, as 1e13 or "3 PF-days".
        ledger: of the call before, or the file of one.
        rounds: one to screen, one or more to learn, one for the last run.
        shares: of the budget, for these three; the last run also gets what the others leave.
        learning_rate: the middle of the first screen.
        settings: batch_tokens, beta2 and epsilon, where they are known.
        screen: those of `settings` that are to be varied, too.
        smallest_n: parameters of the smallest network that can be built.

    Raises:
        InputError: a number is out of its range, or the ledger is none, or has spent more than the budget.

    Examples:
        >>> first = plan_rounds(1e13)
        >>> first.purpose, len(first.to_train), f"{sum(run.cost for run in first.to_train):.3g} FLOPs"
        ('screen', 15, '5e+11 FLOPs')
    """
    campaign = rounds_of_a_budget.Campaign(
        compute=float(flops(compute)),
        rounds=rounds,
        shares=shares,
        learning_rate=learning_rate,
        settings=settings or {},
        screened=tuple(screen),
        smallest_N=smallest_n,
    )
    table = read_ledger(Path(ledger)) if isinstance(ledger, str | Path) else ledger
    return rounds_of_a_budget.plan_rounds(campaign, table)

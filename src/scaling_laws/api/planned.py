"""What to train, for notebooks: `plan`."""

from __future__ import annotations

from pathlib import Path

from scaling_laws.api.analysis import Analysis
from scaling_laws.api.one_law import LawFit, question
from scaling_laws.laws.plan.planner import Source, answer_from_laws, answer_published
from scaling_laws.laws.plan.question import TrainingPlan
from scaling_laws.laws.results.types import Laws, read_laws
from scaling_laws.study.errors import InputError


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

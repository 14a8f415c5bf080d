"""Cooled losses predicted from a study's trunks at a constant rate, and judged by its own branches.

Of each training with several horizons, a law of the schedule is fitted to the trunk and to all cooldowns but
that of the longest horizon. What it says of the longest branch's last loss stands beside what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.schedules.annealing import Tissue
from scaling_laws.laws.schedules.curves import ScheduleCurve
from scaling_laws.laws.schedules.falls import falls_of
from scaling_laws.laws.schedules.fitting import after_warm_up
from scaling_laws.laws.schedules.whole_curves import coordinates_of_schedule

FEWEST_BRANCHES = 2
"""Horizons of one trunk: one is held out, the others show what a cooldown brings."""


@dataclass(frozen=True, kw_only=True)
class BranchPrediction:
    """One held-out branch. Losses in nats per token.

    Attributes:
        run: the branch.
        steps: its horizon.
        predicted: its last loss; None where the curves do not determine the law.
        measured: the truth.
        before_cooldown: the trunk's last loss before the branch leaves it.
        reason: why there is no prediction; empty where there is one.
    """

    run: str
    steps: int
    predicted: float | None
    measured: float
    before_cooldown: float
    reason: str

    @property
    def relative_error(self) -> float | None:
        return None if self.predicted is None else self.predicted / self.measured - 1


def predict_branches(trunks: Sequence[Sequence[ScheduleCurve]]) -> tuple[BranchPrediction, ...]:
    """The longest branch of each trunk, by the law of Tissue et al., which has the fewest parameters.

    Args:
        trunks: of each the curves of its runs, which share what comes before a cooldown.
    """
    found = []
    for runs in trunks:
        branches = sorted(runs, key=lambda run: len(run.rates))
        if len(branches) < FEWEST_BRANCHES:
            continue
        longest = branches[-1]
        start = _cooldown_start(longest)
        before = longest.step[longest.step <= start]
        if not len(before) or start == len(longest.rates):
            continue
        trunk = after_warm_up(_part(longest, longest.step <= start))
        cooled = [_part(run, run.step > _cooldown_start(run)) for run in branches[:-1]]
        curves = [curve for curve in (trunk, *cooled) if len(curve.step)]
        falls = falls_of(curves, warm_up=Tissue.warm_up)
        loss = np.concatenate([curve.loss for curve in curves])
        cluster = np.repeat(np.arange(len(curves)), [len(curve.step) for curve in curves])
        rows = make_rows({"S1": falls.summed}, loss, cluster)
        fit = fit_law(Tissue, rows, coordinates=coordinates_of_schedule(Tissue, rows, falls))
        predicted = None
        if fit.identified and fit.law is not None:
            predicted = float(fit.law.losses(falls_of([longest.at(longest.step[-1])], warm_up=False))[0])
        found.append(
            BranchPrediction(
                run=longest.run,
                steps=len(longest.rates),
                predicted=predicted,
                measured=float(longest.loss[-1]),
                before_cooldown=float(longest.loss[longest.step == before[-1]][0]),
                reason=fit.reason,
            )
        )
    return tuple(found)


def _cooldown_start(run: ScheduleCurve) -> int:
    """The last step of the peak rate."""
    return int(np.flatnonzero(run.rates >= run.rates.max() * (1 - 1e-9))[-1]) + 1


def _part(run: ScheduleCurve, kept: NDArray[np.bool_]) -> ScheduleCurve:
    return replace(run, step=run.step[kept], loss=run.loss[kept])

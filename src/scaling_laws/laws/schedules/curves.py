"""Learning curves with the learning rate of every step: what laws of the schedule are fitted to.

Steps are numbered from 1; the rate of step k is the one that its update was made with. A table seldom has
every step: rates between its rows are filled linearly, and from 0 before its first row, a linear warm-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.study.runs import Study

COLUMNS = ("run", "step", "learning_rate", "loss")
MOST_STEPS = 20_000_000
"""Of one curve: its rates are held one by one, 8 bytes each."""
MOST_POINTS = 400
"""Of one curve that enter a fit, evenly spread over its own: more are neighbours that say the same."""


@dataclass(frozen=True, kw_only=True)
class ScheduleCurve:
    """One run's losses under its learning rates.

    Attributes:
        run: its name.
        rates: (T,): the learning rate of steps 1 to T.
        step: (m,): steps after which the loss was measured, rising, 1 to T; may be empty.
        loss: (m,): nats per token.
        filled_share: share of the T rates that the table does not have.
    """

    run: str
    rates: FloatArray
    step: NDArray[np.intp]
    loss: FloatArray
    filled_share: float = 0.0

    @property
    def summed(self) -> FloatArray:
        """S1, the sum of the rates, (T + 1,): entry k after k steps."""
        return np.concatenate([[0.0], np.cumsum(self.rates)])

    @property
    def peak_step(self) -> int:
        """The step at which the warm-up is over: the first of the largest rate of the curve's first rise."""
        rises = np.diff(self.rates)
        falls = np.flatnonzero(rises < 0)
        before = int(falls[0]) + 1 if len(falls) else len(self.rates)
        return int(np.argmax(self.rates[:before])) + 1

    def at(self, step: ArrayLike) -> ScheduleCurve:
        """The same schedule with other steps, and no losses."""
        steps = np.atleast_1d(np.asarray(step)).astype(np.intp)
        if len(steps) and not 1 <= steps.min() <= steps.max() <= len(self.rates):
            raise InputError(
                f"{self.run}: the schedule has {len(self.rates):,} steps; {steps.max():,} is not one of them"
            )
        return replace(self, step=steps, loss=np.full(len(steps), np.nan))

    def thinned(self, most: int = MOST_POINTS) -> ScheduleCurve:
        """At most so many points, the last among them."""
        if len(self.step) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self.step) - 1, most).round().astype(int))
        return replace(self, step=self.step[kept], loss=self.loss[kept])


def make_curve(
    run: str, step: ArrayLike, learning_rate: ArrayLike, loss: ArrayLike | None = None
) -> ScheduleCurve:
    """A curve from its rows, gaps between rates filled linearly.

    Args:
        run: its name.
        step: (m,): whole numbers from 0 on, each once; the row of step 0, which no update has made, has no
            part in a fit.
        learning_rate: (m,): of each row's step.
        loss: (m,), nats per token; NaN where only the rate is known. None for a schedule alone.

    Raises:
        InputError: a value that makes no sense, with its row.
    """
    steps, rates = np.asarray(step, dtype=np.float64), np.asarray(learning_rate, dtype=np.float64)
    losses = np.full(len(steps), np.nan) if loss is None else np.asarray(loss, dtype=np.float64)
    if not len(steps) == len(rates) == len(losses):
        raise InputError(f"{run}: give as many rates and losses as steps")
    if not len(steps):
        raise InputError(f"{run}: has no row")
    bad = np.flatnonzero(~np.isfinite(steps) | (steps < 0) | (steps != np.round(steps)))
    if len(bad):
        raise InputError(f"{run}: the step {steps[bad[0]]:g} is not a whole number from 0 up")
    bad = np.flatnonzero(~np.isfinite(rates) | (rates < 0))
    if len(bad):
        raise InputError(f"{run}: the learning rate of step {steps[bad[0]]:g} is {rates[bad[0]]:g}")
    bad = np.flatnonzero(np.isinf(losses) | (losses <= 0))
    if len(bad):
        raise InputError(f"{run}: the loss of step {steps[bad[0]]:g} is {losses[bad[0]]:g}")
    order = np.argsort(steps, kind="stable")
    steps, rates, losses = steps[order].astype(np.intp), rates[order], losses[order]
    if len(again := steps[1:][np.diff(steps) == 0]):
        raise InputError(f"{run}: has step {again[0]:,} twice; one run is one row a step")
    if not rates.max() > 0:
        raise InputError(f"{run}: its learning rate is always 0")
    last = int(steps[-1])
    if not 1 <= last <= MOST_STEPS:
        raise InputError(f"{run}: ends at step {last:,}; a curve has 1 to {MOST_STEPS:,} steps")
    known_steps, known_rates = (steps, rates) if steps[0] <= 1 else (np.r_[0, steps], np.r_[0.0, rates])
    measured = np.isfinite(losses) & (steps >= 1)
    return ScheduleCurve(
        run=run,
        rates=np.interp(np.arange(1, last + 1), known_steps, known_rates),
        step=steps[measured],
        loss=losses[measured],
        filled_share=1 - np.count_nonzero(steps >= 1) / last,
    )


def curves_of_table(table: pd.DataFrame) -> tuple[ScheduleCurve, ...]:
    """Every run of a table with the columns run (one curve where there is none), step, learning_rate, loss.

    Raises:
        InputError: a column is missing, or what `make_curve` refuses.
    """
    if missing := [name for name in COLUMNS[1:] if name not in table]:
        raise InputError(
            f"a law of the schedule needs the columns step, learning_rate and loss; {missing[0]} is missing "
            f"(there are: {', '.join(map(str, table.columns))})"
        )
    for name in COLUMNS[1:]:
        if table[name].dtype.kind not in "iuf":
            raise InputError(f"column {name!r} has cells that are not numbers")
    groups = table.groupby("run", sort=False) if "run" in table else [("curve", table)]
    return tuple(
        make_curve(str(run), rows["step"], rows["learning_rate"], rows["loss"]) for run, rows in groups
    )


def curves_of_study(study: Study, corpus: str = "test") -> tuple[ScheduleCurve, ...]:
    """Every run of a study that knows its schedule, with the rate of every step: nothing is filled.

    A branch's curve is its trunk's up to the cooldown, and its own from there on.

    Raises:
        InputError: the study has no curves.
    """
    curves = study.curves()
    column = f"{corpus}_loss_nats"
    if not len(curves) or column not in curves:
        raise InputError(f"{study.name}: has no learning curves with the loss on {corpus}")
    settings_of = {str(row["run"]): row for row in study.runs.to_dict("records")}
    found = []
    for run, rows in curves.groupby("run", sort=False):
        rows = rows[rows[column].notna() & (rows["step"] >= 1)].sort_values("step")
        settings = settings_of[str(run)]
        steps = int(settings["steps"])
        if not len(rows) or bool(settings.get("stopped_early", False)):
            continue
        schedule = Schedule(
            decay=settings["decay"],
            warmup_steps=round(settings["warmup_tokens"] / settings["batch_tokens"]),
            cooldown_share=float(settings["cooldown_share"]),
            final_share=float(settings.get("final_share", 0.0)),
        )
        factors = np.array([schedule.factor(k, steps) for k in range(steps)])
        found.append(
            ScheduleCurve(
                run=str(run),
                rates=float(settings["learning_rate"]) * factors,
                step=rows["step"].to_numpy(dtype=np.intp),
                loss=rows[column].to_numpy(dtype=np.float64),
            )
        )
    return tuple(found)


def filled_words(curves: Sequence[ScheduleCurve]) -> str:
    """What was filled, for whoever reads the fit; empty where nothing was."""
    share = max((curve.filled_share for curve in curves), default=0.0)
    if share == 0:
        return ""
    return (
        f"up to {100 * share:.0f} % of a curve's rates are not in the table: they are filled linearly "
        "(from 0 before its first row)"
    )

"""Each task's accuracy against the loss, with the two laws fitted to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.task_laws import TaskLaw, scored_of
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import Table, decimals, number, short

NEEDS_SCORES = (
    "Needs scores of tasks, task_scores.csv in each run's folder (tasks: in the corpus file), or a table's "
    "column accuracy."
)


@dataclass(frozen=True, kw_only=True)
class TaskAccuracy:
    """One family's final scores.

    Attributes:
        scored: as `task_laws.scored_of`.
        laws: a task each.
        N_label: of the axis.
    """

    scored: pd.DataFrame
    laws: tuple[TaskLaw, ...]
    N_label: str


def task_table(laws: tuple[TaskLaw, ...]) -> Table:
    """A row per family and task: accuracy, and how far the largest size lies from what each law predicts."""
    several = len({law.family for law in laws}) > 1
    rows = []
    for law in laws:
        reached = f"{law.lowest:.2f} to {law.highest:.2f}"
        errors = (decimals(each, 3) for each in _errors(law))
        name = f"{law.family}, {law.task}" if several else law.task
        rows.append((name, str(law.n_runs), decimals(law.chance, 2), reached, number(law.loss_half), *errors))
    columns = ("task", "runs", "guessing", "accuracy", "loss where half is known")
    of_largest = ("error by two steps", "by C", "by N", "by N and D", "as the next size", "noise")
    caption = (
        "Errors: mean distance of the largest size's accuracy from what is predicted without it: by the law "
        "of the loss and a sigmoid of the loss; directly, by a sigmoid of ln C, of ln N, of both ln N and "
        "ln D; and by the next smaller size. Noise: the standard error of an accuracy over so few items."
    )
    reasons = dict.fromkeys(law.reason for law in laws if law.reason)
    return Table(columns=(*columns, *of_largest), rows=tuple(rows), caption=" ".join([caption, *reasons]))


def _errors(law: TaskLaw) -> tuple[float | None, ...]:
    return (law.two_steps, law.direct_C, law.direct_N, law.direct, law.nearest, law.noise)


def _draw(data: TaskAccuracy) -> Figure:
    """A panel a task: accuracy against the loss, with the sigmoid over all runs."""
    drawing, axes = st.panels(len(data.laws), width=min(3.6 * len(data.laws), 16.0) + 1.5, height=4.0)
    colours = st.SizeColours(data.scored["N"])
    for panel, law in zip(axes, data.laws, strict=True):
        rows = data.scored if "task" not in data.scored else data.scored[data.scored["task"] == law.task]
        panel.scatter(rows["loss"], rows["accuracy"], s=20, c=[colours(N) for N in rows["N"]])
        panel.axhline(law.chance, color=st.GREY, ls=":", lw=1.2, label="guessing")
        if law.loss_half is not None and law.slope is not None:
            loss = np.linspace(rows["loss"].min(), rows["loss"].max(), 80)
            known = 1 / (1 + np.exp(np.clip(law.slope * (loss - law.loss_half), -40, 40)))
            panel.plot(loss, law.chance + (1 - law.chance) * known, color=st.FIT, label="sigmoid of the loss")
        panel.set_ylim(0, 1.02)
        panel.set_xlabel(st.LOSS_LABEL)
        panel.set_title(law.task)
    axes[0].set_ylabel("accuracy")
    st.legend_outside(drawing, axes[:1], columns=2)
    colours.bar(drawing, axes, data.N_label)
    return drawing


def _describe(data: TaskAccuracy) -> str:
    parts = []
    for law in data.laws:
        words = f"{law.task} {law.lowest:.2f} to {law.highest:.2f} (guessing {law.chance:.2f})"
        errors = [
            f"{value:.3f} {how}"
            for value, how in ((law.two_steps, "by way of the loss"), (law.direct_C, "by C directly"))
            if value is not None
        ]
        if errors and law.largest is not None:
            noise = "" if law.noise is None else f", noise {law.noise:.3f}"
            words += f", N = {short(law.largest)} predicted within {' and '.join(errors)}{noise}"
        parts.append(words)
    reasons = dict.fromkeys(law.reason for law in data.laws if law.reason)
    return " ".join(["Accuracy: " + "; ".join(parts) + ".", *(f"{reason}." for reason in reasons)])


@figure("task_accuracy", "Do tasks follow the loss?", "scale", order=9, draw=_draw, describe=_describe)
def task_accuracy(study: StudyTables, laws: Laws) -> TaskAccuracy | str:
    """Of the main family."""
    scored = scored_of(study.study)
    if scored is None or study.main_family is None:
        return NEEDS_SCORES
    of_family = scored[scored["family"] == study.main_family]
    fitted = tuple(law for law in laws.tasks if law.family == study.main_family)
    if of_family.empty or not fitted:
        return NEEDS_SCORES
    return TaskAccuracy(scored=of_family, laws=fitted, N_label=n_label(study, laws))

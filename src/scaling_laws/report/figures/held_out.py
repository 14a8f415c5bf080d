"""What did the laws predict of the largest size, fitted without it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.checks.holdout import Holdout
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.figures.fit_quality import MOST_COLUMNS, NEEDS_GRID, predicted_losses
from scaling_laws.report.formulas import FORM_NAMES
from scaling_laws.report.study_tables import StudyTables, d_label
from scaling_laws.report.text import short

LOOKS: tuple[dict[str, Any], ...] = ({"marker": "^", "linestyle": "-"}, {"marker": "s", "linestyle": "--"})


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The largest size of each family, predicted from the smaller ones.

    Attributes:
        table: held-out runs: form, family, run, N, D, loss, predicted.
        scores: by family and form.
    """

    table: pd.DataFrame
    scores: Mapping[str, Mapping[str, Holdout]]
    D_label: str


def _describe(data: HeldOut) -> str:
    """Mean errors on the largest size, beside the guess that needs no fit."""
    family, *others = data.scores
    words = [f"{FORM_NAMES[form]} {_percent(score)}" for form, score in data.scores[family].items()]
    errors = [score.mean_absolute_error or 0.0 for other in others for score in data.scores[other].values()]
    of_others = f"; of the other families, at most {100 * max(errors):.1f} %" if errors else ""
    guess = next(iter(data.scores[family].values())).baseline_mean_absolute_error
    return (
        f"{st.family_name(family)}: mean error of the losses of the largest size, fitted without it: "
        f"{' and '.join(words)}, where a guess without a fit is off by {100 * (guess or 0):.1f} "
        f"%{of_others}."
    )


def _draw(data: HeldOut) -> Figure:
    """A panel a family: the largest size's losses, and what laws fitted to the other sizes predicted."""
    n_rows = math.ceil(len(data.scores) / MOST_COLUMNS)
    n_columns = math.ceil(len(data.scores) / n_rows)
    figure, axes = st.panels(n_columns, n_rows, width=max(5.5, 4.0 * n_columns), height=4.9 * n_rows)
    for panel in axes[len(data.scores) :]:
        panel.set_axis_off()
    for panel, (family, scores) in zip(axes, data.scores.items(), strict=False):
        _draw_family(panel, data.table[data.table["family"] == family], scores)
        st.log_x(panel, data.table.loc[data.table["family"] == family, "D"], data.D_label)
        panel.set_ylabel(st.LOSS_LABEL if panel in axes[::n_columns] else "")
    return figure


@figure(
    "held_out",
    "The largest size, predicted by laws fitted without it",
    "trust",
    order=3,
    draw=_draw,
    describe=_describe,
)
def held_out(study: StudyTables, laws: Laws) -> HeldOut | str:
    """Of all families that have one."""
    predictions = predicted_losses(study, laws)
    scores = {
        family: {score.form: score for score in laws.of(family).holdout if score.predicted}
        for family in study.families
    }
    scores = {
        family: {form: of_family[form] for form in FORM_NAMES if form in of_family}
        for family, of_family in scores.items()
    }
    scores = {family: of_family for family, of_family in scores.items() if of_family}
    if not scores:
        entries = [entry for family in laws.families for entry in laws.of(family).holdout]
        reasons = sorted({entry.reason for entry in entries if entry.reason})
        return " ".join([NEEDS_GRID, *(f"Held out: {reason}." for reason in reasons)])
    table = predictions[predictions["held_out"]].drop(columns="held_out")
    return HeldOut(table=table, scores=scores, D_label=d_label(study))


def _draw_family(axes: Axes, table: pd.DataFrame, scores: Mapping[str, Holdout]) -> None:
    truth = table.drop_duplicates("run")
    axes.plot(truth["D"], truth["loss"], "o", color=st.INK, zorder=4, label="measured")
    for place, form in enumerate(FORM_NAMES):
        if form not in scores:
            continue
        of_form = table[table["form"] == form].sort_values("D")
        label = f"{FORM_NAMES[form]}: mean error {_percent(scores[form])}"
        look = {**LOOKS[place], "mfc": "none", "color": st.FAMILY_COLOURS[place], "lw": 1.2}
        axes.plot(of_form["D"], of_form["predicted"], **look, label=label)
    first = next(iter(scores.values()))
    baseline, error = first.baseline or math.nan, first.baseline_mean_absolute_error or math.nan
    label = f"lowest loss that was fitted: {100 * error:.1f} %"
    axes.axhline(baseline, color=st.GREY, linewidth=1.0, linestyle=":", zorder=1, label=label)
    st.log_y(axes, [*truth["loss"], *table["predicted"], baseline], "", margin=0.1)
    family = st.plain(st.family_name(table["family"].iloc[0]))
    axes.set_title(f"{family}, N = {short(truth['N'].max())} held out")
    st.legend_below(axes, columns=1)


def _percent(score: Holdout) -> str:
    return f"{100 * (score.mean_absolute_error or 0.0):.1f} %"

"""What did the laws say about the largest size before they had seen it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, d_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.figures.fit_quality import NEEDS_GRID, predicted_losses
from scaling_laws.report.formulas import FORM_NAMES
from scaling_laws.report.text import short

MOST_COLUMNS = 3


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """A panel a family: the largest size's losses, and what laws fitted to the other sizes said of them."""
    predictions = predicted_losses(tables, laws)
    held_out = predictions[predictions["held_out"]]
    families = [family for family in tables.families if (held_out["family"] == family).any()]
    if not families:
        return st.note("The largest size, predicted", _why_none_held_out(laws))
    n_rows = math.ceil(len(families) / MOST_COLUMNS)
    n_columns = math.ceil(len(families) / n_rows)
    figure, axes = st.panels(n_columns, n_rows, width=max(5.5, 4.0 * n_columns), height=4.9 * n_rows)
    for panel in axes[len(families) :]:
        panel.set_axis_off()
    for panel, family in zip(axes, families, strict=False):
        _draw_family(panel, held_out[held_out["family"] == family], laws)
        st.log_x(panel, held_out.loc[held_out["family"] == family, "D"], d_label(tables))
        panel.set_ylabel(st.LOSS_LABEL if panel in axes[::n_columns] else "")
    return figure


def _draw_family(axes: Axes, held_out: pd.DataFrame, laws: Laws) -> None:
    family = held_out["family"].iloc[0]
    truth = held_out.drop_duplicates("run")
    axes.plot(truth["D"], truth["loss"], "o", color=st.INK, zorder=4, label="measured")
    values = [*truth["loss"], *held_out["predicted"]]
    looks = (
        {"marker": "^", "linestyle": "-"},
        {"marker": "s", "linestyle": "--"},
    )
    for place, form in enumerate(FORM_NAMES):
        of_form = held_out[held_out["form"] == form].sort_values("D")
        if of_form.empty:
            continue
        error = _entry(laws, family, form)["mean_absolute_error"]
        label = f"{FORM_NAMES[form]}: mean error {100 * error:.1f} %"
        look: dict[str, Any] = {**looks[place], "mfc": "none", "color": st.FAMILY_COLOURS[place], "lw": 1.2}
        axes.plot(of_form["D"], of_form["predicted"], **look, label=label)
    entry = _entry(laws, family, held_out["form"].iloc[0])
    label = f"lowest loss that was fitted: {100 * entry['baseline_mean_absolute_error']:.1f} %"
    axes.axhline(entry["baseline"], color=st.GREY, linewidth=1.0, linestyle=":", zorder=1, label=label)
    st.log_y(axes, [*values, entry["baseline"]], "", margin=0.1)
    axes.set_title(f"{st.plain(st.family_name(family))}, N = {short(truth['N'].max())} held out")
    st.legend_below(axes, columns=1)


def describe(tables: StudyTables, laws: Laws) -> str:
    """Mean errors on the largest size, beside the guess that needs no fit."""
    scored = [entry for entry in laws["holdout"] if entry["form"] in FORM_NAMES and entry["predicted"]]
    if not scored:
        return _why_none_held_out(laws)
    family = st.families_of(entry["family"] for entry in scored)[0]
    of_family = [entry for entry in scored if entry["family"] == family]
    words = [f"{FORM_NAMES[entry['form']]} {100 * entry['mean_absolute_error']:.1f} %" for entry in of_family]
    others = [entry["mean_absolute_error"] for entry in scored if entry["family"] != family]
    of_others = f"; of the other families, at most {100 * max(others):.1f} %" if others else ""
    return (
        f"{st.family_name(family)}: mean error of the losses of the largest size, fitted without it: "
        f"{' and '.join(words)}, where a guess without a fit errs by "
        f"{100 * of_family[0]['baseline_mean_absolute_error']:.1f} %{of_others}."
    )


def _entry(laws: Laws, family: str, form: str) -> Mapping[str, Any]:
    entries: list[Mapping[str, Any]] = laws["holdout"]
    return next(entry for entry in entries if (entry["family"], entry["form"]) == (family, form))


def _why_none_held_out(laws: Laws) -> str:
    reasons = sorted({entry["reason"] for entry in laws["holdout"] if entry["reason"]})
    return " ".join([NEEDS_GRID, *(f"Held out: {reason}." for reason in reasons)])


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="held_out",
        title="The largest size, predicted by laws that had not seen it",
        paper="",
        question="trust",
        draw=draw,
        describe=describe,
    ),
)

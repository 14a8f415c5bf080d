"""How well do the joint laws describe the runs?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, d_label, find_fit, n_label
from scaling_laws.report.figures.compute import pf_days_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import FORM_NAMES, law_of
from scaling_laws.study.units import PF_DAY_FLOPS

NEEDS_GRID = (
    "Needs a joint law L(N, D) that the runs identify: several sizes at several horizons, as those of "
    "`scaling-laws sweep configs/sweeps/size.yaml`."
)
COLUMNS = ["form", "family", "run", "N", "D", "C", "loss", "predicted", "held_out"]


# --- predicted against measured -------------------------------------------------------------------


@st.styled
def draw_predicted(tables: StudyTables, laws: Laws) -> Figure:
    """A panel a form: the loss that the law gives each run against the loss that was measured."""
    predictions = predicted_losses(tables, laws)
    if predictions.empty:
        return st.note("Predicted against measured loss", NEEDS_GRID)
    figure, axes = st.panels(len(FORM_NAMES), width=11.0, height=4.9)
    for panel, form in zip(axes, FORM_NAMES, strict=True):
        of_form = predictions[predictions["form"] == form]
        if of_form.empty:
            st.note_in(panel, f"{FORM_NAMES[form]}: {_reasons(laws, form)}")
            continue
        for family in tables.families:
            for held_out in (False, True):
                points = of_form[(of_form["family"] == family) & (of_form["held_out"] == held_out)]
                if not points.empty:
                    panel.plot(points["loss"], points["predicted"], **_look(tables, family, held_out))
        if of_form["held_out"].any():
            st.legend_entry(panel, "held out of the fit", mfc="none", ms=9, mew=1.4)
        ends = [of_form[["loss", "predicted"]].min().min(), of_form[["loss", "predicted"]].max().max()]
        panel.axline((ends[0], ends[0]), (ends[1], ends[1]), color=st.INK, linewidth=0.9, zorder=1)
        st.log_x(panel, ends, st.LOSS_LABEL.replace("test", "measured test"))
        st.log_y(panel, ends, "predicted, nats per token" if panel is axes[0] else "")
        panel.set_title(FORM_NAMES[form])
        st.legend_below(panel, columns=2)
    return figure


def describe_predicted(tables: StudyTables, laws: Laws) -> str:
    """The size of the residuals and the error on the held-out runs, by form."""
    predictions = predicted_losses(tables, laws)
    fitted = predictions[~predictions["held_out"]]
    if fitted.empty:
        return "No joint law is identified."
    family = st.families_of(fitted["family"])[0]
    words = []
    for form, of_form in fitted[fitted["family"] == family].groupby("form", sort=False):
        chosen = predictions["held_out"] & (predictions["family"] == family) & (predictions["form"] == form)
        held_out = predictions[chosen]
        worst = 100 * float((held_out["predicted"] / held_out["loss"] - 1).abs().max())
        of_held_out = f", largest error on held-out runs {worst:.1f} %" if len(held_out) else ""
        words.append(f"{FORM_NAMES[str(form)]} {_rms(of_form):.2f} %{of_held_out}")
    others = fitted[fitted["family"] != family].groupby(["family", "form"])
    largest = max((_rms(of_fit) for _, of_fit in others), default=None)
    of_others = "" if largest is None else f"; residuals of the other families, at most {largest:.2f} %"
    return f"{st.family_name(family)}, residuals (rms): {'; '.join(words)}{of_others}."


def predicted_losses(tables: StudyTables, laws: Laws) -> pd.DataFrame:
    """form, family, run, N, D, C, loss, predicted, held_out: the fits to all runs, then the held-out runs."""
    tables_found = []
    for form in FORM_NAMES:
        for family in tables.families:
            fit, runs = find_fit(laws, form, family), tables.of(family)
            if fit is not None and fit["identified"]:
                predicted = law_of(fit).loss(N=runs["N"], D=runs["D"])
                tables_found.append(
                    runs.assign(form=form, family=family, predicted=predicted, held_out=False)[COLUMNS]
                )
        for entry in laws["holdout"]:
            if entry["form"] == form and entry["predicted"]:
                runs = tables.runs.set_index("run").loc[entry["held_out"]].reset_index()
                found = {"family": entry["family"], "predicted": entry["predicted"], "held_out": True}
                tables_found.append(runs.assign(form=form, **found)[COLUMNS])
    if not tables_found:
        return pd.DataFrame(columns=COLUMNS).astype({"held_out": bool})
    return pd.concat(tables_found, ignore_index=True)


def _residual_percent(predictions: pd.DataFrame) -> pd.Series[float]:
    """ln(measured / predicted), per cent."""
    return 100 * (predictions["loss"] / predictions["predicted"]).map(math.log)


def _rms(predictions: pd.DataFrame) -> float:
    return float(np.sqrt((_residual_percent(predictions) ** 2).mean()))


def _look(tables: StudyTables, family: str, held_out: bool) -> dict[str, Any]:
    """Filled: fitted. Large and hollow: predicted by a fit that had not seen the run."""
    style = st.family_style(family, tables.families) | {"linestyle": "none"}
    if held_out:
        return style | {"ms": 9, "mfc": "none", "mew": 1.4}
    return style | {"ms": 4, "alpha": 0.75, "label": st.plain(st.family_name(family))}


def _reasons(laws: Laws, form: str) -> str:
    reasons = {fit["reason"] for fit in laws["fits"] if fit["form"] == form and fit["reason"]}
    return "not identified. " + " ".join(sorted(reasons))


# --- residuals ------------------------------------------------------------------------------------


@st.styled
def draw_residuals(tables: StudyTables, laws: Laws) -> Figure:
    """A row a form, a column each for N, D and C: what the law leaves over, in per cent of the loss."""
    predictions = predicted_losses(tables, laws)
    fitted = predictions[~predictions["held_out"]]
    if fitted.empty:
        return st.note("Residuals of the laws", NEEDS_GRID)
    forms = [form for form in FORM_NAMES if (fitted["form"] == form).any()]
    axes_of = {
        "N": (fitted["N"], n_label(laws)),
        "D": (fitted["D"], d_label(tables)),
        "C": (fitted["C"] / PF_DAY_FLOPS, pf_days_label(laws)),
    }
    figure, axes = st.panels(3, len(forms), width=12.0, height=1.1 + 3.3 * len(forms))
    sd = laws["noise"]["sd_log_loss"]
    residuals = _residual_percent(fitted)
    reach = 1.15 * max(float(residuals.abs().max()), 200 * (sd or 0.0), 0.1)
    for row, form in enumerate(forms):
        for column, (x, label) in enumerate(axes_of.values()):
            panel = axes[3 * row + column]
            for family in tables.families:
                chosen = (fitted["form"] == form) & (fitted["family"] == family)
                if chosen.any():
                    panel.plot(x[chosen], residuals[chosen], **_look(tables, family, False))
            panel.axhline(0, color=st.INK, linewidth=0.9, zorder=1)
            if sd:
                look: dict[str, Any] = {"color": st.GREY, "alpha": st.BAND_ALPHA, "lw": 0}
                panel.axhspan(-200 * sd, 200 * sd, **look, label="± 2 sd between seeds")
            st.log_x(panel, x, label)
            panel.set_ylim(-reach, reach)
            panel.set_ylabel(f"{FORM_NAMES[form]}\nln(measured / fitted), %" if column == 0 else "")
    st.legend_below(axes[-2], columns=4, offset=-0.2)
    return figure


def describe_residuals(tables: StudyTables, laws: Laws) -> str:
    """Whether a trend is left in the residuals: their slope a decade of N, D and C."""
    slopes = residual_slopes(tables, laws)
    if slopes.empty:
        return "No joint law is identified."
    family = st.families_of(slopes["family"])[0]
    words = (
        f"{FORM_NAMES[row['form']]} {row['N']:+.2f} % a decade of N, {row['D']:+.2f} % of D, "
        f"{row['C']:+.2f} % of C"
        for row in slopes[slopes["family"] == family].round(2).replace(-0.0, 0.0).to_dict("records")
    )
    others = slopes[slopes["family"] != family]
    steepest = others[["N", "D", "C"]].abs().to_numpy().max(initial=0.0)
    of_others = "" if others.empty else f"; of the other families, at most {steepest:.2f} %"
    return f"{st.family_name(family)}, the trend that each law leaves over: {'; '.join(words)}{of_others}."


def residual_slopes(tables: StudyTables, laws: Laws) -> pd.DataFrame:
    """form, family, and the slope of ln(measured / fitted) in per cent a decade of N, of D and of C.

    Least squares, each variable alone; 0 where the variable has one value only.
    """
    predictions = predicted_losses(tables, laws)
    fitted = predictions[~predictions["held_out"]]
    rows = []
    for form in FORM_NAMES:
        for family in tables.families:
            of_fit = fitted[(fitted["form"] == form) & (fitted["family"] == family)]
            if of_fit.empty:
                continue
            slopes = {name: _slope(np.log10(of_fit[name]), _residual_percent(of_fit)) for name in "NDC"}
            rows.append({"form": form, "family": family, **slopes})
    return pd.DataFrame(rows, columns=["form", "family", "N", "D", "C"])


def _slope(x: pd.Series[float], y: pd.Series[float]) -> float:
    return float(np.polyfit(x, y, 1)[0]) if x.nunique() > 1 else 0.0


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="predicted_and_measured",
        title="Predicted against measured loss",
        paper="",
        question="trust",
        draw=draw_predicted,
        describe=describe_predicted,
    ),
    Entry(
        name="residuals",
        title="What the laws leave over, against N, D and C",
        paper="",
        question="trust",
        draw=draw_residuals,
        describe=describe_residuals,
    ),
)

"""How well do the joint laws describe the runs?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.figures.learning_curves import pf_days_label
from scaling_laws.report.formulas import compared_forms
from scaling_laws.report.study_tables import StudyTables, d_label, n_label
from scaling_laws.study.units import PF_DAY_FLOPS

NEEDS_GRID = (
    "Needs a joint law L(N, D) that the runs identify: several sizes at several horizons, as those of "
    "`scaling-laws sweep configs/sweeps/size.yaml`."
)
MOST_COLUMNS = 3
COLUMNS = ["form", "family", "run", "N", "D", "C", "loss", "predicted", "held_out"]


# --- predicted against measured -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PredictedLosses:
    """Attributes: table: see `predicted_losses`. names, reasons: by form, and why it is not identified."""

    table: pd.DataFrame
    families: Sequence[str]
    names: Mapping[str, str]
    reasons: Mapping[str, str]


def _describe_predicted(data: PredictedLosses) -> str:
    """The size of the residuals and the error on the held-out runs, by form."""
    fitted = data.table[~data.table["held_out"]]
    if fitted.empty:
        return "No joint law is identified."
    family = st.families_of(fitted["family"])[0]
    of_family = data.table[data.table["family"] == family]
    words = []
    for form, of_form in of_family.groupby("form", sort=False):
        fitted_here, held_out = of_form[~of_form["held_out"]], of_form[of_form["held_out"]]
        if fitted_here.empty:
            continue
        worst = 100 * float((held_out["predicted"] / held_out["loss"] - 1).abs().max())
        of_held_out = f", largest error on held-out runs {worst:.1f} %" if len(held_out) else ""
        words.append(f"{data.names[str(form)]} {_rms(fitted_here):.2f} %{of_held_out}")
    others = fitted[fitted["family"] != family].groupby(["family", "form"])
    largest = max((_rms(of_fit) for _, of_fit in others), default=None)
    of_others = "" if largest is None else f"; residuals of the other families, at most {largest:.2f} %"
    return f"{st.family_name(family)}, residuals (rms): {'; '.join(words)}{of_others}."


def _draw_predicted(data: PredictedLosses) -> Figure:
    """A panel a form: the loss that the law gives each run against the loss that was measured."""
    n_rows = math.ceil(len(data.names) / MOST_COLUMNS)
    n_columns = math.ceil(len(data.names) / n_rows)
    figure, axes = st.panels(n_columns, n_rows, width=11.0, height=4.9 * n_rows)
    for panel in axes[len(data.names) :]:
        panel.set_axis_off()
    for panel, (form, name) in zip(axes, data.names.items(), strict=False):
        of_form = data.table[data.table["form"] == form]
        if of_form.empty:
            st.note_in(panel, f"{name}: not identified. {data.reasons[form]}")
            continue
        for family in data.families:
            for held_out in (False, True):
                points = of_form[(of_form["family"] == family) & (of_form["held_out"] == held_out)]
                if not points.empty:
                    look = _look(family, data.families, held_out)
                    panel.plot(points["loss"], points["predicted"], **look)
        if of_form["held_out"].any():
            st.legend_entry(panel, "held out of the fit", mfc="none", ms=9, mew=1.4)
        ends = [of_form[["loss", "predicted"]].min().min(), of_form[["loss", "predicted"]].max().max()]
        panel.axline((ends[0], ends[0]), (ends[1], ends[1]), color=st.INK, linewidth=0.9, zorder=1)
        st.log_x(panel, ends, st.LOSS_LABEL.replace("test", "measured test"))
        st.log_y(panel, ends, "predicted, nats per token" if panel in axes[::n_columns] else "")
        panel.set_title(st.plain(name))
        st.legend_below(panel, columns=2)
    return figure


@figure(
    "predicted_and_measured",
    "Predicted against measured loss",
    "trust",
    order=1,
    draw=_draw_predicted,
    describe=_describe_predicted,
)
def predicted_and_measured(study: StudyTables, laws: Laws) -> PredictedLosses | str:
    """Of all families."""
    table = predicted_losses(study, laws)
    if table.empty:
        return NEEDS_GRID
    names = compared_forms(laws)
    fits = [laws.of(family).fit(form) for family in laws.families for form in names]
    reasons = {
        form: " ".join(sorted({fit.reason for fit in fits if fit and fit.form == form and fit.reason}))
        for form in names
    }
    return PredictedLosses(table=table, families=study.families, names=names, reasons=reasons)


def predicted_losses(study: StudyTables, laws: Laws) -> pd.DataFrame:
    """form, family, run, N, D, C, loss, predicted, held_out: the fits to all runs, then the held-out runs."""
    tables = []
    for form in compared_forms(laws):
        for family in study.families:
            fit, runs = laws.of(family).fit(form), study.of(family)
            if fit is not None and fit.identified:
                predicted = fit.law.loss(N=runs["N"], D=runs["D"])
                tables.append(runs.assign(form=form, family=family, predicted=predicted, held_out=False))
        for family in laws.families:
            for entry in laws.of(family).holdout:
                if entry.form == form and entry.predicted:
                    runs = study.runs.set_index("run").loc[list(entry.held_out)].reset_index()
                    predicted = list(entry.predicted)
                    tables.append(runs.assign(form=form, family=family, predicted=predicted, held_out=True))
    if not tables:
        return pd.DataFrame(columns=COLUMNS).astype({"held_out": bool})
    return pd.concat([table[COLUMNS] for table in tables], ignore_index=True)


def _residual_percent(predictions: pd.DataFrame) -> pd.Series[float]:
    """ln(measured / predicted), per cent."""
    return 100 * (predictions["loss"] / predictions["predicted"]).map(math.log)


def _rms(predictions: pd.DataFrame) -> float:
    return float(np.sqrt((_residual_percent(predictions) ** 2).mean()))


def _look(family: str, families: Sequence[str], held_out: bool = False) -> dict[str, Any]:
    """Filled: fitted. Large and hollow: predicted by a fit that had not seen the run."""
    style = st.family_style(family, families) | {"linestyle": "none"}
    if held_out:
        return style | {"ms": 9, "mfc": "none", "mew": 1.4}
    return style | {"ms": 4, "alpha": 0.75, "label": st.plain(st.family_name(family))}


# --- residuals ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """What the laws leave over.

    Attributes:
        table: form, family, N, D, C, residual_percent: ln(measured / fitted) of the runs that were fitted.
        slopes: form, family, N, D, C: the slope of the residuals, per cent a decade of each, by least squares
            of each variable alone; 0 where the variable has one value only.
        noise_sd: of ln loss between seeds; None where it is not known.
        names: of the laws, by form.
        labels: of the axes: N, D, C.
    """

    table: pd.DataFrame
    slopes: pd.DataFrame
    families: Sequence[str]
    noise_sd: float | None
    names: Mapping[str, str]
    labels: Mapping[str, str]


def _describe_residuals(data: Residuals) -> str:
    """Whether a trend is left in the residuals: their slope a decade of N, D and C."""
    family = st.families_of(data.slopes["family"])[0]
    words = (
        f"{data.names[row['form']]} {row['N']:+.2f} % per decade of N, {row['D']:+.2f} % of D, "
        f"{row['C']:+.2f} % of C"
        for row in data.slopes[data.slopes["family"] == family].round(2).replace(-0.0, 0.0).to_dict("records")
    )
    others = data.slopes[data.slopes["family"] != family]
    steepest = others[["N", "D", "C"]].abs().to_numpy().max(initial=0.0)
    of_others = "" if others.empty else f"; of the other families, at most {steepest:.2f} %"
    return (
        f"{st.family_name(family)}, the trend that each law does not explain: {'; '.join(words)}{of_others}."
    )


def _draw_residuals(data: Residuals) -> Figure:
    """A row per form, a column each for N, D and C: what the law leaves over, in per cent of the loss."""
    table, sd = data.table, data.noise_sd
    forms = [form for form in data.names if (table["form"] == form).any()]
    figure, axes = st.panels(3, len(forms), width=12.0, height=1.1 + 3.3 * len(forms))
    reach = 1.15 * max(float(table["residual_percent"].abs().max()), 200 * (sd or 0.0), 0.1)
    for row, form in enumerate(forms):
        for column, name in enumerate("NDC"):
            panel, unit = axes[3 * row + column], PF_DAY_FLOPS if name == "C" else 1.0
            for family in data.families:
                points = table[(table["form"] == form) & (table["family"] == family)]
                if len(points):
                    look = _look(family, data.families)
                    panel.plot(points[name] / unit, points["residual_percent"], **look)
            panel.axhline(0, color=st.INK, linewidth=0.9, zorder=1)
            if sd:
                band: dict[str, Any] = {"color": st.GREY, "alpha": st.BAND_ALPHA, "lw": 0}
                panel.axhspan(-200 * sd, 200 * sd, **band, label="± 2 sd between seeds")
            st.log_x(panel, table[name] / unit, data.labels[name])
            panel.set_ylim(-reach, reach)
            panel.set_ylabel(f"{st.plain(data.names[form])}\nln(measured / fitted), %" if column == 0 else "")
    st.legend_outside(figure, axes, columns=5)
    return figure


@figure(
    "residuals",
    "What the laws do not explain, against N, D and C",
    "trust",
    order=2,
    draw=_draw_residuals,
    describe=_describe_residuals,
)
def residuals(study: StudyTables, laws: Laws) -> Residuals | str:
    """Of all families."""
    predictions = predicted_losses(study, laws)
    fitted = predictions[~predictions["held_out"]]
    if fitted.empty:
        return NEEDS_GRID
    table = fitted.assign(residual_percent=_residual_percent(fitted)).drop(columns="held_out")
    return Residuals(
        table=table,
        slopes=_slopes(table),
        families=study.families,
        noise_sd=laws.noise.sd_log_loss,
        names=compared_forms(laws),
        labels={"N": n_label(study, laws), "D": d_label(study), "C": pf_days_label(study, laws)},
    )


def _slopes(table: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {"form": form, "family": family}
        | {name: _slope(np.log10(of_fit[name]), of_fit["residual_percent"]) for name in "NDC"}
        for (form, family), of_fit in table.groupby(["form", "family"], sort=False)
    ]
    return pd.DataFrame(rows)


def _slope(x: pd.Series[float], y: pd.Series[float]) -> float:
    return float(np.polyfit(x, y, 1)[0]) if x.nunique() > 1 else 0.0

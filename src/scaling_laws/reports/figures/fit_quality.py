"""How well do the joint laws describe the runs, and the runs that they have not seen?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.reports.evidence import Laws, StudyTables, c_label, find_fit
from scaling_laws.reports.formulas import FORM_NAMES, law_of
from scaling_laws.reports.style import (
    BAND_ALPHA,
    GREY,
    INK,
    LOSS_LABEL,
    family_name,
    family_style,
    legend_below,
    log_x,
    log_y,
    note,
    note_in,
    panels,
    plain,
    styled,
)

TITLE = "Predicted against measured loss"


@styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """A column a form. Above: predicted against measured. Below: residuals against compute, in per cent."""
    predictions = predicted_losses(tables, laws)
    if predictions.empty:
        return note(
            TITLE, "Needs a joint law L(N, D) that the runs identify: several sizes at several horizons."
        )
    figure, axes = panels(2, 2, width=11.0, height=7.6)
    sd = laws["noise"]["sd_log_loss"]
    residuals = pd.Series(100 * np.log(predictions["loss"] / predictions["predicted"]))
    reach = 1.15 * max(residuals.abs().max(), 200 * (sd or 0.0))
    for column, form in enumerate(FORM_NAMES):
        above, below = axes[column], axes[2 + column]
        of_form = predictions[predictions["form"] == form]
        if of_form.empty:
            note_in(above, f"{FORM_NAMES[form]}: {_reasons(laws, form)}")
            below.set_axis_off()
            continue
        for family in tables.families:
            for held_out in (False, True):
                points = of_form[(of_form["family"] == family) & (of_form["held_out"] == held_out)]
                look = _look(tables, family, held_out)
                above.plot(points["loss"], points["predicted"], **look)
                below.plot(points["C"], residuals[points.index], **look)
        ends = [of_form[["loss", "predicted"]].min().min(), of_form[["loss", "predicted"]].max().max()]
        above.axline((ends[0], ends[0]), (ends[1], ends[1]), color=INK, linewidth=0.9, zorder=1)
        log_x(above, ends, LOSS_LABEL.replace("test", "measured test"))
        log_y(above, ends, "predicted, nats per token" if column == 0 else "")
        above.set_title(FORM_NAMES[form], color=INK)
        below.axhline(0, color=INK, linewidth=0.9, zorder=1)
        if sd:
            below.axhspan(
                -200 * sd, 200 * sd, color=GREY, alpha=BAND_ALPHA, lw=0, label="± 2 sd between seeds"
            )
        log_x(below, predictions["C"], c_label(laws))
        below.set_ylim(-reach, reach)
        below.set_ylabel("ln(measured / predicted), %" if column == 0 else "")
        legend_below(below, columns=2, offset=-0.18)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """The size of the residuals and the error on the held-out runs, by form."""
    predictions = predicted_losses(tables, laws)
    sentences = []
    for form in FORM_NAMES:
        of_form = predictions[predictions["form"] == form] if not predictions.empty else predictions
        for family in tables.families:
            points = of_form[of_form["family"] == family] if not of_form.empty else of_form
            fitted = points[~points["held_out"]] if not points.empty else points
            if fitted.empty:
                continue
            rms = 100 * float(np.sqrt((np.log(fitted["loss"] / fitted["predicted"]) ** 2).mean()))
            held_out = points[points["held_out"]]
            worst = 100 * float((held_out["predicted"] / held_out["loss"] - 1).abs().max())
            words = f"{family_name(family)}, {FORM_NAMES[form]}: residuals {rms:.2f} % (rms)"
            sentences.append(
                words + (f", largest error on held-out runs {worst:.1f} %" if len(held_out) else "")
            )
    return "; ".join(sentences) + "." if sentences else "No joint law is identified."


def predicted_losses(tables: StudyTables, laws: Laws) -> pd.DataFrame:
    """form, family, run, C, loss, predicted, held_out: the fit to all runs, then the held-out predictions."""
    rows: list[dict[str, Any]] = []
    if tables.runs.empty:
        return pd.DataFrame(rows)
    by_run = tables.runs.set_index("run")
    for form in FORM_NAMES:
        for family in tables.families:
            fit = find_fit(laws, form, family)
            runs = tables.of(family)
            if fit is not None and fit["identified"]:
                predicted = law_of(fit).loss(N=runs["N"], D=runs["D"])
                for run, loss, at, value in zip(runs["run"], runs["loss"], runs["C"], predicted, strict=True):
                    rows.append(_row(form, family, run, at, loss, value, False))
        for entry in laws["holdout"]:
            if entry["form"] == form and entry["predicted"]:
                for run, value in zip(entry["held_out"], entry["predicted"], strict=True):
                    at = by_run.loc[run]
                    rows.append(_row(form, entry["family"], run, at["C"], at["loss"], value, True))
    return pd.DataFrame(rows)


def _row(
    form: str, family: str, run: str, C: float, loss: float, predicted: float, held_out: bool
) -> dict[str, Any]:
    return {
        "form": form,
        "family": family,
        "run": run,
        "C": C,
        "loss": loss,
        "predicted": float(predicted),
        "held_out": held_out,
    }


def _look(tables: StudyTables, family: str, held_out: bool) -> dict[str, Any]:
    """Filled: fitted. Large and hollow: predicted by a fit that had not seen the run."""
    style = family_style(family, tables.families) | {"linestyle": "none"}
    if held_out:
        return style | {
            "ms": 9,
            "mfc": "none",
            "mew": 1.4,
            "label": f"{plain(family_name(family))}, held out of the fit",
        }
    return style | {"ms": 4, "alpha": 0.75, "label": plain(family_name(family))}


def _reasons(laws: Laws, form: str) -> str:
    reasons = {fit["reason"] for fit in laws["fits"] if fit["form"] == form and fit["reason"]}
    return "not identified. " + " ".join(sorted(reasons))

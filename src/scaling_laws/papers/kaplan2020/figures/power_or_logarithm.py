"""Is the loss a power law in N, or a logarithm? (Kaplan 2020, Figure 23.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.formulas import fitted_band
from scaling_laws.report.text import with_interval

NEEDS_SIZES = "Needs several sizes: runs of `scaling-laws sweep configs/sweeps/size.yaml`."
RIVALS = {"kaplan_n": "power law", "log_n": "logarithm"}
BEYOND = 30
"""The fits are drawn up to this multiple of the largest size."""


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """The power law and the logarithm, those that are identified.

    Attributes:
        n_label: what N counts.
        fits: by form.
        residuals: form, N, loss, predicted, residual_percent, at the sizes of L(N).
        errors: by form, from `prediction_errors`.
        sd_log_loss: the noise between seeds; None where it is not known.
    """

    n_label: str
    fits: Mapping[str, FittedLaw]
    residuals: pd.DataFrame
    errors: Mapping[str, float]
    sd_log_loss: float | None

    def rms_percent(self, form: str) -> float:
        """Of what a form leaves over."""
        of_form = self.residuals.loc[self.residuals["form"] == form, "residual_percent"]
        return float(np.sqrt((of_form**2).mean()))


def draw(data: Rivals) -> Figure:
    """Left: both fits to the loss of each size, drawn beyond the data. Right: what they leave over."""
    figure, (fitted, residual) = st.panels(2, width=11.0, height=4.9)
    sizes = data.residuals.drop_duplicates(["N", "loss"])
    fitted.plot(sizes["N"], sizes["loss"], "o", color=st.INK, zorder=3, label="a size at the common horizon")
    N = np.geomspace(sizes["N"].min() / 3, BEYOND * sizes["N"].max(), 160)
    looks: dict[str, Any] = {
        "kaplan_n": {"color": st.FIT, "marker": "o"},
        "log_n": {"color": st.FAMILY_COLOURS[0], "ls": "--", "marker": "s"},
    }
    lowest = [sizes["loss"].min()]
    for form, fit in data.fits.items():
        loss, look = fit.law.loss(N), looks[form]
        fitted.plot(N, loss, **look | {"marker": ""}, label=f"{RIVALS[form]}, {_parameter(fit)}")
        lowest.append(loss[-1])
        band = fitted_band(fit, N=N)
        if band is not None:
            fitted.fill_between(N, *band, color=look["color"], alpha=st.BAND_ALPHA, linewidth=0)
        of_form = data.residuals[data.residuals["form"] == form]
        label = f"{RIVALS[form]}: rms {data.rms_percent(form):.2f} %"
        residual.plot(of_form["N"], of_form["residual_percent"], **look | {"ls": "none"}, label=label)
    fitted.axvspan(sizes["N"].max(), N[-1], color=st.GREY, alpha=0.08, linewidth=0, label="beyond the data")
    st.log_x(fitted, N, data.n_label, margin=0.0)
    st.log_y(fitted, [max(0.4 * sizes["loss"].min(), min(lowest)), 1.15 * sizes["loss"].max()], st.LOSS_LABEL)
    residual.axhline(0, color=st.INK, linewidth=0.9, zorder=1)
    if data.sd_log_loss:
        ends, label = (-200 * data.sd_log_loss, 200 * data.sd_log_loss), "± 2 sd between seeds"
        residual.axhspan(*ends, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label=label)
    st.log_x(residual, sizes["N"], data.n_label)
    residual.set_ylabel("ln(measured / fitted), %")
    fitted.set_title("Loss against size")
    residual.set_title("What the fits do not explain")
    for axes in (fitted, residual):
        st.legend_below(axes, columns=1)
    return figure


def _parameter(fit: FittedLaw) -> str:
    if fit.form == "kaplan_n":
        exponent = KAPLAN_SINGLE.of_N.alpha_N
        value = with_interval(fit.value("alpha_N"), fit.interval("alpha_N"))
        return f"$\\alpha_N$ = {value} (Kaplan 2020: {exponent})"
    return f"{with_interval(fit.value('b'), fit.interval('b'))} nats per e-fold (Kaplan 2020: 0.25)"


def describe(data: Rivals) -> str:
    """How closely each form follows the sizes, and how well it predicted larger ones."""
    closeness = " and ".join(f"the {RIVALS[form]} by {data.rms_percent(form):.2f} %" for form in data.fits)
    predictions = ""
    if len(data.errors) == len(RIVALS):
        words = " and ".join(
            f"the {RIVALS[form]} by {100 * each:.1f} %" for form, each in data.errors.items()
        )
        predictions = f"; predicting larger sizes from smaller ones, {words} (mean)"
    n_sizes = data.residuals["N"].nunique()
    return f"At {n_sizes} sizes the fits miss the loss: {closeness} (rms){predictions}."


@figure(
    "fig23_power_law_or_logarithm",
    "A power law in N, or a logarithm?",
    "scale",
    draw=draw,
    describe=describe,
)
def fig23_power_law_or_logarithm(study: KaplanTables, laws: Laws) -> Rivals | str:
    known = (study.laws.of(study.main_family).fit(form) for form in RIVALS)
    fits = {fit.form: fit for fit in known if fit is not None and fit.identified}
    if not fits:
        return NEEDS_SIZES
    sizes, _ = at_common_horizon(study.of(study.main_family))
    tables = []
    for form, fit in fits.items():
        predicted = fit.law.loss(sizes["N"])
        residual = 100 * np.log(sizes["loss"] / predicted)
        table = sizes[["N", "loss"]].assign(form=form, predicted=predicted, residual_percent=residual)
        tables.append(table.sort_values("N"))
    return Rivals(
        n_label=study.n_label,
        fits=fits,
        residuals=pd.concat(tables, ignore_index=True),
        errors=prediction_errors(study),
        sd_log_loss=study.laws.noise.sd_log_loss,
    )


def prediction_errors(study: KaplanTables) -> dict[str, float]:
    """Mean relative error of each rival on sizes above those it was fitted to, of the same predictions."""
    scores = {
        score.form: score.error
        for comparison in study.laws.of(study.main_family).rollout
        if (comparison.axis, comparison.kind) == ("N", "single")
        for score in comparison.scores
    }
    return {form: error for form in RIVALS if (error := scores.get(form)) is not None}

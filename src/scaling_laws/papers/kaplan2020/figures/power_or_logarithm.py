"""Is the loss a power law in N, or a logarithm? (Kaplan et al. 2020, Figure 23.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, find_fit, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.figures.power_laws import KAPLAN_EXPONENTS, NEEDS_SIZES
from scaling_laws.report.formulas import (
    fitted_band,
    law_of,
    value_with_interval,
)

RIVALS = {"kaplan_n": "power law", "log_n": "logarithm"}
BEYOND = 30
"""Figure 23 draws the fits up to this multiple of the largest size."""


@st.styled
def draw_power_or_logarithm(tables: StudyTables, laws: Laws) -> Figure:
    """Left: both fits to the loss of each size, drawn beyond the data. Right: what they leave over."""
    table = residuals_by_form(tables, laws)
    if table.empty:
        return st.note("A power law or a logarithm of N", NEEDS_SIZES)
    figure, (fitted, residual) = st.panels(2, width=11.0, height=4.9)
    sizes = table.drop_duplicates(["N", "loss"])
    fitted.plot(sizes["N"], sizes["loss"], "o", color=st.INK, zorder=3, label="a size at the common horizon")
    N = np.geomspace(sizes["N"].min() / 3, BEYOND * sizes["N"].max(), 160)
    looks: dict[str, Any] = {
        "kaplan_n": {"color": st.FIT},
        "log_n": {"color": st.FAMILY_COLOURS[0], "ls": "--"},
    }
    lowest = [sizes["loss"].min()]
    for form, name in RIVALS.items():
        fit = find_fit(laws, form, tables.main_family)
        of_form = table[table["form"] == form]
        if fit is None or of_form.empty:
            continue
        loss = law_of(fit).loss(N)
        fitted.plot(N, loss, **looks[form], label=_rival_label(fit, name))
        lowest.append(loss[-1])
        band = fitted_band(fit, N=N)
        if band is not None:
            fitted.fill_between(N, *band, color=looks[form]["color"], alpha=st.BAND_ALPHA, linewidth=0)
        look = looks[form] | {"ls": "none", "marker": "o" if form == "kaplan_n" else "s"}
        residual.plot(
            of_form["N"], of_form["residual_percent"], **look, label=f"{name}: rms {_rms(of_form):.2f} %"
        )
    fitted.axvspan(sizes["N"].max(), N[-1], color=st.GREY, alpha=0.08, linewidth=0, label="beyond the data")
    st.log_x(fitted, N, n_label(laws), margin=0.0)
    st.log_y(fitted, [max(0.4 * sizes["loss"].min(), min(lowest)), 1.15 * sizes["loss"].max()], st.LOSS_LABEL)
    residual.axhline(0, color=st.INK, linewidth=0.9, zorder=1)
    if sd := laws["noise"]["sd_log_loss"]:
        label = "± 2 sd between seeds"
        residual.axhspan(-200 * sd, 200 * sd, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label=label)
    st.log_x(residual, sizes["N"], n_label(laws))
    residual.set_ylabel("ln(measured / fitted), %")
    fitted.set_title("Loss against size")
    residual.set_title("What the fits leave over")
    for axes in (fitted, residual):
        st.legend_below(axes, columns=1)
    return figure


def describe_power_or_logarithm(tables: StudyTables, laws: Laws) -> str:
    """How closely each form follows the sizes, and how well it predicted larger ones."""
    table = residuals_by_form(tables, laws)
    if table.empty:
        return "Too few sizes to tell a power law from a logarithm."
    closeness = " and ".join(
        f"the {RIVALS[form]} by {_rms(table[table['form'] == form]):.2f} %" for form in table["form"].unique()
    )
    errors = prediction_errors(laws, tables.main_family)
    predictions = ""
    if len(errors) == len(RIVALS):
        words = " and ".join(f"the {RIVALS[form]} by {100 * error:.1f} %" for form, error in errors.items())
        predictions = f"; predicting larger sizes from smaller ones, {words} (mean)"
    return f"At {table['N'].nunique()} sizes the loss is missed by: {closeness} (rms){predictions}."


def residuals_by_form(tables: StudyTables, laws: Laws) -> pd.DataFrame:
    """form, N, loss, predicted, residual_percent: the power law and the logarithm at the sizes of L(N)."""
    rows = []
    for form in RIVALS:
        fit = find_fit(laws, form, tables.main_family)
        if fit is None or not fit["identified"]:
            continue
        sizes, _ = at_common_horizon(tables.of(tables.main_family))
        predicted = law_of(fit).loss(sizes["N"])
        residual = 100 * np.log(sizes["loss"] / predicted)
        table = sizes[["N", "loss"]].assign(form=form, predicted=predicted, residual_percent=residual)
        rows.append(table.sort_values("N"))
    columns = ["form", "N", "loss", "predicted", "residual_percent"]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def prediction_errors(laws: Laws, family: str | None) -> dict[str, float]:
    """Mean relative error of each rival on sizes above those it was fitted to, of the same predictions."""
    entries = (
        entry
        for entry in laws.get("rollout", ())
        if (entry["family"], entry["axis"], entry["kind"]) == (family, "N", "single")
    )
    scores = {score["form"]: score["error"] for entry in entries for score in entry["scores"]}
    return {form: scores[form] for form in RIVALS if scores.get(form) is not None}


def _rms(residuals: pd.DataFrame) -> float:
    return float(np.sqrt((residuals["residual_percent"] ** 2).mean()))


def _rival_label(fit: Mapping[str, Any], name: str) -> str:
    if fit["form"] == "kaplan_n":
        exponent = KAPLAN_EXPONENTS["N"]
        return f"{name}, $\\alpha_N$ = {value_with_interval(fit, 'alpha_N')} (Kaplan 2020: {exponent})"
    return f"{name}, {value_with_interval(fit, 'b')} nats per e-fold (Kaplan 2020: 0.25)"


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig23_power_law_or_logarithm",
        title="A power law in N, or a logarithm?",
        paper="Fig. 23",
        question="scale",
        draw=draw_power_or_logarithm,
        describe=describe_power_or_logarithm,
    ),
)

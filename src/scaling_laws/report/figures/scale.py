"""Does the loss follow power laws in compute, data and size? (Kaplan et al. 2020, Figure 1.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.selection import at_common_horizon, of_largest_size
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, d_label, envelope_of, find_fit, n_label
from scaling_laws.report.figures.compute import curves_by_compute, pf_days_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import (
    fitted_band,
    law_of,
    pure_power_title,
    value_with_interval,
)
from scaling_laws.report.text import short
from scaling_laws.study.units import PF_DAY_FLOPS

NEEDS_SIZES = "Needs several sizes: runs of `scaling-laws sweep configs/sweeps/size.yaml`."
KAPLAN_EXPONENTS = {
    "C": float(KAPLAN_SINGLE.of_C_naive.alpha_C),
    "D": float(KAPLAN_SINGLE.of_D.alpha_D),
    "N": float(KAPLAN_SINGLE.of_N.alpha_N),
}
UNITS = {"C": PF_DAY_FLOPS, "D": 1.0, "N": 1.0}
"""What one unit of an axis is of the laws' own: compute is drawn in PF-days."""


@st.styled
def draw_power_laws(tables: StudyTables, laws: Laws) -> Figure:
    """Left: compute, with learning curves and envelope. Middle: D, largest size. Right: N, common horizon."""
    family = tables.main_family
    if family is None:
        return st.note("Loss against compute, data and size", NEEDS_SIZES)
    runs = tables.of(family)
    colours = st.SizeColours(runs["N"])
    figure, (compute, data, size) = st.panels(3, width=12.0, height=5.1)

    curves = curves_by_compute(tables, runs)
    for run, curve in curves.groupby("run", sort=False):
        N = runs.loc[runs["run"] == run, "N"].iloc[0]
        points = curve.iloc[st.thin(len(curve))]
        compute.plot(points["pf_days"], points["loss"], color=colours(N), linewidth=0.8, alpha=0.55)
    _points(compute, runs["C"] / PF_DAY_FLOPS, runs["loss"], [colours(N) for N in runs["N"]], "end of a run")
    envelope = pd.DataFrame(envelope_of(laws, family)[0], columns=["C", "loss"])
    hollow: dict[str, Any] = {"color": "none", "mec": st.INK, "ms": 7, "zorder": 4}
    compute.plot(envelope["C"] / PF_DAY_FLOPS, envelope["loss"], "o", label="envelope", **hollow)
    visible = curves[curves["loss"] <= 1.2 * runs["loss"].max()]
    st.log_x(compute, [*(runs["C"] / PF_DAY_FLOPS), *visible["pf_days"]], pf_days_label(laws))
    st.log_y(compute, [*runs["loss"], *visible["loss"]], st.LOSS_LABEL)

    (at_largest, _), (at_common, _) = of_largest_size(runs), at_common_horizon(runs)
    for axes, column, chosen, label in (
        (data, "D", at_largest, d_label(tables)),
        (size, "N", at_common, n_label(laws)),
    ):
        _points(axes, chosen[column], chosen["loss"], [colours(N) for N in chosen["N"]], "end of a run", 28)
        st.log_x(axes, chosen[column], label, margin=0.12)
        st.log_y(
            axes,
            [*at_largest["loss"], *at_common["loss"]],
            st.LOSS_LABEL if axes is data else "",
            margin=0.12,
        )

    titles = {
        "C": "best size at each budget",
        "D": f"N = {short(at_largest['N'].max())}",
        "N": f"D = {short(at_common['D'].mean())}",
    }
    for axes, variable, rows in (
        (compute, "C", envelope.assign(C=envelope["C"] / PF_DAY_FLOPS)),
        (data, "D", at_largest),
        (size, "N", at_common),
    ):
        pure = find_fit(laws, f"kaplan_{variable.lower()}", family)
        _draw_fit(axes, pure, variable)
        _draw_fit(axes, find_fit(laws, f"power_{variable.lower()}", family), variable)
        _draw_kaplan(axes, rows, variable)
        axes.set_title(f"{_formula(pure, variable)}\n({titles[variable]})")
        st.legend_below(axes, columns=1)
    colours.bar(figure, [compute, data, size], n_label(laws))
    return figure


def describe_power_laws(tables: StudyTables, laws: Laws) -> str:
    """What the figure shows, with the fits' exponents and 90 % intervals beside the paper's."""
    family = tables.main_family
    if family is None:
        return "No run of this study can enter a law."
    runs = tables.of(family)
    exponents = "; ".join(
        f"α_{variable} = {value_with_interval(find_fit(laws, form, family), f'alpha_{variable}')} "
        f"(Kaplan 2020: {KAPLAN_EXPONENTS[variable]})"
        for form, variable in (("kaplan_c", "C"), ("kaplan_d", "D"), ("kaplan_n", "N"))
    )
    return (
        f"{st.family_name(family)}: over {len(runs)} runs the test loss falls from "
        f"{runs['loss'].max():.2f} to {runs['loss'].min():.2f} nats per token. "
        f"Fitted exponents: {exponents}. Bands and brackets are 90 % intervals."
    )


def slope_through(x: ArrayLike, loss: ArrayLike, exponent: float, at: ArrayLike) -> NDArray[Any]:
    """A power law with a given exponent through the geometric mean of points: (at.shape,).

    The scales of the paper's laws depend on its tokenizer (2020, section 1.2); the exponents do not.
    """
    log_of_x, log_loss = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(loss, dtype=float))
    line = log_loss.mean() - exponent * (np.log(np.asarray(at, dtype=float)) - log_of_x.mean())
    return np.asarray(np.exp(line))


def _points(axes: Axes, x: Any, y: Any, colours: list[Any], label: str, area: float = 16) -> None:
    axes.scatter(x, y, s=area, c=colours, zorder=3)
    st.legend_entry(axes, label)


def _draw_fit(axes: Axes, fit: Mapping[str, Any] | None, variable: str) -> None:
    """A pure power law as a line with its band; the law with an irreducible loss dashed."""
    if fit is None or not fit["identified"]:
        return
    pure = fit["form"].startswith("kaplan")
    x = np.geomspace(*axes.get_xlim(), 120)
    label = rf"fit, $\alpha_{variable}$ = {value_with_interval(fit, f'alpha_{variable}')}"
    if not pure:
        label = f"with irreducible E = {value_with_interval(fit, 'E')}"
    loss = law_of(fit).loss(UNITS[variable] * x)
    axes.plot(x, loss, color=st.FIT if pure else st.INK, ls="-" if pure else "--", zorder=2, label=label)
    band = fitted_band(fit, **{variable: UNITS[variable] * x})
    if pure and band is not None:
        axes.fill_between(x, *band, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)


def _draw_kaplan(axes: Axes, rows: pd.DataFrame, variable: str) -> None:
    """The paper's exponent as a grey line through the middle of our points."""
    if rows[variable].nunique() < 2:
        return
    x, exponent = np.asarray(axes.get_xlim()), KAPLAN_EXPONENTS[variable]
    line = slope_through(rows[variable], rows["loss"], exponent, x)
    label = f"Kaplan 2020's exponent, {exponent}"
    axes.plot(x, line, color=st.GREY, linewidth=1.2, linestyle=(0, (1, 1.4)), zorder=1, label=label)


def _formula(fit: Mapping[str, Any] | None, variable: str) -> str:
    if fit is None or not fit["identified"]:
        return "not identified"
    scale = {f"{variable}_c": fit["parameters"][f"{variable}_c"] / UNITS[variable]}
    return pure_power_title({"parameters": {**fit["parameters"], **scale}}, variable)


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig01_power_laws",
        title="Loss against compute, data and size",
        paper="Fig. 1",
        question="scale",
        draw=draw_power_laws,
        describe=describe_power_laws,
    ),
)

"""Does the loss follow power laws in compute, data and size? (Kaplan et al. 2020, Figure 1.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.laws.selection import at_common_horizon, of_largest_size
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.figures.learning_curves import curves_by_compute, pf_days_label
from scaling_laws.report.formulas import fitted_band, pure_power_title, value_with_interval
from scaling_laws.report.study_tables import StudyTables, d_label, envelope_points, n_label
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
FORMS = ("kaplan_c", "kaplan_d", "kaplan_n", "power_c", "power_d", "power_n")


@dataclass(frozen=True, kw_only=True)
class PowerLaws:
    """Loss against one variable at a time, of one family.

    Attributes:
        runs: of the law: N, D, C, loss.
        curves: run, N, pf_days, loss during training.
        envelope: C, loss.
        at_largest: runs of the largest size: the points of L(D).
        at_common: runs at the common horizon: the points of L(N).
        fits: by form.
        labels: of the axes, by variable.
    """

    family: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    envelope: pd.DataFrame
    at_largest: pd.DataFrame
    at_common: pd.DataFrame
    fits: Mapping[str, FittedLaw | None]
    labels: Mapping[str, str]


def _describe(data: PowerLaws) -> str:
    """The fits' exponents and 90 % intervals beside the paper's."""
    values = {
        variable: value_with_interval(data.fits[f"kaplan_{variable.lower()}"], f"alpha_{variable}")
        for variable in KAPLAN_EXPONENTS
    }
    exponents = "; ".join(
        f"α_{variable} {'' if values[variable] == 'not identified' else '= '}{values[variable]} "
        f"(Kaplan 2020: {exponent})"
        for variable, exponent in KAPLAN_EXPONENTS.items()
    )
    return (
        f"{st.family_name(data.family)}: over {len(data.runs)} runs the loss falls from "
        f"{data.runs['loss'].max():.2f} to {data.runs['loss'].min():.2f} nats per token. "
        f"Fitted exponents: {exponents}. Bands and brackets are {interval_words()} intervals."
    )


def _draw(data: PowerLaws) -> Figure:
    """Left: compute, with learning curves and envelope. Middle: D, largest size. Right: N, common horizon."""
    runs, curves, envelope = data.runs, data.curves, data.envelope
    colours = st.SizeColours(runs["N"])
    figure, (compute, of_data, size) = st.panels(3, width=12.0, height=5.1)

    for _, curve in curves.groupby("run", sort=False):
        points = curve.iloc[st.thin(len(curve))]
        look: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.55}
        compute.plot(points["pf_days"], points["loss"], color=colours(points["N"].iloc[0]), **look)
    _points(compute, runs["C"] / PF_DAY_FLOPS, runs["loss"], [colours(N) for N in runs["N"]])
    hollow: dict[str, Any] = {"color": "none", "mec": st.INK, "ms": 7, "zorder": 4}
    compute.plot(envelope["C"] / PF_DAY_FLOPS, envelope["loss"], "o", label="envelope", **hollow)
    visible = curves[curves["loss"] <= 1.2 * runs["loss"].max()]
    st.log_x(compute, [*(runs["C"] / PF_DAY_FLOPS), *visible["pf_days"]], data.labels["C"])
    st.log_y(compute, [*runs["loss"], *visible["loss"]], st.LOSS_LABEL)

    losses = [*data.at_largest["loss"], *data.at_common["loss"]]
    for axes, variable, chosen in ((of_data, "D", data.at_largest), (size, "N", data.at_common)):
        _points(axes, chosen[variable], chosen["loss"], [colours(N) for N in chosen["N"]], 28)
        st.log_x(axes, chosen[variable], data.labels[variable], margin=0.12)
        st.log_y(axes, losses, st.LOSS_LABEL if axes is of_data else "", margin=0.12)

    for axes, variable, rows, which in (
        (compute, "C", envelope.assign(C=envelope["C"] / PF_DAY_FLOPS), "best size at each budget"),
        (of_data, "D", data.at_largest, f"N = {short(data.at_largest['N'].max())}"),
        (size, "N", data.at_common, f"D = {short(data.at_common['D'].mean())}"),
    ):
        pure = data.fits[f"kaplan_{variable.lower()}"]
        _draw_fit(axes, pure, variable)
        _draw_fit(axes, data.fits[f"power_{variable.lower()}"], variable)
        _draw_kaplan(axes, rows, variable)
        axes.set_title(f"{_formula(pure, variable)}\n({which})")
        st.legend_below(axes, columns=1)
    colours.bar(figure, [compute, of_data, size], data.labels["N"])
    return figure


@figure("power_laws", "Loss against compute, data and size", "scale", draw=_draw, describe=_describe)
def power_laws(study: StudyTables, laws: Laws) -> PowerLaws | str:
    """Of the main family."""
    family = study.main_family
    if family is None:
        return NEEDS_SIZES
    runs, of_family = study.of(family), laws.of(family)
    return PowerLaws(
        family=family,
        runs=runs,
        curves=curves_by_compute(study, runs),
        envelope=envelope_points(laws, family),
        at_largest=of_largest_size(runs)[0],
        at_common=at_common_horizon(runs)[0],
        fits={form: of_family.fit(form) for form in FORMS},
        labels={"C": pf_days_label(study, laws), "D": d_label(study), "N": n_label(study, laws)},
    )


def slope_through(x: ArrayLike, loss: ArrayLike, exponent: float, at: ArrayLike) -> NDArray[Any]:
    """A power law with a given exponent through the geometric mean of points: (at.shape,).

    The scales of the paper's laws depend on its tokenizer (2020, section 1.2); the exponents do not.
    """
    log_x, log_loss = np.log(np.asarray(x, dtype=float)), np.log(np.asarray(loss, dtype=float))
    line = log_loss.mean() - exponent * (np.log(np.asarray(at, dtype=float)) - log_x.mean())
    return np.asarray(np.exp(line))


def _points(axes: Axes, x: Any, y: Any, colours: list[Any], area: float = 16) -> None:
    axes.scatter(x, y, s=area, c=colours, zorder=3)
    st.legend_entry(axes, "end of a run")


def _draw_fit(axes: Axes, fit: FittedLaw | None, variable: str) -> None:
    """A pure power law as a line with its band; the law with an irreducible loss dashed."""
    if fit is None or not fit.identified:
        return
    pure = fit.form.startswith("kaplan")
    x = np.geomspace(*axes.get_xlim(), 120)
    label = rf"fit, $\alpha_{variable}$ = {value_with_interval(fit, f'alpha_{variable}')}"
    if not pure:
        label = f"with irreducible E = {value_with_interval(fit, 'E')}"
    look: dict[str, Any] = {"color": st.FIT if pure else st.INK, "ls": "-" if pure else "--", "zorder": 2}
    axes.plot(x, fit.law.loss(UNITS[variable] * x), **look, label=label)
    band = fitted_band(fit, **{variable: UNITS[variable] * x})
    if pure and band is not None:
        axes.fill_between(x, *band, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)


def _draw_kaplan(axes: Axes, rows: pd.DataFrame, variable: str) -> None:
    """The paper's exponent as a grey line through the middle of our points."""
    if rows[variable].nunique() < 2:
        return
    x, exponent = np.asarray(axes.get_xlim()), KAPLAN_EXPONENTS[variable]
    line = slope_through(rows[variable], rows["loss"], exponent, x)
    look: dict[str, Any] = {"color": st.GREY, "linewidth": 1.2, "linestyle": (0, (1, 1.4)), "zorder": 1}
    axes.plot(x, line, **look, label=f"Kaplan 2020's exponent, {exponent}")


def _formula(fit: FittedLaw | None, variable: str) -> str:
    if fit is None or not fit.identified:
        return "not identified"
    law = fit.law
    scale, exponent = getattr(law, f"{variable}_c"), getattr(law, f"alpha_{variable}")
    return pure_power_title(variable, scale / UNITS[variable], exponent)

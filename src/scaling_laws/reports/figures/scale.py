"""Does the loss follow power laws in compute, data and size? The three panels of Kaplan et al.'s Figure 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.selection import at_common_horizon, of_largest_size
from scaling_laws.reports.evidence import (
    Laws,
    StudyTables,
    c_label,
    d_label,
    envelope_of,
    find_fit,
    n_label,
    training_losses,
)
from scaling_laws.reports.formulas import (
    fitted_band,
    law_of,
    pure_power_title,
    value_with_interval,
)
from scaling_laws.reports.style import (
    BAND_ALPHA,
    FIT,
    INK,
    LOSS_LABEL,
    SizeColours,
    family_name,
    legend_below,
    legend_entry,
    log_x,
    log_y,
    note,
    panels,
    short,
    styled,
    thin,
)

TITLE = "Loss against compute, data and size"


@styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: compute, with learning curves and envelope. Middle: D, largest size. Right: N, common horizon."""
    family = tables.main_family
    if family is None:
        return note(TITLE, "Needs at least one complete run.")
    runs = tables.of(family)
    colours = SizeColours(runs["N"])
    figure, (compute, data, size) = panels(3, width=12.0, height=4.9)

    curves = _learning_curves(tables, runs)
    for run, curve in curves.groupby("run", sort=False):
        N = runs.loc[runs["run"] == run, "N"].iloc[0]
        points = curve.iloc[thin(len(curve))]
        compute.plot(points["C"], points["loss"], color=colours(N), linewidth=0.8, alpha=0.55)
    _points(compute, runs["C"], runs["loss"], [colours(N) for N in runs["N"]], "end of a run")
    envelope = pd.DataFrame(envelope_of(laws, family)[0])
    if not envelope.empty:
        compute.plot(
            envelope["C"], envelope["loss"], "o", color="none", mec=INK, ms=7, label="envelope", zorder=4
        )
    visible = curves[curves["loss"] <= 1.2 * runs["loss"].max()]
    log_x(compute, [*runs["C"], *visible["C"]], c_label(laws))
    log_y(compute, [*runs["loss"], *visible["loss"]], LOSS_LABEL)

    (at_largest, _), (at_common, _) = of_largest_size(runs), at_common_horizon(runs)
    for axes, column, chosen, label in (
        (data, "D", at_largest, d_label(tables)),
        (size, "N", at_common, n_label(laws)),
    ):
        _points(axes, chosen[column], chosen["loss"], [colours(N) for N in chosen["N"]], "end of a run", 28)
        log_x(axes, chosen[column], label, margin=0.12)
        log_y(
            axes, [*at_largest["loss"], *at_common["loss"]], LOSS_LABEL if axes is data else "", margin=0.12
        )

    titles = {
        "C": "best size at each budget",
        "D": f"N = {short(at_largest['N'].max())}",
        "N": f"D = {short(at_common['D'].mean())}",
    }
    for axes, variable in ((compute, "C"), (data, "D"), (size, "N")):
        pure = find_fit(laws, f"kaplan_{variable.lower()}", family)
        _draw_fit(axes, pure, variable)
        _draw_fit(axes, find_fit(laws, f"power_{variable.lower()}", family), variable)
        axes.set_title(f"{_formula(pure, variable)}\n({titles[variable]})", color=INK)
        legend_below(axes, columns=1)
    colours.bar(figure, [compute, data, size], n_label(laws))
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """What the figure shows, with the fits' exponents and 90 % intervals."""
    family = tables.main_family
    if family is None:
        return "No run is complete."
    runs = tables.of(family)
    exponents = "; ".join(
        f"α_{variable} = {value_with_interval(find_fit(laws, form, family), f'alpha_{variable}')}"
        for form, variable in (("kaplan_c", "C"), ("kaplan_d", "D"), ("kaplan_n", "N"))
    )
    return (
        f"{family_name(family)}: over {len(runs)} runs the test loss falls from "
        f"{runs['loss'].max():.2f} to {runs['loss'].min():.2f} nats per token. "
        f"Fitted exponents: {exponents}. Bands and brackets are 90 % intervals."
    )


def _learning_curves(tables: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """run, tokens, loss and C during training; compute grows in proportion to tokens."""
    curves = training_losses(tables).merge(runs[["run", "D", "C"]], on="run")
    return curves.assign(C=curves["C"] * curves["tokens"] / curves["D"])


def _points(axes: Axes, x: Any, y: Any, colours: list[Any], label: str, area: float = 16) -> None:
    axes.scatter(x, y, s=area, c=colours, zorder=3)
    legend_entry(axes, label)


def _draw_fit(axes: Axes, fit: Mapping[str, Any] | None, variable: str) -> None:
    """A pure power law as a line with its band; the law with an irreducible loss dashed."""
    if fit is None or not fit["identified"]:
        return
    pure = fit["form"].startswith("kaplan")
    x = np.geomspace(*axes.get_xlim(), 120)
    label = rf"fit, $\alpha_{variable}$ = {value_with_interval(fit, f'alpha_{variable}')}"
    if not pure:
        label = f"with irreducible E = {value_with_interval(fit, 'E')}"
    axes.plot(
        x, law_of(fit).loss(x), color=FIT if pure else INK, ls="-" if pure else "--", zorder=2, label=label
    )
    band = fitted_band(fit, **{variable: x})
    if pure and band is not None:
        axes.fill_between(x, *band, color=FIT, alpha=BAND_ALPHA, linewidth=0)


def _formula(fit: Mapping[str, Any] | None, variable: str) -> str:
    return "not identified" if fit is None or not fit["identified"] else pure_power_title(fit, variable)

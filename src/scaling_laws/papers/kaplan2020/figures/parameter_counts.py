"""Which parameters count? (Kaplan 2020, Figure 6.)"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import SAME_HORIZON
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short

NEEDS_DEPTHS = "Needs sizes of several depths: runs of `scaling-laws sweep configs/sweeps/size.yaml`."
DEPTH_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FEWEST_LAYERS = 2
"""Networks of fewer layers lie off the law in either count (Kaplan 2020, Fig. 6)."""
FEWEST_SIZES = 3
"""A scatter about a line needs more points than the line has parameters."""
LEAST_SPAN = 2.0
"""Of the largest N over the smallest: below it the depth is what differs."""


def draw(sizes: pd.DataFrame) -> Figure:
    """Loss against all parameters and against those without embeddings, a line a depth."""
    depths = sorted(sizes["n_layer"].unique())
    figure, (every, without) = st.panels(2, width=11.0, height=4.9)
    colours, deep = st.SizeColours([1.0, 10.0]), _deep(sizes)
    for axes, column, shown in ((every, "N_total", sizes), (without, "N", sizes[sizes["n_layer"] > 0])):
        for depth, of_depth in shown.groupby("n_layer"):
            place, of_depth = depths.index(depth), of_depth.sort_values(column)
            axes.plot(
                of_depth[column],
                of_depth["loss"],
                color=colours(10 ** (place / max(len(depths) - 1, 1))),  # darker is shallower
                marker=DEPTH_MARKERS[place % len(DEPTH_MARKERS)],
                linewidth=1.2,
                label=f"{depth:g} layer{'' if depth == 1 else 's'}",
            )
        st.log_x(axes, shown[column], st.PARAMETER_LABELS[column])
        st.log_y(axes, sizes["loss"], st.LOSS_LABEL if axes is every else "")
        if deep is not None:
            scatter = scatter_percent(deep[column], deep["loss"])
            axes.set_title(f"{scatter:.1f} % off one power law (from 2 layers on)")
        st.legend_below(axes, columns=3)
    return figure


def describe(sizes: pd.DataFrame) -> str:
    """How far the losses of all depths lie from one power law in either count."""
    deep = _deep(sizes)
    if deep is None:
        return "Too few sizes of different depths to tell which parameters count."
    depths = [f"{depth:g}" for depth in sorted(deep["n_layer"].unique())]
    without, every = (scatter_percent(deep[column], deep["loss"]) for column in ("N", "N_total"))
    return (
        f"At D = {short(sizes['D'].mean())} tokens, {len(deep)} networks of {', '.join(depths[:-1])} and "
        f"{depths[-1]} layers lie {without:.1f} % (rms) off one power law in the parameters without "
        f"embeddings, {every:.1f} % off one in all parameters."
    )


@figure("fig06_parameter_counts", "Which parameters count?", "scale", draw=draw, describe=describe)
def fig06_parameter_counts(study: KaplanTables, laws: Laws) -> pd.DataFrame | str:
    """n_layer, N, N_total, D, loss of the experiment `size`, at the horizon with most depths.

    Where several learning rates were tried, the one with the lowest mean loss over seeds counts. A study
    without the experiment has the runs of its laws.
    """
    keys = ["n_layer", "N", "N_total", "D"]
    runs = study.of_experiment("size")
    runs = study.runs if runs.empty else runs[runs["after_cooldown"].astype(bool)]
    if runs.empty or not {*keys, "loss"} <= set(runs.columns):
        return NEEDS_DEPTHS
    runs = runs[runs["family"] == st.families_of(runs["family"])[0]].dropna(subset=["n_layer"])
    horizons = (runs[np.abs(np.log(runs["D"] / D)) <= SAME_HORIZON] for D in np.unique(runs["D"])[::-1])
    best = max(horizons, key=lambda at_D: (at_D["n_layer"].nunique(), at_D["N"].nunique()), default=runs)
    means = best.groupby([*keys, "learning_rate"], dropna=False)["loss"].mean().reset_index()
    sizes = means.groupby(keys)["loss"].min().reset_index()
    several = sizes["n_layer"].nunique() > 1 and _spread_out(sizes[sizes["n_layer"] > 0])
    return sizes if several else NEEDS_DEPTHS


def scatter_percent(parameters: ArrayLike, loss: ArrayLike) -> float:
    """Root mean square distance of ln loss from a straight line in ln N, in per cent."""
    x, y = np.log(np.asarray(parameters, dtype=float)), np.log(np.asarray(loss, dtype=float))
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    return float(100 * np.sqrt(np.mean(residual**2)))


def _deep(sizes: pd.DataFrame) -> pd.DataFrame | None:
    """The networks whose depths can be held against one line; None where these are too few."""
    deep = sizes[sizes["n_layer"] >= FEWEST_LAYERS]
    enough = deep["n_layer"].nunique() >= 2 and len(deep) >= FEWEST_SIZES and _spread_out(deep)
    return deep if enough else None


def _spread_out(sizes: pd.DataFrame) -> bool:
    return len(sizes) > 0 and bool(sizes["N"].max() >= LEAST_SPAN * sizes["N"].min())

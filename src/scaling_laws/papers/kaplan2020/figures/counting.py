"""Which parameters count? (Kaplan et al. 2020, Figure 6.)"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from scaling_laws.laws.selection import SAME_HORIZON
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import short

EXPERIMENT = "size"
NEEDS_DEPTHS = "Needs sizes of several depths: runs of `scaling-laws sweep configs/sweeps/size.yaml`."
DEPTH_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FEWEST_LAYERS = 2
"""Networks of fewer layers lie off the law in either count (Kaplan 2020, Fig. 6)."""
FEWEST_SIZES = 3
"""A scatter about a line needs more points than the line has parameters."""
LEAST_SPAN = 2.0
"""Of the largest N over the smallest: below it the depth is what differs."""


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Loss against all parameters and against those without embeddings, a line a depth."""
    sizes = sizes_by_depth(tables)
    if sizes["n_layer"].nunique() < 2 or not _spread_out(sizes[sizes["n_layer"] > 0]):
        return st.note("Which parameters count?", NEEDS_DEPTHS)
    depths = sorted(sizes["n_layer"].unique())
    figure, (every, without) = st.panels(2, width=11.0, height=4.9)
    for axes, column, shown in ((every, "N_total", sizes), (without, "N", sizes[sizes["n_layer"] > 0])):
        for place, depth in enumerate(depths):
            of_depth = shown[shown["n_layer"] == depth].sort_values(column)
            if not of_depth.empty:
                axes.plot(of_depth[column], of_depth["loss"], **_look(place, len(depths)), label=_name(depth))
        st.log_x(axes, shown[column], st.PARAMETER_LABELS[column])
        st.log_y(axes, sizes["loss"], st.LOSS_LABEL if axes is every else "")
        axes.set_title(_title(sizes, column))
        st.legend_below(axes, columns=3)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """How far the losses of all depths lie from one power law in either count."""
    sizes = sizes_by_depth(tables)
    deep = sizes[sizes["n_layer"] >= FEWEST_LAYERS]
    if not _comparable(deep):
        return "Too few sizes of different depths to tell which parameters count."
    depths = [f"{depth:g}" for depth in sorted(deep["n_layer"].unique())]
    without, every = scatter_percent(deep["N"], deep["loss"]), scatter_percent(deep["N_total"], deep["loss"])
    return (
        f"At D = {short(sizes['D'].mean())} tokens, {len(deep)} networks of {', '.join(depths[:-1])} and "
        f"{depths[-1]} layers lie {without:.1f} % (rms) off one power law in the parameters without "
        f"embeddings, {every:.1f} % off one in all parameters."
    )


def sizes_by_depth(tables: StudyTables) -> pd.DataFrame:
    """n_layer, N, N_total, D, loss of the experiment `size`, at the horizon with most depths.

    Where several learning rates were tried, the one with the lowest mean loss over seeds counts. A study
    without the experiment has the runs of its laws.
    """
    columns = ["n_layer", "N", "N_total", "D", "loss"]
    runs = tables.of_experiment(EXPERIMENT)
    runs = tables.runs if runs.empty else runs[runs["after_cooldown"].astype(bool)]
    if runs.empty or not set(columns) <= set(runs.columns):
        return pd.DataFrame(columns=columns)
    runs = runs[runs["family"] == st.families_of(runs["family"])[0]].dropna(subset=["n_layer"])
    best, most = runs.iloc[:0], (0, 0)
    for D in np.unique(runs["D"]):
        at_D = runs[np.abs(np.log(runs["D"] / D)) <= SAME_HORIZON]
        if (found := (at_D["n_layer"].nunique(), at_D["N"].nunique())) >= most:
            best, most = at_D, found
    keys = ["n_layer", "N", "N_total", "D"]
    means = best.groupby([*keys, "learning_rate"], dropna=False)["loss"].mean().reset_index()
    return means.groupby(keys)["loss"].min().reset_index()


def scatter_percent(parameters: ArrayLike, loss: ArrayLike) -> float:
    """Root mean square distance of ln loss from a straight line in ln N, in per cent."""
    x, y = np.log(np.asarray(parameters, dtype=float)), np.log(np.asarray(loss, dtype=float))
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    return float(100 * np.sqrt(np.mean(residual**2)))


def _comparable(deep: pd.DataFrame) -> bool:
    """Whether networks of several depths can be held against one line."""
    return deep["n_layer"].nunique() >= 2 and len(deep) >= FEWEST_SIZES and _spread_out(deep)


def _spread_out(sizes: pd.DataFrame) -> bool:
    return len(sizes) > 0 and bool(sizes["N"].max() >= LEAST_SPAN * sizes["N"].min())


def _title(sizes: pd.DataFrame, column: str) -> str:
    deep = sizes[sizes["n_layer"] >= FEWEST_LAYERS]
    if not _comparable(deep):
        return ""
    return f"{scatter_percent(deep[column], deep['loss']):.1f} % off one power law (from 2 layers on)"


def _look(place: int, n_depths: int) -> dict[str, Any]:
    """The colour and the marker of a depth: darker is shallower."""
    colours = st.SizeColours([1.0, 10.0])
    share = place / max(n_depths - 1, 1)
    return {
        "color": colours(10**share),
        "marker": DEPTH_MARKERS[place % len(DEPTH_MARKERS)],
        "linewidth": 1.2,
    }


def _name(depth: float) -> str:
    return f"{depth:g} layer{'' if depth == 1 else 's'}"


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig06_parameter_counts",
        title="Which parameters count?",
        paper="Fig. 6",
        question="scale",
        draw=draw,
        describe=describe,
    ),
)

"""Does the shape matter at fixed N? (Kaplan 2020, Figure 5.)

Drawn from a shape study's shape.json, and from the networks of one N in the experiments `depth` and `size`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.shapes import RATIOS, ShapeResult
from scaling_laws.papers.kaplan2020.equal_size import FAMILY, alpha_N_of_shapes, shapes_at_equal_N
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.figures.shape_search import (
    LOWEST_TOP,
    NEEDS_SEARCH,
    axis_top,
    draw_ratio,
    shape_result_of,
)
from scaling_laws.report.text import short

NEEDS_SHAPES = "Needs three depths of one size: `scaling-laws sweep configs/sweeps/depth.yaml`."
FEWEST_LAYERS = 2
"""Networks of one layer lie off the law of N (Kaplan 2020, Figure 6): they are drawn hollow."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Losses of networks of one N.

    Attributes:
        at_equal_N: from `shapes_at_equal_N`.
        alpha_N: that brought them to equal N.
        band: the noise between seeds, in percent; None where it is not known.
        price: from `compute_for_loss`.
        search: a shape study's result; None without one.
    """

    at_equal_N: pd.DataFrame
    alpha_N: float
    band: float | None
    price: float | None
    search: ShapeResult | None


def draw(data: Shapes) -> Figure:
    """Loss above the best: d_ff / d_model; d_model / n_layer at each N; d_model / n_heads."""
    search, shapes = data.search, data.at_equal_N
    figure, axes = st.panels(3, width=12.0, height=4.9)
    top = LOWEST_TOP if search is None else axis_top(search)
    top = max(top, 1.15 * float(shapes["increase_percent"].max())) if len(shapes) else top
    for panel, ratio in zip(axes, ("d_ff_ratio", "aspect_ratio", "head_width"), strict=True):
        by_N = shapes if ratio == "aspect_ratio" else shapes.iloc[:0]
        if search is not None:
            draw_ratio(panel, ratio, search, top)
        elif by_N.empty:
            st.note_in(panel, f"{RATIOS[ratio]}: {NEEDS_SEARCH[0].lower()}{NEEDS_SEARCH[1:]}")
            continue
        if not by_N.empty:
            _draw_sizes(panel, data, top)
        st.legend_below(panel, columns=2, fontsize=8.5)
    searched = f"; the search of {search.study}: N = {short(search.N)}" if search else ""
    price = f"; 1 % of loss is worth {data.price:.0f} % of compute" if data.price else ""
    figure.suptitle(st.plain(f"Shapes at equal N{searched}{price}"), color=st.INK, fontsize=10.5)
    return figure


def _draw_sizes(axes: Axes, data: Shapes, top: float) -> None:
    """Aspect ratios at each N, over what the search found."""
    shapes = data.at_equal_N
    colours = st.SizeColours(shapes["N"])
    for place, N in enumerate(np.unique(shapes["N"])):
        of_size = shapes[shapes["N"] == N]
        look: dict[str, Any] = {
            "color": colours(N),
            "marker": st.FAMILY_MARKERS[place % len(st.FAMILY_MARKERS)],
        }
        deep = of_size[of_size["n_layer"] >= FEWEST_LAYERS]
        axes.plot(deep["aspect_ratio"], deep["increase_percent"], **look, label=f"N = {short(N)}")
        shallow = of_size[of_size["n_layer"] < FEWEST_LAYERS]
        axes.plot(shallow["aspect_ratio"], shallow["increase_percent"], **look, mfc="none", linestyle="none")
    if (shapes["n_layer"] < FEWEST_LAYERS).any():
        axes.plot([], [], color=st.INK, marker="o", mfc="none", linestyle="none", label="one layer")
    if data.band and data.search is None:
        axes.axhspan(
            0, data.band, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label="noise between seeds"
        )
    searched = [trial.aspect_ratio for trial in data.search.complete] if data.search else []
    st.log_x(axes, [*shapes["aspect_ratio"], *searched], RATIOS["aspect_ratio"])
    axes.set_ylim(-0.04 * top, top)
    axes.set_ylabel("loss above the best, %")


def describe(data: Shapes) -> str:
    """How far the loss rises over the aspect ratios at each N, and over what a search tried."""
    search, deep = data.search, data.at_equal_N[data.at_equal_N["n_layer"] >= FEWEST_LAYERS]
    words = [
        f"at N = {short(N)} aspect ratios of {short(of_size['aspect_ratio'].min(), 2)} to "
        f"{short(of_size['aspect_ratio'].max(), 2)} lie within {of_size['increase_percent'].max():.1f} %"
        for N, of_size in ((N, deep[deep["N"] == N]) for N in np.unique(deep["N"]))
    ]
    if search is not None:
        words += [
            f"a search at N = {short(search.N)} finds {RATIOS[ratio]} of {short(bins[0].low, 2)} to "
            f"{short(bins[-1].high, 2)} within {max(each.increase_percent for each in bins):.1f} %"
            for ratio, bins in search.envelopes.items()
            if ratio in ("d_ff_ratio", "head_width") and len(bins) > 1
        ]
    if not words:
        return "No size was trained in three shapes."
    if len(data.at_equal_N):
        words.append(f"one layer left out, brought to equal N with α_N = {data.alpha_N:.3f}")
    sentence = "; ".join(words)
    return f"{sentence[0].upper()}{sentence[1:]}."


@figure("fig05_shape", "Loss against shape at equal size", "shape", draw=draw, describe=describe)
def fig05_shape(study: KaplanTables, laws: Laws) -> Shapes | str:
    search, shapes = shape_result_of(study), shapes_at_equal_N(study)
    if search is None and shapes.empty:
        return f"{NEEDS_SHAPES} {NEEDS_SEARCH}"
    return Shapes(
        at_equal_N=shapes,
        alpha_N=alpha_N_of_shapes(study),
        band=study.laws.noise.band_percent,
        price=compute_for_loss(study),
        search=search,
    )


def compute_for_loss(study: KaplanTables, percent: float = 1.0) -> float | None:
    """How much more compute, in percent, a loss higher by `percent` is worth: (1 + p)^(1/alpha_C) - 1.

    22 % in the paper, for 1 %. None where L(C) of the Transformers is not identified.
    """
    fit = study.laws.of(FAMILY).fit("kaplan_c")
    if fit is None or not fit.identified:
        return None
    return 100 * math.expm1(math.log1p(percent / 100) / fit.law.alpha_C)

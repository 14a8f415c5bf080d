"""Does the shape matter at fixed N? (Kaplan et al. 2020, Figure 5.)

Drawn from a shape study's shape.json, and from the networks of one N in the experiments `depth` and `size`.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.shapes import RATIOS
from scaling_laws.papers.kaplan2020.equal_size import (
    compute_for_loss,
    exponent_of_N,
    noise_band_percent,
    shapes_at_equal_N,
)
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.figures.shape_search import (
    LOWEST_TOP,
    NEEDS_SEARCH,
    axis_top,
    draw_ratio,
    shape_result_of,
)
from scaling_laws.report.text import short

TITLE = "Loss against shape at equal size"
NEEDS_SHAPES = "Needs three depths of one size: `scaling-laws sweep configs/sweeps/depth.yaml`."
FEWEST_LAYERS = 2
"""Networks of one layer lie off the law of N (Kaplan 2020, Figure 6): they are drawn hollow."""


@st.styled
def draw_shapes(tables: StudyTables, laws: Laws) -> Figure:
    """Figure 5. Loss above the best: d_ff / d_model; d_model / n_layer at each N; d_model / n_heads."""
    result, shapes = shape_result_of(tables), shapes_at_equal_N(tables, laws)
    if result is None and shapes.empty:
        return st.note(TITLE, f"{NEEDS_SHAPES} {NEEDS_SEARCH}")
    figure, axes = st.panels(3, width=12.0, height=4.9)
    band, top = noise_band_percent(laws) or 0.0, LOWEST_TOP
    searched_ratios: list[float] = []
    if result is not None:
        band, top = 0.0, axis_top(result)
        searched_ratios = [trial.aspect_ratio for trial in result.complete]
    top = max(top, 1.15 * float(shapes["increase_percent"].max())) if len(shapes) else top
    for panel, ratio in zip(axes, ("d_ff_ratio", "aspect_ratio", "head_width"), strict=True):
        by_N = shapes if ratio == "aspect_ratio" else shapes.iloc[:0]
        if result is not None:
            draw_ratio(panel, ratio, result, top)
        elif by_N.empty:
            st.note_in(panel, f"{RATIOS[ratio]}: {NEEDS_SEARCH[0].lower()}{NEEDS_SEARCH[1:]}")
            continue
        _sizes(panel, by_N, searched_ratios, band, top)
        st.legend_below(panel, columns=2, fontsize=8.5)
    searched = f"; the search of {result.study}: N = {short(result.N)}" if result else ""
    worth = compute_for_loss(laws)
    price = f"; 1 % of loss is worth {worth:.0f} % of compute" if worth else ""
    title = st.plain(f"Shapes at equal N{searched}{price}")
    figure.suptitle(title, color=st.INK, fontsize=10.5)
    return figure


def _sizes(axes: Axes, shapes: pd.DataFrame, searched: list[float], band: float, top: float) -> None:
    """Aspect ratios at each N, over what the search found."""
    if shapes.empty:
        return
    colours = st.SizeColours(shapes["N"])
    for place, N in enumerate(sorted(shapes["N"].unique())):
        of_size = shapes[shapes["N"] == N]
        look: dict[str, Any] = {
            "color": colours(N),
            "marker": st.FAMILY_MARKERS[place % len(st.FAMILY_MARKERS)],
        }
        deep = of_size[of_size["n_layer"] >= FEWEST_LAYERS]
        axes.plot(deep["aspect_ratio"], deep["increase_percent"], **look, label=f"N = {short(N)}")
        shallow = of_size[(of_size["n_layer"] < FEWEST_LAYERS)]
        axes.plot(shallow["aspect_ratio"], shallow["increase_percent"], **look, mfc="none", linestyle="none")
    if (shapes["n_layer"] < FEWEST_LAYERS).any():
        axes.plot([], [], color=st.INK, marker="o", mfc="none", linestyle="none", label="one layer")
    if band:
        axes.axhspan(0, band, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label="noise between seeds")
    st.log_x(axes, [*shapes["aspect_ratio"], *searched], RATIOS["aspect_ratio"])
    axes.set_ylim(-0.04 * top, top)
    axes.set_ylabel("loss above the best, %")


def describe_shapes(tables: StudyTables, laws: Laws) -> str:
    """How far the loss rises over the aspect ratios at each N, and over what a search tried."""
    result, shapes = shape_result_of(tables), shapes_at_equal_N(tables, laws)
    deep = shapes[shapes["n_layer"] >= FEWEST_LAYERS]
    words = [
        f"at N = {short(N)} aspect ratios of {short(of_size['aspect_ratio'].min(), 2)} to "
        f"{short(of_size['aspect_ratio'].max(), 2)} lie within {of_size['increase_percent'].max():.1f} %"
        for N, of_size in ((N, deep[deep["N"] == N]) for N in sorted(deep["N"].unique()))
    ]
    if result is not None:
        words += [
            f"a search at N = {short(result.N)} finds {RATIOS[ratio]} of {short(bins[0].low, 2)} to "
            f"{short(bins[-1].high, 2)} within {max(each.increase_percent for each in bins):.1f} %"
            for ratio, bins in result.envelopes.items()
            if ratio in ("d_ff_ratio", "head_width") and len(bins) > 1
        ]
    if not words:
        return "No three shapes of one size were trained."
    if len(shapes):
        words.append(f"one layer left out, brought to equal N with α_N = {exponent_of_N(laws).alpha_N:.3f}")
    sentence = "; ".join(words)
    return f"{sentence[0].upper()}{sentence[1:]}."


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig05_shape",
        title=TITLE,
        paper="Fig. 5",
        question="shape",
        draw=draw_shapes,
        describe=describe_shapes,
    ),
)

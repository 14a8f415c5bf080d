"""Does the shape matter at fixed N? (Kaplan et al. 2020, Figure 5.)

Drawn from a shape study's shape.json, and from the networks of one N in the experiments `depth` and `size`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.papers.kaplan2020.equal_size import (
    compute_for_loss,
    exponent_of_N,
    noise_band_percent,
    shapes_at_equal_N,
)
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import short

RATIOS = {
    "d_ff_ratio": "d_ff / d_model",
    "aspect_ratio": "d_model / n_layer",
    "head_width": "d_model / n_heads",
    "n_layer": "n_layer",
    "learning_rate_factor": "learning rate",
}
Result = Mapping[str, Any]

TITLE = "Loss against shape at equal size"
TITLE_SEARCH = "The search for the best shape"
RESULT_FILE = "shape.json"
SHAPE_STUDY = "shape"
"""The study of `make shape`, which a study beside it may be drawn with."""
NEEDS_SEARCH = "Needs a shape study: `make shape`."
NEEDS_SHAPES = "Needs three depths of one size: `scaling-laws sweep configs/sweeps/depth.yaml`."
FEWEST_LAYERS = 2
"""Networks of one layer lie off the law of N (Kaplan 2020, Figure 6): they are drawn hollow."""
LOWEST_TOP = 1.0
"""Percent that an axis of losses above the best shows at least."""


def shape_result_of(tables: StudyTables) -> Result | None:
    """The shape.json of the study, or of the study `shape` beside it; None where there is neither."""
    folder = tables.study.folder.resolve()
    for path in (folder / RESULT_FILE, folder.parent / SHAPE_STUDY / RESULT_FILE):
        if path.exists():
            result: Result = json.loads(path.read_text(encoding="utf-8"))
            return result
    return None


@st.styled
def draw_shapes(tables: StudyTables, laws: Laws) -> Figure:
    """Figure 5. Loss above the best: d_ff / d_model; d_model / n_layer at each N; d_model / n_heads."""
    result, shapes = shape_result_of(tables), shapes_at_equal_N(tables, laws)
    if result is None and shapes.empty:
        return st.note(TITLE, f"{NEEDS_SHAPES} {NEEDS_SEARCH}")
    figure, axes = st.panels(3, width=12.0, height=4.9)
    rows: list[dict[str, Any]] = []
    band, top = noise_band_percent(laws) or 0.0, LOWEST_TOP
    if result is not None:
        rows, band, top = _rows_band_top(result)
    top = max(top, 1.15 * float(shapes["increase_percent"].max())) if len(shapes) else top
    for panel, ratio in zip(axes, ("d_ff_ratio", "aspect_ratio", "head_width"), strict=True):
        by_N = shapes if ratio == "aspect_ratio" else shapes.iloc[:0]
        if result is not None:
            _ratio(panel, ratio, rows, result["envelopes"][ratio], band, top)
        elif by_N.empty:
            st.note_in(panel, f"{RATIOS[ratio]}: {NEEDS_SEARCH[0].lower()}{NEEDS_SEARCH[1:]}")
            continue
        _sizes(panel, by_N, rows, band, top, draws_band=result is None)
        st.legend_below(panel, columns=2, fontsize=8.5)
    searched = f"; the search of {result['study']}: N = {short(result['N'])}" if result else ""
    worth = compute_for_loss(laws)
    price = f"; 1 % of loss is worth {worth:.0f} % of compute" if worth else ""
    title = st.plain(f"Shapes at equal N{searched}{price}")
    figure.suptitle(title, color=st.INK, fontsize=10.5)
    return figure


def _sizes(
    axes: Axes, shapes: pd.DataFrame, rows: list[dict[str, Any]], band: float, top: float, draws_band: bool
) -> None:
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
    if band and draws_band:
        axes.axhspan(0, band, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label="noise between seeds")
    st.log_x(axes, [*shapes["aspect_ratio"], *(row["aspect_ratio"] for row in rows)], RATIOS["aspect_ratio"])
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
            f"a search at N = {short(result['N'])} finds {RATIOS[ratio]} of {short(bins[0]['low'], 2)} to "
            f"{short(bins[-1]['high'], 2)} within {max(one['increase_percent'] for one in bins):.1f} %"
            for ratio, bins in result["envelopes"].items()
            if ratio in ("d_ff_ratio", "head_width") and len(bins) > 1
        ]
    if not words:
        return "No three shapes of one size were trained."
    if len(shapes):
        words.append(f"one layer left out, brought to equal N with α_N = {exponent_of_N(laws).alpha_N:.3f}")
    sentence = "; ".join(words)
    return f"{sentence[0].upper()}{sentence[1:]}."


@st.styled
def draw_search(tables: StudyTables, laws: Laws) -> Figure:
    """A shape study's own figure."""
    result = shape_result_of(tables)
    return st.note(TITLE_SEARCH, NEEDS_SEARCH) if result is None else draw(result)


def describe_search(tables: StudyTables, laws: Laws) -> str:
    """What was searched, what came out best, and what matters."""
    result = shape_result_of(tables)
    if result is None:
        return "No shapes were searched."
    best, shares = result["best"], result["importance"]["shares"]
    mattered = max(shares, key=lambda name: float(shares[name])) if shares else ""
    most = f"; {RATIOS[mattered]} matters most ({100 * shares[mattered]:.0f} %)" if mattered else ""
    return (
        f"Of {result['n_shapes']} shapes of {short(result['N'])} parameters the best has "
        f"n_layer = {best['n_layer']}, d_model = {best['d_model']}, heads of {best['head_width']:g} and "
        f"d_ff = {best['d_ff_ratio']:.2g} d_model{most}."
    )


@st.styled
def draw(result: Result) -> Figure:
    """Loss above the best against each ratio, what matters most, and the order at a larger N."""
    figure, axes = st.panels(3, 2, width=12.0, height=7.4)
    rows, band, top = _rows_band_top(result)
    for panel, ratio in zip(axes, list(RATIOS)[:4], strict=False):
        _ratio(panel, ratio, rows, result["envelopes"][ratio], band, top)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    _importance(axes[4], result["importance"])
    _transfer(axes[5], result)
    figure.suptitle(
        f"{result['study']}: shapes of {short(result['N'])} parameters, "
        f"{short(result['tokens'])} tokens each",
        color=st.INK,
        parse_math=False,
    )
    return figure


def _rows_band_top(result: Result) -> tuple[list[dict[str, Any]], float, float]:
    """The trials with a loss, the noise in percent, and how much of the percents an axis shows."""
    rows = [row for row in result["trials"] if row["increase_percent"] is not None]
    band = float((result["noise"] or {}).get("band_percent", 0.0))
    lowest = [one["increase_percent"] for bins in result["envelopes"].values() for one in bins]
    return rows, band, 1.2 * max(*lowest, 2 * band, LOWEST_TOP)


def _ratio(
    axes: Axes,
    ratio: str,
    rows: list[dict[str, Any]],
    bins: list[dict[str, Any]],
    band: float,
    top: float,
) -> None:
    """One ratio: every trial, the best of each bin, and the noise about the best."""
    within = [row for row in rows if row["increase_percent"] <= top]
    beyond = [row[ratio] for row in rows if row["increase_percent"] > top]
    axes.plot(
        [row[ratio] for row in within],
        [row["increase_percent"] for row in within],
        color=st.FAMILY_COLOURS[0],
        marker="o",
        linestyle="none",
        alpha=0.55,
        label="a trial",
    )
    if beyond:
        label = "a trial above the axis"
        axes.plot(
            beyond, [0.98 * top] * len(beyond), color=st.GREY, marker="^", linestyle="none", label=label
        )
    at = {row["run"]: row[ratio] for row in rows}
    axes.plot(
        [at[one["run"]] for one in bins],
        [one["increase_percent"] for one in bins],
        color=st.FIT,
        label="the best of each bin",
    )
    if band:
        axes.axhspan(0, band, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label="noise between seeds")
    st.log_x(axes, [row[ratio] for row in rows], RATIOS[ratio])
    axes.set_ylim(-0.04 * top, top)
    axes.set_ylabel("loss above the best, %")


def _importance(axes: Axes, importance: Mapping[str, Any]) -> None:
    if importance["shares"] is None:
        st.note_in(axes, f"Importance of the parameters: {importance['reason']}.")
        return
    shares = dict(reversed(importance["shares"].items()))
    axes.barh(
        [RATIOS[name] for name in shares], list(shares.values()), color=st.FAMILY_COLOURS[0], height=0.6
    )
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the importance (PED-ANOVA)")
    axes.set_title("What tells good trials from bad")


def _transfer(axes: Axes, result: Result) -> None:
    """Lines that do not cross: the order of the shapes is the same at both sizes."""
    transfer = result["transfer"]
    if transfer is None:
        st.note_in(axes, "No shapes were trained at a larger N.")
        return
    shapes = transfer["shapes"]
    best_small = min(one["loss_small"] for one in shapes)
    best_large = min(one["loss_large"] for one in shapes)
    for place, one in enumerate(shapes):
        axes.plot(
            [result["N"], transfer["N"]],
            [100 * (one["loss_small"] / best_small - 1), 100 * (one["loss_large"] / best_large - 1)],
            color=st.FAMILY_COLOURS[place % len(st.FAMILY_COLOURS)],
            marker="o",
            label=f"{one['small']['n_layer']} layers, d_ff/d_model {one['small']['d_ff_ratio']:.2g}, "
            f"heads of {one['small']['head_width']}",
        )
    st.log_x(axes, [result["N"], transfer["N"]], "N, non-embedding parameters", margin=0.2)
    axes.set_ylabel("loss above the best there, %")
    axes.set_title("The same ratios at a larger N")
    st.legend_below(axes, columns=1, fontsize=8)


FIGURES = (
    Entry(
        name="fig05_shape",
        title=TITLE,
        paper="Fig. 5",
        question="shape",
        draw=draw_shapes,
        describe=describe_shapes,
    ),
    Entry(
        name="shape_search",
        title=TITLE_SEARCH,
        paper="",
        question="shape",
        draw=draw_search,
        describe=describe_search,
    ),
)

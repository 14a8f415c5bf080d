"""The search for the best shape at fixed N: drawn from a shape study's shape.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

TITLE_SEARCH = "The search for the best shape"
RESULT_FILE = "shape.json"
SHAPE_STUDY = "shape"
"""The study of `make shape`, which a study beside it may be drawn with."""
NEEDS_SEARCH = "Needs a shape study: `make shape`."
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
    rows, band, top = rows_band_top(result)
    for panel, ratio in zip(axes, list(RATIOS)[:4], strict=False):
        draw_ratio(panel, ratio, rows, result["envelopes"][ratio], band, top)
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


def rows_band_top(result: Result) -> tuple[list[dict[str, Any]], float, float]:
    """The trials with a loss, the noise in percent, and how much of the percents an axis shows."""
    rows = [row for row in result["trials"] if row["increase_percent"] is not None]
    band = float((result["noise"] or {}).get("band_percent", 0.0))
    lowest = [one["increase_percent"] for bins in result["envelopes"].values() for one in bins]
    return rows, band, 1.2 * max(*lowest, 2 * band, LOWEST_TOP)


def draw_ratio(
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
        name="shape_search",
        title=TITLE_SEARCH,
        paper="",
        question="shape",
        draw=draw_search,
        describe=describe_search,
    ),
)

"""The search for the best shape at one N: a shape study's own figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.shapes import RATIOS, Importance, RatioBin, ShapeResult, read_shape_result
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import short

LABELS = RATIOS | {"learning_rate_factor": "learning rate"}
RESULT_FILE = "shape.json"
SHAPE_STUDY = "shape"
"""The study of `make shape`, which a study beside it may be drawn with."""
NEEDS_SEARCH = "Needs a shape study: `make shape`."
LOWEST_TOP = 1.0
"""Percent that an axis of losses above the best shows at least."""


def shape_result_of(study: StudyTables) -> ShapeResult | None:
    """The shape.json of the study, or of the study `shape` beside it; None where there is neither."""
    folder = study.study.folder.resolve()
    for path in (folder / RESULT_FILE, folder.parent / SHAPE_STUDY / RESULT_FILE):
        if path.exists():
            return read_shape_result(path)
    return None


def _describe(result: ShapeResult) -> str:
    """What was searched, what was best, and what matters."""
    best, shares = result.best, result.importance.shares
    mattered = max(shares, key=lambda name: shares[name]) if shares else ""
    most = f"; {LABELS[mattered]} matters most ({100 * shares[mattered]:.0f} %)" if shares else ""
    return (
        f"Of {result.n_shapes} shapes of {short(result.N)} parameters the best has "
        f"n_layer = {best.n_layer}, d_model = {best.d_model}, heads of {best.head_width:g} and "
        f"d_ff = {best.d_ff_ratio:.2g} d_model{most}."
    )


def _draw(result: ShapeResult) -> Figure:
    """Loss above the best against each ratio, what matters most, and the order at a larger N."""
    figure, axes = st.panels(3, 2, width=12.0, height=7.4)
    for panel, ratio in zip(axes, RATIOS, strict=False):
        draw_ratio(panel, ratio, result, axis_top(result))
    st.legend_outside(figure, axes[:1], columns=3)
    _importance(axes[4], result.importance)
    _transfer(axes[5], result)
    figure.suptitle(
        f"{result.study}: shapes of {short(result.N)} parameters, {short(result.tokens)} tokens each",
        color=st.INK,
        parse_math=False,
    )
    return figure


@figure("shape_search", "The search for the best shape", "shape", draw=_draw, describe=_describe)
def shape_search(study: StudyTables, laws: Laws) -> ShapeResult | str:
    """The study's search, or that of the study beside it."""
    return shape_result_of(study) or NEEDS_SEARCH


def axis_top(result: ShapeResult) -> float:
    """How much of the percents above the best an axis shows: all envelopes, and twice the noise."""
    band = 0.0 if result.noise is None else result.noise.band_percent
    lowest = (each.increase_percent for bins in result.envelopes.values() for each in bins)
    return 1.2 * max(*lowest, 2 * band, LOWEST_TOP)


def draw_ratio(axes: Axes, ratio: str, result: ShapeResult, top: float) -> None:
    """One ratio: every trial, the best of each bin, and the noise about the best."""
    trials = [(trial.ratio(ratio), trial.increase_percent or 0.0) for trial in result.complete]
    within = [point for point in trials if point[1] <= top]
    beyond = [value for value, increase in trials if increase > top]
    look: dict[str, Any] = {"color": st.FAMILY_COLOURS[0], "marker": "o", "linestyle": "none", "alpha": 0.55}
    axes.plot(*zip(*within, strict=True), **look, label="a trial")
    if beyond:
        label = "a trial above the axis"
        axes.plot(
            beyond, [0.98 * top] * len(beyond), color=st.GREY, marker="^", linestyle="none", label=label
        )
    _envelope(axes, ratio, result, result.envelopes[ratio])
    if result.noise is not None:
        band = result.noise.band_percent
        axes.axhspan(0, band, color=st.GREY, alpha=st.BAND_ALPHA, linewidth=0, label="noise between seeds")
    st.log_x(axes, [value for value, _ in trials], LABELS[ratio])
    axes.set_ylim(-0.04 * top, top)
    axes.set_ylabel("loss above the best, %")


def _envelope(axes: Axes, ratio: str, result: ShapeResult, bins: Sequence[RatioBin]) -> None:
    value = {trial.run: trial.ratio(ratio) for trial in result.complete}
    axes.plot(
        [value[each.run] for each in bins],
        [each.increase_percent for each in bins],
        color=st.FIT,
        label="the best of each bin",
    )


def _importance(axes: Axes, importance: Importance) -> None:
    if importance.shares is None:
        st.note_in(axes, f"Importance of the parameters: {importance.reason}.")
        return
    shares = dict(reversed(importance.shares.items()))
    axes.barh(
        [LABELS[name] for name in shares], list(shares.values()), color=st.FAMILY_COLOURS[0], height=0.6
    )
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the importance (PED-ANOVA)")
    axes.set_title("What tells good trials from bad")


def _transfer(axes: Axes, result: ShapeResult) -> None:
    """Lines that do not cross: the order of the shapes is the same at both sizes."""
    transfer = result.transfer
    if transfer is None:
        st.note_in(axes, "No shapes were trained at a larger N.")
        return
    best_small = min(pair.loss_small for pair in transfer.shapes)
    best_large = min(pair.loss_large for pair in transfer.shapes)
    for place, pair in enumerate(transfer.shapes):
        axes.plot(
            [result.N, transfer.N],
            [100 * (pair.loss_small / best_small - 1), 100 * (pair.loss_large / best_large - 1)],
            color=st.FAMILY_COLOURS[place % len(st.FAMILY_COLOURS)],
            marker=st.FAMILY_MARKERS[place % len(st.FAMILY_MARKERS)],
            label=f"n_layer {pair.small.n_layer}, d_ff/d_model {pair.small.d_ff_ratio:.2g}, "
            f"heads of {pair.small.head_width}",
        )
    st.log_x(axes, [result.N, transfer.N], "N, non-embedding parameters", margin=0.2)
    axes.set_ylabel("loss above the best there, %")
    axes.set_title("The same ratios at a larger N")
    st.legend_below(axes, columns=1, fontsize=8)

"""Does the shape matter at fixed N? (Kaplan et al. 2020, Figure 5.) Drawn from a shape study's shape.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.reports.style import (
    BAND_ALPHA,
    FAMILY_COLOURS,
    FIT,
    GREY,
    INK,
    log_x,
    note_in,
    panels,
    short,
    styled,
)

RATIOS = {
    "d_ff_ratio": "d_ff / d_model",
    "aspect_ratio": "d_model / n_layer",
    "head_width": "d_model / n_heads",
    "n_layer": "n_layer",
    "learning_rate_factor": "learning rate",
}
Result = Mapping[str, Any]


@styled
def draw(result: Result) -> Figure:
    """Loss above the best against each ratio, what matters most, and the order at a larger N."""
    figure, axes = panels(3, 2, width=12.0, height=7.4)
    rows = [row for row in result["trials"] if row["increase_percent"] is not None]
    band = (result["noise"] or {}).get("band_percent", 0.0)
    lowest = [one["increase_percent"] for bins in result["envelopes"].values() for one in bins]
    top = 1.2 * max(*lowest, 2 * band, 1.0)
    for panel, ratio in zip(axes, list(RATIOS)[:4], strict=False):
        _ratio(panel, ratio, rows, result["envelopes"][ratio], band, top)
    axes[0].legend(loc="upper center", fontsize=8)
    _importance(axes[4], result["importance"])
    _transfer(axes[5], result)
    figure.suptitle(
        f"{result['study']}: shapes of {short(result['N'])} parameters, "
        f"{short(result['tokens'])} tokens each",
        color=INK,
        parse_math=False,
    )
    return figure


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
        color=FAMILY_COLOURS[0],
        marker="o",
        linestyle="none",
        alpha=0.55,
        label="a trial",
    )
    if beyond:
        label = "a trial above the axis"
        axes.plot(beyond, [0.98 * top] * len(beyond), color=GREY, marker="^", linestyle="none", label=label)
    at = {row["run"]: row[ratio] for row in rows}
    axes.plot(
        [at[one["run"]] for one in bins],
        [one["increase_percent"] for one in bins],
        color=FIT,
        label="the best of each bin",
    )
    if band:
        axes.axhspan(0, band, color=GREY, alpha=BAND_ALPHA, linewidth=0, label="noise between seeds")
    log_x(axes, [row[ratio] for row in rows], RATIOS[ratio])
    axes.set_ylim(-0.04 * top, top)
    axes.set_ylabel("loss above the best, %")


def _importance(axes: Axes, importance: Mapping[str, Any]) -> None:
    if importance["shares"] is None:
        note_in(axes, f"Importance of the parameters: {importance['reason']}.")
        return
    shares = dict(reversed(importance["shares"].items()))
    axes.barh([RATIOS[name] for name in shares], list(shares.values()), color=FAMILY_COLOURS[0], height=0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the importance (PED-ANOVA)")
    axes.set_title("What tells good trials from bad", color=INK)


def _transfer(axes: Axes, result: Result) -> None:
    """Lines that do not cross: the order of the shapes is the same at both sizes."""
    transfer = result["transfer"]
    if transfer is None:
        note_in(axes, "No shapes were trained at a larger N.")
        return
    shapes = transfer["shapes"]
    best_small = min(one["loss_small"] for one in shapes)
    best_large = min(one["loss_large"] for one in shapes)
    for place, one in enumerate(shapes):
        axes.plot(
            [result["N"], transfer["N"]],
            [100 * (one["loss_small"] / best_small - 1), 100 * (one["loss_large"] / best_large - 1)],
            color=FAMILY_COLOURS[place % len(FAMILY_COLOURS)],
            marker="o",
            label=f"{one['small']['n_layer']} layers, d_ff/d_model {one['small']['d_ff_ratio']:.2g}, "
            f"heads of {one['small']['head_width']}",
        )
    log_x(axes, [result["N"], transfer["N"]], "N, non-embedding parameters", margin=0.2)
    axes.set_ylabel("loss above the best there, %")
    axes.set_title("The same ratios at a larger N", color=INK)
    axes.legend(fontsize=8)

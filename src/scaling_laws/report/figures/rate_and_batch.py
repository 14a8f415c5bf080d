"""Which learning rate for which size and batch? (Kaplan 2020, D.1; Porian 2024.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from scaling_laws.laws.fit.best_rates import best_rates, rate_losses
from scaling_laws.laws.plan.rules import kaplan_learning_rate
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import short

NEEDS_RATES = "Needs runs of `scaling-laws sweep configs/sweeps/lr.yaml`."
EXCESS_LEVELS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Per cent above the lowest loss of a size."""
SHADES = LinearSegmentedColormap.from_list("light greys", colormaps["Greys"](np.linspace(0.02, 0.62, 256)))
"""Light enough for points to show."""
STEPS = BoundaryNorm(EXCESS_LEVELS, 256)
SHOWN_SIZES = 3


@dataclass(frozen=True, kw_only=True)
class TriedRates:
    """Learning rates and batches of the experiment `lr`, of one family.

    Attributes:
        losses: see `rate_losses`.
        best: see `best_rates`.
        rule: see `rate_rule_of_batches`.
    """

    losses: pd.DataFrame
    best: pd.DataFrame
    rule: dict[str, float] | None
    N_label: str


def _describe(data: TriedRates) -> str:
    """The rule of the best learning rates."""
    n_inside = int(data.best["inside"].sum())
    words = (
        f"{n_inside} of {len(data.best)} best learning rates (of a size and batch) lie between two that were "
        "tried"
    )
    if data.rule is None:
        return f"{words}; they do not determine a rule."
    return (
        f"{words}; they follow {data.rule['at_1e5']:.2g} (N/1e5)^{data.rule['exponent']:.2f} at a batch of "
        f"{short(data.rule['B_mean'])} tokens and grow with the batch as B^{data.rule['exponent_B']:.2f}."
    )


def _draw(data: TriedRates) -> Figure:
    """A panel a size: the loss above its best over batch and rate. Last: the best rates with their rule."""
    losses, best, sizes = data.losses, data.best, _shown(data.losses)
    figure, axes = st.panels(len(sizes) + 1, width=3.6 * (len(sizes) + 1) + 1.2, height=4.9)
    filled = None
    for panel, N in zip(axes, sizes, strict=False):
        filled = _draw_contours(panel, losses[losses["N"] == N], best[best["N"] == N]) or filled
        st.log_x(panel, losses["batch_tokens"], "batch, tokens", margin=0.1)
        st.log_y(panel, losses["learning_rate"], "learning rate" if panel is axes[0] else "")
        panel.set_title(f"N = {short(N)}")
        st.legend_below(panel, columns=1)
    if filled is not None:
        bar = figure.colorbar(filled, ax=axes[: len(sizes)], pad=0.015, aspect=28)
        bar.set_ticks(list(EXCESS_LEVELS), labels=[f"{level:g}" for level in EXCESS_LEVELS])
        bar.set_label("loss above the lowest of that size, %")
        figure.set_layout_engine("constrained", wspace=0.03)  # the next panel's label stands beside this one
    _draw_best_rates(axes[-1], best, data.rule, data.N_label)
    return figure


@figure(
    "learning_rate_and_batch",
    "Loss against learning rate and batch",
    "batch",
    order=3,
    draw=_draw,
    describe=_describe,
)
def learning_rate_and_batch(study: StudyTables, laws: Laws) -> TriedRates | str:
    """Of the main family."""
    losses = rate_losses(study.of_experiment("lr", study.main_family), laws.conventions.N)
    if losses.empty:
        return NEEDS_RATES
    best = best_rates(losses)
    rule = rate_rule_of_batches(best)
    return TriedRates(losses=losses, best=best, rule=rule, N_label=n_label(study, laws))


def rate_rule_of_batches(best: pd.DataFrame) -> dict[str, float] | None:
    """rate = at_1e5 (N/1e5)^exponent (B/B_mean)^exponent_B through the optima that were bracketed.

    By least squares in logarithms; B_mean is the geometric mean of the batches, in tokens. None where the
    optima do not determine the three.
    """
    inside = best[best["inside"]]
    log_B = np.log(inside["batch_tokens"].astype(float))
    columns = np.stack(
        [np.ones(len(inside)), np.log(inside["N"].astype(float) / 1e5), log_B - log_B.mean()], axis=1
    )
    if len(inside) < 3 or np.linalg.matrix_rank(columns) < 3:
        return None
    (scale, of_N, of_B), *_ = np.linalg.lstsq(columns, np.log(inside["learning_rate"].astype(float)))
    return {
        "at_1e5": float(np.exp(scale)),
        "exponent": float(of_N),
        "exponent_B": float(of_B),
        "B_mean": float(np.exp(log_B.mean())),
    }


def _shown(losses: pd.DataFrame) -> list[float]:
    """At most three sizes, evenly chosen."""
    sizes = np.sort(losses["N"].unique())
    return [
        float(N) for N in sizes[np.unique(np.linspace(0, len(sizes) - 1, SHOWN_SIZES).round().astype(int))]
    ]


def _draw_contours(axes: Axes, losses: pd.DataFrame, best: pd.DataFrame) -> Any:
    """Filled contours of the excess through the runs; None where they lie on a line."""
    x, y = losses["batch_tokens"].to_numpy(dtype=float), losses["learning_rate"].to_numpy(dtype=float)
    logs = np.stack([np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()])
    filled = None
    if len(x) >= 3 and np.linalg.matrix_rank(logs, tol=1e-6) == 2:
        mesh = Triangulation(
            x, y, Triangulation(*logs).triangles
        )  # neighbours as the eye sees them, in logarithms
        excess = np.clip(losses["excess_percent"].to_numpy(dtype=float), 0, EXCESS_LEVELS[-1])
        filled = axes.tricontourf(mesh, excess, levels=EXCESS_LEVELS, cmap=SHADES, norm=STEPS)
    axes.plot(x, y, "o", color=st.FAMILY_COLOURS[0], ms=3.5, label="a run (mean over seeds)")
    inside = best[best["inside"]]
    axes.plot(
        inside["batch_tokens"], inside["learning_rate"], "D-", color=st.FIT, label="best rate of a batch"
    )
    at_edge = best[~best["inside"]]
    if len(at_edge):
        axes.plot(
            at_edge["batch_tokens"],
            at_edge["learning_rate"],
            "D",
            color=st.FIT,
            mfc="none",
            label="not bracketed",
        )
    return filled


def _draw_best_rates(axes: Axes, best: pd.DataFrame, rule: dict[str, float] | None, label: str) -> None:
    colours = st.SizeColours(best["batch_tokens"], "plasma")
    N = np.geomspace(best["N"].min() / 1.5, best["N"].max() * 1.5, 40)
    for batch in np.unique(best["batch_tokens"].astype(float)):
        of_batch, colour = best[best["batch_tokens"] == batch], colours(batch)
        for inside, part in of_batch.groupby("inside"):
            face = colour if inside else "none"
            axes.plot(part["N"], part["learning_rate"], "D", color=colour, mfc=face)
        axes.plot([], [], "D", color=colour, label=f"B = {short(batch)} tokens")
        if rule is not None:
            of_B = (batch / rule["B_mean"]) ** rule["exponent_B"]
            axes.plot(N, rule["at_1e5"] * (N / 1e5) ** rule["exponent"] * of_B, color=colour, linewidth=1.1)
    kaplan = np.array([kaplan_learning_rate(size)[0] or np.nan for size in N])
    axes.plot(N, kaplan, color=st.GREY, linestyle="--", label="Kaplan 2020 (D.1), $5 \\cdot 10^5$ tokens")
    st.log_x(axes, N, label, margin=0.0)
    st.log_y(axes, [*best["learning_rate"], *kaplan], "best learning rate")
    axes.set_title("Best rate against size")
    st.legend_below(axes, columns=1)

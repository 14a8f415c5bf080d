"""Loss against size after equal compute and after equal steps (Kaplan 2020, Figure 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.batch.compute_efficient import ComputeEfficient
from scaling_laws.laws.batch.constant_rate import falling_curve
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import FEWEST_SIZES, KaplanTables, points_by_compute
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short
from scaling_laws.study.units import PF_DAY_FLOPS

NEEDS_SIZES = "Needs three sizes of `scaling-laws sweep configs/sweeps/size.yaml` with learning curves."
N_VALUES = 6


@dataclass(frozen=True, kw_only=True)
class LossesAtFixed:
    """Losses of each size after equal compute and after equal steps, of one family.

    Attributes:
        family, n_label: in words.
        at_compute: N, C (FLOPs), loss, batch_tokens.
        at_steps: N, step, loss, batch_tokens.
        law: L(N,S_min) and B_crit(L); None where they are not identified.
        reason: why there is no law.
    """

    family: str
    n_label: str
    at_compute: pd.DataFrame
    at_steps: pd.DataFrame
    law: ComputeEfficient | None
    reason: str


def draw(data: LossesAtFixed) -> Figure:
    """Left: loss against N at fixed compute. Right: at fixed steps. Lines by (5.6), (5.4) and (5.5)."""
    figure, axes = st.panels(2, width=12.0, height=5.0)
    for panel, column, measured, unit, label in (
        (axes[0], "C", data.at_compute, PF_DAY_FLOPS, "C = 6NBS, PF-days (non-embedding)"),
        (axes[1], "step", data.at_steps, 1.0, "optimizer steps"),
    ):
        if measured.empty:
            st.note_in(panel, NEEDS_SIZES)
            continue
        colours = st.SizeColours(measured[column] / unit, "plasma")
        for value in np.unique(measured[column]):
            at_value = measured[measured[column] == value]
            _draw_losses(panel, at_value, data.law, column, value, colours(value / unit))
        st.log_x(panel, measured["N"], data.n_label)
        st.log_y(panel, measured["loss"], st.LOSS_LABEL if panel is axes[0] else "")
        panel.plot([], [], "o", color=st.GREY, label="measured at a constant rate, one batch")
        if data.law is not None:
            panel.plot([], [], color=st.GREY, label="$L(N, S_{min})$ at that batch")
        panel.set_title("At fixed compute" if panel is axes[0] else "At fixed steps")
        st.legend_below(panel, columns=2)
        colours.bar(figure, [panel], label)
    return figure


def describe(data: LossesAtFixed) -> str:
    """The size of lowest loss at the least and at the most compute, and how well the law fits the points."""
    measured = data.at_compute
    if measured.empty:
        return "Too few sizes left learning curves of overlapping compute."
    ends = measured[measured["C"].isin([measured["C"].min(), measured["C"].max()])]
    best = ends.loc[ends.groupby("C")["loss"].idxmin()]
    words = " and ".join(
        f"N = {short(N)} at {C / PF_DAY_FLOPS:.1e} PF-days" for N, C in zip(best["N"], best["C"], strict=True)
    )
    sentence = f"{data.family}: of the sizes trained, the loss is lowest for {words}"
    if data.law is None:
        return f"{sentence}; there is no law L(N, S_min) to compare: {data.reason}."
    expected = loss_at_fixed(data.law, measured["N"], "C", measured["C"], measured["batch_tokens"])
    error = np.abs(expected / measured["loss"] - 1).mean()
    return f"{sentence}; L(N, S_min) is {100 * error:.2g} % off on average."


@figure(
    "fig11_fixed_compute_and_steps",
    "Loss against size at fixed compute and at fixed steps",
    "compute",
    draw=draw,
    describe=describe,
)
def fig11_fixed_compute_and_steps(study: KaplanTables, laws: Laws) -> LossesAtFixed | str:
    points = points_by_compute(study.curves_of_laws())
    at_compute, at_steps = (
        losses_at(points, axis, even_values(points, axis, N_VALUES)) for axis in ("C", "step")
    )
    if at_compute.empty and at_steps.empty:
        return NEEDS_SIZES
    return LossesAtFixed(
        family=study.main_name,
        n_label=study.n_label,
        at_compute=at_compute,
        at_steps=at_steps,
        law=study.route().efficient,
        reason=study.route().reason,
    )


def losses_at(points: pd.DataFrame, axis: str, values: ArrayLike) -> pd.DataFrame:
    """The loss of each size at fixed steps or compute, at a constant rate: N, `axis`, loss, batch_tokens.

    Between two evaluations ln loss is interpolated on the falling curve closest to it; of several trainings
    of a size the geometric mean counts. A size that was not measured there has no row.

    Args:
        points: from `points_by_compute`.
        axis: `step`, or `C` = 6 N B S in FLOPs.
        values: of it.
    """
    log_values = np.log(np.asarray(values, dtype=float))
    rows = []
    for N, of_size in points.groupby("N"):
        along = [falling_curve(each[axis], each["loss"]) for _, each in of_size.groupby("trunk")]
        log_loss = [
            np.interp(log_values, curve.log_step, curve.log_loss, left=np.nan, right=np.nan)
            for curve in along
        ]
        measured = np.isfinite(log_loss)
        counts, total = measured.sum(axis=0), np.where(measured, log_loss, 0.0).sum(axis=0)
        batch = float(of_size["batch_tokens"].iloc[0])
        rows += [
            {"N": N, axis: value, "loss": float(np.exp(total[i] / counts[i])), "batch_tokens": batch}
            for i, value in enumerate(np.exp(log_values))
            if counts[i]
        ]
    return pd.DataFrame(rows, columns=["N", axis, "loss", "batch_tokens"])


def even_values(points: pd.DataFrame, axis: str, count: int) -> NDArray[Any]:
    """`count` values of `step` or `C`, evenly spaced in logarithm, that at least three sizes reached.

    They begin a tenth (in logarithm) within the range: before that the loss is that of the warm-up.
    """
    ends = points.groupby("N")[axis].agg(["min", "max"])
    if len(ends) < FEWEST_SIZES:
        return np.empty(0)
    low = float(ends["min"].sort_values().iloc[FEWEST_SIZES - 1])
    high = float(ends["max"].sort_values().iloc[-FEWEST_SIZES])
    return np.asarray(np.geomspace(low**0.75 * high**0.25, high, count)) if low < high else np.empty(0)


def loss_at_fixed(law: ComputeEfficient, N: Any, axis: str, value: Any, batch_tokens: Any) -> NDArray[Any]:
    """The law's loss of N parameters after fixed steps or compute, at a batch: (5.4) and (5.6).

    Args:
        axis: `step`, or `C` = 6 N B S in FLOPs.
        value: of it.
    """
    steps = value if axis == "step" else value / (FLOPS_PER_PARAMETER_TOKEN * N * batch_tokens)
    return law.loss_at_batch(N, steps, batch_tokens)


def _draw_losses(
    axes: Axes, at_value: pd.DataFrame, law: ComputeEfficient | None, column: str, value: float, colour: Any
) -> None:
    axes.plot(at_value["N"], at_value["loss"], "o", ms=4.5, color=colour)
    if law is None:
        axes.plot(at_value["N"], at_value["loss"], linestyle=":", linewidth=0.8, color=colour)
        return
    N = np.geomspace(at_value["N"].min(), at_value["N"].max(), 60)
    batch = float(at_value["batch_tokens"].iloc[0])
    axes.plot(N, loss_at_fixed(law, N, column, value, batch), linewidth=1.2, color=colour)

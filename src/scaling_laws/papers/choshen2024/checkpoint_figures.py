"""How well checkpoints of smaller sizes predict the largest, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.choshen2024.checkpoints import USES, CheckpointTables, Errors
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short


def draw(data: Errors) -> Figure:
    """Left: the error by number of sizes and scale-up. Right: by which checkpoints are used."""
    drawing, (grid, uses) = st.panels(2, width=11.5, height=4.8)
    scale_ups = sorted(data.grid["scale_up"].unique())
    numbers = sorted(data.grid["n_sizes"].unique())
    cells, costs = (np.full((len(numbers), len(scale_ups)), np.nan) for _ in range(2))
    for n_sizes, scale_up, cost, error in data.grid.to_numpy(dtype=np.float64):
        where = numbers.index(n_sizes), scale_ups.index(scale_up)
        cells[where], costs[where] = 100 * error, cost
    image = grid.imshow(cells, origin="lower", aspect="auto", cmap="viridis_r")
    drawing.colorbar(image, ax=grid, label="error, % of the loss", pad=0.02)
    middle = np.nanmean(cells)
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            colour = "white" if value > middle else st.INK
            grid.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=9)
    levels = np.nanquantile(costs, [0.3, 0.6, 0.85])
    looks = ("-", "--", ":")
    grid.contour(
        np.ma.masked_invalid(costs), levels, colors=st.FIT, linewidths=1.1, linestyles=looks, alpha=0.8
    )
    for level, look in zip(levels, looks, strict=True):
        grid.plot([], [], look, color=st.FIT, lw=1.1, label=f"trainings of {short(level, 2)} FLOPs in all")
    st.legend_below(grid, columns=1)
    grid.set_xticks(range(len(scale_ups)), [f"{each:.3g}" for each in scale_ups])
    grid.set_yticks(range(len(numbers)), [str(each) for each in numbers])
    grid.grid(False)
    grid.set_xlabel("scale-up: largest size over the largest that is used")
    grid.set_ylabel("sizes used")
    grid.set_title("Error of the largest size, and lines of equal cost")
    for place, use in enumerate(USES):
        value, (low, high) = data.with_interval(use)
        assert low is not None and high is not None
        uses.plot([place, place], [100 * low, 100 * high], "_-", ms=9, color=st.FAMILY_COLOURS[0])
        uses.plot([place], [100 * value], "o", color=st.FAMILY_COLOURS[0])
    label = "all smaller sizes; bars: 90 % intervals over trainings"
    uses.plot([], [], "o", color=st.FAMILY_COLOURS[0], label=label)
    label = "guess without a fit: the lowest loss seen"
    uses.axhline(100 * data.best_seen, ls=":", color=st.GREY, label=label)
    uses.axhline(4.0, ls="--", color=st.FIT, label="4 %: the paper's error to expect")
    uses.set_xticks(range(len(USES)), list(USES.values()))
    uses.set_xlim(-0.5, len(USES) - 0.5)
    uses.set_ylim(bottom=0)
    uses.set_ylabel("error, % of the loss")
    uses.set_title("Which checkpoints to use")
    st.legend_below(uses, columns=1)
    return drawing


def describe(data: Errors) -> str:
    errors = "; ".join(f"{name} {100 * data.by_use[use]:.1f} %" for use, name in USES.items())
    return (
        f"The largest of {len(data.ladder.sizes)} sizes, predicted from the smaller ones with {errors}; a "
        f"guess without a fit is off by {100 * data.best_seen:.1f} %."
    )


@figure("which_checkpoints", "What predicts the largest size", "trust", draw=draw, describe=describe)
def which_checkpoints(study: CheckpointTables, laws: Laws) -> Errors | str:
    return study.errors

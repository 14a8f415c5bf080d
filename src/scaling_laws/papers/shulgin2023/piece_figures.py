"""A Transformer trained in pieces, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.shulgin2023.network_runs import PieceRuns
from scaling_laws.papers.shulgin2023.subnetwork_simulation import SubnetworkSimulation
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure


def draw_pieces(data: PieceRuns) -> Figure:
    """Excess loss against the number of workers, by local steps, and of a worker's part alone."""
    drawing, (axes,) = st.panels(1, width=7.5, height=4.6)
    whole = [loss for run, loss in data.table() if run.workers == run.part == 1]
    pieces = [(run, loss) for run, loss in data.table() if run.workers > 1]
    parts = [(run, loss) for run, loss in data.table() if run.part > 1]
    workers = sorted({1, *(run.workers for run, _ in pieces)})
    lines = [
        (
            f"{J} local steps" if J > 1 else "1 local step",
            [(r.workers, x) for r, x in pieces if r.local_steps == J],
        )
        for J in sorted({run.local_steps for run, _ in pieces})
    ]
    lines.append(("one worker's part alone", [(run.part, loss) for run, loss in parts]))
    colours = st.FAMILY_COLOURS
    for place, (label, points) in enumerate(lines):
        seen = [(1, loss) for loss in whole] + points
        means = [np.mean([loss for n, loss in seen if n == each]) for each in workers]
        colour = st.GREY if place == len(lines) - 1 else colours[place % len(colours)]
        axes.plot([n for n, _ in seen], [loss for _, loss in seen], ".", color=colour, alpha=0.5)
        axes.plot(workers, means, "o-", ms=4, color=colour, label=label)
    st.log_x(axes, workers, "workers")
    st.log_y(axes, data.excess, "loss above the text's entropy, nats", margin=0.1)
    st.legend_below(axes)
    return drawing


def describe_pieces(data: PieceRuns) -> str:
    whole = np.mean([loss for run, loss in data.table() if run.workers == run.part == 1])
    most = max(run.workers for run in data.runs)
    in_pieces = np.mean([loss for run, loss in data.table() if run.workers == most])
    alone = np.mean([loss for run, loss in data.table() if run.part == most])
    return (
        f"At equal compute the loss is {whole:.3f} nats above the entropy of the text for the network that "
        "is "
        f"trained whole, {in_pieces:.3f} for {most} workers, {alone:.3f} for the part of one of them alone."
    )


@figure(
    "trained_in_pieces",
    "A Transformer trained in pieces, at equal compute",
    "scale",
    order=3,
    draw=draw_pieces,
    describe=describe_pieces,
)
def trained_in_pieces(simulation: SubnetworkSimulation, laws: Laws) -> PieceRuns | str:
    return simulation.network

"""The picture of `check-scaling`: mean |activation| against width, a panel a layer, a line a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling_laws.report import style as st


def draw_coordinates(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Write the figure.

    Args:
        found: rows of width, step, layer and mean_abs, by parametrisation.
        path: where to; its ending says the format.
    """
    from matplotlib import pyplot as plt

    layers = list(dict.fromkeys(str(row["layer"]) for rows in found.values() for row in rows))
    with plt.rc_context():
        figure, axes = plt.subplots(
            len(found),
            len(layers),
            figsize=(2.6 * len(layers), 2.4 * len(found)),
            squeeze=False,
            sharex=True,
            layout="constrained",
        )
        for line, (name, rows) in enumerate(found.items()):
            steps = sorted({int(row["step"]) for row in rows})
            for column, layer in enumerate(layers):
                panel = axes[line][column]
                for step in steps:
                    points = sorted(
                        (row["width"], row["mean_abs"])
                        for row in rows
                        if row["layer"] == layer and row["step"] == step
                    )
                    shade = 0.25 + 0.75 * step / max(steps[-1], 1)
                    panel.plot(*zip(*points, strict=True), marker="o", color=st.INK, alpha=shade)
                panel.set(xscale="log", yscale="log", title=f"{layer}" if line == 0 else "")
                if column == 0:
                    panel.set_ylabel(f"{name}\nmean |activation|")
                if line == len(found) - 1:
                    panel.set_xlabel("width; darker: later steps")
        figure.savefig(path)
        plt.close(figure)

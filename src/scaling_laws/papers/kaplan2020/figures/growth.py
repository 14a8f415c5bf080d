"""Where more compute should go (Kaplan 2020, Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.published import KAPLAN_TABLE_6
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short

KAPLAN_EXPONENTS = {
    "N": KAPLAN_TABLE_6.N.exponent,
    "B": KAPLAN_TABLE_6.batch_tokens.exponent,
    "S_min": KAPLAN_TABLE_6.steps_min.exponent,
}
"""In C_min, of Table 6."""
LAYERS = (("S_min", "serial steps"), ("B", "batch"), ("N", "model size"))
"""From the bottom of the figure to its top."""
MOST_COMPUTE = 1e9
"""Times as much, as in the paper's figure."""


@dataclass(frozen=True, kw_only=True)
class GrowthExponents:
    """Exponents in C_min of N, B and S_min along the study's frontier; None without one, and why."""

    of_study: Mapping[str, float] | None
    reason: str


def draw(data: GrowthExponents) -> Figure:
    """Left: the paper's, right: this study's: model size, batch and serial steps stacked as factors."""
    figure, (paper, ours) = st.panels(2, width=12.0, height=4.8)
    _draw_layers(paper, KAPLAN_EXPONENTS)
    paper.set_title("Kaplan 2020 (Table 6)")
    if data.of_study is None:
        st.note_in(ours, data.reason)
        return figure
    _draw_layers(ours, data.of_study)
    ours.set_title("This study's frontier, extrapolated")
    return figure


def describe(data: GrowthExponents) -> str:
    """The factors at a billion times the compute."""
    sentence = f"With {MOST_COMPUTE:.0e} times the compute, Kaplan 2020 makes {_in_words(KAPLAN_EXPONENTS)}"
    return (
        f"{sentence}; this study's frontier {_in_words(data.of_study)}." if data.of_study else f"{sentence}."
    )


@figure("fig03_growth", "Where more compute should go", "next", draw=draw, describe=describe)
def fig03_growth(study: KaplanTables, laws: Laws) -> GrowthExponents:
    along = {name: study.route().optimal(name) for name, _ in LAYERS}
    exponents = {name: power.exponent for name, power in along.items() if power is not None}
    return GrowthExponents(of_study=exponents or None, reason=study.why_no_frontier)


def factors(exponents: Mapping[str, float], times_compute: ArrayLike) -> dict[str, NDArray[Any]]:
    """How many times larger each of N, B and S_min is best made with `times_compute` times the compute.

    Their product is `times_compute`, where the exponents add to one.
    """
    times = np.asarray(times_compute, dtype=float)
    return {name: times ** exponents[name] for name, _ in LAYERS}


def _draw_layers(axes: Axes, exponents: Mapping[str, float]) -> None:
    """A layer's height, in logarithm, is its factor. A layer that shrinks has none and is named."""
    times = np.geomspace(1, MOST_COMPUTE, 60)
    larger = factors(exponents, times)
    below = np.ones_like(times)
    for (name, words), colour in zip(LAYERS, st.FAMILY_COLOURS, strict=False):
        above = below if exponents[name] < 0 else below * larger[name]
        label = f"{words}: {short(float(larger[name][-1]))}× (exponent {exponents[name]:.2f})"
        axes.fill_between(times, below, above, color=colour, alpha=0.75, linewidth=0, label=label)
        below = above
    st.log_x(axes, times, "compute $C_{min}$, times as much", margin=0.0)
    st.log_y(axes, [1, MOST_COMPUTE], "factors, stacked", margin=0.0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left")


def _in_words(exponents: Mapping[str, float]) -> str:
    at_end = factors(exponents, MOST_COMPUTE)
    return ", ".join(f"the {words} {short(float(at_end[name]))}×" for name, words in reversed(LAYERS))

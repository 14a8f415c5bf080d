"""The loss against compute alone, and what it leaves over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.guo2024.compute_alone import Slopes, interval, slopes
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import with_interval


@dataclass(frozen=True, kw_only=True)
class ComputeAlone:
    """Runs (N, D, loss) of the main family, and their slopes."""

    runs: pd.DataFrame
    slopes: Slopes


def draw(data: ComputeAlone) -> Figure:
    """Left: loss against N D. Right: what the law of compute leaves over, by tokens per parameter."""
    drawing, (losses, left_over) = st.panels(2, width=11.0, height=4.5)
    runs, found = data.runs, data.slopes
    C, ratio = runs["N"] * runs["D"], runs["D"] / runs["N"]
    colours = st.SizeColours(runs["N"])
    losses.scatter(C, runs["loss"], c=[colours(N) for N in runs["N"]], s=22, zorder=3)
    line = np.geomspace(C.min(), C.max(), 80)
    constant, slope = found.logarithm
    losses.plot(
        line, constant + slope * np.log(line), "--", color=st.FAMILY_COLOURS[0], label="logarithm of N D"
    )
    constant, slope = found.power
    power = np.exp(constant + slope * np.log(line))
    losses.plot(line, power, "-", color=st.FIT, label="power of N D")
    st.log_x(losses, C, "N D, parameters times tokens")
    st.log_y(losses, runs["loss"], st.LOSS_LABEL, margin=0.1)
    losses.set_title("Loss against compute alone")
    st.legend_below(losses)
    off = 100 * (np.log(runs["loss"]) - constant - slope * np.log(C))
    left_over.scatter(ratio, off, c=[colours(N) for N in runs["N"]], s=22, zorder=3)
    left_over.axhline(0, color=st.INK, lw=0.9)
    st.log_x(left_over, ratio, "D/N, tokens per parameter")
    left_over.set_ylabel("ln(measured / power of N D), %")
    left_over.set_title("What the split between N and D adds")
    colours.bar(drawing, [losses, left_over], "N")
    return drawing


def describe(data: ComputeAlone) -> str:
    found = data.slopes
    return (
        f"The loss falls by {with_interval(-found.in_N[0], _negated(found.in_N))} per e-fold of N and by "
        f"{with_interval(-found.in_D[0], _negated(found.in_D))} of D. N D alone misses it by "
        f"{100 * found.by_power[0]:.1f} % (a power) or {100 * found.by_logarithm[0]:.1f} % (a logarithm), "
        f"rms; powers of N and D by {100 * found.by_both[0]:.1f} %."
    )


def _negated(draws: np.ndarray) -> tuple[float | None, float | None]:
    return interval(-draws)


@figure("compute_alone", "Compute alone", "compute", draw=draw, describe=describe)
def compute_alone(study: StudyTables, laws: Laws) -> ComputeAlone | str:
    runs = study.of(study.main_family)
    found = slopes(runs)
    return found if isinstance(found, str) else ComputeAlone(runs=runs, slopes=found)

"""When does a network overfit? (Kaplan 2020, section 4 and Figure 9.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.published import KAPLAN_TABLE_2
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import DataLaw, KaplanTables, fit_data_law
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.text import short

D_LABEL = "D, unique training tokens"
COLOURS_OF_D = "plasma"
NEEDS_DATA = "Needs runs of `scaling-laws sweep configs/sweeps/data.yaml`."
TOLERATED = 0.02
"""Relative excess over unlimited data that the paper's (4.4) allows."""


@dataclass(frozen=True, kw_only=True)
class Overfitting:
    """Runs on parts of the corpus.

    Attributes:
        n_label: what N counts.
        runs: from `KaplanTables.data_runs`, with the columns of `excess_of` where there is a law.
        law: L(N,D) of these.
    """

    n_label: str
    runs: pd.DataFrame
    law: DataLaw


def draw(data: Overfitting) -> Figure:
    """Left: loss against N, a line a part of the corpus. Right: the excess over unlimited text."""
    runs, law = data.runs, data.law.law
    colours = st.SizeColours(runs["D"], COLOURS_OF_D)
    figure, (by_size, collapsed) = st.panels(2, width=11.0, height=4.9)
    st.log_x(by_size, runs["N"], data.n_label)
    st.log_y(by_size, runs["loss"], st.LOSS_LABEL, margin=0.1)
    draw_runs(by_size, runs, "N", "D", np.geomspace(*by_size.get_xlim(), 80), data.law, colours)
    by_size.set_title("Loss on each part of the corpus")
    st.legend_below(by_size, columns=1)
    if law is None:
        st.note_in(collapsed, f"Not measured: {data.law.reason}.")
    else:
        _scatter(collapsed, runs["x"], runs["excess"], runs["stopped_early"], [colours(D) for D in runs["D"]])
        label = (
            rf"$N^{{\alpha_N/\alpha_D}}\,/\,D$, with $\alpha_N/\alpha_D$ = {law.alpha_N / law.alpha_D:.2f}"
        )
        st.log_x(collapsed, runs["x"], label)
        x = np.geomspace(*collapsed.get_xlim(), 120)
        collapsed.plot(x, excess_at(x, law), color=st.FIT, label="(4.3), of the same fit")
        label = f"{100 * TOLERATED:g} %, as in (4.4)"
        collapsed.axhline(TOLERATED, color=st.GREY, linewidth=0.9, linestyle=":", label=label)
        collapsed.set_ylabel(r"$L(N, D)\,/\,L(N, \infty) - 1$,  $L(N, \infty)$ of the fit")
        collapsed.set_title("Overfitting")
        st.legend_below(collapsed, columns=1)
    colours.bar(figure, [by_size, collapsed], D_LABEL)
    return figure


def describe(data: Overfitting) -> str:
    """How well the excess collapses, and the tokens that keep it small."""
    runs, law = data.runs, data.law.law
    if law is None:
        return f"Overfitting was not measured: {data.law.reason}."
    rms = float(np.sqrt(((runs["excess"] - runs["predicted"]) ** 2).mean()))
    (k, p), (kaplan_k, kaplan_p) = data_needed(law), data_needed(KAPLAN_TABLE_2)
    return (
        f"The loss on limited text exceeds that on unlimited text by up to {100 * runs['excess'].max():.0f} "
        f"% and follows one function of N^{p:.2f}/D within {100 * rms:.1f} % (rms); to keep the excess "
        f"below {100 * TOLERATED:g} % takes D = {short(k)} N^{p:.2f} unique tokens (Kaplan 2020: "
        f"{short(kaplan_k)} N^{kaplan_p:.2f})."
    )


@figure(
    "fig09_overfitting",
    "Overfitting is a function of N and D together",
    "data",
    draw=draw,
    describe=describe,
)
def fig09_overfitting(study: KaplanTables, laws: Laws) -> Overfitting | str:
    runs = study.data_runs()
    if runs.empty:
        return NEEDS_DATA
    law = fit_data_law(runs)
    return Overfitting(
        n_label=study.n_label, runs=runs if law.law is None else excess_of(runs, law.law), law=law
    )


def excess_of(runs: pd.DataFrame, law: KaplanND) -> pd.DataFrame:
    """`runs` with x = N^(alpha_N/alpha_D)/D, excess = L/L(N,inf) - 1 and its prediction: (4.2), (4.3).

    L is measured, L(N,inf) the law's.
    """
    return runs.assign(
        x=runs["N"] ** (law.alpha_N / law.alpha_D) / runs["D"],
        excess=runs["loss"] / law.loss(runs["N"], np.inf) - 1,
        predicted=law.overfitting(runs["N"], runs["D"]),
    )


def excess_at(x: ArrayLike, law: KaplanND) -> NDArray[Any]:
    """(4.3) as a function of x = N^(alpha_N/alpha_D)/D alone."""
    ratio = law.alpha_N / law.alpha_D
    return np.asarray((1 + np.asarray(x) * law.D_c * np.exp(-ratio * np.log(law.N_c))) ** law.alpha_D - 1)


def data_needed(law: KaplanND) -> tuple[float, float]:
    """(k, p) of D = k N^p, the unique tokens that keep the excess at `TOLERATED`: (4.4)."""
    return float(law.data_needed(1.0, TOLERATED)), float(law.alpha_N / law.alpha_D)


# --- of Figures 4 and 9 ---------------------------------------------------------------------------


def draw_runs(
    axes: Axes,
    runs: pd.DataFrame,
    along: str,
    by: str,
    x: NDArray[Any],
    law: DataLaw,
    colours: st.SizeColours,
) -> None:
    """Losses of the runs along N or D, in the colours of the other, with (1.5) where it is known.

    Args:
        x: of `along`, where the law is drawn.
    """
    for value in np.unique(runs[by]):
        of_value, colour = runs[runs[by] == value], colours(value)
        _scatter(axes, of_value[along], of_value["loss"], of_value["stopped_early"], [colour] * len(of_value))
        if law.law is None:
            axes.plot(of_value[along], of_value["loss"], color=colour, linewidth=0.8)
        else:
            loss = law.law.loss(**{along: x, by: value})
            axes.plot(x, loss, color=colour, linewidth=1.2, linestyle="--")
    if runs["stopped_early"].any():
        st.legend_entry(axes, "stopped early, at its lowest loss")
    if not runs["stopped_early"].all():
        st.legend_entry(axes, "not stopped before its horizon", mfc="white")
    if law.law is not None:
        exponents = rf"$\alpha_N$ = {law.law.alpha_N:.3f}, $\alpha_D$ = {law.law.alpha_D:.3f}"
        axes.plot([], [], color=st.INK, linewidth=1.2, linestyle="--", label=f"(1.5), {exponents}")


def _scatter(axes: Axes, x: pd.Series, y: pd.Series, stopped: pd.Series, colours: list[Any]) -> None:
    """Filled: the run was stopped early. Hollow: its loss was still falling at its horizon."""
    faces = [colour if early else "white" for colour, early in zip(colours, stopped, strict=True)]
    axes.scatter(x, y, s=26, c=faces, edgecolors=colours, linewidths=1.2, zorder=3)

"""How does the loss depend on the position in the context? (Kaplan et al. 2020, Figure 20; over training.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.forms.single import Position
from scaling_laws.laws.positions import PositionLosses
from scaling_laws.laws.results.types import Laws, PositionFit
from scaling_laws.report import style as st
from scaling_laws.report.by_position import (
    NEEDS_POSITIONS,
    POSITION_COLOURS,
    POSITION_LABEL,
    Surface,
    over_training,
    position_fits,
)
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import short, with_interval

MOST_FORMULAS = 6
CONTOURS = 10
FEWEST_OF_A_SURFACE = 3
"""Evaluations, and bins of positions."""


@dataclass(frozen=True, kw_only=True)
class PositionLaws:
    """Loss by position.

    Attributes:
        fits: of each family, by N; the first family is drawn.
        losses: of the first family's runs, in the order of its fits.
        during: of its largest network during training; None where it left none.
    """

    fits: dict[str, list[PositionFit]]
    losses: Sequence[PositionLosses]
    during: Surface | None
    N_label: str


def _describe(data: PositionLaws) -> str:
    """The exponent at the smallest and the largest size of each family."""
    words = []
    for family, fits in data.fits.items():
        fitted = [fit for fit in fits if fit.identified]
        if not fitted:
            words.append(f"{st.family_name(family)}: no position law is identified ({fits[0].reason})")
            continue
        ends = (fitted[0], fitted[-1]) if len(fitted) > 1 else (fitted[0],)
        exponents = ", ".join(
            f"{with_interval(fit.parameters['c'], fit.intervals.get('c'))} at N = {short(fit.N)}"
            for fit in ends
        )
        counted = f"{len(fitted)} of {len(fits)} sizes identified"
        words.append(f"{st.family_name(family)}: c = {exponents} ({counted})")
    return "; ".join(words) + "."


def _draw(data: PositionLaws) -> Figure:
    """Figure 20. Left: loss at each position by size, fitted. Right: largest network, during training."""
    family, fits = next(iter(data.fits.items()))
    colours = st.SizeColours(fit.N for fit in fits)
    figure, (by_position, by_step) = st.panels(2, width=12.0, height=5.6)
    printed = _spread([fit for fit in fits if fit.identified], MOST_FORMULAS)
    every: list[float] = []
    for fit, losses in zip(fits, data.losses, strict=True):
        mean = losses.mean()
        by_position.plot(losses.T, mean, ".", ms=3.2, color=colours(fit.N), alpha=0.7)
        every.extend(mean)
        if fit.identified:
            curve = _law(fit).loss(losses.T)
            label = _formula(fit) if any(fit is each for each in printed) else None
            by_position.plot(losses.T, curve, color=colours(fit.N), linewidth=1.3, label=label)
    st.log_x(by_position, data.losses[-1].T, POSITION_LABEL)
    st.log_y(by_position, every, st.LOSS_LABEL)
    by_position.set_title(rf"{st.plain(st.family_name(family))}: $a + b\,T^{{-c}}$ at each size")
    st.legend_below(by_position, columns=2)
    colours.bar(figure, [by_position], data.N_label)
    _over_training(figure, by_step, data.during, fits[-1].N)
    return figure


@figure(
    "position",
    "Loss by position, at the end and during training",
    "position",
    order=1,
    draw=_draw,
    describe=_describe,
)
def position(study: StudyTables, laws: Laws) -> PositionLaws | str:
    """Of all families that left losses by position, if the main one did."""
    fits = {family: position_fits(study, laws, family) for family in study.families}
    fits = {family: of_family for family, of_family in fits.items() if of_family}
    main = fits.get(str(study.main_family))
    if not main:
        return NEEDS_POSITIONS
    return PositionLaws(
        fits=fits,
        losses=[study.position_losses[fit.run] for fit in main],
        during=over_training(study, main[-1].run),
        N_label=n_label(study, laws),
    )


def _over_training(figure: Figure, axes: Axes, surface: Surface | None, N: float) -> None:
    """The loss of one run against the step, a line a bin of positions."""
    if surface is None or len(surface.step) < 2:
        st.note_in(axes, "The largest network left its losses by position at the end of training only.")
        return
    colours = st.SizeColours(surface.T, POSITION_COLOURS)
    for T, loss in zip(surface.T, surface.loss.T, strict=True):
        axes.plot(surface.step, loss, color=colours(T), linewidth=1.2)
    st.log_x(axes, surface.step, "step")
    st.log_y(axes, surface.loss.ravel(), st.LOSS_LABEL)
    axes.set_title(f"N = {short(N)} during training")
    colours.bar(figure, [axes], "position T")


def _describe_surface(data: list[tuple[float, Surface]]) -> str:
    """When the first and the last positions of the largest network had half of their fall behind them."""
    N, surface = data[-1]
    first, last = (_half_fall(surface.step, surface.loss[:, column]) for column in (0, -1))
    return (
        f"The network of N = {short(N)} has half of its fall in loss behind it after "
        f"{short(first)} of {short(surface.step[-1])} steps at position {surface.T[0]:g}, and after "
        f"{short(last)} at positions about {surface.T[-1]:.0f}."
    )


def _draw_surface(data: list[tuple[float, Surface]]) -> Figure:
    """The loss over position and step, of the smallest and of the largest network."""
    figure, axes = st.panels(len(data), width=5.8 * len(data) + 0.4, height=4.6)
    losses = [surface.loss for _, surface in data]
    levels = np.geomspace(min(map(np.min, losses)), max(map(np.max, losses)), CONTOURS)
    colours = st.SizeColours(levels, "cividis")
    for panel, (N, surface) in zip(axes, data, strict=True):
        look: dict[str, Any] = {"cmap": colours.colours, "norm": colours.norm}
        at = surface.step, surface.T, surface.loss.T
        panel.pcolormesh(*at, shading="gouraud", rasterized=True, **look)
        lines = panel.contour(*at, levels=levels, colors="white", linewidths=0.7)
        panel.clabel(lines, fmt="%.2f", fontsize=7.5)
        st.log_x(panel, surface.step, "step", margin=0.02)
        st.log_y(panel, surface.T, POSITION_LABEL, margin=0.04)
        panel.grid(visible=False)
        panel.set_title(f"N = {short(N)}")
    colours.bar(figure, axes, st.LOSS_LABEL)
    return figure


@figure(
    "position_surface",
    "Loss by position and step",
    "position",
    order=2,
    draw=_draw_surface,
    describe=_describe_surface,
)
def position_surface(study: StudyTables, laws: Laws) -> list[tuple[float, Surface]] | str:
    """N and surface of the smallest and of the largest network of the main family."""
    fits = position_fits(study, laws, study.main_family)
    ends = [fits[0], fits[-1]] if len(fits) > 1 else fits
    surfaces = [(fit.N, surface) for fit in ends if (surface := over_training(study, fit.run)) is not None]
    large = [(N, surface) for N, surface in surfaces if min(surface.loss.shape) >= FEWEST_OF_A_SURFACE]
    needs = "losses by position at three steps of a run: `scaling-laws sweep configs/sweeps/size.yaml`."
    return large or f"Needs {needs}"


def _half_fall(step: np.ndarray, loss: np.ndarray) -> float:
    """The first step at which half of the fall from the first evaluation to the last is done."""
    return float(step[np.argmax(loss <= (loss[0] + loss[-1]) / 2)])


def _spread(fitted: list[PositionFit], most: int) -> list[PositionFit]:
    """At most so many, evenly spread, the ends among them."""
    if len(fitted) <= most:
        return fitted
    return [fitted[round(place)] for place in np.linspace(0, len(fitted) - 1, most)]


def _law(fit: PositionFit) -> Position:
    return Position(**{name: float(value or 0.0) for name, value in fit.parameters.items()})


def _formula(fit: PositionFit) -> str:
    law = _law(fit)
    sign = "+" if law.b >= 0 else "-"
    return rf"{short(fit.N)}:  ${law.a:.2f} {sign} {abs(law.b):.2f}\,T^{{-{law.c:.2f}}}$"

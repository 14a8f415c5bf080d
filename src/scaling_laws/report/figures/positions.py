"""How does the loss depend on the position in the context? Kaplan et al. 2020, Figure 20, and over training.

Figure 21, and the exponents, are in `position_sizes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.forms.single import Position
from scaling_laws.report import style as st
from scaling_laws.report.by_position import (
    NEEDS_POSITIONS,
    POSITION_COLOURS,
    POSITION_LABEL,
    over_training,
    position_entries,
)
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.text import interval_text, number, short

TITLE = "Loss by position in the context"
TITLE_SURFACE = "Loss by position and step"
MOST_FORMULAS = 6
CONTOURS = 10
FEWEST_OF_A_SURFACE = 3
"""Evaluations, and bins of positions."""


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Figure 20. Left: loss at each position by size, fitted. Right: largest network, during training."""
    entries = position_entries(tables, laws, tables.main_family)
    if not entries:
        return st.note(TITLE, NEEDS_POSITIONS)
    colours = st.SizeColours(entry["N"] for entry in entries)
    figure, (by_position, by_step) = st.panels(2, width=12.0, height=5.6)

    losses: list[float] = []
    printed = _spread(entries, MOST_FORMULAS)
    for entry in entries:
        measured = tables.position_losses[entry["run"]]
        at, mean = measured.T, measured.mean()
        by_position.plot(at, mean, ".", ms=3.2, color=colours(entry["N"]), alpha=0.7)
        losses.extend(mean)
        if entry["identified"]:
            curve = Position(**entry["parameters"]).loss(at)
            label = _formula(entry) if entry in printed else None
            by_position.plot(at, curve, color=colours(entry["N"]), linewidth=1.3, label=label)
    st.log_x(by_position, at, POSITION_LABEL)
    st.log_y(by_position, losses, st.LOSS_LABEL)
    name = st.plain(st.family_name(entries[0]["family"]))
    by_position.set_title(rf"{name}: $a + b\,T^{{-c}}$ at each size")
    st.legend_below(by_position, columns=2)
    colours.bar(figure, [by_position], n_label(laws))
    _over_training(figure, by_step, tables, entries[-1])
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """The exponent at the smallest and the largest size of each family."""
    words = []
    for family in tables.families:
        entries = position_entries(tables, laws, family)
        fitted = [entry for entry in entries if entry["identified"]]
        if not entries:
            continue
        if not fitted:
            words.append(f"{st.family_name(family)}: no position law is identified ({entries[0]['reason']})")
            continue
        ends = (fitted[0], fitted[-1]) if len(fitted) > 1 else (fitted[0],)
        exponents = ", ".join(f"{_exponent(entry)} at N = {short(entry['N'])}" for entry in ends)
        counted = f"{len(fitted)} of {len(entries)} sizes identified"
        words.append(f"{st.family_name(family)}: c = {exponents} ({counted})")
    return "; ".join(words) + "." if words else "No run left losses by position."


def _over_training(figure: Figure, axes: Axes, tables: StudyTables, entry: Mapping[str, Any]) -> None:
    """The loss of one run against the step, a line a bin of positions."""
    surface = over_training(tables, entry["run"])
    if surface is None or len(surface.step) < 2:
        st.note_in(axes, "The largest network left its losses by position at the end of training only.")
        return
    colours = st.SizeColours(surface.T, POSITION_COLOURS)
    for T, loss in zip(surface.T, surface.loss.T, strict=True):
        axes.plot(surface.step, loss, color=colours(T), linewidth=1.2)
    st.log_x(axes, surface.step, "step")
    st.log_y(axes, surface.loss.ravel(), st.LOSS_LABEL)
    axes.set_title(f"N = {short(entry['N'])} during training")
    colours.bar(figure, [axes], "position T")


@st.styled
def draw_surface(tables: StudyTables, laws: Laws) -> Figure:
    """The loss over position and step, of the smallest and of the largest network."""
    entries = position_entries(tables, laws, tables.main_family)
    surfaces = [
        (entry, surface)
        for entry in _ends(entries)
        if (surface := over_training(tables, entry["run"])) is not None
        and min(surface.loss.shape) >= FEWEST_OF_A_SURFACE
    ]
    if not surfaces:
        needs = "losses by position at three steps of a run: `scaling-laws sweep configs/sweeps/size.yaml`."
        return st.note(TITLE_SURFACE, f"Needs {needs}")
    figure, axes = st.panels(len(surfaces), width=5.8 * len(surfaces) + 0.4, height=4.6)
    levels = np.geomspace(
        min(one.loss.min() for _, one in surfaces), max(one.loss.max() for _, one in surfaces), CONTOURS
    )
    colours = st.SizeColours(levels, "cividis")
    for panel, (entry, surface) in zip(axes, surfaces, strict=True):
        look: dict[str, Any] = {"cmap": colours.colours, "norm": colours.norm}
        panel.pcolormesh(surface.step, surface.T, surface.loss.T, shading="gouraud", rasterized=True, **look)
        lines = panel.contour(
            surface.step, surface.T, surface.loss.T, levels=levels, colors="white", linewidths=0.7
        )
        panel.clabel(lines, fmt="%.2f", fontsize=7.5)
        st.log_x(panel, surface.step, "step", margin=0.02)
        st.log_y(panel, surface.T, POSITION_LABEL, margin=0.04)
        panel.grid(visible=False)
        panel.set_title(f"N = {short(entry['N'])}")
    colours.bar(figure, axes, st.LOSS_LABEL)
    return figure


def describe_surface(tables: StudyTables, laws: Laws) -> str:
    """By how much the first and the last positions of the largest network have fallen halfway."""
    entries = position_entries(tables, laws, tables.main_family)
    surface = over_training(tables, entries[-1]["run"]) if entries else None
    if surface is None or len(surface.step) < 2:
        return "No run left losses by position during training."
    first, last = (_progress(surface.step, surface.loss[:, column]) for column in (0, -1))
    return (
        f"The network of N = {short(entries[-1]['N'])} has half of its fall in loss behind it after "
        f"{short(first)} of {short(surface.step[-1])} steps at position {surface.T[0]:g}, and after "
        f"{short(last)} at positions about {surface.T[-1]:.0f}."
    )


def _progress(step: np.ndarray, loss: np.ndarray) -> float:
    """The first step at which half of the fall from the first evaluation to the last is done."""
    return float(step[np.argmax(loss <= (loss[0] + loss[-1]) / 2)])


def _ends(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [entries[0], entries[-1]] if len(entries) > 1 else list(entries)


def _spread(entries: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most so many of the identified, evenly spread, the ends among them."""
    fitted = [entry for entry in entries if entry["identified"]]
    if len(fitted) <= most:
        return fitted
    return [fitted[round(place)] for place in np.linspace(0, len(fitted) - 1, most)]


def _exponent(entry: Mapping[str, Any]) -> str:
    return f"{number(entry['parameters']['c'])} {interval_text(entry['intervals'].get('c'))}".strip()


def _formula(entry: Mapping[str, Any]) -> str:
    a, b, c = (entry["parameters"][name] for name in "abc")
    sign = "+" if b >= 0 else "-"
    return rf"{short(entry['N'])}:  ${a:.2f} {sign} {abs(b):.2f}\,T^{{-{c:.2f}}}$"


FIGURES = (
    Entry(
        name="fig20_position",
        title="Loss by position, at the end and during training",
        paper="Fig. 20",
        question="position",
        draw=draw,
        describe=describe,
    ),
    Entry(
        name="position_surface",
        title=TITLE_SURFACE,
        paper="",
        question="position",
        draw=draw_surface,
        describe=describe_surface,
    ),
)

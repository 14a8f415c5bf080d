"""How large a network for a budget? IsoFLOP slices and N_opt(C) (Kaplan 2020, Figure 14; Hoffmann 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.planning.choice import best_joint_fit
from scaling_laws.laws.published import HOFFMANN, KAPLAN_TABLE_6
from scaling_laws.reports.evidence import (
    Laws,
    StudyTables,
    c_label,
    envelope_of,
    find_allocation,
    n_label,
)
from scaling_laws.reports.formulas import (
    LEVELS,
    draws_of,
    form_name,
    interval_text,
    law_of,
    number,
    value_with_interval,
)
from scaling_laws.reports.style import (
    BAND_ALPHA,
    FIT,
    GREY,
    INK,
    LOSS_LABEL,
    SizeColours,
    family_name,
    legend_below,
    log_x,
    log_y,
    note,
    note_in,
    panels,
    short,
    styled,
)

TITLE = "The best size for a budget"


@styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: loss against N at equal compute, with minima. Right: N_opt(C), beside published lines."""
    family = tables.main_family
    slices = slices_of(laws, family)
    joint, _ = best_joint_fit(laws, family)
    if not slices and joint is None:
        return note(TITLE, "Needs at least three sizes trained to overlapping budgets of compute 6ND.")
    figure, (slice_axes, optimum) = panels(2, width=11.0, height=5.2)
    if slices:
        _draw_slices(figure, slice_axes, slices, n_label(laws))
    else:
        note_in(slice_axes, "Slices need at least three sizes trained to overlapping budgets.")

    envelope, _ = envelope_of(laws, family)
    minima = [entry for entry in slices if entry["N_opt"] is not None]
    budgets = [entry["C"] for entry in [*slices, *envelope]] or list(tables.of(family)["C"])
    C = np.geomspace(min(budgets) / 1.5, max(budgets) * 1.5, 60)
    shown = [*(entry["N_opt"] for entry in minima), *(point["N"] for point in envelope)]
    if joint is not None:
        shown.extend(_draw_parametric(optimum, joint, C))
    for N, line, label in (
        (KAPLAN_TABLE_6.N.at(C), "--", f"Kaplan 2020, a = {KAPLAN_TABLE_6.N.exponent:.2f}"),
        (HOFFMANN.optimum(C)[0], ":", f"Chinchilla 2022, a = {HOFFMANN.a_opt:.2f}"),
    ):
        optimum.plot(C, N, color=INK, linestyle=line, linewidth=1.3, label=label)
        shown.extend(N)
    if envelope:
        points = [point["C"] for point in envelope], [point["N"] for point in envelope]
        optimum.plot(*points, "o", color="none", mec=GREY, ms=7, label=_measured("envelope", laws, family))
    if minima:
        for entry in minima:
            _interval(optimum, entry["C"], entry["N_opt"], entry["N_opt_interval"], vertical=True)
        points = [entry["C"] for entry in minima], [entry["N_opt"] for entry in minima]
        optimum.plot(*points, "D", color=FIT, label=_measured("isoflop", laws, family))
    log_x(optimum, C, c_label(laws), margin=0.0)
    log_y(optimum, shown, "$N_{opt}$, " + n_label(laws).partition(", ")[2])
    optimum.set_title("Best size against budget", color=INK)
    legend_below(optimum, columns=1)
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """How many slices hold their minimum, and the exponent a_opt of the joint law."""
    family = tables.main_family
    slices = slices_of(laws, family)
    minima = [entry for entry in slices if entry["N_opt"] is not None]
    joint, why = best_joint_fit(laws, family)
    exponent = f"a = {value_with_interval(joint, 'a_opt')}" if joint else f"no exponent ({why})"
    words = f"{len(minima)} of {len(slices)} slices of equal compute hold their minimum"
    ends = minima if len(minima) < 2 else (minima[0], minima[-1])
    if minima:
        values = ", ".join(f"{short(entry['N_opt'])} at {entry['C']:.1e} FLOPs" for entry in ends)
        words += f" (N_opt = {values})"
    name = family_name(family) if family else "This study"
    return (
        f"{name}: {words}; the joint law gives N_opt ~ C^a with {exponent} "
        f"(Kaplan 2020: {KAPLAN_TABLE_6.N.exponent:.2f}, Chinchilla 2022: {HOFFMANN.a_opt:.2f})."
    )


def slices_of(laws: Laws, family: str | None) -> list[Mapping[str, Any]]:
    """The family's isoFLOP slices with points, by compute."""
    slices = [entry for entry in laws["isoflop"] if entry["family"] == family and entry["points"]]
    return sorted(slices, key=lambda entry: entry["C"])


def _draw_slices(figure: Figure, axes: Axes, slices: Sequence[Mapping[str, Any]], label: str) -> None:
    """Each slice's points, the parabola in ln N through them, and its minimum."""
    colours = SizeColours([entry["C"] for entry in slices], "plasma")
    N = [point["N"] for entry in slices for point in entry["points"]]
    losses = [point["loss"] for entry in slices for point in entry["points"]]
    for entry in slices:
        sizes = np.array([point["N"] for point in entry["points"]])
        loss = np.array([point["loss"] for point in entry["points"]])
        colour = colours(entry["C"])
        axes.plot(sizes, loss, "o", color=colour, ms=4.5)
        if entry["N_opt"] is None:
            axes.plot(sizes, loss, color=colour, linewidth=0.8, linestyle=":")
            continue
        x = np.geomspace(sizes.min(), sizes.max(), 60)
        parabola = np.polyfit(np.log(sizes / entry["N_opt"]), loss, 2)
        axes.plot(x, np.polyval(parabola, np.log(x / entry["N_opt"])), color=colour, linewidth=1.1)
        _interval(axes, entry["N_opt"], entry["loss_opt"], entry["N_opt_interval"], vertical=False)
        axes.plot(entry["N_opt"], entry["loss_opt"], "D", color=FIT, zorder=4)
    axes.plot([], [], "D", color=FIT, label="minimum, 90 % interval")
    if any(entry["N_opt"] is None for entry in slices):
        axes.plot([], [], color=GREY, linestyle=":", linewidth=0.8, label="no minimum inside the slice")
    log_x(axes, N, label)
    log_y(axes, losses, LOSS_LABEL)
    axes.set_title("Loss at equal compute", color=INK)
    legend_below(axes, columns=2)
    colours.bar(figure, [axes], "C, training FLOPs")


def _draw_parametric(axes: Axes, fit: Mapping[str, Any], C: Any) -> Any:
    """N_opt(C) of the joint law with its 90 % band; returns what the axis must show."""
    best = law_of(fit).optimum(C)[0]
    axes.plot(C, best, color=FIT, label=f"{form_name(fit['form'])}, a = {value_with_interval(fit, 'a_opt')}")
    draws = draws_of(fit, columns=True)
    if draws is not None:
        low, high = np.nanpercentile(draws.optimum(C)[0], LEVELS, axis=0)
        axes.fill_between(C, low, high, color=FIT, alpha=BAND_ALPHA, linewidth=0)
    return best


def _measured(method: str, laws: Laws, family: str | None) -> str:
    name = {"envelope": "envelope", "isoflop": "slices' minima"}[method]
    entry = find_allocation(laws, method, family)
    if entry["exponent"] is None:
        return name
    return f"{name}, a = {number(entry['exponent'])} {interval_text(entry['exponent_interval'])}".strip()


def _interval(axes: Axes, x: float, y: float, interval: Any, *, vertical: bool) -> None:
    if not interval or None in interval:
        return
    where = ([x, x], interval) if vertical else (interval, [y, y])
    axes.plot(*where, color=FIT, linewidth=1.2, zorder=3)

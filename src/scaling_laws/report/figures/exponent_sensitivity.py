"""How far to trust the exponents: every choice of the analysis, the bootstrap's draws, and the profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import interval_percentiles, interval_words
from scaling_laws.laws.plan.choice import best_joint_fit
from scaling_laws.laws.published import HOFFMANN, HOFFMANN_ISOFLOP, KAPLAN_TABLE_2, KAPLAN_TABLE_6
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.formulas import form_name
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import NIL, interval_text, short, with_interval

ALLOCATIONS = {
    "a_opt": "Chinchilla's L(N, D)",
    "isoflop_exponent": "slices of equal compute",
    "envelope_exponent": "envelope",
}
"""Ways to the exponent a of N_opt ~ C^a."""
EXPONENTS = {"alpha": r"$\alpha$ of $A/N^\alpha$", "beta": r"$\beta$ of $B/D^\beta$"}
AS_FITTED = "as fitted"
WIDE = 5.0
"""Draws whose 95th percentile is so many times the 5th stand on a logarithmic axis."""
N_BINS = 24
SYMBOLS = {
    **{"alpha": r"$\alpha$", "beta": r"$\beta$", "alpha_N": r"$\alpha_N$", "alpha_D": r"$\alpha_D$"},
    **{"N_c": r"$N_c$", "D_c": r"$D_c$", "gamma": r"$\gamma$", "a_opt": r"$a$ of $N_{opt} \propto C^a$"},
}
PUBLISHED: dict[str, tuple[str, dict[str, float]]] = {
    form: (source, {name: float(getattr(law, name)) for name in names})
    for form, source, law, names in (
        ("kaplan_nd", "Kaplan 2020", KAPLAN_TABLE_2, ("alpha_N", "alpha_D")),
        ("chinchilla", "Chinchilla 2022", HOFFMANN, ("alpha", "beta")),
    )
}
"""Exponents, which have no unit; scales depend on the vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How the exponents of one family move with one change of the analysis at a time.

    Attributes:
        table: change, n_rows, exponent, value, low, high: a row a change and exponent that was identified.
            `value` is a point estimate; where a change is a series of fits it is NaN, and `low` and `high`
            are the series' ends.
        n_rows: rows that were fitted, by change, in order.
    """

    family: str
    table: pd.DataFrame
    n_rows: Mapping[str, int]


def _describe_choices(data: Choices) -> str:
    """How far each way to N_opt moves over all changes."""
    moved = []
    for exponent, name in ALLOCATIONS.items():
        values = data.table.loc[data.table["exponent"] == exponent, ["value", "low", "high"]]
        if values.notna().to_numpy().any():
            low, high = np.nanmin(values.to_numpy(dtype=float)), np.nanmax(values.to_numpy(dtype=float))
            moved.append(f"{low:.2f} to {high:.2f} by {name}")
    if not moved:
        return "No exponent of N_opt(C) is identified, whatever the analysis chooses."
    return f"Over all choices a of N_opt ~ C^a moves from {', from '.join(moved)}."


def _draw_choices(data: Choices) -> Figure:
    """A row a change. Left: a of N_opt ~ C^a, three ways. Middle, right: exponents of Chinchilla's law."""
    changes = list(data.n_rows)
    figure, axes = st.panels(3, width=12.0, height=1.9 + 0.3 * len(changes))
    _ladder(axes[0], data.table, changes, ALLOCATIONS)
    _published_a(axes[0])
    axes[0].set_xlabel(r"$a$ of $N_{opt} \propto C^a$")
    for panel, (name, label) in zip(axes[1:], EXPONENTS.items(), strict=True):
        if not (data.table["exponent"] == name).any():
            st.note_in(panel, "Chinchilla's law is not identified.")
            continue
        _ladder(panel, data.table, changes, {name: "Chinchilla's L(N, D)"})
        panel.set_xlabel(label)
    names = [f"{st.plain(change)} ({n_rows})" for change, n_rows in data.n_rows.items()]
    st.name_rows(axes, names)
    title = f"{st.plain(st.family_name(data.family))}: one change at a time (runs)"
    figure.suptitle(title, color=st.INK, fontsize=10.5)
    _equal_spans(axes[1:])
    st.legend_outside(figure, axes[:1], columns=5)
    return figure


@figure(
    "sensitivity",
    "How the exponents move with choices of the analysis",
    "trust",
    order=4,
    draw=_draw_choices,
    describe=_describe_choices,
)
def sensitivity(study: StudyTables, laws: Laws) -> Choices | str:
    """Of the main family."""
    of_family = laws.of(study.main_family)
    rows = [
        (entry.change, entry.n_rows, exponent, getattr(entry, exponent))
        + (getattr(entry, f"{exponent}_range", None) or (None, None))
        for entry in of_family.sensitivity
        for exponent in (*ALLOCATIONS, *EXPONENTS)
        if getattr(entry, exponent) is not None or getattr(entry, f"{exponent}_range", None)
    ]
    if not rows:
        return "Needs an exponent that is identified: `scaling-laws sweep configs/sweeps/size.yaml`."
    table = pd.DataFrame(rows, columns=["change", "n_rows", "exponent", "value", "low", "high"])
    return Choices(
        family=of_family.family,
        table=table.astype({"value": float, "low": float, "high": float}),
        n_rows={entry.change: entry.n_rows for entry in of_family.sensitivity},
    )


def _ladder(axes: Axes, points: pd.DataFrame, changes: Sequence[str], exponents: Mapping[str, str]) -> None:
    """Marks at the values, bars over series of fits, a thin line at what was fitted."""
    shifts = np.linspace(-0.2, 0.2, len(exponents)) if len(exponents) > 1 else [0.0]
    for place, (exponent, label) in enumerate(exponents.items()):
        rows = points[points["exponent"] == exponent]
        colour, marker = st.FAMILY_COLOURS[place], st.FAMILY_MARKERS[place]
        at = np.array([changes.index(change) for change in rows["change"]]) + shifts[place]
        axes.plot(rows["value"], at, color=colour, marker=marker, ms=4.5, linestyle="none", label=label)
        axes.hlines(at, rows["low"], rows["high"], color=colour, linewidth=2.2, alpha=0.7)
        fitted = rows.loc[rows["change"] == AS_FITTED, "value"]
        if len(fitted):
            axes.axvline(float(fitted.iloc[0]), color=colour, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_ylim(len(changes) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _equal_spans(axes: Sequence[Axes]) -> None:
    """Exponents to one scale: what hardly moves shall not look as if it did."""
    shown = [panel for panel in axes if panel.axison]
    if not shown:
        return
    span = max(float(np.ptp(panel.get_xlim())) for panel in shown)
    for panel in shown:
        middle = float(np.mean(panel.get_xlim()))
        panel.set_xlim(middle - span / 2, middle + span / 2)


def _published_a(axes: Axes) -> None:
    for value, name, line in (
        (KAPLAN_TABLE_6.N.exponent, "Kaplan 2020", "--"),
        (HOFFMANN_ISOFLOP.a, "Chinchilla 2022", "-."),
    ):
        axes.axvline(
            value, color=st.GREY, linestyle=line, linewidth=1.1, label=f"{name}: {value:.2f}", zorder=1
        )


# --- bootstrap ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The joint law to believe, and the bootstrap's draws of its parameters: all finite, by name."""

    family: str
    fit: FittedLaw
    draws: Mapping[str, NDArray[np.float64]]


def _describe_draws(data: Draws) -> str:
    """Estimate, bootstrap interval and profile interval of every parameter without a unit."""
    fit, profiles = data.fit, _profiles(data.fit)
    words = []
    for name, value in {**fit.parameters, **fit.derived}.items():
        if fit.units.get(name, "1") != "1" or name == "b_opt":
            continue
        profile = f" (profile {interval_text(profiles[name])})" if name in profiles else ""
        words.append(f"{name} = {with_interval(value, fit.interval(name))}{profile}")
    return f"{form_name(fit.form)}, {fit.interval_method or 'no bootstrap'}: {'; '.join(words)}."


def _draw_draws(data: Draws) -> Figure:
    """A panel a parameter: the bootstrap's draws, their 90 %, the profile's interval, and the estimate."""
    fit, draws = data.fit, data.draws
    columns = 3
    rows = -(-len(draws) // columns)
    figure, axes = st.panels(columns, rows, width=11.5, height=0.7 + 2.5 * rows)
    source, published = PUBLISHED.get(fit.form, ("", {}))
    for panel, (name, values) in zip(axes, draws.items(), strict=False):
        _distribution(panel, name, values, fit)
        if name in published:
            panel.axvline(published[name], color=st.GREY, linestyle="--", linewidth=1.1, label=source)
    for place, panel in enumerate(axes[len(draws) :]):
        _pair(panel, draws, fit) if place == 0 else panel.set_axis_off()
    st.legend_outside(figure, axes[: len(draws)], columns=5)
    title = f"{st.plain(st.family_name(data.family))}: {form_name(fit.form)}, {fit.interval_method}"
    figure.suptitle(title, color=st.INK, fontsize=10.5)
    return figure


@figure(
    "bootstrap",
    "What the runs say about the joint law's parameters",
    "trust",
    order=5,
    draw=_draw_draws,
    describe=_describe_draws,
)
def bootstrap(study: StudyTables, laws: Laws) -> Draws | str:
    """Of the main family."""
    fit, why = best_joint_fit(laws.of(study.main_family))
    draws = {} if fit is None else bootstrap_draws(fit)
    if fit is None or not draws:
        reason = why if fit is None else "its fit has no bootstrap"
        return (
            "Needs a law of N and D that is identified: "
            f"`scaling-laws sweep configs/sweeps/size.yaml` ({reason})."
        )
    return Draws(family=str(study.main_family), fit=fit, draws=draws)


def bootstrap_draws(fit: FittedLaw) -> dict[str, NDArray[np.float64]]:
    """By name the bootstrap's draws of each parameter, and of a_opt where the law has it; all are finite."""
    law = fit.draws
    if law is None:
        return {}
    draws = {name: np.asarray(getattr(law, name), dtype=np.float64) for name in fit.parameters}
    if "a_opt" in fit.derived:
        n_draws = len(next(iter(draws.values())))
        draws["a_opt"] = np.broadcast_to(np.asarray(law.a_opt, dtype=np.float64), (n_draws,))
    finite = np.all([np.isfinite(values) for values in draws.values()], axis=0)
    return {name: values[finite] for name, values in draws.items()} if finite.any() else {}


def _profiles(fit: FittedLaw) -> Mapping[str, Interval]:
    return {} if fit.certificate is None else fit.certificate.profile


def _distribution(axes: Axes, name: str, values: NDArray[np.float64], fit: FittedLaw) -> None:
    estimate = fit.value(name) or 0.0
    low, high = np.percentile(values, interval_percentiles())
    logarithmic = values.min() > NIL and high > WIDE * low
    shown = np.log(values) if logarithmic else values
    edges = np.histogram_bin_edges(shown, N_BINS) if np.ptp(shown) > 0 else np.array([-0.5, 0.5]) + shown[0]
    if logarithmic:
        edges = np.exp(edges)
    counts, _, _ = axes.hist(values, bins=list(edges), color=st.FAMILY_COLOURS[0], alpha=0.55, label="draws")
    top = 1.22 * float(np.max(counts))
    axes.axvspan(
        low,
        high,
        color=st.FAMILY_COLOURS[0],
        alpha=st.BAND_ALPHA,
        linewidth=0,
        label=f"{interval_words()} of them",
    )
    axes.axvline(estimate, color=st.FIT, linewidth=1.6, label="estimate")
    profile = _profiles(fit).get(name)
    unit = fit.units.get(name, "1").replace(" * ", " · ")
    label = SYMBOLS.get(name, f"${name}$") + (f", {unit}" if unit != "1" else "")
    if logarithmic:
        st.log_x(axes, [*edges, estimate, *(end for end in profile or () if end)], label)
    else:
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: short(value))
    _profile(axes, profile, 0.93 * top)
    axes.set_ylim(0, top)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)


def _pair(axes: Axes, draws: Mapping[str, NDArray[np.float64]], fit: FittedLaw) -> None:
    """The two exponents of the law against one another: what one draw trades for the other."""
    exponents = [name for name in fit.parameters if fit.units.get(name) == "1"]
    if len(exponents) < 2:
        axes.set_axis_off()
        return
    x, y = exponents[:2]
    axes.plot(draws[x], draws[y], color=st.FAMILY_COLOURS[0], marker=".", alpha=0.5, linestyle="none")
    axes.plot([fit.value(x) or 0.0], [fit.value(y) or 0.0], color=st.FIT, marker="o", linestyle="none")
    axes.set_xlabel(SYMBOLS.get(x, x))
    axes.set_ylabel(SYMBOLS.get(y, y))
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _profile(axes: Axes, interval: Sequence[float | None] | None, height: float) -> None:
    """A bar over the profile's interval, ended where it closes and with an arrow's head where it does not."""
    if interval is None:
        return
    low, high = axes.get_xlim()
    ends = [low if interval[0] is None else interval[0], high if interval[1] is None else interval[1]]
    marks = ["<" if interval[0] is None else "|", ">" if interval[1] is None else "|"]
    axes.plot(ends, [height] * 2, color=st.INK, linewidth=1.4, label="90 % profile interval (> or <: open)")
    for end, mark in zip(ends, marks, strict=True):
        axes.plot([end], [height], color=st.INK, marker=mark, ms=7)

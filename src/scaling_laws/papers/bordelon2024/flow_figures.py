"""Random features under gradient flow, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.bordelon2024.dynamics import mean_loss, mean_losses_of_reuse, task
from scaling_laws.papers.bordelon2024.flow_simulation import (
    MEMBER_SIZE,
    MEMBERS,
    REUSE_SIZE,
    REUSE_TIMES,
    SPECTRA,
    TIMES,
    FlowSimulation,
)
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure

KNOWN = 0.01
"""Of its start: below it single draws of the training's loss differ by factors."""


def _named(spectrum: tuple[float, float]) -> str:
    return f"a = {spectrum[0]:g}, b = {spectrum[1]:g}"


def draw_curves(data: FlowSimulation) -> Figure:
    """A panel a task: losses over time by size, simulated and in closed form."""
    drawing, axes = st.panels(len(SPECTRA), width=12.5, height=4.4)
    colours = st.SizeColours(each.N for each in data.compared)
    for panel, spectrum in zip(axes, SPECTRA, strict=True):
        of_task = [each for each in data.compared if (each.task.a, each.task.b) == spectrum]
        t = np.geomspace(TIMES[0], TIMES[-1], 60)
        for each in of_task:
            colour = colours(each.N)
            panel.plot(
                t, mean_loss(each.task, each.N, t), "-", color=colour, label=f"N = {each.N}, closed form"
            )
            panel.errorbar(
                each.t,
                each.mean,
                3 * each.error,
                fmt="o",
                color=colour,
                label="simulated, three standard errors",
            )
        endless = mean_loss(of_task[0].task, np.inf, t)
        panel.plot(t, endless, ":", color=st.GREY, label="N infinite")
        st.log_x(panel, t, "t")
        st.log_y(panel, [*endless, *(value for each in of_task for value in each.mean)], "loss", margin=0.08)
        panel.set_title(_named(spectrum))
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return drawing


def describe_curves(data: FlowSimulation) -> str:
    z = np.concatenate([each.z for each in data.compared])
    return (
        f"{np.mean(np.abs(z) <= 3):.0%} of {len(z)} simulated means lie within three standard errors of "
        "the closed form for the same N, M and t."
    )


@figure(
    "flow_curves",
    "Learning curves, simulated and in closed form",
    "scale",
    order=1,
    draw=draw_curves,
    describe=describe_curves,
)
def flow_curves(simulation: FlowSimulation, laws: Laws) -> FlowSimulation:
    return simulation


NAMES = ("loss in t", "loss in N", "best loss in C", "best N in C")


def draw_exponents(data: FlowSimulation) -> Figure:
    """A panel an exponent: against the number of directions, with its limit."""
    drawing, axes = st.panels(4, width=13.0, height=4.0)
    for place, (panel, name) in enumerate(zip(axes, NAMES, strict=True)):
        for number, spectrum in enumerate(SPECTRA):
            by_M = data.exponents[spectrum]
            colour, marker = st.FAMILY_COLOURS[number], st.FAMILY_MARKERS[number]
            measured = [each.measured[place] for each in by_M.values()]
            panel.plot(list(by_M), measured, marker=marker, color=colour, label=_named(spectrum))
            limit = next(iter(by_M.values())).limit[place]
            panel.axhline(limit, color=colour, ls=":", lw=1.3)
        st.log_x(panel, list(by_M), "M, directions")
        panel.set_title(name)
    axes[0].set_ylabel("exponent")
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(SPECTRA))
    return drawing


def describe_exponents(data: FlowSimulation) -> str:
    words = []
    for spectrum, by_M in data.exponents.items():
        last = list(by_M.values())[-1]
        pairs = ", ".join(
            f"{name} {value:.2f} ({limit:.2f})"
            for name, value, limit in zip(NAMES, last.measured, last.limit, strict=True)
        )
        words.append(f"{_named(spectrum)}: {pairs}")
    return f"With {list(by_M)[-1]:,} directions, and in the limit (dotted): {'; '.join(words)}."


@figure(
    "flow_exponents",
    "Exponents against the number of directions",
    "scale",
    order=2,
    draw=draw_exponents,
    describe=describe_exponents,
)
def flow_exponents(simulation: FlowSimulation, laws: Laws) -> FlowSimulation:
    return simulation


def draw_reuse(data: FlowSimulation) -> Figure:
    """Left: an ensemble beside one network of its size. Right: training and test on samples used again."""
    drawing, (ensembles, reuse) = st.panels(2, width=11.0, height=4.4)
    every: list[float] = []
    for number, (spectrum, (ensemble, single)) in enumerate(data.ensembles.items()):
        colour = st.FAMILY_COLOURS[number]
        ensembles.plot(
            TIMES, ensemble.mean(axis=0), "--s", color=colour, label=f"{_named(spectrum)}: ensemble"
        )
        ensembles.plot(TIMES, single.mean(axis=0), "-o", color=colour, label="one network")
        every += [*ensemble.mean(axis=0), *single.mean(axis=0)]
    st.log_x(ensembles, TIMES, "t")
    st.log_y(ensembles, every, "loss", margin=0.08)
    ensembles.set_title(f"{MEMBERS} networks of N = {MEMBER_SIZE}, or one of N = {MEMBERS * MEMBER_SIZE}")
    st.legend_below(ensembles)
    colours = st.SizeColours(data.reuse)
    shown: list[float] = []
    of = task(*SPECTRA[0], data.compared[0].task.M)  # in bins: a closed form of two times is large
    t = np.geomspace(REUSE_TIMES[0], REUSE_TIMES[-1], 40)
    for P, (test, train) in data.reuse.items():
        theory, of_training = mean_losses_of_reuse(of, REUSE_SIZE, P, t)
        known = of_training > KNOWN * of_training[0]
        reuse.plot(REUSE_TIMES, test.mean(axis=0), "o", ms=4, color=colours(P), label=f"P = {P}, test")
        reuse.plot(REUSE_TIMES, train.mean(axis=0), "s", ms=3, color=colours(P), label="training", mfc="none")
        reuse.plot(t, theory, "-", lw=1.2, color=colours(P), label="closed form")
        reuse.plot(t[known], of_training[known], ":", lw=1.2, color=colours(P), label="of the training")
        shown += [*test.mean(axis=0)]
    st.log_x(reuse, REUSE_TIMES, "t")
    st.log_y(reuse, [*shown, min(shown) / 10], "loss", margin=0.08)
    reuse.set_title(f"P samples, used repeatedly, N = {REUSE_SIZE}")
    st.legend_below(reuse, columns=4)
    return drawing


def describe_reuse(data: FlowSimulation) -> str:
    ratios = [ensemble[:, -1].mean() / single[:, -1].mean() for ensemble, single in data.ensembles.values()]
    z = np.concatenate([each.z for each in data.reused])
    return (
        f"At the end the ensemble's loss is {min(ratios):.2f} to {max(ratios):.2f} times that of one "
        "network with as many features. The training loss falls below the test loss, later if there are "
        f"more samples. {np.mean(np.abs(z) <= 3):.0%} of {len(z)} mean test losses on P samples lie within "
        "three standard errors of the closed form."
    )


@figure(
    "flow_reuse",
    "Ensembles and reused data",
    "scale",
    order=3,
    draw=draw_reuse,
    describe=describe_reuse,
)
def flow_reuse(simulation: FlowSimulation, laws: Laws) -> FlowSimulation:
    return simulation

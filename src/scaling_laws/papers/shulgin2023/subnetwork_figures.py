"""Where independent subnetworks take a quadratic, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.shulgin2023.subnetwork_simulation import SubnetworkSimulation
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure

OPTIMUM_COLOUR, LIMIT_COLOUR = st.FAMILY_COLOURS[1], st.FAMILY_COLOURS[0]


def draw_paths(data: SubnetworkSimulation) -> Figure:
    """Left: the mean iterate's distances from limit and optimum. Right: its errors in standard errors."""
    drawing, (paths, errors) = st.panels(2, width=11.0, height=4.4)
    one = data.problems[0]
    problem, length = one.problem, np.linalg.norm(one.problem.optimum)
    steps = np.arange(one.steps + 1)
    for place, colour, name in (
        (problem.optimum, OPTIMUM_COLOUR, "the optimum"),
        (problem.limit, LIMIT_COLOUR, "the predicted limit"),
    ):
        measured, predicted = (
            np.linalg.norm(path - place, axis=1) / length for path in (one.path, one.predicted)
        )
        every = slice(0, None, max(1, len(steps) // 30))
        paths.plot(steps[every], measured[every], "o", color=colour, label=f"distance from {name}, simulated")
        paths.plot(steps, predicted, "-", color=colour, label=f"distance from {name}, in closed form")
    paths.set_ylim(bottom=0)
    paths.set_xlabel("rounds")
    paths.set_ylabel("distance / length of the optimum")
    paths.set_title("The mean iterate goes to the limit, not to the optimum")
    st.legend_below(paths, columns=1)
    z = np.concatenate([each.z for each in data.problems])
    edges = np.linspace(-4, 4, 25)
    errors.hist(
        np.clip(z, -4, 4), edges.tolist(), color=LIMIT_COLOUR, alpha=0.6, label=f"{len(z)} parameters"
    )
    middle = (edges[1:] + edges[:-1]) / 2
    normal = np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi) * len(z) * (edges[1] - edges[0])
    errors.plot(middle, normal, color=st.FIT, label="what chance alone gives")
    errors.set_xlabel("simulated less predicted mean, in predicted standard errors")
    errors.set_ylabel("parameters")
    errors.set_title("Simulation and closed form agree")
    st.legend_below(errors, columns=1)
    return drawing


def describe_paths(data: SubnetworkSimulation) -> str:
    one = data.problems[0]
    z = np.concatenate([each.z for each in data.problems])
    return (
        f"After {one.steps} rounds the mean iterate is {one.bias:.2f} lengths of the optimum away from it. "
        f"Over {len(data.problems)} problems {np.mean(np.abs(z) < 3):.1%} of {len(z)} parameters lie "
        "within three standard errors of the closed form; chance alone gives 99.7 %."
    )


@figure(
    "subnetwork_limit",
    "Where the training ends, and where it should",
    "scale",
    order=1,
    draw=draw_paths,
    describe=describe_paths,
)
def subnetwork_limit(simulation: SubnetworkSimulation, laws: Laws) -> SubnetworkSimulation:
    return simulation


def draw_rates(data: SubnetworkSimulation) -> Figure:
    """Distance from the optimum against the learning rate: single iterates and their mean."""
    drawing, (axes,) = st.panels(1, width=7.0, height=4.4)
    rates = [each.rate for each in data.by_rate]
    length = np.linalg.norm(data.by_rate[0].problem.optimum)
    optimum, limit = data.by_rate[0].problem.optimum, data.by_rate[0].problem.limit
    bias = [each.bias for each in data.by_rate]
    spread = [np.sqrt(np.mean(np.sum((each.last - limit) ** 2, axis=1))) / length for each in data.by_rate]
    predicted = [
        np.sqrt(each.problem.variance(each.rate, each.steps).sum()) / length for each in data.by_rate
    ]
    axes.plot(rates, bias, "o", color=OPTIMUM_COLOUR, label="mean iterate from the optimum")
    distance = float(np.linalg.norm(limit - optimum) / length)
    axes.axhline(distance, color=OPTIMUM_COLOUR, lw=1.2, label="the limit from the optimum, in closed form")
    axes.plot(rates, spread, "s", color=LIMIT_COLOUR, label="single iterates from the limit (rms)")
    axes.plot(rates, predicted, "-", color=LIMIT_COLOUR, label="the same in closed form")
    st.log_x(axes, rates, "learning rate")
    st.log_y(axes, [*bias, *spread, *predicted], "distance / length of the optimum", margin=0.15)
    st.legend_below(axes)
    return drawing


def describe_rates(data: SubnetworkSimulation) -> str:
    first, last = data.by_rate[0], data.by_rate[-1]
    return (
        f"From a learning rate of {first.rate:g} to {last.rate:g} single iterates come closer to the "
        f"limit, and the mean stays away from the optimum: {first.bias:.3f} lengths of it, then "
        f"{last.bias:.3f}."
    )


@figure(
    "subnetwork_rates",
    "A smaller step removes the noise, not the bias",
    "scale",
    order=2,
    draw=draw_rates,
    describe=describe_rates,
)
def subnetwork_rates(simulation: SubnetworkSimulation, laws: Laws) -> SubnetworkSimulation:
    return simulation

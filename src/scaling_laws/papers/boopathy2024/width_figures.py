"""Size for time: steps to a loss, one curve in the product, and peaks in width and time, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.boopathy2024.equivalence import (
    EARLY,
    LATE,
    level,
    log_steps_to,
    peak_in_time,
    peak_in_width,
    slopes,
    spread_about_one_curve,
)
from scaling_laws.papers.boopathy2024.small_networks import CUBE_ROOT, WidthExperiment
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure

TEST_LABEL = "test loss, squared error"


def draw_steps(data: WidthExperiment) -> Figure:
    """Steps to an early and a late loss against P, by optimiser, with the paper's slope."""
    drawing, panels = st.panels(2, width=11.0, height=4.4)
    for panel, (name, curves) in zip(panels, data.by_optimizer.items(), strict=True):
        P = np.array([each.P for each in curves])
        seen = []
        for place, (share, words) in enumerate(((EARLY, "early loss"), (LATE, "late loss"))):
            steps = np.exp(log_steps_to(curves, level(curves, share)))
            colour = st.FAMILY_COLOURS[place]
            panel.plot(P, steps, ".", color=colour, alpha=0.5)
            panel.plot(P, np.exp(np.log(steps).mean(axis=1)), "o-", color=colour, label=words)
            paper = np.exp(np.log(steps[0]).mean()) * (P / P[0]) ** -CUBE_ROOT
            panel.plot(P, paper, "--", color=st.GREY, label="as P^(-1/3)" if place == 0 else None)
            seen += [*steps.ravel(), *paper]
        st.log_x(panel, P, "P, parameters")
        st.log_y(panel, seen, "steps to a training loss", margin=0.1)
        panel.set_title({"sgd": "SGD", "adamw": "AdamW"}[name])
        st.legend_below(panel, columns=3)
    return drawing


def describe_steps(data: WidthExperiment) -> str:
    words = ", ".join(
        f"{slopes(curves, EARLY).mean():.2f} by {name}" for name, curves in data.by_optimizer.items()
    )
    return f"Steps to the early loss go as P to the power of {words}; the paper has -1/3 for SGD."


@figure(
    "steps_to_loss_by_width",
    "Steps to a loss, by size",
    "scale",
    order=1,
    draw=draw_steps,
    describe=describe_steps,
)
def steps_to_loss_by_width(study: WidthExperiment, laws: Laws) -> WidthExperiment:
    return study


def draw_product(data: WidthExperiment) -> Figure:
    """Mean test loss by SGD against t and against P^(1/3) t."""
    drawing, panels = st.panels(2, width=11.0, height=4.4)
    curves = data.by_optimizer["sgd"]
    colours = st.SizeColours([each.P for each in curves])
    for panel, q, label in zip(panels, (0.0, CUBE_ROOT), ("t, steps", "P^(1/3) t"), strict=True):
        seen, losses = [], []
        for each in curves:
            x, y = each.P**q * each.steps[1:], each.test[:, 1:].mean(axis=0)
            panel.plot(x, y, "-", color=colours(each.P))
            seen.extend(x)
            losses.extend(y)
        st.log_x(panel, seen, label)
        st.log_y(panel, losses, TEST_LABEL)
    colours.bar(drawing, panels, "P, parameters")
    return drawing


def describe_product(data: WidthExperiment) -> str:
    curves = data.by_optimizer["sgd"]
    time, product = (spread_about_one_curve(curves, q).mean() for q in (0.0, CUBE_ROOT))
    return (
        f"The spread of ln(test loss) about one curve is {time:.3f} against time and {product:.3f} "
        "against the product, over all widths by SGD."
    )


@figure(
    "size_times_time",
    "The test loss against time, and against size times time",
    "scale",
    order=2,
    draw=draw_product,
    describe=describe_product,
)
def size_times_time(study: WidthExperiment, laws: Laws) -> WidthExperiment:
    return study


def draw_peaks(data: WidthExperiment) -> Figure:
    """With label noise: the last test loss against width, and those of all widths against time."""
    drawing, (by_width, by_time) = st.panels(2, width=11.0, height=4.4)
    widths = [each.width for each in data.noisy]
    last = np.stack([each.test[:, -1] for each in data.noisy])
    by_width.plot(widths, last, ".", color=st.FAMILY_COLOURS[0], alpha=0.5)
    by_width.plot(widths, np.exp(np.log(last).mean(axis=1)), "o-", color=st.FAMILY_COLOURS[0])
    st.log_x(by_width, widths, "width")
    st.log_y(by_width, last.ravel(), TEST_LABEL)
    by_width.set_title("after the training, seeds and their mean")
    colours = st.SizeColours(widths)
    losses = []
    for each in data.noisy:
        mean = np.exp(np.log(each.test[:, 1:]).mean(axis=0))
        by_time.plot(each.steps[1:], mean, "-", color=colours(each.width))
        losses.extend(mean)
    st.log_x(by_time, data.noisy[0].steps[1:], "steps")
    st.log_y(by_time, losses, TEST_LABEL)
    by_time.set_title("during the training")
    colours.bar(drawing, [by_time], "width")
    return drawing


def describe_peaks(data: WidthExperiment) -> str:
    width, time = peak_in_width(data.noisy), peak_in_time(data.noisy)
    return (
        f"With noisy classes the top of ln(test loss) over the higher of its sides is "
        f"{width.height.mean():.3f} in width and {time.height.mean():.3f} in time; below zero there is none."
    )


@figure(
    "double_descent",
    "Double descent in width and in time",
    "scale",
    order=3,
    draw=draw_peaks,
    describe=describe_peaks,
)
def double_descent(study: WidthExperiment, laws: Laws) -> WidthExperiment:
    return study

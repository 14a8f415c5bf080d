"""Boopathy & Fiete 2024: is a larger network the same as more time?"""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.straight_line import mean_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.boopathy2024.equivalence import (
    EARLY,
    LATE,
    LEVELS,
    Peak,
    best_exponents,
    peak_in_time,
    peak_in_width,
    slopes,
    spread_about_one_curve,
)
from scaling_laws.papers.boopathy2024.small_networks import (
    CUBE_ROOT,
    Optimizer,
    WidthExperiment,
    train_all,
)
from scaling_laws.report.claims import Claim, Finding, Measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, short, with_interval

NEAR = 0.1
"""So near -1/3 a slope counts as -1/3."""
LEVEL_METHOD = "The loss is {share:.0%} of the way from the start to the lowest that every network reaches."


def _slope(study: WidthExperiment, optimizer: Optimizer, share: float) -> Measured:
    curves = study.by_optimizer[optimizer]
    value, interval = mean_interval(slopes(curves, share))
    context = (
        f"{len(curves)} widths from {curves[0].width} to {curves[-1].width}, {len(curves[0].test)} seeds"
    )
    return Measured(value=value, interval=interval, context=context)


def _early(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    return _slope(study, "sgd", EARLY)


def _late(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    return _slope(study, "sgd", LATE)


def _adamw(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    """How far from -1/3 the slope by AdamW is."""
    measured = _slope(study, "adamw", EARLY)
    low, high = measured.interval
    context = f"the slope is {with_interval(measured.value, measured.interval)}; {measured.context}"
    value = abs(measured.value + CUBE_ROOT)
    if low is None or high is None:
        return Measured(value=value, interval=(None, None), context=context)
    ends = sorted((abs(low + CUBE_ROOT), abs(high + CUBE_ROOT)))
    nearest = 0.0 if low <= -CUBE_ROOT <= high else ends[0]
    return Measured(value=value, interval=(nearest, ends[1]), context=context)


def _one_curve(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    curves = study.by_optimizer["sgd"]
    product, time = (spread_about_one_curve(curves, q) for q in (CUBE_ROOT, 0.0))
    value, (low, high) = mean_interval(np.log(product / time))
    context = f"spread of ln(test loss) {product.mean():.3f} about the product, {time.mean():.3f} about time"
    interval = (None if low is None else float(np.exp(low)), None if high is None else float(np.exp(high)))
    return Measured(value=float(np.exp(value)), interval=interval, context=context)


def _exponent(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    value, interval = mean_interval(best_exponents(study.by_optimizer["sgd"]))
    return Measured(value=value, interval=interval)


def _height(peak: Peak, context: str) -> Measured:
    value, interval = mean_interval(peak.height)
    return Measured(value=value, interval=interval, context=context)


def _in_width(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    peak = peak_in_width(study.noisy)
    before, top, after = (study.noisy[place].width for place in (peak.before, peak.top, peak.after))
    return _height(
        peak, f"width {top} between {before} and {after}, after {short(study.noisy[0].steps[-1])} steps"
    )


def _in_time(study: WidthExperiment, laws: Laws) -> Measured | Finding:
    peak, wide = peak_in_time(study.noisy), study.noisy[-1]
    before, top, after = (short(wide.steps[place]) for place in (peak.before, peak.top, peak.after))
    return _height(peak, f"width {wide.width}: step {top} between {before} and {after}")


def slopes_table(study: WidthExperiment, laws: Laws) -> Table:
    """Slope of ln(steps) in ln P by level and optimiser."""
    rows = tuple(
        (
            f"{share:.0%}",
            *(
                with_interval(*mean_interval(slopes(study.by_optimizer[optimizer], share)))
                for optimizer in study.by_optimizer
            ),
        )
        for share in LEVELS
    )
    caption = (
        "Slope of ln(steps to a training loss) in ln P. Levels: share of the way to the lowest common loss."
    )
    return Table(columns=("level", *study.by_optimizer), rows=rows, caption=f"{caption} Scale {study.scale}.")


def extent(study: WidthExperiment) -> str:
    """Scale, widths, steps and seeds."""
    clean, noisy = study.by_optimizer["sgd"], study.noisy
    return (
        f"Scale {study.scale}: {len(clean)} widths by {len(study.by_optimizer)} optimisers for "
        f"{clean[0].steps[-1]:,.0f} steps, {len(noisy)} widths with label noise for "
        f"{noisy[0].steps[-1]:,.0f}, {len(clean[0].test)} seeds of each."
    )


PAPER = Paper(
    module=__name__,
    title="Unified Neural Network Scaling Laws and Scale-time Equivalence",
    citation="Boopathy & Fiete 2024 (arXiv 2409.05782)",
    question="Is a larger network trained for a shorter time the same as a smaller one trained for longer?",
    experiment=train_all,
    budget={"smoke": "1 core-minute", "cpu": "6 core-minutes"},
    extent=extent,
    fitted=False,
    says=(
        "Under gradient descent with one learning rate, a network with more parameters moves faster "
        "towards any given function. The paper derives that size and time enter as a product: the test "
        "error depends on P^(1/3) t alone. So the time to a given error falls as P^(-1/3), and where "
        "errors rise and fall again with size (double descent) they do so with time, too.",
        "It does not hold with Adam, which makes its steps equally large in every network.",
    ),
    done=(
        "The paper's images are replaced by a task that needs no download: the inputs are Gaussian, the "
        "class is the largest of four outputs of a random network. Networks with two hidden layers of 16 "
        "to 256 units are trained on the squared error, by SGD and by AdamW, each at one rate for all "
        "widths and on the same batches.",
        "For double descent widths 2 to 128 are trained long, on 100 samples of which 30 % have a random "
        "class. A peak is chosen on every second seed and measured on the others.",
    ),
    trust=(
        "One small task, one depth, one rate for each optimiser. The exponent of 1/3 is a heuristic in the "
        "paper, too.",
        "The intervals are over seeds and say nothing about other tasks.",
    ),
    claims=(
        Claim(
            slug="time-falls-as-the-cube-root-of-size",
            text="With SGD the time to an early loss falls as P^(-1/3)",
            source="section 4",
            quantity="slope of ln(steps to the loss) in ln P",
            paper="-1/3",
            method=LEVEL_METHOD.format(share=EARLY),
            confirmed=(-CUBE_ROOT - NEAR, -CUBE_ROOT + NEAR),
            measure=_early,
        ),
        Claim(
            slug="late-losses-follow-the-cube-root-too",
            text="With SGD the time to a late loss falls as P^(-1/3)",
            source="section 4",
            quantity="slope of ln(steps to the loss) in ln P",
            paper="-1/3",
            method=LEVEL_METHOD.format(share=LATE),
            confirmed=(-CUBE_ROOT - NEAR, -CUBE_ROOT + NEAR),
            measure=_late,
        ),
        Claim(
            slug="adamw-breaks-the-cube-root",
            text="With AdamW the time to a loss does not fall as P^(-1/3)",
            source="appendix D",
            quantity="distance of the slope of ln(steps to the loss) from -1/3",
            paper="above 0",
            method=LEVEL_METHOD.format(share=EARLY),
            confirmed=(NEAR, np.inf),
            measure=_adamw,
        ),
        Claim(
            slug="size-and-time-are-one-product",
            text="The test loss is one curve in P^(1/3) t, more than in t",
            source="section 4",
            quantity="spread of ln(test loss) about one curve in P^(1/3) t, divided by that in t",
            paper="below 1",
            confirmed=(-np.inf, 1.0),
            measure=_one_curve,
        ),
        Claim(
            slug="the-product-has-the-cube-root",
            text="The test losses of all widths lie closest together in P^(1/3) t",
            source="section 4",
            quantity="the q for which P^q t has the least spread about one curve",
            paper="1/3",
            confirmed=(CUBE_ROOT - NEAR, CUBE_ROOT + NEAR),
            measure=_exponent,
        ),
        Claim(
            slug="double-descent-in-width",
            text="With label noise the test loss falls, rises and falls again with width",
            source="section 5",
            quantity="ln(test loss at the peak / at the higher of its sides)",
            paper="above 0",
            confirmed=(0.0, np.inf),
            measure=_in_width,
        ),
        Claim(
            slug="double-descent-in-time",
            text="With label noise the test loss of a wide network falls, rises and falls again with time",
            source="section 5",
            quantity="ln(test loss at the peak / at the higher of its sides)",
            paper="above 0",
            confirmed=(0.0, np.inf),
            measure=_in_time,
        ),
    ),
    tables=lambda study, laws: {"Steps to a loss": slopes_table(study, laws)},
)

"""Maloney, Roberts & Sully 2022: a model of neural scaling laws that can be solved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.maloney2022.ridge_simulation import (
    ALPHA,
    BUDGETS,
    M_OF_PLATEAU,
    RidgeSetting,
    RidgeSimulation,
    simulate_beside_text,
)
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, number

NORMAL_95 = 1.645
OUTSIDE = "settings beyond three standard errors"


def _together(values: Sequence[float], errors: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean weighted by precision, with its 90 % interval."""
    weights = 1 / np.square(errors)
    mean, error = float(np.average(values, weights=weights)), float(weights.sum() ** -0.5)
    return mean, (mean - NORMAL_95 * error, mean + NORMAL_95 * error)


def _same(simulation: RidgeSimulation, laws: Laws) -> Measured:
    compared = simulation.compared
    mean, interval = _together(
        [each.mean / each.theory - 1 for each in compared], [each.error / each.theory for each in compared]
    )
    outside = sum(abs(each.z) > 3 for each in compared)
    context = f"{len(compared)} settings of {len(compared[0].losses)} draws; {outside} {OUTSIDE}"
    return Measured(value=mean, interval=interval, context=context, limited={OUTSIDE: outside})


def _symmetric(simulation: RidgeSimulation, laws: Laws) -> Measured:
    pairs = list(zip(simulation.best, simulation.swapped, strict=True))
    ratios = [one.mean / other.mean for one, other in pairs]
    errors = [ratio * _relative(one, other) for ratio, (one, other) in zip(ratios, pairs, strict=True)]
    mean, interval = _together([ratio - 1 for ratio in ratios], errors)
    return Measured(value=mean, interval=interval, context=f"{len(pairs)} pairs of N and T, best ridge")


def _relative(one: RidgeSetting, other: RidgeSetting) -> float:
    """Relative standard error of a ratio of means."""
    return float(np.hypot(one.error / one.mean, other.error / other.mean))


def _at_equal(compared: Sequence[RidgeSetting]) -> Measured:
    """Loss at N = T over that at half as many features."""
    by_size = {each.N: each for each in compared}
    T = compared[0].T
    at, before = by_size[T], by_size[T // 2]
    ratio, error = at.mean / before.mean, _relative(at, before)
    interval = (ratio * np.exp(-NORMAL_95 * error), ratio * np.exp(NORMAL_95 * error))
    return Measured(value=ratio, interval=interval, context=f"N = {at.N} and {before.N}, T = {T}, simulated")


def _exponent(simulation: RidgeSimulation, laws: Laws) -> Measured:
    by_size = [f"{mean:.3f} with M = {M:,}" for M, (_, _, mean) in simulation.slopes.items()]
    low, high, mean = list(simulation.slopes.values())[-1]
    return Measured(value=mean, interval=(low, high), context=", ".join(by_size))


def _split(simulation: RidgeSimulation, laws: Laws) -> Measured:
    shares = simulation.best_N / np.sqrt(BUDGETS)
    interval = (float(shares.min() ** 2), float(shares.max() ** 2))
    context = f"N T of {BUDGETS[0]:.0e} to {BUDGETS[-1]:.0e}, closed form"
    return Measured(value=float(np.exp(np.mean(2 * np.log(shares)))), interval=interval, context=context)


def _plateau(simulation: RidgeSimulation, laws: Laws) -> Measured:
    of = simulation.plateau
    beyond = of.N >= 10 * M_OF_PLATEAU
    local = -np.diff(np.log(of.with_noise[beyond])) / np.diff(np.log(of.N[beyond]))
    before = of.N < M_OF_PLATEAU / 2
    steep = -np.polyfit(np.log(of.N[before]), np.log(of.with_noise[before]), 1)[0]
    context = f"{steep:.2f} for N = T below {M_OF_PLATEAU // 2}; without noise the loss is zero beyond M"
    interval = (float(local.min()), float(local.max()))
    return Measured(value=float(local.mean()), interval=interval, context=context)


def _spectrum(simulation: RidgeSimulation, laws: Laws, *, name: str) -> Measured | Finding:
    """alpha of the text's spectrum less a measured exponent, over all features and places."""
    text = simulation.text
    if text is None or name not in text.measured:
        return not_measured("results/cpu has no such exponent here")
    value, (low, high) = text.measured[name]
    ends = [interval for _, interval in text.alphas.values()]
    lows, highs = ([end for end in side if end is not None] for side in zip(*ends, strict=True))
    if low is None or high is None or not lows or not highs:
        return not_measured("an exponent has no interval")
    mean = float(np.mean([alpha for alpha, _ in text.alphas.values()]))
    by_features = ", ".join(f"{alpha:.2f}" for alpha, _ in text.alphas.values())
    context = f"spectrum {by_features}; {name} {value:.3f} [{low:.3f}, {high:.3f}]"
    return Measured(value=mean - value, interval=(min(lows) - high, max(highs) - low), context=context)


def settings(simulation: RidgeSimulation) -> Table:
    """Every setting, simulated and in closed form."""
    rows = tuple(
        (
            str(each.N),
            str(each.T),
            number(each.ridge),
            f"{each.mean:.4g} ± {each.error:.2g}",
            f"{each.theory:.4g}",
            f"{each.z:+.1f}",
        )
        for each in simulation.compared
    )
    columns = ("N", "T", "ridge", "simulated ± standard error", "closed form", "standard errors apart")
    return Table(columns=columns, rows=rows)


PAPER = Paper(
    module=__name__,
    title="A Solvable Model of Neural Scaling Laws",
    citation="Maloney, Roberts & Sully 2022 (arXiv 2210.16859)",
    question="Where do the exponents of scaling laws come from, in a model that can be solved?",
    experiment=lambda settings: simulate_beside_text(),
    says=(
        "Text and images have many directions, few of which vary much: their variances fall as a power "
        "law, I^-(1+α). The paper takes data of this kind, random features of them as the network, and "
        "fits the labels by least squares with a ridge (a penalty on large weights). With N features and "
        "T samples the loss falls as min(N, T)^-α: the exponent of the scaling law is that of the data.",
        "Without a ridge the loss has a peak where N = T (double descent); with the best ridge it has "
        "none, and it is best to let N and T grow together. The data have finitely many directions M, and "
        "where N and T exceed them the power law ends in a plateau.",
    ),
    done=(
        "For α = 0.5 and M = 600 the model is simulated at 24 settings of N, T and ridge, 60 times each, and "
        "compared with the mean loss in closed form. The closed form then says what no simulation could: "
        "exponents for up to a million directions, and the best split of N T.",
        "The loss of each draw is computed exactly, so the only randomness is in the draws. Weights of the "
        "true labels are +1 or -1, which leaves the mean unchanged and makes its error smaller.",
        "The spectrum of a text is measured as well: the first 3 MB of the corpus that this repository "
        "trains on, with its vocabulary of 1,024 tokens. Features are the last token, the last two, and "
        "counts of the last 32. The exponents are compared with those of the loss of Transformers on this "
        "text (results/cpu).",
    ),
    trust=(
        "The closed form is for large N and T. At the sizes simulated it is a per cent or so too low.",
        "That closed form and simulation agree is strong evidence for both: they share no code but the "
        "spectrum. Near N = T without a ridge single draws differ by a factor of ten, so the comparison "
        "is weakest there.",
        "The exponent is reached slowly. It needs N far above one and far below M, and with a thousand "
        "directions, as in a simulation, it is 0.6 instead of 0.5: do not read α off a small simulation.",
        "The paper's plateau needs noise in the labels, or a part of them that no feature can see. In the "
        "model as it is simulated here, without noise, the loss drops to zero beyond M.",
        "The text's spectrum says little. Three kinds of features and two stretches of the spectrum give "
        "quite different exponents, none of which is a constant: frequencies of tokens follow Zipf's law "
        "only roughly. Networks learn features of their own, and the model's labels, which weigh all "
        "directions alike, are not a next token. An agreement would be no evidence for the model.",
        "The plateau is judged from ten times M on; this bound was chosen after a first look at its curve.",
    ),
    claims=(
        Claim(
            slug="ridge-simulation-is-closed-form",
            text="The closed form is the mean of the simulation",
            source="main result",
            quantity="simulated over closed form, minus one",
            paper="0",
            confirmed=(-0.05, 0.05),
            limits=(Limit(name=OUTSIDE, words=f"there are at most {{most:g}} {OUTSIDE}", most=0),),
            measure=_same,
        ),
        Claim(
            slug="exponent-is-that-of-the-data",
            text="The loss falls as min(N, T)^-alpha",
            source="abstract",
            quantity=f"exponent at N = T with the best ridge; alpha is {ALPHA}",
            paper=f"{ALPHA}",
            method="Closed form, M a million, N from 20 to 320. The interval is the range along the curve.",
            confirmed=(ALPHA - 0.05, ALPHA + 0.05),
            measure=_exponent,
        ),
        Claim(
            slug="features-and-samples-are-exchangeable",
            text="N and T can be exchanged",
            source="main result",
            quantity="loss over that with N and T exchanged, minus one",
            paper="0",
            confirmed=(-0.05, 0.05),
            measure=_symmetric,
        ),
        Claim(
            slug="peak-without-ridge",
            text="Without a ridge the loss has a peak at N = T",
            source="main result",
            quantity="loss at N = T over that at N = T/2",
            paper="above 1",
            confirmed=(1.0, np.inf),
            measure=lambda simulation, laws: _at_equal(simulation.little),
        ),
        Claim(
            slug="no-peak-with-best-ridge",
            text="With the best ridge there is no peak",
            source="main result",
            quantity="loss at N = T over that at N = T/2",
            paper="below 1",
            confirmed=(-np.inf, 1.0),
            measure=lambda simulation, laws: _at_equal(simulation.best),
        ),
        Claim(
            slug="equal-features-and-samples-are-best",
            text="N and T should grow together",
            source="main result",
            quantity="best N/T at a given N T",
            paper="about 1",
            method="The interval is the range over budgets.",
            confirmed=(0.5, 2.0),
            measure=_split,
        ),
        Claim(
            slug="power-law-ends-at-the-data",
            text="Once N and T exceed the number of the data's directions, the loss stops falling",
            source="main result",
            quantity="exponent of the loss in N = T, from ten times M on",
            paper="0",
            method="Closed form, labels with noise. The interval is the range along the curve.",
            confirmed=(-0.1, 0.1),
            measure=_plateau,
        ),
        *(
            Claim(
                slug=f"spectrum-is-exponent-in-{slug}",
                text=f"A text's spectrum gives the exponent of its loss in {words}",
                source="comparison with language models",
                quantity=f"alpha of the spectrum minus {name} of the loss",
                paper="about 0",
                method="The interval covers three kinds of features, two stretches of the spectrum, and the "
                "90 % intervals of each and of the loss's exponent.",
                confirmed=(-0.05, 0.05),
                measure=partial(_spectrum, name=name),
            )
            for slug, words, name in (("size", "parameters", "alpha_N"), ("data", "tokens", "alpha_D"))
        ),
    ),
    tables=lambda simulation, laws: {"Simulated and in closed form": settings(simulation)},
)

"""Ridge regression on random features of power-law data, drawn."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.maloney2022.ridge_simulation import (
    ALPHA,
    M_OF_PLATEAU,
    NOISE_OF_PLATEAU,
    RidgeSimulation,
)
from scaling_laws.papers.maloney2022.text_spectrum import KINDS, RANGES, TextSpectrum
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure

LITTLE_COLOUR, BEST_COLOUR = st.FAMILY_COLOURS[1], st.FAMILY_COLOURS[0]


def draw_peak(data: RidgeSimulation) -> Figure:
    """Left: loss against N at a fixed T. Right: every setting's error, in standard errors."""
    drawing, (losses, errors) = st.panels(2, width=11.0, height=4.4)
    every = [each.mean for each in (*data.little, *data.best)]
    for compared, name, colour, marker in (
        (data.little, "little", LITTLE_COLOUR, "s"),
        (data.best, "best", BEST_COLOUR, "o"),
    ):
        label = f"{name} ridge: " if name == "best" else "next to no ridge: "
        N, theory = data.curves[name]
        losses.plot(N, theory, "-", color=colour, label=f"{label}closed form")
        losses.errorbar(
            [each.N for each in compared],
            [each.mean for each in compared],
            [3 * each.error for each in compared],
            fmt=marker,
            color=colour,
            label=f"{label}simulated, three standard errors",
        )
    T = data.little[0].T
    losses.axvline(T, color=st.GREY, ls=":", lw=1.0)
    losses.text(T, max(every), " N = T", color=st.GREY, ha="left", va="bottom")
    st.log_x(losses, data.curves["best"][0], "N, features")
    st.log_y(losses, every, "loss", margin=0.12)
    losses.set_title(f"Loss against N at T = {T} samples")
    st.legend_below(losses, columns=1)
    for compared, marker, colour, label in (
        (data.little, "s", LITTLE_COLOUR, "next to no ridge"),
        (data.best, "o", BEST_COLOUR, "best ridge"),
        (data.swapped, "^", st.FAMILY_COLOURS[2], "best ridge, N and T exchanged"),
    ):
        sizes = [
            each.N if each.T == T and label != "best ridge, N and T exchanged" else each.T
            for each in compared
        ]
        errors.plot(sizes, [each.z for each in compared], marker, color=colour, label=label)
    errors.axhspan(-3, 3, color=st.GREY, alpha=st.BAND_ALPHA, lw=0, label="three standard errors")
    errors.set_ylim(-5, 5)
    st.log_x(errors, data.curves["best"][0], "whichever of N and T varies")
    errors.set_ylabel("difference, in standard errors")
    errors.set_title("Simulated minus closed form")
    st.legend_below(errors, columns=1)
    return drawing


def describe_peak(data: RidgeSimulation) -> str:
    inside = np.mean([abs(each.z) <= 3 for each in data.compared])
    highest = max(data.little, key=lambda each: each.mean)
    return (
        f"Without a ridge the loss peaks at N = {highest.N} where T = {highest.T}; with the best ridge it "
        f"falls throughout. {inside:.0%} of {len(data.compared)} settings lie within three standard errors "
        "of the closed form."
    )


@figure(
    "ridge_peak",
    "The peak, and the ridge that removes it",
    "scale",
    order=1,
    draw=draw_peak,
    describe=describe_peak,
)
def ridge_peak(simulation: RidgeSimulation, laws: Laws) -> RidgeSimulation:
    return simulation


def draw_limits(data: RidgeSimulation) -> Figure:
    """Left: the exponent against the number of directions. Right: the plateau."""
    drawing, (slopes, plateau) = st.panels(2, width=11.0, height=4.4)
    M = list(data.slopes)
    low, high, mean = np.array([data.slopes[each] for each in M]).T
    slopes.fill_between(
        M, low, high, color=BEST_COLOUR, alpha=st.BAND_ALPHA, lw=0, label="range along the curve"
    )
    slopes.plot(M, mean, "o-", color=BEST_COLOUR, label="over the whole curve")
    slopes.axhline(ALPHA, color=st.FIT, label=r"$\alpha$ of the data")
    st.log_x(slopes, M, "M, directions of the data")
    slopes.set_ylabel("exponent of the loss in N = T, best ridge")
    slopes.set_title("The exponent of the data appears where M is large")
    st.legend_below(slopes, columns=1)
    of = data.plateau
    plateau.plot(of.N, of.with_noise, "-o", color=BEST_COLOUR, label="noisy labels")
    seen = of.without > 1e-6
    plateau.plot(of.N[seen], of.without[seen], "-s", color=LITTLE_COLOUR, label="no noise (zero beyond M)")
    plateau.axvline(M_OF_PLATEAU, color=st.GREY, ls=":", label="N = T = M")
    plateau.axhline(NOISE_OF_PLATEAU**2, color=st.GREY, ls="--", label="variance of the noise")
    st.log_x(plateau, of.N, "N = T")
    st.log_y(plateau, of.with_noise, "loss, noise included", margin=0.1)
    plateau.set_title(f"Beyond the data's {M_OF_PLATEAU} directions")
    st.legend_below(plateau)
    return drawing


def describe_limits(data: RidgeSimulation) -> str:
    M, (low, high, mean) = list(data.slopes.items())[-1]
    return (
        f"With {M:,} directions the exponent is {mean:.3f} ({low:.3f} to {high:.3f} along the curve), and "
        f"alpha {ALPHA}. With more features and samples than directions only the noise is left."
    )


@figure(
    "ridge_limits",
    "Where the power law holds, and where it ends",
    "scale",
    order=2,
    draw=draw_limits,
    describe=describe_limits,
)
def ridge_limits(simulation: RidgeSimulation, laws: Laws) -> RidgeSimulation:
    return simulation


def draw_text(data: TextSpectrum) -> Figure:
    """Left: the spectrum of a text's features. Right: its exponents beside those of the loss."""
    drawing, (spectra, exponents) = st.panels(2, width=11.0, height=4.6)
    every: list[float] = []
    for number, (kind, name) in enumerate(KINDS.items()):
        variances = data.variances[kind]
        index = np.arange(1, len(variances) // 2)
        shown = variances[index - 1] / variances[0]
        every += [*shown]
        spectra.plot(index, shown, lw=1.6, color=st.FAMILY_COLOURS[number], label=name)
        for place, places in enumerate(RANGES):
            value, (low, high) = data.alphas[kind, places]
            assert low is not None and high is not None
            exponents.errorbar(
                [number + 0.2 * (place - 0.5)],
                [value],
                [[value - low], [high - value]],
                fmt="os"[place],
                color=st.FAMILY_COLOURS[number],
                capsize=3,
            )
    for place, (first, last) in enumerate(RANGES):
        exponents.plot([], [], "os"[place], color=st.GREY, label=f"spectrum, places {first} to {last}")
    st.log_x(spectra, np.array([1.0, max(map(len, data.variances.values())) / 2]), "place in the spectrum")
    st.log_y(spectra, every, "variance, over the largest", margin=0.05)
    spectra.set_title("Variances of the text's features")
    st.legend_below(spectra, columns=1)
    for name, look in zip(data.measured, ("--", ":"), strict=False):
        value, (low, high) = data.measured[name]
        symbol = r"$\alpha_N$" if name == "alpha_N" else r"$\alpha_D$"
        exponents.axhline(value, ls=look, color=st.FIT, label=f"{symbol} of the study's loss")
        if low is not None and high is not None:
            exponents.axhspan(low, high, color=st.FIT, alpha=st.BAND_ALPHA, lw=0)
    exponents.set_xticks(
        range(len(KINDS)), [name.replace(" the last", "\nthe last") for name in KINDS.values()]
    )
    exponents.set_xlim(-0.6, len(KINDS) - 0.4)
    exponents.set_ylabel(r"$\alpha$")
    exponents.set_title("Exponents of the spectrum and of the loss")
    st.legend_below(exponents, columns=1)
    return drawing


def describe_text(data: TextSpectrum) -> str:
    words = "; ".join(
        f"{name} {', '.join(f'{data.alphas[kind, places][0]:.2f}' for places in RANGES)}"
        for kind, name in KINDS.items()
    )
    measured = ", ".join(f"{name} {value:.3f}" for name, (value, _) in data.measured.items())
    first, second = (f"{low} to {high}" for low, high in RANGES)
    return (
        f"Of {data.n_tokens:,} tokens with a vocabulary of {data.n_vocab:,}, alpha of the spectrum over "
        f"places {first} and {second}: {words}. Measured from the loss: {measured or 'nothing here'}."
    )


@figure(
    "text_spectrum",
    "The spectrum of a text beside the exponents of its loss",
    "scale",
    order=3,
    draw=draw_text,
    describe=describe_text,
)
def text_spectrum(simulation: RidgeSimulation, laws: Laws) -> TextSpectrum | str:
    return simulation.text or "no text was analysed"

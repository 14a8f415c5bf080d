"""The exponents that Porian et al. 2024 published, correction by correction.

Source: Porian, Wortsman, Jitsev, Schmidt, Carmon 2024, "Resolving discrepancies in compute-optimal scaling of
language models" (arXiv 2406.19146); values from the authors' released summary data, intervals of 95 %. Their
N counts the head and not the input embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling_laws.laws.fit.intervals import Interval

SOURCE = "Porian et al. 2024 (arXiv 2406.19146)"


@dataclass(frozen=True, kw_only=True)
class PublishedExponent:
    """Exponent a of N_opt ~ C^a.

    Attributes:
        data: the text the networks were trained on.
        setup: their words for the correction.
        a, interval: 95 %; None where none was published.
        with_attention: the same with attention FLOPs in C; None where it was not published.
    """

    data: str
    setup: str
    a: float
    interval: Interval | None
    with_attention: float | None = None


KAPLAN_SETUP = "Kaplan's: no head FLOPs, one long warm-up, one long cosine"
LAST_LAYER = "counting last-layer FLOPs"
SHORT_WARMUP = "correcting the warm-up"
MATCHED_DECAY = "cosine decay matched to the horizon"
TUNED = "learning rate, batch and beta2 tuned by size, at a constant learning rate"

PUBLISHED: tuple[PublishedExponent, ...] = (
    PublishedExponent(data="RefinedWeb", setup=KAPLAN_SETUP, a=0.835, interval=(0.82, 0.85)),
    PublishedExponent(data="OpenWebText2", setup=KAPLAN_SETUP, a=0.864, interval=(0.82, 0.90)),
    PublishedExponent(
        data="RefinedWeb", setup=LAST_LAYER, a=0.706, interval=(0.69, 0.72), with_attention=0.717
    ),
    PublishedExponent(data="OpenWebText2", setup=LAST_LAYER, a=0.699, interval=(0.66, 0.72)),
    PublishedExponent(
        data="RefinedWeb", setup=SHORT_WARMUP, a=0.602, interval=(0.59, 0.62), with_attention=0.622
    ),
    PublishedExponent(data="OpenWebText2", setup=SHORT_WARMUP, a=0.603, interval=(0.57, 0.63)),
    PublishedExponent(
        data="RefinedWeb", setup=MATCHED_DECAY, a=0.571, interval=(0.56, 0.59), with_attention=0.577
    ),
    PublishedExponent(data="OpenWebText2", setup=MATCHED_DECAY, a=0.574, interval=(0.54, 0.61)),
    PublishedExponent(data="RefinedWeb", setup=TUNED, a=0.497, interval=(0.49, 0.50), with_attention=0.505),
    PublishedExponent(data="OpenWebText2", setup=TUNED, a=0.518, interval=(0.49, 0.54)),
)
"""Cumulative: each setup keeps the corrections before it, but the last, which replaces the cosine."""


def published(setup: str) -> tuple[PublishedExponent, ...]:
    """Both data sets' exponents of one setup."""
    return tuple(exponent for exponent in PUBLISHED if exponent.setup == setup)


def published_with_attention(setup: str) -> tuple[PublishedExponent, ...]:
    """The exponents of one setup with attention FLOPs in C, published for one data set, without intervals."""
    return tuple(
        PublishedExponent(
            data=of.data, setup=f"{setup}, with attention FLOPs", a=of.with_attention, interval=None
        )
        for of in published(setup)
        if of.with_attention is not None
    )

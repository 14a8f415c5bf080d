"""Guo 2024: is the loss a function of compute alone?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.guo2024.compute_alone import Slopes, interval, slopes
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.style import family_name
from scaling_laws.report.text import NOTHING, Table, with_interval

WIDTH = "half the interval's width over the mean slope"


def _equal(study: StudyTables, laws: Laws) -> Measured | Finding:
    found = slopes(study.of(study.main_family))
    if isinstance(found, str):
        return not_measured(found)
    difference = found.in_N - found.in_D
    ends = interval(difference)
    mean = abs(float(found.in_N[0] + found.in_D[0])) / 2
    width = np.inf if None in ends else (ends[1] - ends[0]) / 2 / mean  # type: ignore[operator]
    context = f"{found.in_N[0]:.3f} per e-fold of N, {found.in_D[0]:.3f} of D; {WIDTH}: {width:.2f}"
    return Measured(value=float(difference[0]), interval=ends, context=context, limited={WIDTH: float(width)})


def _logarithm(study: StudyTables, laws: Laws) -> Measured | Finding:
    return _ratio(study, lambda found: (found.by_logarithm, found.by_power))


def _split(study: StudyTables, laws: Laws) -> Measured | Finding:
    return _ratio(study, lambda found: (found.by_power, found.by_both))


def _ratio(study: StudyTables, pair: Callable[[Slopes], tuple[np.ndarray, np.ndarray]]) -> Measured | Finding:

    found = slopes(study.of(study.main_family))
    if isinstance(found, str):
        return not_measured(found)
    one, other = pair(found)
    ratio = one / np.maximum(other, 1e-12)
    context = f"rms errors of {100 * one[0]:.2f} and {100 * other[0]:.2f} %"
    return Measured(value=float(ratio[0]), interval=interval(ratio), context=context)


def by_family(study: StudyTables, laws: Laws) -> Table:
    """The slopes of every family."""
    rows: list[tuple[str, ...]] = []
    for family in study.families:
        found = slopes(study.of(family))
        if isinstance(found, str):
            rows.append((family_name(family), *(NOTHING,) * 4, found))
            continue
        columns = (found.in_log_N, found.in_log_D, found.in_N, found.in_D)
        rows.append((family_name(family), *(_cell(each) for each in columns), str(len(study.of(family)))))
    columns_ = ("family", "ln L in ln N", "ln L in ln D", "L in ln N", "L in ln D", "runs")
    return Table(columns=columns_, rows=tuple(rows), caption="Brackets: 90 % intervals over trainings.")


def _cell(draws: np.ndarray) -> str:
    return with_interval(float(draws[0]), interval(draws))


PAPER = Paper(
    module=__name__,
    title="More Compute Is What You Need",
    citation="Guo 2024 (arXiv 2404.19484)",
    question="Does it matter how compute is split between parameters and tokens?",
    kept_runs="results/cpu",
    fitted=False,
    says=(
        "Public base models of 6 to 72 billion parameters, of several makers, compress text with a loss "
        "that falls by a constant for each doubling of N times D, parameters times tokens. How this "
        "product is split between the two does not matter, says the paper; so a model that is cheap to use "
        "is a small one that is trained for a long time.",
        "An independent fit to 18 of these models gave slopes of -0.031 (in ln N) and -0.030 (in ln D) "
        "bits per character, with standard errors of 0.002 and 0.003: at that scale the claim passes. A "
        "power law did slightly better than the logarithm.",
    ),
    done=(
        "The sharpest test is to let the loss depend on ln N and ln D with a slope each, and to ask "
        "whether the slopes differ. The interval of their difference comes from drawing whole trainings "
        "with replacement, since runs of one training are not independent.",
        "Unless other runs are given (`--runs`), the Transformers of the repository's own study are "
        "judged: up to a few hundred thousand parameters, trained on up to some million tokens.",
    ),
    trust=(
        "The study's networks are ten thousand times smaller than the paper's models. They share data, "
        "tokenizer and recipe, which the paper's models do not: there a difference between slopes can hide "
        "behind differences between makers.",
        "Straight lines in ln N and ln D are rough over a wide range: a floor below the loss bends them. "
        "Equal slopes over one range of N and D do not say that they are equal over another.",
        "The paper's own table of models is not part of this project. To judge it, give a table with N, D "
        "and loss.",
    ),
    claims=(
        Claim(
            slug="slopes-in-size-and-data-are-equal",
            text="The loss falls as fast with parameters as with tokens",
            source="main law",
            quantity="slope of L in ln N minus that in ln D",
            paper="0 (an independent fit: -0.001)",
            method="L = b + a ln N + c ln D.",
            confirmed=(0.0, 0.0),
            limits=(Limit(name=WIDTH, words=f"{WIDTH} is at most {{most:g}}", most=0.5),),
            measure=_equal,
        ),
        Claim(
            slug="split-of-compute-does-not-matter",
            text="At a given compute its split between parameters and tokens does not matter",
            source="main law",
            quantity="rms error of a power of N D, over that of powers of N and D",
            paper="about 1",
            confirmed=(-np.inf, 1.1),
            measure=_split,
        ),
        Claim(
            slug="logarithm-of-compute-is-as-good",
            text="A logarithm of compute describes the loss as well as a power law",
            source="main law",
            quantity="rms error of a logarithm of N D, over that of a power",
            paper="about 1",
            confirmed=(-np.inf, 1.1),
            measure=_logarithm,
        ),
    ),
    tables=lambda study, laws: {"Slopes": by_family(study, laws)},
)

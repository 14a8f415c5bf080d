"""Choshen, Zhang & Andreas 2024: how to estimate a scaling law."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.choshen2024.checkpoints import RESAMPLES, SAFE, USES, CheckpointTables, Use
from scaling_laws.report.claims import Claim, Finding, Measured, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, short

OVER_TRAININGS = "The interval is a bootstrap over the trainings of the smaller sizes."


def _difference(tables: CheckpointTables, use: Use) -> Measured | Finding:
    """Error with some checkpoints less that without the first tenth, per cent of the loss."""
    errors = tables.errors
    if isinstance(errors, str):
        return not_measured(errors)
    value, interval = errors.with_interval(use, less="cut")
    words = " and ".join(f"{100 * errors.by_use[each]:.1f} % with {USES[each]}" for each in (use, "cut"))
    return Measured(value=100 * value, interval=_in_percent(interval), context=words)


def _expected(tables: CheckpointTables, laws: Laws) -> Measured | Finding:
    errors = tables.errors
    if isinstance(errors, str):
        return not_measured(errors)
    value, interval = errors.with_interval("cut")
    context = (
        f"{len(errors.ladder.sizes) - 1} smaller sizes; a guess without a fit: {100 * errors.best_seen:.1f} %"
    )
    return Measured(value=100 * value, interval=_in_percent(interval), context=context)


def _five(tables: CheckpointTables, laws: Laws) -> Measured | Finding:
    """What more sizes than five gain, at the same largest size."""
    errors = tables.errors
    if isinstance(errors, str):
        return not_measured(errors)
    if not errors.gains:
        return not_measured(f"no size is predicted from more than {SAFE} smaller ones")
    gains = 100 * np.mean(list(errors.gains.values()), axis=0)
    context = f"{len(errors.gains)} scale-ups: " + ", ".join(
        f"{100 * each[0]:.2f} at {scale_up:.3g}" for scale_up, each in errors.gains.items()
    )
    return Measured(value=float(gains[0]), interval=percentile_interval(gains[1:]), context=context)


def _own_end(tables: CheckpointTables, laws: Laws) -> Measured | Finding:
    errors = tables.errors
    if isinstance(errors, str):
        return not_measured(errors)
    known = 100 * errors.own_ends[np.isfinite(errors.own_ends)]
    if not len(known):
        return not_measured("the first thirds of the curves have too few checkpoints")
    drawn = np.random.default_rng(0).choice(known, size=(1_000, len(known)))
    context = f"{len(known)} sizes, the worst {known.max():.1f} %"
    interval = percentile_interval(np.median(drawn, axis=1))
    return Measured(value=float(np.median(known)), interval=interval, context=context)


def _in_percent(interval: Interval) -> Interval:
    low, high = (None if end is None else 100 * end for end in interval)
    return low, high


def ladder_table(tables: CheckpointTables, laws: Laws) -> Table:
    """The sizes, and how well each one's end follows from its own first third."""
    columns = ("N", "checkpoints", "tokens", "last loss", "error of its end from its first third")
    errors = tables.errors
    if isinstance(errors, str):
        return Table(columns=columns, rows=(), caption=errors)
    rows = []
    for N, error in zip(errors.ladder.sizes, errors.own_ends, strict=True):
        curve = errors.ladder.of([N])
        last = curve.iloc[-1]
        shown = f"{100 * error:.1f} %" if np.isfinite(error) else "too few checkpoints"
        rows.append((short(N), str(len(curve)), short(last["D"]), f"{last['loss']:.3f}", shown))
    return Table(columns=columns, rows=tuple(rows))


PAPER = Paper(
    module=__name__,
    title="A Hitchhiker's Guide to Scaling Law Estimation",
    citation="Choshen, Zhang & Andreas 2024 (arXiv 2410.11840)",
    question="Which trainings, and which of their checkpoints, does one need to predict a larger network?",
    kept_runs="results/cpu",
    fitted=False,
    evidence=CheckpointTables,
    says=(
        "From 485 published models of more than 40 families the paper fits L = E + A/N^α + B/D^β to the "
        "smaller sizes of each family, and predicts the largest. The error is the mean distance from the "
        "measured loss, in per cent, over the last 30 % of the largest one's training.",
        "Its advice: use checkpoints from the whole training, not the last alone, but without the first "
        "tenth. Five sizes are a safe number. Expect an error of 4 % at best. The end of a training can "
        "be predicted from its own first third.",
    ),
    done=(
        "The longest run of each size of one family is a model, and each evaluation on its curve a "
        "checkpoint. The law is fitted by least squares of the loss, as in the paper, but with a search "
        "that finds the lowest sum of squares wherever it lies. The figure shows the error for each number "
        "of sizes (counted down from the largest that is used) and each scale-up, with lines of equal "
        "training cost.",
        "Unless other runs are given (`--runs`: a study, or a table in which each row is a checkpoint), the "
        "Transformers of the repository's own study are judged.",
    ),
    trust=(
        "The intervals are 90 %: each smaller size's training gets a random weight, with all of its "
        f"checkpoints, {RESAMPLES} times (the Bayesian bootstrap), since checkpoints of one training follow "
        "each other closely. They show how certain the fit is, and say nothing about the largest size, "
        "which was trained only once. The rules are older than these intervals: they were written when "
        "intervals were ranges.",
        "The networks of the study cool their learning rate down over the last fifth of the training, "
        "which bends the curves just where they are predicted: the law does not know about it. This "
        "affects the prediction of a training's own end most.",
        "On a public table of OPT models (six sizes, 125 million to 175 billion parameters, 142 "
        "checkpoints; not part of this project) the same code gives 5.0 % with all checkpoints, 3.0 % "
        "without the first tenth and 10.2 % with the last ones alone, as the paper says. E goes to zero "
        "there: a fit that predicts well need not know its parameters.",
    ),
    claims=(
        Claim(
            slug="whole-curves-beat-last-checkpoints",
            text="All checkpoints but the first tenth predict better than the last ones alone",
            source="which checkpoints to use",
            quantity="error with the last checkpoints alone minus that without the first tenth, %",
            paper="above 0",
            method=OVER_TRAININGS,
            confirmed=(0.0, np.inf),
            measure=lambda tables, laws: _difference(tables, "final"),
        ),
        Claim(
            slug="the-first-tenth-harms",
            text="Without the first tenth of each training the prediction is better",
            source="which checkpoints to use",
            quantity="error with all checkpoints minus that without the first tenth, %",
            paper="above 0",
            method=OVER_TRAININGS,
            confirmed=(0.0, np.inf),
            measure=lambda tables, laws: _difference(tables, "all"),
        ),
        Claim(
            slug="five-sizes-suffice",
            text="Five sizes suffice",
            source="number of models",
            quantity="error with five sizes minus the lowest with more, % of the loss",
            paper="about 0",
            method=f"At the same largest size. {OVER_TRAININGS}",
            confirmed=(-np.inf, 1.0),
            measure=_five,
        ),
        Claim(
            slug="four-per-cent-to-expect",
            text="At best, expect an error of 4 %",
            source="abstract",
            quantity="error without the first tenth, % of the loss",
            paper="4",
            method=f"Within a factor of two. {OVER_TRAININGS}",
            confirmed=(2.0, 8.0),
            measure=_expected,
        ),
        Claim(
            slug="first-third-predicts-the-end",
            text="The end of a training can be predicted from its first third",
            source="a model's own loss",
            quantity="error of the last 30 %, median over sizes, % of the loss",
            paper="about 4",
            method="The interval is a bootstrap over sizes.",
            confirmed=(-np.inf, 5.0),
            measure=_own_end,
        ),
    ),
    tables=lambda tables, laws: {"Sizes": ladder_table(tables, laws)},
)

"""Droppo & Elibol 2021: acoustic models."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.intervals import percentile_interval
from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.droppo2021.acoustic_runs import FAMILIES, AcousticRuns, acoustic_runs, draws_of
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, short, with_interval

SAME = 0.05
"""So near 0, ln of the ratio of two irreducible losses counts as none."""


def _falls(study: AcousticRuns | str, by: str) -> Measured | Finding:
    """Slope of ln loss: in ln N with the most hours, or in ln hours with the largest networks."""
    if isinstance(study, str):
        return not_measured(study)
    x, y, groups = [], [], []
    for family in FAMILIES:
        N, hours, loss = study.of(family)
        chosen = hours == hours.max() if by == "size" else N.max() == N
        x += list(np.log(N if by == "size" else hours)[chosen])
        y += list(np.log(loss[chosen]))
        groups += [family] * int(chosen.sum())
    line = line_through(x, y, groups)
    context = f"{len(x)} runs of {len(FAMILIES)} families, one slope for both"
    return Measured(value=line.slope, interval=line.interval, context=context)


def _size(study: AcousticRuns | str, laws: Laws) -> Measured | Finding:
    return _falls(study, "size")


def _hours(study: AcousticRuns | str, laws: Laws) -> Measured | Finding:
    return _falls(study, "hours")


def _shared(study: AcousticRuns | str, laws: Laws) -> Measured | Finding:
    """ln of the LSTM's irreducible loss over the Transformer's, each of a law of its own."""
    if isinstance(study, str):
        return not_measured(study)
    floors = []
    for place, family in enumerate(FAMILIES):
        fit = study.law(family)
        drawn = draws_of(fit, seed=place)
        if drawn is None or fit.law is None:
            return inconclusive(f"the {family}'s law is not identified: {fit.reason}")
        floors.append((float(fit.law.L_inf), np.asarray(drawn.draws.L_inf)))
    (lstm, of_lstm), (transformer, of_transformer) = floors
    context = f"L_inf {lstm:.3f} by LSTM, {transformer:.3f} by Transformer"
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw may have none
        ratio = np.log(of_lstm) - np.log(of_transformer)
    return Measured(
        value=float(np.log(lstm / transformer)), interval=percentile_interval(ratio), context=context
    )


def laws_table(study: AcousticRuns | str, laws: Laws) -> Table:
    """The parameters of Droppo's form by family."""
    names = ("L_inf", "N_c", "D_c", "alpha_N", "alpha_D", "a")
    columns = ("family", "runs", *names, "identified")
    if isinstance(study, str):
        return Table(columns=columns, rows=(), caption=study)
    rows = []
    for place, family in enumerate(FAMILIES):
        fit = study.law(family)
        drawn = draws_of(fit, seed=place)
        cells = []
        for name in names:
            value = None if fit.law is None else float(getattr(fit.law, name))
            draws = None if drawn is None else percentile_interval(getattr(drawn.draws, name))
            cells.append(with_interval(value, draws))
        rows.append((family, str(fit.rows.n), *cells, "yes" if fit.identified else f"no: {fit.reason}"))
    return Table(columns=columns, rows=tuple(rows), caption="D in hours. Brackets: 90 % intervals.")


def runs_table(study: AcousticRuns | str, laws: Laws) -> Table:
    """Every run."""
    columns = ("family", "N", "hours", "loss")
    if isinstance(study, str):
        return Table(columns=columns, rows=(), caption=study)
    rows = tuple(
        (family, short(N), f"{hours:.3f}", f"{loss:.4f}")
        for family, N, hours, loss in zip(study.family, study.N, study.hours, study.loss, strict=True)
    )
    return Table(
        columns=columns, rows=rows, caption="Loss: mean absolute error, in standard deviations of a band."
    )


def extent(study: AcousticRuns | str) -> str:
    """Scale, runs and hours."""
    if isinstance(study, str):
        return f"Nothing was trained: {study}."
    spoken = f", {study.spoken_share:.0%} of it spoken by a program" if study.spoken_share else ""
    sizes = f"{short(float(study.N.min()))} to {short(float(study.N.max()))}"
    return (
        f"Scale {study.scale}: {len(study.loss)} runs of N = {sizes}, "
        f"on {study.hours.min():.2g} to {study.hours.max():.2g} hours of speech{spoken}."
    )


PAPER = Paper(
    module=__name__,
    title="Scaling Laws for Acoustic Models",
    citation="Droppo & Elibol 2021 (arXiv 2106.09488)",
    question="Do models of speech follow power laws in parameters and hours, down to one irreducible loss?",
    experiment=acoustic_runs,
    budget={"smoke": "1 core-minute", "cpu": "20 core-minutes"},
    extent=extent,
    fitted=False,
    says=(
        "Networks that predict a later frame of speech have a loss that falls as a power of their parameters "
        "and of the hours that they are trained on, towards an irreducible loss. One form, Kaplan's "
        "with an irreducible loss inside, holds for LSTMs and for causal Transformers; since the data are "
        "the same, so is the irreducible loss.",
    ),
    done=(
        "The recordings are Debian's package asterisk-core-sounds-en-wav: 25 minutes of one speaker at 8 "
        "kHz. Beyond scale smoke, espeak-ng adds an hour of speech by nine voices: paragraphs of Python's "
        "own reference, each spoken once. All of it is converted to 40 log-Mel bands at 100 frames a "
        "second. LSTMs and Transformers with two layers see the frames so far and predict the one 30 ms "
        "ahead; the loss is the mean absolute error. They are trained on all recordings and on halves, "
        "quarters and so on of them, and stop early where the loss on other recordings rises.",
        "Data, networks and loss are classes of the paper's own folder that are named in the runs' "
        "configurations; the program itself knows nothing about speech.",
    ),
    trust=(
        "The paper has 23,000 hours of many speakers. These runs have less than half an hour of one "
        "speaker, or an hour and a half that is mostly spoken by a program. Networks and hours span one to "
        "two decades.",
        "Each network was trained once, at one learning rate a family, on the same order of recordings. "
        "The intervals describe the fits alone.",
    ),
    claims=(
        Claim(
            slug="speech-loss-falls-with-size",
            text="The loss on speech falls with the number of parameters",
            source="section 4",
            quantity="slope of ln loss in ln N, with all hours",
            paper="below 0",
            confirmed=(-np.inf, 0.0),
            measure=_size,
        ),
        Claim(
            slug="speech-loss-falls-with-hours",
            text="The loss on speech falls with the hours of speech",
            source="section 4",
            quantity="slope of ln loss in ln hours, of the largest networks",
            paper="below 0",
            confirmed=(-np.inf, 0.0),
            measure=_hours,
        ),
        Claim(
            slug="lstm-and-transformer-share-the-irreducible-loss",
            text="LSTM and Transformer follow the law with one irreducible loss",
            source="section 4",
            quantity="ln of the LSTM's irreducible loss over the Transformer's",
            paper="0",
            method="Each family has a law of its own, of the paper's form.",
            confirmed=(-SAME, SAME),
            measure=_shared,
        ),
    ),
    tables=lambda study, laws: {"Laws": laws_table(study, laws), "Runs": runs_table(study, laws)},
)

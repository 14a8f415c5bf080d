"""Claims about the loss at each position of the context (Kaplan 2020, section 3.2.1, D.5)."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.intervals import percentile_interval
from scaling_laws.laws.fit.straight_line import mean_interval
from scaling_laws.laws.forms.single import Position
from scaling_laws.laws.positions import PositionLosses
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.kaplan2020.figures.size_at_positions import of_two_contexts
from scaling_laws.report.by_position import drawn_folds
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, inconclusive, not_measured
from scaling_laws.report.study_tables import StudyTables

LEAST_FALL = 1.0
"""Per cent of the loss: from the first half of the context to the second."""
RMS = "rms distance from the law beyond sampling error, per cent"
CONSTANT = "the lower end of a"
EARLY = 8
"""Positions: the short context of `configs/sweeps/context.yaml`."""


def _later_fall(losses: PositionLosses, drawn: np.ndarray) -> np.ndarray:
    """Nats by which the second half of the context is easier than the second quarter, a row a draw."""
    end = losses.T.max()
    mean = losses.mean(drawn)
    quarter = (end / 4 < losses.T) & (end / 2 >= losses.T)
    return np.asarray(mean[:, quarter].mean(axis=1) - mean[:, end / 2 < losses.T].mean(axis=1))


def _lstm(tables: StudyTables, laws: Laws) -> Measured | Finding:
    late = laws.late_positions
    known = tables.position_losses
    pairs = [
        (known[pair.transformer_run], known[pair.lstm_run])
        for pair in late.pairs
        if pair.transformer_run in known and pair.lstm_run in known
    ]
    if not pairs:
        return not_measured(late.reason or "no losses by position")
    n_folds = min(of.n_folds for pair in pairs for of in pair)
    if n_folds < 2:
        return inconclusive("the losses are not split by folds of documents")
    drawn = np.concatenate([np.ones((1, n_folds)), drawn_folds(n_folds)])
    transformer, lstm = (
        np.mean([_later_fall(pair[which], drawn) for pair in pairs], axis=0) for which in (0, 1)
    )
    of_transformer = percentile_interval(transformer[1:])
    context = f"{len(pairs)} pairs; the Transformers' loss falls by {transformer[0]:.3f} nats"
    if of_transformer[0] is None or of_transformer[0] <= 0:
        if of_transformer[1] is not None and of_transformer[1] < lstm[0]:
            return Finding(verdict="contradicted", why=f"less than the LSTMs' {lstm[0]:.3f}; {context}")
        return inconclusive(context)
    ratio = lstm / transformer
    return Measured(value=float(ratio[0]), interval=percentile_interval(ratio[1:]), context=context)


def _position_law(tables: StudyTables, laws: Laws) -> Measured | Finding:
    known = tables.position_losses
    fits = [fit for fit in laws.positions if fit.family == tables.main_family and fit.run in known]
    if not fits:
        return not_measured("no losses by position")
    fit = max(fits, key=lambda each: each.N)
    losses = known[fit.run]
    mean = losses.mean()
    half = losses.T.max() / 2
    fall = 100 * (1 - float(mean[half < losses.T].mean() / mean[half >= losses.T].mean()))
    if fall < LEAST_FALL:
        why = f"the second half of the context is easier by {fall:.2g} % only"
        return Finding(verdict="contradicted", why=why)
    if not fit.identified:
        return inconclusive(fit.reason)
    law = Position(**{name: value for name, value in fit.parameters.items() if value is not None})
    if losses.n_folds < 2:
        return inconclusive(
            "the losses are not split by folds of documents, so their sampling error is unknown"
        )
    rms, sampling = _distance(losses, law)
    value, interval = float(law.c), fit.intervals.get("c", (None, None))
    constant = fit.intervals.get("a", (None, None))
    context = (
        f"N = {fit.N:.3g}, {rms:.2g} % from the law beyond the sampling error of {sampling:.2g} %, "
        f"a = {law.a:.2f} nats"
    )
    limited = {RMS: rms, CONSTANT: -np.inf if constant[0] is None else constant[0]}
    return Measured(value=value, interval=interval, context=context, limited=limited)


def _distance(losses: PositionLosses, law: Position) -> tuple[float, float]:
    """Per cent, rms over bins of positions: from the law beyond what sampling explains, and what it explains.

    A single position's mean is known within some per cent, whatever is trained: the second bin is twice as
    wide as the first, and so on. What the documents do to all positions alike the law's constants take up.
    """
    edges = 2.0 ** np.arange(np.ceil(np.log2(losses.T.max())) + 1)
    bins = np.searchsorted(edges, losses.T)
    members = (bins == np.unique(bins)[:, None]).astype(float)
    expected = members @ np.asarray(law.loss(losses.T)) / members.sum(axis=1)

    def off(drawn: np.ndarray) -> np.ndarray:
        """ln of each bin's mean loss over the law's, less the mean over bins, (draws, bins)."""
        measured = (losses.mean(drawn) @ members.T) / members.sum(axis=1)
        log_ratio = np.log(measured / expected)
        return np.asarray(log_ratio - log_ratio.mean(axis=1, keepdims=True))

    n = losses.n_folds
    variance = off(drawn_folds(n)).var(axis=0).mean() * n / (n - 1)
    distance = float(np.mean(off(np.ones((1, n))) ** 2))
    return 100 * float(np.sqrt(max(distance - variance, 0.0))), 100 * float(np.sqrt(variance))


def _short_context(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    runs = of_two_contexts(tables)
    if runs.empty or runs["n_ctx"].nunique() < 2:
        return not_measured("the networks have one context")
    short, long = runs["n_ctx"].min(), runs["n_ctx"].max()
    early: dict[tuple[int, float], list[float]] = {}
    for run, N, n_ctx in runs[["run", "N", "n_ctx"]].itertuples(index=False):
        losses = tables.position_losses.get(run)
        if losses is not None:
            early.setdefault((n_ctx, float(N)), []).append(losses.mean()[losses.T <= EARLY].mean())
    sizes = sorted(N for n_ctx, N in early if n_ctx == short and (long, N) in early)
    differences = [100 * np.log(np.mean(early[short, N]) / np.mean(early[long, N])) for N in sizes]
    if not differences:
        return not_measured("no size was trained with both contexts and left losses by position")
    value, interval = mean_interval(differences)
    context = f"contexts of {short} and {long} tokens at {len(sizes)} sizes, positions 1 to {EARLY}"
    return Measured(value=value, interval=interval, context=context)


CLAIMS = (
    Claim(
        slug="lstm-and-late-context",
        text="An LSTM makes no use of late context; a Transformer keeps improving over it",
        source="section 3.2.1, Fig. 7",
        quantity="fall of the loss from the second quarter to the second half of the context, LSTM over "
        "Transformer",
        paper="near 0 beyond 100 tokens",
        method="An LSTM and a Transformer of the same size and horizon make a pair; the interval resamples "
        "folds of documents. Where the Transformers' own fall is not above 0, the verdict is inconclusive.",
        confirmed=(-np.inf, 0.5),
        contradicted_if="the Transformers' fall is not above 0 and lies below the LSTMs'",
        needs="families",
        measure=_lstm,
    ),
    Claim(
        slug="loss-by-position",
        text="The loss at position T is a constant plus a power of T",
        source="D.5, Fig. 20",
        quantity="c of a + b T^-c, the largest network",
        paper="0.62",
        method="Losses are averaged over bins of positions, each twice as wide as the last; the sampling "
        "error comes from resampled folds of documents.",
        confirmed=(0.0, np.inf),
        limits=(
            Limit(
                name=RMS,
                words="the losses lie within {most:g} % (rms) of the law beyond their sampling error",
                most=1.0,
                always=True,
            ),
            Limit(name=CONSTANT, words="the interval of a lies above 0", least=1e-9, always=True),
        ),
        contradicted_if="the second half of the context is easier than the first by less than "
        f"{LEAST_FALL:g} %",
        needs="size",
        measure=_position_law,
    ),
    Claim(
        slug="short-context-at-early-positions",
        text="A network with a short context is better at early positions",
        source="D.5, Fig. 21",
        quantity="loss at positions 1 to 8 relative to a long context, per cent",
        paper="below 0",
        method="The mean over the sizes that were trained with both contexts, at equal tokens.",
        caveat="It can hardly fail: a network with a short context trains on nothing else.",
        confirmed=(-np.inf, 0.0),
        needs="context",
        measure=_short_context,
    ),
)

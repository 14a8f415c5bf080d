"""Loss against the position in the context: one law a run, and what an LSTM loses at late positions.

Losses come as sums and counts in folds of documents, so that they pool exactly. Documents are what varies:
intervals come from resampling the folds, and hold the trained network fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, percentile_interval, refit, why_uncertain
from scaling_laws.laws.fit.level import interval_level
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.single import Position
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.selection import SAME_HORIZON

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 200
LARGEST_SIZE_FACTOR = 1.6
"""Two networks are of one size if their N differ by no more than this factor."""


@dataclass(frozen=True, kw_only=True)
class PositionLosses:
    """One run's losses on one corpus.

    Attributes:
        T: (positions,): 1-based.
        loss_sum: (folds, positions): nats.
        count: (folds, positions): tokens.
    """

    T: FloatArray
    loss_sum: FloatArray
    count: FloatArray

    @property
    def n_folds(self) -> int:
        return len(self.loss_sum)

    def mean(self, drawn: FloatArray | None = None) -> FloatArray:
        """Mean loss at each position, (positions,).

        With `drawn`, (S, folds): each fold that many times, (S, positions).
        """
        times = np.ones(self.n_folds) if drawn is None else drawn
        return np.asarray((times @ self.loss_sum) / (times @ self.count))


@dataclass(frozen=True, kw_only=True)
class PositionLaw:
    """L(T) = a + b T^-c of one run, with 90 % intervals from the folds.

    Where it is not identified they are empty, and `reason` says why.
    """

    fit: Fit[Position]
    intervals: dict[str, Interval]
    interval_method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LatePair:
    """Mean loss over late positions, the LSTM's less the Transformer's, nats per token."""

    transformer_run: str
    lstm_run: str
    N_transformer: float
    N_lstm: float
    difference_nats: float
    interval: Interval | None


def losses_by_run(table: pd.DataFrame, corpus: str) -> dict[str, PositionLosses]:
    """Each run's final losses on one corpus.

    Args:
        table: columns run, corpus, fold, position, loss_sum_nats, count, one evaluation a run.
    """
    losses = {}
    for run, rows in table[table["corpus"] == corpus].groupby("run"):
        folds, fold = np.unique(rows["fold"], return_inverse=True)
        T, position = np.unique(rows["position"].to_numpy(dtype=np.float64), return_inverse=True)
        loss_sum, count = np.zeros((2, len(folds), len(T)))
        np.add.at(loss_sum, (fold, position), rows["loss_sum_nats"].to_numpy(dtype=np.float64))
        np.add.at(count, (fold, position), rows["count"].to_numpy(dtype=np.float64))
        kept = (count > 0).all(axis=0)  # a position that a fold lacks cannot be resampled
        losses[str(run)] = PositionLosses(T=T[kept], loss_sum=loss_sum[:, kept], count=count[:, kept])
    return losses


def fit_positions(
    losses: PositionLosses, *, delta: float = DEFAULT_DELTA, resamples: int = RESAMPLES, seed: int = 0
) -> PositionLaw:
    """Fit the position law to the pooled losses, and to resampled folds."""
    fit = fit_law(Position, make_rows({"T": losses.T}, losses.mean()), delta=delta)
    if not fit.identified or losses.n_folds < 2:
        method = "" if losses.n_folds > 1 else "none: the losses are in one fold"
        return PositionLaw(fit=fit, intervals={}, interval_method=method, reason=fit.reason)
    problem = fit.problem
    resampled = replace(problem, log_loss=np.log(losses.mean(_drawn(losses.n_folds, resamples, seed))))
    draws = fit.coordinates.law(refit(fit, resampled, resamples))
    intervals = {name: percentile_interval(values) for name, values in vars(draws).items()}
    reason = why_uncertain(Position, intervals)
    return PositionLaw(
        fit=fit,
        intervals={} if reason else intervals,
        reason=reason,
        interval_method=f"bootstrap over {losses.n_folds} folds of documents ({resamples} resamples)",
    )


def late_difference(
    transformer: PositionLosses, lstm: PositionLosses, position_from: int, *, seed: int = 0
) -> tuple[float, Interval | None]:
    """Mean over positions >= `position_from` of the LSTM's loss less the Transformer's, and its interval.

    The bootstrap is paired: both networks are scored on the same folds in every resample.
    """
    if not np.array_equal(transformer.T, lstm.T) or transformer.n_folds != lstm.n_folds:
        raise ValueError("the two runs were not evaluated at the same positions and folds")
    late = position_from <= transformer.T
    n_folds = transformer.n_folds
    drawn = np.concatenate([np.ones((1, n_folds)), _drawn(n_folds, 10 * RESAMPLES, seed)])
    difference = (lstm.mean(drawn) - transformer.mean(drawn))[:, late].mean(axis=1)
    return float(difference[0]), percentile_interval(difference[1:]) if n_folds > 1 else None


def on_resampled_text(losses: Sequence[PositionLosses], *, seed: int = 0) -> FloatArray | None:
    """Each run's mean loss on resampled folds of documents over that on all of them, (S, runs).

    The folds are drawn alike for all runs, which were scored on the same text. None where the losses are in
    one fold, or not in the same ones.
    """
    counts = {each.n_folds for each in losses}
    if len(counts) != 1 or counts == {1}:
        return None
    drawn = _drawn(counts.pop(), RESAMPLES, seed)
    means = [(drawn @ each.loss_sum.sum(axis=1)) / (drawn @ each.count.sum(axis=1)) for each in losses]
    whole = [each.loss_sum.sum() / each.count.sum() for each in losses]
    shares: FloatArray = np.stack(means, axis=1) / np.array(whole)
    return shares


def widened_by_text(value: float, interval: Interval, draws: FloatArray) -> Interval:
    """An interval that holds the held-out text fixed, with the text's own sampling error added.

    Args:
        value: what the interval is of.
        draws: the same quantity on resampled text, (S,).
    """
    half = NormalDist().inv_cdf(0.5 + interval_level() / 2) * float(np.std(draws))
    low, high = interval
    return (
        None if low is None else value - float(np.hypot(value - low, half)),
        None if high is None else value + float(np.hypot(high - value, half)),
    )


def late_pairs(
    runs: pd.DataFrame, losses: dict[str, PositionLosses], *, seed: int = 0
) -> tuple[int | None, list[LatePair], str]:
    """Compare every LSTM with the Transformer of nearest size, at the longest horizon that both have.

    Args:
        runs: columns run, family, N, D.
        losses: by run.

    Returns:
        The first late position (late = the second half of the context), the pairs, and, where there are
        none, why.
    """
    known = runs[runs["run"].isin(list(losses))]
    transformers, lstms = known[known["family"] == "transformer"], known[known["family"] == "lstm"]
    for family, members in (("Transformer", transformers), ("LSTM", lstms)):
        if members.empty:
            return None, [], f"LSTM and Transformer are compared, and no {family} left losses by position"
    position_from = int(max(of_run.T.max() for of_run in losses.values())) // 2 + 1
    pairs = []
    for _, members in lstms.groupby("N"):
        match = _match(members, transformers)
        if match is None:
            continue
        lstm, transformer = match
        of_transformer, of_lstm = losses[str(transformer["run"])], losses[str(lstm["run"])]
        if not np.array_equal(of_transformer.T, of_lstm.T) or of_transformer.n_folds != of_lstm.n_folds:
            continue
        difference, interval = late_difference(of_transformer, of_lstm, position_from, seed=seed)
        pairs.append(
            LatePair(
                transformer_run=str(transformer["run"]),
                lstm_run=str(lstm["run"]),
                N_transformer=float(transformer["N"]),
                N_lstm=float(lstm["N"]),
                difference_nats=difference,
                interval=interval,
            )
        )
    reason = (
        "" if pairs else f"no LSTM and Transformer within a factor {LARGEST_SIZE_FACTOR} in N at one horizon"
    )
    return position_from, pairs, reason


def _match(lstms: pd.DataFrame, transformers: pd.DataFrame) -> tuple[pd.Series, pd.Series] | None:
    """(LSTM, Transformer): the nearest in ln N, of them the longest common horizon."""
    distance = np.abs(np.log(transformers["N"] / lstms["N"].iloc[0]))
    for gap in sorted(distance[distance <= np.log(LARGEST_SIZE_FACTOR)].unique()):
        nearest = transformers[distance == gap]
        for _, lstm in lstms.sort_values(["D", "run"], ascending=[False, True]).iterrows():
            same = nearest[np.abs(np.log(nearest["D"] / lstm["D"])) <= SAME_HORIZON].sort_values("run")
            if not same.empty:
                return lstm, same.iloc[0]
    return None


def _drawn(n_folds: int, resamples: int, seed: int) -> FloatArray:
    """How often each fold is drawn, (resamples, folds)."""
    random = np.random.default_rng(seed)
    return random.multinomial(n_folds, np.full(n_folds, 1 / n_folds), size=resamples).astype(np.float64)

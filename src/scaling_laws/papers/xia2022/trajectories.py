"""Every token of one text, followed through trainings of all sizes: Xia et al. 2022 (arXiv 2212.09803)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.xia2022.sampled_text import PROMPT, losses_of_sampled_text
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import check_file
from scaling_laws.study.runs import Study

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

FILE_NAME = "probe_losses.npz"
START = 0.1
"""Of a training: trends are judged from here on."""
STAGNANT = (0.95, 1.05)
"""Perplexity at start and end over its geometric mean."""
FEWEST_SIZES, FEWEST_POINTS = 3, 4
DEGREE = 3
"""Of the polynomial through which a token's loss may depend on one quantity."""
RESAMPLES = 500
TRENDS = ("downward", "stagnated", "upward")
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t that a slope must exceed for p < 0.05, by degrees of freedom from one on."""


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Losses of the same tokens at the same steps.

    Attributes:
        N: (S,) sizes, growing.
        tokens: (E,) of training at each evaluation before the learning rate falls.
        losses: (S, E, W, T) nats: sizes, evaluations, windows, tokens of a window.
    """

    N: FloatArray
    tokens: FloatArray
    losses: FloatArray

    @property
    def total(self) -> FloatArray:
        """(S, E): mean loss of the text."""
        return np.asarray(self.losses.mean(axis=(2, 3)))

    @property
    def judged(self) -> NDArray[np.intp]:
        """Evaluations that trends are judged by."""
        return np.flatnonzero(self.tokens >= START * self.tokens[-1])

    def trends(self) -> dict[str, BoolArray]:
        """(S, W, T) for each trend; some tokens have none of the three.

        A line through perplexity over its first value against tokens: upward or downward where its slope is
        significant, else stagnated where start and end are near the geometric mean.
        """
        losses, tokens = self.losses[:, self.judged], self.tokens[self.judged]
        ratio = np.exp(losses - losses[:, :1])
        x = tokens - tokens.mean()
        slope = np.einsum("e,sewt->swt", x, ratio) / (x @ x)
        left = ratio - ratio.mean(axis=1, keepdims=True) - x[:, None, None] * slope[:, None]
        freedom = len(x) - 2
        error = np.sqrt((left**2).sum(axis=1) / freedom / (x @ x))
        critical = STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96 + 2.5 / freedom
        significant = np.abs(slope) > critical * error
        from_mean = np.exp(losses[:, [0, -1]] - losses.mean(axis=1, keepdims=True))
        near = ((from_mean >= STAGNANT[0]) & (from_mean <= STAGNANT[1])).all(axis=1)
        return {
            "downward": significant & (slope < 0),
            "stagnated": ~significant & near,
            "upward": significant & (slope > 0),
        }

    def explained(self, by: FloatArray) -> FloatArray:
        """(2, W): squares of the tokens' losses about a cubic in `by` (S, E), and about their own means."""
        x = by.ravel()
        x = (x - x.mean()) / x.std()
        design = np.stack([x**power for power in range(DEGREE + 1)], axis=1)
        y = self.losses.reshape(len(x), -1)
        left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        about = y - y.mean(axis=0)
        shape = (-1, *self.losses.shape[2:])
        return np.stack([(each**2).reshape(shape).sum(axis=(0, 2)) for each in (left, about)])

    def quantities(self) -> Mapping[str, FloatArray]:
        """What may explain a token's loss, (S, E) each."""
        N, tokens = np.broadcast_arrays(np.log(self.N)[:, None], np.log(self.tokens))
        return {"the total loss": self.total, "compute": N + tokens, "tokens": tokens, "size": N}


def drawn_windows(n_windows: int, seed: int = 0) -> FloatArray:
    """(1 + RESAMPLES, W): weights of the windows, whole text first."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(n_windows, np.full(n_windows, 1 / n_windows), size=RESAMPLES)
    return np.concatenate([np.ones((1, n_windows)), drawn])


def interval(draws: FloatArray) -> Interval:
    """90 %, of draws that lead with the estimate."""
    return percentile_interval(draws[1:])


@dataclass(frozen=True, kw_only=True)
class TrajectoryTables(StudyTables):
    """A study's tables, its trajectories, and its losses on sampled text; or why there are none.

    Attributes:
        sampled: (S, W) mean losses of text sampled from the smallest network less the largest, by prompt.
    """

    trajectories: Trajectories | str
    sampled: FloatArray | str

    @classmethod
    def read(cls, study: Study, laws: Laws) -> TrajectoryTables:
        """As `StudyTables.read`."""
        tables = StudyTables.read(study, laws)
        found = _trajectories(tables)
        if isinstance(found, str):
            return cls(**vars(tables), trajectories=found, sampled=found)
        trajectories, folders, windows = found
        try:
            sampled: FloatArray | str = losses_of_sampled_text(folders, windows[:, :PROMPT])
        except InputError as error:
            sampled = str(error)
        return cls(**vars(tables), trajectories=trajectories, sampled=sampled)


def _trajectories(tables: StudyTables) -> tuple[Trajectories, list[Path], NDArray[np.int64]] | str:
    """(trajectories, folders, windows of text) of the longest run of each size, of the commonest depth."""
    runs = tables.of(tables.main_family)
    if runs.empty or "n_layer" not in runs:
        return "there are no runs with a folder of their own"
    depth = runs.groupby("n_layer")["N"].nunique().idxmax()
    runs = runs[(runs["n_layer"] == depth) & (runs["run"] == runs["trunk"])]
    runs = runs[runs["D"] > 0.98 * runs["D"].max()].drop_duplicates("N").sort_values("N")
    records = {record.name: record for record in tables.study.records}
    of_run, N, batch, folders = [], [], [], []
    for run in runs.itertuples(index=False):
        path = tables.study.folder / str(run.run) / FILE_NAME
        if run.run not in records or not path.exists():
            continue
        check_file(path, records[str(run.run)])
        of_run.append(_read(path))
        folders.append(path.parent)
        N.append(float(str(run.N)))
        batch.append(float(str(run.batch_tokens)))
    if len(N) < FEWEST_SIZES:
        return (
            f"{len(N)} sizes have token losses of one text ({FILE_NAME} in the runs' folders); it needs "
            f"{FEWEST_SIZES}: `scaling-laws paper xia2022` trains them"
        )
    first = of_run[0][0]
    if any(not np.array_equal(windows, first) for windows, _, _ in of_run):
        return "the sizes were probed on different texts"
    steps = of_run[0][1]
    for _, others, _ in of_run:
        steps = np.intersect1d(steps, others)
    cooldown = float(runs["cooldown_share"].fillna(0).max()) if "cooldown_share" in runs else 0.0
    kept = steps[steps <= (1 - cooldown) * steps[-1]] if len(steps) else steps
    losses = np.stack([losses[np.isin(own, kept)] for _, own, losses in of_run]).astype(np.float64)
    found = Trajectories(N=np.array(N), tokens=np.asarray(kept * batch[0], dtype=np.float64), losses=losses)
    if len(kept) < FEWEST_POINTS or len(found.judged) < FEWEST_POINTS:
        return f"the sizes share fewer than {FEWEST_POINTS} evaluations after the first tenth of the training"
    return found, folders, first


def _read(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """(windows, steps, losses) of one run."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            windows, steps, losses = (content[name] for name in ("windows", "steps", "loss_nats"))
        if (
            losses.shape != (len(steps), windows.shape[0], windows.shape[1] - 1)
            or not np.isfinite(losses).all()
        ):
            raise ValueError("its tables do not fit each other")
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ({error}); delete the run's folder to train it again") from error
    return windows, steps, losses

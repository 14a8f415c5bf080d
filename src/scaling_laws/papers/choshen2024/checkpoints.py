"""Checkpoints of a ladder of sizes, and how well the smaller predict the largest (Choshen et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.choshen2024.least_squares import FloatArray, fit_additive
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.runs import Study

FLOPS_PER_PARAMETER_TOKEN = 6.0
LATE = 0.7
"""Of its training: the largest size's checkpoints from here on are predicted."""
FIRST = 0.1
"""Of each training: what is cut."""
OWN = 1 / 3
"""Of a training: what its own end is predicted from."""
LENGTH = 0.5
"""A size belongs to the ladder if it was trained on at least this share of the longest training's tokens."""
RESAMPLES, COARSE_GRID, COARSE_ZOOMS = 100, 13, 5
"""Refits behind an interval, and how fine their search is: to about 0.001 of an exponent."""
SAFE = 5
"""Sizes that the paper calls a safe number."""
FEWEST = 3
"""Sizes below the one that is predicted."""

Use = Literal["final", "all", "cut"]
USES: dict[Use, str] = {
    "final": "last checkpoints alone",
    "all": "all checkpoints",
    "cut": "all but the first tenth",
}


@dataclass(frozen=True, kw_only=True)
class SizeLadder:
    """Checkpoints of sizes.

    Attributes:
        table: N, D (tokens), loss; by size and tokens.
    """

    table: pd.DataFrame

    @property
    def sizes(self) -> list[float]:
        return sorted(self.table["N"].unique())

    def of(self, sizes: Iterable[float], use: Use = "all") -> pd.DataFrame:
        """Checkpoints of these sizes."""
        table = self.table[self.table["N"].isin(list(sizes))]
        longest = table.groupby("N")["D"].transform("max")
        if use == "final":
            return table[table["D"] == longest]
        return table[table["D"] > FIRST * longest] if use == "cut" else table

    def cost(self, sizes: Iterable[float]) -> float:
        """FLOPs that training these sizes took: 6 N D."""
        ends = self.of(sizes, "final").drop_duplicates("N")
        return float(FLOPS_PER_PARAMETER_TOKEN * (ends["N"] * ends["D"]).sum())

    def late(self, N: float) -> pd.DataFrame:
        """The checkpoints of a size that are predicted."""
        table = self.of([N])
        late: pd.DataFrame = table[table["D"] >= LATE * table["D"].max()]
        return late

    def error(self, sizes: Iterable[float], use: Use) -> float:
        """Mean |predicted - measured|/measured of the largest size's late checkpoints."""
        return _error(self.of(sizes, use), self.late(self.sizes[-1]))

    def drawn_errors(self, sizes: Iterable[float], use: Use, weights: pd.DataFrame) -> FloatArray:
        """The same with weights of the trainings, a row of `weights` (columns: sizes) each; (draws,)."""
        seen, late = self.of(sizes, use), self.late(self.sizes[-1])
        of_row = weights[seen["N"].to_list()].to_numpy()
        return np.array(
            [_error(seen, late, each, n_grid=COARSE_GRID, n_zooms=COARSE_ZOOMS) for each in of_row]
        )

    def best_seen(self) -> float:
        """The error of a guess without a fit: the lowest loss of the smaller sizes."""
        late, lowest = self.late(self.sizes[-1])["loss"], self.of(self.sizes[:-1])["loss"].min()
        return float((np.abs(lowest - late) / late).mean())

    def own_end(self, N: float) -> float:
        """The error of a size's end, predicted from the first third of its training without its start."""
        table = self.of([N])
        longest = table["D"].max()
        seen = table[(table["D"] <= OWN * longest) & (table["D"] > FIRST * OWN * longest)]
        return _error(seen, self.late(N)) if len(seen) >= FEWEST else np.nan


def _error(seen: pd.DataFrame, late: pd.DataFrame, weights: FloatArray | None = None, **search: int) -> float:
    law = fit_additive(seen["N"], seen["D"], seen["loss"], weights, **search)
    return float((np.abs(law.loss(late["N"], late["D"]) - late["loss"]) / late["loss"]).mean())


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one ladder's largest size.

    Attributes:
        ladder: its checkpoints.
        by_use: with all smaller sizes.
        drawn: the same with random weights of the smaller sizes' trainings (Bayesian bootstrap); (draws,).
        grid: (number of sizes, scale-up, cost in FLOPs, error): sizes counted down from one that is so many
            times smaller than the target; without the first tenth.
        gains: scale-up -> (draws,) error with five sizes less the lowest with more, at the same largest size;
            the estimate first.
        own_ends: by size, from the first third of its own training; NaN where that is too short.
        best_seen: of the guess without a fit.
    """

    ladder: SizeLadder
    by_use: dict[Use, float]
    drawn: dict[Use, FloatArray]
    grid: pd.DataFrame
    gains: dict[float, FloatArray]
    own_ends: FloatArray
    best_seen: float

    def with_interval(self, use: Use, less: Use | None = None) -> tuple[float, Interval]:
        """An error and its 90 % interval, or those of the difference of two uses, which share their draws."""
        value, draws = self.by_use[use], self.drawn[use]
        if less is not None:
            value, draws = value - self.by_use[less], draws - self.drawn[less]
        return value, percentile_interval(draws)


def errors_of(ladder: SizeLadder) -> Errors | str:
    """All errors, or why there are none."""
    *smaller, target = ladder.sizes
    if len(smaller) <= FEWEST:
        return f"{len(ladder.sizes)} sizes have curves of comparable length; it needs {FEWEST + 2}"
    rows = [
        (number, target / top, ladder.cost(used), ladder.error(used, "cut"))
        for place, top in enumerate(smaller, start=1)
        for number in range(2, place + 1)
        for used in [smaller[place - number : place]]
    ]
    random = np.random.default_rng(0)
    weights = pd.DataFrame(random.exponential(size=(RESAMPLES, len(smaller))), columns=smaller)
    grid = pd.DataFrame(rows, columns=["n_sizes", "scale_up", "cost", "error"])
    return Errors(
        ladder=ladder,
        by_use={use: ladder.error(smaller, use) for use in USES},
        drawn={use: ladder.drawn_errors(smaller, use, weights) for use in USES},
        grid=grid,
        gains=_gains(ladder, grid, weights),
        own_ends=np.array([ladder.own_end(N) for N in ladder.sizes]),
        best_seen=ladder.best_seen(),
    )


def _gains(ladder: SizeLadder, grid: pd.DataFrame, weights: pd.DataFrame) -> dict[float, FloatArray]:
    *smaller, target = ladder.sizes
    gains = {}
    for place, top in enumerate(smaller, start=1):
        if place > SAFE:
            of_top = grid[grid["scale_up"] == target / top].set_index("n_sizes")["error"]
            numbers = range(SAFE, place + 1)
            drawn = [ladder.drawn_errors(smaller[place - n : place], "cut", weights) for n in numbers]
            five, *more = (np.array([of_top[n], *each]) for n, each in zip(numbers, drawn, strict=True))
            gains[target / top] = five - np.min(more, axis=0)
    return gains


@dataclass(frozen=True, kw_only=True)
class CheckpointTables(StudyTables):
    """A study's tables, and the errors on its ladder, or why there are none."""

    errors: Errors | str

    @classmethod
    def read(cls, study: Study, laws: Laws) -> CheckpointTables:
        """As `StudyTables.read`."""
        tables = StudyTables.read(study, laws)
        ladder = _ladder(tables)
        return cls(**vars(tables), errors=ladder if isinstance(ladder, str) else errors_of(ladder))


def _ladder(tables: StudyTables) -> SizeLadder | str:
    """Curves of the longest run of each size; of a table without curves, its rows."""
    runs = tables.of(tables.main_family)
    if runs.empty:
        return "there are no runs"
    if tables.curves.empty:  # a table: each row is a checkpoint
        points = runs[["N", "D", "loss"]]
    else:
        longest = runs.loc[runs.groupby("N")["D"].idxmax()]
        curves = tables.curves_of(longest)
        if curves.empty:
            return "the runs have no curves of the test loss"
        points = curves.rename(columns={"tokens": "D"})[["N", "D", "loss"]]
    ends = points.groupby("N")["D"].transform("max")
    points = points[ends >= LENGTH * ends.max()]
    return SizeLadder(table=points.sort_values(["N", "D"]).reset_index(drop=True))

"""One family's tables, and what the analysis chose: what every part of `laws.json` is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling_laws.laws.fit.noise import SeedNoise

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one analysis chose: see `study.fit_study`."""

    n: str
    c: str
    delta: float
    resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class FamilyTables:
    """The runs of one family.

    Attributes:
        family: its name.
        complete: every complete run, with the columns of the run table.
        runs: those that a law may use (`selection.usable_runs`), N and C in the chosen conventions.
        curves: run, step, tokens, learning_rate, loss, ... of the complete runs; None where there are none.
        noise: between seeds.
        settings: of the analysis.
    """

    family: str
    complete: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame | None
    noise: SeedNoise
    settings: Settings

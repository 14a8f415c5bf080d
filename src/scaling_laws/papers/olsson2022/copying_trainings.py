"""What became of each training: its losses by class of token at the end of the longest horizon."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from scaling_laws.laws.selection import SAME_HORIZON
from scaling_laws.laws.token_classes import NOVEL, TRIGRAM, class_losses
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.records import MAIN_CORPUS

CELL = ("d_model", "n_heads")
FAMILY = "transformer"
COLUMNS = ("run", "N", "D", *CELL, "seed", "loss", NOVEL, TRIGRAM, "gain")


@dataclass(frozen=True, kw_only=True)
class CopyingTables(StudyTables):
    """A study's tables, and its trainings as the claims read them."""

    @cached_property
    def trainings(self) -> pd.DataFrame:
        """`COLUMNS`: a row a training at the longest horizon.

        Losses are in nats per token, D in tokens; gain is the loss on novel targets less that on repeated
        trigrams. Empty where the runs left no losses by class.
        """
        runs = self.complete_of(FAMILY)
        empty = pd.DataFrame(columns=list(COLUMNS))
        if runs.empty or not {*CELL, "seed"} <= set(runs.columns):
            return empty
        classes = self.study.token_classes()
        means = class_losses(classes[classes["corpus"] == MAIN_CORPUS])
        if means.empty or not {NOVEL, TRIGRAM} <= set(means.columns):
            return empty
        longest = runs[np.abs(np.log(runs["D"] / runs["D"].max())) <= SAME_HORIZON]
        found = longest.merge(means.drop(columns="step"), on="run")
        found = found.assign(gain=found[NOVEL] - found[TRIGRAM])
        table = found.sort_values([*CELL, "seed"])[list(COLUMNS)]
        return pd.DataFrame(table.reset_index(drop=True))

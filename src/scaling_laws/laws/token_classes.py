"""Losses by class of token, and the laws of the novel tokens: those that no network could copy.

A law of all tokens is a mixture where some runs have learned to copy from their context and others have not;
the novel tokens are hardly touched by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.results.fitted import Settings, fitted_law
from scaling_laws.laws.results.types import FittedLaw

if TYPE_CHECKING:
    import pandas as pd

NOVEL, TRIGRAM = "novel", "trigram"
FORMS_OF_NOVEL = (KaplanND, Chinchilla)


def class_losses(table: pd.DataFrame) -> pd.DataFrame:
    """run, step, and the mean loss of each class of token, folds pooled; NaN where a class has no target.

    Args:
        table: of `Study.token_classes`, one corpus.
    """
    import pandas as pd

    if table.empty:
        return pd.DataFrame(columns=["run", "step"])
    sums = table.groupby(["run", "step", "token_class"])[["loss_sum_nats", "count"]].sum()
    means = (sums["loss_sum_nats"] / sums["count"]).unstack("token_class").reset_index()
    return means.rename_axis(columns=None)


def novel_laws(
    runs: pd.DataFrame, classes: pd.DataFrame, n_complete: int, settings: Settings
) -> tuple[FittedLaw, ...]:
    """Laws of N and D of the loss on novel tokens; none where the runs left no losses by class.

    Args:
        runs: of one family, those that a law may use.
        classes: of `Study.token_classes`, the last evaluations on the main corpus.
        n_complete: runs of the family.
    """
    means = class_losses(classes)
    if NOVEL not in means.columns:
        return ()
    novel = runs["run"].map(means.set_index("run")[NOVEL])
    known = runs[novel.notna()].assign(loss=novel)
    if known.empty:
        return ()
    rows = make_rows({"N": known["N"], "D": known["D"]}, np.asarray(known["loss"]), known["trunk"])
    noise = seed_noise(known)
    return tuple(
        fitted_law(
            fit_law(form, rows, delta=settings.delta), "novel tokens, all runs", n_complete, noise, settings
        )
        for form in FORMS_OF_NOVEL
    )

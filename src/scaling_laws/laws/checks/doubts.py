"""What can be read and fitted, but is probably not what was meant: another unit, or no loss at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN

if TYPE_CHECKING:
    import pandas as pd

UNTRAINED_NATS = 14.0
"""ln of a vocabulary of a million: no language model has a higher loss per token but by a mistake."""
LOWEST_NATS = 0.5
"""Text has more than this left to guess per token, unless tokens are characters of very regular text."""
COMPUTE_RATIO = 10.0
"""Embeddings, head and attention move C from 6 N D by less than this; another unit moves it by more."""
FEWEST_RANKS = 10
KINDS = {"N": "parameters", "D": "tokens", "C": "FLOPs"}


def doubts(runs: pd.DataFrame) -> list[str]:
    """Sentences about a table of runs (columns family, N, D, C, loss) that looks like something else."""
    sentences = []
    loss = runs["loss"].to_numpy(dtype=np.float64)
    if loss.max() > UNTRAINED_NATS:
        sentences.append(
            f"Losses reach {loss.max():.4g}, more than an untrained model has in nats per token: if these are"
            " perplexities, give their logarithms."
        )
    elif loss.max() <= LOWEST_NATS:
        sentences.append(
            f"No loss is above {loss.max():.2g} nats per token: are these error rates, or losses per byte?"
        )
    # NaN, and no sentence, where one of the two never varies.
    if len(runs) >= FEWEST_RANKS and runs[["C", "loss"]].corr(method="spearman").to_numpy()[0, 1] > 0.5:
        sentences.append("The loss grows with compute: is it an accuracy, or another measure to maximise?")
    for name, unit in KINDS.items():
        values = runs[name].to_numpy(dtype=np.float64)
        if values.min() < 1:
            sentences.append(f"{name} is below one ({values.min():.3g}): is it counted in {unit}?")
    six_N_D = (
        FLOPS_PER_PARAMETER_TOKEN * runs["N"].to_numpy(dtype=np.float64) * runs["D"].to_numpy(np.float64)
    )
    ratio = float(np.exp(np.median(np.log(runs["C"].to_numpy(dtype=np.float64)) - np.log(six_N_D))))
    if not 1 / COMPUTE_RATIO < ratio < COMPUTE_RATIO:
        sentences.append(f"C is {ratio:.3g} times 6 N D in the middle run: are the units FLOPs and tokens?")
    if n_copies := int(runs.duplicated(["family", "N", "D", "C", "loss"]).sum()):
        rows = "row repeats" if n_copies == 1 else "rows repeat"
        sentences.append(f"{n_copies} {rows} the N, D, C and loss of another: copies count as measurements.")
    return sentences

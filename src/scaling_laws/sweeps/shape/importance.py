"""Which ratios matter, by Optuna's importance."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

FEWEST_FOR_IMPORTANCE = 20
"""Complete trials."""
RATIOS = {
    "d_ff_ratio": "d_ff / d_model",
    "aspect_ratio": "d_model / n_layer",
    "head_width": "d_model / n_heads",
    "n_layer": "n_layer",
}
"""What a shape is judged by, and its name in tables and figures."""


def importance(rows: Sequence[Mapping[str, Any]], tunes_learning_rate: bool) -> dict[str, Any]:
    """Optuna's importance (PED-ANOVA) of the networks' own ratios for the corrected loss; shares of one.

    It asks which values the better trials have, so that it needs enough of them: `reason` says so otherwise.
    """
    if len(rows) < FEWEST_FOR_IMPORTANCE:
        reason = f"{len(rows)} complete trials are too few for it; {FEWEST_FOR_IMPORTANCE} are needed"
        return {"shares": None, "reason": reason}
    names = [*RATIOS, *(["learning_rate_factor"] if tunes_learning_rate else [])]
    space: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows]
        if min(values) == max(values):
            continue
        if name == "head_width":
            space[name] = CategoricalDistribution(sorted(set(values)))
        elif name == "n_layer":
            space[name] = IntDistribution(min(values), max(values), log=True)
        else:
            space[name] = FloatDistribution(min(values), max(values), log=True)
    if not space:
        return {"shares": None, "reason": "all trials are of one shape"}
    study = optuna.create_study(direction="minimize")
    for row in rows:
        params = {name: row[name] for name in space}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=row["corrected_loss"])
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study)
    return {"shares": {name: float(share) for name, share in shares.items()}, "reason": ""}

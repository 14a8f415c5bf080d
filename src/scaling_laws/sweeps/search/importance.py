"""Which ratios matter, by Optuna's importance."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from scaling_laws.laws.shapes import RATIOS, Importance, ShapeTrial

FEWEST_FOR_IMPORTANCE = 20
"""Complete trials."""


def importance(trials: Sequence[ShapeTrial], tunes_learning_rate: bool) -> Importance:
    """Optuna's importance (PED-ANOVA) of the networks' own ratios for the corrected loss; shares of one.

    It asks which values the better trials have, so that it needs enough of them: `reason` says so otherwise.

    Args:
        trials: complete ones.
    """
    if len(trials) < FEWEST_FOR_IMPORTANCE:
        reason = f"{len(trials)} complete trials are too few for it; {FEWEST_FOR_IMPORTANCE} are needed"
        return Importance(shares=None, reason=reason)
    names = [*RATIOS, *(["learning_rate_factor"] if tunes_learning_rate else [])]
    space: dict[str, Any] = {}
    for name in names:
        values = [getattr(trial, name) for trial in trials]
        if min(values) == max(values):
            continue
        if name == "head_width":
            space[name] = CategoricalDistribution(sorted(set(values)))
        elif name == "n_layer":
            space[name] = IntDistribution(min(values), max(values), log=True)
        else:
            space[name] = FloatDistribution(min(values), max(values), log=True)
    if not space:
        return Importance(shares=None, reason="all trials are of one shape")
    study = optuna.create_study(direction="minimize")
    for trial in trials:
        params = {name: getattr(trial, name) for name in space}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=space, value=trial.corrected_loss)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study)
    return Importance(shares={name: float(share) for name, share in shares.items()}, reason="")

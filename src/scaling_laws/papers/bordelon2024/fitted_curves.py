"""The model's curves as a truth for the fitter: losses of one network are correlated, and no sum of powers.

Labels have noise, so that there is an irreducible loss. A study is fitted by Chinchilla's law in N and t. Its
90 % intervals are asked for the loss of a new network with ten times the compute, and for the best size;
the truth of both is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import Interval, bootstrap, loss_interval, optimum_interval
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.papers.bordelon2024.dynamics import FeatureTask, mean_loss, simulated_losses

N_OF_STUDY = (8, 16, 32, 64, 128)
T_OF_STUDY = np.geomspace(10, 1_000, 6)
M_OF_STUDY = 3_000
IRREDUCIBLE = 0.5
"""Variance of the noise of the labels."""
SEEDS = 2
BEYOND = 10.0
RESAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class FittedCurves:
    """One study's intervals beside the truth; an interval is None where the law was not identified.

    Attributes:
        loss, loss_interval: of a new network beyond the study.
        size, size_interval: N of the lowest mean loss at that compute.
    """

    loss: float
    loss_interval: Interval | None
    size: float
    size_interval: Interval | None

    @property
    def covers(self) -> tuple[bool, bool]:
        """Whether the intervals hold the loss, and the best size."""
        return _holds(self.loss_interval, self.loss), _holds(self.size_interval, self.size)


def _holds(interval: Interval | None, truth: float) -> bool:
    if interval is None:
        return False
    low, high = interval
    return (low is None or low <= truth) and (high is None or truth <= high)


def study_of(task: FeatureTask, random: np.random.Generator) -> pd.DataFrame:
    """family, trunk, seed, N, D (the time), loss: every size trained with each seed, looked at six times."""
    rows = []
    for N in N_OF_STUDY:
        losses = IRREDUCIBLE + simulated_losses(task, N, T_OF_STUDY, SEEDS, random)
        for seed, curve in enumerate(losses):
            rows += [
                {
                    "family": "features",
                    "trunk": f"{N}-{seed}",
                    "seed": seed,
                    "N": float(N),
                    "D": t,
                    "loss": loss,
                }
                for t, loss in zip(T_OF_STUDY, curve, strict=True)
            ]
    return pd.DataFrame(rows)


def fit_curves(task: FeatureTask, seed: int, resamples: int = RESAMPLES) -> FittedCurves:
    """Draw a study, fit it, and ask for what lies beyond it."""
    random = np.random.default_rng([seed, round(100 * task.a), round(100 * task.b)])
    runs = study_of(task, random)
    product = BEYOND * N_OF_STUDY[-1] * T_OF_STUDY[-1]
    N = np.geomspace(16, 2_048, 60)
    losses = [mean_loss(task, each, np.array([product / each]))[0] for each in N]
    size = float(N[int(np.argmin(losses))])
    whole = round(size)
    t = product / whole
    loss = IRREDUCIBLE + float(simulated_losses(task, whole, np.array([t]), 1, random)[0, 0])
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    fit = fit_law(Chinchilla, rows)
    if not fit.identified:
        return FittedCurves(loss=loss, loss_interval=None, size=size, size_interval=None)
    drawn = bootstrap(fit, noise=seed_noise(runs), resamples=resamples, seed=seed)
    return FittedCurves(
        loss=loss,
        loss_interval=loss_interval(drawn, seed=seed, N=float(whole), D=t),
        size=size,
        size_interval=optimum_interval(drawn.draws, FLOPS_PER_PARAMETER_TOKEN * product)[0],
    )

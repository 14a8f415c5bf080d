"""Whatever table comes: an answer or one line of error, no traceback, no warning from NumPy, no NaN."""

import json

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.plan.planner import plan_from_laws
from scaling_laws.laws.results.study import fit_study
from scaling_laws.study.errors import InputError

LOSSES = {
    "additive": lambda N, D, random: 1.5 + 60 / N**0.3 + 300 / D**0.38,
    "coupled": lambda N, D, random: ((1e10 / N) ** 0.5 + 1e9 / D) ** 0.15,
    "random": lambda N, D, random: random.uniform(2, 6),
    "constant": lambda N, D, random: 3.0,
}


def table(kind, seed):
    """A few sizes by a few horizons with holes, some repeated data, several rates and families."""
    random = np.random.default_rng(seed)
    rows = []
    for i, N in enumerate(np.exp(random.uniform(np.log(1e3), np.log(1e7), random.integers(1, 6)))):
        for D in np.exp(random.uniform(np.log(1e5), np.log(1e9), random.integers(1, 5))):
            loss = LOSSES[kind](N, D, random) * np.exp(random.normal() * random.choice([0, 0.01]))
            rows.append(
                {
                    "run": f"{i}-{D:g}",
                    "trunk": f"{i}" if random.random() < 0.7 else f"{i}-{D:g}",
                    "family": "lstm" if random.random() < 0.3 else "transformer",
                    "seed": int(random.integers(1, 3)),
                    "N": N,
                    "N_total": N + 1e4,
                    "D": D,
                    "C": 6 * N * D,
                    "learning_rate": float(random.choice([1e-3, 2e-3])),
                    "batch_tokens": 2048.0,
                    "unique_tokens": D / float(random.choice([1, 1, 4])),
                    "loss": loss,
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("seed", [1, 5])
def test_any_table_is_answered(kind, seed):
    runs = table(kind, seed)
    fitted = fit_study("random", runs, resamples=10)
    laws = fitted.to_json()
    json.dumps(laws, allow_nan=False)
    for fit in laws["fits"]:
        assert fit["identified"] or fit["reason"]
    for family in runs["family"].unique():
        try:
            plan = plan_from_laws(fitted, 1e14, family=family)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert plan.N > 0 and plan.D > 0


def test_shared_out_among_processes_it_is_the_same():
    runs = table("additive", 1)
    laws = fit_study("random", runs, resamples=5)
    assert runs["family"].nunique() == 2
    assert fit_study("random", runs, resamples=5, processes=2) == laws

"""Best learning rates between others, at an end, or alone."""

import pandas as pd
import pytest

from scaling_laws.laws.checks.bracketing import learning_rates_bracketed
from scaling_laws.study.errors import InputError


def table(losses_by_size):
    rows = [
        {"family": "transformer", "N": N, "D": 1e6, "learning_rate": rate, "loss": loss, "seed": seed}
        for N, losses in losses_by_size.items()
        for seed, (rate, loss) in enumerate(losses)
    ]
    return pd.DataFrame(rows)


def test_between_at_an_end_and_alone():
    result = learning_rates_bracketed(
        table(
            {
                1e3: [(0.03, 4.2), (0.01, 4.0), (0.001, 4.3)],
                1e4: [(0.001, 3.8), (0.01, 3.9)],
                1e5: [(0.001, 3.6), (0.003, 3.55), (0.01, 3.5)],
                1e6: [(0.001, 3.0)],
            }
        )
    )
    assert (result.n_bracketed, result.n_at_edge, result.n_one_rate) == (1, 2, 1)
    between, low, high, alone = result.tried
    assert between.bracketed and between.best == 0.01 and between.reason == ""
    assert between.learning_rates == (0.001, 0.01, 0.03) and between.losses == (4.3, 4.0, 4.2)
    assert "try lower" in low.reason and "try higher" in high.reason and "one rate" in alone.reason
    assert result.warning == (
        "Learning rates of 4 sizes and horizons: the best is the lowest rate tried in 1 and the highest rate"
        " tried in 1: a better one may lie outside; 1 tried one rate only."
    )


def test_the_mean_over_seeds_decides():
    result = learning_rates_bracketed(
        table({1e3: [(0.001, 4.3), (0.01, 4.05), (0.01, 4.15), (0.03, 4.0), (0.03, 4.4)]})
    )
    assert result.tried[0].bracketed and result.tried[0].best == 0.01
    assert result.warning == ""


def test_horizons_and_families_stand_apart_and_hot_losses_stay_out():
    runs = table({1e3: [(0.001, 4.3), (0.01, 4.0), (0.03, 4.2)]})
    other = runs.assign(family="lstm", learning_rate=runs["learning_rate"] * 10)
    hot = runs.assign(loss=1.0, learning_rate=1e-9, after_cooldown=False)
    result = learning_rates_bracketed(
        pd.concat([runs.assign(after_cooldown=True), other.assign(after_cooldown=True), hot])
    )
    assert [(one.family, one.best) for one in result.tried] == [("lstm", 0.1), ("transformer", 0.01)]


def test_unknown_rates_are_told():
    runs = table({1e3: [(0.001, 4.3), (0.01, 4.0), (0.03, 4.2), (None, 4.1)]})
    assert "1 runs do not say their rate" in learning_rates_bracketed(runs).warning
    result = learning_rates_bracketed(runs.drop(columns="learning_rate"))
    assert result.tried == () and "does not say" in result.warning


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="no column 'D'"):
        learning_rates_bracketed(table({1e3: [(0.1, 4.0)]}).drop(columns="D"))

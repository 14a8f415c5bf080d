"""Which runs of a study of many experiments a law is fitted to."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.recipe import for_training_time, of_one_recipe

USUAL: dict[str, Any] = {
    "family": "transformer",
    "n_layer": 2,
    "d_model": 64,
    "n_reuse": 1,
    "n_ctx": 128,
    "batch_tokens": 2048,
    "train_halvings": 0,
    "noise_suffix_tokens": 0,
    "dropout": 0.0,
    "decay": "cooldown",
    "cooldown_share": 0.2,
    "after_cooldown": True,
    "stopped_early": False,
    "learning_rate": 0.01,
}


def table(*more: dict[str, Any]) -> pd.DataFrame:
    """Five sizes by two horizons of the usual recipe, and more runs."""
    rows = [
        {**USUAL, "N": 1000.0 * 2**size, "D": D, "run": f"usual-{size}-{D:g}"}
        for size in range(5)
        for D in (1e6, 2e6)
    ]
    rows += [
        {**USUAL, "N": 4000.0, "D": 1e6, "run": f"other-{number}"} | row for number, row in enumerate(more)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(trunk=frame["run"], C=6 * frame["N"] * frame["D"], loss=3.0)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("n_ctx", 8, "with another context"),
        ("batch_tokens", 512, "with another batch"),
        ("train_halvings", 3, "on another part of the corpus"),
        ("noise_suffix_tokens", 4, "with another noise suffix"),
        ("dropout", 0.1, "with another dropout"),
        ("decay", "cosine", "with another schedule"),
        ("cooldown_share", 0.5, "with another cooldown"),
        ("n_reuse", 4, "with blocks used more often or less"),
        ("n_layer", 1, "networks of less than two layers lie off"),
        ("n_layer", 32, "less than four times as wide as deep lie off"),
    ],
)
def test_a_run_of_another_recipe_is_left_out(column: str, value: Any, says: str) -> None:
    runs, left_out = usable_runs(table({column: value}))
    assert len(runs) == 10 and [row["run"] for row in left_out] == ["other-0"]
    assert says in left_out[0]["reason"]


def test_many_runs_of_one_size_are_no_majority() -> None:
    """A scan of batches at one size has more runs than the ladder, but not more pairs of N and D."""
    scan = [{"batch_tokens": 512, "learning_rate": 0.001 * number} for number in range(1, 30)]
    runs, _ = of_one_recipe(table(*scan))
    assert set(runs["batch_tokens"]) == {2048} and len(runs) == 10


def test_each_family_has_its_own_recipe() -> None:
    lstm = [{"family": "lstm", "n_ctx": 64, "N": 1e4, "D": D} for D in (1e6, 2e6)]
    runs, reasons = of_one_recipe(table(*lstm))
    assert len(runs) == 12 and not reasons


def test_shallow_networks_stay_where_there_are_few_others() -> None:
    few = table({"n_layer": 1})
    runs, reasons = of_one_recipe(few[few["N"] < 5000])
    assert 1 in set(runs["n_layer"]) and not reasons
    lstm = table(*({"family": "lstm", "n_layer": layers, "N": 1e4 * layers} for layers in (1, 2, 3, 4, 5)))
    assert len(of_one_recipe(lstm)[0]) == 15


def test_lstms_of_another_depth_are_left_out() -> None:
    """At one N four layers of an LSTM are 0.4 nats worse than two: no law of N holds both."""
    usual = [{"family": "lstm", "N": 1e4 * size, "n_layer": 2} for size in (1, 2, 3, 4)]
    deep = {"family": "lstm", "N": 2e4, "n_layer": 4, "run": "deep"}
    _, reasons = of_one_recipe(table(*usual, deep))
    assert set(reasons) == {"deep"} and "another depth" in reasons["deep"]


def test_a_table_that_knows_no_recipes_is_left_alone() -> None:
    bare = table({"n_ctx": 8})[["run", "trunk", "family", "N", "D", "C", "loss", "n_ctx"]]
    assert len(usable_runs(bare)[0]) == 11


def test_curves_may_differ_in_batch_and_schedule_and_in_nothing_else() -> None:
    runs = table({"batch_tokens": 512}, {"decay": "constant"}, {"n_ctx": 8}, {"dropout": 0.1}, {"n_layer": 1})
    kept = for_training_time(runs)["run"]
    assert [run for run in kept if run.startswith("other")] == ["other-0", "other-1"]
    assert len(kept) == 12

"""Which runs of a study of many experiments a law is fitted to."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.run_tables import doubts
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.recipe import for_training_time, head_counts, of_one_recipe
from scaling_laws.study.records import RunRecord
from scaling_laws.study.runs import NOT_SETTINGS, runs_table

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
        ("n_layer", 1, "networks of fewer than two layers lie off"),
        ("n_layer", 32, "less than 3.5 times as wide as deep lie off"),
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


# --- whatever a run records of how it was trained is part of the recipe -----------------------------


def record(number: int, **changes: Any) -> RunRecord:
    """One of a ladder's runs, as training writes it; `section__key` changes one setting."""
    d_model = 16 * (2 + number)
    plain: dict[str, Any] = {
        "run_id": "",
        "name": f"run-{number}",
        "study": "s",
        "trunk": f"run-{number}",
        "status": "complete",
        "family": "transformer",
        "shape": {"n_layer": 2, "d_model": d_model, "n_ctx": 128, "n_heads": 2, "tied": True, "bias": True},
        "parameters": {"feed_forward": 24 * d_model**2},
        "flops_per_token": {"feed_forward": 48.0 * d_model**2},
        "tokens": 1_000_000,
        "unique_tokens": 1_000_000,
        "batch_tokens": 2000,
        "steps": 500,
        "optimizer": {
            "name": "adamw",
            "learning_rate": 0.01,
            "betas": [0.9, 0.95],
            "weight_decay": 0.1,
            "gradient_clip": 1.0,
            "precision": "32-true",
            "compiled": False,
        },
        "schedule": {"decay": "cooldown", "warmup_steps": 40, "cooldown_share": 0.2, "final_share": 0.0},
        "after_cooldown": True,
        "seed": 1,
        "losses": {"test": {"loss_nats": 4.0 - 0.1 * number, "bits_per_byte": 2.0, "tokens": 100.0}},
        "best_losses": {},
        "train_loss_nats": 4.0,
        "corpus": {"name": "c", "manifest_hash": "a", "train_halvings": 0, "noise_suffix_tokens": 0},
        "elapsed_s": 1.0,
        "trained_tokens": 1_000_000,
        "tokens_per_s": 1e6,
        "peak_memory_bytes": 1,
        "git_revision": "",
        "versions": {},
        "host": "",
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        plain[section] = {**plain[section], key: value} if key else value
    return RunRecord(**plain)


def test_two_recipes_of_the_optimiser_make_no_law() -> None:
    """Five AdamW float32 runs, and four of Adafactor in bfloat16 with ten times the weight decay."""
    usual = [record(number) for number in range(5)]
    adafactor = {"name": "adafactor", "learning_rate": 0.01, "weight_decay": 1.0, "precision": "bf16-true"}
    others = [record(number, optimizer=adafactor) for number in range(5, 9)]
    runs, left_out = usable_runs(runs_table([*usual, *others]))
    assert len(runs) == 5 and len(left_out) == 4
    assert "by another optimiser than most" in left_out[0]["reason"]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer__weight_decay": 1.0},
        {"optimizer__betas": [0.9, 0.99]},
        {"optimizer__gradient_clip": None},
        {"optimizer__precision": "bf16-mixed"},
        {"optimizer__momentum_of_tomorrow": 0.5},
        {"schedule__warmup_steps": 200},
        {"schedule__final_share": 0.1},
        {"corpus__manifest_hash": "b"},
        {"shape__tied": False},
        {"shape__bias": False},
        {"shape__activation": "swiglu"},
    ],
)
def test_every_recorded_setting_is_part_of_the_recipe(change: dict[str, Any]) -> None:
    """Some are of the ladder's runs, one is not; two runs that differ in one are no replicates either."""
    new = {key: "usual" for key in change if "tomorrow" in key or "activation" in key}
    ladder = [record(number, **new) for number in range(6)]
    other = record(7, **change)
    runs, left_out = usable_runs(runs_table([*ladder, other]))
    assert len(runs) == 6 and [row["run"] for row in left_out] == ["run-7"]
    pair = [ladder[0], replace(record(0, **change), seed=2, name="again", trunk="again")]
    assert seed_noise(runs_table(pair)).n_groups == 0
    assert seed_noise(runs_table([ladder[0], replace(ladder[0], seed=2, trunk="again")])).n_groups == 1


@pytest.mark.parametrize(
    "change",
    [
        {"shape__n_heads": 4},
        {"shape__d_ff": 512},
        {"seed": 2},
        {"devices": 2},
        {"host": "elsewhere"},
        {"corpus__name": "moved"},
        {"optimizer__learning_rate": 0.005},
    ],
)
def test_what_may_differ_does(change: dict[str, Any]) -> None:
    runs, left_out = usable_runs(runs_table([*map(record, range(6)), record(7, **change)]))
    assert len(runs) == 7 and not left_out


def test_what_a_run_did_not_record_is_taken_to_be_equal() -> None:
    old = [record(number, optimizer={"learning_rate": 0.01}) for number in range(3)]
    runs, left_out = usable_runs(runs_table([*map(record, range(4, 8)), *old]))
    assert len(runs) == 7 and not left_out


def test_an_own_networks_sizes_may_have_any_name() -> None:
    def own(number: int, width: int, dropout: float = 0.0) -> RunRecord:
        shape = {"width": width, "gate": dropout, "n_ctx": 128}
        return record(number, family="mine", shape=shape)

    runs, left_out = usable_runs(runs_table([own(number, 2**number) for number in range(6)]))
    assert len(runs) == 6 and not left_out and "shape.width" in runs.columns
    runs, left_out = usable_runs(
        runs_table([*(own(number, 2**number) for number in range(6)), own(7, 9, 0.1)])
    )
    assert len(runs) == 6 and "with another shape.gate than most" in left_out[0]["reason"]


def test_every_field_of_a_record_is_a_column_or_named_as_none() -> None:
    """A field that is forgotten here is a column by itself, and part of the recipe."""
    names = {field.name for field in dataclasses.fields(RunRecord)}
    assert names >= NOT_SETTINGS
    columns = set(runs_table([record(0)]).columns)
    assert names - NOT_SETTINGS - {"shape", "optimizer", "schedule", "corpus"} <= columns
    assert {"optimizer", "weight_decay", "betas", "gradient_clip", "precision", "n_heads", "tied"} <= columns


def test_laws_say_which_numbers_of_heads_they_mix() -> None:
    runs = runs_table([record(0), record(1, shape__n_heads=3), record(2, shape__n_heads=4)])
    assert head_counts(runs) == ["transformer: the laws mix networks of 2, 3 and 4 heads."]
    (sentence,) = head_counts(runs_table([record(0), record(1, shape__n_heads=1)]))
    assert "1 and 2 heads; one head may do worse" in sentence
    assert not head_counts(runs_table([record(0), record(1)]))


def test_a_table_of_several_recipes_says_so() -> None:
    """Nothing of anybody's table is left out: `--where` is theirs to say."""
    runs = table({"n_ctx": 8}, {"batch_tokens": 512})[["run", "family", "N", "D", "C", "loss", "n_ctx"]]
    assert any("differ in n_ctx, too" in sentence for sentence in doubts(runs))
    assert not any("differ in" in sentence for sentence in doubts(table()))

"""Every setting is an axis: of a model, of its ladder, or varied; what differs is named and is a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.small_sweep import edited

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import build_corpus
from scaling_laws.laws.results.compared_column import compare_column
from scaling_laws.study.errors import InputError
from scaling_laws.study.recipe import recipe_columns
from scaling_laws.study.runs import load_study
from scaling_laws.sweeps.plan import kept_settings
from scaling_laws.sweeps.plan.experiments import Plan, begun, plan
from scaling_laws.sweeps.plan.planning import _fingerprint, write_plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.training.run import train_trunk

ROOT = Path(__file__).parents[2]
SGD = {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}
MODEL = {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [1280]}
AXES: list[tuple[str, list[Any], str, str]] = [
    ("weight_decay", [0.0, 0.3], "model.weight_decay", "weight_decay"),
    ("beta1", [0.8, 0.9], "model.beta1", "betas"),
    ("beta2", [0.99, 0.999], "model.beta2", "betas"),
    ("optimizer", ["adafactor", SGD], "model.optimizer", "optimizer"),
    ("learning_rate", [0.01, 0.02], "model.learning_rate", ""),
    ("gradient_clip", [0.5, 1.0], "trainer.gradient_clip_val", "gradient_clip"),
    ("precision", ["32-true", "bf16-mixed"], "trainer.precision", "precision"),
    ("noise_suffix_tokens", [0, 4], "data.noise_suffix_tokens", "noise_suffix_tokens"),
    ("train_halvings", [0, 1], "data.train_halvings", "train_halvings"),
    ("batch_sequences", [2, 4], "data.batch_sequences", "batch_tokens"),
    ("n_ctx", [8, 16], "data.n_ctx", "n_ctx"),
    ("schedule.cooldown_share", [0.2, 0.5], "model.schedule.cooldown_share", "cooldown_share"),
    ("schedule.decay", ["cosine", "linear"], "model.schedule.decay", "decay"),
    ("schedule.final_share", [0.1, 0.2], "model.schedule.final_share", "final_share"),
    ("shape.dropout", [0.0, 0.1], "model.network.init_args.dropout", "dropout"),
    ("shape.d_ff", [16, 24], "model.network.init_args.d_ff", ""),
    ("shape.bias", [True, False], "model.network.init_args.bias", "shape.bias"),
]


def planned(sweep_file: Path, model: dict[str, Any], **ladder: Any) -> Plan:
    content = {"family": "transformer", "learning_rate": 0.01, "models": [model], **ladder}
    folders = {"logs": sweep_file.parent / "logs", "data": sweep_file.parent / "data"}
    return plan(load_sweep(edited(sweep_file, ladders=[content])), **folders)


def setting(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


@pytest.mark.parametrize(("key", "values", "place", "column"), AXES, ids=[axis[0] for axis in AXES])
def test_a_setting_can_be_varied_in_a_model_and_in_its_ladder(
    sweep_file: Path, key: str, values: list[Any], place: str, column: str
) -> None:
    of_model = planned(sweep_file, {**MODEL, "vary": {key: values}})
    found = {str(setting(run.config, place)) for run in of_model.runs}
    assert found == {str(value) for value in values}
    assert len({run.name for run in of_model.runs}) == len({run.run_id for run in of_model.runs}) == 2
    # One value may be the sweep's own; what differs is in the name, and not as a hash.
    assert not any(run.run_id in run.name for run in of_model.runs)
    of_ladder = planned(sweep_file, MODEL, vary={key: values})
    assert [run.run_id for run in of_ladder.runs] == [run.run_id for run in of_model.runs]


def test_a_ladders_key_is_that_of_each_of_its_models_but_where_one_has_its_own(sweep_file: Path) -> None:
    models = [MODEL, {**MODEL, "shape": {"n_layer": 1, "d_model": 12}, "weight_decay": 0.7}]
    of_ladder = planned(sweep_file, models[0], models=models, weight_decay=0.3, schedule={"decay": "cosine"})
    found = {run.config["model"]["network"]["init_args"]["d_model"]: run.config for run in of_ladder.runs}
    assert [found[width]["model"]["weight_decay"] for width in (8, 12)] == [0.3, 0.7]
    assert {config["model"]["schedule"]["decay"] for config in found.values()} == {"cosine"}
    assert {config["model"]["schedule"]["warmup_steps"] for config in found.values()} == {3}


def test_a_path_leads_into_an_optimiser(sweep_file: Path) -> None:
    model = {**MODEL, "optimizer": SGD, "vary": {"optimizer.init_args.momentum": [0.5, 0.9]}}
    names = {run.name for run in planned(sweep_file, model).runs}
    assert names == {f"transformer-1x8-SGD_momentum_{share}-s1-0.00128M" for share in (0.5, 0.9)}
    with pytest.raises(InputError, match="is not a path into optimizer: 'adamw'"):
        planned(sweep_file, {**model, "optimizer": "adamw"})


def test_another_optimiser_does_not_take_the_sweeps_settings(sweep_file: Path) -> None:
    edited(sweep_file, weight_decay=0.3, beta1=0.8)
    by_name, by_class = (
        planned(sweep_file, {**MODEL, "optimizer": optimizer}).runs[0].config["model"]
        for optimizer in ("adafactor", SGD)
    )
    assert by_name["weight_decay"] == 0.3 and not {"beta1", "weight_decay"} & by_class.keys()
    with pytest.raises(InputError, match="weight_decay is not a setting of optimizer: SGD"):
        planned(sweep_file, {**MODEL, "optimizer": SGD, "weight_decay": 0.2})


def test_import_paths_are_checked_when_a_sweep_is_planned(sweep_file: Path) -> None:
    with pytest.raises(InputError, match=r"torch.optim has no torch.optim.Optimizer called 'SDG'"):
        planned(sweep_file, {**MODEL, "optimizer": {"class_path": "torch.optim.SDG"}})
    memory = {}
    for optimizer in ("adamw", SGD):
        (run,) = planned(sweep_file, {**MODEL, "optimizer": optimizer}).runs
        assert run.memory is not None
        memory[str(optimizer)] = run.memory
    of_sgd, of_adamw = memory[str(SGD)], memory["adamw"]
    assert of_sgd.optimizer == of_sgd.weights and of_adamw.optimizer > 2 * of_sgd.optimizer


def test_what_varies_is_a_column_of_the_recipe(sweep_file: Path) -> None:
    """Of runs that were trained; without a list of the settings anywhere."""
    varied = {"weight_decay": [0.0, 0.3], "gradient_clip": [0.5, 1.0]}
    study = planned(sweep_file, {**MODEL, "vary": varied})
    by_class = planned(sweep_file, {**MODEL, "optimizer": SGD, "seeds": [2]})
    build_corpus(load_config(Path(study.sweep.corpus)), study.corpus_folder)
    for run in (*study.runs[:2], *by_class.runs):
        train_trunk([run.config])
    table = load_study(study.folder).runs
    assert {"weight_decay", "gradient_clip", "optimizer", "betas", "precision"} <= set(recipe_columns(table))
    assert set(table["optimizer"]) == {"adamw", "SGD(momentum=0.9)"}


@pytest.mark.parametrize(("name", "begun_with"), [("quick", "fbf6635556a5ebc6"), ("lr", "226b0983288cafff")])
def test_a_study_that_was_begun_before_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, begun_with: str
) -> None:
    """Keys that are new since count for nothing where they are not used: what it is known by is as before.

    (A change of the sweep file itself changes it, too.)
    """
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(kept_settings, "native_precision", lambda accelerator: "bf16-mixed")
    sweep = load_sweep(Path(f"configs/sweeps/{name}.yaml"))
    (tmp_path / sweep.study).mkdir()
    (tmp_path / sweep.study / "plan.json").write_text('{"schema": 1, "shape_rule": 2}')
    assert _fingerprint(begun(sweep, logs=tmp_path)) == begun_with


def test_a_study_that_was_begun_before_measures_every_corpus_on(sweep_file: Path) -> None:
    """Its plan does not say what is measured; a new study measures the test text on the way."""
    folders = {"logs": sweep_file.parent / "logs", "data": sweep_file.parent / "data"}
    sweep = load_sweep(sweep_file)
    new = plan(sweep, **folders)
    assert {tuple(run.config["recorder"]["evaluation_corpora"]) for run in new.runs} == {("test",)}
    (folders["logs"] / sweep.study).mkdir(parents=True)
    file = folders["logs"] / sweep.study / "plan.json"
    file.write_text('{"schema": 1, "shape_rule": 2}')
    begun_before = plan(sweep, **folders)
    assert {tuple(run.config["recorder"]["evaluation_corpora"]) for run in begun_before.runs} == {("all",)}
    # What is new says nothing then: run ids are those of the version before.
    others = plan(load_sweep(edited(sweep_file, other_windows=7)), **folders)
    assert [run.run_id for run in begun_before.runs] == [run.run_id for run in others.runs]
    assert not {run.run_id for run in begun_before.runs} & {run.run_id for run in new.runs}
    write_plan(replace(new, folder=file.parent))
    assert [run.run_id for run in plan(sweep, **folders).runs] == [run.run_id for run in new.runs]


def corpus_of(folder: Path, name: str, n_vocab: int, **more: Any) -> str:
    """A corpus file of the repository's own sources, without what Python keeps beside them."""
    sources = [str(path) for path in sorted((ROOT / "src/scaling_laws/study").glob("*.py"))]
    content = {"name": name, "source": "text", "paths": sources, **more}
    content |= {"n_vocab": n_vocab, "val_share": 0.2, "test_share": 0.2}
    path = folder / f"{name}.{n_vocab}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def test_vocabularies_are_compared_in_bits_per_byte(sweep_file: Path) -> None:
    few, many = (corpus_of(sweep_file.parent, f"words_{n}", n) for n in (300, 600))
    widths = {"corpus": [few, many], "shape.d_model": [8, 12]}
    study = planned(sweep_file, {**MODEL, "seeds": [1], "vary": widths})
    assert {run.name for run in study.runs} == {
        f"transformer-1x{width}-words_{n}-s1-0.00128M" for width in (8, 12) for n in (300, 600)
    }
    for file in (few, many):
        config = study.corpora[file]
        build_corpus(config, study.data / config.name)
    for job in study.jobs:
        train_trunk([run.config for run in job.runs])
    table = load_study(study.folder).runs
    assert set(table["n_vocab"]) == {300, 600} and table["test_text_hash"].nunique() == 1
    assert {"manifest_hash", "n_vocab"} <= set(recipe_columns(table))  # no law mixes them
    (found,) = compare_column(table, "corpus", resamples=0)
    assert found.n_runs == {"words_300": 2, "words_600": 2} and "bits per byte" in found.losses
    table.loc[table["corpus"] == "words_600", "test_text_hash"] = "another"
    with pytest.raises(InputError, match="corpus: the runs were tested on different texts"):
        compare_column(table, "corpus")


def test_two_corpora_of_one_name_are_refused(sweep_file: Path) -> None:
    few, many = (corpus_of(sweep_file.parent, "words", n) for n in (300, 600))
    with pytest.raises(InputError, match="differ and are both called 'words'; give one"):
        planned(sweep_file, {**MODEL, "vary": {"corpus": [few, many]}})


# --- what is wrong is said in the file's own words -------------------------------------------------


@pytest.mark.parametrize(
    ("top", "ladder", "model", "says"),
    [
        (
            {},
            {},
            {"horizon_tokens": [1280]},
            r"ladders\[0\].models\[0\]: no key 'horizon_tokens'; did you mean horizons_tokens\?",
        ),
        ({"dropout": 0.1}, {}, {}, "no key 'dropout'; it belongs in the shape of a model"),
        ({"warmup_steps": 3}, {}, {}, "no key 'warmup_steps'; it belongs in schedule"),
        ({"seeds": [1]}, {}, {}, "no key 'seeds'; it belongs in a ladder or a model"),
        ({"studdy": "x"}, {}, {}, r"no key 'studdy'; did you mean study\?"),
        ({}, {"evaluation_windows": 3}, {}, "it is the whole study's: write it at the top"),
        ({}, {}, {"n_layer": 3}, r"models\[0\]: no key 'n_layer'; it belongs in the shape"),
        ({}, {}, {"learning_rate_factors": [1]}, "it belongs in a ladder"),
        ({}, {"learning_rate": {"at1e5": 1}}, {}, r"learning_rate: no key 'at1e5'; did you mean at_1e5\?"),
        ({}, {}, {"schedule": {"decey": "cosine"}}, r"models\[0\].schedule: no key 'decey'; did you mean d"),
        ({"n_ctx": "long"}, {}, {}, "n_ctx is 'long'; it must be a whole number"),
        ({}, {}, {"seeds": 3}, r"ladders\[0\].models\[0\].seeds is 3; it must be a list of whole numbers"),
        ({"keep": "all"}, {}, {}, "keep is 'all'; it must be one of trunk, weights, nothing"),
        ({}, {"learning_rate": "fast"}, {}, r"ladders\[0\].learning_rate is 'fast'; it must be a mapping or"),
        ({}, {}, {"precision": "32"}, "precision is '32'; of a model it is one of 32-true"),
    ],
)
def test_a_wrong_key_or_value_is_told_its_place(
    sweep_file: Path, top: dict[str, Any], ladder: dict[str, Any], model: dict[str, Any], says: str
) -> None:
    of_ladder = {"family": "transformer", "learning_rate": 0.01, "models": [{**MODEL, **model}], **ladder}
    with pytest.raises(InputError, match=says) as raised:
        load_sweep(edited(sweep_file, **{"ladders": [of_ladder], **top}))
    text = str(raised.value)
    assert "\n" not in text and not any(word in text for word in ("class_path", "Union", "subtype"))


def test_the_question_may_be_left_out(sweep_file: Path) -> None:
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    del content["question"]
    sweep_file.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert load_sweep(sweep_file).question == ""
    del content["corpus"]
    sweep_file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InputError, match="corpus is missing"):
        load_sweep(sweep_file)

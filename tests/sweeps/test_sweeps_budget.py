"""Budgets, scales, and studies that are made of several experiments."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.small_sweep import edited

from scaling_laws.study.artefacts import typed
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.budget import Budget, parse_budget
from scaling_laws.sweeps.plan.budgeting import SIZES, find_references, spent
from scaling_laws.sweeps.plan.experiments import (
    Plan,
    begun,
    filled,
    points_left_out,
    rough_seconds,
    study_specs,
)
from scaling_laws.sweeps.plan.plan_table import totals
from scaling_laws.sweeps.plan.planning import read_kept, write_plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.plan.reference import Reference, reference_of_size
from scaling_laws.sweeps.plan.run_specs import RunSpec

ROOT = Path(__file__).parents[2]
EXPERIMENTS = [
    "size",
    "seeds",
    "lr",
    "isoflop",
    "families",
    "batch",
    "data",
    "reuse",
    "context",
    "schedule",
    "depth",
    "largest",
]  # those of kaplan2020.yaml

# --- amounts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("30 core-minutes", Budget(amount=1800, device="core")),
        ("1 core-minute", Budget(amount=60, device="core")),
        ("2 GPU-hours", Budget(amount=7200, device="GPU")),
        ("1.5 gpu hours", Budget(amount=5400, device="GPU")),
        ("1e18 FLOPs", Budget(amount=1e18, device=None)),
        ("10_000 flops", Budget(amount=1e4, device=None)),
    ],
)
def test_amounts(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["", "30", "30 minutes", "-3 core-minutes", "nan FLOPs", "1e999 FLOPs", "0 FLOPs", "x"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(InputError, match="is not an amount of compute; write"):
        parse_budget(text)


# --- what a file varies, and its scale --------------------------------------------------------------


def with_models(sweep_file: Path, *models: dict[str, Any], **changes: Any) -> Path:
    ladder = {"family": "transformer", "learning_rate": 0.01, "models": list(models)}
    return edited(sweep_file, ladders=[ladder], **changes)


def test_a_model_varies(sweep_file: Path) -> None:
    varied = {"shape.n_layer": [1, 2], "size": ["1/8", 1], "horizons": [["1/4", 1]], "train_halvings": [0, 2]}
    with_models(sweep_file, {"shape": {"bias": False}, "vary": varied}, budget="1e12 FLOPs")
    models = load_sweep(sweep_file).ladders[0].models
    assert [(model.shape["n_layer"], model.size, model.train_halvings) for model in models] == [
        (n_layer, size, halvings) for n_layer in (1, 2) for size in (0.125, 1.0) for halvings in (0, 2)
    ]
    assert {model.horizons for model in models} == {(0.25, 1.0)}
    assert all(model.shape["bias"] is False for model in models)


def test_a_models_schedule_is_laid_over_the_sweeps(sweep_file: Path) -> None:
    schedules = [{"decay": "linear"}, {"cooldown_share": 0.5}]
    model = {
        "shape": {"n_layer": 1, "d_model": 8},
        "horizons_tokens": [2560],
        "vary": {"schedule": schedules},
    }
    runs = filled(begun(load_sweep(with_models(sweep_file, model))), None).runs
    first, second = sorted(runs, key=lambda run: run.name, reverse=True)
    assert [first.config["model"]["schedule"][key] for key in ("decay", "warmup_steps")] == ["linear", 3]
    assert second.config["model"]["schedule"]["cooldown_share"] == 0.5
    assert {first.name, second.name} == {
        "transformer-1x8-linear-s1-0.00256M",
        "transformer-1x8-cooldownshare0.5-s1-0.00256M",
    }


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"vary": {"size": 3}, "horizons": [1]}, "vary: .* is not a mapping of names to lists"),
        ({"vary": {"size": [1]}, "size": 1, "horizons": [1]}, "vary: size is given beside it"),
        ({"vary": {"net.depth": [1]}, "horizons": [1]}, "'net.depth' is not a key of a model"),
        ({"vary": {"sise": [1]}, "horizons": [1]}, "sise"),
        ({"size": 1, "reused_size": 1, "horizons": [1]}, "size and reused_size are two sizes"),
        ({"of_optimum": 1, "horizons": [1]}, "of_optimum is of one compute"),
        ({"size": 1, "horizons": [1], "compute": [1]}, "how long is it trained"),
        ({"size": 1, "horizons": [0]}, "horizons is 0.0; it must be positive"),
        ({"size": -1, "horizons": [1]}, "size is -1.0; it must be positive"),
    ],
)
def test_wrong_shares_get_one_line(sweep_file: Path, model: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        load_sweep(with_models(sweep_file, model, budget="1e12 FLOPs"))
    assert "\n" not in str(raised.value)


@pytest.fixture
def scales(sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two scales for a sweep file, which no longer says what they say."""
    folder = sweep_file.parent / "configs" / "scales"
    folder.mkdir(parents=True)
    monkeypatch.chdir(sweep_file.parent)
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    small = {key: content.pop(key) for key in ("corpus", "batch_sequences", "final_windows")}
    small |= {"schedule": {"warmup_steps": 2, "cooldown_share": 0.5}}
    (folder / "small.yaml").write_text(yaml.safe_dump(small), encoding="utf-8")
    (folder / "big.yaml").write_text(yaml.safe_dump(small | {"batch_sequences": 8}), encoding="utf-8")
    sweep_file.write_text(yaml.safe_dump(content | {"scale": "small"}), encoding="utf-8")
    return folder


def test_a_scale_gives_what_the_file_does_not(sweep_file: Path, scales: Path) -> None:
    small, big = load_sweep(sweep_file), load_sweep(sweep_file, scale="big")
    assert (small.batch_sequences, big.batch_sequences) == (4, 8)
    assert (small.schedule.warmup_steps, small.schedule.cooldown_share) == (3, 0.5)  # the file's own wins
    assert load_sweep(sweep_file, scale=str(scales / "big.yaml")).batch_sequences == 8
    with pytest.raises(
        InputError, match=r"scale 'huge': there is no such file; in .* there are: big, .*small"
    ):
        load_sweep(sweep_file, scale="huge")


def test_a_budget_for_each_scale(sweep_file: Path, scales: Path) -> None:
    edited(sweep_file, budget={"small": "1 core-minute"})
    assert load_sweep(sweep_file).budget == "1 core-minute"
    assert load_sweep(sweep_file, scale="big", budget="1e9 FLOPs").budget == "1e9 FLOPs"
    with pytest.raises(InputError, match="budget: there is none for the scale 'big'; it has small"):
        load_sweep(sweep_file, scale="big")


# --- what a budget pays for -------------------------------------------------------------------------

MODEL = {
    "shape": {"n_layer": 1},
    "vary": {"size": ["1/4", 1]},
    "horizons": ["1/4", 1],
}


def study_of(sweep_file: Path) -> Plan:
    return begun(load_sweep(sweep_file), logs=sweep_file.parent / "logs")


def flops(spec: RunSpec, tokens: int) -> float:
    return 3 * sum(spec.network.flops_per_token.values()) * tokens


def test_the_largest_reference_that_the_budget_pays_for(sweep_file: Path) -> None:
    study = study_of(with_models(sweep_file, MODEL, budget="1e12 FLOPs"))
    references = find_references(study, None)
    (N,) = {reference.N for reference in references.values()}
    larger = reference_of_size(study.sweep, study.sweep, SIZES[SIZES.index(N) + 1])
    assert references["s"].D == 20 * N
    costs = [
        spent(study_specs(replace(study, references={"s": reference})), flops)
        for reference in (references["s"], larger)
    ]
    assert costs[0] <= 1e12 < costs[1] and costs[0] > 0.7e12
    planned = filled(replace(study, references=references), None)
    trained = sum(run.C_exact * run.trained_tokens / run.D for run in planned.runs)
    assert trained == pytest.approx(costs[0])
    sizes = sorted({run.N for run in planned.runs})
    assert sizes[1] == pytest.approx(N, rel=0.1) and sizes[0] == pytest.approx(N / 4, rel=0.15)
    for run in planned.runs:
        assert any(abs(run.D - share * 20 * N) <= run.batch_tokens for share in (0.25, 1))


@pytest.mark.parametrize(
    "name", [pytest.param("kaplan2020", marks=pytest.mark.systems), "hoffmann2022", "porian2024"]
)
def test_the_scale_of_a_gpu_has_room_for_a_paper(name: str) -> None:
    """At some size each horizon is longer than the warm-up and within the corpus. To plan it needs no GPU."""
    study = begun(load_sweep(Path(name), scale="gpu", budget="1e17 FLOPs"))
    references = {
        experiment.study: reference_of_size(study.sweep, experiment, 1e6)
        for experiment in study.experiments
        if experiment.needs_reference
    }
    assert len(study_specs(replace(study, references=references))) > 80


def test_a_budget_of_time_uses_the_measured_cost(sweep_file: Path) -> None:
    study = study_of(with_models(sweep_file, MODEL, budget="2 core-minutes"))
    slow, fast = (
        find_references(study, lambda spec, tokens, speed=speed: rough_seconds(spec, tokens) / speed)["s"]
        for speed in (1.0, 10.0)
    )
    assert fast.N > 2 * slow.N


def test_most_tokens_bound_the_reference(sweep_file: Path) -> None:
    study = study_of(with_models(sweep_file, MODEL, budget="1e12 FLOPs", most_tokens=50_000))
    assert find_references(study, None)["s"].D == 50_000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"budget": "1e6 FLOPs"},
            r"a budget of 1e\+06 FLOPs does not suffice: .* costs .* FLOPs; give it that much",
        ),
        ({"budget": "1 GPU-hour"}, "its budget is 1 GPU-hours, and its runs are trained on CPU cores"),
        ({"budget": "much"}, "is not an amount of compute"),
        ({}, "is given; add budget:"),
    ],
)
def test_budgets_that_cannot_be_met(sweep_file: Path, changes: dict[str, Any], says: str) -> None:
    study = study_of(with_models(sweep_file, MODEL, **changes))
    with pytest.raises(InputError, match=says) as raised:
        find_references(study, rough_seconds)
    assert "\n" not in str(raised.value)


def test_what_would_suffice_does(sweep_file: Path) -> None:
    with pytest.raises(InputError) as raised:
        find_references(study_of(with_models(sweep_file, MODEL, budget="1e6 FLOPs")), None)
    needed = str(raised.value).split("costs ")[1].split(";")[0]
    assert find_references(study_of(with_models(sweep_file, MODEL, budget=needed)), None)


def test_shares_of_compute(sweep_file: Path) -> None:
    """Slices: 6 N D is the share; at equal exact FLOPs, head and context count."""
    slices = {"shape": {"n_layer": 1}, "vary": {"size": [1, "1/2"], "compute": ["1/4", "1/2"]}}
    study = study_of(with_models(sweep_file, slices, budget="1e12 FLOPs"))
    reference = find_references(study, None)["s"]
    planned = filled(replace(study, references={"s": reference}), None)
    assert len(planned.runs) == 4
    for run in planned.runs:
        half_a_batch = 3 * run.N * run.batch_tokens
        assert min(abs(run.C - share * reference.C) for share in (0.25, 0.5)) <= half_a_batch * 1.01
    exact = {"vary": {"size": [1, "1/2"]}, "exact_compute": ["1/4"]}
    ladders = [
        {"family": "transformer", "learning_rate": 0.01, "models": [exact | {"shape": {"n_layer": 1}}]},
        {"family": "lstm", "learning_rate": 0.01, "models": [exact]},
    ]
    study = study_of(edited(sweep_file, ladders=ladders))
    runs = filled(replace(study, references=find_references(study, None)), None).runs
    C = [run.C_exact for run in runs]
    assert len(C) == 4 and max(C) / min(C) < 1.02


def test_slices_are_centred_by_the_last_fit(sweep_file: Path, tmp_path: Path) -> None:
    slices = {"shape": {"n_layer": 2}, "vary": {"compute": ["1/4", 1], "of_optimum": ["1/2", 1, 2]}}
    with_models(sweep_file, slices, budget="1e13 FLOPs", laws=str(tmp_path / "laws.json"))
    reference = find_references(study_of(sweep_file), None)["s"]
    C = reference.C
    assert reference.optima["transformer"].N(C) == pytest.approx(reference.N)  # 20 tokens per parameter
    entry = {"family": "transformer", "method": "isoflop", "coefficient": 3.0, "exponent": 0.3}
    unknown = {**entry, "method": "envelope", "exponent": None}
    (tmp_path / "laws.json").write_text(json.dumps({"allocation": [unknown, entry]}), encoding="utf-8")
    study = study_of(sweep_file)
    reference = find_references(study, None)["s"]
    runs = filled(replace(study, references={"s": reference}), None).runs
    sizes = sorted(run.N for run in runs if abs(run.C / reference.C - 1) < 0.05)
    best = 3.0 * reference.C**0.3
    assert sizes == pytest.approx([best / 2, best, 2 * best], rel=0.1)
    (tmp_path / "laws.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"laws\.json: allocation: Expected"):
        find_references(study, None)


def test_points_that_a_slice_cannot_have_are_left_out(sweep_file: Path) -> None:
    """Longer than the text, or mostly warm-up: the others are planned, and the plan says how many are not."""
    slices = {"shape": {"n_layer": 2}, "vary": {"compute": [1], "of_optimum": ["1/4", 1, 4]}}
    study = study_of(with_models(sweep_file, slices, budget="1e12 FLOPs"))
    reference = find_references(study, None)["s"]
    whole = filled(replace(study, references={"s": reference}), None)
    longest, middle, shortest = sorted((run.D for run in whole.runs), reverse=True)
    assert points_left_out(whole) == {"s": []}

    def left(**keys: Any) -> Plan:
        shorter = study_of(with_models(sweep_file, slices, budget="1e12 FLOPs", **keys))
        return filled(replace(shorter, references={"s": reference}), None)

    planned = left(most_tokens=longest - 1)
    assert sorted(run.D for run in planned.runs) == [shortest, middle]
    ((reason,),) = points_left_out(planned).values()
    assert "longer than most_tokens" in str(reason)
    lines = "\n".join(totals(planned, workers=1, timed=False))
    assert "s: points of slices that are left out: 1; the first: " in lines
    warmup_steps = shortest // whole.runs[0].batch_tokens
    planned = left(most_tokens=None, schedule={"warmup_steps": warmup_steps})
    assert sorted(run.D for run in planned.runs) == [middle, longest]
    ((reason,),) = points_left_out(planned).values()
    assert "is all warm-up" in str(reason)


def test_a_shorter_context_has_equal_tokens_a_step(sweep_file: Path) -> None:
    model = {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [2560], "n_ctx": 4}
    (run,) = filled(study_of(with_models(sweep_file, model)), None).runs
    assert (run.batch_tokens, run.config["data"]["batch_sequences"]) == (64, 16)
    assert run.config["recorder"]["final_windows"] == 4 * 16  # windows of 4 instead of 16 tokens
    with pytest.raises(InputError, match="n_ctx = 5 does not divide a step's 64 tokens"):
        filled(study_of(with_models(sweep_file, model | {"n_ctx": 5})), None)


# --- what was planned stays planned -----------------------------------------------------------------


def test_a_study_goes_on_with_the_sizes_it_began_with(sweep_file: Path) -> None:
    study = study_of(with_models(sweep_file, MODEL, budget="1e12 FLOPs"))
    assert read_kept(study) is None
    planned = filled(replace(study, references=find_references(study, None)), None)
    write_plan(planned)
    kept = read_kept(study)
    assert kept is not None and kept.references == planned.references
    again = filled(replace(study, references=kept.references), kept.cost)
    assert [run.run_id for run in again.runs] == [run.run_id for run in planned.runs]
    assert again.runs[0].expected_s == pytest.approx(planned.runs[0].expected_s, abs=1e-3)
    written = json.loads((study.folder / "plan.json").read_text(encoding="utf-8"))
    assert {run["name"]: run["run_id"] for run in written["runs"]} == {
        run.name: run.run_id for run in planned.runs
    }
    assert read_kept(study_of(edited(sweep_file, question="Worded otherwise?"))) is not None
    assert read_kept(study_of(edited(sweep_file, budget="2e12 FLOPs"))) is None
    edited(sweep_file, budget="1e12 FLOPs", question="Does it work?")
    for damaged in ("", "{", "[]", "{}", '{"references": 3}'):
        (study.folder / "plan.json").write_text(damaged, encoding="utf-8")
        assert read_kept(study) is None


# --- several experiments as one study ---------------------------------------------------------------


@pytest.fixture(scope="module")
def paper() -> Iterator[Plan]:
    """The paper's experiments, planned for a budget."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        monkeypatch.syspath_prepend(str(ROOT))
        study = begun(load_sweep(Path("configs/papers/kaplan2020.yaml"), scale="smoke"))
        yield filled(replace(study, references=find_references(study, rough_seconds)), rough_seconds)


def test_the_paper_is_all_experiments_with_every_run_once(paper: Plan) -> None:
    assert [experiment.study for experiment in paper.experiments] == EXPERIMENTS
    assert len({(reference.N, reference.D) for reference in paper.references.values()}) == 1
    names, ids = (Counter(getattr(run, key) for run in paper.runs) for key in ("name", "run_id"))
    assert max(names.values()) == max(ids.values()) == 1
    tags = Counter(tag for run in paper.runs for tag in run.tags)
    assert set(tags) == set(EXPERIMENTS)
    assert sum(len(run.tags) > 1 for run in paper.runs) >= 10  # what several ask for
    assert any(set(run.tags) >= {"size", "context", "reuse", "families"} for run in paper.runs)
    cost_s = sum(trunk.expected_s for trunk in paper.jobs)
    assert 0 < cost_s <= 25 * 60
    first = [min(EXPERIMENTS.index(tag) for run in trunk.runs for tag in run.tags) for trunk in paper.jobs]
    assert first == sorted(first)  # what stands first in the file is whole first
    for trunk in paper.jobs:
        assert {run.config["recorder"]["trunk"] for run in trunk.runs} == {trunk.name}
        assert [run.steps for run in trunk.runs] == sorted((run.steps for run in trunk.runs), reverse=True)


def test_every_run_of_an_experiment_is_in_the_paper(paper: Plan) -> None:
    """By itself, with the same reference, each experiment plans the same runs."""
    for experiment in paper.experiments:
        alone = replace(
            begun(experiment), references={experiment.study: paper.references.get(experiment.study)}
        )
        asked = {run.run_id for run in filled(alone, None).runs}
        assert asked == {run.run_id for run in paper.runs if experiment.study in run.tags}


def test_a_branch_of_one_experiment_leaves_the_trunk_of_another(sweep_file: Path, tmp_path: Path) -> None:
    shape = {"n_layer": 1, "d_model": 8}
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    for name, horizon in (("long", 2560), ("short", 1280)):
        ladder = {
            "family": "transformer",
            "learning_rate": 0.01,
            "models": [{"shape": shape, "horizons_tokens": [horizon]}],
        }
        (tmp_path / f"{name}.yaml").write_text(
            yaml.safe_dump(content | {"study": name, "ladders": [ladder]}), encoding="utf-8"
        )
    files = [str(tmp_path / "short.yaml"), str(tmp_path / "long.yaml")]
    del content["ladders"]
    sweep_file.write_text(yaml.safe_dump(content | {"include": files}), encoding="utf-8")
    (trunk,) = filled(study_of(sweep_file), None).jobs
    assert [(run.D, run.tags) for run in trunk.runs] == [(2560, ("long",)), (1280, ("short",))]
    assert trunk.runs[1].trained_tokens == 256


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"include": ["nowhere.yaml"], "ladders": []}, "nowhere.yaml: cannot be read"),
        ({"include": ["sweep.yaml"]}, "has ladders and include; leave one of them out"),
        ({"include": ["twice.yaml", "twice.yaml"], "ladders": []}, "two experiments are called 's'"),
        ({"include": ["other.yaml"], "ladders": []}, "the experiments of one study share one"),
    ],
)
def test_wrong_includes_get_one_line(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(sweep_file.parent)
    content = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))
    Path("twice.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    Path("other.yaml").write_text(yaml.safe_dump(content | {"corpus": "another.yaml"}), encoding="utf-8")
    with pytest.raises(InputError, match=says) as raised:
        study_of(edited(sweep_file, **changes))
    assert "\n" not in str(raised.value)


def test_a_reference_survives_the_plan_file() -> None:
    reference = Reference(N=1e5, D=2e6, optima={})
    assert typed(json.loads(json.dumps(reference.as_json())), Reference, "plan.json") == reference

"""Plans: counted as the networks count themselves, refused in one line, made without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.support.small_sweep import arguments, edited

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.published import BESIROGLU
from scaling_laws.models.lstm import LSTM
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.study.runs import load_study
from scaling_laws.study.schedule import Schedule
from scaling_laws.sweeps.plan.budgeting import find_references
from scaling_laws.sweeps.plan.experiments import begun, filled, plan, rough_seconds
from scaling_laws.sweeps.plan.learning_rates import LearningRateRule
from scaling_laws.sweeps.plan.power import design_of, truth_of
from scaling_laws.sweeps.plan.reading import load_sweep

ROOT = Path(__file__).parents[2]


def test_plan_counts_n_as_the_network_does(sweep_file: Path) -> None:
    planned = plan(load_sweep(sweep_file))
    assert [len(trunk.runs) for trunk in planned.jobs] == [2, 2, 1, 1]
    for run in planned.runs:
        if run.family != "transformer":
            continue
        shape = run.config["model"]["network"]["init_args"]
        groups = Transformer(n_vocab=256, n_ctx=16, **shape).parameters_by_group()
        assert groups["attention"] + groups["feed_forward"] + groups["norm"] == run.N
        assert run.C == 6 * run.N * run.D and run.steps * 64 == run.D


def test_the_longest_run_of_a_trunk_comes_first_and_so_does_the_longest_trunk(sweep_file: Path) -> None:
    planned = plan(load_sweep(sweep_file))
    expected = [trunk.expected_s for trunk in planned.jobs]
    assert expected == sorted(expected, reverse=True)
    for trunk in planned.jobs:
        assert [run.D for run in trunk.runs] == sorted((run.D for run in trunk.runs), reverse=True)
        assert {run.config["recorder"]["trunk"] for run in trunk.runs} == {trunk.name} == {trunk.runs[0].name}


def test_run_id_depends_on_what_decides_the_result_and_on_nothing_else(
    sweep_file: Path, tmp_path: Path
) -> None:
    ids = {run.name: run.run_id for run in plan(load_sweep(sweep_file)).runs}
    assert len(set(ids.values())) == len(ids)
    moved = plan(load_sweep(edited(sweep_file, study="other", question="?")), logs=tmp_path, data=tmp_path)
    assert {run.name: run.run_id for run in moved.runs} == ids
    changed = plan(load_sweep(edited(sweep_file, weight_decay=0.2)))
    assert not set(ids.values()) & {run.run_id for run in changed.runs}


def test_learning_rate_rule() -> None:
    rule = LearningRateRule(at_1e5=0.004, exponent=-0.5, at_most=0.01)
    assert rule.rate(N=100_000, D=1_000_000, batch_tokens=2048) == 0.004
    assert rule.rate(N=400_000, D=7, batch_tokens=7) == 0.002
    assert rule.rate(N=1_000, D=1_000_000, batch_tokens=2048) == 0.01


def test_learning_rate_rule_in_data_and_batch() -> None:
    rule = LearningRateRule(at_1e5=0.004, exponent_D=-0.5, exponent_B=0.5)
    assert rule.rate(N=100_000, D=4_000_000, batch_tokens=2048) == 0.002
    assert rule.rate(N=100_000, D=1_000_000, batch_tokens=8192) == 0.008


@pytest.mark.parametrize(
    ("N", "rate"),
    [(1e4, 1.954e-3), (1e5, 1.633e-3), (1e6, 1.312e-3), (1e7, 9.905e-4), (1e8, 6.693e-4), (1e9, 3.481e-4)],
)
def test_the_papers_learning_rate_rule(N: float, rate: float) -> None:
    """Values of D.1, worked out by hand."""
    rule = LearningRateRule(rule="kaplan")
    assert rule.rate(N=round(N), D=1, batch_tokens=1) == pytest.approx(rate, rel=3e-3)
    with pytest.raises(InputError, match=r"ends at N = 1\.21e10"):
        rule.rate(N=12_200_000_000, D=1, batch_tokens=1)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_sweep_file_plans(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = begun(load_sweep(path))
    planned = filled(replace(study, references=find_references(study, rough_seconds)), None)
    assert planned.sweep.study == path.stem
    for trunk in planned.jobs:
        for run in trunk.runs[1:]:  # a branch begins after the warm-up
            schedule = Schedule(**run.config["model"]["schedule"])
            assert schedule.cooldown_start(run.steps) > schedule.warmup_steps


def test_the_quick_study_covers_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 6 Transformer and 4 LSTM sizes over 6e3 to 4e5, 3 points a size, 3 seeds at two sizes."""
    monkeypatch.chdir(ROOT)
    planned = plan(load_sweep(ROOT / "configs" / "sweeps" / "quick.yaml"))
    for family, n_sizes in (("transformer", 6), ("lstm", 4)):
        sizes = sorted({run.N for run in planned.runs if run.family == family})
        assert len(sizes) >= n_sizes and sizes[0] < 7e3 and 3e5 < sizes[-1] < 5e5
        for size in sizes:
            assert len({run.D for run in planned.runs if run.family == family and size == run.N}) >= 3
    seeds: dict[tuple[str, int], set[int]] = {}
    for run in planned.runs:
        seeds.setdefault((run.family, run.N), set()).add(run.seed)
    assert sum(len(found) >= 3 for found in seeds.values()) >= 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"studdy": "x"}, "studdy"),
        ({"ladders": [{"family": "cnn", "learning_rate": {"at_1e5": 1}, "models": []}]}, "cnn"),
        ({"n_ctx": "long"}, "n_ctx"),
        ({"study": "../up"}, "begins with a letter or digit"),
        ({"study": "a b"}, "begins with a letter or digit"),
        ({"study": "\u202eevil"}, "begins with a letter or digit"),
        ({"study": "caf\u00e9"}, "begins with a letter or digit"),
        ({"corpus": "nowhere.yaml"}, "nowhere.yaml"),
        ({"ladders": []}, "plans no run"),
        ({"schedule": {"decay": "cosin"}}, "cosin"),
        ({"schedule": {"warmup_steps": 20}}, "has 20 steps, and the warm-up takes 20"),
        ({"warmup_steps": 3}, "warmup_steps"),
        ({"optimizer": "sgd"}, "sgd"),
        ({"optimizer": "adafactor", "beta1": 0.8}, "beta1 is not a setting of optimizer: adafactor"),
        ({"beta2": 1.0}, "beta2 is 1.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"batch_sequences": 0}, "batch_sequences is 0"),
        ({"final_windows": 0}, "final_windows is 0"),
        ({"trainer": {"max_steps": 3}}, "max_steps and default_root_dir are given by the plan"),
        ({"trainer": {"devices": 3}}, "is not a multiple of the 3 micro-batches"),
        ({"trainer": {"devices": 2, "accumulate_grad_batches": 4}}, "the 8 micro-batches"),
    ],
)
def test_wrong_sweep_files_get_one_line(
    sweep_file: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(edited(sweep_file, **changes), "--dry-run"))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"shape": {"n_layer": 1, "d_model": 8, "n_head": 2}, "horizons_tokens": [2560]}, "n_head"),
        ({"shape": {"n_layer": 1, "d_model": 8, "n_heads": 3}, "horizons_tokens": [2560]}, "does not divide"),
        (
            {"shape": {"n_layer": 1, "d_model": 8, "n_ctx": 3}, "horizons_tokens": [2560]},
            "given by the sweep",
        ),
        ({"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [100]}, "ten batches of 64"),
        (
            {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [2560], "seeds": [1, 1]},
            "planned twice",
        ),
        ({"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": []}, "how long is it trained"),
        ({"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [2560], "n_ctx": 0}, "n_ctx is 0"),
        (
            {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [2560], "train_halvings": -1},
            "train_halvings is -1",
        ),
        ({"shape": {"N": 1e5, "d_model": 8}, "horizons_tokens": [2560]}, "N decides d_model"),
        ({"shape": {"N": "much"}, "horizons_tokens": [2560]}, "N is 'much'; it must be a number"),
        ({"shape": {"N": 1e5, "n_layer": 2.5}, "horizons_tokens": [2560]}, "n_layer is 2.5"),
        ({"shape": {"N": 5e3, "head_width": 64}, "horizons_tokens": [2560]}, "the nearest is"),
        ({"shape": {"N": 1e5, "width": 64}, "horizons_tokens": [2560]}, "width"),
    ],
)
def test_wrong_models_get_one_line(sweep_file: Path, model: dict[str, Any], says: str) -> None:
    ladder = {"family": "transformer", "learning_rate": {"at_1e5": 0.01}, "models": [model]}
    with pytest.raises(InputError, match=says):
        plan(load_sweep(edited(sweep_file, ladders=[ladder])))


@pytest.mark.parametrize(
    ("learning_rate", "says"),
    [
        ({"rule": "kaplan", "at_1e5": 0.01}, "takes no other key"),
        ({"exponent": -0.3}, "at_1e5 is missing"),
        ({"at_1e5": -1.0}, "at_1e5 is -1.0"),
        (0.0, "learning_rate is 0.0"),
        ("fast", "fast"),
    ],
)
def test_wrong_learning_rates_get_one_line(sweep_file: Path, learning_rate: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        plan(load_sweep(with_ladder(sweep_file, learning_rate=learning_rate)))
    assert "\n" not in str(raised.value)


def with_ladder(sweep_file: Path, shape: dict[str, Any] | None = None, **ladder: Any) -> Path:
    """The sweep with one ladder of one model and two horizons."""
    model = {"shape": shape or {"n_layer": 1, "d_model": 8}, "horizons_tokens": [1280, 2560]}
    content: dict[str, Any] = {"learning_rate": 0.01, "models": [model], **ladder}
    if "class_path" not in content:
        content.setdefault("family", "transformer")
    return edited(sweep_file, ladders=[content])


def test_the_sweeps_fields_reach_the_configuration(sweep_file: Path) -> None:
    schedule = {"decay": "linear_cooldown", "warmup_steps": 4, "cooldown_share": 0.5, "final_share": 0.0}
    edited(sweep_file, schedule=schedule, beta1=0.8, beta2=0.99, weight_decay=0.0)
    (run, *_) = plan(load_sweep(with_ladder(sweep_file))).runs
    assert {key: value for key, value in run.config["model"].items() if key != "network"} == {
        "learning_rate": 0.01,
        "schedule": schedule,
        "optimizer": "adamw",
        "compile": False,
        "weight_decay": 0.0,
        "beta1": 0.8,
        "beta2": 0.99,
    }
    edited(sweep_file, optimizer="adafactor", beta1=0.9, beta2=0.95)
    (run, *_) = plan(load_sweep(sweep_file)).runs
    assert run.config["model"]["optimizer"] == "adafactor" and "beta1" not in run.config["model"]


def test_overlays_are_those_of_fit_and_the_sweeps_own_arguments_win(sweep_file: Path) -> None:
    overlays = [str(ROOT / "configs" / "trainer" / f"{name}.yaml") for name in ("gpu", "bf16-mixed")]
    edited(sweep_file, overlays=overlays, trainer={"devices": 2}, compile=True)
    (run, *_) = plan(load_sweep(sweep_file)).runs
    trainer = run.config["trainer"]
    assert (trainer["accelerator"], trainer["precision"], trainer["devices"]) == ("gpu", "bf16-mixed", 2)
    assert run.config["model"]["compile"] is True
    fsdp = str(ROOT / "configs" / "trainer" / "fsdp.yaml")
    (run, *_) = plan(load_sweep(edited(sweep_file, overlays=[fsdp]))).runs
    assert run.config["noise_scale"] == {"every_n_steps": 0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("model: {learning_rate: 1}", "has 'model'; a sweep's overlay may hold trainer, noise_scale"),
        ("trainer: 3", "has 'trainer'"),
        ("- a", "holds no keys"),
        ("trainer: [", "overlay .*wrong.yaml: cannot be read: while parsing"),
        ("trainer: {max_steps: 3}", "max_steps and default_root_dir are given by the plan"),
        (None, "No such file"),
    ],
)
def test_wrong_overlays_are_refused(sweep_file: Path, tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "wrong.yaml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        load_sweep(edited(sweep_file, overlays=[str(path)]))


def test_early_stopping_noise_and_probe_reach_the_configuration(sweep_file: Path) -> None:
    before = {run.name: run.run_id for run in plan(load_sweep(sweep_file)).runs}
    edited(sweep_file, patience=3, evaluation_every_n_steps=5, patience_corpus="test")
    edited(sweep_file, probe_windows=2, noise_scale_every_n_steps=7, noise_suffix_tokens=4)
    planned = plan(load_sweep(sweep_file))
    assert all(len(trunk.runs) == 1 for trunk in planned.jobs)  # a branch may never be reached
    for run in planned.runs:
        recorder = run.config["recorder"]
        assert (recorder["patience"], recorder["patience_corpus"]) == (3, "test")
        assert (recorder["evaluation_every_n_steps"], recorder["probe_windows"]) == (5, 2)
        assert run.config["noise_scale"] == {"every_n_steps": 7}
        assert run.config["data"]["noise_suffix_tokens"] == 4
        assert run.run_id != before[run.name]
    edited(sweep_file, patience=-1)
    with pytest.raises(InputError, match="patience is -1; it must be 0 or more"):
        load_sweep(sweep_file)


@pytest.mark.parametrize(
    ("decay", "exponent_D", "n_runs_a_trunk"),
    [
        ("cooldown", 0.0, [2]),
        ("linear_cooldown", 0.0, [2]),
        ("cosine", 0.0, [1, 1]),
        ("linear", 0.0, [1, 1]),
        ("constant", 0.0, [1, 1]),  # a branch would have no step of its own
        ("cooldown", -0.1, [1, 1]),
    ],
)
def test_only_horizons_with_steps_in_common_share_a_trunk(
    sweep_file: Path, decay: str, exponent_D: float, n_runs_a_trunk: list[int]
) -> None:
    edited(sweep_file, schedule={"decay": decay, "warmup_steps": 2, "cooldown_share": 0.25})
    with_ladder(sweep_file, learning_rate={"at_1e5": 0.01, "exponent_D": exponent_D})
    trunks = plan(load_sweep(sweep_file)).jobs
    assert [len(trunk.runs) for trunk in trunks] == n_runs_a_trunk
    assert {trunk.runs[0].config["recorder"]["trunk"] for trunk in trunks} == {trunk.name for trunk in trunks}
    trained = [run.trained_tokens for trunk in trunks for run in trunk.runs]
    assert trained == ([2560, 1280 // 4] if n_runs_a_trunk == [2] else [2560, 1280])
    # The expected time follows the tokens that are trained.
    assert sum(trunk.expected_s for trunk in trunks) / sum(trained) == pytest.approx(
        trunks[0].expected_s / sum(run.trained_tokens for run in trunks[0].runs)
    )


def test_models_override_the_context_the_batch_and_the_data(sweep_file: Path) -> None:
    """A batch scan and a data scan in one study: unique names that say what differs."""
    base = {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": [2560]}
    overrides: list[dict[str, int]] = [{}, {"batch_sequences": 8}, {"train_halvings": 2}]
    overrides += [{"n_ctx": 8, "batch_sequences": 8}]
    varied = with_ladder(sweep_file, models=[base | override for override in overrides])
    runs = {run.name: run for run in plan(load_sweep(varied)).runs}
    assert sorted(runs) == [
        "transformer-1x8-batch8-s1-0.00256M",
        "transformer-1x8-ctx8-batch8-s1-0.00256M",
        "transformer-1x8-halved2-s1-0.00256M",
        "transformer-1x8-s1-0.00256M",
    ]
    batch, short, halved, plain = (runs[name] for name in sorted(runs))
    assert (batch.batch_tokens, batch.steps, plain.batch_tokens, plain.steps) == (128, 20, 64, 40)
    assert (short.batch_tokens, short.config["data"]["n_ctx"]) == (64, 8)
    assert halved.config["data"]["train_halvings"] == 2
    assert plain.config["data"]["train_halvings"] == 0
    assert len({run.run_id for run in runs.values()}) == 4


@pytest.mark.parametrize("N", [1.5e5, 3e5, 1e6])
def test_families_are_matched_by_their_size(sweep_file: Path, N: float) -> None:
    """Built, the networks have the N that the file asks for, within 2 %."""
    shape = {"N": N, "n_layer": 2, "d_ff_ratio": 2, "bias": False, "tied": False}
    ladders = [
        {"family": "transformer", "learning_rate": 0.01, "models": [model(shape)]},
        {"family": "lstm", "learning_rate": 0.01, "models": [model({"N": N})]},
    ]
    for run in plan(load_sweep(edited(sweep_file, ladders=ladders))).runs:
        network = {"transformer": Transformer, "lstm": LSTM}[run.family]
        arguments = run.config["model"]["network"]["init_args"]
        groups = network(n_vocab=256, n_ctx=16, **arguments).parameters_by_group()
        assert (
            sum(groups.values())
            - sum(groups.get(group, 0) for group in ("token_embedding", "position_embedding", "head"))
            == run.N
        )
        assert pytest.approx(N, rel=0.02) == run.N and arguments["n_layer"] == 2
        if run.family == "transformer":
            assert arguments["d_ff"] == 2 * arguments["d_model"]
            assert arguments["bias"] is False and arguments["tied"] is False


def model(shape: dict[str, Any]) -> dict[str, Any]:
    return {"shape": shape, "horizons_tokens": [2560]}


def test_the_plan_shows_memory(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run, *_) = plan(load_sweep(with_ladder(sweep_file))).runs
    network = Transformer(n_vocab=256, n_ctx=16, n_layer=1, d_model=8)
    assert run.memory is not None
    assert run.memory.weights == 4 * sum(weight.numel() for weight in network.parameters())
    # Powers of a chunk, here of all 4 windows; gradients of what the head multiplies, and of the head.
    assert run.memory.loss == 4 * ((4 * 16) * 256 + (4 * 16 + 256) * 8)
    main(arguments(sweep_file, "--dry-run"))
    assert f"{run.memory.total / 1e6:.3g} MB" in capsys.readouterr().out
    halves = plan(load_sweep(edited(sweep_file, trainer={"devices": 2}))).runs[0].memory
    assert halves is not None and halves.loss == 4 * ((2 * 16) * 256 + (2 * 16 + 256) * 8)
    unknown = edited(sweep_file, trainer={"precision": "transformer-engine"})
    assert plan(load_sweep(unknown)).runs[0].memory is None


def test_plans_of_built_in_networks_need_no_torch() -> None:
    code = (
        "import sys; from scaling_laws.cli import main\n"
        "main(['sweep', 'configs/sweeps/tiny.yaml', '--dry-run'])\n"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


# --- networks of one's own ------------------------------------------------------------------------

OWN_NETWORK = """
import torch

class Bag(torch.nn.Module):
    family = "bag of words"
    def __init__(self, n_vocab, n_ctx, width=8, tag="a/b"):
        super().__init__()
        self.embedding = torch.nn.Embedding(n_vocab, width)
        self.mix = torch.nn.Linear(width, width)
        self.head = torch.nn.Linear(width, n_vocab, bias=False)
    def forward(self, tokens):
        counts = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)[:, None]
        return self.head(self.mix(self.embedding(tokens).cumsum(1) / counts))
    def parameters_by_group(self):
        sizes = {name: weight.numel() for name, weight in self.named_parameters()}
        mix = sizes["mix.weight"] + sizes["mix.bias"]
        return {"token_embedding": sizes["embedding.weight"], "mix": mix, "head": sizes["head.weight"]}
    def flops_per_token(self):
        return {"mix": 2.0 * self.mix.weight.numel(), "de_embed": 2.0 * self.head.weight.numel()}
"""


def test_a_sweep_trains_a_network_of_the_working_directory(sweep_file: Path) -> None:
    """As the console script is: its own folder is not on the path (-P); and in clean processes."""
    folder = sweep_file.parent
    (folder / "my_networks.py").write_text(OWN_NETWORK, encoding="utf-8")
    with_ladder(sweep_file, shape={"width": 4, "tag": "x/y"}, class_path="my_networks.Bag")
    command = [sys.executable, "-P", "-m", "scaling_laws", *arguments(sweep_file, "--workers", "1")]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    study = load_study(folder / "logs" / "s")
    assert study.runs["run"].tolist() == [
        "bag_of_words-tagx_y-width4-s1-0.00128M",
        "bag_of_words-tagx_y-width4-s1-0.00256M",
    ]
    assert set(study.runs["N"]) == {4 * 4 + 4} and set(study.runs["family"]) == {"bag of words"}
    record = read_record(folder / "logs" / "s" / study.runs["run"][0] / "record.json")
    assert record.shape == {"n_vocab": 256, "n_ctx": 16, "width": 4, "tag": "x/y"}


@pytest.mark.parametrize(
    ("ladder", "says"),
    [
        ({"class_path": "examples.modern_decoder.ModernDecoder", "family": "lstm"}, "either its family"),
        ({"class_path": "nowhere_to_be_found.Net"}, "'nowhere_to_be_found' cannot be imported"),
        ({"class_path": "examples.modern_decoder.Old"}, "has no nn.Module called 'Old'"),
        ({"class_path": "Old"}, "write it as module.Class"),
        ({"class_path": "examples.modern_decoder.ModernDecoder", "shape": {"n_layers": 1}}, "n_layers"),
        (
            {
                "class_path": "examples.modern_decoder.ModernDecoder",
                "shape": {"n_layer": 1, "d_model": 8, "n_heads": 3},
            },
            "no even width",
        ),
        ({"class_path": "test_sweeps_planning.CountsWrongly", "shape": {"a": 1}}, "sums to 3, but it has 4"),
        ({"class_path": "torch.nn.Identity", "shape": {"a": 1}}, "needs `family`, `parameters_by_group"),
    ],
)
def test_wrong_networks_of_ones_own_get_one_line(sweep_file: Path, ladder: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        plan(load_sweep(with_ladder(sweep_file, **ladder)))
    assert "\n" not in str(raised.value)


class CountsWrongly(torch.nn.Linear):
    family = "wrong"

    def __init__(self, n_vocab: int, n_ctx: int, a: int) -> None:
        super().__init__(4, 1, bias=False)

    def parameters_by_group(self) -> dict[str, int]:
        return {"all": 3}

    def flops_per_token(self) -> dict[str, float]:
        return {}


def test_what_is_kept_makes_no_other_run(sweep_file: Path) -> None:
    """The state before a cooldown is of use where horizons share a trunk; elsewhere weights are kept."""
    planned = plan(load_sweep(sweep_file))
    assert {run.config["checkpoints"]["keep"] for run in planned.runs} == {"weights"}
    for keep in ("trunk", "nothing"):
        other = plan(load_sweep(edited(sweep_file, keep=keep)))
        assert [run.run_id for run in other.runs] == [run.run_id for run in planned.runs]
        assert {run.config["checkpoints"]["keep"] for run in other.runs} == {keep}
    alone = plan(
        load_sweep(edited(sweep_file, keep="trunk", schedule={"warmup_steps": 3, "decay": "cosine"}))
    )
    assert {run.config["checkpoints"]["keep"] for run in alone.runs} == {"weights"}


def test_power_of_a_plan_is_that_of_the_runs_that_laws_may_use(sweep_file: Path, tmp_path: Path) -> None:
    planned = plan(load_sweep(sweep_file))
    design = design_of(planned)
    assert sorted(design["run"]) == sorted(run.name for run in planned.runs)
    assert design.groupby("family")["trunk"].nunique().to_dict() == {"transformer": 2, "lstm": 2}
    ladders = yaml.safe_load(sweep_file.read_text(encoding="utf-8"))["ladders"]
    ladders[0]["learning_rate_factors"] = [0.5, 1, 2]
    scan = design_of(plan(load_sweep(edited(sweep_file, ladders=ladders))))
    assert len(scan) == len(design)  # of three rates one wins
    assert truth_of("chinchilla", tmp_path, "transformer").law == BESIROGLU
    for wrong, message in (("droppo", "were never published"), ("law", "must be a laws.json, or one of")):
        with pytest.raises(InputError, match=message):
            truth_of(wrong, tmp_path, "transformer")


def test_power_of_a_sweep_file_from_python_and_by_the_command(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sl.sweep_power(sweep_file, noise=0.01, studies=2, resamples=10, processes=1, logs=tmp_path)
    assert [each.family for each in found.families] == ["transformer"]  # two runs of the other
    assert found.of("transformer").noise == 0.01 and found.of("transformer").n_runs == 4
    assert "Power of transformer's runs, truth: Kaplan et al. 2020, Table 2; noise: as asked for" in str(
        found
    )
    with pytest.raises(InputError, match="no runs of 'lstm' were simulated; there are transformer"):
        found.of("lstm")
    given = sl.sweep_power(sweep_file, truth=BESIROGLU, studies=1, resamples=5, processes=1, logs=tmp_path)
    assert "truth: chinchilla, as given; noise: that of most small studies" in given.summary()

    planned = plan(load_sweep(sweep_file))
    monkeypatch.setattr("scaling_laws.commands.sweep.plan_of", lambda options, **others: planned)
    monkeypatch.setattr("scaling_laws.sweeps.plan.power.power", lambda *_, **__: found.of("transformer"))
    main(arguments(sweep_file, "--dry-run", "--power", "--truth", "chinchilla"))
    output = capsys.readouterr().out
    assert "truth: Besiroglu et al. 2024" in output and found.of("transformer").summary() in output
    with pytest.raises(SystemExit, match="2"):
        main(arguments(sweep_file, "--power"))
    assert "--power belongs to --dry-run" in capsys.readouterr().err


def test_a_search_has_no_power(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a search, whose runs feed no law"):
        sl.sweep_power("shape", logs=tmp_path)

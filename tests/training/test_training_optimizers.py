"""Any optimiser: by its name, by its class, or several, each for a part of the weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.support.ranks import on_ranks
from tests.support.tiny_runs import assert_same_run, config, fail_in_step, weights
from torch import nn

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.models.optimizer_parts import make_optimizer, parts_of, require_resumable, state_bytes
from scaling_laws.models.optimizers import optimizer_label, optimizer_parts, optimizer_settings
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.training.run import train_trunk

SGD = {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9, "nesterov": True}}
MUON = {"class_path": "torch.optim.Muon", "init_args": {"adjust_lr_fn": "match_rms_adamw"}}
MUON_AND_ADAMW = [
    {**MUON, "parameters": "matrices", "learning_rate_factor": 2.0},
    {"name": "adamw", "parameters": "rest"},
]
OPTIMIZERS: dict[str, Any] = {
    "sgd": SGD,
    "muon": MUON_AND_ADAMW,
    "adam": {"class_path": "torch.optim.Adam"},
    "by_name": [
        {"class_path": "torch.optim.RMSprop", "parameters": r"norm|bias$"},
        {"class_path": "torch.optim.NAdam", "parameters": "rest", "learning_rate_factor": 0.5},
    ],
}
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
EACH = [pytest.param(name, marks=needs_muon if name == "muon" else ()) for name in OPTIMIZERS]


class Forgetful(torch.optim.SGD):
    """Counts its steps where no checkpoint looks, and rests at every fifth."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.n_steps = 0

    def step(self, closure: Any = None) -> Any:
        self.n_steps += 1
        return super().step(closure) if self.n_steps % 5 else None


class TwoWeights(torch.optim.SGD):
    """Evaluates with other weights than it trains."""

    def train(self) -> None: ...
    def eval(self) -> None: ...


def planned(corpus: TokenCorpus, folder: Path, name: str, steps: int = 30) -> dict[str, Any]:
    plan = config(corpus, folder, steps=steps)
    plan["model"] |= {"optimizer": copy.deepcopy(OPTIMIZERS[name]), "learning_rate": 0.02}
    return plan


@pytest.fixture(scope="module")
def whole(
    early_evaluations: None, byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """An undisturbed run by each optimiser."""
    folders = {}
    for name in OPTIMIZERS:
        if name == "muon" and not hasattr(torch.optim, "Muon"):
            continue
        folders[name] = tmp_path_factory.mktemp(name) / "whole"
        train_trunk([planned(byte_corpus, folders[name], name)])
    return folders


@pytest.mark.parametrize("name", EACH)
def test_a_run_is_resumed_bit_for_bit(
    whole: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, name: str
) -> None:
    resumed = planned(byte_corpus, tmp_path / "run", name)
    fail_in_step(resumed, 17)
    train_trunk([resumed])
    assert_same_run(whole[name], tmp_path / "run")
    record = read_record(tmp_path / "run" / "record.json")
    assert record.optimizer["name"] == optimizer_label(OPTIMIZERS[name])
    assert ("weight_decay" in record.optimizer) == (name == "muon")


@pytest.mark.parametrize("name", EACH)
def test_a_branch_is_the_run_from_the_start(
    whole: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, name: str
) -> None:
    trunk = planned(byte_corpus, tmp_path / "trunk", name, steps=40)
    train_trunk([trunk, planned(byte_corpus, tmp_path / "branch", name)])
    assert_same_run(whole[name], tmp_path / "branch")


def test_sgd_takes_the_schedules_rate(whole: dict[str, Path]) -> None:
    """The curve has the schedule's rate, whatever factors the parts have."""
    for name in ("sgd", "by_name"):
        curve = pd.read_csv(whole[name] / "curve.csv")
        assert curve["learning_rate"].max() == pytest.approx(0.02)


def test_a_class_moves_the_weights_as_by_hand() -> None:
    """Two optimisers at once: what each does to its part alone, with its share of the rate."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    by_hand = copy.deepcopy(network)
    setting = [
        {"class_path": "torch.optim.SGD", "parameters": "matrices", "learning_rate_factor": 3.0},
        {"class_path": "torch.optim.Adam", "parameters": "rest"},
    ]
    joined = make_optimizer(setting, network, learning_rate=0.1, betas=(0.9, 0.9), weight_decay=0.5)
    (matrix, *rest) = by_hand.parameters()
    alone = [torch.optim.SGD([matrix], lr=0.3), torch.optim.Adam(rest, lr=0.1)]
    for _ in range(3):
        for each, optimizers in ((network, [joined]), (by_hand, alone)):
            each.zero_grad()
            each(torch.ones(2, 3)).pow(3).sum().backward()
            for optimizer in optimizers:
                optimizer.step()
    for one, other in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_matrices_are_neither_embeddings_nor_the_head() -> None:
    network = Transformer(n_vocab=11, n_ctx=8, n_layer=1, d_model=8, tied=False)
    setting = [{"class_path": "torch.optim.SGD", "parameters": "matrices"}, "adamw"]
    with pytest.raises(InputError, match="adamw is one of several; which weights"):
        parts_of([setting[0], {"name": "adamw"}], network)
    (_, matrices), (_, rest) = parts_of([setting[0], {"name": "adamw", "parameters": "rest"}], network)
    assert {name.split(".")[-2] for name in matrices} == {"query_key_value", "project", "expand"}
    assert {"token_embedding.weight", "position_embedding.weight", "head.weight"} <= rest.keys()
    assert len(matrices) + len(rest) == len(list(network.parameters()))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", EACH)
def test_what_is_kept_is_counted_by_a_step(name: str, precision: torch.dtype) -> None:
    shape = {"n_layer": 2, "d_model": 24, "n_heads": 2}
    network = Transformer(n_vocab=31, n_ctx=8, **shape).to(precision)
    optimizer = make_optimizer(
        OPTIMIZERS[name], network, learning_rate=0.1, betas=(0.9, 0.9), weight_decay=0.0, fused=False
    )
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = sum(
        value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    path = "scaling_laws.models.transformer.Transformer"
    assert state_bytes(OPTIMIZERS[name], path, shape, n_vocab=31, n_ctx=8, dtype=precision) == kept


HERE = "tests.training.test_training_optimizers"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sgd", "is not one of adamw, adafactor; any other is named by its class"),
        (
            {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
            "has lr, but the rate is the sche",
        ),
        ({"class_path": "torch.optim.SDG"}, "torch.optim has no torch.optim.Optimizer called 'SDG'"),
        ({"class_path": "nowhere.SGD"}, "module 'nowhere' cannot be imported"),
        ({"class_path": "SGD"}, "write it as module.Class"),
        ({"class_path": "torch.nn.Linear"}, "has no torch.optim.Optimizer called 'Linear'"),
        ({"class_path": "torch.optim.SGD", "init_args": {"momentun": 0.9}}, "momentun"),
        ({"class_path": "torch.optim.LBFGS"}, "closure"),
        ({"class_path": "torch.optim.SparseAdam"}, "SparseAdam"),
        ({"class_path": f"{HERE}.Forgetful"}, "not all in its state_dict"),
        ({"class_path": f"{HERE}.TwoWeights"}, "other weights for training than for evaluation"),
        ({"class_path": "torch.optim.SGD", "momentum": 0.9}, "no key 'momentum'"),
        ({"name": "adamw", "init_args": {"eps": 1.0}}, "takes no init_args"),
        ({"class_path": "torch.optim.SGD", "parameters": "("}, "not a regular expression"),
        ({"class_path": "torch.optim.SGD", "learning_rate_factor": 0}, "learning_rate_factor is 0"),
        ([], "the list is empty"),
        (["adamw", "adafactor"], "both take the rest"),
    ],
)
def test_what_is_no_optimiser_is_refused_before_a_step(
    byte_corpus: TokenCorpus, tmp_path: Path, setting: Any, says: str
) -> None:
    plan = config(byte_corpus, tmp_path / "run")
    plan["model"]["optimizer"] = setting
    with pytest.raises(InputError, match=says) as refused:
        train_trunk([plan])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "curve.csv").exists()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ([{**SGD, "parameters": "matrices"}], "none takes token_embedding.weight and"),
        ([{**SGD, "parameters": "nothing"}, {"name": "adamw", "parameters": "rest"}], "takes none of the"),
        pytest.param(MUON, "Muon only supports 2D", marks=needs_muon),
    ],
)
def test_every_weight_has_one_optimiser(
    byte_corpus: TokenCorpus, tmp_path: Path, setting: Any, says: str
) -> None:
    plan = config(byte_corpus, tmp_path / "run")
    plan["model"]["optimizer"] = setting
    with pytest.raises(InputError, match=says):
        train_trunk([plan])


@pytest.mark.parametrize("name", ["weight_decay", "beta1"])
def test_a_setting_of_the_short_names_is_refused_beside_a_class(
    byte_corpus: TokenCorpus, tmp_path: Path, name: str
) -> None:
    plan = planned(byte_corpus, tmp_path / "run", "sgd")
    plan["model"][name] = 0.5
    with pytest.raises(InputError, match=f"{name} is not a setting of optimizer: SGD.*init_args"):
        train_trunk([plan])


def test_labels_say_what_differs() -> None:
    assert optimizer_label("adamw") == "adamw"
    assert optimizer_label(SGD) == "SGD(momentum=0.9, nesterov=True)"
    several = "Muon(adjust_lr_fn=match_rms_adamw) at 2 of the rate for matrices + adamw for rest"
    assert optimizer_label(MUON_AND_ADAMW) == several
    assert [part.parameters for part in optimizer_parts(MUON_AND_ADAMW[::-1])] == ["matrices", "rest"]
    assert optimizer_settings(SGD) == () and "beta1" in optimizer_settings(MUON_AND_ADAMW)


def test_a_state_in_half_precision_that_torch_restores_is_taken() -> None:
    require_resumable(SGD, torch.bfloat16)


# --- several devices -------------------------------------------------------------------------------

SHARDED = {"class_path": "scaling_laws.training.strategies.FullyShardedStrategy"}


@pytest.mark.parametrize("strategy", ["ddp", SHARDED], ids=["ddp", "sharded"])
@pytest.mark.parametrize("name", EACH)
def test_two_processes_train_what_one_trains(
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    strategy: Any,
) -> None:
    plans = [planned(byte_corpus, tmp_path / place, name, steps=8) for place in ("one", "two")]
    for plan in plans:
        plan["model"]["network"]["init_args"]["dropout"] = 0.0
        plan["noise_scale"] = {"every_n_steps": 0}
    plans[1]["trainer"] |= {"devices": 2, "strategy": strategy}
    train_trunk([plans[0]])
    statuses = on_ranks(lambda: train_trunk([plans[1]]))
    if statuses != [0, 0]:
        assert strategy == SHARDED and "cannot take sharded weights" in capfd.readouterr().err
        pytest.skip(f"torch cannot shard {name}; said in one line")
    one, two = (pd.read_csv(tmp_path / place / "curve.csv") for place in ("one", "two"))
    columns = ["train_loss_nats", "test_loss_nats"]
    pd.testing.assert_frame_equal(one[columns], two[columns], rtol=1e-4, atol=1e-4)
    assert weights(tmp_path / "two").keys() == weights(tmp_path / "one").keys()

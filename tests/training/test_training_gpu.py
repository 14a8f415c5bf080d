"""What needs a CUDA device (`pytest -m gpu`): every precision, family and compilation; resume; sharding."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.support.tiny_runs import FAMILIES, config, fail_in_step, weights

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.models.lstm import LSTM
from scaling_laws.study.records import read_record
from scaling_laws.training.run import train_trunk

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    # The first compilation imports and inspects modules of torch and of others that use deprecated names.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
STEPS = 30
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true", "16-mixed")
SHARDED = {"class_path": "scaling_laws.training.strategies.FullyShardedStrategy"}


def planned(
    corpus: TokenCorpus, folder: Path, family: str, precision: str = "32-true", **model: Any
) -> dict[str, Any]:
    """A run on one GPU, without dropout: CPU and GPU draw different random numbers."""
    plan = config(corpus, folder, family, steps=STEPS)
    plan["model"] |= model
    plan["model"]["network"]["init_args"]["dropout"] = 0.0
    plan["trainer"] |= {"accelerator": "gpu", "precision": precision}
    plan["noise_scale"] = {"every_n_steps": 0}
    return plan


@pytest.fixture(scope="module")
def on_cpu(byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Test loss of the run in float32 on the CPU, by family."""
    losses = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp("cpu") / "run"
        plan = planned(byte_corpus, folder, family)
        plan["trainer"]["accelerator"] = "cpu"
        train_trunk([plan])
        losses[family] = read_record(folder / "record.json").losses["test"]["loss_nats"]
    return losses


@pytest.mark.parametrize(
    ("family", "precision", "compiled"), list(itertools.product(FAMILIES, PRECISIONS, (False, True)))
)
def test_every_precision_family_and_compilation(
    on_cpu: dict[str, float],
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    family: str,
    precision: str,
    compiled: bool,
) -> None:
    torch._dynamo.reset()
    train_trunk([planned(byte_corpus, tmp_path / "run", family, precision, compile=compiled)])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.status == "complete"
    assert record.optimizer["precision"] == precision and record.optimizer["compiled"] == compiled
    tolerance = 1e-3 if precision == "32-true" else 0.03
    assert record.losses["test"]["loss_nats"] == pytest.approx(on_cpu[family], rel=tolerance)
    assert 0 < record.peak_memory_bytes < torch.cuda.get_device_properties(0).total_memory


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("strategy", ["auto", SHARDED], ids=["plain", "sharded"])
def test_resume_on_a_gpu(byte_corpus: TokenCorpus, tmp_path: Path, family: str, strategy: Any) -> None:
    """Dropout and all; equal to what CUDA's atomic additions leave open."""
    for name in ("whole", "resumed"):
        plan = planned(byte_corpus, tmp_path / name, family)
        plan["model"]["network"]["init_args"]["dropout"] = 0.1
        plan["trainer"]["strategy"] = strategy
        if name == "resumed":
            fail_in_step(plan, 14)
        train_trunk([plan])
    curves = [pd.read_csv(tmp_path / name / "curve.csv") for name in ("whole", "resumed")]
    for column in ("train_loss_nats", "test_loss_nats"):
        pd.testing.assert_series_equal(*(curve[column] for curve in curves), rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_sharded_over_one_gpu(byte_corpus: TokenCorpus, tmp_path: Path, family: str) -> None:
    for name, strategy in (("plain", "auto"), ("sharded", SHARDED)):
        plan = planned(byte_corpus, tmp_path / name, family, "bf16-mixed")
        plan["trainer"]["strategy"] = strategy
        train_trunk([plan])
    losses = [
        read_record(tmp_path / name / "record.json").losses["test"]["loss_nats"]
        for name in ("plain", "sharded")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert weights(tmp_path / "plain").keys() == weights(tmp_path / "sharded").keys()


def test_cudnns_lstm_is_the_cpus() -> None:
    torch.manual_seed(0)
    network = LSTM(n_vocab=50, n_ctx=32, n_layer=2, d_model=64)
    tokens = torch.randint(0, 50, (3, 32))
    expected = network(tokens)
    torch.testing.assert_close(network.cuda()(tokens.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)

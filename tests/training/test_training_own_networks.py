"""Networks of one's own in training: probed, doubted, with a loss of their own and active parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from examples.mixture_of_experts import MixtureOfExperts
from tests.models.test_causal_probe import Bidirectional
from tests.support.tiny_runs import assert_same_run, config, fail_in_step

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.models.network import require_accounting
from scaling_laws.study.errors import InputError
from scaling_laws.study.recipe import MAY_DIFFER
from scaling_laws.study.records import read_record
from scaling_laws.study.runs import runs_table
from scaling_laws.training.run import train_trunk


class Both(Bidirectional):
    """The bidirectional GRU with its accounting."""

    family = "both"

    def __init__(self, n_vocab: int, n_ctx: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(n_vocab, 8)
        self.head = torch.nn.Linear(16, n_vocab)

    def parameters_by_group(self) -> dict[str, int]:
        return {"all": sum(weight.numel() for weight in self.parameters())}

    def flops_per_token(self) -> dict[str, float]:
        return {"all": 1.0}


def planned(corpus: TokenCorpus, folder: Path, balance: float = 0.01, **trainer: Any) -> dict[str, Any]:
    plan = config(corpus, folder)
    plan["model"]["network"] = {
        "class_path": "examples.mixture_of_experts.MixtureOfExperts",
        "init_args": {"n_layer": 1, "d_model": 8, "n_experts": 8, "n_active": 1, "balance": balance},
    }
    plan["trainer"] |= trainer
    return plan


def test_a_network_that_sees_later_tokens_trains_no_step(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    plan = config(byte_corpus, tmp_path / "run")
    plan["model"]["network"] = {"class_path": f"{__name__}.Both"}
    with pytest.raises(InputError, match="Both: sees later tokens"):
        train_trunk([plan])
    assert not (tmp_path / "run" / "curve.csv").exists()


def test_experts_are_trained_with_their_loss_and_recorded_without(
    byte_corpus: TokenCorpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_trunk([planned(byte_corpus, tmp_path / "with")])
    assert "note: examples.mixture_of_experts.MixtureOfExperts: 6 N is" in capsys.readouterr().err
    resumed = planned(byte_corpus, tmp_path / "resumed")
    fail_in_step(resumed, 17)
    train_trunk([resumed])
    assert_same_run(tmp_path / "with", tmp_path / "resumed")
    train_trunk([planned(byte_corpus, tmp_path / "much", balance=100.0)])
    train_trunk([planned(byte_corpus, tmp_path / "parts", balance=100.0, accumulate_grad_batches=2)])
    much, parts = (pd.read_csv(tmp_path / name / "curve.csv") for name in ("much", "parts"))
    # 100 nats of imbalance are trained with; what is recorded is the cross-entropy.
    assert much["train_loss_nats"].between(2, 7).all() and parts["train_loss_nats"].between(2, 7).all()
    records = [read_record(tmp_path / name / "record.json") for name in ("with", "much")]
    table = runs_table(records)
    network = MixtureOfExperts(256, 32, n_layer=1, d_model=8, n_experts=8, n_active=1)
    assert (
        set(table["N_active"]) == {network.active_parameters()}
        and table["N"].min() > 3 * table["N_active"].max()
    )
    assert "N_active" in MAY_DIFFER


def test_wrong_active_parameters_are_refused() -> None:
    network = MixtureOfExperts(11, 8, n_layer=1, d_model=8)
    network.active_parameters = lambda: 10**9  # type: ignore[method-assign]
    with pytest.raises(InputError, match="active_parameters\\(\\) is 1000000000; it must be 1 to N"):
        require_accounting(network)

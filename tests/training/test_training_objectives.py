"""Data, a loss and a training step of one's own, by class path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.tiny_runs import assert_same_run, config, fail_in_step
from torch import Tensor, nn

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.training.datamodule import TokenDataModule, WindowSource
from scaling_laws.training.loss import Objective, mean_loss, token_losses
from scaling_laws.training.run import train_trunk
from scaling_laws.training.run_settings import decisive_settings


class Counting(WindowSource):
    """Numbers that go up by one, modulo a vocabulary."""

    def __init__(self, n_vocab: int = 11, held_out: tuple[str, ...] = ("val", "test")) -> None:
        self.name, self.n_vocab, self.manifest_hash = "counting", n_vocab, f"counting-{n_vocab}"
        self.held_out = held_out

    def tokens(self, split: str) -> np.ndarray:
        return np.arange(3000 if split == "train" else 700) % self.n_vocab

    def documents(self, split: str) -> np.ndarray:
        return np.array([0, len(self.tokens(split))])


class Doubled(Objective):
    """Twice the cross-entropy to train with, the cross-entropy to report."""

    def training_loss(self, network: nn.Module, window: Tensor) -> Tensor:
        return 2 * mean_loss(network, window)

    def token_losses(self, network: nn.Module, window: Tensor) -> Tensor:
        return token_losses(network, window)


def counting(corpus: TokenCorpus, folder: Path) -> dict[str, Any]:
    plan = config(corpus, folder)
    del plan["data"]["corpus"]
    plan["data"]["source"] = {"class_path": f"{__name__}.Counting"}
    return plan


def test_a_source_of_ones_own_is_trained_on(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    train_trunk([counting(byte_corpus, tmp_path / "run")])
    record = read_record(tmp_path / "run" / "record.json")
    assert (record.corpus["name"], record.corpus["manifest_hash"]) == ("counting", "counting-11")
    assert set(record.losses) == {"val", "test"}
    assert record.losses["test"]["loss_nats"] < np.log(11)
    resumed = counting(byte_corpus, tmp_path / "resumed")
    fail_in_step(resumed, 17)
    train_trunk([resumed])
    assert_same_run(tmp_path / "run", tmp_path / "resumed")


def test_a_loss_of_ones_own_is_trained_with_and_recorded(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    plan = config(byte_corpus, tmp_path / "run")
    plan["model"]["objective"] = {"class_path": f"{__name__}.Doubled"}
    train_trunk([plan])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.optimizer["objective"] == f"{__name__}.Doubled"
    assert record.train_loss_nats is not None
    assert record.train_loss_nats > 1.5 * record.losses["test"]["loss_nats"]


def test_a_corpus_or_a_source(byte_corpus: TokenCorpus) -> None:
    with pytest.raises(InputError, match="neither is given"):
        TokenDataModule(None)
    with pytest.raises(InputError, match="both are given"):
        TokenDataModule(byte_corpus.folder, source=Counting())
    with pytest.raises(InputError, match=r"Counting.held_out lacks 'test'"):
        TokenDataModule(source=Counting(held_out=("val",)), n_ctx=8)
    with pytest.raises(InputError, match="no tokenizer"):
        TokenDataModule(source=Counting(), n_ctx=8).tokenizer()


def test_runs_from_before_there_were_objectives_are_the_same() -> None:
    sections: dict[str, Any] = {"recorder": {}, "data": {"corpus": "x", "seed": 1}, "seed_everything": 0}
    sections["trainer"] = dict.fromkeys(
        ("max_steps", "precision", "gradient_clip_val", "gradient_clip_algorithm")
    )
    before = decisive_settings({**sections, "model": {"weight_decay": 0.1}}, "hash")
    now = {**sections, "data": {**sections["data"], "source": None}}
    assert decisive_settings({**now, "model": {"weight_decay": 0.1, "objective": None}}, "hash") == before
    other = {"weight_decay": 0.1, "objective": {"class_path": "mine.Loss"}}
    assert decisive_settings({**now, "model": other}, "hash") != before


def test_a_step_of_ones_own_is_what_it_says() -> None:
    """A loss with the value of one thing and the gradient of another, as docs/one-network.md has it."""
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    change, loss = torch.tensor([0.5, -1.0]), torch.tensor(7.0)
    value = loss.detach() + (change * (weight - weight.detach())).sum()
    value.backward()
    assert float(value.detach()) == 7.0 and torch.equal(weight.grad, change)

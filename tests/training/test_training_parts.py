"""Schedule, optimiser groups, the position metric and the training batches."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from scaling_laws.data.batches import training_batch
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.errors import InputError
from scaling_laws.models.transformer import Transformer
from scaling_laws.schedule import Schedule
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.evaluation import evaluation_steps
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.optim import make_optimizer


def test_schedule_is_warmup_constant_and_one_minus_square_root() -> None:
    schedule = Schedule(warmup_steps=4, cooldown_share=0.25)
    factors = [schedule.factor(step, 40) for step in range(40)]
    assert factors[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert set(factors[4:31]) == {1.0}
    assert factors[30:] == [1 - math.sqrt(k / 10) for k in range(10)]
    assert min(factors) > 0


def test_schedule_before_the_cooldown_does_not_depend_on_the_horizon() -> None:
    schedule = Schedule(warmup_steps=10, cooldown_share=0.2)
    start = schedule.cooldown_start(100)
    assert start == 80
    short = [schedule.factor(step, 100) for step in range(start + 1)]
    assert short == [schedule.factor(step, 1000) for step in range(start + 1)]


@pytest.mark.parametrize(
    "wrong", [dict(warmup_steps=-1), dict(cooldown_share=1.5), dict(cooldown_share=-0.1)]
)
def test_impossible_schedules_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Schedule(**wrong)


def test_decay_falls_on_matrices_only() -> None:
    network = Transformer(n_vocab=11, n_ctx=4, n_layer=1, d_model=8)
    decayed, plain = make_optimizer(
        "adamw", network, learning_rate=1.0, betas=(0.9, 0.95), weight_decay=0.3
    ).param_groups
    assert decayed["weight_decay"] == 0.3 and all(weight.ndim == 2 for weight in decayed["params"])
    assert plain["weight_decay"] == 0.0 and all(weight.ndim == 1 for weight in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(network.parameters()))


def test_position_loss_against_a_direct_computation_over_two_batches() -> None:
    generator = torch.Generator().manual_seed(3)
    losses = torch.rand(10, 6, generator=generator)
    folds = torch.randint(0, 4, (10,), generator=generator)
    metric = PositionLoss(n_positions=6, n_folds=4)
    metric.update(losses[:3], folds[:3])
    metric.update(losses[3:], folds[3:])
    for fold in range(4):
        chosen = losses[folds == fold].double()
        torch.testing.assert_close(metric.loss_sum[fold], chosen.sum(0))
        assert metric.count[fold].tolist() == [len(chosen)] * 6
    assert float(metric.compute()) == pytest.approx(float(losses.double().mean()))


def test_position_loss_of_shorter_windows_fills_the_first_positions() -> None:
    metric = PositionLoss(n_positions=5)
    metric.update(torch.ones(2, 3))
    assert metric.count.tolist() == [[2, 2, 2, 0, 0]]


def test_token_losses_are_the_negative_log_likelihoods(byte_corpus: TokenCorpus) -> None:
    torch.manual_seed(0)
    module = LanguageModel(Transformer(n_vocab=256, n_ctx=8, n_layer=1, d_model=8))
    window = torch.randint(0, 256, (3, 9))
    probabilities = module.network(window[:, :-1]).softmax(-1)
    expected = torch.stack(
        [-probabilities[b, t, window[b, t + 1]].log() for b in range(3) for t in range(8)]
    ).view(3, 8)
    torch.testing.assert_close(module.token_losses(window), expected)
    torch.testing.assert_close(module.training_step(window, 0), expected.mean())


def test_evaluations_are_log_spaced_and_do_not_depend_on_the_horizon() -> None:
    long, short = evaluation_steps(2048, 4096, 2), evaluation_steps(2048, 512, 2)
    assert {step for step in long if step < 512} == short - {512}
    assert 512 in short and 4096 in long
    ordered = sorted(long)[2:]
    assert all(1.3 < b / a < 1.6 for a, b in pairwise(ordered))


class TinyNetwork(nn.Module):
    """A user's own network: predicts from the present token alone."""

    family = "bigram"

    def __init__(self, n_vocab: int, n_ctx: int, parameters_too_few: int = 0) -> None:
        super().__init__()
        self.table = nn.Embedding(n_vocab, n_vocab)
        self.parameters_too_few = parameters_too_few

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table(tokens)

    def parameters_by_group(self) -> dict[str, int]:
        return {"table": self.table.weight.numel() - self.parameters_too_few}

    def flops_per_token(self) -> dict[str, float]:
        return {"table": 0.0}


def test_a_network_must_count_itself_rightly() -> None:
    LanguageModel(TinyNetwork(5, 4))
    with pytest.raises(InputError, match=r"sums to 22, but it has 25 parameters"):
        LanguageModel(TinyNetwork(5, 4, parameters_too_few=3))
    with pytest.raises(InputError, match="a network needs `family`"):
        LanguageModel(nn.Linear(2, 2))


def trainer(max_steps: int = 3, world_size: int = 1, rank: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        max_steps=max_steps, accumulate_grad_batches=1, world_size=world_size, global_rank=rank, global_step=0
    )


def test_ranks_share_out_the_batch(byte_corpus: TokenCorpus) -> None:
    data = TokenDataModule(corpus=byte_corpus.folder, n_ctx=16, batch_sequences=6, seed=4)
    data.trainer = trainer()  # type: ignore[assignment]
    whole = list(data.train_dataloader())
    assert len(whole) == 3
    parts = []
    for rank in range(2):
        data.trainer = trainer(world_size=2, rank=rank)  # type: ignore[assignment]
        parts.append(list(data.train_dataloader()))
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch[0::2], first) and torch.equal(batch[1::2], second)
    data.trainer = trainer(world_size=4)  # type: ignore[assignment]
    with pytest.raises(InputError, match="not a multiple of the 4 devices"):
        data.train_dataloader()


def test_loader_resumes_at_the_batch_that_the_weights_have_not_seen(byte_corpus: TokenCorpus) -> None:
    data = TokenDataModule(corpus=byte_corpus.folder, n_ctx=16, batch_sequences=2, seed=4)
    data.trainer = trainer(max_steps=5)  # type: ignore[assignment]
    data.trainer.accumulate_grad_batches = 2  # type: ignore[union-attr]
    data.trainer.global_step = 3  # type: ignore[union-attr, misc]
    batches = list(data.train_dataloader())
    assert len(batches) == 10 - 6
    expected = training_batch(byte_corpus.tokens("train"), seed=4, batch=6, batch_sequences=2, n_ctx=16)
    assert torch.equal(batches[0], torch.from_numpy(expected))


def test_corpus_shorter_than_a_window_is_refused(byte_corpus: TokenCorpus) -> None:
    with pytest.raises(InputError, match="shorter than one window"):
        TokenDataModule(corpus=byte_corpus.folder, n_ctx=10_000_000)


def test_cross_entropy_of_a_uniform_network_is_ln_v() -> None:
    net = TinyNetwork(7, 4)
    nn.init.zeros_(net.table.weight)
    loss = LanguageModel(net).training_step(torch.randint(0, 7, (2, 5)), 0)
    assert float(loss.detach()) == pytest.approx(math.log(7))

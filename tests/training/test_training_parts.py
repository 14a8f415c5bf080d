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
from scaling_laws.models.optimizer_parts import make_optimizer
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.errors import InputError
from scaling_laws.study.schedule import Schedule, evaluation_steps
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel


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


def trainer(max_steps: int = 3, ranks: int = 1, rank: int = 0, micro_batches: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        max_steps=max_steps,
        accumulate_grad_batches=micro_batches,
        world_size=ranks,
        global_rank=rank,
        global_step=0,
    )


def batches(data: TokenDataModule, **options: int) -> list[torch.Tensor]:
    data.trainer = trainer(**options)  # type: ignore[assignment]
    return list(data.train_dataloader())


@pytest.mark.parametrize("noise", [0, 5])
@pytest.mark.parametrize(("ranks", "micro_batches"), [(2, 1), (1, 2), (3, 2), (2, 6), (12, 1)])
def test_ranks_and_micro_batches_share_out_the_batch(
    byte_corpus: TokenCorpus, ranks: int, micro_batches: int, noise: int
) -> None:
    data = TokenDataModule(
        corpus=byte_corpus.folder, n_ctx=16, batch_sequences=12, seed=4, noise_suffix_tokens=noise
    )
    whole = batches(data)
    assert [batch.shape for batch in whole] == [(12, 17)] * 3
    parts = [batches(data, ranks=ranks, rank=rank, micro_batches=micro_batches) for rank in range(ranks)]
    for step, batch in enumerate(whole):
        micro_batch_numbers = range(step * micro_batches, (step + 1) * micro_batches)
        rows = torch.cat([part[number] for part in parts for number in micro_batch_numbers])
        assert sorted(rows.tolist()) == sorted(batch.tolist())


def test_a_batch_that_cannot_be_shared_out_is_refused(byte_corpus: TokenCorpus) -> None:
    data = TokenDataModule(corpus=byte_corpus.folder, n_ctx=16, batch_sequences=6)
    with pytest.raises(InputError, match="= 6 is not a multiple of 2 devices x 2 accumulated micro-batches"):
        batches(data, ranks=2, micro_batches=2)


def test_loader_resumes_at_the_batch_that_the_weights_have_not_seen(byte_corpus: TokenCorpus) -> None:
    data = TokenDataModule(corpus=byte_corpus.folder, n_ctx=16, batch_sequences=4, seed=4)
    data.trainer = trainer(max_steps=5, micro_batches=2)  # type: ignore[assignment]
    data.trainer.global_step = 3  # type: ignore[union-attr, misc]
    left = list(data.train_dataloader())
    assert len(data.train_dataloader()) == 10 and len(left) == 10 - 6
    expected = training_batch(byte_corpus.tokens("train"), seed=4, batch=3, batch_sequences=4, n_ctx=16)
    assert torch.equal(left[0], torch.from_numpy(expected[0::2]))
    assert torch.equal(left[1], torch.from_numpy(expected[1::2]))


def test_halvings_are_nested_beginnings_of_the_training_split(byte_corpus: TokenCorpus) -> None:
    tokens = byte_corpus.tokens("train")
    seen: list[set[tuple[int, ...]]] = []
    for halvings in range(5):
        data = TokenDataModule(
            corpus=byte_corpus.folder, n_ctx=16, batch_sequences=8, train_halvings=halvings
        )
        n_tokens = len(tokens) // 2**halvings
        n_windows = (n_tokens - 1) // 16
        assert data.tokens_per_epoch == 16 * n_windows
        assert data.train_tokens().tolist() == tokens[:n_tokens].tolist()
        if halvings >= 3:
            rows = torch.cat(batches(data, max_steps=n_windows // 8 + 1)).tolist()
            starts = {tuple(row) for row in rows}
            text = tokens[: 16 * n_windows + 1].tolist()
            assert starts == {tuple(text[16 * w : 16 * w + 17]) for w in range(n_windows)}
            seen.append(starts)
    assert seen[1] < seen[0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"train_halvings": 40}, "fewer train_halvings"),
        ({"train_halvings": -1}, "train_halvings is -1"),
        ({"noise_suffix_tokens": 16}, "noise_suffix_tokens is 16"),
        ({"noise_suffix_tokens": -1}, "noise_suffix_tokens is -1"),
        ({"n_ctx": 0}, "n_ctx is 0"),
    ],
)
def test_numbers_that_leave_nothing_to_train_on_are_refused(
    byte_corpus: TokenCorpus, wrong: dict[str, int], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        TokenDataModule(corpus=byte_corpus.folder, **({"n_ctx": 16} | wrong))
    assert "\n" not in str(caught.value)


def test_text_positions_see_the_text_and_the_others_noise(byte_corpus: TokenCorpus) -> None:
    plain = TokenDataModule(corpus=byte_corpus.folder, n_ctx=12, batch_sequences=8, seed=4)
    noisy = TokenDataModule(
        corpus=byte_corpus.folder, n_ctx=16, batch_sequences=8, seed=4, noise_suffix_tokens=4
    )
    assert noisy.batch_tokens == 8 * 16
    assert noisy.tokens_per_epoch // 16 == plain.tokens_per_epoch // 12  # the same windows of text
    text, mixed = torch.cat(batches(plain)), torch.cat(batches(noisy))
    assert torch.equal(mixed[:, :13], text)
    assert len({tuple(row) for row in mixed[:, 13:].tolist()}) == 24
    assert torch.equal(torch.cat(batches(noisy)), mixed)
    (windows, folds), (held_out, same_folds) = noisy.held_out("test", 20), plain.held_out("test", 20)
    assert windows.shape == (20, 17)
    assert torch.equal(windows[:, :13], held_out) and torch.equal(folds, same_folds)
    other_seed = TokenDataModule(corpus=byte_corpus.folder, n_ctx=16, seed=5, noise_suffix_tokens=4)
    assert torch.equal(other_seed.held_out("test", 20)[0], windows)


def test_corpus_shorter_than_a_window_is_refused(byte_corpus: TokenCorpus) -> None:
    with pytest.raises(InputError, match="shorter than one window"):
        TokenDataModule(corpus=byte_corpus.folder, n_ctx=10_000_000)


def test_cross_entropy_of_a_uniform_network_is_ln_v() -> None:
    net = TinyNetwork(7, 4)
    nn.init.zeros_(net.table.weight)
    loss = LanguageModel(net).training_step(torch.randint(0, 7, (2, 5)), 0)
    assert float(loss.detach()) == pytest.approx(math.log(7))


def test_bits_per_byte_are_those_of_the_text(byte_corpus: TokenCorpus) -> None:
    """Three bits a token of text, eight of noise: the noise must not count."""
    data = TokenDataModule(corpus=byte_corpus.folder, n_ctx=16, noise_suffix_tokens=4)
    losses = PositionLoss(n_positions=16, n_folds=2)
    nats = math.log(2) * torch.tensor([3.0] * 12 + [8.0] * 4)
    losses.update(nats.repeat(6, 1), torch.tensor([0, 1, 1, 0, 1, 1]))
    entry = byte_corpus.manifest["splits"]["test"]
    assert data.bits_per_byte("test", losses) == pytest.approx(3 * entry["n_tokens"] / entry["n_bytes"])

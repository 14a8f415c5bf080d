"""Losses by class of token: a window says what could be copied; sums are exact, and change no loss."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from scaling_laws.study.records import TOKEN_CLASSES, in_context_score
from scaling_laws.training.metrics import PositionLoss, token_classes


def by_hand(window: list[int]) -> list[str]:
    """The definition, one target after the other."""
    classes = []
    for t in range(1, len(window)):
        past = range(1, t)
        if t >= 2 and any(s >= 2 and window[s - 2 : s + 1] == window[t - 2 : t + 1] for s in past):
            classes.append("trigram")
        elif any(window[s - 1 : s + 1] == window[t - 1 : t + 1] for s in past):
            classes.append("bigram")
        else:
            classes.append("other" if window[t - 1] in window[: t - 1] else "novel")
    return classes


@pytest.mark.parametrize("n_vocab", [2, 4, 12, 200])
def test_classes_are_those_of_the_definition(n_vocab: int) -> None:
    chance = random.Random(n_vocab)
    windows = [[chance.randrange(n_vocab) for _ in range(41)] for _ in range(30)]
    found = token_classes(torch.tensor(windows))
    assert [[TOKEN_CLASSES[number] for number in row] for row in found.tolist()] == list(
        map(by_hand, windows)
    )


def test_a_window_read_aloud() -> None:
    # a b c a b c: at the fourth token c, a was new; then a follows... and the second "a b c" is copied.
    assert by_hand([1, 2, 3, 1, 2, 3, 9]) == ["novel", "novel", "novel", "bigram", "trigram", "other"]


def test_sums_pool_over_windows_and_folds() -> None:
    windows = torch.randint(0, 5, (12, 17), generator=torch.Generator().manual_seed(0))
    losses = torch.rand(12, 16, generator=torch.Generator().manual_seed(1))
    classes, folds = token_classes(windows)[:, :10], torch.arange(12) % 3
    metric = PositionLoss(16, 3)
    for some in (slice(0, 5), slice(5, 12)):
        metric.update(losses[some], folds[some], classes[some])
    assert metric.class_count.sum() == 12 * 10  # the other positions are no text
    for number in range(len(TOKEN_CLASSES)):
        for fold in range(3):
            chosen = losses[:, :10][(classes == number) & (folds == fold)[:, None]]
            assert metric.class_loss_sum[fold, number] == pytest.approx(
                float(chosen.double().sum()), abs=1e-12
            )
            assert metric.class_count[fold, number] == len(chosen)
    without = PositionLoss(16, 3)
    without.update(losses, folds)
    assert torch.equal(without.count, metric.count) and not without.class_count.any()


def test_the_in_context_score_is_early_less_late() -> None:
    losses = {T: 4.0 - 0.01 * T for T in range(1, 65)}
    assert in_context_score(losses) == pytest.approx(0.01 * (48.5 - 12.5))
    assert in_context_score(dict.fromkeys(range(1, 33), 3.0)) == 0
    assert in_context_score(dict.fromkeys(range(1, 32), 3.0)) is None and in_context_score({}) is None


def test_loggers_see_classes_and_scores(undisturbed: dict[str, Path]) -> None:
    events = EventAccumulator(str(undisturbed["transformer"]))
    events.Reload()
    for corpus in ("val", "test", "numbers"):
        score, novel = (
            events.Scalars(f"position_loss_nats/{corpus}_in_context"),
            f"token_class_loss_nats/{corpus}/novel",
        )
        assert [point.step for point in events.Scalars(novel)] == [point.step for point in score]
    positions = pd.read_csv(undisturbed["transformer"] / "position_losses.csv")
    final = positions[(positions["corpus"] == "test") & (positions["step"] == positions["step"].max())]
    sums = final.groupby("position")[["loss_sum_nats", "count"]].sum()
    losses = (sums["loss_sum_nats"] / sums["count"]).to_dict()
    assert events.Scalars("position_loss_nats/test_in_context")[-1].value == pytest.approx(
        in_context_score(losses), rel=1e-5
    )


def pooled(table: pd.DataFrame) -> Tensor:
    sums = table.groupby(["step", "corpus"])[["loss_sum_nats", "count"]].sum()
    return torch.tensor(sums.to_numpy())


def test_a_run_leaves_classes_that_add_up_to_its_losses(undisturbed: dict[str, Path]) -> None:
    classes, positions = (
        pd.read_csv(undisturbed["transformer"] / name)
        for name in ("token_classes.csv", "position_losses.csv")
    )
    assert set(classes["token_class"]) <= set(TOKEN_CLASSES) and classes["step"].nunique() > 1
    assert set(classes["corpus"]) == set(positions["corpus"])
    torch.testing.assert_close(pooled(classes), pooled(positions), rtol=0, atol=1e-2)
    assert torch.equal(pooled(classes)[:, 1], pooled(positions)[:, 1])

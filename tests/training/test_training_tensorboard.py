"""What TensorBoard is told of a run: read back, it is the run's tables, whatever ended the run on its way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tests.support.tiny_runs import (
    STEPS,
    assert_same_run,
    checkpoint,
    config,
    fail_in_step,
    stop_in_step,
    weights,
)
from torch import Tensor

from scaling_laws.data.tokens import TokenCorpus, open_corpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import in_context_score, read_record
from scaling_laws.study.units import flop_axes
from scaling_laws.training import event_log
from scaling_laws.training.checkpoint import RunCheckpoints
from scaling_laws.training.event_log import shown_positions
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.position_figure import binned
from scaling_laws.training.run import train_trunk
from scaling_laws.training.snapshots import FILE_NAME, N_BINS, Snapshots, continuations, prompt_tokens
from scaling_laws.training.verbs import training_cli

CORPORA = ("train", "val", "test", "numbers")
PLAIN = ("learning_rate", "gradient_norm", "noise_scale_tokens", "tokens_per_s", "model_flops_utilisation")
SNAPSHOT_STEPS = [1, 4, 16, STEPS]


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    return events.Reload()


def assert_tells_the_tables(folder: Path) -> None:
    """Every tag, step and value is that of the run's files, and no point is drawn twice."""
    events, curve = events_of(folder), pd.read_csv(folder / "curve.csv")
    expected: dict[str, tuple[pd.Series, pd.Series]] = {
        f"training/{tag}": (curve["step"], curve[tag]) for tag in PLAIN if curve[tag].notna().any()
    }
    for corpus in CORPORA:
        losses = curve[f"{corpus}_loss_nats"]
        expected |= {
            f"loss_nats/{corpus}": (curve["step"], losses),
            f"loss_nats_by_tokens/{corpus}": (curve["tokens"], losses),
            f"loss_nats_by_kflop/{corpus}": (curve["C"] // 1e3, losses),
        }
    positions = pd.read_csv(folder / "position_losses.csv")
    sums = positions[positions["corpus"] == "test"].groupby(["position", "step"]).sum(numeric_only=True)
    means = sums["loss_sum_nats"] / sums["count"]
    for position in (1, 2, 4, 8, 16, 32):
        expected[f"position_loss_nats/test_at_{position:02d}"] = (
            means[position].index.to_series(),
            means[position],
        )
    classes = pd.read_csv(folder / "token_classes.csv").groupby(["corpus", "token_class", "step"])
    class_sums = classes[["loss_sum_nats", "count"]].sum()
    for corpus, name in {key[:2] for key in class_sums.index}:
        of_class = class_sums.loc[corpus, name]
        of_class = of_class[of_class["count"] > 0]
        expected[f"token_class_loss_nats/{corpus}/{name}"] = (
            of_class.index.to_series(),
            of_class["loss_sum_nats"] / of_class["count"],
        )
    by_position = positions.groupby(["corpus", "step", "position"])[["loss_sum_nats", "count"]].sum()
    for corpus in CORPORA[1:]:
        scores = {
            step: in_context_score(dict(of_step["mean"].droplevel(["corpus", "step"])))
            for step, of_step in by_position.assign(mean=by_position["loss_sum_nats"] / by_position["count"])
            .loc[[corpus]]
            .groupby("step")
        }
        expected[f"position_loss_nats/{corpus}_in_context"] = (
            pd.Series(list(scores)),
            pd.Series(list(scores.values())),
        )
    assert min(expected) == "loss_nats/numbers"  # TensorBoard's first group is the losses
    record = read_record(folder / "record.json")
    for corpus in CORPORA[1:]:
        expected[f"loss_nats_final/{corpus}"] = (
            pd.Series([0]),
            pd.Series([record.losses[corpus]["loss_nats"]]),
        )

    assert set(events.Tags()["scalars"]) == set(expected)
    for tag, (steps, values) in expected.items():
        points, measured = events.Scalars(tag), values.notna().to_numpy()
        assert [point.step for point in points] == steps[measured].astype(int).tolist(), tag
        np.testing.assert_array_equal(
            np.array([point.value for point in points], dtype=np.float32),
            values[measured].astype(np.float32),
            err_msg=tag,
        )

    snapshots = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    assert [snapshot["step"] for snapshot in snapshots] == SNAPSHOT_STEPS
    assert set(events.Tags()["histograms"]) == {tag for shot in snapshots for tag in shot["histograms"]}
    for tag in events.Tags()["histograms"]:
        shown = [(shot["step"], shot["histograms"][tag]) for shot in snapshots if tag in shot["histograms"]]
        drawn = events.Histograms(tag)
        assert [point.step for point in drawn] == [step for step, _ in shown]
        for point, (_, histogram) in zip(drawn, shown, strict=True):
            assert point.histogram_value.bucket == histogram["counts"]
            assert point.histogram_value.min == histogram["low"]
    texts = events.Tensors("sample/text_summary")
    assert [text.step for text in texts] == [STEPS]
    assert texts[0].tensor_proto.string_val[0].decode() == snapshots[-1]["text"]


def what_was_seen(folder: Path) -> list[dict[str, Any]]:
    snapshots = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return [{key: shot[key] for key in shot if key != "wall_time_s"} for shot in snapshots]


# --- scalars, before and after a resume --------------------------------------------------------------


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_events_are_the_tables(undisturbed: dict[str, Path], family: str) -> None:
    assert_tells_the_tables(undisturbed[family])


@pytest.mark.parametrize(
    "end",
    [
        lambda planned: fail_in_step(planned, 17),
        lambda planned: [fail_in_step(planned, step) for step in (5, 16, 30)],
        lambda planned: [stop_in_step([planned], 0, step) for step in (1, 16)],
    ],
    ids=["failure", "three failures", "signals"],
)
def test_events_after_a_resume(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, end: Callable[[Any], object]
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    end(planned)
    train_trunk([planned])
    assert_tells_the_tables(tmp_path / "run")
    assert what_was_seen(tmp_path / "run") == what_was_seen(undisturbed["transformer"])


def test_events_of_a_branch(undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    """A branch has its trunk's past, and nothing of what the trunk saw after it left."""
    trunk = config(byte_corpus, tmp_path / "trunk", steps=70)
    train_trunk([trunk, config(byte_corpus, tmp_path / "branch")])
    assert [shot["step"] for shot in what_was_seen(tmp_path / "trunk")] == [1, 4, 16, 64, 70]
    assert_tells_the_tables(tmp_path / "branch")
    assert what_was_seen(tmp_path / "branch") == what_was_seen(undisturbed["transformer"])


def test_past_points_keep_their_time(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fail_in_step(planned, 25)
    train_trunk([planned])
    elapsed_s = pd.read_csv(tmp_path / "run" / "curve.csv")["elapsed_s"].to_numpy()
    times = np.array(
        [point.wall_time for point in events_of(tmp_path / "run").Scalars("training/learning_rate")]
    )
    # Steps 4, 8, 16 were before the failure; the time axis leaves the pause out.
    np.testing.assert_allclose(times[:5] - times[0], elapsed_s[:5] - elapsed_s[0], atol=0.01)


def test_hyperparameters(undisturbed: dict[str, Path]) -> None:
    content = events_of(undisturbed["lstm"]).SummaryMetadata("_hparams_/session_start_info")
    start = HParamsPluginData.FromString(content.plugin_data.content).session_start_info
    given = {key: value.string_value or value.number_value for key, value in start.hparams.items()}
    record = read_record(undisturbed["lstm"] / "record.json")
    assert given["family"] == "lstm" and given["d_model"] == 8 and given["learning_rate"] == 0.01
    assert given["D"] == record.tokens and given["batch_tokens"] == 4 * 32
    assert given["C"] == 6 * given["N"] * record.tokens


def test_compute_axes_are_distinct_integers() -> None:
    assert flop_axes(12e6) == ["mflop"]
    assert flop_axes(3e10) == ["mflop", "gflop"]
    assert flop_axes(2e15) == ["mflop", "gflop", "pflop"]
    assert flop_axes(6e5) == ["kflop"]  # a network that has no other
    assert flop_axes(999.0) == []


def test_compute_beyond_64_bits_is_left_out() -> None:
    steps: dict[str, int] = {}

    def add_summary(summary: Any, step: int, walltime: float | None) -> None:
        steps.update({value.tag: step for value in summary.value})

    writer = SimpleNamespace(file_writer=SimpleNamespace(add_summary=add_summary))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "event_writer", lambda trainer: writer)
        trainer = pl.Trainer(logger=False, enable_checkpointing=False, plugins=[LightningEnvironment()])
        log = event_log.EventLog(trainer, [], [])
        log.write_row({"step": 1000, "tokens": 5 * 10**12, "C": 2e25, "train_loss_nats": 1.7})
    assert steps == {
        "loss_nats/train": 1000,
        "loss_nats_by_tokens/train": 5 * 10**12,
        "loss_nats_by_gflop/train": 2 * 10**16,
        "loss_nats_by_pflop/train": 2 * 10**10,
    }


def test_shown_positions() -> None:
    assert shown_positions(1) == [1]
    assert shown_positions(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert shown_positions(100) == [1, 2, 4, 8, 16, 32, 64, 100]


def test_figure_of_the_positions(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "FIGURE_FROM_S", 0.0)
        train_trunk([config(byte_corpus, tmp_path / "run")])
    (image,) = events_of(tmp_path / "run").Images("position_loss_nats/test")
    assert image.step == STEPS and image.encoded_image_string.startswith(b"\x89PNG")
    centres, means = binned({1: 8.0, 2: 4.0, 3: 3.0, 4: 2.0, 5: 1.0, 6: 0.5})
    np.testing.assert_allclose(centres, [1, 2, np.sqrt(12), 5, 6])
    np.testing.assert_allclose(means, [8, 4, 2.5, 1, 0.5])


# --- histograms ---------------------------------------------------------------------------------------


def test_histograms_are_those_of_weights_and_updates(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    folder, original = tmp_path / "run", RunCheckpoints._save_last

    def keeping(self: RunCheckpoints, trainer: Any) -> None:
        original(self, trainer)
        shutil.copy(self.folder / "last.ckpt", tmp_path / f"{trainer.global_step}.ckpt")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCheckpoints, "_save_last", keeping)
        train_trunk([config(byte_corpus, folder) | {"checkpoints": {"every_s": 0.0}}])
    after, before = (checkpoint(tmp_path / f"{step}.ckpt")["state_dict"] for step in (16, 15))
    seen = {shot["step"]: shot["histograms"] for shot in what_was_seen(folder)}
    matrices = [name for name, weight in after.items() if weight.ndim == 2 and "head" not in name]  # tied
    assert len(matrices) == 6 and len(seen[16]) == 2 * len(matrices)
    for name in matrices:
        short = name.removeprefix("network.")
        for tag, values in (("weights", after[name]), ("updates", after[name].double() - before[name])):
            assert_histogram(seen[16][f"{tag}/{short}"], values)
        assert_histogram(seen[STEPS][f"weights/{short}"], weights(folder)[name])


def assert_histogram(shown: dict[str, Any], values: Tensor) -> None:
    numbers = values.double().flatten().numpy()
    assert (shown["low"], shown["high"], shown["n"]) == (numbers.min(), numbers.max(), numbers.size)
    assert shown["sum"] == pytest.approx(numbers.sum())
    assert shown["sum_squares"] == pytest.approx((numbers**2).sum())
    counts, _ = np.histogram(numbers, N_BINS)
    # A value on an edge may fall on either side of it.
    assert sum(shown["counts"]) == numbers.size
    assert np.abs(np.cumsum(shown["counts"]) - np.cumsum(counts)).max() <= 1


def test_weights_that_are_not_finite_end_no_run(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=4)
    planned["recorder"] |= {"log_every_n_steps": 50, "evaluations_per_doubling": 0}
    original = LanguageModel.on_train_batch_start

    def breaking(self: LanguageModel, window: Tensor, batch_idx: int) -> None:
        original(self, window, batch_idx)
        if self.trainer.global_step == 3:
            next(self.network.parameters()).data[0] = float("nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "on_train_batch_start", breaking)
        patch.setattr("scaling_laws.training.recorder.evaluation_steps", lambda *_: frozenset())
        train_trunk([planned])
    assert read_record(tmp_path / "run" / "record.json").status == "diverged"
    first, last = what_was_seen(tmp_path / "run")
    assert first["histograms"] and not last["histograms"]


# --- sampled text ---------------------------------------------------------------------------------------


@pytest.fixture
def counting(byte_corpus: TokenCorpus, tmp_path: Path) -> tuple[pl.Trainer, LanguageModel]:
    """A network that is sure of one thing: after token k comes k + 1, in a context of 32."""
    cli = training_cli(config(byte_corpus, tmp_path / "run"))

    class Counting(LanguageModel):
        def forward(self, tokens: Tensor) -> Tensor:
            assert tokens.shape == (2, 32) and not self.training
            torch.rand(1)  # a network may draw numbers of its own
            return 50.0 * torch.nn.functional.one_hot((tokens + 1) % 257, 257)

    cli.trainer.datamodule = cli.datamodule  # type: ignore[attr-defined]
    return cli.trainer, Counting(cli.model.network)


@pytest.mark.parametrize("n_prompt", [1, 16, 31])
def test_text_goes_on_from_its_last_token(counting: tuple[pl.Trainer, LanguageModel], n_prompt: int) -> None:
    written = continuations(*counting, torch.arange(n_prompt), 40)
    assert written is not None
    assert written.tolist() == [list(range(n_prompt, n_prompt + 40))] * 2


def test_draws_follow_the_distribution_and_nothing_else(
    counting: tuple[pl.Trainer, LanguageModel],
) -> None:
    trainer, module = counting
    distribution = torch.tensor([0.5, 0.3, 0.2])
    module.forward = lambda tokens: distribution.log().expand(*tokens.shape, 3)  # type: ignore[method-assign]
    module.train()
    state = torch.get_rng_state()
    written = continuations(trainer, module, torch.zeros(4, dtype=torch.int64), 400)
    torch.rand(5)
    again = continuations(trainer, module, torch.zeros(4, dtype=torch.int64), 400)
    torch.set_rng_state(state)
    assert written is not None and again is not None
    assert torch.equal(written, again) and module.training
    assert written[0].tolist() == [0] * 400
    shares = torch.bincount(written[1], minlength=3) / 400
    assert (shares - distribution).abs().max() < 3 * 0.025  # three standard errors


def test_sampling_uses_no_random_numbers(counting: tuple[pl.Trainer, LanguageModel]) -> None:
    state = torch.get_rng_state()
    continuations(*counting, torch.arange(3), 5)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_text_where_a_logit_is_not_finite(counting: tuple[pl.Trainer, LanguageModel]) -> None:
    trainer, module = counting
    module.forward = lambda tokens: torch.full((*tokens.shape, 3), float("nan"))  # type: ignore[method-assign]
    assert continuations(trainer, module, torch.arange(3), 5) is None


def test_the_text_is_held_out(undisturbed: dict[str, Path], byte_corpus: TokenCorpus) -> None:
    corpus = open_corpus(byte_corpus.folder)
    prompt = corpus.tokenizer().decode(corpus.tokens("test")[:16])
    first_line = prompt.split("\n")[0]
    for folder in undisturbed.values():
        text = what_was_seen(folder)[-1]["text"]
        assert text.startswith(f"After step {STEPS}, {STEPS * 128:,} tokens. The first 16 tokens")
        assert f"    {first_line}" in text
        assert "by the 16 most likely tokens" in text


def test_longer_runs_write_on_the_way(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run", steps=260)
    planned["data"] |= {"batch_sequences": 32, "n_ctx": 8}
    planned["recorder"]["run_id"] = "on the way"
    train_trunk([planned])
    texts = {shot["step"]: shot.get("text", "") for shot in what_was_seen(tmp_path / "run")}
    assert list(texts) == [1, 4, 16, 64, 256, 260]
    assert [step for step, text in texts.items() if text] == [256, 260]


# --- and nothing else changes -----------------------------------------------------------------------------


def test_looking_changes_nothing(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    for family, whole in undisturbed.items():
        planned = config(byte_corpus, tmp_path / family, family)
        train_trunk([planned | {"snapshots": {"histograms": False, "sample_tokens": 0}}])
        assert not (tmp_path / family / FILE_NAME).exists()
        assert_same_run(whole, tmp_path / family)


@pytest.mark.parametrize("content", ["", "[{", "{}", "[1]", "[{}]"])
def test_a_damaged_file_costs_its_content_alone(
    undisturbed: dict[str, Path], byte_corpus: TokenCorpus, tmp_path: Path, content: str
) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    fail_in_step(planned, 17)
    (tmp_path / "run" / FILE_NAME).write_text(content)
    train_trunk([planned])
    assert_same_run(undisturbed["transformer"], tmp_path / "run")
    assert [shot["step"] for shot in what_was_seen(tmp_path / "run")] == [STEPS]


def test_a_negative_number_of_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="sample_tokens is -1"):
        Snapshots(sample_tokens=-1)


def test_the_prompt_is_at_most_half_a_context(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    planned = config(byte_corpus, tmp_path / "run")
    for n_ctx, expected in ((1, 1), (32, 16), (256, 32)):
        planned["data"]["n_ctx"] = n_ctx
        data = training_cli(planned).datamodule
        assert prompt_tokens(data, "test").tolist() == byte_corpus.tokens("test")[:expected].tolist()

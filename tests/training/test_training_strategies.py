"""Two processes train what one trains, by DDP and with sharded weights; what may befall one rank only."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.support.ranks import on_ranks, srun
from tests.support.tiny_runs import FAMILIES, WALL_CLOCK, checkpoint, config, fail_in_step, weights

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.training.checkpoint import AtomicCheckpointIO, is_whole, newest_whole
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk

ROOT = Path(__file__).parents[2]

STEPS = 12
DDP = "ddp"
SHARDED = {"class_path": "scaling_laws.training.strategies.FullyShardedStrategy"}
RUN_ON_ONE_DEVICE = ["devices", "model_flops_utilisation", *WALL_CLOCK]


def planned(
    corpus: TokenCorpus, folder: Path, family: str = "transformer", strategy: Any = None, accumulate: int = 1
) -> dict[str, Any]:
    """A run without dropout, with an odd number of held-out windows; on two devices if it has a strategy."""
    plan = config(corpus, folder, family, steps=STEPS)
    plan["model"]["network"]["init_args"]["dropout"] = 0.0
    plan["data"]["batch_sequences"] = 8
    plan["trainer"]["accumulate_grad_batches"] = accumulate
    plan["recorder"] |= {"evaluation_windows": 9, "final_windows": 33}
    plan["noise_scale"] = {"every_n_steps": 0}
    if strategy:
        plan["trainer"] |= {"devices": 2, "strategy": strategy}
    return plan


def assert_close_runs(one: Path, other: Path) -> None:
    """The same files, counts and records; losses and everything measured equal to 1e-5."""
    names = [{path.name.split(".tfevents")[0] for path in folder.iterdir()} for folder in (one, other)]
    names = [found - {"snapshots.json"} for found in names]  # of sharded weights there are no histograms
    assert names[0] == names[1]
    curves, positions = (
        [pd.read_csv(folder / name) for folder in (one, other)]
        for name in ("curve.csv", "position_losses.csv")
    )
    measured = [curve.drop(columns=RUN_ON_ONE_DEVICE, errors="ignore") for curve in curves]
    pd.testing.assert_frame_equal(*measured, rtol=1e-5, atol=1e-5)
    pd.testing.assert_frame_equal(*(table.drop(columns="loss_sum_nats") for table in positions))
    np.testing.assert_allclose(*(table["loss_sum_nats"] for table in positions), rtol=1e-5)
    first, second = (read_record(folder / "record.json") for folder in (one, other))
    assert (first.status, first.steps, first.tokens) == (second.status, second.steps, second.tokens)
    for corpus, losses in first.losses.items():
        assert losses["tokens"] == second.losses[corpus]["tokens"]
        assert losses["loss_nats"] == pytest.approx(second.losses[corpus]["loss_nats"], abs=1e-5)
    for folder in (one, other):
        events = EventAccumulator(str(folder))
        events.Reload()
        assert [point.step for point in events.Scalars("loss_nats/train")] == curves[0]["step"].tolist()
        assert len(list(folder.glob("events.out.tfevents.*"))) == 1


@pytest.fixture(scope="module")
def alone(byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """Runs of one process, by family and accumulated batches."""
    folders = {}
    for family in FAMILIES:
        for accumulate in (1, 2):
            folder = tmp_path_factory.mktemp("alone") / "run"
            train_trunk([planned(byte_corpus, folder, family, accumulate=accumulate)])
            folders[family, accumulate] = folder
    return folders


@pytest.mark.parametrize(
    ("strategy", "accumulate"), [(DDP, 1), (DDP, 2), (SHARDED, 1)], ids=["ddp", "ddp-accumulated", "sharded"]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_train_what_one_trains(
    alone: dict[tuple[str, int], Path],
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    family: str,
    strategy: Any,
    accumulate: int,
) -> None:
    plan = planned(byte_corpus, tmp_path / "run", family, strategy, accumulate)
    assert on_ranks(lambda: train_trunk([plan])) == [0, 0]
    assert_close_runs(alone[family, accumulate], tmp_path / "run")
    assert read_record(tmp_path / "run" / "record.json").devices == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [(DDP, None), (None, DDP), (SHARDED, None), (None, SHARDED), (SHARDED, SHARDED)],
    ids=["ddp-one", "one-ddp", "sharded-one", "one-sharded", "sharded-sharded"],
)
def test_a_run_goes_on_with_another_number_of_processes(
    alone: dict[tuple[str, int], Path], byte_corpus: TokenCorpus, tmp_path: Path, before: Any, after: Any
) -> None:
    folder = tmp_path / "run"
    # Step 6 lies between two rows of the curve: the sums of losses so far are those of all ranks.
    train(planned(byte_corpus, folder, strategy=before), stop_step=6)
    assert is_whole(folder / "checkpoints" / "last.ckpt") and is_whole(
        folder / "checkpoints" / "previous.ckpt"
    )
    train(planned(byte_corpus, folder, strategy=after))
    assert_close_runs(alone["transformer", 1], folder)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"final.ckpt"}


def train(plan: dict[str, Any], stop_step: int | None = None) -> None:
    """Train on as many ranks as the plan has devices, to the end or into the step after `stop_step`."""

    def work() -> None:
        if stop_step is None:
            train_trunk([plan])
        else:
            fail_in_step(plan, stop_step + 1)

    if plan["trainer"]["devices"] == 1:
        work()
    else:
        assert on_ranks(work) == [0, 0]


def test_a_sharded_run_resumes_exactly_and_from_what_is_whole(
    byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    train(planned(byte_corpus, tmp_path / "whole", strategy=SHARDED))
    folder = tmp_path / "run"
    plan = planned(byte_corpus, folder, strategy=SHARDED)
    train(plan, stop_step=7)
    last, previous = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "previous"))
    shard = next(last.glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert not is_whole(last) and newest_whole(folder) == previous
    with pytest.raises(InputError, match="damaged"):
        AtomicCheckpointIO().load_checkpoint(last)
    train(plan)
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weight, weights(folder)[name]), name
    curves = [
        pd.read_csv(each / "curve.csv").drop(columns=RUN_ON_ONE_DEVICE, errors="ignore")
        for each in (tmp_path / "whole", folder)
    ]
    pd.testing.assert_frame_equal(*curves, check_exact=True)


def test_a_folder_that_lacks_a_file_is_no_checkpoint(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    train(planned(byte_corpus, tmp_path / "run", strategy=SHARDED), stop_step=1)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    names = [path.name for path in last.iterdir()]
    assert is_whole(last) and len(names) == 5  # two ranks, two kinds of metadata, the manifest
    for name in names:
        lacking = tmp_path / name.strip(".")
        shutil.copytree(last, lacking)
        (lacking / name).unlink()
        assert not is_whole(lacking)


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("model", {"optimizer": "adafactor"}, "use adamw"),
        ("noise_scale", {"every_n_steps": 4}, "set noise_scale.every_n_steps 0"),
        ("recorder", {"patience": 2}, "leave it 0"),
    ],
)
def test_what_sharded_weights_cannot_do_is_said(
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    section: str,
    change: dict[str, Any],
    says: str,
) -> None:
    plan = planned(byte_corpus, tmp_path / "run", strategy=SHARDED)
    plan[section] |= change
    assert on_ranks(lambda: train_trunk([plan])) == [1, 1]
    assert f"{says}\n" in capfd.readouterr().err


@pytest.mark.parametrize("strategy", [DDP, SHARDED], ids=["ddp", "sharded"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_rank_stops_all_after_the_same_step(
    alone: dict[tuple[str, int], Path], byte_corpus: TokenCorpus, tmp_path: Path, rank: int, strategy: Any
) -> None:
    plan = planned(byte_corpus, tmp_path / "run", strategy=strategy)
    original = LanguageModel.on_before_optimizer_step

    def stopped(self: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
        original(self, optimizer)
        if self.global_rank == rank and self.trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "on_before_optimizer_step", stopped)
        on_ranks(lambda: train_trunk([plan]))
    assert not (tmp_path / "run" / "record.json").exists()
    checkpoint = newest_whole(tmp_path / "run")
    assert checkpoint and AtomicCheckpointIO().load_checkpoint(checkpoint)["global_step"] == 6
    train(plan)
    assert_close_runs(alone["transformer", 1], tmp_path / "run")


def test_a_rank_that_fails_does_not_leave_the_other_waiting(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    plan = planned(byte_corpus, tmp_path / "run", strategy=DDP)
    original = LanguageModel.on_before_optimizer_step

    def failing(self: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
        original(self, optimizer)
        if self.global_rank == 1 and self.trainer.global_step == 5:
            raise RuntimeError("a rank's own misfortune")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "on_before_optimizer_step", failing)
        assert on_ranks(lambda: train_trunk([plan])) == [1, 1]
    assert not (tmp_path / "run" / "record.json").exists()


def test_a_loss_that_is_lost_on_one_rank_ends_the_run_on_all(
    byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    plan = planned(byte_corpus, tmp_path / "run", strategy=DDP) | {"checkpoints": {"every_s": 0.0}}
    original = LanguageModel.training_step

    def poisoned(self: LanguageModel, window: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = original(self, window, batch_idx)
        return loss * float("nan") if self.global_rank == 1 and self.trainer.global_step == 5 else loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "training_step", poisoned)
        assert on_ranks(lambda: train_trunk([plan])) == [0, 0]
    record = read_record(tmp_path / "run" / "record.json")
    assert record.status == "diverged" and "at step 8" in record.reason


def test_a_trunk_and_its_branch_on_two_forked_processes(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    for strategy, folder in ((None, tmp_path / "one"), ("ddp_fork", tmp_path / "two")):
        trunk = planned(byte_corpus, folder / "trunk", strategy=strategy)
        branch = planned(byte_corpus, folder / "branch", strategy=strategy)
        branch["trainer"]["max_steps"] = 6
        branch["recorder"]["run_id"] = "branch"
        train_trunk([trunk, branch])
    for name in ("trunk", "branch"):
        assert_close_runs(tmp_path / "one" / name, tmp_path / "two" / name)


def test_slurm_overlay_as_srun_would_start_it(
    alone: dict[tuple[str, int], Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    overlay = yaml.safe_load((ROOT / "configs" / "trainer" / "slurm.yaml").read_text(encoding="utf-8"))
    plan = planned(byte_corpus, tmp_path / "run")
    plan["trainer"] |= overlay["trainer"] | {"accelerator": "cpu", "devices": 1}
    assert on_ranks(lambda: train_trunk([plan]), srun) == [0, 0]
    assert_close_runs(alone["transformer", 1], tmp_path / "run")
    assert read_record(tmp_path / "run" / "record.json").devices == 2


def test_a_sweep_is_not_started_once_more_for_every_device(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="starts the whole command once more"):
        train_trunk([planned(byte_corpus, tmp_path / "run", strategy=DDP)])


def test_final_weights_of_a_sharded_run_are_kept_without_moments(
    alone: dict[tuple[str, int], Path], byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(planned(byte_corpus, folder, strategy=SHARDED) | {"checkpoints": {"keep": "weights"}})
    assert_close_runs(alone["transformer", 1], folder)
    assert checkpoint(folder / "checkpoints" / "final.ckpt")["optimizer_states"] == []

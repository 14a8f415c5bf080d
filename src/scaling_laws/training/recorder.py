"""The callback that writes what a run leaves behind (`records.py` has the schema)."""

from __future__ import annotations

import math
import platform
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from scaling_laws.records import (
    CURVE_COLUMNS,
    MAIN_CORPUS,
    POSITION_COLUMNS,
    RunRecord,
    write_record,
)
from scaling_laws.runs import compute_flops, parameter_counts
from scaling_laws.training import provenance
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.evaluation import N_FOLDS, evaluate, evaluation_steps
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.resumable_csv import ResumableCsv


class RunRecorder(pl.Callback):
    """Writes curve.csv, position_losses.csv, TensorBoard events and, last, record.json.

    The folder is the trainer's `default_root_dir`. A resumed run drops the rows after its checkpoint
    and goes on, so that its files equal those of an undisturbed run (wall-clock columns aside).

    Args:
        study: name of the study the run belongs to.
        name: name of the run; the folder's name where empty.
        trunk: name of the training whose constant-rate phase this run shares; its own where empty.
        run_id: hash of the planned configuration.
        tags: experiments that asked for this run.
        log_every_n_steps: steps between two rows of the curve.
        evaluations_per_doubling: held-out evaluations each time the tokens double.
        evaluation_windows: windows a held-out corpus at each of them.
        final_windows: windows a held-out corpus after the last step.
    """

    def __init__(
        self,
        study: str = "",
        name: str = "",
        trunk: str = "",
        run_id: str = "",
        tags: list[str] | None = None,
        log_every_n_steps: int = 20,
        evaluations_per_doubling: int = 2,
        evaluation_windows: int = 64,
        final_windows: int = 512,
    ) -> None:
        self.study = study
        self.name = name
        self.trunk = trunk
        self.run_id = run_id
        self.tags = tuple(tags or ())
        self.log_every_n_steps = log_every_n_steps
        self.evaluations_per_doubling = evaluations_per_doubling
        self.evaluation_windows = evaluation_windows
        self.final_windows = final_windows
        self.shared_steps = 0
        """Steps that a cooldown branch takes over from its trunk; set by `run.py`."""
        self.status = ""
        """`complete` or `diverged` once the training has ended."""
        self.reason = ""
        self._loss_sum: Tensor | float = 0.0
        self._loss_count = 0
        self._losses: dict[str, float] = {}
        self._evaluated: dict[str, int] = {}
        self._evaluated_step = -1
        self._tables: dict[str, dict[str, Any]] = {}

    # --- state: what a checkpoint must hold for an exact resume -----------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "loss_sum": float(self._loss_sum),
            "loss_count": self._loss_count,
            "curve": self._curve.state(),
            "positions": self._positions.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loss_sum = state_dict["loss_sum"]
        self._loss_count = state_dict["loss_count"]
        self._tables = {name: state_dict[name] for name in ("curve", "positions")}

    # --- during training --------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = _data(trainer)
        self.folder = Path(trainer.default_root_dir)
        self._step = trainer.global_step
        self._batch_tokens = data.batch_tokens * trainer.accumulate_grad_batches
        self._evaluation_steps = evaluation_steps(
            self._batch_tokens, trainer.max_steps, self.evaluations_per_doubling
        )
        self._corpora = data.corpus.held_out
        columns = (*CURVE_COLUMNS, *(f"{corpus}_loss_nats" for corpus in self._corpora))
        self._curve = ResumableCsv(
            self.folder / "curve.csv", columns, self._tables.get("curve"), trainer.is_global_zero
        )
        self._positions = ResumableCsv(
            self.folder / "position_losses.csv",
            POSITION_COLUMNS,
            self._tables.get("positions"),
            trainer.is_global_zero,
        )
        rows_before = self._curve.read()
        for row in rows_before:
            self._to_tensorboard(trainer, {key: float(value) for key, value in row.items() if value})
        self._elapsed_before_s = float(rows_before[-1]["elapsed_s"]) if rows_before else 0.0
        self._start_s = self._interval_start_s = time.perf_counter()
        self._interval_start_step = self._step
        self._last_loss: float | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Summed on the device: reading the value every step would make the device wait.
        self._loss_sum = self._loss_sum + outputs["loss"].detach().double() * trainer.accumulate_grad_batches
        self._loss_count += 1
        step = trainer.global_step
        if step == self._step:
            return  # a batch that was accumulated
        self._step = step
        evaluating = step in self._evaluation_steps
        if evaluating or step % self.log_every_n_steps == 0:
            self._log(trainer, pl_module, step, evaluating)

    def _log(self, trainer: pl.Trainer, module: Any, step: int, evaluating: bool) -> None:
        """Write one row of the curve, with held-out losses where this is a step for them."""
        train_loss = self._mean_train_loss(trainer)
        interval_s = time.perf_counter() - self._interval_start_s
        trained_tokens = (step - self._interval_start_step) * self._batch_tokens
        row: dict[str, Any] = {
            "step": step,
            "tokens": step * self._batch_tokens,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss_nats": train_loss,
            "tokens_per_s": round(trained_tokens / interval_s, 1),
        }
        if not math.isfinite(train_loss):
            self._diverged(trainer, f"the training loss is {train_loss} at step {step}")
        elif evaluating:
            row |= self._evaluate(trainer, module, step, final=step == trainer.max_steps)
        self._last_loss = train_loss if math.isfinite(train_loss) else self._last_loss
        row["elapsed_s"] = round(self._elapsed_before_s + time.perf_counter() - self._start_s, 3)
        self._curve.write([row])
        self._to_tensorboard(trainer, row)
        self._interval_start_s = time.perf_counter()
        self._interval_start_step = step

    def _mean_train_loss(self, trainer: pl.Trainer) -> float:
        """Mean loss a token since the last row, over all ranks; empties the sum."""
        mean = torch.as_tensor(self._loss_sum / self._loss_count, device=trainer.strategy.root_device)
        self._loss_sum, self._loss_count = 0.0, 0
        return float(trainer.strategy.reduce(mean, reduce_op="mean"))

    def _diverged(self, trainer: pl.Trainer, reason: str) -> None:
        self.status, self.reason = "diverged", reason
        trainer.should_stop = True

    def _evaluate(self, trainer: pl.Trainer, module: Any, step: int, *, final: bool) -> dict[str, float]:
        """Measure every held-out corpus, write the rows a position, and return the curve's columns."""
        metrics = evaluate(
            trainer,
            module,
            _data(trainer),
            n_windows=self.final_windows if final else self.evaluation_windows,
            n_folds=N_FOLDS if final else 1,
        )
        self._positions.write(
            row for corpus, metric in metrics.items() for row in _rows(step, corpus, metric)
        )
        self._losses = {corpus: float(metric.compute()) for corpus, metric in metrics.items()}
        self._evaluated = {corpus: int(metric.count.sum()) for corpus, metric in metrics.items()}
        self._evaluated_step = step
        for corpus, loss in self._losses.items():
            if not math.isfinite(loss):
                self._diverged(trainer, f"the loss on {corpus!r} is {loss} at step {step}")
        return {f"{corpus}_loss_nats": loss for corpus, loss in self._losses.items()}

    def _to_tensorboard(self, trainer: pl.Trainer, row: dict[str, Any]) -> None:
        if not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
            return
        scalars = {"learning_rate": row["learning_rate"], "tokens_per_s": row["tokens_per_s"]}
        scalars |= {
            f"loss_nats/{key.removesuffix('_loss_nats')}": row[key] for key in row if "_loss_nats" in key
        }
        for tag, value in scalars.items():
            trainer.logger.experiment.add_scalar(tag, value, int(row["step"]))
            if tag.startswith("loss_nats"):
                # TensorBoard's x-axis is an integer step: a second family of tags counts tokens.
                trainer.logger.experiment.add_scalar(f"by_tokens/{tag}", value, int(row["tokens"]))

    # --- at the end -------------------------------------------------------------------------------

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.status:
            if self._evaluated_step != self._step:  # stopped early, by another callback
                self._log(trainer, pl_module, self._step, evaluating=True)
            self.status = self.status or "complete"

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # After every callback's on_train_end: the record is the last thing that a run writes.
        record = self._record(trainer, pl_module)
        if trainer.is_global_zero:
            self._hparams_to_tensorboard(trainer, record)
            write_record(self.folder, record)

    def _record(self, trainer: pl.Trainer, module: Any) -> RunRecord:
        assert isinstance(module, LanguageModel)
        data = _data(trainer)
        network: Any = module.network
        tokens = self._step * self._batch_tokens
        own_steps = self._step - self.shared_steps
        curve = self._curve.read()
        shared_s = max(
            (float(row["elapsed_s"]) for row in curve if int(row["step"]) <= self.shared_steps), default=0
        )
        elapsed_s = self._elapsed_before_s + time.perf_counter() - self._start_s - shared_s
        complete = self.status == "complete"
        return RunRecord(
            run_id=self.run_id,
            name=self.name or self.folder.resolve().name,
            study=self.study or self.folder.resolve().parent.name,
            trunk=self.trunk or self.name or self.folder.resolve().name,
            status=self.status,
            reason=self.reason,
            family=network.family,
            shape=asdict(network.config) if is_dataclass(getattr(network, "config", None)) else {},
            parameters=network.parameters_by_group(),
            flops_per_token=network.flops_per_token(),
            tokens=tokens,
            unique_tokens=min(tokens, data.tokens_per_epoch),
            batch_tokens=self._batch_tokens,
            steps=self._step,
            optimizer={
                "name": "adamw",
                "learning_rate": module.learning_rate,
                "betas": list(module.betas),
                "weight_decay": module.weight_decay,
                "gradient_clip": trainer.gradient_clip_val,
                "precision": trainer.precision,
            },
            schedule=asdict(module.schedule),
            after_cooldown=complete
            and module.schedule.brings_down(trainer.max_steps)
            and self._step == trainer.max_steps,
            seed=data.seed,
            losses={
                corpus: {
                    "loss_nats": loss,
                    "bits_per_byte": loss / math.log(2) / data.corpus.bytes_per_token(corpus),
                    "tokens": self._evaluated[corpus],
                }
                for corpus, loss in self._losses.items()
                if complete
            },
            best_losses={
                corpus: best for corpus in self._corpora if (best := _lowest(curve, corpus)) is not None
            },
            train_loss_nats=self._last_loss,
            corpus={"name": data.corpus.name, "manifest_hash": data.corpus.manifest_hash},
            elapsed_s=round(elapsed_s, 3),
            trained_tokens=own_steps * self._batch_tokens,
            tokens_per_s=round(own_steps * self._batch_tokens / elapsed_s, 1),
            peak_memory_bytes=provenance.peak_memory_bytes(),
            git_revision=provenance.git_revision(),
            versions=provenance.versions(),
            host=platform.node(),
            tags=self.tags,
        )

    def _hparams_to_tensorboard(self, trainer: pl.Trainer, record: RunRecord) -> None:
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        hparams: dict[str, Any] = {
            "family": record.family,
            **{key: record.shape.get(key) for key in ("n_layer", "d_model", "n_ctx") if key in record.shape},
            **parameter_counts(record.parameters, record.flops_per_token),
            "D": record.tokens,
            "C": compute_flops(record)["C"],
            "learning_rate": record.optimizer["learning_rate"],
            "seed": record.seed,
        }
        metrics = {f"hp/{corpus}_loss_nats": loss["loss_nats"] for corpus, loss in record.losses.items()}
        if MAIN_CORPUS in record.losses:
            trainer.logger.log_hyperparams(hparams, metrics)
        trainer.logger.save()


def forget_events(folder: Path) -> None:
    """Remove what TensorBoard's logger wrote: a resumed run writes all its points again, from its curve."""
    for pattern in ("events.out.tfevents.*", "hparams.yaml"):
        for path in folder.glob(pattern):
            path.unlink()


def _data(trainer: pl.Trainer) -> TokenDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TokenDataModule)
    return data


def _rows(step: int, corpus: str, metric: PositionLoss) -> list[dict[str, Any]]:
    sums, counts = metric.loss_sum.tolist(), metric.count.tolist()
    return [
        {
            "step": step,
            "corpus": corpus,
            "fold": fold,
            "position": position + 1,
            "loss_sum_nats": round(sums[fold][position], 6),
            "count": counts[fold][position],
        }
        for fold in range(len(sums))
        for position in range(len(sums[fold]))
        if counts[fold][position]
    ]


def _lowest(curve: list[dict[str, str]], corpus: str) -> float | None:
    values = [float(row[f"{corpus}_loss_nats"]) for row in curve if row.get(f"{corpus}_loss_nats")]
    return min((value for value in values if math.isfinite(value)), default=None)

"""The callback that measures a run and writes what it leaves behind (`records.py` has the schema)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelSummary, ProgressBar
from torch import Tensor

from scaling_laws.study.bounds import LARGEST_INTEGER, Count, PositiveCount, Windows, check_bounds
from scaling_laws.study.conventions import compute_flops, parameter_counts, times_reused
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import (
    CURVE_COLUMNS,
    EVERY_CORPUS,
    MAIN_CORPUS,
    POSITION_COLUMNS,
    TASK_SCORE_COLUMNS,
    TASK_SCORE_FILE,
    TOKEN_CLASS_COLUMNS,
    TOKEN_CLASS_FILE,
    TOKEN_CLASSES,
    loss_column,
    write_record,
)
from scaling_laws.study.schedule import evaluation_steps
from scaling_laws.study.units import PF_DAY_FLOPS
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.device_peak import matrix_dtype, matrix_peak_flops, utilisation
from scaling_laws.training.evaluation import N_FOLDS, evaluate, token_losses
from scaling_laws.training.event_log import EventLog, metric_name
from scaling_laws.training.kept_weights import BestWeights, DivergenceGuard, are_finite, trained_weights
from scaling_laws.training.metrics import PositionLoss
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.noise_scale import NoiseScale
from scaling_laws.training.probe import ProbeLosses
from scaling_laws.training.resumable_csv import ResumableCsv
from scaling_laws.training.run_record import Identity, Outcome, make_record
from scaling_laws.training.snapshots import Snapshots
from scaling_laws.training.strategies import FullyShardedStrategy
from scaling_laws.training.task_scores import TaskQuestions


class RunRecorder(pl.Callback):
    """Writes curve.csv, losses by position, class and token, task scores, events and, last, record.json.

    The folder is the trainer's `default_root_dir`. A resumed run drops the rows after its checkpoint
    and goes on, so that its files equal those of an undisturbed run (wall-clock columns aside).

    A run ends within one interval between two rows when its loss or a gradient is not finite, or when its
    loss rises far above the untrained network's (`kept_weights.py`): its weights are then those of the last
    good interval.

    Args:
        study: name of the study the run belongs to.
        name: name of the run; by default the folder's name.
        trunk: name of the training whose constant-rate phase this run shares; by default its own.
        run_id: hash of the planned configuration.
        tags: experiments that need this run.
        log_every_n_steps: steps between two rows of the curve.
        evaluations_per_doubling: held-out evaluations each time the tokens double.
        evaluation_every_n_steps: also evaluate after every n-th step, for early stopping; 0: do not.
        evaluation_corpora: held-out corpora that are measured at each evaluation; the others are measured
            only after the last step. `all` stands for every one. The corpora of `patience_corpus` and of a
            callback's `monitor` are added.
        evaluation_windows: windows of each of these corpora at each evaluation.
        final_windows: windows of each of these corpora after the last step; `all` reads every window.
        other_windows: windows of each other held-out corpus after the last step.
        probe_windows: windows of the test corpus for which the loss of every token is kept at each
            evaluation.
        patience: evaluations without a new lowest loss on `patience_corpus` after which a data-limited run is
            stopped; its final losses are those of its best weights. 0 trains to the horizon.
        patience_corpus: the held-out corpus that decides: `val`, or `test` as in Kaplan 2020.
    """

    def __init__(
        self,
        study: str = "",
        name: str = "",
        trunk: str = "",
        run_id: str = "",
        tags: list[str] | None = None,
        log_every_n_steps: PositiveCount = 20,
        evaluations_per_doubling: Count = 2,
        evaluation_every_n_steps: Count = 0,
        evaluation_corpora: Sequence[str] = (MAIN_CORPUS,),
        evaluation_windows: PositiveCount = 64,
        final_windows: Windows = 512,
        other_windows: Windows = 96,
        probe_windows: Count = 8,
        patience: Count = 0,
        patience_corpus: str = "val",
    ) -> None:
        settings = {
            "log_every_n_steps": log_every_n_steps,
            "evaluations_per_doubling": evaluations_per_doubling,
            "evaluation_every_n_steps": evaluation_every_n_steps,
            "evaluation_windows": evaluation_windows,
            "final_windows": final_windows,
            "other_windows": other_windows,
            "probe_windows": probe_windows,
            "patience": patience,
        }
        check_bounds(RunRecorder.__init__, settings, what="recorder.")
        self.identity = Identity(study=study, name=name, trunk=trunk, run_id=run_id, tags=tuple(tags or ()))
        self.log_every_n_steps = log_every_n_steps
        self.evaluations_per_doubling = evaluations_per_doubling
        self.evaluation_every_n_steps = evaluation_every_n_steps
        self.evaluation_corpora = tuple(evaluation_corpora)
        self.evaluation_windows = evaluation_windows
        self.final_windows = final_windows
        self.other_windows = other_windows
        self.probe_windows = probe_windows
        self.patience = patience
        self.patience_corpus = patience_corpus
        self.shared_steps = 0
        """Steps that a cooldown branch takes over from its trunk; set by `run.py`."""
        self.before_record: Callable[[], None] | None = None
        """Called right before the record is written, and may object; set by `run.py`."""
        self.settings: dict[str, Any] = {}
        """What decides the run, by dotted names; set by `TrainingCLI`."""
        self.initial_weights = ""
        """SHA-256 of the checkpoint that the run began with, if it did; set by `TrainingCLI`."""
        self.status = ""
        """`complete` or `diverged` once the training has ended."""
        self.reason = ""
        self._losses: dict[str, dict[str, float]] = {}
        self._evaluated_step = self._positions_step = -1
        self._stopped_early = False
        self._measured_end = False
        self._restored: dict[str, Any] = {}

    # --- state: what a checkpoint must hold for an exact resume -----------------------------------

    def state_dict(self) -> dict[str, Any]:
        # One checkpoint serves all ranks: it holds the mean over them.
        return {
            "first_loss_nats": self._guard.first_loss_nats,
            "loss_sum": float(self._over_ranks(self._loss_sum.clone())),
            "loss_count": self._loss_count,
            "largest_gradient_norm": float(self._largest_gradient_norm),
            "summed_learning_rate": self._summed_learning_rate,
            "evaluation_s": self._evaluation_s,
            "shared_evaluation_s": self._shared_evaluation_s,
            "curve": self._curve.state(),
            "positions": self._positions.state(),
            **({"shared_steps": self.shared_steps} if self.shared_steps else {}),
            "classes": self._classes.state(),
            **({"tasks": self._tasks.state()} if self._tasks else {}),
            **({"best": self._best.state_dict()} if self._best else {}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    # --- during training --------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data, module = _data(trainer), _module(pl_module)
        self.folder = Path(trainer.default_root_dir)
        self._strategy = trainer.strategy
        self._step = trainer.global_step
        self._evaluation_steps = evaluation_steps(
            data.batch_tokens, trainer.max_steps, self.evaluations_per_doubling, self.evaluation_every_n_steps
        )
        self._corpora = data.corpus.held_out
        network: Any = module.network
        self._parameters, self._flops_per_token = network.parameters_by_group(), network.flops_per_token()
        if self.patience and self.patience_corpus not in self._corpora:
            raise InputError(
                f"recorder.patience_corpus is {self.patience_corpus!r}; "
                f"the corpus holds out {', '.join(self._corpora)}"
            )
        if self.patience and isinstance(trainer.strategy, FullyShardedStrategy):
            raise InputError(
                "recorder.patience: a checkpoint holds no best weights that are sharded; leave it 0"
            )
        self._on_the_way = self._corpora_on_the_way(trainer)
        self._guard = DivergenceGuard(module.network, data.n_vocab)
        self._guard.good_step = self._step
        self._best = BestWeights(module.network, self.patience) if self.patience else None
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._noise = next((each for each in callbacks if isinstance(each, NoiseScale)), None)
        self._snapshots = next((each for each in callbacks if isinstance(each, Snapshots)), None)
        self._listeners = [each for each in callbacks if not _is_deaf(each)]
        dtype = matrix_dtype(str(trainer.precision))
        self._peak_flops_per_s = matrix_peak_flops(trainer.strategy.root_device, dtype)
        self._restore_state()

        columns = (*CURVE_COLUMNS, *map(loss_column, self._corpora))
        writes = trainer.is_global_zero
        self._curve = ResumableCsv(self.folder / "curve.csv", columns, self._restored.get("curve"), writes)
        self._positions = ResumableCsv(
            self.folder / "position_losses.csv", POSITION_COLUMNS, self._restored.get("positions"), writes
        )
        self._classes = ResumableCsv(
            self.folder / TOKEN_CLASS_FILE, TOKEN_CLASS_COLUMNS, self._restored.get("classes"), writes
        )
        self._questions = TaskQuestions(data)
        self._tasks = (
            ResumableCsv(
                self.folder / TASK_SCORE_FILE, TASK_SCORE_COLUMNS, self._restored.get("tasks"), writes
            )
            if self._questions.tasks
            else None
        )
        if self.probe_windows:
            self._probe_text = data.held_out(MAIN_CORPUS, self.probe_windows)[0]
            self._probe = ProbeLosses(self.folder, self._probe_text, self._step, writes)
        rows_before = self._curve.read()
        self._events = EventLog(
            trainer,
            rows_before,
            self._positions.read(),
            self._classes.read(),
            self._tasks.read() if self._tasks else (),
            hyperparameters=self._hyperparameters(trainer, module),
        )
        self._elapsed_before_s = float(rows_before[-1]["elapsed_s"]) if rows_before else 0.0
        self._start_s = self._interval_start_s = time.perf_counter()
        self._interval_start_step = self._step
        self._last_loss: float | None = None

    def _corpora_on_the_way(self, trainer: pl.Trainer) -> tuple[str, ...]:
        """What is measured at each evaluation, in the corpora's order.

        Raises:
            InputError: `evaluation_corpora` names one that is not held out.
        """
        wanted = set(self.evaluation_corpora)
        if unknown := sorted(wanted - {EVERY_CORPUS, *self._corpora}):
            raise InputError(
                f"recorder.evaluation_corpora names {unknown[0]!r}; "
                f"the corpus holds out {', '.join(self._corpora)}"
            )
        if EVERY_CORPUS in wanted:
            return self._corpora
        if self.patience:
            wanted.add(self.patience_corpus)
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        monitored = {getattr(callback, "monitor", None) for callback in callbacks}
        return tuple(
            corpus for corpus in self._corpora if corpus in wanted or metric_name(corpus) in monitored
        )

    def _hyperparameters(self, trainer: pl.Trainer, module: LanguageModel) -> dict[str, Any]:
        """What loggers are given of a run at its start: its counts, and the settings that decide it."""
        n_reuse = times_reused(module.shape)
        D = trainer.max_steps * _data(trainer).batch_tokens
        network: Any = module.network
        return {
            "family": network.family,
            **parameter_counts(self._parameters, self._flops_per_token, n_reuse),
            "D": D,
            "C": compute_flops(self._parameters, self._flops_per_token, D, n_reuse)["C"],
            "batch_tokens": _data(trainer).batch_tokens,
            **self.settings,
        }

    def _restore_state(self) -> None:
        state = self._restored
        self._evaluation_s = state.get("evaluation_s", 0.0)
        begins_as_branch = self.shared_steps > state.get("shared_steps", 0)
        self._shared_evaluation_s = (
            self._evaluation_s if begins_as_branch else state.get("shared_evaluation_s", 0.0)
        )
        self.shared_steps = max(self.shared_steps, state.get("shared_steps", 0))
        device = self._strategy.root_device
        self._loss_sum = torch.tensor(state.get("loss_sum", 0.0), dtype=torch.float64, device=device)
        self._loss_count = state.get("loss_count", 0)
        self._largest_gradient_norm = torch.tensor(state.get("largest_gradient_norm", 0.0), device=device)
        self._summed_learning_rate = state.get("summed_learning_rate", 0.0)
        self._guard.first_loss_nats = state.get("first_loss_nats", math.inf)
        if self._best and "best" in state:
            self._best.load_state_dict(state["best"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Summed on the device, in place: reading the value would make the device wait, and every operation
        # counts where a step takes 10 ms.
        if (cross_entropy := outputs.get("cross_entropy")) is not None:
            self._loss_sum.add_(cross_entropy)
        else:
            self._loss_sum.add_(outputs["loss"].detach(), alpha=trainer.accumulate_grad_batches)
        self._loss_count += 1
        step = trainer.global_step
        if step == self._step:
            return  # a batch that was accumulated
        module = _module(pl_module)
        self._step = step
        self._summed_learning_rate += module.step_learning_rate
        largest = self._largest_gradient_norm
        torch.maximum(largest, module.gradient_norm, out=largest)
        if math.isinf(self._guard.first_loss_nats):
            self._guard.first_loss_nats = self._mean_train_loss()
        evaluating = step in self._evaluation_steps
        if evaluating or step % self.log_every_n_steps == 0:
            self._log(trainer, module, evaluating=evaluating, final=step == trainer.max_steps)
            if self._listeners or step == trainer.max_steps:
                self._tell_callbacks(trainer, module, evaluating=evaluating)
        if self._snapshots and self._snapshots.is_due(step, trainer.max_steps) and not trainer.should_stop:
            start_s = time.perf_counter()
            self._snapshots.take(trainer, module, final=step == trainer.max_steps)
            self._interval_start_s += time.perf_counter() - start_s  # no part of the row's tokens per second

    def _tell_callbacks(self, trainer: pl.Trainer, module: LanguageModel, *, evaluating: bool) -> None:
        """Give Lightning's callbacks what they may monitor, and say where a validation ended.

        Lightning's `log` costs as much as the rest of a row: where nobody listens, the end alone is told, for
        whoever reads `trainer.callback_metrics` afterwards.
        """
        seen = {"train": self._last_loss} | (
            {corpus: losses["loss_nats"] for corpus, losses in self._losses.items()} if evaluating else {}
        )
        for corpus, loss in seen.items():
            if loss is not None:
                module.log(
                    metric_name(corpus), loss, logger=False, prog_bar=corpus in ("train", "val", MAIN_CORPUS)
                )
        if not evaluating or self.status:
            return
        for callback in self._listeners:
            if not isinstance(callback, ProgressBar):
                callback.on_validation_end(trainer, module)

    # --- a row of the curve: measured, judged, written --------------------------------------------

    def _log(self, trainer: pl.Trainer, module: LanguageModel, *, evaluating: bool, final: bool) -> None:
        """One row of the curve, with held-out losses where this is a step for them."""
        row = self._measured(trainer, module)
        fault = self._fault(trainer, module, row["train_loss_nats"])
        if not fault and evaluating:
            row |= self._evaluate(trainer, module, final=final)
            losses = {corpus: measured["loss_nats"] for corpus, measured in self._losses.items()}
            wrong = [name for name, loss in losses.items() if not math.isfinite(loss)]
            fault = f"the loss on {wrong[0]!r} is {losses[wrong[0]]}" if wrong else ""
        self._judge(trainer, fault)
        self._write(row)

    def _measured(self, trainer: pl.Trainer, module: LanguageModel) -> dict[str, Any]:
        """The interval since the row before; the next one begins."""
        step, batch_tokens = self._step, _data(trainer).batch_tokens
        train_loss = self._mean_train_loss()
        self._loss_sum.zero_()
        self._loss_count = 0
        interval_s = time.perf_counter() - self._interval_start_s
        tokens_per_s = (step - self._interval_start_step) * batch_tokens / interval_s
        tokens = step * batch_tokens
        C = compute_flops(self._parameters, self._flops_per_token, tokens, times_reused(module.shape))
        return {
            "step": step,
            "tokens": tokens,
            **C,
            **{f"{convention}_pf_days": flops / PF_DAY_FLOPS for convention, flops in C.items()},
            "learning_rate": module.step_learning_rate,
            "summed_learning_rate": self._summed_learning_rate,
            "train_loss_nats": train_loss,
            "gradient_norm": float(module.gradient_norm),
            "noise_scale_tokens": self._noise.tokens if self._noise else None,
            "tokens_per_s": round(tokens_per_s, 1),
            "model_flops_utilisation": utilisation(
                C["C_exact"] / tokens * tokens_per_s, self._peak_flops_per_s, trainer.world_size
            ),
        }

    def _fault(self, trainer: pl.Trainer, module: LanguageModel, train_loss: float) -> str:
        """What is wrong with the interval; empty where nothing is."""
        # In 16-mixed an overflow is an everyday event: the scaler leaves the step out.
        largest_norm = 0.0 if trainer.precision == "16-mixed" else float(self._largest_gradient_norm)
        self._largest_gradient_norm.zero_()
        finite = trainer.strategy.reduce_boolean_decision(are_finite(trained_weights(module.network)))
        return self._guard.fault(train_loss, largest_norm, finite)

    def _judge(self, trainer: pl.Trainer, fault: str) -> None:
        """Keep the weights of a good interval; after a bad one go back to the last good ones, and end."""
        if not fault:
            self._guard.good_weights.keep()
            self._guard.good_step = self._step
            return
        good_step = self._guard.good_step
        self.status = "diverged"
        self.reason = f"{fault} at step {self._step}; the weights kept are those after step {good_step}"
        self._guard.good_weights.restore()
        trainer.should_stop = True

    def _write(self, row: dict[str, Any]) -> None:
        """Into the curve and TensorBoard's events."""
        if math.isfinite(row["train_loss_nats"]):
            self._last_loss = row["train_loss_nats"]
        row["elapsed_s"] = round(self._elapsed_before_s + time.perf_counter() - self._start_s, 3)
        self._curve.write([row])
        self._events.write_row(row)
        self._interval_start_s = time.perf_counter()
        self._interval_start_step = self._step

    def _mean_train_loss(self) -> float:
        """Mean loss a token since the last row, over all ranks."""
        return float(self._over_ranks(self._loss_sum / self._loss_count))

    def _over_ranks(self, value: Tensor) -> Tensor:
        """The mean over all ranks, each of which must ask; `value` may be changed."""
        return self._strategy.reduce(value, reduce_op="mean")

    def _evaluate(self, trainer: pl.Trainer, module: LanguageModel, *, final: bool) -> dict[str, float]:
        """Measure held-out corpora, write the rows a position, and return the curve's columns."""
        start_s = time.perf_counter()
        step = self._step
        if self.probe_windows:
            self._probe.add(step, token_losses(trainer, module, self._probe_text))
        metrics = self._corpus_losses(trainer, module, final=final and self._best is None)
        losses = {corpus: float(metric.compute()) for corpus, metric in metrics.items()}
        self._evaluated_step, self._measured_end = step, final
        if self._best is not None:
            self._best.add(step, losses[self.patience_corpus])
            self._measured_end = final = final or self._best.exhausted
            if final:
                self._best.restore()
                self._evaluated_step = self._best.step
                self._stopped_early = self._best.exhausted
                trainer.should_stop = True
                metrics = self._corpus_losses(trainer, module, final=True)
        self._losses = {
            corpus: {
                "loss_nats": float(metric.compute()),
                "bits_per_byte": _data(trainer).bits_per_byte(corpus, metric),
                "tokens": int(metric.count.sum()),
                **({} if (error := metric.standard_error()) is None else {"standard_error_nats": error}),
            }
            for corpus, metric in metrics.items()
        }
        if step != self._positions_step:
            self._positions_step = step
            rows = [row for corpus, metric in metrics.items() for row in _position_rows(step, corpus, metric)]
            self._positions.write(rows)
            self._events.write_positions(rows)
            rows = [row for corpus, metric in metrics.items() for row in _class_rows(step, corpus, metric)]
            self._classes.write(rows)
            self._events.add_classes(rows)
            if self._tasks:
                rows = self._questions.score(trainer, module, step, final=final)
                self._tasks.write(rows)
                self._events.add_tasks(rows)
        self._evaluation_s += time.perf_counter() - start_s
        return {loss_column(corpus): loss for corpus, loss in losses.items()}

    def _corpus_losses(
        self, trainer: pl.Trainer, module: LanguageModel, *, final: bool
    ) -> dict[str, PositionLoss]:
        if final:
            windows = {
                corpus: _number(self.final_windows if corpus in self._on_the_way else self.other_windows)
                for corpus in self._corpora
            }
        else:
            windows = dict.fromkeys(self._on_the_way, self.evaluation_windows)
        return evaluate(trainer, module, _data(trainer), windows=windows, n_folds=N_FOLDS if final else 1)

    # --- at the end -------------------------------------------------------------------------------

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.status:
            if not self._measured_end:  # ended by something else than the horizon: Lightning's max_time, say
                if self._loss_count:
                    self._log(trainer, _module(pl_module), evaluating=True, final=True)
                else:  # the curve has its row already
                    self._evaluate(trainer, _module(pl_module), final=True)
            self.status = self.status or "complete"
        if self._snapshots and self.status == "complete":
            self._snapshots.take(trainer, pl_module, final=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # After every callback's on_train_end: the record is the last thing that a run writes.
        curve = self._curve.read()
        shared_s = max(
            (float(row["elapsed_s"]) for row in curve if int(row["step"]) <= self.shared_steps), default=0.0
        )
        elapsed_s = self._elapsed_before_s + time.perf_counter() - self._start_s
        outcome = Outcome(
            status=self.status,
            reason=self.reason,
            step=self._step,
            shared_steps=self.shared_steps,
            elapsed_s=elapsed_s - shared_s,
            evaluation_s=self._evaluation_s - self._shared_evaluation_s,
            evaluated_step=self._evaluated_step,
            losses=self._losses,
            lowest_losses_nats=_lowest(curve, self._corpora),
            train_loss_nats=self._last_loss,
            summed_learning_rate=self._summed_learning_rate,
            stopped_early=self._stopped_early,
            peak_flops_per_s=self._peak_flops_per_s,
            initial_weights=self.initial_weights,
        )
        record = make_record(trainer, _module(pl_module), self.identity, outcome)
        self._events.finish(record, elapsed_s)
        if trainer.is_global_zero:
            if self.before_record is not None:
                self.before_record()
            write_record(self.folder, record)
        trainer.strategy.barrier()  # no rank goes on before the record is there


def _number(windows: Windows) -> int:
    return LARGEST_INTEGER if windows == "all" else windows


def _data(trainer: pl.Trainer) -> TokenDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TokenDataModule)
    return data


def _is_deaf(callback: pl.Callback) -> bool:
    """Whether a callback is known to look at no metric: our own, and the summary of a network."""
    return type(callback).__module__.startswith("scaling_laws.") or isinstance(callback, ModelSummary)


def _module(module: pl.LightningModule) -> LanguageModel:
    assert isinstance(module, LanguageModel)
    return module


def _position_rows(step: int, corpus: str, metric: PositionLoss) -> list[dict[str, Any]]:
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


def _class_rows(step: int, corpus: str, metric: PositionLoss) -> list[dict[str, Any]]:
    sums, counts = metric.class_loss_sum.tolist(), metric.class_count.tolist()
    return [
        {
            "step": step,
            "corpus": corpus,
            "fold": fold,
            "token_class": name,
            "loss_sum_nats": round(sums[fold][number], 6),
            "count": counts[fold][number],
        }
        for fold in range(len(sums))
        for number, name in enumerate(TOKEN_CLASSES)
        if counts[fold][number]
    ]


def _lowest(curve: list[dict[str, str]], corpora: tuple[str, ...]) -> dict[str, float]:
    """The lowest finite loss in the curve, by corpus."""
    lowest = {}
    for corpus in corpora:
        values = [float(row[loss_column(corpus)]) for row in curve if row.get(loss_column(corpus))]
        if finite := [value for value in values if math.isfinite(value)]:
            lowest[corpus] = min(finite)
    return lowest

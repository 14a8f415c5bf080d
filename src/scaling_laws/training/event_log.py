"""What Lightning's loggers show of a run: written beside the tables, never read back.

Every logger of the trainer has the rows of the curve as metrics over the step (`val/loss_nats`,
`learning_rate`, `tokens`, `C`, ...), counts and settings as hyperparameters from the start, and the final
losses. Histograms, sampled text (`snapshots.py`) and a figure go to those that can show them
(`logged_media.py`). TensorBoard has losses by position, too, and other axes. There tags that begin with
`loss_nats_by_tokens/` are drawn over the training tokens, and those of `loss_nats_by_mflop/`, `..._by_gflop/`
and `..._by_pflop/` over the training compute (C = 6 N D) in that unit: its x-axis is an integer of 64 bits,
so there is one family of tags a unit (`units.flop_axes`). TensorBoard sorts groups by name: losses come
first, then scores of tasks, and what is neither is in the group `training` or a later one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import DummyLogger
from tensorboard.compat.proto.summary_pb2 import Summary

from scaling_laws.study.conventions import compute_flops, parameter_counts, times_reused
from scaling_laws.study.records import CURVE, LOSS_SUFFIX, MAIN_CORPUS, RunRecord, in_context_score
from scaling_laws.study.units import FLOP_AXES, flop_axes
from scaling_laws.training.logged_media import event_writer, log_figure
from scaling_laws.training.position_figure import position_figure

PLAIN_TAGS = tuple(column.name for column in CURVE if column.drawn)
SHAPE_HPARAMS = ("n_layer", "d_model", "n_heads", "d_ff", "n_ctx")
LARGEST_STEP = 2**63 - 1
FIGURE_FROM_S = 30.0
"""Shorter runs have no figure: drawing one would cost more than a hundredth of them."""


def tensorboard_of(trainer: pl.Trainer) -> TensorBoardLogger | None:
    """The first TensorBoard logger of a trainer."""
    return next((each for each in trainer.loggers if isinstance(each, TensorBoardLogger)), None)


def metric_name(corpus: str) -> str:
    """What a loss is called where a callback monitors it, and in loggers."""
    return f"{corpus}/loss_nats"


class EventLog:
    """The events of one run. A resumed run writes those of its past again, from its tables.

    Args:
        past: rows of the curve so far; their points are written now, at the times at which they would have
            been measured without a pause.
        past_positions: rows of the losses by position so far.
        past_classes: rows of the losses by class of token so far.
        past_tasks: rows of the scores of tasks so far.
        hyperparameters: settings and counts, for loggers other than TensorBoard's.
    """

    def __init__(
        self,
        trainer: pl.Trainer,
        past: Iterable[Mapping[str, str]],
        past_positions: Iterable[Mapping[str, str]],
        past_classes: Iterable[Mapping[str, str]] = (),
        past_tasks: Iterable[Mapping[str, str]] = (),
        *,
        hyperparameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._trainer = trainer
        self._writer = event_writer(trainer)
        self._position_losses: dict[int, dict[int, float]] = {}
        """By step, the loss in nats at each position on the main corpus."""
        others = [each for each in trainer.loggers if not isinstance(each, TensorBoardLogger | DummyLogger)]
        self._with_row: dict[int, dict[str, tuple[str, float]]] = {}
        """By step and the metric's name, losses by class of token, in-context scores of each corpus and those
        of tasks, each with TensorBoard's tag."""
        self._others: list[tuple[Logger, int]] = []
        """Each logger that is not TensorBoard's, and the step up to which it has the rows already."""
        if trainer.is_global_zero:
            self._others = [(each, _written_step(each)) for each in others]
        for logger, _ in self._others:
            logger.log_hyperparams(dict(hyperparameters))
        rows = [{key: float(value) for key, value in row.items() if value} for row in past]
        start = time.time() - (rows[-1]["elapsed_s"] if rows else 0.0)
        self._past_times = {int(row["step"]): start + row["elapsed_s"] for row in rows}
        self.add_classes(past_classes)
        self.add_tasks(past_tasks)
        by_step = defaultdict(list)
        for line in past_positions:
            by_step[line["step"]].append(line)
        for lines in by_step.values():
            self.write_positions(lines)
        for row in rows:
            self.write_row(row)

    def write_row(self, row: Mapping[str, Any]) -> None:
        """One row of the curve as scalars; absent values are left out."""
        step = int(row["step"])
        with_row = self._with_row.get(step, {})
        self._log_others(_metrics(row) | {name: value for name, (_, value) in with_row.items()}, step)
        if self._writer is None:
            return
        scalars = dict(with_row.values())
        scalars |= {f"training/{tag}": row[tag] for tag in PLAIN_TAGS if row.get(tag) is not None}
        losses = {
            key.removesuffix(LOSS_SUFFIX): value for key, value in row.items() if key.endswith(LOSS_SUFFIX)
        }
        scalars |= {f"loss_nats/{corpus}": loss for corpus, loss in losses.items()}
        self._write(scalars, step, step)
        axes = {"by_tokens": int(row["tokens"])}
        for unit in flop_axes(row["C"] / step):
            if (amount := int(row["C"] / FLOP_AXES[unit])) <= LARGEST_STEP:
                axes[f"by_{unit}"] = amount
        for axis, amount in axes.items():
            self._write({f"loss_nats_{axis}/{corpus}": loss for corpus, loss in losses.items()}, amount, step)

    def add_classes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Losses by class of token, to be written with the curve's row of their step.

        Args:
            rows: of `token_classes.csv`; folds are pooled.
        """
        sums: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
        for row in rows:
            pooled = sums[int(row["step"]), f"{row['corpus']}/{row['token_class']}"]
            pooled[0] += float(row["loss_sum_nats"])
            pooled[1] += int(row["count"])
        for (step, name), (loss_sum, count) in sums.items():
            measured = f"token_class_loss_nats/{name}", loss_sum / count
            self._with_row.setdefault(step, {})[f"{name}{LOSS_SUFFIX}"] = measured

    def add_tasks(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Accuracy and log-probability of the right answer, to be written with the curve's row of their step.

        Args:
            rows: of `task_scores.csv`.
        """
        for row in rows:
            of_step, task = self._with_row.setdefault(int(row["step"]), {}), row["task"]
            for name, total in (("accuracy", "n_correct"), ("answer_log_p_nats", "answer_log_p_sum_nats")):
                measured = f"task_{name}/{task}", float(row[total]) / int(row["n_items"])
                of_step[f"{task}/{name}"] = measured

    def write_positions(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The loss on the main corpus at positions 1, 2, 4, ... and the last of one evaluation.

        The in-context score of each corpus is written with the curve's row of the step.

        Args:
            rows: of `position_losses.csv`, all of one step; folds are pooled.
        """
        sums: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        counts: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        step = 0
        for row in rows:
            step, position = int(row["step"]), int(row["position"])
            sums[row["corpus"]][position] += float(row["loss_sum_nats"])
            counts[row["corpus"]][position] += int(row["count"])
        by_corpus = {
            corpus: {position: of[position] / counts[corpus][position] for position in sorted(of)}
            for corpus, of in sums.items()
        }
        for corpus, losses in by_corpus.items():
            if (score := in_context_score(losses)) is not None:
                measured = f"position_loss_nats/{corpus}_in_context", score
                self._with_row.setdefault(step, {})[f"{corpus}/in_context_nats"] = measured
        if MAIN_CORPUS not in by_corpus:
            return
        losses = self._position_losses[step] = by_corpus[MAIN_CORPUS]
        if self._writer is None:
            return
        width = len(str(max(losses)))
        scalars = {
            f"position_loss_nats/{MAIN_CORPUS}_at_{position:0{width}d}": losses[position]
            for position in shown_positions(max(losses))
            if position in losses
        }
        self._write(scalars, step, step)

    def finish(self, record: RunRecord, elapsed_s: float) -> None:
        """Last, what only a whole run has: its row in the table of hyperparameters, and its figure.

        Args:
            elapsed_s: wall seconds of the run so far, its trunk's part included.
        """
        finals = {f"final/{corpus}_loss_nats": loss["loss_nats"] for corpus, loss in record.losses.items()}
        self._log_others({**finals, "final/tokens": record.tokens}, record.steps, final=True)
        if elapsed_s >= FIGURE_FROM_S and len(self._position_losses) > 1:
            figure = position_figure(self._position_losses, record.batch_tokens)
            log_figure(self._trainer, f"position_loss_nats/{MAIN_CORPUS}", figure, step=record.steps)
        if self._writer is None:
            return
        if MAIN_CORPUS in record.losses:
            metrics = {
                f"loss_nats_final/{corpus}": loss["loss_nats"] for corpus, loss in record.losses.items()
            }
            logger = tensorboard_of(self._trainer)
            assert logger is not None
            logger.log_hyperparams(_hyperparameters(record), metrics)
        self._writer.flush()

    def _log_others(self, metrics: dict[str, float], step: int, *, final: bool = False) -> None:
        for logger, written_step in self._others:
            if step > written_step or final:
                logger.log_metrics(metrics, step)

    def _write(self, scalars: Mapping[str, float], axis_step: int, step: int) -> None:
        """Values by tag in one event: one a tag, as `add_scalar` makes, costs a tenth of the recorder."""
        if self._writer is None or not scalars:
            return
        values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in scalars.items()]
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(Summary(value=values), axis_step, self._past_times.get(step))


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """A row of the curve by the names that loggers and callbacks know."""
    names = {column: column for column in ("tokens", "C", *PLAIN_TAGS)}
    names |= {key: metric_name(key.removesuffix(LOSS_SUFFIX)) for key in row if key.endswith(LOSS_SUFFIX)}
    return {name: float(row[key]) for key, name in names.items() if row.get(key) is not None}


def _written_step(logger: Logger) -> int:
    """The last step of the rows that a logger has from an earlier part of the run; 0 where it begins anew.

    MLflow, which is given the id of a run, would keep each of them twice. W&B passes over steps that it has,
    and Lightning's CSVLogger begins a new file.
    """
    if not isinstance(logger, MLFlowLogger):
        return 0
    written = logger.experiment.get_metric_history(logger.run_id, "tokens")
    return max((point.step for point in written), default=0)


def shown_positions(n_positions: int) -> list[int]:
    """1, 2, 4, ... and the last."""
    powers = [2**k for k in range(n_positions.bit_length()) if 2**k < n_positions]
    return [*powers, n_positions]


def _hyperparameters(record: RunRecord) -> dict[str, Any]:
    n_reuse = times_reused(record.shape)
    return {
        "family": record.family,
        **{key: record.shape[key] for key in SHAPE_HPARAMS if key in record.shape},
        **parameter_counts(record.parameters, record.flops_per_token, n_reuse),
        "D": record.tokens,
        "C": compute_flops(record.parameters, record.flops_per_token, record.tokens, n_reuse)["C"],
        "learning_rate": record.optimizer["learning_rate"],
        "batch_tokens": record.batch_tokens,
        "seed": record.seed,
    }


def forget_events(folder: Path) -> None:
    """Remove what TensorBoard's logger wrote: a resumed run writes all its points again, from its tables."""
    for pattern in ("events.out.tfevents.*", "hparams.yaml"):
        for path in folder.glob(pattern):
            path.unlink()

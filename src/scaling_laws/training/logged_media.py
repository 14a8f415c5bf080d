"""Text, histograms and figures in every logger that can show them: TensorBoard, W&B, MLflow; CSV for text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of `n` values in equal bins from the lowest to the highest."""

    low: float
    high: float
    n: int
    sum: float
    sum_squares: float
    counts: Sequence[int]

    @property
    def edges(self) -> list[float]:
        """Of the bins: one more than there are."""
        n_bins, width = len(self.counts), self.high - self.low
        return [self.low, *(self.low + width * (index + 1) / n_bins for index in range(n_bins))]


def event_writer(trainer: pl.Trainer) -> SummaryWriter | None:
    """Where this process writes TensorBoard's events, if it does (rank 0 does)."""
    logger = next((each for each in trainer.loggers if isinstance(each, TensorBoardLogger)), None)
    if logger is None or not trainer.is_global_zero:
        return None
    writer: SummaryWriter = logger.experiment
    return writer


def log_text(trainer: pl.Trainer, tag: str, markdown: str, *, step: int, wall_time_s: float) -> None:
    """Markdown, in TensorBoard, a table of W&B, an artifact of MLflow, `<tag>.md` beside a metrics.csv."""
    if (writer := event_writer(trainer)) is not None:
        writer.add_text(tag, markdown, step, walltime=wall_time_s)
    for logger in _others(trainer):
        if isinstance(logger, WandbLogger):
            logger.log_text(key=tag, columns=["step", "text"], data=[[str(step), markdown]], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_text(logger.run_id, markdown, f"{tag}/step_{step:08d}.md")
        elif isinstance(logger, CSVLogger):
            folder = Path(logger.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{tag}.md").open("a", encoding="utf-8") as file:
                file.write(f"{markdown}\n\n")


def log_histograms(
    trainer: pl.Trainer, histograms: Mapping[str, Histogram], *, step: int, wall_time_s: float
) -> None:
    """Histograms by tag, for TensorBoard and W&B; others have no such thing."""
    if (writer := event_writer(trainer)) is not None:
        for tag, shown in histograms.items():
            writer.add_histogram_raw(
                tag,
                min=shown.low,
                max=shown.high,
                num=shown.n,
                sum=shown.sum,
                sum_squares=shown.sum_squares,
                bucket_limits=shown.edges[1:],
                bucket_counts=list(shown.counts),
                global_step=step,
                walltime=wall_time_s,
            )
    for logger in _others(trainer):
        if isinstance(logger, WandbLogger):
            from wandb import Histogram as WandbHistogram

            # Its own types go the way of numbers.
            shown_there: dict[str, Any] = {
                tag: WandbHistogram(np_histogram=(np.array(shown.counts), np.array(shown.edges)))
                for tag, shown in histograms.items()
            }
            logger.log_metrics(shown_there, step)


def log_figure(trainer: pl.Trainer, tag: str, figure: Figure, *, step: int) -> None:
    """A figure: of TensorBoard, W&B, and an artifact of MLflow."""
    if (writer := event_writer(trainer)) is not None:
        writer.add_figure(tag, figure, step, close=False)
    for logger in _others(trainer):
        if isinstance(logger, WandbLogger):
            logger.log_image(key=tag, images=[figure], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, f"{tag}.png")


def _others(trainer: pl.Trainer) -> list[Any]:
    """The loggers that are not TensorBoard's, on the rank that writes."""
    others = [each for each in trainer.loggers if not isinstance(each, TensorBoardLogger)]
    return others if trainer.is_global_zero else []

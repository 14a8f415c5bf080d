"""A Transformer trained in pieces: how much worse it is at equal compute, by workers and local steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.report.reproduction import ExperimentSettings

FloatArray = NDArray[np.float64]

RUNS = "shulgin2023-{scale}"
HERE = "scaling_laws.papers.shulgin2023"
N_LAYER, D_MODEL, D_FF, N_CTX = 1, 8, 64, 32
WINDOWS = 16
"""Of a step, over all workers."""
RATE = 1.0


@dataclass(frozen=True, kw_only=True)
class NetworkScale:
    """How much is trained.

    Attributes:
        workers, local_steps: every pair of them.
        steps: of the network that is trained whole; the others have as much compute.
    """

    workers: tuple[int, ...]
    local_steps: tuple[int, ...]
    seeds: int
    steps: int


SMOKE = NetworkScale(workers=(2, 4), local_steps=(1, 8), seeds=2, steps=320)
FULL = NetworkScale(workers=(2, 4, 8), local_steps=(1, 4, 16), seeds=3, steps=1200)
"""39 trainings."""


@dataclass(frozen=True, kw_only=True)
class PieceRun:
    """One training.

    Attributes:
        workers: n; 1 for a network that is trained whole.
        local_steps: J.
        part: 1, or n for the network of one worker's hidden units alone, trained whole.
    """

    workers: int
    local_steps: int
    part: int
    seed: int

    @property
    def name(self) -> str:
        return f"n{self.workers}-j{self.local_steps}-part{self.part}-s{self.seed}"

    def rounds(self, steps: int) -> int:
        """Steps of the trainer, each of J local ones, with the compute of so many steps of the whole."""
        of_worker = flops_per_token(max(self.workers, self.part))
        return max(1, round(steps * flops_per_token(1) / of_worker / self.local_steps))


@dataclass(frozen=True, kw_only=True)
class PieceRuns:
    """What claims, figures and tables read: losses above the text's own entropy, nats, by training."""

    runs: tuple[PieceRun, ...]
    excess: FloatArray
    scale: str
    steps: int

    def table(self, *, part: int | None = None) -> list[tuple[PieceRun, float]]:
        """The runs with their excess losses; of parts alone where these are asked for."""
        pairs = zip(self.runs, self.excess.tolist(), strict=True)
        return [(run, loss) for run, loss in pairs if part is None or run.part == part]


def flops_per_token(pieces: int) -> float:
    """Forward FLOPs per token of one worker: all but the feed-forward blocks, and its share of those."""
    from scaling_laws.papers.shulgin2023.word_chain import WordChain

    feed_forward = 2 * D_MODEL * D_FF * N_LAYER / pieces
    return 2.0 * (4 * D_MODEL**2 * N_LAYER + feed_forward + D_MODEL * WordChain.N_WORDS)


def planned(scale: NetworkScale) -> Iterator[PieceRun]:
    """Every training: the whole, in pieces, and parts alone."""
    for seed in range(1, scale.seeds + 1):
        yield PieceRun(workers=1, local_steps=1, part=1, seed=seed)
        for n in scale.workers:
            yield PieceRun(workers=1, local_steps=1, part=n, seed=seed)
            for J in scale.local_steps:
                yield PieceRun(workers=n, local_steps=J, part=1, seed=seed)


def network_runs(settings: ExperimentSettings) -> PieceRuns:
    """Train what is not trained yet, and read the results."""
    scale = settings.scale
    chosen = SMOKE if scale == "smoke" else FULL
    return train_pieces(chosen, settings.logs / RUNS.format(scale=scale), scale)


def train_pieces(chosen: NetworkScale, folder: Path, scale: str) -> PieceRuns:
    """Every training of a scale, into `folder`; those that are there are not trained again."""
    from scaling_laws.papers.shulgin2023.word_chain import WordChain
    from scaling_laws.training.lone_run import train_lone_run

    floor = WordChain().entropy_nats
    runs, excess = [], []
    for run in planned(chosen):
        record = train_lone_run(configuration(run, chosen.steps, folder))
        if record.status == "complete":
            runs.append(run)
            excess.append(record.losses["test"]["loss_nats"] - floor)
    return PieceRuns(runs=tuple(runs), excess=np.array(excess), scale=scale, steps=chosen.steps)


def configuration(run: PieceRun, steps: int, folder: Path) -> dict[str, Any]:
    """What `scaling-laws fit` would read: text and training step by class path."""
    from scaling_laws.training.lone_run import lone_run

    network = {"n_layer": N_LAYER, "d_model": D_MODEL, "n_heads": 1, "d_ff": D_FF // run.part}
    return lone_run(
        folder,
        run.name,
        tag="shulgin2023",
        seed=run.seed,
        model={
            "network": {
                "class_path": "scaling_laws.models.transformer.Transformer",
                "init_args": network,
            },
            "objective": {
                "class_path": f"{HERE}.subnetwork_steps.SubnetworkSteps",
                "init_args": {"n_workers": run.workers, "local_steps": run.local_steps, "rate": RATE},
            },
            "learning_rate": RATE,
            "schedule": {"decay": "constant", "warmup_steps": 0},
            "optimizer": {"class_path": "torch.optim.SGD"},
        },
        data={
            "source": {"class_path": f"{HERE}.word_chain.WordChain"},
            "n_ctx": N_CTX,
            "batch_sequences": WINDOWS * run.local_steps,
            "seed": run.seed,
        },
        trainer={"max_steps": run.rounds(steps)},
        recorder={"final_windows": 512},
    )

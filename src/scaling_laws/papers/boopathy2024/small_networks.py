"""Networks of many widths on one small task, by gradient descent: Boopathy & Fiete 2024 (arXiv 2409.05782).

The task is a teacher's: inputs are Gaussian, the class is the largest output of a random network. Students
have two hidden layers and are trained on the squared error of the one-hot class. The seeds of one width are
trained together, as one batch of matrices. torch is imported where networks are trained.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scaling_laws.report.reproduction import ExperimentSettings
from scaling_laws.study.records import write_atomically

FloatArray = NDArray[np.float64]
Optimizer = Literal["sgd", "adamw"]

N_INPUTS, N_CLASSES, TEACHER_WIDTH = 16, 4, 8
N_TEST = 1000
RUNS = "boopathy2024-{scale}"
CUBE_ROOT = 1 / 3
"""The paper's exponent of the effective size in P."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Training and test losses of one width, at some steps.

    Attributes:
        P: parameters of one network.
        steps: (E,) growing.
        train, test: (S, E), seeds by evaluations: squared error a sample, of the clean classes in the test.
    """

    width: int
    P: int
    steps: FloatArray
    train: FloatArray
    test: FloatArray


@dataclass(frozen=True, kw_only=True)
class Training:
    """What all widths of one comparison share.

    Attributes:
        rate: one learning rate for all widths.
        label_noise: share of the training samples whose class is drawn at random.
        n_train: samples.
        batch: samples a step; all of them where it is as large as `n_train`.
    """

    optimizer: Optimizer
    rate: float
    steps: int
    n_train: int
    batch: int
    label_noise: float = 0.0
    n_seeds: int = 4
    n_evaluations: int = 40


def parameters_of(width: int) -> int:
    """P of a network with two hidden layers."""
    return (N_INPUTS + 1) * width + (width + 1) * width + (width + 1) * N_CLASSES


def evaluated_steps(training: Training) -> NDArray[np.int64]:
    """0 and about `n_evaluations` steps, evenly in logarithm."""
    steps = np.geomspace(1, training.steps, training.n_evaluations).round().astype(np.int64)
    return np.unique(np.concatenate([[0], steps]))


def train_width(width: int, training: Training, seed: int = 0) -> Curves:
    """All seeds of one width: networks, batches and noise differ between seeds, the batches not by width."""
    import torch
    from torch import Tensor, nn

    draws = torch.Generator().manual_seed(seed)
    S, n = training.n_seeds, training.n_train

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws)

    teacher = [drawn(N_INPUTS, TEACHER_WIDTH), drawn(TEACHER_WIDTH, N_CLASSES)]

    def classes(inputs: Tensor) -> Tensor:
        scores = torch.relu(inputs @ teacher[0]) @ teacher[1]
        # Without their means one class would be the largest almost everywhere.
        return (scores - scores.mean(dim=(0, 1), keepdim=True)).argmax(-1)

    inputs = drawn(S, n + N_TEST, N_INPUTS)
    labels = classes(inputs)
    random = torch.randint(N_CLASSES, (S, n), generator=draws)
    noisy = torch.rand(S, n, generator=draws) < training.label_noise
    given = labels.clone()
    given[:, :n] = torch.where(noisy, random, labels[:, :n])
    targets = nn.functional.one_hot(given, N_CLASSES).float()
    orders = torch.Generator().manual_seed(seed + 1)

    # torch's own initial weights of a linear layer, for a batch of networks.
    sizes = (N_INPUTS, width, width, N_CLASSES)
    initial = torch.Generator().manual_seed(seed + 2)
    weights, biases = [], []
    for fan_in, fan_out in pairwise(sizes):
        reach = fan_in**-0.5
        weights.append((torch.rand(S, fan_in, fan_out, generator=initial) * 2 - 1).mul_(reach))
        biases.append((torch.rand(S, 1, fan_out, generator=initial) * 2 - 1).mul_(reach))
    parameters = [nn.Parameter(each) for each in (*weights, *biases)]

    def outputs(x: Tensor) -> Tensor:
        for layer in range(3):
            x = torch.baddbmm(parameters[3 + layer], x, parameters[layer])
            x = torch.relu(x) if layer < 2 else x
        return x

    optimizer: torch.optim.Optimizer
    if training.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, lr=training.rate)
    else:
        optimizer = torch.optim.AdamW(parameters, lr=training.rate, weight_decay=0.0)
    evaluated = set(evaluated_steps(training).tolist())
    train_losses, test_losses, rows = [], [], torch.arange(S)[:, None]
    for step in range(training.steps + 1):
        if step in evaluated:
            with torch.no_grad():
                errors = (outputs(inputs) - targets).square().sum(-1)
            train_losses.append(errors[:, :n].mean(1).numpy())
            test_losses.append(errors[:, n:].mean(1).numpy())
        if step == training.steps:
            break
        if training.batch >= n:
            x, y = inputs[:, :n], targets[:, :n]
        else:
            chosen = torch.randint(n, (S, training.batch), generator=orders)
            x, y = inputs[rows, chosen], targets[rows, chosen]
        optimizer.zero_grad()
        # Summed over seeds: each has the gradient of its own mean.
        torch.autograd.backward((outputs(x) - y).square().sum(-1).mean(1).sum())
        optimizer.step()
    return Curves(
        width=width,
        P=parameters_of(width),
        steps=np.array(sorted(evaluated), dtype=np.float64),
        train=np.stack(train_losses, axis=1).astype(np.float64),
        test=np.stack(test_losses, axis=1).astype(np.float64),
    )


def kept_width(width: int, training: Training, folder: Path) -> Curves:
    """`train_width`, kept in a file of `folder`: what is there of the same training is read, not trained."""
    what = f"{training.optimizer}-noise{training.label_noise:g}-width{width}"
    path = folder / f"{what}.npz"
    described = json.dumps({"width": width, **asdict(training)}, sort_keys=True)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if str(content["training"]) == described:
                arrays = {name: content[name] for name in ("steps", "train", "test")}
                return Curves(width=width, P=parameters_of(width), **arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none yet, or a damaged one
    curves = train_width(width, training)
    kept = io.BytesIO()
    np.savez(kept, training=described, steps=curves.steps, train=curves.train, test=curves.test)
    write_atomically(path, kept.getvalue())
    print(f"boopathy2024: {what}: {training.steps:,} steps, {training.n_seeds} seeds", flush=True)
    return curves


@dataclass(frozen=True, kw_only=True)
class WidthExperiment:
    """What claims, figures and tables read.

    Attributes:
        by_optimizer: clean labels, wide networks, by SGD and by AdamW.
        noisy: label noise, all widths, trained long by SGD.
        scale: how large it was.
    """

    by_optimizer: dict[Optimizer, tuple[Curves, ...]]
    noisy: tuple[Curves, ...]
    scale: str


STEPS = {"smoke": (400, 2_000, 6), "cpu": (4_000, 40_000, 8), "gpu": (4_000, 40_000, 8)}
"""By scale: steps on clean labels, steps on noisy ones, seeds."""
WIDTHS = (16, 32, 64, 128, 256)
NOISY_WIDTHS = (2, 4, 8, 16, 32, 64, 128)


def train_all(
    settings: ExperimentSettings, widths: Sequence[int] = WIDTHS, noisy: Sequence[int] = NOISY_WIDTHS
) -> WidthExperiment:
    """Everything, from one seed; what an earlier command trained is not trained again."""
    scale = settings.scale
    folder = settings.logs / RUNS.format(scale=scale)
    clean_steps, noisy_steps, n_seeds = STEPS.get(scale, STEPS["cpu"])
    by_optimizer: dict[Optimizer, tuple[Curves, ...]] = {}
    rates: tuple[tuple[Optimizer, float], ...] = (("sgd", 0.02), ("adamw", 0.0003))
    for optimizer, rate in rates:
        clean = Training(
            optimizer=optimizer, rate=rate, steps=clean_steps, n_train=1000, batch=32, n_seeds=n_seeds
        )
        by_optimizer[optimizer] = tuple(kept_width(width, clean, folder) for width in widths)
    long = Training(
        optimizer="sgd",
        rate=0.1,
        steps=noisy_steps,
        n_train=100,
        batch=100,
        label_noise=0.3,
        n_seeds=n_seeds,
    )
    return WidthExperiment(
        by_optimizer=by_optimizer,
        noisy=tuple(kept_width(width, long, folder) for width in noisy),
        scale=scale,
    )

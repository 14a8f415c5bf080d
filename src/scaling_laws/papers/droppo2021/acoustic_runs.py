"""The trainings behind Droppo & Elibol 2021: sizes and hours, by LSTM and Transformer, and their laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Bootstrap, bootstrap
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Droppo
from scaling_laws.papers.droppo2021.recordings import (
    FRAMES,
    FRAMES_A_SECOND,
    get_recordings,
    write_frames,
)
from scaling_laws.papers.droppo2021.spoken_text import paragraphs, seconds_of, speak
from scaling_laws.report.reproduction import ExperimentSettings
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.errors import InputError

FloatArray = NDArray[np.float64]

DATA = "droppo2021"
RUNS = "droppo2021-{scale}"
HERE = "scaling_laws.papers.droppo2021.acoustic"
FAMILIES = {"lstm": f"{HERE}.AcousticLSTM", "transformer": f"{HERE}.AcousticTransformer"}
RATES = {"lstm": 3e-3, "transformer": 3e-3}
RESAMPLES = 400


@dataclass(frozen=True, kw_only=True)
class AcousticScale:
    """How much is trained.

    Attributes:
        widths: d_model, by family.
        halvings: of the training recordings.
        hours: of speech in all, held-out recordings included; what recordings lack is spoken by a program.
        steps: at most; a training stops early where the loss on `val` no longer falls.
    """

    widths: Mapping[str, tuple[int, ...]]
    halvings: tuple[int, ...]
    steps: int
    hours: float = 0.0
    n_ctx: int = 64
    batch_sequences: int = 8


SMOKE = AcousticScale(
    widths={"lstm": (4, 8, 16, 32), "transformer": (4, 8, 16, 32)}, halvings=(0, 2, 4), steps=300
)
FULL = AcousticScale(
    widths={"lstm": (4, 8, 16, 32, 64, 96), "transformer": (4, 8, 16, 32, 64, 96)},
    halvings=(0, 1, 2, 3, 4),
    steps=2_000,
    hours=1.5,
)
"""60 trainings."""


@dataclass(frozen=True, kw_only=True)
class AcousticRuns:
    """What claims, figures and tables read.

    Attributes:
        family: (R,) `lstm` or `transformer`.
        N: (R,) parameters without input and output maps.
        hours: (R,) of different speech.
        loss: (R,) mean absolute error on the test recordings, in standard deviations of a band.
        scale: how large it was.
        spoken_share: of all speech, by a program.
    """

    family: tuple[str, ...]
    N: FloatArray
    hours: FloatArray
    loss: FloatArray
    scale: str = ""
    spoken_share: float = 0.0

    def of(self, family: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        """N, hours and losses of one family."""
        its = np.array(self.family) == family
        return self.N[its], self.hours[its], self.loss[its]

    def law(self, family: str) -> Fit[Droppo]:
        """The paper's form, D in hours."""
        N, hours, loss = self.of(family)
        return fit_law(Droppo, make_rows({"N": N, "D": hours}, loss))


def draws_of(fit: Fit[Droppo], seed: int) -> Bootstrap[Droppo] | None:
    """Refits to resampled runs; None where the runs do not determine the law."""
    return bootstrap(fit, resamples=RESAMPLES, seed=seed) if fit.identified else None


def acoustic_runs(settings: ExperimentSettings) -> AcousticRuns | str:
    """Train what is not trained yet, and read the results; or why there are none."""
    scale = settings.scale
    sizes, folder = SMOKE if scale == "smoke" else FULL, settings.logs / RUNS.format(scale=scale)
    try:
        data, spoken_share = speech(settings.data / DATA, sizes.hours)
    except InputError as error:
        return str(error)
    return replace(trained(sizes, folder, data), scale=scale, spoken_share=spoken_share)


def speech(folder: Path, hours: float) -> tuple[Path, float]:
    """The folder of the frames of all recordings, and of speech by a program up to so many hours; its share.

    Args:
        folder: of the recordings and their frames; with spoken hours the frames stand beside it.

    Raises:
        InputError: recordings, or the program where it is needed, cannot be had.
    """
    recorded = get_recordings(folder / "recordings")
    recorded_s = sum(map(seconds_of, recorded))
    lacking = hours - recorded_s / 3600
    if lacking <= 0:
        data, spoken = folder, []
    else:
        data = folder.with_name(f"{folder.name}-{hours:g}h")
        spoken = speak(paragraphs(), data / "spoken", lacking)
    if not (data / "frames.json").exists():
        write_frames([*recorded, *spoken], data)
    spoken_s = sum(map(seconds_of, spoken))
    return data, spoken_s / (spoken_s + recorded_s)


def trained(sizes: AcousticScale, folder: Path, data: Path) -> AcousticRuns:
    """Every run of a scale, into `folder`; those that are there are not trained again."""
    from scaling_laws.training.lone_run import train_lone_run

    families, N, hours, losses = [], [], [], []
    for family, widths in sizes.widths.items():
        for d_model in widths:
            for halvings in sizes.halvings:
                record = train_lone_run(configuration(sizes, folder, data, family, d_model, halvings))
                if record.status != "complete":
                    continue
                families.append(family)
                N.append(float(parameter_counts(record.parameters, record.flops_per_token, 1)["N"]))
                # Of all frames that it could see, whether it stopped before a whole pass or not.
                hours.append(_hours(data, halvings))
                losses.append(record.losses["test"]["loss_nats"])
    return AcousticRuns(family=tuple(families), N=np.array(N), hours=np.array(hours), loss=np.array(losses))


def _hours(data: Path, halvings: int) -> float:
    from scaling_laws.papers.droppo2021.acoustic import SpeechFrames

    return (len(SpeechFrames(data).tokens("train")) >> halvings) / FRAMES_A_SECOND / 3600


def configuration(
    sizes: AcousticScale, folder: Path, data: Path, family: str, d_model: int, halvings: int
) -> dict[str, Any]:
    """What `scaling-laws fit` would read: data, networks and loss by class path."""
    from scaling_laws.training.lone_run import lone_run

    name = f"{family}-{d_model}-halved{halvings}"
    frames = str(data / FRAMES)
    network: dict[str, Any] = {"frames": frames, "n_layer": 2, "d_model": d_model}
    if family == "transformer":
        network["n_heads"] = max(1, d_model // 16)
    return lone_run(
        folder,
        name,
        tag="droppo2021",
        seed=1,
        model={
            "network": {"class_path": FAMILIES[family], "init_args": network},
            "objective": {"class_path": f"{HERE}.PredictAhead", "init_args": {"frames": frames}},
            "learning_rate": RATES[family],
            "schedule": {"decay": "constant", "warmup_steps": 20},
            "weight_decay": 0.0,
        },
        data={
            "source": {"class_path": f"{HERE}.SpeechFrames", "init_args": {"folder": str(data)}},
            "n_ctx": sizes.n_ctx,
            "batch_sequences": sizes.batch_sequences,
            "seed": 1,
            "train_halvings": halvings,
        },
        trainer={"max_steps": sizes.steps, "gradient_clip_val": 1.0},
        recorder={
            "evaluation_every_n_steps": max(1, sizes.steps // 20),
            "final_windows": 256,
            "patience": 4,
        },
    )

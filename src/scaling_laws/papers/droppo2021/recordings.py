"""Speech as log-Mel frames; recorded: Debian's `asterisk-core-sounds-en-wav`, 25 minutes of one speaker.

The package is downloaded and unpacked into a folder, not installed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import write_atomically

FloatArray = NDArray[np.float64]

PACKAGE = "asterisk-core-sounds-en-wav"
INSTALLED = Path("/usr/share/asterisk/sounds")
RATE_HZ = 8_000
"""Samples a second, that of the recordings; others are resampled."""
FRAMES_A_SECOND = 100
WINDOW_S = 0.025
N_MELS = 40
LOWEST_HZ = 60.0
FLOOR = 1e-6
"""Added to energies before the logarithm; samples lie within 1."""
AHEAD_PADDING = 8
"""Copies of each recording's last frame behind it: a frame a little ahead is never another recording's."""
HELD_OUT = {"val": 0.05, "test": 0.1}
"""Shares of the recordings, by a hash of their names."""
FRAMES, SPLITS = "frames.npy", "splits.npz"
TIMEOUT_S = 300


def recordings_in(folder: Path) -> list[Path]:
    """Every WAV file below a folder, by name."""
    return sorted(folder.rglob("*.wav"))


def get_recordings(folder: Path) -> list[Path]:
    """The recordings: those of `folder`, of the system, or of the package, which is then unpacked there.

    Raises:
        InputError: there are none, and the package cannot be had.
    """
    for place in (folder, INSTALLED):
        if found := recordings_in(place):
            return found
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise InputError(
                f"{folder}: holds no recordings, and {program}, which would get {PACKAGE}, is missing"
            )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            subprocess.run(
                ["apt-get", "download", "-q", PACKAGE],
                cwd=scratch,
                check=True,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
            (archive,) = Path(scratch).glob("*.deb")
            subprocess.run(
                ["dpkg-deb", "-x", str(archive), str(folder)], check=True, capture_output=True, text=True
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise InputError(
                f"{PACKAGE} could not be downloaded ({said[-1] if said else 'no reason given'}); unpack WAV "
                "files "
                f"of speech into {folder}"
            ) from error
    return recordings_in(folder)


def samples_of(path: Path) -> tuple[FloatArray, int]:
    """(samples within 1, samples a second) of a WAV file of one channel and 16 bits.

    Raises:
        InputError: it is no such file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError("it has not one channel of 16 bits")
            values = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            return values.astype(np.float64) / 2**15, file.getframerate()
    except (OSError, EOFError, ValueError, wave.Error) as error:
        raise InputError(f"{path}: cannot be read as speech ({error}); remove it") from error


def at_rate(samples: FloatArray, rate: int) -> FloatArray:
    """Samples of any rate, `RATE_HZ` of them a second."""
    if rate == RATE_HZ:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, RATE_HZ)
    return np.asarray(resample_poly(samples, RATE_HZ // common, rate // common))


def log_mel(samples: FloatArray, rate: int) -> FloatArray:
    """(n_frames, N_MELS): ln of the energy in bands of equal width in mel, 100 frames a second."""
    width, hop = round(WINDOW_S * rate), rate // FRAMES_A_SECOND
    n_frames = (len(samples) - width) // hop + 1
    if n_frames < 1:
        return np.empty((0, N_MELS))
    frames = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop][:n_frames]
    n_fft = 2 ** (width - 1).bit_length()
    energy = np.abs(np.fft.rfft(frames * np.hanning(width), n_fft)) ** 2 / width
    return np.asarray(np.log(energy @ _mel_bands(rate, n_fft).T + FLOOR))


def _mel_bands(rate: int, n_fft: int) -> FloatArray:
    """(N_MELS, n_fft / 2 + 1): triangles that overlap by half, in mel = 2595 log10(1 + f / 700)."""
    ends = 2595 * np.log10(1 + np.array([LOWEST_HZ, rate / 2]) / 700)
    edges = 700 * (10 ** (np.linspace(ends[0], ends[1], N_MELS + 2) / 2595) - 1)
    f = np.linspace(0, rate / 2, n_fft // 2 + 1)
    rising = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))


def split_of(name: str) -> str:
    """The split of a recording, by a hash of its name."""
    place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64
    for split, share in HELD_OUT.items():
        if place < share:
            return split
        place -= share
    return "train"


def write_frames(paths: Sequence[Path], folder: Path) -> None:
    """Make `frames.npy` and `splits.npz` of recordings.

    `frames.npy` holds (n, N_MELS) float32, each band of mean 0 and variance 1 over the training split.
    `splits.npz` holds, by split, the numbers of its frames and where its recordings begin.

    Raises:
        InputError: a file cannot be read, or a split is empty.
    """
    table: list[FloatArray] = []
    numbers: dict[str, list[NDArray[np.int64]]] = {"train": [], **{split: [] for split in HELD_OUT}}
    first = 0
    # By a hash, so that the first half of the training split is a random half.
    for path in sorted(paths, key=lambda path: hashlib.blake2b(path.name.encode()).digest()):
        frames = log_mel(at_rate(*samples_of(path)), RATE_HZ)
        if not len(frames):
            continue
        table += [frames, np.repeat(frames[-1:], AHEAD_PADDING, axis=0)]
        numbers[split_of(path.name)].append(np.arange(first, first + len(frames)))
        first += len(frames) + AHEAD_PADDING
    if empty := [split for split, parts in numbers.items() if not parts]:
        raise InputError(f"{len(paths)} recordings leave none to {empty[0]}; give more")
    values = np.concatenate(table)
    train = values[np.concatenate(numbers["train"])]
    values = (values - train.mean(axis=0)) / train.std(axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {split: np.concatenate(parts) for split, parts in numbers.items()}
    arrays |= {f"{split}_starts": _starts(parts) for split, parts in numbers.items()}
    np.savez(folder / SPLITS, **arrays)
    np.save(folder / FRAMES, values.astype(np.float32))
    # Last, as a sign that the others are whole.
    digest = hashlib.sha256((folder / FRAMES).read_bytes()).hexdigest()
    write_atomically(folder / "frames.json", json.dumps({"sha256": digest}) + "\n")


def _starts(parts: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)

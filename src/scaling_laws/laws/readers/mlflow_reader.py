"""A local `mlruns` of MLflow: plain files, `<experiment>/<run>/{meta.yaml, metrics/, params/}`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.readers.run_folders import LoggedRun, along_table
from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

META = "meta.yaml"
STATES = {1: "running", 2: "scheduled", 3: "finished", 4: "failed", 5: "killed"}
"""By the number that `meta.yaml` gives."""
MISSING = {
    "N": "log it as a parameter (--n NAME)",
    "D": "log the tokens seen (--d METRIC) or the tokens of a step (--batch NAME)",
    "loss": "name the metric of the loss (--tag val_loss)",
}


class MlflowReader:
    """Reads the metrics and parameters of every run that nobody deleted, and its state."""

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and next(_run_folders(path), None) is not None

    def read(self, path: Path) -> pd.DataFrame:
        return along_table(path, _runs(path), MISSING)


def _run_folders(root: Path) -> Iterator[Path]:
    """Folders of runs, of `mlruns` or of one experiment in it."""
    for pattern in ("*/*/", "*/"):
        for path in sorted(root.glob(pattern + META)):
            if (path.parent / "metrics").is_dir() or (path.parent / "params").is_dir():
                yield path.parent


def _runs(root: Path) -> Iterator[LoggedRun]:
    found: list[tuple[Path, dict[str, Any]]] = []
    for folder in _run_folders(root):
        try:
            meta = read_yaml(folder / META)
        except InputError as error:
            raise InputError(f"{folder / META}: {error}") from None
        if meta.get("lifecycle_stage") != "deleted":
            found.append((folder, meta))
    names = [str(meta.get("run_name") or folder.name) for folder, meta in found]
    often = Counter(names)
    for name, (folder, meta) in zip(names, found, strict=True):
        params = {path.name: _text(path) for path in _files(folder / "params")}
        state = STATES.get(meta.get("status", 0), str(meta.get("status", "unknown")).lower())
        yield LoggedRun(
            name=name if often[name] == 1 else f"{name} ({folder.name[:8]})",
            points={
                path.relative_to(folder / "metrics").as_posix(): _metric(path)
                for path in _files(folder / "metrics")
            },
            settings=params | {"State": state},
        )


def _files(folder: Path) -> list[Path]:
    """At any depth: the metric `val/loss` is the file `loss` in the folder `val`."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _metric(path: Path) -> dict[int, str]:
    """Step -> value, of lines `time value step`; the last of a step counts."""
    values = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        cells = line.split()
        try:
            values[int(cells[2]) if len(cells) > 2 else number] = cells[1]
        except (IndexError, ValueError):
            raise InputError(f"{path}, row {number}: not a metric of MLflow (time, value, step)") from None
    return values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None

"""A full disk: one line that names a file, nothing torn under a final name, and the same end afterwards."""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.tiny_runs import assert_same_run, config

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.training.checkpoint import is_whole
from scaling_laws.training.run import train_trunk

EVENTS = "tfevents"
"""In the name of TensorBoard's files, which a thread of their own writes."""


class FullFile:
    """A file of a disk that fills up: the write that does not fit leaves half of what it was given."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file = file
        self._disk = disk

    def write(self, content: Any) -> Any:
        self._disk.n_writes += (EVENTS in str(self._file.name)) == self._disk.of_events
        if self._disk.n_writes > self._disk.n_free:
            self._file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(content)

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class Disk:
    """Room for `n_free` writes below `folder`, of events or of all else; then every write fails."""

    def __init__(self, folder: Path, n_free: int, *, of_events: bool) -> None:
        self.folder = str(folder)
        self.n_free = n_free
        self.of_events = of_events
        self.n_writes = 0

    @contextmanager
    def fills_up(self) -> Iterator[None]:
        real_open = io.open

        def full_open(path: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            file = real_open(path, mode, *arguments, **more)
            name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fsdecode(path)
            return FullFile(file, self) if name.startswith(self.folder) and mode[0] in "wax" else file

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(io, "open", full_open)
            patch.setattr(builtins, "open", full_open)
            yield


def assert_nothing_torn(folder: Path) -> None:
    """Whatever has a final name is whole."""
    for path in (folder / "checkpoints").glob("*"):
        assert is_whole(path), path
    for name in ("curve.csv", "position_losses.csv"):
        if (folder / name).exists():
            content = (folder / name).read_text(encoding="utf-8")
            header, *rows = content.splitlines()
            assert content.endswith("\n")
            assert all(row.count(",") == header.count(",") for row in rows)
    if (folder / "config.yaml").exists():
        assert yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model"]
    assert not (folder / "record.json").exists()
    assert not [path for path in folder.rglob(".*")]


def short(corpus: TokenCorpus, folder: Path) -> dict[str, Any]:
    return config(corpus, folder, steps=6) | {"checkpoints": {"every_s": 0.0}}


@pytest.fixture(scope="module")
def undisturbed(
    early_evaluations: None, byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("disk") / "whole"
    train_trunk([short(byte_corpus, folder)])
    return folder


@pytest.mark.parametrize(("of_events", "stride"), [(False, 1), (True, 4)], ids=["files", "events"])
def test_the_nth_write_fails(
    undisturbed: Path, byte_corpus: TokenCorpus, tmp_path: Path, of_events: bool, stride: int
) -> None:
    """For n = 1 to the number of writes of a whole run: configuration, rows, checkpoints, record.

    Of fifty events, which are alike, every fourth: each kind's turn comes, there are more than four.
    """
    named = set()
    for n_free in itertools.count(step=stride):
        folder = tmp_path / f"run{n_free}"
        planned = short(byte_corpus, folder)
        disk = Disk(folder, n_free, of_events=of_events)
        with disk.fills_up():
            try:
                train_trunk([planned])
            except InputError as error:
                path, _, rest = str(error).partition(": ")
                assert path.startswith(str(folder)) and "No space left on device" in rest
                assert "\n" not in str(error)
                named.add(Path(path).name)
        if disk.n_writes <= n_free:
            break  # it had room for everything
        assert_nothing_torn(folder)
        train_trunk([planned])
        assert_same_run(undisturbed, folder)
    assert n_free > 10 * stride
    if not of_events:
        tables = {"config.yaml", "curve.csv", "position_losses.csv", "record.json"}
        assert tables | {"last.ckpt", "final.ckpt"} <= named

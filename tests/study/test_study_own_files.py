"""What the program wrote it may replace; what somebody else wrote stays, whatever is called as ours."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaling_laws.study import own_files
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import LIST_FILE, require_own_folder, write_own_files
from scaling_laws.study.records import write_atomically


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {LIST_FILE}


def test_what_is_no_longer_written_goes_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_own_files(folder, {"a.md": "1", "figures/b.png": b"2"}, writer="export")
    (folder / "figures" / "holiday.png").write_bytes(b"mine")
    write_own_files(folder, {"a.md": "3"}, writer="export")
    assert names(folder) == {"a.md", "figures/holiday.png"}
    assert (folder / "a.md").read_text(encoding="utf-8") == "3"


def test_two_verbs_share_a_folder(tmp_path: Path) -> None:
    write_own_files(tmp_path, {"a.md": "1", "b.md": "2"}, writer="report")
    write_own_files(tmp_path, {"a.md": "1"}, writer="export")
    write_own_files(tmp_path, {"c.md": "1"}, writer="report")
    assert names(tmp_path) == {"a.md", "c.md"}


def test_a_folder_that_takes_nothing_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_files.os, "access", lambda path, mode: mode != os.W_OK)  # a read-only disk
    with pytest.raises(InputError, match="cannot be written in"):
        require_own_folder(tmp_path)
    require_own_folder(tmp_path / "new")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, force: bool) -> None:
    (tmp_path / "a.md").write_text("mine", encoding="utf-8")
    if not force:
        with pytest.raises(InputError, match=r"holds files that scaling-laws did not write \(a.md\)"):
            write_own_files(tmp_path, {"a.md": "1"}, writer="export")
    write_own_files(tmp_path, {"a.md" if force else "b.md": "1"}, writer="export", force=True)
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == ("1" if force else "mine")


def test_a_file_that_was_changed_is_somebodys_own(tmp_path: Path) -> None:
    write_own_files(tmp_path, {"a.md": "1", "b.md": "1"}, writer="export")
    (tmp_path / "b.md").write_text("1, and a thought", encoding="utf-8")
    with pytest.raises(InputError, match=r"b.md: already exists, and scaling-laws did not write it"):
        write_own_files(tmp_path, {"a.md": "2", "b.md": "2"}, writer="export")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "1"  # nothing was written
    write_own_files(tmp_path, {"a.md": "2"}, writer="export")
    assert names(tmp_path) == {"a.md", "b.md"}  # a changed file is not removed either


def test_a_name_that_came_later_is_not_ours(tmp_path: Path) -> None:
    write_own_files(tmp_path, {"a.md": "1"}, writer="export")
    (tmp_path / "b.md").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"b\.md: already exists"):
        write_own_files(tmp_path, {"a.md": "1", "b.md": "2"}, writer="export")


def test_an_interrupted_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_own_files(tmp_path, {"a.md": "1", "b.md": "1"}, writer="export")

    def one_only(path: Path, content: str | bytes) -> None:
        if path.name == "b.md":
            raise InputError("full")
        write_atomically(path, content)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="full"):
        patch.setattr(own_files, "write_atomically", one_only)
        write_own_files(tmp_path, {"a.md": "2", "b.md": "2", "c.md": "2"}, writer="export")
    write_own_files(tmp_path, {"a.md": "3", "b.md": "3"}, writer="export")
    assert (tmp_path / "b.md").read_text(encoding="utf-8") == "3"


def test_what_an_older_version_left_without_a_list_is_replaced_once(tmp_path: Path) -> None:
    for name in ("runs.csv", "laws.json", "holiday.png"):
        (tmp_path / name).write_text("old", encoding="utf-8")
    write_own_files(tmp_path, {"runs.csv": "new"}, writer="export", earlier=("runs.csv", "laws.json"))
    assert names(tmp_path) == {"runs.csv", "laws.json", "holiday.png"}
    (tmp_path / "runs.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"runs\.csv: already exists"):
        write_own_files(tmp_path, {"runs.csv": "1"}, writer="export", earlier=("runs.csv", "laws.json"))


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("link", ["a.md", "figures"])
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, link: str, force: bool) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "study"
    outside.mkdir()
    folder.mkdir()
    (outside / "file").write_text("mine", encoding="utf-8")
    (folder / link).symlink_to(outside / "file" if link == "a.md" else outside)
    with pytest.raises(InputError, match=f"{link}: is a symbolic link"):
        write_own_files(folder, {"a.md": "1", "figures/b.png": b""}, writer="w", shared=True, force=force)
    assert (outside / "file").read_text(encoding="utf-8") == "mine" and not (outside / "b.png").exists()
    assert names(folder) <= {"a.md"}


@pytest.mark.parametrize(
    "listed",
    [
        {"files": {"export": {"../victim": ["0" * 64]}}},
        {"files": {"export": {"/etc/victim": ["0" * 64]}}},
        {"files": {"export": {"a": "x"}}},
        {"files": [1]},
        [],
        "[" * 100_000,
    ],
)
def test_a_strangers_list_is_not_believed(tmp_path: Path, listed: object) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    text = listed if isinstance(listed, str) else json.dumps(listed)
    (folder / LIST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="holds files that scaling-laws did not write"):
        require_own_folder(folder)


def test_a_strangers_list_removes_nothing_outside(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim.md", tmp_path / "out"
    victim.write_text("mine", encoding="utf-8")
    write_own_files(folder, {"a.md": "1", "sub/victim.md": "mine"}, writer="export")
    os.remove(folder / "sub" / "victim.md")
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(tmp_path)  # the listed name now leads to the victim, with the right hash
    write_own_files(folder, {"a.md": "1"}, writer="export")
    assert victim.exists()


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="could not be written \\(No space left on device\\)"):
        write_own_files(tmp_path, {"a.md": "1"}, writer="export")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no permission to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_leaves_whole_files(small_disk: Path) -> None:
    folder = small_disk / "out"
    write_own_files(folder, {"a.png": b"1" * 8000, "b.png": b"1" * 30_000}, writer="report")
    with pytest.raises(InputError, match=r"b\.png: could not be written \(No space left on device\)"):
        write_own_files(folder, {"a.png": b"2" * 8000, "b.png": b"2" * 30_000}, writer="report")
    assert names(folder) == {"a.png", "b.png"}
    assert {(folder / name).read_bytes()[:1] for name in ("b.png",)} == {b"1"}
    (folder / "b.png").unlink()
    write_own_files(folder, {"a.png": b"3", "b.png": b"3"}, writer="report")  # there is room again


def test_output_to_a_full_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with open("/dev/full", "w", encoding="ascii") as full:
        command = [sys.executable, "-c", "from scaling_laws.cli import main; main(['paper'])"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr

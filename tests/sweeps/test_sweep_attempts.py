"""The book of attempts: when a training is set aside, and what a torn line costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_laws.sweeps.run import attempts
from scaling_laws.sweeps.run.attempts import (
    DONE,
    FAILED,
    INTERRUPTED,
    KILLED,
    MAX_FAILURES,
    MAX_KILLS,
    OUT_OF_MEMORY,
    Place,
)


def tried(folder: Path, outcome: str, start: int = 0, saved: int | None = None, reason: str = "") -> None:
    """One attempt from step `start` to a checkpoint at `saved`."""
    name = attempts.new_id()
    split = attempts.read(folder).split
    attempts.begin(folder, name, start=Place(records=0, step=start), split=split)
    place = Place(records=0, step=start if saved is None else saved)
    attempts.end(folder, name, outcome, reason=reason, elapsed_s=1.0, saved=place, reached=place)


def test_a_training_that_fails_again_and_again_is_set_aside(tmp_path: Path) -> None:
    for number in range(MAX_FAILURES):
        assert attempts.read(tmp_path).set_aside() is None
        tried(tmp_path, FAILED, reason=f"reason {number}")
    said = attempts.read(tmp_path).set_aside()
    assert said == "failed 3 times without getting further, last: reason 2"
    attempts.ask_again(tmp_path)
    assert attempts.read(tmp_path).set_aside() is None
    attempts.begin(tmp_path, "retried", start=Place(records=0, step=0), split=1)
    assert attempts.read(tmp_path).set_aside() is None  # while it is tried, too
    attempts.end(tmp_path, "retried", FAILED, saved=Place(records=0, step=0))
    assert attempts.read(tmp_path).set_aside() is None
    tried(tmp_path, FAILED), tried(tmp_path, FAILED)
    assert attempts.read(tmp_path).set_aside() is not None


def test_whoever_gets_further_is_tried_for_ever(tmp_path: Path) -> None:
    for step in range(3 * MAX_KILLS):
        tried(tmp_path, KILLED, start=step, saved=step + 1)
        tried(tmp_path, FAILED, start=step + 1, saved=step + 1)
    for _ in range(3 * MAX_KILLS):  # a user's wish is no failure
        tried(tmp_path, INTERRUPTED, start=step + 1)
    assert attempts.read(tmp_path).set_aside() is None
    tried(tmp_path, FAILED, start=step + 1), tried(tmp_path, FAILED, start=step + 1)
    assert attempts.read(tmp_path).set_aside() is not None


def test_one_more_finished_run_is_getting_further(tmp_path: Path) -> None:
    for records in range(MAX_FAILURES):
        name = attempts.new_id()
        attempts.begin(tmp_path, name, start=Place(records=records, step=9), split=1)
        attempts.end(tmp_path, name, FAILED, saved=Place(records=records + 1, step=0))
    assert attempts.read(tmp_path).set_aside() is None


def test_kills_without_progress_have_a_limit_of_their_own(tmp_path: Path) -> None:
    for number in range(MAX_KILLS):
        assert attempts.read(tmp_path).set_aside() is None
        # Every other one is killed so hard that nobody writes its end.
        if number % 2:
            tried(tmp_path, KILLED)
        else:
            attempts.begin(tmp_path, attempts.new_id(), start=Place(records=0, step=0), split=1)
    assert "was killed 8 times" in str(attempts.read(tmp_path).set_aside())


def test_an_attempt_without_an_end_counts_once_the_next_has_begun(tmp_path: Path) -> None:
    for _ in range(MAX_KILLS):
        attempts.begin(tmp_path, attempts.new_id(), start=Place(records=0, step=0), split=1)
    assert attempts.read(tmp_path).set_aside() is None  # the last one may be running
    attempts.begin(tmp_path, attempts.new_id(), start=Place(records=0, step=0), split=1)
    assert attempts.read(tmp_path).set_aside() is not None


def test_memory_that_was_short_splits_the_batch(tmp_path: Path) -> None:
    for split in (1, 2, 4):
        assert attempts.read(tmp_path).split == split
        tried(tmp_path, OUT_OF_MEMORY)
    tried(tmp_path, DONE)
    assert attempts.read(tmp_path).split == 8
    assert attempts.read(tmp_path).set_aside() is None


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    tried(tmp_path, FAILED, reason="first")
    path = tmp_path / attempts.FILE
    whole = path.read_bytes()
    half, foreign = (
        b'{"event": "sta',
        (b"\xff\xfe\n", b'{"event": "end"}\n', b"[]\n", b'{"event": "no"}\n', b"7\n"),
    )
    for torn in (half, *foreign):
        path.write_bytes(whole + torn)
        tried(tmp_path, FAILED, reason="second")
        assert [attempt.reason for attempt in attempts.read(tmp_path).attempts] == ["first", "second"]


@pytest.mark.parametrize("torn", [b"", b'{"event": "end", "att'])
def test_an_attempt_that_the_disk_ended_is_withdrawn(tmp_path: Path, torn: bytes) -> None:
    tried(tmp_path, FAILED)
    before = (tmp_path / attempts.FILE).read_bytes()
    attempts.begin(tmp_path, "ours", start=Place(records=0, step=0), split=1)
    with open(tmp_path / attempts.FILE, "ab") as file:
        file.write(torn)
    attempts.withdraw(tmp_path, "ours")
    assert (tmp_path / attempts.FILE).read_bytes() == before

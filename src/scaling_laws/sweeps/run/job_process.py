"""The process that trains one job. The only part of `sweeps/` that imports torch."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.records import DISK_ERRORS, FAILURE_FILE, not_written, write_failure
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.attempts import Part, Place
from scaling_laws.sweeps.run.curve_tail import last_row, reached_step
from scaling_laws.sweeps.run.ranks import train_by_ranks, wants_ranks
from scaling_laws.training.checkpoint import saved_step
from scaling_laws.training.out_of_memory import is_out_of_memory, with_micro_batches
from scaling_laws.training.run import first_step, is_done, reuse_freed_memory, train_trunk, use_one_thread

Configs = Sequence[Mapping[str, Any]]

# Processes are forked from one that has imported this: their collector need not look through all that, which
# would copy its pages, too.
gc.freeze()


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """What a process tells its supervisor."""

    outcome: str
    reason: str = ""
    status: int = 0


def train_in_own_process(
    configs: Configs,
    *,
    attempt: str,
    report: Connection | None = None,
    train: Callable[[Configs], None] | None = None,
) -> None:
    """Train a job's runs; what is printed goes to `log.txt` in its folder.

    A failure leaves its reason in `failure.json` of each run without a record and ends with exit status 1; a
    signal is no failure, and ends with the status of `interrupts.py`.

    Args:
        attempt: its name in `attempts.jsonl`.
        report: where the supervisor hears how it ended, full disk or not.
        train: stands for `train_trunk` in tests and benchmarks.
    """
    folder = Path(configs[0]["trainer"]["default_root_dir"])
    try:
        with StopSignals() as signals:
            held = lease.take(folder)
            if held is not None:
                _print_into(folder / "log.txt")
                ended = _hold_and_train(configs, attempt, held, signals, train)
                held.close()
            else:
                ended = JobEnd(outcome=attempts.HELD)
    except (OSError, InputError) as error:
        ended = _failure(error, folder)
    if report is not None:
        with suppress(OSError):  # the supervisor is gone
            report.send((ended.outcome, ended.reason))
    raise SystemExit(ended.status)


def _print_into(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)
    faulthandler.enable()


def _hold_and_train(
    configs: Configs,
    attempt: str,
    held: lease.Lease,
    signals: StopSignals,
    train: Callable[[Configs], None] | None,
) -> JobEnd:
    """Train in a folder that is ours, and keep its book of attempts."""
    folder = Path(configs[0]["trainer"]["default_root_dir"])
    held.keep(_leave)
    history = attempts.read(folder)
    split = history.split
    start, start_s = _saved(configs), time.monotonic()
    _close_killed(folder, history, held.before_s or 0.0, start, _reached(configs))
    if start.records == len(configs):  # another was faster, while this process was started
        return JobEnd(outcome=attempts.DONE)
    if attempts.read(folder).set_aside() is not None:  # another failed, while this process was started
        return JobEnd(outcome=attempts.HELD)
    attempts.begin(folder, attempt, start=start, split=split, parts=_parts(configs))
    reuse_freed_memory()
    if configs[0]["trainer"].get("accelerator") == "cpu":
        use_one_thread()
    try:
        if signals.received:
            raise Interrupted(signals.received, f"{folder}: stopped before its first step")
        smaller = [with_micro_batches(config, split) or config for config in configs]
        if train is None:
            train_run = train_by_ranks if wants_ranks(smaller[0]) else None
            train_trunk(smaller, before_record=held.hold, train_run=train_run)
        else:
            train(smaller)
        ended = JobEnd(outcome=attempts.DONE)
    except Interrupted as interrupted:
        _say(interrupted.message)
        assert isinstance(interrupted.code, int)
        ended = JobEnd(outcome=attempts.INTERRUPTED, status=interrupted.code)
    except KeyboardInterrupt:
        ended = JobEnd(outcome=attempts.INTERRUPTED, status=128 + signal.SIGINT)
    except lease.Lost:
        _leave()
    except Exception as error:
        with suppress(OSError):
            traceback.print_exc()
        ended = _failure(error, folder)
        if ended.outcome == attempts.OUT_OF_MEMORY and with_micro_batches(configs[0], 2 * split) is None:
            reason = f"{ended.reason}; the batch, split {split} times as often as planned, splits no further"
            ended = JobEnd(outcome=attempts.FAILED, reason=reason, status=1)
    _note_end(configs, attempt, ended, time.monotonic() - start_s)
    return ended


def _note_end(configs: Configs, attempt: str, ended: JobEnd, elapsed_s: float) -> None:
    """Write how it ended into the folder; on a full disk the attempt is as if it had never been."""
    folder = Path(configs[0]["trainer"]["default_root_dir"])
    outcome = attempts.INTERRUPTED if ended.outcome == attempts.ENVIRONMENT else ended.outcome
    try:
        saved, reached = _saved(configs), _reached(configs)
        attempts.end(
            folder, attempt, outcome, reason=ended.reason, elapsed_s=elapsed_s, saved=saved, reached=reached
        )
    except (OSError, InputError):
        with suppress(OSError):
            attempts.withdraw(folder, attempt)
    # A disk that is full has no room for the reason either: it is in the log.
    with suppress(OSError, InputError):
        for config in configs:
            run = Path(config["trainer"]["default_root_dir"])
            if ended.outcome == attempts.DONE:
                (run / FAILURE_FILE).unlink(missing_ok=True)
            elif ended.outcome == attempts.FAILED and not is_done(config):
                write_failure(run, ended.reason)


def _failure(error: Exception, folder: Path) -> JobEnd:
    """Whose fault an error is: the machine's, memory's, or the job's own."""
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
        full = error if isinstance(error, InputError) else not_written(Path(cause.filename or folder), cause)
        return JobEnd(outcome=attempts.ENVIRONMENT, reason=str(full).splitlines()[0], status=1)
    reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    outcome = attempts.OUT_OF_MEMORY if is_out_of_memory(error) else attempts.FAILED
    return JobEnd(outcome=outcome, reason=reason.splitlines()[0], status=1)


def _close_killed(
    folder: Path, history: attempts.History, last_sign_s: float, saved: Place, reached: Place
) -> None:
    """Write the end of attempts before ours that could not: the lease says that they are over."""
    for old in history.attempts:
        if old.outcome is None:
            attempts.end(
                folder,
                old.id,
                attempts.KILLED,
                reason="was killed",
                elapsed_s=max(last_sign_s, old.start_s) - old.start_s,
                saved=saved,
                reached=reached,
            )


def _parts(configs: Configs) -> list[Part]:
    """The runs that are left, in the order of their training."""
    return [
        Part(
            run=str(config["recorder"]["name"]),
            first_step=first_step(config, configs),
            last_step=int(config["trainer"]["max_steps"]),
        )
        for config in configs
        if not is_done(config)
    ]


def _saved(configs: Configs) -> Place:
    """Where a next attempt begins."""
    return _place(configs, saved_step)


def _reached(configs: Configs) -> Place:
    """How far the rows go: further than the last checkpoint."""
    return _place(configs, lambda run: reached_step(last_row(run)))


def _place(configs: Configs, step_of: Callable[[Path], int]) -> Place:
    unfinished = [config for config in configs if not is_done(config)]
    return Place(
        records=len(configs) - len(unfinished),
        step=step_of(Path(unfinished[0]["trainer"]["default_root_dir"])) if unfinished else 0,
    )


def _leave() -> NoReturn:
    """End without another write: the folder is somebody else's now."""
    _say("was stopped for so long that another process took this job over; leaving it to that one")
    os._exit(lease.LOST)


def _say(line: str) -> None:
    with suppress(OSError):
        print(line, flush=True)

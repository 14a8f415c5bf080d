"""One run on several devices of a SLURM allocation: `srun` starts a rank for each, a job looks after them.

The job's process is as any other: it holds the lease, keeps the book of attempts, and lays out the folders.
Its ranks only train.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, StopSignals
from scaling_laws.study.records import write_atomically
from scaling_laws.sweeps.run.lease import Hold

if TYPE_CHECKING:
    from scaling_laws.training.run import Start

POLL_S = 0.2
OUT_OF_MEMORY = 12
"""Exit status of a rank that was short of memory (ENOMEM)."""
ERROR = "error: "
"""Before the reason of a failure, in a line of the job's log."""
SET_PARENT_DEATH_SIGNAL = 1
"""Of Linux's prctl."""


def wants_ranks(config: Mapping[str, Any]) -> bool:
    """Whether srun starts the processes of a run: on several nodes, or where SLURM has a task a device."""
    trainer = config["trainer"]
    devices, strategy = str(trainer.get("devices", 1)), str(trainer.get("strategy", ""))
    forks = "fork" in strategy or "spawn" in strategy
    return int(trainer.get("num_nodes", 1)) > 1 or (
        not forks and devices != "1" and os.environ.get("SLURM_NTASKS_PER_NODE") == devices
    )


def train_by_ranks(
    config: dict[str, Any], start: Start, signals: StopSignals, before_record: Callable[[], None] | None
) -> None:
    """As `train_one_run`, by all devices of this allocation.

    Raises:
        Interrupted: a signal came, and the ranks have saved.
        MemoryError: a rank was short of memory.
        InputError: a rank failed, or there is no allocation.
    """
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    folder, trainer = Path(config["trainer"]["default_root_dir"]), config["trainer"]
    if "SLURM_JOB_ID" not in os.environ:
        raise InputError(f"{folder}: needs {trainer['num_nodes']} nodes; --engine slurm trains it")
    assert before_record is None or isinstance(before_record, Hold)
    handed = {
        "config": config,
        "start": asdict(start) | {"checkpoint": start.checkpoint and str(start.checkpoint)},
        "hold": before_record and {"folder": str(before_record.folder), "token": before_record.token},
    }
    file = folder / ".ranks.json"
    write_atomically(file, json.dumps(handed))
    command = [
        *("srun", f"--nodes={trainer.get('num_nodes', 1)}", f"--ntasks-per-node={trainer['devices']}"),
        # A rank that ends first shall not have the others killed while they save.
        *("--kill-on-bad-exit=0", "--wait=60", "--job-name=ranks"),
        *(sys.executable, "-m", "scaling_laws.sweeps.run.ranks", str(file)),
    ]
    environment = os.environ | {"SLURM_JOB_NAME": "ranks"}
    # Lightning derives it from the job's id, free or not; this process is on the first rank's node.
    environment.setdefault("MASTER_PORT", str(find_free_network_port()))
    # A group of its own: what is sent to the task's processes shall not end srun before its ranks.
    srun = subprocess.Popen(
        command,
        env=environment,
        preexec_fn=_end_with_parent,
        start_new_session=True,
    )
    forwarded = False
    while srun.poll() is None:
        if signals.received and not forwarded:
            srun.send_signal(signal.SIGUSR1)  # TERM would have srun kill the ranks
            forwarded = True
        time.sleep(POLL_S)
    file.unlink(missing_ok=True)
    _judge(srun.returncode, signals.received, folder)


def _judge(status: int, received: int | None, folder: Path) -> None:
    """What the highest status of the ranks means."""
    if status == 0:
        return
    if received:
        raise Interrupted(received, f"{folder}: saved; run the same command again to go on")
    if status == OUT_OF_MEMORY:
        raise MemoryError(_last_error(folder) or "a rank was short of memory")
    if status < 0 or status > 128:  # a rank was killed: so is its job
        os.kill(os.getpid(), signal.SIGKILL)
    raise InputError(_last_error(folder) or f"srun ended with exit status {status}")


def _last_error(folder: Path) -> str:
    try:
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.removeprefix(ERROR) for line in reversed(lines) if line.startswith(ERROR)), "")


def _end_with_parent() -> None:
    """Have srun end its ranks when the job's process is killed: the next one shall meet no twin."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


def main() -> None:
    """One rank: `python -m scaling_laws.sweeps.run.ranks FILE`, started by srun."""
    with StopSignals() as signals:  # before the imports, which take seconds
        from scaling_laws.training.out_of_memory import is_out_of_memory
        from scaling_laws.training.run import Start, train_one_run

        handed = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        start = Start(**handed["start"])
        start = replace(start, checkpoint=start.checkpoint and Path(start.checkpoint))
        hold = handed["hold"] and Hold(folder=Path(handed["hold"]["folder"]), token=handed["hold"]["token"])
        try:
            train_one_run(handed["config"], start, signals, hold)
        except Exception as error:
            traceback.print_exc()
            print(f"{ERROR}{(str(error) or type(error).__name__).splitlines()[0]}", flush=True)
            raise SystemExit(OUT_OF_MEMORY if is_out_of_memory(error) else 1) from None


if __name__ == "__main__":
    main()

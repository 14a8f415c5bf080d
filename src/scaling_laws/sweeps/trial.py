"""The process that trains one trunk. The only part of `sweeps/` that imports torch."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from scaling_laws.errors import InputError
from scaling_laws.interrupts import Interrupted
from scaling_laws.records import FAILURE_FILE, write_failure
from scaling_laws.sweeps import lease
from scaling_laws.training.run import is_done, reuse_freed_memory, train_trunk, use_one_thread


def train_in_own_process(configs: Sequence[Mapping[str, Any]]) -> None:
    """Train a trunk's runs; what is printed goes to `log.txt` in the trunk's folder.

    A failure leaves its reason in `failure.json` of each run without a record and ends with exit status 1; a
    signal is no failure, and ends with the status of `interrupts.py`.
    """
    folder = Path(configs[0]["trainer"]["default_root_dir"])
    held = lease.take(folder)
    if held is None:
        raise SystemExit(0)  # another machine trains it
    log = open(folder / "log.txt", "a", encoding="utf-8")  # noqa: SIM115 (open until the process ends)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    faulthandler.enable()
    reuse_freed_memory()
    if configs[0]["trainer"].get("accelerator") == "cpu":
        use_one_thread()
    try:
        train_trunk(configs)
    except Interrupted as interrupted:
        print(interrupted.message, flush=True)
        raise
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        traceback.print_exc()
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        with suppress(InputError):  # a disk that is full has no room for the reason either: it is in log.txt
            for config in configs:
                if not is_done(config):
                    write_failure(Path(config["trainer"]["default_root_dir"]), reason.splitlines()[0])
        raise SystemExit(1) from None
    for config in configs:
        (Path(config["trainer"]["default_root_dir"]) / FAILURE_FILE).unlink(missing_ok=True)

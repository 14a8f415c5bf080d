"""What dispatch costs: how soon the first of many jobs begins, and what handing one out adds to it.

    python benchmarks/dispatch.py [--runs N] [--workers N] [--stop-after N]    -> results/bench/dispatch.json

The jobs write a record and train nothing (`stub_training.py`), so that all time is overhead: looking for a
free job in the folders, forking a process that has Lightning, lease, book of attempts and record.
`ms_a_run` is wall time over runs, `ms_a_run_and_worker` what a worker waits for its next run, and
`cpu_ms_a_run` what the sweep, the forkserver and the jobs compute: it says what the machine could do were it
idle (`load_average`). One start of the process that training begins in is timed alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Every process of a training imports this file, too: what it needs for itself is imported where it is used.
from stub_training import started, stub_plan, train_nothing

if TYPE_CHECKING:
    from scaling_laws.sweeps.plan.experiments import Plan
    from scaling_laws.sweeps.run.progress import Progress

ROOT = Path(__file__).parents[1]
N_STARTS = 10


def main() -> None:
    from scaling_laws.study.records import write_atomically
    from scaling_laws.sweeps.plan.experiments import plan
    from scaling_laws.sweeps.plan.reading import load_sweep

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stop-after", type=int, help="runs to measure, of those that are planned")
    options = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as temporary:
        sweep = load_sweep(ROOT / "configs/sweeps/tiny.yaml")
        starts = _starts(stub_plan(plan(sweep, logs=Path(temporary) / "starts"), N_STARTS))
        result = _sweep(
            stub_plan(plan(sweep, logs=Path(temporary) / "all"), options.runs),
            options.workers,
            options.stop_after or options.runs,
        )
    content = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "process_start_s": starts,
        "sweep": result,
    }
    print(json.dumps(content, indent=1))
    write_atomically(ROOT / "results/bench/dispatch.json", json.dumps(content, indent=1) + "\n")


def _starts(planned: Plan) -> dict[str, float]:
    """Seconds from asking for a process until its training begins; the first one imports Lightning."""
    from scaling_laws.sweeps.run.forks import clean_processes, start

    context = clean_processes()
    seconds = []
    for trunk in planned.jobs:
        asked_s = time.time()
        configs = [run.config for run in trunk.runs]
        process = start(context, configs, name=trunk.name, train=train_nothing)
        process.join()
        seconds.append(started(planned.folder / trunk.name)[0] - asked_s)
        (planned.folder / trunk.name / "record.json").unlink()
    first, *later = seconds
    return {
        "first": round(first, 3),
        "median": round(statistics.median(later), 4),
        "largest": round(max(later), 4),
    }


def _sweep(planned: Plan, workers: int, stop_after: int) -> dict[str, Any]:
    """The trainings of a plan, and when they began."""
    from scaling_laws.study.interrupts import Interrupted
    from scaling_laws.sweeps.run.engines import EngineContext
    from scaling_laws.sweeps.run.engines.local import LocalEngine
    from scaling_laws.sweeps.run.loop import run_plan

    last_s = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s > 30:
            last_s = time.monotonic()
            print(f"{len(progress.done)} of {len(planned.jobs)}", flush=True)
        if stop_after <= len(progress.done) < len(planned.jobs):
            os.kill(os.getpid(), signal.SIGTERM)

    planned_s, cpu_s = time.time(), _cpu_s()
    with suppress(Interrupted):
        context = EngineContext(
            folder=planned.folder, accelerator="cpu", workers=workers, train=train_nothing
        )
        run_plan(planned, LocalEngine(context), watch=watch)
    wall_s, cpu_s = time.time() - planned_s, _cpu_s() - cpu_s
    begun = [times for trunk in planned.jobs if (times := started(planned.folder / trunk.name))]
    times = sorted(times[0] for times in begun)
    tenth = len(times) // 10
    return {
        "planned": len(planned.jobs),
        "trained": len(begun),
        "trained_twice": sum(len(times) > 1 for times in begun),
        "workers": workers,
        "first_run_s": round(times[0] - planned_s, 3),
        "wall_s": round(wall_s, 1),
        "ms_a_run": round(1000 * wall_s / len(times), 2),
        "ms_a_run_and_worker": round(1000 * wall_s * workers / len(times), 2),
        "cpu_ms_a_run": round(1000 * cpu_s / len(times), 2),
        "ms_a_run_first_tenth": round(1000 * (times[tenth] - times[0]) / tenth, 2),
        "ms_a_run_last_tenth": round(1000 * (times[-1] - times[-tenth - 1]) / tenth, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _cpu_s() -> float:
    """Processor seconds of this process, and of the forkserver with all the processes that it has had."""
    from multiprocessing.forkserver import _forkserver  # type: ignore[attr-defined]

    stat = Path(f"/proc/{_forkserver._forkserver_pid}/stat").read_text(encoding="utf-8")
    ticks = sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

"""What the queue costs: how soon the first of many runs begins, and what handing out a run adds to it.

    python benchmarks/dispatch.py [--runs 10000] [--workers 2]    -> results/bench/dispatch.json

The trainings write a record and train nothing (`stub_training.py`), so that all time is overhead: taking a
trial from SQLite, forking a process that has Lightning, lease, book of attempts, record, and telling the
queue. `ms_a_run` is wall time over runs; with two workers on two idle cores that is about half of what one
worker waits for its next run (`ms_a_run_and_worker`). One start of the process that training begins in is
timed alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Every process of a training imports this file, too: what it needs for itself is imported where it is used.
from stub_training import started, stub_plan, train_nothing

if TYPE_CHECKING:
    from scaling_laws.sweeps.experiments import Plan
    from scaling_laws.sweeps.progress import Progress

ROOT = Path(__file__).parents[1]
N_STARTS = 10


def main() -> None:
    import optuna

    from scaling_laws.records import write_atomically
    from scaling_laws.sweeps.experiments import plan
    from scaling_laws.sweeps.reading import load_sweep

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as temporary:
        base = plan(load_sweep(ROOT / "configs/sweeps/tiny.yaml"), logs=Path(temporary))
        starts = _starts(stub_plan(base, N_STARTS))
        result = _sweep(stub_plan(base, options.runs), options.workers)
    content = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "optuna": optuna.__version__,
        "process_start_s": starts,
        "sweep": result,
    }
    print(json.dumps(content, indent=1))
    write_atomically(ROOT / "results/bench/dispatch.json", json.dumps(content, indent=1) + "\n")


def _starts(planned: Plan) -> dict[str, float]:
    """Seconds from asking for a process until its training begins; the first one imports Lightning."""
    from scaling_laws.sweeps.processes import clean_processes, start

    context = clean_processes()
    seconds = []
    for trunk in planned.trunks:
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


def _sweep(planned: Plan, workers: int) -> dict[str, Any]:
    """All trainings of a plan, and when they began."""
    from scaling_laws.sweeps.supervisor import run_plan

    last_s = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s > 30:
            last_s = time.monotonic()
            print(f"{len(progress.done)} of {len(planned.trunks)}", flush=True)

    planned_s = time.time()
    progress = run_plan(planned, workers=workers, storage=None, watch=watch, train=train_nothing)
    wall_s = time.time() - planned_s
    begun = [started(planned.folder / trunk.name) for trunk in planned.trunks]
    times = sorted(times[0] for times in begun)
    tenth = len(times) // 10
    return {
        "runs": len(planned.trunks),
        "done": len(progress.done),
        "trained_twice": sum(len(times) > 1 for times in begun),
        "workers": workers,
        "first_run_s": round(times[0] - planned_s, 3),
        "wall_s": round(wall_s, 1),
        "ms_a_run": round(1000 * wall_s / len(times), 2),
        "ms_a_run_and_worker": round(1000 * wall_s * workers / len(times), 2),
        "ms_a_run_first_tenth": round(1000 * (times[tenth] - times[0]) / tenth, 2),
        "ms_a_run_last_tenth": round(1000 * (times[-1] - times[-tenth - 1]) / tenth, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    main()

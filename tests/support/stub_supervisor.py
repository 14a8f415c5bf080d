"""A supervisor of stub trainings in a process of its own.

python stub_supervisor.py SWEEP_FILE N_JOBS WORKERS TRAIN [--leave-when-idle]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # every process of a training imports this file

from benchmarks.stub_training import train_nothing  # noqa: E402


def train_slowly(configs: Sequence[Mapping[str, Any]]) -> None:
    """Half a second a training."""
    time.sleep(0.5)
    train_nothing(configs)


def main() -> None:
    from benchmarks.stub_training import stub_plan

    from scaling_laws.study.interrupts import TimeIsUp
    from scaling_laws.sweeps.plan.experiments import plan
    from scaling_laws.sweeps.plan.reading import load_sweep
    from scaling_laws.sweeps.run.engines import EngineContext
    from scaling_laws.sweeps.run.engines.local import LocalEngine
    from scaling_laws.sweeps.run.loop import run_plan

    sweep_file, n_jobs, workers, train, *more = sys.argv[1:]
    planned = plan(load_sweep(Path(sweep_file)), logs=Path(sweep_file).parent / "logs")

    n_noted = 0

    def watch(progress: Any) -> None:
        nonlocal n_noted
        for note in progress.notes[n_noted:]:
            print(note, flush=True)
        n_noted = len(progress.notes)

    context = EngineContext(
        folder=planned.folder, accelerator="cpu", workers=int(workers), train=globals()[train]
    )
    try:
        progress = run_plan(
            stub_plan(planned, int(n_jobs)), LocalEngine(context), watch=watch, leave_when_idle=bool(more)
        )
    except TimeIsUp as over:
        print(over.message)
        return
    print(f"{len(progress.done)} done, {len(progress.failed)} failed")


if __name__ == "__main__":
    main()

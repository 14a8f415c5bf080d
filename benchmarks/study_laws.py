"""How long all laws of a study take: fits, intervals, roll-outs and checks.

    python benchmarks/study_laws.py            -> results/bench/study_laws.json

Of the recorded quick study (50 runs, results/quick) and of the synthetic study of 1,000 runs that
`benchmarks/report.py` makes. Laws are fitted by as many processes as there are cores. Beside the clock stands
the time of all processors together, which says the same on a machine that does other things, too.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from report import ROOT, _cpu_s, _study_of_copies

from scaling_laws.laws.results.study import fit_folder
from scaling_laws.study.records import write_atomically
from scaling_laws.study.runs import load_study

LIMITS_S = {"50 runs": 5.0, "1,000 runs": 25.0}
"""Of the clock, on two cores."""


def main() -> None:
    rows = {"50 runs": _timed(ROOT / "results/quick")}
    with tempfile.TemporaryDirectory() as temporary:
        rows["1,000 runs"] = _timed(_study_of_copies(Path(temporary)))
    content = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "limits_s": LIMITS_S,
        "rows": rows,
    }
    write_atomically(ROOT / "results/bench/study_laws.json", json.dumps(content, indent=1) + "\n")


def _timed(folder: Path) -> dict[str, Any]:
    study = load_study(folder)
    started, started_cpu = time.perf_counter(), _cpu_s()
    laws = fit_folder(study)
    row = {
        "runs": len(study.runs),
        "laws": sum(len(family.fits) for family in laws.by_family),
        "wall_s": time.perf_counter() - started,
        "processor_s": _cpu_s() - started_cpu,
    }
    print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    main()

"""How long a report of a thousand runs takes, how much memory, and how large its page is.

    python benchmarks/report.py            -> results/bench/report.json

The study is the synthetic one of the tests, every run of `configs/papers/kaplan2020.yaml`, again and again
with other seeds. Its laws are fitted first and timed on their own; the report is reading the tables, drawing
every figure, and writing the page, the Markdown and the figures. Laws are fitted and figures drawn by several
processes: times are those of the clock, the memory is that of the largest process.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

from scaling_laws.study.records import read_record, write_atomically, write_record
from scaling_laws.study.runs import load_study

ROOT = Path(__file__).parents[1]
RUNS = 1000
LIMITS = {"wall_s": 30.0, "peak_bytes": 2 * 2**30, "page_bytes": 8e6}
WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = _study_of_copies(Path(temporary))
        result = subprocess.run(
            [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True, check=True
        )
    measured = json.loads(result.stdout)
    for name, limit in LIMITS.items():
        print(f"{name:<12} {measured[name]:>16,.1f}  of {limit:,.0f}")
    content = {
        "machine": platform.processor() or platform.machine(),
        "matplotlib": matplotlib.__version__,
        "limits": LIMITS,
        **measured,
    }
    write_atomically(ROOT / "results/bench/report.json", json.dumps(content, indent=1) + "\n")


def report(folder: Path) -> dict[str, Any]:
    """Fit the laws of a study and write its report; seconds, bytes, and which figures are largest."""
    from scaling_laws.laws.results.study import fit_folder
    from scaling_laws.report.content import content_of
    from scaling_laws.report.html import write_content

    fitting = time.perf_counter()
    laws = fit_folder(load_study(folder))
    laws_s = time.perf_counter() - fitting
    started, started_cpu = time.perf_counter(), _cpu_s()
    study = load_study(folder)
    content = content_of(study, laws)
    drawn_s = time.perf_counter()
    page = write_content(content, folder / "report.html")
    return {
        "runs": len(study.runs),
        "figures": len(content.pictures),
        "laws_s": laws_s,
        "wall_s": time.perf_counter() - started,
        "of_which_content_s": drawn_s - started,
        "cpu_s": _cpu_s() - started_cpu,
        "peak_bytes": 1024 * max(resource.getrusage(who).ru_maxrss for who in WHO),
        "page_bytes": page.stat().st_size,
        "largest_svg_bytes": {
            picture.name: len(picture.svg)
            for picture in sorted(content.pictures, key=lambda picture: -len(picture.svg))[:5]
        },
    }


def _cpu_s() -> float:
    """Of this process and of those that it has waited for."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, WHO))


def _study_of_copies(temporary: Path) -> Path:
    """A study of `RUNS` runs."""
    sys.path.insert(0, str(ROOT))
    from tests.support.synthetic_paper import write_synthetic_paper

    folder = write_synthetic_paper(temporary / "thousand")
    n_runs, copy = len(list(folder.glob("*/record.json"))), 0
    while n_runs < RUNS:
        copy += 1
        again = write_synthetic_paper(temporary / f"copy{copy}", seed=copy)
        for path in sorted(again.glob("*/record.json"))[: RUNS - n_runs]:
            record = read_record(path)
            target = path.parent.rename(folder / f"{record.name}-copy{copy}")
            name, trunk = target.name, f"{record.trunk}-copy{copy}"
            write_record(target, replace(record, name=name, trunk=trunk, seed=record.seed + 100 * copy))
            n_runs += 1
    return folder


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(report(Path(sys.argv[1]))))
    else:
        main()

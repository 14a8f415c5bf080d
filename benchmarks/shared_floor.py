"""How often the test of a shared irreducible loss rejects: where it is shared, and where it is not.

Run from the repository's root: `python benchmarks/shared_floor.py`. It writes
results/coverage/shared_floor.json. Each table has two data sets of 25 runs (five sizes, five horizons) with
laws of their own and log-normal noise; only their irreducible losses are equal, or differ by what a row says.
A calibrated test at 5 % rejects 5 % of the tables in the first row; the others say what it can see.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scaling_laws.laws.fit.shared_floor import REJECTED, SIMULATED, shared_floor
from scaling_laws.laws.forms.joint import Chinchilla

SIZES, HORIZONS = np.geomspace(1e7, 3e9, 5), np.geomspace(1e9, 1e11, 5)
FLOOR = 1.8
OUTPUT = Path("results/coverage/shared_floor.json")


@dataclass(frozen=True, kw_only=True)
class Design:
    """Two data sets.

    Attributes:
        difference: of their irreducible losses, nats.
        noise: standard deviation of ln loss.
    """

    difference: float
    noise: float


DESIGNS = (
    Design(difference=0.0, noise=0.004),
    Design(difference=0.0, noise=0.01),
    Design(difference=0.05, noise=0.004),
    Design(difference=0.1, noise=0.004),
)


def table(design: Design, seed: int) -> pd.DataFrame:
    """One drawn table of both data sets."""
    random = np.random.default_rng([seed, round(1e4 * design.noise), round(1e4 * design.difference)])
    parts = []
    for k, E in enumerate((FLOOR, FLOOR + design.difference)):
        law = Chinchilla(
            E=E,
            A=400.0 * random.uniform(0.7, 1.5),
            B=1800.0 * random.uniform(0.7, 1.5),
            alpha=0.34 + random.uniform(-0.03, 0.03),
            beta=0.36 + random.uniform(-0.03, 0.03),
        )
        N, D = (grid.ravel() for grid in np.meshgrid(SIZES, HORIZONS))
        loss = law.loss(N, D) * np.exp(design.noise * random.normal(size=N.size))
        parts.append(pd.DataFrame({"data": f"set {k}", "N": N, "D": D, "loss": loss}))
    return pd.concat(parts, ignore_index=True)


def rejections(design: Design, tables: int) -> tuple[int, int]:
    """Tables in which sharing is rejected, and those that could be tested."""
    rejected = tested = 0
    for seed in range(tables):
        runs = table(design, seed)
        runs = runs.assign(run=np.arange(len(runs)).astype(str), trunk=np.arange(len(runs)).astype(str))
        found = shared_floor(runs, "data", Chinchilla, resamples=0, seed=seed)
        tested += found.p is not None
        rejected += found.rejected
    return rejected, tested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=100, help="of each design")
    options = parser.parse_args()
    rows, started_s = [], time.process_time()
    for design in DESIGNS:
        rejected, tested = rejections(design, options.tables)
        rows.append({**vars(design), "tables": options.tables, "tested": tested, "rejected": rejected})
        print(
            f"difference {design.difference:g} nats, noise {design.noise:g}: {rejected} of {tested} rejected",
            flush=True,
        )
    content = {
        "command": f"python benchmarks/shared_floor.py --tables {options.tables}",
        "rejected_below": REJECTED,
        "simulated": SIMULATED,
        "cpu_s": round(time.process_time() - started_s, 1),
        "python": platform.python_version(),
        "rows": rows,
    }
    OUTPUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How long our certified fits and bootstraps take, beside SciPy's L-BFGS-B from Hoffmann's grid of starts.

Run from the repository's root: `make bench`. It writes results/bench/fits.json. Both fit Chinchilla's law to
the same rows by the same objective, sum Huber_0.001(ln L_hat - ln L). Times are CPU seconds of this process,
on one core; the two fit in turn, so that whatever else the machine does hits both.

    python benchmarks/fits.py --rows 1000000    -> results/bench/large_table.json

runs the command `laws` on a table of so many runs instead: seconds, CPU seconds and memory of all of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from scipy.optimize import minimize

from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import bootstrap
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.run_tables import read_runs

FloatArray = NDArray[np.float64]

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[2] / "shared" / "data"))
DELTA = 1e-3
TRUTH = Chinchilla(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
"""Besiroglu 2024 (arXiv 2404.10102), for synthetic tables."""
STARTS = tuple(
    itertools.product(
        np.arange(-1.0, 1.01, 0.5),  # e = ln E
        np.arange(0.0, 25.1, 5.0),  # a = ln A
        np.arange(0.0, 25.1, 5.0),  # b = ln B
        np.arange(0.0, 2.01, 0.5),  # alpha
        np.arange(0.0, 2.01, 0.5),  # beta
    )
)
"""Hoffmann 2022 (arXiv 2203.15556), appendix D.3: 4,500 starts."""
PARTS = 10
TARGETS = {
    "fit_s": ("<", 1.0),
    "bootstrap_4000_s": ("<", 20.0),
    "rows_10000_bootstrap_1000_s": ("<", 60.0),
    "times_scipy": (">", 50.0),
}


def synthetic_rows(n_trainings: int, n_horizons: int, noise: float, seed: int = 0) -> Rows:
    """Rows of the published law: trainings of sizes spread over two decades, each with its horizons."""
    random = np.random.default_rng(seed)
    N = np.repeat(np.exp(random.uniform(np.log(1e8), np.log(1e10), n_trainings)), n_horizons)
    D = np.exp(random.uniform(np.log(1e9), np.log(3e11), len(N)))
    loss = TRUTH.loss(N, D) * np.exp(noise * random.normal(size=len(N)))
    return make_rows({"N": N, "D": D}, loss, np.repeat(np.arange(n_trainings), n_horizons))


def table_of_240() -> tuple[Rows, str]:
    """The 240 digitized runs of Besiroglu 2024, or as many synthetic ones."""
    path = DATA / "chinchilla_epoch.csv"
    if not path.exists():
        return synthetic_rows(240, 1, 0.0075), "240 synthetic runs"
    table = read_runs(path, n="Model Size", c="Training FLOP", where="loss < 3.44")
    rows = make_rows({"N": table["N"], "D": table["D"]}, table["loss"], table["trunk"])
    return rows, "the 240 digitized runs of Besiroglu 2024"


def scipy_objective(rows: Rows) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """Sum of Huber and its gradient at (e, a, b, alpha, beta), by log-sum-exp, for L-BFGS-B."""
    log_N, log_D, log_loss = np.log(rows.values["N"]), np.log(rows.values["D"]), np.log(rows.loss)

    def value_and_gradient(theta: FloatArray) -> tuple[float, FloatArray]:
        e, a, b, alpha, beta = theta
        terms = np.stack([np.full_like(log_N, e), a - alpha * log_N, b - beta * log_D])
        top = terms.max(axis=0)
        scaled = np.exp(terms - top)
        total = scaled.sum(axis=0)
        residual = np.log(total) + top - log_loss
        clipped = np.clip(residual, -DELTA, DELTA)
        value = np.sum(clipped**2 / 2 + DELTA * (np.abs(residual) - np.abs(clipped)))
        pulled = scaled / total * clipped
        of_N, of_D = pulled[1], pulled[2]
        gradient = [pulled[0].sum(), of_N.sum(), of_D.sum(), -(of_N @ log_N), -(of_D @ log_D)]
        return float(value), np.array(gradient)

    return value_and_gradient


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def against_scipy(rows: Rows, starts: tuple[tuple[float, ...], ...]) -> dict[str, Any]:
    """Ours and a tenth of SciPy's starts in turn."""
    objective = scipy_objective(rows)
    ours_s, scipy_s, objectives = [], 0.0, []
    fit: Fit[Chinchilla] | None = None

    def some(part: tuple[tuple[float, ...], ...]) -> list[float]:
        # SciPy's default tolerances stop far from the optimum; these go on while there is progress.
        options = {"maxiter": 15_000, "maxfun": 15_000, "ftol": 1e-15, "gtol": 1e-12}
        return [
            float(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).fun)
            for start in part
        ]

    for k in range(PARTS):
        seconds, fit = timed(lambda: fit_law(Chinchilla, rows, delta=DELTA))
        ours_s.append(seconds)
        seconds, found = timed(lambda part=starts[k::PARTS]: some(part))
        scipy_s += seconds
        objectives += found
    assert fit is not None and fit.objective is not None and fit.certificate is not None
    best = min(objectives)
    return {
        "fit_s": statistics.median(ours_s),
        "fit_slowest_s": max(ours_s),
        "scipy_s": scipy_s,
        "scipy_starts": len(starts),
        "times_scipy": scipy_s / statistics.median(ours_s),
        "objective": fit.objective,
        "scipy_objective": best,
        "objective_not_above_scipy": fit.objective <= best * (1 + 1e-9),
        "scipy_starts_within_a_millionth": float(np.mean(np.array(objectives) <= best * (1 + 1e-6))),
        "our_starts": fit.certificate.starts,
        "our_starts_within_a_millionth": fit.certificate.share_at_best,
        "our_gradient_norm": fit.certificate.gradient_norm,
    }


def of_large_table(n_rows: int) -> dict[str, Any]:
    """The command `laws` on a CSV of synthetic runs, ten of each training: one law after the other."""
    rows = synthetic_rows(-(-n_rows // 10), 10, 0.01)
    columns = {**rows.values, "loss": rows.loss, "trunk": rows.cluster}
    table = pd.DataFrame(columns).iloc[:n_rows].assign(run=range(n_rows))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        table.to_csv(path, index=False)
        for form in ("kaplan_n", "chinchilla"):
            command = [sys.executable, "-m", "scaling_laws", "laws", str(path), "--form", form]
            started = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise SystemExit(f"{form}: the command failed")
            found[form] = {
                "wall_s": round(time.perf_counter() - started, 1),
                "cpu_s": round(used.ru_utime + used.ru_stime, 1),
                "peak_bytes": used.ru_maxrss * 1024,
            }
            print(f"{form}: {found[form]}")
        size = path.stat().st_size
    return {
        "command": f"python benchmarks/fits.py --rows {n_rows}",
        "rows": n_rows,
        "trainings": -(-n_rows // 10),
        "file_bytes": size,
        "laws": found,
        "machine": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=len(STARTS), help="of SciPy's (default: all 4,500)")
    parser.add_argument("--rows", type=int, help="time the command laws on a table of so many runs instead")
    parser.add_argument("-o", "--output", type=Path, help="default: as above")
    options = parser.parse_args()
    if options.rows:
        target = options.output or Path("results/bench/large_table.json")
        target.write_text(json.dumps(of_large_table(options.rows), indent=1) + "\n", encoding="utf-8")
        return
    target = options.output or Path("results/bench/fits.json")
    rows, name = table_of_240()
    chosen = np.linspace(0, len(STARTS) - 1, options.starts).round().astype(int)
    result = against_scipy(rows, tuple(STARTS[i] for i in chosen))

    fit = fit_law(Chinchilla, rows, delta=DELTA)
    result["bootstrap_4000_s"], _ = timed(lambda: bootstrap(fit, resamples=4000))
    many = synthetic_rows(1000, 10, 0.01)
    result["rows_10000_fit_s"], large = timed(lambda: fit_law(Chinchilla, many, delta=DELTA))
    seconds, _ = timed(lambda: bootstrap(large, resamples=1000))
    result["rows_10000_bootstrap_1000_s"] = result["rows_10000_fit_s"] + seconds

    met = {
        name: result[name] < limit if sign == "<" else result[name] > limit
        for name, (sign, limit) in TARGETS.items()
    }
    content = {
        "command": "make bench",
        "table": name,
        "delta": DELTA,
        **result,
        "targets": {name: f"{sign} {limit:g}" for name, (sign, limit) in TARGETS.items()},
        "met": met,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "processor": platform.processor() or platform.machine(),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{name}; CPU seconds on one core")
    for key, value in result.items():
        target = content["targets"].get(key, "")
        verdict = "" if key not in met else "met" if met[key] else "MISSED"
        print(f"  {key:<34}{value:>16.9g}  {target:<6} {verdict}")


if __name__ == "__main__":
    main()

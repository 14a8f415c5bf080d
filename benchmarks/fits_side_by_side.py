"""Our certified fit beside what people use: SciPy's `curve_fit` from one start, and a grid of exponents.

Run from the repository's root: `python benchmarks/fits_side_by_side.py`. It writes
results/bench/fits_side_by_side.json. All fit Chinchilla's law to every golden table that is there
(`../shared/data`; those that are not are named with the reason), or to a synthetic one:

- `certified`: ours, sum Huber_0.001(ln L_hat - ln L);
- `curve_fit`: least squares of L from the start that Choshen et al. 2024 took of Muennighoff et al. 2023;
- `grid`: least squares of L, every (alpha, beta) on a grid of 0.01 with E, A and B solved exactly, then about
  the best cell on one of 0.001: the way of vpnls.

Each fails where it raises, or ends at more than 1.05 times what the best of the three reaches in its own
objective. Each also fits 40 tables redrawn from the best law with the scatter of its residuals: the share of
failures is over these. Where a table has larger models than those that were fitted (the 13B target of OLMo's
ladder below 3B, the last checkpoints of OPT 175B), each method's mean absolute relative error there stands
beside.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit, nnls

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.run_tables import read_runs

FloatArray = NDArray[np.float64]

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[2] / "shared" / "data"))
DELTA = 1e-3
START = (np.exp(0.6254804), np.exp(6.255414), np.exp(7.3049974), 0.3526596, 0.3526596)
"""E, A, B, alpha, beta."""
FAILED = 1.05
REDRAWN = 40
NOTHING = 1e300
"""The objective of a method that found no law."""
EXPONENTS = (0.01, 1.0)
TABLES: dict[str, dict[str, Any]] = {
    "chinchilla_epoch": {"n": "Model Size", "c": "Training FLOP", "where": "loss < 3.44"},
    "gemstones_hot": {"n": "params_active_precise", "d": "tokens", "loss": "final_loss"},
    "kyo_takano": {},
    "gadre_overtraining": {"loss": "loss_c4_val", "where": "dataset_name == rpj"},
}
"""Golden tables of N, D and loss, and how each is read."""
LAST_EVALUATIONS = 5
OLMO_TARGET = ("peteish13_eval_final", 5e12)
"""The run that the ladder is for, and its tokens: the mean of its last evaluations is its loss."""
OLMO_RUNGS = ("1xC", "2xC", "5xC", "10xC")
OPT_TARGET, OPT_SHARE = 175e9, 0.7
"""The largest size, of whose tokens so many must be behind a checkpoint that tests a law."""
UNITS = {"M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class Table:
    """What is fitted, and larger runs that test it; None where a table has none."""

    fitted: Rows
    larger: Rows | None = None


def _rows(table: pd.DataFrame) -> Rows:
    return make_rows({"N": table["N"], "D": table["D"]}, table["loss"])


def olmo_ladder(path: Path) -> Table:
    """A point a run, the mean of its last evaluations: sizes below 3B, 1 to 10 times Chinchilla's tokens."""
    curves = pd.read_csv(path)
    points = []
    for name, curve in curves.groupby("run"):
        last = curve.sort_values("step").tail(LAST_EVALUATIONS)
        points.append((name, last["N"].iloc[-1], last["tokens"].iloc[-1], last["c4_loss"].mean()))
    runs = pd.DataFrame(points, columns=["run", "N", "D", "loss"])
    rungs = runs["run"].map(lambda name: name.partition("-")[2] in OLMO_RUNGS) & (runs["N"] < 3e9)
    target, tokens = OLMO_TARGET
    return Table(_rows(runs[rungs]), _rows(runs[runs["run"] == target].assign(D=tokens)))


def opt_trajectories(path: Path) -> Table:
    """Every checkpoint of the five smaller sizes; the last ones of the largest test it."""
    raw = pd.read_csv(path)
    N = [float(size[:-1]) * UNITS[size[-1].upper()] for size in raw["model_size"]]
    runs = pd.DataFrame({"N": N, "D": 10 ** raw["num_token"], "loss": np.log(raw["ppl"])})
    largest = runs[runs["N"] == OPT_TARGET]
    late = largest["D"] >= OPT_SHARE * largest["D"].max()
    return Table(_rows(runs[runs["N"] < OPT_TARGET]), _rows(largest[late]))


CHECKPOINTS: dict[str, Callable[[Path], Table]] = {
    "olmo_ladder_c4_curves": olmo_ladder,
    "opt_trajectories": opt_trajectories,
}
"""Golden tables of learning curves."""


def tables() -> tuple[dict[str, Table], dict[str, str]]:
    """Those that are there, a synthetic one where none is; and why others are not."""
    found, missing = {}, {}
    for name in (*TABLES, *CHECKPOINTS):
        path = DATA / f"{name}.csv"
        if not path.exists():
            missing[name] = f"there is no {path.name} in the folder of golden tables ($SCALING_LAWS_DATA)"
        elif name in TABLES:
            found[name] = Table(_rows(read_runs(path, **TABLES[name])))
        else:
            found[name] = CHECKPOINTS[name](path)
    if found:
        return found, missing
    truth = Chinchilla(E=1.82, A=482.0, B=2085.0, alpha=0.348, beta=0.366)
    random = np.random.default_rng(0)
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 8), np.geomspace(1e9, 3e11, 8)))
    noisy = truth.loss(N, D) * np.exp(0.005 * random.normal(size=64))
    return {"synthetic": Table(make_rows({"N": N, "D": D}, noisy))}, missing


def objectives(law: Chinchilla, rows: Rows) -> dict[str, float]:
    """Sum of Huber losses of ln L, and of squares of L; infinite where the law gives no loss."""
    with np.errstate(all="ignore"):
        loss = law.loss(rows.values["N"], rows.values["D"])
        residual = np.log(loss) - np.log(rows.loss)
        near = np.clip(residual, -DELTA, DELTA)
        huber = float(np.sum(near**2 / 2 + DELTA * (np.abs(residual) - np.abs(near))))
        squares = float(np.sum((loss - rows.loss) ** 2))
    return {
        name: value if np.isfinite(value) else NOTHING
        for name, value in (("huber", huber), ("squares", squares))
    }


def by_certified(rows: Rows) -> Chinchilla:
    fit = fit_law(Chinchilla, rows, delta=DELTA)
    assert fit.law is not None
    return fit.law


def by_curve_fit(rows: Rows) -> Chinchilla:
    """Raises RuntimeError where it finds nothing."""

    def loss(x: FloatArray, E: float, A: float, B: float, alpha: float, beta: float) -> FloatArray:
        return np.asarray(E + A / x[0] ** alpha + B / x[1] ** beta)

    x = np.stack([rows.values["N"], rows.values["D"]])
    bounds = ([-np.inf, -np.inf, -np.inf, 0, 0], np.inf)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", OptimizeWarning)
        E, A, B, alpha, beta = curve_fit(loss, x, rows.loss, p0=START, bounds=bounds)[0]
    return Chinchilla(E=E, A=A, B=B, alpha=alpha, beta=beta)


def by_grid(rows: Rows) -> Chinchilla:
    """The best of all cells, then of finer ones about it."""
    low, high = EXPONENTS
    alphas = betas = np.arange(low, high + 1e-9, 0.01)
    best, law = _best_cell(rows, alphas, betas)
    fine = np.arange(-0.01, 0.0101, 0.001)
    return min((best, law), _best_cell(rows, law.alpha + fine, law.beta + fine), key=lambda each: each[0])[1]


def _best_cell(rows: Rows, alphas: FloatArray, betas: FloatArray) -> tuple[float, Chinchilla]:
    """By the sum of squares of L: normal equations, and NNLS where every cell has a negative coefficient."""
    log_N, log_D, loss = np.log(rows.values["N"]), np.log(rows.values["D"]), rows.loss
    centre = log_N.mean(), log_D.mean()
    of_N, of_D = np.exp(-np.outer(alphas, log_N - centre[0])), np.exp(-np.outer(betas, log_D - centre[1]))
    found = (np.inf, 0.0, 0.0, np.zeros(3))
    for alpha, x in zip(alphas, of_N, strict=True):
        columns = np.stack(
            [np.broadcast_to(np.ones_like(x), of_D.shape), np.broadcast_to(x, of_D.shape), of_D], 2
        )
        gram, right = np.swapaxes(columns, 1, 2) @ columns, np.swapaxes(columns, 1, 2) @ loss
        solved = np.linalg.solve(gram + 1e-12 * np.eye(3), right[..., None])[..., 0]
        squares = np.sum((np.einsum("bnk,bk->bn", columns, solved) - loss) ** 2, axis=1)
        squares = np.where((solved >= 0).all(axis=1), squares, np.inf)
        i = int(np.argmin(squares))
        if not np.isfinite(squares[i]):
            i = len(betas) // 2
            solved[i], norm = nnls(columns[i], loss)
            squares[i] = norm**2
        if squares[i] < found[0]:
            found = (float(squares[i]), float(alpha), float(betas[i]), solved[i])
    squared, alpha, beta, (E, A, B) = found
    return squared, Chinchilla(
        E=float(E),
        A=float(A * np.exp(alpha * centre[0])),
        B=float(B * np.exp(beta * centre[1])),
        alpha=alpha,
        beta=beta,
    )


METHODS: dict[str, tuple[Callable[[Rows], Chinchilla], str]] = {
    "certified": (by_certified, "huber"),
    "curve_fit": (by_curve_fit, "squares"),
    "grid": (by_grid, "squares"),
}
"""With each one's own objective."""


def fitted(rows: Rows, larger: Rows | None = None) -> dict[str, dict[str, float]]:
    """Both objectives and CPU seconds of each method, and its error at larger runs."""
    result = {}
    for name, (method, _) in METHODS.items():
        started = time.process_time()
        try:
            law = method(rows)
            found = objectives(law, rows)
            if larger is not None:
                predicted = law.loss(larger.values["N"], larger.values["D"])
                found["larger_error"] = float(np.mean(np.abs(predicted / larger.loss - 1)))
        except RuntimeError:
            found = {"huber": NOTHING, "squares": NOTHING}
        result[name] = found | {"seconds": time.process_time() - started}
    return result


def failed(of_table: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Whether each method misses what the best of all reaches in its own objective."""
    return {
        name: of_table[name][own] > FAILED * min(each[own] for each in of_table.values())
        for name, (_, own) in METHODS.items()
    }


def side_by_side(
    rows: Rows, redrawn: int, seed: int = 0, larger: Rows | None = None
) -> dict[str, dict[str, float]]:
    """Of the table itself, and the share of failures over tables redrawn from its best law."""
    result = fitted(rows, larger)
    smooth = by_certified(rows).loss(rows.values["N"], rows.values["D"])
    residual = np.log(rows.loss / smooth)
    random, failures = np.random.default_rng(seed), dict.fromkeys(METHODS, 0)
    for _ in range(redrawn):
        table = make_rows(rows.values, smooth * np.exp(random.choice(residual, size=rows.n)))
        for name, missed in failed(fitted(table)).items():
            failures[name] += missed
    return {
        name: each | {"share_failed": failures[name] / redrawn if redrawn else 0.0}
        for name, each in result.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redrawn", type=int, default=REDRAWN)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/bench/fits_side_by_side.json"))
    options = parser.parse_args()
    there, missing = tables()
    found = {
        name: side_by_side(table.fitted, options.redrawn, larger=table.larger)
        for name, table in there.items()
    }
    content = {
        "command": "python benchmarks/fits_side_by_side.py",
        "delta": DELTA,
        "failed_above": FAILED,
        "redrawn": options.redrawn,
        "tables": found,
        "skipped": missing,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, methods in found.items():
        print(name)
        for method, each in methods.items():
            share = f"{100 * each['share_failed']:.0f} % failed"
            both = f"Huber {each['huber']:.7g}, squares {each['squares']:.5g}"
            error = f", larger runs {100 * each['larger_error']:.2f} %" if "larger_error" in each else ""
            print(f"  {method:<10} {both}, {each['seconds']:.2f} s, {share}{error}")
    for name, reason in missing.items():
        print(f"{name}: skipped, {reason}")


if __name__ == "__main__":
    main()

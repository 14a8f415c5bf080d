"""How often the 90 % intervals of a Chinchilla fit contain the truth, over many known truths.

Run from the repository's root: `make coverage`. It writes results/coverage/coverage.json and README.md. An
interval that is honest covers 90 % of the truths; between 85 and 95 % is taken for good. `--only features`
measures one kind of truth anew and keeps the others' numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import (
    bootstrap,
    loss_interval,
    optimum_interval,
    parameter_intervals,
)
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.fit.predictive import profile_prediction
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.papers.bordelon2024.dynamics import task
from scaling_laws.papers.bordelon2024.fitted_curves import M_OF_STUDY, N_OF_STUDY, fit_curves

Kind = Literal["sums", "features"]
LEVEL = 0.90
BAND = (0.85, 0.95)
SIZES, HORIZONS = (1e6, 1e9), (1e8, 3e10)
N_SIZES, N_HORIZONS = 8, 6
NOISES = (0.005, 0.01, 0.02)
"""Standard deviations of ln loss from training to training."""
BEYOND = 10.0
"""Predictions are of a run with this many times the largest compute of the grid."""
QUANTITIES = ("alpha", "beta", "a_opt", "E", "N_opt", "loss")


FEATURES = "10 trainings (2 seeds a size) of 6 runs of random features under gradient flow"
"""The curves of Bordelon et al. 2024: correlated within a training, and no sum of powers."""
A, B = (1.3, 2.0), (1.1, 2.0)
"""Exponents of the target's power and of the data's variance."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Which runs a study has.

    Attributes:
        name: in words, for the table.
        seeds: trainings of each size.
        seeds_of_middle: trainings of the middle size.
        shared: share of the noise's variance that the runs of one training have in common; None where each
            run is a training of its own.
        delta: of the fit's Huber loss, in ln L.
        slices: six slices of equal compute with nine runs each instead of the grid; `shared` is of a slice.
        cluster: whether slices are resampled instead of runs.
        profile: the loss is predicted by a profile instead of the bootstrap; nothing else is then measured.
    """

    name: str
    seeds: int = 1
    seeds_of_middle: int = 1
    shared: float | None = None
    delta: float = DEFAULT_DELTA
    slices: bool = False
    cluster: bool = False
    profile: bool = False

    @property
    def quantities(self) -> tuple[str, ...]:
        return ("loss",) if self.profile else QUANTITIES


DESIGNS = (
    Design(name="48 trainings, one run each"),
    Design(name="48 trainings, one run each, fitted by least squares (delta 0.1)", delta=0.1),
    Design(name="16 trainings (2 seeds a size) of 6 runs, 70 % of the noise shared", seeds=2, shared=0.7),
    Design(name="8 trainings of 6 runs, 70 % of the noise shared, no replicated seed", shared=0.7),
    Design(
        name="9 trainings of 6 runs (2 seeds of one size), 70 % of the noise shared",
        seeds_of_middle=2,
        shared=0.7,
    ),
    Design(
        name="6 isoFLOP slices of 9 runs, a third of the noise shared in a slice", shared=1 / 3, slices=True
    ),
    Design(
        name="the same, slices resampled instead of runs (`--cluster C`)",
        shared=1 / 3,
        slices=True,
        cluster=True,
    ),
    Design(
        name="8 trainings of 6 runs, 70 % of the noise shared, no replicated seed, by profile prediction",
        shared=0.7,
        profile=True,
    ),
    Design(name="48 trainings, one run each, by profile prediction", profile=True),
    Design(
        name="6 isoFLOP slices of 9 runs, a third of the noise shared, by profile prediction of slices",
        shared=1 / 3,
        slices=True,
        cluster=True,
        profile=True,
    ),
)
SLICES, RUNS_A_SLICE, SPREAD = (1e17, 1e20), 9, 5.0
"""Compute of the first and the last of six slices; sizes lie within a factor of five of the best."""
N_SLICES = 6


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What was put in, and the intervals that came out; an end that the draws do not bound is infinite."""

    true: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    method: str

    def covers(self, name: str) -> bool:
        low, high = self.intervals[name]
        return low <= self.true[name] <= high


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of how many truths the interval of each quantity contained it.

    Attributes:
        design: name of the design.
        noise: standard deviation of ln loss; None where it is the truth's own.
        truths: drawn.
        identified: fits that were identified; the others have no interval and are in no count.
        hits: by quantity.
        open: by quantity, intervals with an end that the draws do not bound; such an end covers.
        median_width: by quantity; of N_opt, E and loss relative to the truth.
        methods: how often each interval method was used.
    """

    design: str
    noise: float | None
    truths: int
    identified: int
    hits: dict[str, int]
    open: dict[str, int]
    median_width: dict[str, float]
    methods: dict[str, int]

    def share(self, quantity: str) -> float:
        """NaN where the quantity has no truth, or no fit was identified."""
        known = self.identified and quantity in self.hits
        return self.hits[quantity] / self.identified if known else math.nan


def draw_truth(random: np.random.Generator) -> Chinchilla:
    """A law whose two terms are 0.15 to 0.6 nats in the middle of the grid, above an E of 1.5 to 2.2."""
    alpha, beta = random.uniform(0.25, 0.45, size=2)
    log_N, log_D = np.mean(np.log(SIZES)), np.mean(np.log(HORIZONS))
    of_N, of_D = random.uniform(0.15, 0.6, size=2)
    return Chinchilla(
        E=float(random.uniform(1.5, 2.2)),
        A=float(of_N * np.exp(alpha * log_N)),
        B=float(of_D * np.exp(beta * log_D)),
        alpha=float(alpha),
        beta=float(beta),
    )


def draw_runs(truth: Chinchilla, design: Design, noise: float, random: np.random.Generator) -> pd.DataFrame:
    """The run table of one study: columns family, trunk, seed, N, D, loss."""
    if design.slices:
        return draw_slices(truth, design, noise, random)
    rows: list[dict[str, Any]] = []
    for i, N in enumerate(np.geomspace(*SIZES, N_SIZES)):
        for seed in range(design.seeds_of_middle if i == N_SIZES // 2 else design.seeds):
            common = random.normal()
            for D in np.geomspace(*HORIZONS, N_HORIZONS):
                trunk, own = f"{i}-{seed}", random.normal()
                if design.shared is None:
                    trunk, deviation = f"{trunk}-{D:.0f}", own
                else:
                    deviation = math.sqrt(design.shared) * common + math.sqrt(1 - design.shared) * own
                loss = float(truth.loss(N, D)) * math.exp(noise * deviation)
                rows.append({"family": "a", "trunk": trunk, "seed": seed, "N": N, "D": D, "loss": loss})
    return pd.DataFrame(rows)


def draw_slices(truth: Chinchilla, design: Design, noise: float, random: np.random.Generator) -> pd.DataFrame:
    """The run table of an isoFLOP study: runs of one slice have part of their noise in common."""
    assert design.shared is not None
    rows: list[dict[str, Any]] = []
    for i, C in enumerate(np.geomspace(*SLICES, N_SLICES)):
        common, best = random.normal(), float(truth.optimum(C)[0])
        for N in best * np.geomspace(1 / SPREAD, SPREAD, RUNS_A_SLICE):
            deviation = math.sqrt(design.shared) * common + math.sqrt(1 - design.shared) * random.normal()
            loss = float(truth.loss(N, C / 6 / N)) * math.exp(noise * deviation)
            trunk = str(i) if design.cluster else f"{i}-{N:.0f}"
            rows.append({"family": "a", "trunk": trunk, "seed": 0, "N": N, "D": C / 6 / N, "loss": loss})
    return pd.DataFrame(rows)


def trials(design: Design, noise: float, *, truths: int, resamples: int, seed: int) -> Iterator[Trial | None]:
    """One trial a truth: draw a law, draw its runs, fit them; None where the fit is not identified.

    N_opt is at `BEYOND` times the largest compute of the grid, and the loss is that of a new run there.
    """
    C = BEYOND * 6 * SIZES[1] * HORIZONS[1]
    for i in range(truths):
        random = np.random.default_rng([seed, i])
        truth = draw_truth(random)
        runs = draw_runs(truth, design, noise, random)
        N, D = (float(value) for value in truth.optimum(C))
        new_loss = float(truth.loss(N, D)) * math.exp(noise * random.normal())
        rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
        fit = fit_law(Chinchilla, rows, delta=design.delta)
        if not fit.identified:
            yield None
            continue
        true = {**vars(truth), "a_opt": float(truth.a_opt), "N_opt": N, "loss": new_loss}
        if design.profile:
            low, high = profile_prediction(fit, noise=seed_noise(runs), level=LEVEL, N=N, D=D)
            ends = {"loss": (-math.inf if low is None else low, math.inf if high is None else high)}
            yield Trial(true=true, intervals=ends, method="profile prediction")
            continue
        result = bootstrap(fit, noise=seed_noise(runs), resamples=resamples, seed=i)
        intervals = parameter_intervals(result, LEVEL)
        intervals["N_opt"], _ = optimum_interval(result.draws, C, LEVEL)
        intervals["loss"] = loss_interval(result, LEVEL, seed=i, N=N, D=D)
        ends = {
            name: (
                -math.inf if intervals[name][0] is None else intervals[name][0],
                math.inf if intervals[name][1] is None else intervals[name][1],
            )
            for name in QUANTITIES
        }
        yield Trial(true=true, intervals=ends, method=result.method)


def measure(design: Design, noise: float, *, truths: int, resamples: int, seed: int) -> Coverage:
    """Count the hits of all trials of one design at one noise."""
    hits, open_ends = dict.fromkeys(design.quantities, 0), dict.fromkeys(design.quantities, 0)
    widths: dict[str, list[float]] = {name: [] for name in design.quantities}
    methods: dict[str, int] = {}
    for trial in trials(design, noise, truths=truths, resamples=resamples, seed=seed):
        if trial is None:
            continue
        methods[trial.method] = methods.get(trial.method, 0) + 1
        for name, (low, high) in trial.intervals.items():
            hits[name] += trial.covers(name)
            open_ends[name] += not (math.isfinite(low) and math.isfinite(high))
            relative = trial.true[name] if name in ("N_opt", "E", "loss") else 1.0
            widths[name].append((high - low) / relative)
    return Coverage(
        design=design.name,
        noise=noise,
        truths=truths,
        identified=sum(methods.values()),
        hits=hits,
        open=open_ends,
        median_width={name: float(np.median(width)) for name, width in widths.items() if width},
        methods=methods,
    )


def measure_features(*, truths: int, resamples: int, seed: int) -> Coverage:
    """Count the hits on curves that are no sum of powers; the law's parameters have no truth there."""
    names = ("N_opt", "loss")
    hits, open_ends = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    widths: dict[str, list[float]] = {name: [] for name in names}
    for i in range(truths):
        random = np.random.default_rng([seed, i])
        truth = task(random.uniform(*A), random.uniform(*B), M_OF_STUDY, binned=False)
        fitted = fit_curves(truth, seed + i, resamples)
        if fitted.loss_interval is None or fitted.size_interval is None:
            continue
        pairs = ((fitted.size, fitted.size_interval), (fitted.loss, fitted.loss_interval))
        for name, covers, (of, interval) in zip(names, reversed(fitted.covers), pairs, strict=True):
            hits[name] += covers
            low, high = interval
            if low is None or high is None:
                open_ends[name] += 1
            widths[name].append(math.inf if low is None or high is None else (high - low) / of)
    return Coverage(
        design=FEATURES,
        noise=None,
        truths=truths,
        identified=len(widths["loss"]),
        hits=hits,
        open=open_ends,
        median_width={name: float(np.median(width)) for name, width in widths.items() if width},
        methods={},
    )


def markdown(results: Iterable[Coverage], truths: int, resamples: int) -> str:
    """The README of the results' folder."""
    names = {"alpha": "α", "beta": "β", "a_opt": "a_opt", "E": "E", "N_opt": "N_opt(C)", "loss": "loss"}
    lines = [
        "# Coverage of the 90 % intervals",
        "",
        "Made by `make coverage` (benchmarks/coverage.py); the numbers are in coverage.json.",
        "",
        f"Each row draws {truths} laws L = E + A/N^alpha + B/D^beta, and for each the runs of a grid of "
        f"{N_SIZES} sizes by {N_HORIZONS} horizons with log-normal noise; the law is fitted, and a cell says "
        f"in how many per cent the 90 % interval ({resamples} resamples) contains what was put in. N_opt is "
        f"at {BEYOND:g} times the largest compute of the grid, and so is the loss, that of a *new* run with "
        f"its own noise. Delta of Huber's loss is {DEFAULT_DELTA:g} but where a row says otherwise. "
        f"Target: {100 * BAND[0]:.0f} to {100 * BAND[1]:.0f} %; a cell outside is bold. With "
        f"{truths} truths a cell of a perfect interval has a standard error of "
        f"{100 * math.sqrt(LEVEL * (1 - LEVEL) / truths):.1f} points. Fits that are not identified have no "
        "interval, and are counted in the column `fits` alone. Rows `by profile prediction` are of the loss "
        'alone (`LawFit.predict_interval(..., method="profile")`).',
        "",
        "The last row is a truth that no law here can follow: networks of random features under gradient "
        "flow (Bordelon et al. 2024, arXiv 2402.01092). Their losses belong together within a training and "
        f"are no sum of a power of N and one of time. a is drawn from {A[0]:g} to {A[1]:g}, b from {B[0]:g} "
        f"to {B[1]:g}; sizes are {min(N_OF_STUDY)} to {max(N_OF_STUDY)}, and noise of the labels makes the "
        "irreducible loss. The loss is that of a new network, N_opt that of the lowest mean loss, both at "
        "ten times the compute. What this row lacks to 90 % is what the form gets wrong, which no resampling "
        "of its rows can know.",
        "",
        "| runs | noise | fits | " + " | ".join(names.values()) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for result in results:
        cells = []
        for name in names:
            share = result.share(name)
            if math.isnan(share):
                cells.append("–")
                continue
            inside = BAND[0] <= share <= BAND[1]
            cells.append(f"{100 * share:.1f}" if inside else f"**{100 * share:.1f}**")
        fits = f"{result.identified} of {result.truths}"
        noise = "its own" if result.noise is None else f"{100 * result.noise:g} %"
        lines.append(f"| {result.design} | {noise} | {fits} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _earlier(kept: Mapping[str, Any]) -> dict[str, list[Coverage]]:
    """What a file has, by kind."""
    found: dict[str, list[Coverage]] = {}
    for row in kept.get("results", []):
        each = Coverage(**{name: value for name, value in row.items() if name != "coverage"})
        found.setdefault("features" if each.design == FEATURES else "sums", []).append(each)
    return found


def _measured(
    kind: Kind, *, truths: int, resamples: int, seed: int, known: Iterable[Coverage] = ()
) -> Iterator[Coverage]:
    """Of each design and noise; those that are `known` stand as they are."""
    if kind == "features":
        yield measure_features(truths=truths, resamples=resamples, seed=seed)
        return
    kept = {(each.design, each.noise): each for each in known}
    for design in DESIGNS:
        for noise in NOISES:
            yield kept.get((design.name, noise)) or measure(
                design, noise, truths=truths, resamples=resamples, seed=seed
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truths", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/coverage"))
    parser.add_argument("--only", choices=get_args(Kind), help="this kind of truth; the others' rows stay")
    parser.add_argument("--missing", action="store_true", help="only designs that the file lacks")
    options = parser.parse_args()
    file = options.output / "coverage.json"
    how = {"truths": options.truths, "resamples": options.resamples, "seed": options.seed}
    goes_on = (options.only or options.missing) and file.exists()
    kept = json.loads(file.read_text(encoding="utf-8")) if goes_on else {}
    results, elapsed_s = _earlier(kept), dict(kept.get("elapsed_s", {}))
    for kind in (options.only,) if options.only else get_args(Kind):
        known = results.get(kind, []) if options.missing else []
        if kind == "features" and known:
            continue
        before_s, started_s = (elapsed_s.get(kind, 0.0) if known else 0.0), time.perf_counter()
        found: list[Coverage] = []
        for each in _measured(kind, **how, known=known):
            found.append(each)
            shares = "  ".join(f"{name} {100 * each.share(name):.1f}" for name in each.hits)
            print(f"{each.design}, noise {each.noise}: {shares}", file=sys.stderr, flush=True)
            results[kind] = found + [one for one in known if one not in found]
            elapsed_s[kind] = round(before_s + time.perf_counter() - started_s, 1)
            _write(file, results, elapsed_s, options)
    print(_write(file, results, elapsed_s, options))


def _write(
    file: Path,
    results: Mapping[str, list[Coverage]],
    elapsed_s: Mapping[str, float],
    options: argparse.Namespace,
) -> str:
    """The numbers and the table, after every row: a run that was ended goes on with --missing."""
    rows = [each for kind in get_args(Kind) for each in results.get(kind, [])]
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "command": "make coverage",
        "level": LEVEL,
        "resamples": options.resamples,
        "seed": options.seed,
        "elapsed_s": elapsed_s,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "results": [
            {**asdict(each), "coverage": {name: each.share(name) for name in each.hits}} for each in rows
        ],
    }
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    table = markdown(rows, rows[0].truths, options.resamples)
    (file.parent / "README.md").write_text(table, encoding="utf-8")
    return table


if __name__ == "__main__":
    main()

"""Claims about shape, text of another kind, and other architectures (Kaplan 2020, section 3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.straight_line import clustered_slope, jackknifed, mean_interval
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.positions import losses_by_run, on_resampled_text, widened_by_text
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.equal_size import shapes_at_equal_N
from scaling_laws.papers.kaplan2020.evidence import LEFT_OPEN, KaplanTables, log_loss_above, noise_at
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.recipe import LEAST_ASPECT_RATIO, usual_shape
from scaling_laws.study.records import MAIN_CORPUS

FEWEST_SHAPES = 3
DRAWS = 1000


def _shape(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    shapes = shapes_at_equal_N(tables)
    usual = shapes[usual_shape(shapes)]
    counts = usual.groupby("N")["aspect_ratio"].nunique()
    if counts.empty or counts.max() < FEWEST_SHAPES:
        return not_measured("fewer than three usual shapes of one size")
    group = usual[usual["N"] == counts[counts == counts.max()].index.max()]
    noise = noise_at(tables, laws, float(group["D"].median()))
    log_loss = np.log(group["corrected_loss"].to_numpy(dtype=float))
    value = 100 * math.expm1(log_loss.max() - log_loss.min())
    if noise is None:
        return inconclusive("the noise between seeds is not known", value)
    shaken = log_loss + np.random.default_rng(0).normal(scale=noise, size=(DRAWS, len(log_loss)))
    interval = percentile_interval(100 * np.expm1(np.ptp(shaken, axis=1)))
    ratios = group["aspect_ratio"]
    context = f"{len(group)} shapes of N = {group['N'].iloc[0]:.3g}, aspect ratios {ratios.min():.3g} to "
    return Measured(value=value, interval=interval, context=f"{context}{ratios.max():.3g}")


def _foreign(tables: StudyTables) -> list[str]:
    return [corpus for corpus in tables.corpora if corpus not in (MAIN_CORPUS, "val")]


def _transfer(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = tables.of(tables.main_family)
    if runs.empty or not (corpora := _foreign(tables)):
        return not_measured("no corpus of another kind was evaluated")
    if len(runs) < 4:
        return inconclusive(f"{len(runs)} runs")
    # A token of one corpus is not one of another; a table that knows no bytes has nats per token.
    columns = [f"bits_per_byte_{corpus}" for corpus in (MAIN_CORPUS, *corpora)]
    in_bits = set(columns) <= set(runs.columns) and not runs[columns].isna().any(axis=None)
    here = runs[f"bits_per_byte_{MAIN_CORPUS}"] if in_bits else runs["loss"]
    unit = "bits per byte" if in_bits else "nats per token"
    kind = "bits_per_byte" if in_bits else "loss"
    # Runs of one size lie on one side of the line together.
    lines = {corpus: clustered_slope(here, runs[f"{kind}_{corpus}"], runs["N"]) for corpus in corpora}
    corpus = max(lines, key=lambda name: abs(math.log(max(lines[name][0], 1e-3))))
    slope, interval = lines[corpus]
    there = runs[f"{kind}_{corpus}"]
    interval, text = _with_text(
        tables, runs, corpus, slope, interval, lambda x, y: _slope(here * x, there * y)
    )
    offset = float((runs[f"{kind}_{corpus}"] - here).mean())
    context = (
        f"{corpus}, the farthest from 1 of {len(corpora)}: {offset:+.2f} {unit} over {len(runs)} runs of "
        f"{runs['N'].nunique()} sizes; {text}"
    )
    if in_bits:
        in_nats, _ = clustered_slope(runs["loss"], runs[f"loss_{corpus}"], runs["N"])
        context += f"; in nats per token the slope is {in_nats:.3f}"
    return Measured(value=slope, interval=interval, context=context)


def _slope(x: pd.Series[float], y: pd.Series[float]) -> float:
    return float(np.polyfit(x, y, 1)[0])


def _with_text(
    tables: StudyTables,
    runs: pd.DataFrame,
    corpus: str,
    value: float,
    interval: Interval,
    estimate: Callable[[FloatArray, FloatArray], float],
) -> tuple[Interval, str]:
    """The interval with the sampling error of both corpora's held-out text, and what is said of it.

    Args:
        estimate: the value, of factors by which each run's loss on the main corpus and on `corpus` changes.
    """
    positions = tables.study.positions()
    factors = []
    for seed, name in enumerate((MAIN_CORPUS, corpus)):
        losses = losses_by_run(positions, name)
        known = [losses[run] for run in runs["run"] if run in losses]
        drawn = on_resampled_text(known, seed=seed) if len(known) == len(runs) else None
        if drawn is None:
            return interval, "the held-out text is taken as it is: no losses by fold of its documents"
        factors.append(drawn)
    draws = np.array([estimate(x, y) for x, y in zip(*factors, strict=True)])
    interval = widened_by_text(value, interval, draws)
    return interval, f"other documents alone would move it by {np.std(draws):.2g} (standard deviation)"


def _depth_on_foreign(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = tables.of_experiment("depth")
    runs = runs[runs["n_layer"] >= 2] if not runs.empty else runs
    corpora = _foreign(tables)
    if runs.empty or not corpora:
        return not_measured("no depths of one size, or no corpus of another kind")
    if runs["n_layer"].nunique() < FEWEST_SHAPES:
        return inconclusive("fewer than three depths")
    found = {corpus: _change_with_depth(runs, f"loss_{corpus}") for corpus in corpora}
    corpus = max(found, key=lambda name: abs(found[name][0]))
    value, interval = found[corpus]
    interval, text = _with_text(
        tables,
        runs,
        corpus,
        value,
        interval,
        lambda x, y: _change_with_depth(
            runs.assign(**{"loss": runs["loss"] * x, f"loss_{corpus}": runs[f"loss_{corpus}"] * y}),
            f"loss_{corpus}",
        )[0],
    )
    depths = f"from {runs['n_layer'].min()} to {runs['n_layer'].max()} layers"
    context = (
        f"{corpus}, the most of {len(corpora)}, {depths}, at equal loss on the training distribution; {text}"
    )
    return Measured(value=value, interval=interval, context=context)


def _change_with_depth(runs: pd.DataFrame, column: str) -> tuple[float, Interval]:
    """Nats by which the loss there changes from the least to the most layers, at equal loss here."""
    log_depth, here, there = (runs[name].to_numpy(dtype=float) for name in ("n_layer", "loss", column))
    log_depth = np.log2(log_depth)

    def change(chosen: NDArray[np.bool_]) -> float:
        known = np.stack([np.ones(chosen.sum()), here[chosen], log_depth[chosen]], axis=1)
        coefficients, _, rank, _ = np.linalg.lstsq(known, there[chosen], rcond=None)
        return float(coefficients[2] * np.ptp(log_depth)) if rank == 3 else np.nan

    return jackknifed(change, runs["trunk"])


def _recurrent(tables: StudyTables, counted: str) -> Measured | Finding:
    """ln of a recurrent Transformer's loss over that of a Transformer of the same `counted`, at one D."""
    asked = tables.of_experiment("reuse")
    found: dict[float, list[float]] = {}
    if not asked.empty:
        plain = asked[(asked["n_reuse"] == 1) & (asked["n_layer"] >= 2)]
        for D, reused in asked[asked["n_reuse"] > 1].groupby("D"):
            line = plain[plain["D"] == D].groupby("N")["loss"].mean().reset_index()
            if len(line) >= 2:
                for N, above in zip(reused["N"], log_loss_above(reused, line, counted), strict=True):
                    if np.isfinite(above):
                        found.setdefault(float(N), []).append(100 * above)
    if not found:
        return not_measured("no recurrent Transformer beside Transformers that reuse nothing")
    # What is trained for longer or reused more often at one size is no new evidence: sizes are independent.
    value, interval = mean_interval([float(np.mean(of_size)) for of_size in found.values()])
    context = f"{sum(map(len, found.values()))} recurrent Transformers of {len(found)} sizes"
    return Measured(value=value, interval=interval, context=context)


def _per_parameter(tables: StudyTables, laws: Laws) -> Measured | Finding:
    return _recurrent(tables, "N")


def _per_flop(tables: StudyTables, laws: Laws) -> Measured | Finding:
    return _recurrent(tables, "N_reused")


CLAIMS = (
    Claim(
        slug="shape-hardly-matters",
        text="At a fixed number of parameters the shape hardly matters",
        source="section 3.1, Fig. 5",
        quantity="worst loss above the best at one N, per cent",
        paper="below 3",
        method="Transformers with at least two layers and d_model / n_layer of at least "
        f"{LEAST_ASPECT_RATIO:g} are corrected to one N by L(N). The interval comes from the noise between "
        "seeds.",
        confirmed=(-np.inf, 3.0),
        needs="depth",
        measure=_shape,
    ),
    Claim(
        slug="other-text-costs-an-offset",
        text="Text of another kind costs a constant offset",
        source="section 3.2.2, Fig. 8",
        quantity="slope of the loss on other text against the loss on the training distribution, bits per "
        "byte",
        paper="nearly 1",
        method="A line is fitted by least squares to the runs that the laws use, on the corpus whose slope "
        "is farthest from 1. The interval leaves out each size in turn and includes the sampling error of "
        "the text, by folds of its documents. A slope of 1 is a constant offset.",
        confirmed=(0.95, 1.05),
        needs="size",
        measure=_transfer,
    ),
    Claim(
        slug="depth-and-other-text",
        text="Depth does not help on text of another kind",
        source="D.8, Fig. 24",
        quantity="change of the loss on other text from the fewest to the most layers, at equal loss on "
        "the training distribution, nats",
        paper="none seen",
        method="The loss on other text is fitted by least squares to the loss on the training distribution "
        "and the logarithm of the depth (two layers and more), on the corpus with the largest change. The "
        "interval leaves out each training in turn and includes the sampling error of the text, by folds "
        "of its documents.",
        confirmed=(-0.05, 0.05),
        caveat=LEFT_OPEN,
        needs="depth",
        measure=_depth_on_foreign,
    ),
    Claim(
        slug="recurrence-per-parameter",
        text="Recurrent Transformers are slightly better for their parameters",
        source="section 3.2.1, Fig. 17",
        quantity="loss relative to a Transformer of the same N, per cent",
        paper="below 0",
        method="The recurrent Transformers' loss minus that of Transformers at the same N (interpolated) "
        "and D, averaged over sizes. The interval treats each size as one observation.",
        confirmed=(-np.inf, 0.0),
        needs="reuse",
        measure=_per_parameter,
    ),
    Claim(
        slug="recurrence-per-flop",
        text="Recurrent Transformers are slightly worse for their FLOPs",
        source="section 3.2.1, Fig. 17",
        quantity="loss relative to a Transformer of the same FLOPs per token, per cent",
        paper="above 0",
        method="The recurrent Transformers' loss minus that of Transformers at the same n_reuse N "
        "(interpolated) and D, averaged over sizes. The interval treats each size as one observation.",
        confirmed=(0.0, np.inf),
        caveat="It can hardly fail: using blocks again costs FLOPs and adds no parameters.",
        needs="reuse",
        measure=_per_flop,
    ),
)

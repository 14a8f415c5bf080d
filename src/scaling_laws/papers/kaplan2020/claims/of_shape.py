"""Claims about shape, text of another kind, and other architectures (Kaplan 2020, section 3)."""

from __future__ import annotations

import math

import numpy as np

from scaling_laws.laws.fit.intervals import percentile_interval
from scaling_laws.laws.fit.straight_line import line_through, mean_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.equal_size import shapes_at_equal_N
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, log_loss_above
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
    noise = laws.noise.sd_log_loss
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
    lines = {corpus: line_through(runs["loss"], runs[f"loss_{corpus}"]) for corpus in corpora}
    corpus = max(lines, key=lambda name: abs(math.log(max(lines[name].slope, 1e-3))))
    offset = float((runs[f"loss_{corpus}"] - runs["loss"]).mean())
    context = f"{corpus}, the farthest from 1 of {len(corpora)}: {offset:+.2f} nats over {len(runs)} runs"
    return Measured(value=lines[corpus].slope, interval=lines[corpus].interval, context=context)


def _depth_on_foreign(tables: StudyTables, laws: Laws) -> Measured | Finding:
    runs = tables.of_experiment("depth")
    runs = runs[runs["n_layer"] >= 2] if not runs.empty else runs
    corpora = _foreign(tables)
    if runs.empty or not corpora:
        return not_measured("no depths of one size, or no corpus of another kind")
    if runs["n_layer"].nunique() < FEWEST_SHAPES:
        return inconclusive("fewer than three depths")
    log_depth = np.log2(runs["n_layer"].astype(float))
    doublings = float(log_depth.max() - log_depth.min())
    lines = {corpus: line_through(log_depth, runs[f"loss_{corpus}"] - runs["loss"]) for corpus in corpora}
    corpus = max(lines, key=lambda name: abs(lines[name].slope))
    line = lines[corpus]
    low, high = (None if end is None else doublings * end for end in line.interval)
    depths = f"from {runs['n_layer'].min()} to {runs['n_layer'].max()} layers"
    context = f"{corpus}, the most of {len(corpora)}, {depths}"
    return Measured(value=doublings * line.slope, interval=(low, high), context=context)


def _differences(tables: StudyTables, counted: str) -> np.ndarray:
    """ln of a recurrent Transformer's loss over that of a Transformer of the same `counted`, at one D."""
    asked = tables.of_experiment("reuse")
    if asked.empty:
        return np.empty(0)
    plain = asked[(asked["n_reuse"] == 1) & (asked["n_layer"] >= 2)]
    found: list[float] = []
    for D, reused in asked[asked["n_reuse"] > 1].groupby("D"):
        line = plain[plain["D"] == D].groupby("N")["loss"].mean().reset_index()
        if len(line) >= 2:
            found += log_loss_above(reused, line, counted).dropna().tolist()
    return np.array(found)


def _recurrent(tables: StudyTables, counted: str) -> Measured | Finding:
    differences = 100 * _differences(tables, counted)
    if not len(differences):
        return not_measured("no recurrent Transformer beside Transformers that reuse nothing")
    value, interval = mean_interval(differences)
    context = f"{len(differences)} recurrent Transformers"
    return Measured(value=value, interval=interval, context=context)


def _per_parameter(tables: StudyTables, laws: Laws) -> Measured | Finding:
    return _recurrent(tables, "N")


def _per_flop(tables: StudyTables, laws: Laws) -> Measured | Finding:
    return _recurrent(tables, "N_reused")


CLAIMS = (
    Claim(
        slug="shape-hardly-matters",
        text="At one number of parameters the shape hardly matters",
        source="section 3.1, Fig. 5",
        quantity="worst over best loss of one N, less 1, per cent",
        paper="below 3",
        method=f"Transformers of two layers and more with d_model / n_layer of {LEAST_ASPECT_RATIO:g} and "
        "more, corrected to one N by L(N); the interval is that of the noise between seeds.",
        confirmed=(-np.inf, 3.0),
        needs="depth",
        measure=_shape,
    ),
    Claim(
        slug="other-text-costs-an-offset",
        text="Text of another kind costs a constant offset",
        source="section 3.2.2, Fig. 8",
        quantity="slope of the loss there on the loss on the training distribution",
        paper="nearly 1",
        method="Least squares over the runs of the laws, the corpus with the slope farthest from 1.",
        confirmed=(0.8, 1.25),
        needs="size",
        measure=_transfer,
    ),
    Claim(
        slug="depth-and-other-text",
        text="Depth does not help on text of another kind",
        source="D.8, Fig. 24",
        quantity="change of the offset from the least to the most layers, nats",
        paper="none seen",
        method="Offset on the logarithm of the depth, two layers and more; the corpus of the steepest line.",
        confirmed=(-0.05, 0.05),
        needs="depth",
        measure=_depth_on_foreign,
    ),
    Claim(
        slug="recurrence-per-parameter",
        text="Recurrent Transformers are slightly better for their parameters",
        source="section 3.2.1, Fig. 17",
        quantity="loss relative to a Transformer of the same N, per cent",
        paper="below 0",
        method="Mean over the recurrent Transformers of the loss less that of Transformers at the same N "
        "(interpolated) and D.",
        confirmed=(-np.inf, 0.0),
        needs="reuse",
        measure=_per_parameter,
    ),
    Claim(
        slug="recurrence-per-flop",
        text="Recurrent Transformers are slightly worse for their FLOPs",
        source="section 3.2.1, Fig. 17",
        quantity="loss relative to a Transformer of the same FLOPs a token, per cent",
        paper="above 0",
        method="Mean over the recurrent Transformers of the loss less that of Transformers at the same "
        "n_reuse N (interpolated) and D.",
        confirmed=(0.0, np.inf),
        needs="reuse",
        measure=_per_flop,
    ),
)

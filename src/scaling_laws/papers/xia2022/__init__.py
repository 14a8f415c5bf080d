"""Xia et al. 2022: what language models of different sizes learn, token by token."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.xia2022.sampled_text import WRITTEN
from scaling_laws.papers.xia2022.trajectories import (
    TRENDS,
    TrajectoryTables,
    drawn_windows,
    interval,
)
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, short, with_interval


def _stagnation(tables: TrajectoryTables, laws: Laws) -> Measured | Finding:
    data = tables.trajectories
    if isinstance(data, str):
        return not_measured(data)
    shares = 100 * data.trends()["stagnated"].mean(axis=(1, 2))
    if not shares.any():
        return inconclusive("no token stagnates at any size", 0.0)
    line = line_through(np.log(data.N), shares)
    context = f"{shares[0]:.1f} % at N = {short(data.N[0])}, {shares[-1]:.1f} % at N = {short(data.N[-1])}"
    return Measured(value=line.slope, interval=line.interval, context=context)


def _together(tables: TrajectoryTables, laws: Laws) -> Measured | Finding:
    """Share of the variance that the total loss explains less that of compute."""
    data = tables.trajectories
    if isinstance(data, str):
        return not_measured(data)
    weights = drawn_windows(data.losses.shape[2])
    by = data.quantities()
    shares = {}
    for name in ("the total loss", "compute"):
        left, about = weights @ data.explained(by[name]).T[:, 0], weights @ data.explained(by[name]).T[:, 1]
        shares[name] = 100 * (1 - left / about)
    difference = shares["the total loss"] - shares["compute"]
    context = " and ".join(f"{share[0]:.1f} % by {name}" for name, share in shares.items())
    return Measured(value=float(difference[0]), interval=interval(difference), context=context)


def _stays(tables: TrajectoryTables, laws: Laws) -> Measured | Finding:
    """How much likelier a token stagnates in the largest size if it does in the second smallest."""
    data = tables.trajectories
    if isinstance(data, str):
        return not_measured(data)
    stagnated = data.trends()["stagnated"]
    small, large = stagnated[1].astype(float), stagnated[-1].astype(float)
    weights = drawn_windows(data.losses.shape[2])
    both, of_small, of_large = (weights @ each.mean(axis=1) for each in (small * large, small, large))
    n_windows = weights.sum(axis=1)
    if min(of_small.min(), of_large.min()) <= 0:
        return inconclusive("too few tokens stagnate")
    ratio = both * n_windows / (of_small * of_large)
    share, back = both[0] / of_small[0], both[0] / of_large[0]
    context = (
        f"{100 * share:.0f} % of the small one's stagnate in the large one, {100 * back:.0f} % the other way"
    )
    return Measured(value=float(ratio[0]), interval=interval(ratio), context=context)


def _inverse(tables: TrajectoryTables, laws: Laws) -> Measured | Finding:
    """Slope in ln N of the loss on text sampled from the smallest network less the largest."""
    data, losses = tables.trajectories, tables.sampled
    if isinstance(data, str) or isinstance(losses, str):
        return not_measured(losses if isinstance(losses, str) else "there are no trajectories")
    x = np.log(data.N) - np.log(data.N).mean()
    weights = drawn_windows(losses.shape[1])
    slopes = weights @ (x @ losses) / (x @ x) / weights.sum(axis=1)
    words = ", ".join(f"{loss:.2f}" for loss in losses.mean(axis=1))
    context = f"losses {words} from the smallest to the largest, {losses.shape[1]} texts of {WRITTEN} tokens"
    return Measured(value=float(slopes[0]), interval=interval(slopes), context=context)


def shares_table(tables: TrajectoryTables, laws: Laws) -> Table:
    """Shares of the three trends by size."""
    columns = ("N", *(f"{name}, %" for name in TRENDS), "loss at the end, nats")
    data = tables.trajectories
    if isinstance(data, str):
        return Table(columns=columns, rows=(), caption=data)
    weights, trends = drawn_windows(data.losses.shape[2]), data.trends()
    rows = []
    for size, N in enumerate(data.N):
        cells = []
        for name in TRENDS:
            draws = 100 * weights @ trends[name][size].mean(axis=1) / weights.sum(axis=1)
            cells.append(with_interval(float(draws[0]), interval(draws)))
        rows.append((short(N), *cells, f"{data.total[size, -1]:.3f}"))
    caption = f"{len(data.judged)} evaluations each; the remaining tokens fall into none of the three groups."
    return Table(
        columns=columns, rows=tuple(rows), caption=f"{caption} Brackets: 90 % intervals over windows."
    )


PAPER = Paper(
    module=__name__,
    title="Training Trajectories of Language Models Across Scales",
    citation="Xia, Artetxe, Zhou et al. 2022 (arXiv 2212.09803)",
    question="Do networks of different sizes learn the same things, and in the same order?",
    sweep="configs/papers/xia2022.yaml",
    fitted=False,
    evidence=TrajectoryTables,
    says=(
        "From checkpoints of OPT models of 125 million to 175 billion parameters the paper follows the "
        "perplexity of single tokens. After the first tenth of the training some fall (downward), some "
        "rise (upward), and many stay where they are (stagnated). In larger models more of them stagnate, "
        "and what a small model has stopped learning, a large one has stopped learning, too.",
        "Plotted against the perplexity of the whole text, the curves of all sizes fall on top of each "
        "other: at equal total perplexity networks of all sizes have learned the same. Against compute or "
        "tokens they do not. Text sampled from the difference of a small and a large model is harder for "
        "larger models.",
    ),
    done=(
        "Every run of a study keeps the loss of each token of one held-out text at each evaluation. The "
        "longest run of each size is taken, up to where its learning rate begins to fall. A token's trend "
        "is the slope of a line through its perplexity, relative to that at the start, against tokens (p "
        "below 0.05); it is stagnated if it has none and begins and ends within 5 % of its mean "
        "perplexity.",
        "The smallest and the largest network together extend the first five tokens of each window by "
        "fifty: each is drawn from the smallest network's probabilities minus the largest one's, where "
        "that is above zero. Every size then reads this text.",
        "How far curves fall together is measured as the share of the variance of single tokens' losses, "
        "over sizes and time, that a cubic in one quantity explains: the total loss, compute, tokens or "
        "size.",
    ),
    trust=(
        "The networks are a million times smaller than the paper's, and are trained for seconds to "
        "minutes. Their tokens are far from learned, so few can stagnate.",
        "A trend is judged by few evaluations, so p below 0.05 finds strong trends only. The paper has "
        "more checkpoints.",
        "Each size was trained once. The intervals are over windows of the text and say nothing of other "
        "seeds.",
        "The text is sampled where the smallest network finds a token likelier than the largest does, so "
        "these two must differ in this direction; only the sizes between them can surprise. Not done: "
        "tasks with several answers.",
    ),
    claims=(
        Claim(
            slug="stagnation-grows-with-size",
            text="In larger networks more tokens stagnate",
            source="token trends",
            quantity="slope of the share of stagnated tokens in ln N, percentage points",
            paper="above 0",
            confirmed=(0.0, np.inf),
            measure=_stagnation,
        ),
        Claim(
            slug="curves-fall-together-against-loss",
            text="Curves of all sizes fall together against the total loss, not against compute",
            source="token trends",
            quantity="variance explained by the total loss minus that by compute, percentage points",
            paper="above 0",
            confirmed=(0.0, np.inf),
            measure=_together,
        ),
        Claim(
            slug="what-stagnates-stays",
            text="Tokens that stagnate in a small network do so in a large one",
            source="token trends",
            quantity="share of these tokens that stagnate there, over the share among all tokens",
            paper="above 1",
            method="The second smallest and the largest size.",
            confirmed=(1.0, np.inf),
            measure=_stays,
        ),
        Claim(
            slug="difference-of-networks-scales-inversely",
            text="Text sampled from the difference of two sizes has inverse scaling",
            source="sequences",
            quantity="slope of its loss in ln N",
            paper="above 0",
            confirmed=(0.0, np.inf),
            measure=_inverse,
        ),
    ),
    tables=lambda tables, laws: {"Trends of tokens": shares_table(tables, laws)},
)

"""Li et al. 2020: train a large network, then compress it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.straight_line import line_through, mean_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.li2020.compression import (
    BITS,
    FULL_BITS,
    PRUNED,
    SETTINGS,
    Compressed,
    Setting,
)
from scaling_laws.papers.li2020.compression_tables import CompressionTables, TimedCurves
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.text import Table, short, with_interval

JUDGED_BITS, JUDGED_PRUNED = 4, 0.6
LIGHT = Setting(bits=8, pruned=0.0)
HEAVY_BITS, HEAVY_PRUNED = 4, 0.6
"""A network is heavily compressed if it has at most so many bits, or at least so much pruned."""
COARSE = (6, 4, 3)
"""Bits whose damage a law is fitted to: 8 do none that could be measured."""


@dataclass(frozen=True, kw_only=True)
class DamageLaw:
    """ln(loss / loss as trained) = c N^-x 2^-(y bits).

    Attributes:
        x, y: exponents, each with its 90 % interval, by least squares in logarithms.
        n: points, of damages that are surely above zero.
    """

    x: float
    x_interval: Interval
    y: float
    y_interval: Interval
    n: int


def damage_law(data: Compressed) -> DamageLaw | None:
    """The law of damage by quantisation alone; None where fewer than two sizes and two bits have damage."""
    log_N, bits, log_damage = [], [], []
    for each in COARSE:
        for place in np.flatnonzero(data.is_certain(each, 0.0)):
            log_N.append(np.log(data.N[place]))
            bits.append(float(each))
            log_damage.append(np.log(data.damage(each, 0.0)[place]))
    if len(set(log_N)) < 2 or len(set(bits)) < 2 or len(bits) < 6:
        return None
    # Each exponent with an intercept of its own for every value of the other quantity.
    in_N, in_bits = line_through(log_N, log_damage, bits), line_through(bits, log_damage, log_N)
    return DamageLaw(
        x=-in_N.slope,
        x_interval=_negated(in_N.interval),
        y=-in_bits.slope / np.log(2),
        y_interval=_negated(in_bits.interval, 1 / np.log(2)),
        n=len(bits),
    )


def _negated(interval: Interval, factor: float = 1.0) -> Interval:
    low, high = interval
    return (None if high is None else -high * factor, None if low is None else -low * factor)


def _slope_of_damage(data: Compressed | str, bits: int, pruned: float) -> Measured | Finding:
    if isinstance(data, str):
        return not_measured(data)
    damage = data.damage(bits, pruned)
    line = line_through(np.log(data.N), damage)
    ends = " and ".join(
        f"{100 * np.expm1(damage[place]):.2g} % at N = {short(data.N[place])}" for place in (0, -1)
    )
    return Measured(value=line.slope, interval=line.interval, context=f"the loss is higher by {ends}")


def _quantised(tables: CompressionTables, laws: Laws) -> Measured | Finding:
    return _slope_of_damage(tables.compressed, JUDGED_BITS, 0.0)


def _pruned(tables: CompressionTables, laws: Laws) -> Measured | Finding:
    return _slope_of_damage(tables.compressed, FULL_BITS, JUDGED_PRUNED)


def _is_heavy(setting: Setting) -> bool:
    return setting.bits <= HEAVY_BITS or setting.pruned >= HEAVY_PRUNED


def _large_wins(tables: CompressionTables, laws: Laws) -> Measured | Finding:
    """Of each size at 8 bits: the best larger network, heavily compressed to its bytes, less it.

    The best is chosen on every second window and measured on the others.
    """
    data = tables.compressed
    if isinstance(data, str):
        return not_measured(data)
    chosen_by, judged_by = data.losses[..., ::2].mean(axis=2), data.losses[..., 1::2].mean(axis=2)
    heavy = np.array([_is_heavy(setting) for setting in SETTINGS])
    light = SETTINGS.index(LIGHT)
    differences, chosen = [], []
    for size in range(len(data.N) - 1):
        fits = (data.n_bytes <= data.n_bytes[size, light]) & heavy & (np.arange(len(data.N)) > size)[:, None]
        if not fits.any():
            continue
        place = np.unravel_index(np.where(fits, chosen_by, np.inf).argmin(), fits.shape)
        differences.append(np.log(judged_by[place] / judged_by[size, light]))
        chosen.append(f"{short(data.N[place[0]])} at {SETTINGS[place[1]]} for {short(data.N[size])}")
    if len(differences) < 2:
        return inconclusive("no larger network can be compressed to the bytes of a smaller one")
    mean, interval = mean_interval(differences)
    return Measured(value=mean, interval=interval, context=f"{len(chosen)} sizes; {'; '.join(chosen)}")


def _bits(tables: CompressionTables, laws: Laws) -> Measured | Finding:
    data = tables.compressed
    if isinstance(data, str):
        return not_measured(data)
    law = damage_law(data)
    if law is None:
        return inconclusive("too few losses after compression are clearly higher")
    context = f"{law.n} points; the exponent in N is {with_interval(law.x, law.x_interval)}"
    return Measured(value=law.y, interval=law.y_interval, context=context)


def _steps(tables: CompressionTables, laws: Laws) -> Measured | Finding:
    return _to_target(tables.timed, "steps")


def _seconds(tables: CompressionTables, laws: Laws) -> Measured | Finding:
    return _to_target(tables.timed, "seconds")


def _to_target(data: TimedCurves | str, unit: str) -> Measured | Finding:
    if isinstance(data, str):
        return not_measured(data)
    amounts = data.steps_to_target if unit == "steps" else data.seconds_to_target
    line = line_through(np.log(data.N), np.log(amounts))
    words = f"to a loss of {data.target:.2f}: {short(amounts[0])} {unit} at N = {short(data.N[0])}"
    best = int(amounts.argmin())
    context = f"{words}, {short(amounts[-1])} at {short(data.N[-1])}, fewest at {short(data.N[best])}"
    return Measured(value=line.slope, interval=line.interval, context=context)


def damages(tables: CompressionTables, laws: Laws) -> Table:
    """How much higher the loss is, by size, for bits alone and for pruning alone."""
    data = tables.compressed
    alone = [(bits, 0.0) for bits in BITS[1:]] + [(FULL_BITS, share) for share in PRUNED[1:]]
    names = [f"{bits} bits" if not share else f"{100 * share:.0f} % pruned" for bits, share in alone]
    columns = ("N", "loss as trained, nats", *names)
    if isinstance(data, str):
        return Table(columns=columns, rows=(), caption=data)
    rows = tuple(
        (
            short(N),
            f"{data.mean[size, 0]:.3f}",
            *(f"{100 * np.expm1(data.damage(bits, share)[size]):.2f} %" for bits, share in alone),
        )
        for size, N in enumerate(data.N)
    )
    return Table(columns=columns, rows=rows, caption="How much higher the loss is after compression.")


def front_table(tables: CompressionTables, laws: Laws) -> Table:
    """The networks that no other beats in bytes and loss at once."""
    columns = ("bytes", "N", "bits", "pruned, %", "loss, nats")
    data = tables.compressed
    if isinstance(data, str):
        return Table(columns=columns, rows=(), caption=data)
    rows = tuple(
        (
            short(data.n_bytes[size, place]),
            short(data.N[size]),
            str(SETTINGS[place].bits),
            f"{100 * SETTINGS[place].pruned:.0f}",
            f"{data.mean[size, place]:.3f}",
        )
        for size, place in data.front()
    )
    return Table(columns=columns, rows=rows, caption="The Pareto front of bytes and loss.")


PAPER = Paper(
    module=__name__,
    title="Train Large, Then Compress",
    citation="Li, Wallace, Shen et al. 2020 (arXiv 2002.11794)",
    question="Is it better to train a large network and compress it than to train a small one?",
    sweep="configs/papers/li2020.yaml",
    fitted=False,
    evidence=CompressionTables,
    says=(
        "A larger network costs more per step and per use. The paper finds that it pays off twice: it "
        "reaches a loss in fewer steps and in less time, and it loses less when its weights are rounded to "
        "a few bits or set to zero. So of two networks of equal size in memory, a large one that is "
        "heavily compressed is better than a small one that is lightly compressed.",
    ),
    done=(
        "A ladder of sizes with two layers is trained on equal tokens. Each final network is compressed in "
        "35 ways: the smallest 0 to 90 % of the entries of every matrix are set to zero, and what is left is "
        "rounded, row by row, to 8, 6, 4 or 3 bits. The network is not trained again. Embeddings are "
        "compressed, too.",
        "Bytes count all parameters: the entries that are left, one bit per entry that marks whether it is "
        "left, and four bytes for the scale of each row.",
        "Steps and seconds to a loss are read off the learning curves, before the learning rate falls. The "
        "loss is the one that the worst size ends with. Seconds are steps times the median time of a step.",
    ),
    trust=(
        "The paper's networks are RoBERTa and Transformers for translation, a thousand times larger, and "
        "it trains them again after pruning. Without that, pruning does more damage.",
        "Each size was trained once; the intervals of slopes are over sizes.",
        "At these sizes a large part of the bytes is the embedding, and a step's time is mostly overhead, "
        "not arithmetic: seconds favour larger networks for this reason alone.",
    ),
    claims=(
        Claim(
            slug="larger-networks-lose-less-when-quantised",
            text="Larger networks lose less when they are quantised",
            source="section 4",
            quantity=f"slope in ln N of ln(loss at {JUDGED_BITS} bits / loss as trained)",
            paper="below 0",
            confirmed=(-np.inf, 0.0),
            measure=_quantised,
        ),
        Claim(
            slug="larger-networks-lose-less-when-pruned",
            text="Larger networks lose less when they are pruned",
            source="section 4",
            quantity=f"slope in ln N of ln(loss with {100 * JUDGED_PRUNED:.0f} % pruned / loss as trained)",
            paper="below 0",
            confirmed=(-np.inf, 0.0),
            measure=_pruned,
        ),
        Claim(
            slug="compressed-large-networks-win",
            text="At equal bytes a heavily compressed large network beats a lightly compressed small one",
            source="section 4",
            quantity="ln of the large one's loss over the small one's, mean over sizes",
            paper="below 0",
            method=(
                f"Light is {LIGHT.bits} bits; heavy is at most {HEAVY_BITS} bits or at least "
                f"{100 * HEAVY_PRUNED:.0f} % pruned. The best heavy network that is larger and takes no more "
                "bytes is chosen on every second window and measured on the others."
            ),
            confirmed=(-np.inf, 0.0),
            measure=_large_wins,
        ),
        Claim(
            slug="a-bit-less-is-four-times-the-damage",
            text="Each bit removed makes the damage four times as large",
            source="not in the paper; rounding noise",
            quantity="y in: damage = c N^-x 2^(-y bits)",
            paper="",
            method=(
                "Rounding noise has a variance proportional to 4^-bits, and at a minimum the loss rises in "
                f"proportion to it. Fitted to {', '.join(map(str, COARSE))} bits where the damage is "
                "clearly above zero."
            ),
            confirmed=(1.5, 2.5),
            measure=_bits,
        ),
        Claim(
            slug="larger-networks-need-fewer-steps",
            text="Larger networks reach a loss in fewer steps",
            source="section 3",
            quantity="slope of ln(steps to the loss) in ln N",
            paper="below 0",
            confirmed=(-np.inf, 0.0),
            measure=_steps,
        ),
        Claim(
            slug="larger-networks-need-less-time",
            text="Larger networks reach a loss in less time",
            source="section 3",
            quantity="slope of ln(seconds to the loss) in ln N",
            paper="below 0",
            confirmed=(-np.inf, 0.0),
            measure=_seconds,
        ),
    ),
    tables=lambda tables, laws: {
        "Damage": damages(tables, laws),
        "The best network at each size in bytes": front_table(tables, laws),
    },
)

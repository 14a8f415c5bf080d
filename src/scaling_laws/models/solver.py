"""A network's shape from its number of parameters. Standard library only.

One search for every network: its width is a whole number of steps (of a head, of 1), and `widths_about` finds
the two between whose counts N lies. Counts are exact, with biases and norms. A Transformer's whole layers and
heads leave a grid of sizes: its shape lies within `TOLERANCE` of N, as near to the wished aspect ratio as may
be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

from scaling_laws.models.lstm_config import LSTMConfig
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.study.conventions import N_CONVENTIONS, NConvention, Parts
from scaling_laws.study.errors import InputError

TOLERANCE = 0.02
ASPECT_TOLERANCE = 1.5
"""Factor by which an aspect ratio that was asked for may be missed."""
D_FF_TOLERANCE = 2.0
"""Factor by which `adjust_d_ff` may miss the ratio d_ff / d_model that was asked for."""
MOST_LAYERS = 400
MOST_COUNTED = 40
"""Widths that are counted in one search; it mostly needs six."""
WIDTH_STEPS = (128, 64, 32, 16, 8, 4)
"""Steps of d_model that are tried where no width of heads is asked for: four heads divide each width."""
WIDE_HEADS_FROM = 1e9
"""Below this N steps, and heads, of 128 are left out."""
NARROW_STEPS = 0.25
"""What halving the step of d_model below 64 costs, in units of ln(aspect ratio)."""
FEWEST_HEADS, USUAL_HEAD_WIDTH, WIDE_HEAD_WIDTH = 4, 32, 128
"""With one head it is a matter of luck whether a network learns to copy from its context (docs/log.md)."""
EARLIER_WIDTH_STEPS, EARLIER_HEAD_WIDTH = (128, 64, 32, 16, 8, 4, 2, 1), 64
"""Of `rule` 1, by which studies that were begun before 0.2 go on: any width, any number of heads."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network, and how near it comes.

    Attributes:
        config: the network.
        N: its parameters, in the convention that was asked for.
        relative_error: N over the target, minus 1.
    """

    config: TransformerConfig
    N: int
    relative_error: float

    @property
    def aspect_ratio(self) -> float:
        """d_model / n_layer."""
        return self.config.d_model / self.config.n_layer

    @property
    def head_width(self) -> int:
        """d_model / n_heads."""
        return self.config.d_model // self.config.n_heads

    @property
    def d_ff_ratio(self) -> float:
        """d_ff / d_model."""
        return self.config.feed_forward_width / self.config.d_model


def widths_about(N: float, count: Callable[[int], tuple[int, int]], first: int = 1) -> dict[int, int]:
    """Widths in whole steps and their counts; the two about N are among them.

    Args:
        N: target.
        count: the count of a width, and the width that was counted: the nearest that the network takes.
        first: a guess.
    """
    counts: dict[int, int] = {}
    low, high, wanted = 0, 0, max(1, first)  # high = 0: no width is known to be too large
    while len(counts) < MOST_COUNTED:
        width, counted = count(wanted)
        if width in counts:
            break  # between the two about N the network takes none
        counts[width] = counted
        if counted < N:
            low = max(low, width)
        else:
            high = min(high or width, width)
        # N grows about as the width squared; where the guess leaves the bracket, its middle.
        wanted = round(width * min(math.sqrt(N / max(counted, 1)), 1e3))
        if high and not low < wanted < high:
            wanted = (low + high) // 2
        wanted = max(wanted, low + 1)
        if wanted == high:
            break
    return counts


def default_aspect_ratio(N: float) -> float:
    """d_model / n_layer: 64 up to 1e9 parameters, 128 from 1e10, a power of N between.

    Kaplan 2020 trained at 64 up to 25M (4x256, 8x512, 12x768) and found the loss flat over a factor of 40
    (section 3.1); models of tens of billions are mostly built at about 100 to 130.
    """
    return float(64.0 * min(max(N / 1e9, 1.0), 10.0) ** math.log10(2))


def solve_shape(
    N: float,
    *,
    n_vocab: int,
    n_ctx: int,
    convention: NConvention = "N",
    aspect_ratio: float | None = None,
    n_layer: int | None = None,
    head_width: int | None = None,
    d_ff_ratio: float = 4.0,
    bias: bool = True,
    nearest: bool = False,
    adjust_d_ff: bool = False,
    rule: int = 2,
) -> Shape:
    """The Transformer of about N parameters.

    Args:
        N: target, in the `convention`: without embeddings and head, with the head, or every parameter (the
            head tied to the embedding).
        n_vocab, n_ctx: they count in `N_total`; `N_with_head` has the vocabulary alone.
        aspect_ratio: d_model / n_layer; by default `default_aspect_ratio`, at two layers or more.
        n_layer: instead of an aspect ratio: the width follows.
        head_width: d_model / n_heads, with any number of heads. By default four divides the width, and the
            heads are as near to 32 wide as d_model divides into four heads or more (128 from
            `WIDE_HEADS_FROM`).
        d_ff_ratio: d_ff / d_model.
        bias: whether linear layers and norms have one.
        nearest: N is a wish: of all shapes the best compromise between N, the aspect ratio and wide heads is
            returned, mostly within 10 % of N (the smallest within 25 %), and none is refused.
        adjust_d_ff: where whole heads leave a hole in the grid of sizes, d_ff fills it, a little off the
            ratio (`D_FF_TOLERANCE`); the shape's `d_ff_ratio` is the true one.
        rule: of widths and heads; 1 is that of studies begun before 0.2.

    Raises:
        InputError: a number makes no sense, an aspect ratio and a depth are both given, or no shape lies
            within the tolerances and the nearest was not asked for; the message names it.
    """
    _check(
        {
            "N": N,
            "n_vocab": n_vocab,
            "n_ctx": n_ctx,
            "aspect ratio": aspect_ratio,
            "n_layer": n_layer,
            "head width": head_width,
            "d_ff ratio": d_ff_ratio,
        }
    )
    if aspect_ratio and n_layer:
        raise InputError("shape: the aspect ratio and n_layer are both given; leave one of them out")
    aim = aspect_ratio or default_aspect_ratio(N)
    steps = WIDTH_STEPS if rule == 2 else EARLIER_WIDTH_STEPS
    widths = (head_width,) if head_width else steps[0 if N >= WIDE_HEADS_FROM else 1 :]
    depths = (n_layer,) if n_layer else range(1 if aspect_ratio else 2, MOST_LAYERS + 1)

    def shape_of(n_layer: int, head_width: int, n_heads: int) -> Shape:
        d_model = n_heads * head_width
        config = TransformerConfig(
            n_vocab=n_vocab,
            n_ctx=n_ctx,
            n_layer=n_layer,
            d_model=d_model,
            n_heads=n_heads,
            d_ff=max(1, round(d_ff_ratio * d_model)),
            bias=bias,
        )
        return _counted(config, N, convention)

    found = []
    for width in widths:
        for depth in depths:
            # Without embeddings, norms and biases N is n_layer (4 + 2 d_ff/d_model) d_model^2.
            guess = math.sqrt(N / (depth * (4 + 2 * d_ff_ratio))) / width
            found += _about(N, partial(shape_of, depth, width), round(guess))
    if adjust_d_ff:
        found += [
            _with_adjusted_d_ff(shape, N, convention)
            for shape in found
            if abs(shape.relative_error) > TOLERANCE
        ]

    def badness(shape: Shape) -> float:
        narrow = 0.0 if head_width else max(0.0, math.log2(64 / shape.head_width))
        shallow = 0.0 if n_layer else _log_miss(shape.aspect_ratio, aim)
        # Beyond the tolerances sizes must stay apart, too: a ladder's N are worth more than wide heads.
        off_N = (10 if nearest else 5) * abs(math.log1p(shape.relative_error))
        return shallow + NARROW_STEPS * narrow + off_N + _log_miss(shape.d_ff_ratio, d_ff_ratio)

    within = [
        shape
        for shape in found
        if abs(shape.relative_error) <= TOLERANCE
        and (not adjust_d_ff or _log_miss(shape.d_ff_ratio, d_ff_ratio) <= math.log(D_FF_TOLERANCE))
    ]
    good = [
        shape
        for shape in within
        if aspect_ratio is None or _log_miss(shape.aspect_ratio, aim) <= math.log(ASPECT_TOLERANCE)
    ]
    if good or nearest:
        best = min(found if nearest else good, key=badness)
        if head_width:
            return best
        return _with_usual_heads(best, N) if rule == 2 else _with_earlier_heads(best)
    missed = min(within, key=badness) if within else min(found, key=lambda shape: abs(shape.relative_error))
    asked = f"n_layer = {n_layer}" if n_layer else f"d_model/n_layer = {aim:.3g}"
    raise InputError(
        f"no Transformer of {N:.4g} parameters at {asked} and heads of {head_width or 'any width'}; "
        f"the nearest is {missed.config.n_layer} layers of {missed.config.d_model}, {missed.N:.4g} parameters"
        f"{f', d_ff/d_model = {missed.d_ff_ratio:.3g}' if adjust_d_ff else ''}; "
        f"change the {'depth' if n_layer else 'aspect ratio'}, the head width or N"
    )


def solve_lstm(N: float, *, n_vocab: int, n_ctx: int, n_layer: int = 2, nearest: bool = False) -> LSTMConfig:
    """The LSTM of about N non-embedding parameters: of 8 n_layer (d_model^2 + d_model), within `TOLERANCE`.

    Args:
        nearest: N is a wish: the nearest width is returned, however far off.

    Raises:
        InputError: a number makes no sense, or no width comes near enough and the nearest was not asked for.
    """
    _check({"N": N, "n_vocab": n_vocab, "n_ctx": n_ctx, "n_layer": n_layer})

    def config(d_model: int) -> LSTMConfig:
        return LSTMConfig(n_vocab=n_vocab, n_ctx=n_ctx, n_layer=n_layer, d_model=d_model)

    def counted(d_model: int) -> tuple[int, int]:
        return d_model, config(d_model).parameters_by_group()["recurrent"]

    counts = widths_about(N, counted, round(math.sqrt(N / (8 * n_layer))))
    best = min(sorted(counts), key=lambda d_model: abs(counts[d_model] - N))
    if abs(counts[best] / N - 1) > TOLERANCE and not nearest:
        raise InputError(
            f"no LSTM of {N:.4g} parameters at n_layer = {n_layer}; the nearest is {best} wide, "
            f"{counts[best]:.4g} parameters; change the depth or N"
        )
    return config(best)


def count(config: TransformerConfig, convention: NConvention) -> int:
    """Parameters in one of `conventions.COUNT_ONCE`."""
    parts = Parts(parameters=config.parameters_by_group(), flops_per_token=config.flops_per_token())
    return N_CONVENTIONS[convention].count(parts)


def _counted(config: TransformerConfig, N: float, convention: NConvention) -> Shape:
    counted = count(config, convention)
    return Shape(config=config, N=counted, relative_error=counted / N - 1)


def _about(N: float, shape_of: Callable[[int], Shape], guess: int) -> list[Shape]:
    """The two shapes about N among those of 1, 2, ... heads."""
    shape_of = cache(shape_of)
    counts = widths_about(N, lambda n_heads: (n_heads, shape_of(n_heads).N), guess)
    low = max((n_heads for n_heads, counted in counts.items() if counted < N), default=1)
    return [shape_of(low), shape_of(low + 1)]


def _with_adjusted_d_ff(shape: Shape, N: float, convention: NConvention) -> Shape:
    """The same network with the d_ff that brings its count nearest to N: the count is linear in d_ff."""
    config = shape.config
    a_unit = config.n_layer * (2 * config.d_model + config.bias)
    d_ff = max(1, config.feed_forward_width + round((N - shape.N) / a_unit))
    return _counted(replace(config, d_ff=d_ff), N, convention)


def _with_usual_heads(shape: Shape, N: float) -> Shape:
    """The same network with at least four heads, as near to the usual width as d_model divides."""
    d_model = shape.config.d_model
    usual = WIDE_HEAD_WIDTH if N >= WIDE_HEADS_FROM else USUAL_HEAD_WIDTH
    divisors = [n for n in range(FEWEST_HEADS, d_model + 1) if d_model % n == 0]
    n_heads = min(divisors, key=lambda n: abs(math.log(d_model / n / usual)))
    return replace(shape, config=replace(shape.config, n_heads=n_heads))


def _with_earlier_heads(shape: Shape) -> Shape:
    """By rule 1: as near to 64 wide (or to a step of 128) as d_model divides."""
    d_model, usual = shape.config.d_model, max(shape.head_width, EARLIER_HEAD_WIDTH)
    divisors = [n for n in range(1, d_model + 1) if d_model % n == 0]
    n_heads = min(divisors, key=lambda n: abs(math.log(d_model / n / usual)))
    return replace(shape, config=replace(shape.config, n_heads=n_heads))


def _log_miss(ratio: float, asked: float) -> float:
    return abs(math.log(ratio / asked))


def _check(numbers: Mapping[str, float | None]) -> None:
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"shape: {name} is {value}; it must be positive")
    N = numbers["N"]
    if N is not None and N > 1e15:
        raise InputError(f"shape: N is {N:.3g}; shapes are solved up to 1e15 parameters")

"""A network's shape from its number of parameters. Standard library only.

The count is `models/count.py`'s, exact with biases and norms. Whole layers and whole heads leave a grid of
sizes: the shape returned lies within `TOLERANCE` of the target, as near to the asked aspect ratio as may be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scaling_laws.models.config import LSTMConfig, TransformerConfig
from scaling_laws.models.count import flops_per_token, parameters_by_group
from scaling_laws.study.conventions import N_CONVENTIONS, NConvention, Parts
from scaling_laws.study.errors import InputError

TOLERANCE = 0.02
ASPECT_TOLERANCE = 1.5
"""Factor by which an aspect ratio that was asked for may be missed."""
D_FF_TOLERANCE = 2.0
"""Factor by which `adjust_d_ff` may miss the ratio d_ff / d_model that was asked for."""
MOST_LAYERS = 400
HEAD_WIDTHS = (128, 64, 32, 16, 8, 4, 2, 1)
"""Steps of d_model that are tried where no width of heads is asked for."""
WIDE_HEADS_FROM = 1e9
"""Below this N heads of 128 are left out."""
NARROW_HEADS = 0.25
"""What halving the step of d_model below 64 costs, in units of ln(aspect ratio)."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A network, and how near it comes.

    Attributes:
        config: the network.
        N: its parameters, in the convention that was asked for.
        relative_error: N over the target, less 1.
        aspect_ratio: d_model / n_layer.
        head_width: d_model / n_heads.
    """

    config: TransformerConfig
    N: int
    relative_error: float
    aspect_ratio: float
    head_width: int

    @property
    def d_ff_ratio(self) -> float:
        """d_ff / d_model."""
        return self.config.feed_forward_width / self.config.d_model


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
) -> Shape:
    """The Transformer of about N parameters.

    Args:
        N: target, in the `convention`: without embeddings and head, with the head, or every parameter (the
            head tied to the embedding).
        n_vocab, n_ctx: they count in `N_total`; `N_with_head` has the vocabulary alone.
        aspect_ratio: d_model / n_layer; by default `default_aspect_ratio`, at two layers or more.
        n_layer: instead of an aspect ratio: the width follows.
        head_width: d_model / n_heads; by default about 64, or 128 from `WIDE_HEADS_FROM`.
        d_ff_ratio: d_ff / d_model.
        bias: whether linear layers and norms have one.
        nearest: N is a wish: of all shapes the best compromise between N, the aspect ratio and wide heads is
            returned, mostly within 10 % of N, and none is refused.
        adjust_d_ff: where whole heads leave a hole in the grid of sizes, d_ff fills it, a little off the
            ratio (`D_FF_TOLERANCE`); the shape's `d_ff_ratio` is the true one.

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
    widths = (head_width,) if head_width else HEAD_WIDTHS[0 if N >= WIDE_HEADS_FROM else 1 :]
    depths = (n_layer,) if n_layer else range(1 if aspect_ratio else 2, MOST_LAYERS + 1)
    found = [
        shape
        for width in widths
        for depth in depths
        for shape in _nearest_widths(N, depth, width, d_ff_ratio, n_vocab, n_ctx, convention, bias)
    ]
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
        return shallow + NARROW_HEADS * narrow + off_N + _log_miss(shape.d_ff_ratio, d_ff_ratio)

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
        return best if head_width else _with_usual_heads(best)
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

    width = max(1, math.floor((math.sqrt(1 + N / (2 * n_layer)) - 1) / 2))
    best = min(
        (config(width), config(width + 1)), key=lambda each: abs(parameters_by_group(each)["recurrent"] - N)
    )
    found = parameters_by_group(best)["recurrent"]
    if abs(found / N - 1) > TOLERANCE and not nearest:
        raise InputError(
            f"no LSTM of {N:.4g} parameters at n_layer = {n_layer}; the nearest is {best.d_model} wide, "
            f"{found:.4g} parameters; change the depth or N"
        )
    return best


def count(config: TransformerConfig, convention: NConvention) -> int:
    """Parameters in one of `conventions.COUNT_ONCE`."""
    parts = Parts(parameters=parameters_by_group(config), flops_per_token=flops_per_token(config))
    return N_CONVENTIONS[convention].count(parts)


def _nearest_widths(
    N: float,
    n_layer: int,
    head_width: int,
    d_ff_ratio: float,
    n_vocab: int,
    n_ctx: int,
    convention: NConvention,
    bias: bool,
) -> list[Shape]:
    """The two widths around the target at a depth: the count grows with the number of heads."""

    def shape(n_heads: int) -> Shape:
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
        found = count(config, convention)
        return Shape(
            config=config,
            N=found,
            relative_error=found / N - 1,
            aspect_ratio=d_model / n_layer,
            head_width=head_width,
        )

    # Without embeddings, norms and biases N is n_layer (4 + 2 d_ff/d_model) d_model^2: a little too wide.
    high = 2 + int(math.sqrt(N / (n_layer * (4 + 2 * d_ff_ratio))) / head_width)
    low = max(1, int(0.9 * high) - 2)
    if shape(low).N >= N:
        low = 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if shape(middle).N < N else (low, middle)
    return [shape(low), shape(high)]


def _with_adjusted_d_ff(shape: Shape, N: float, convention: NConvention) -> Shape:
    """The same network with the d_ff that brings its count nearest to N: the count is linear in d_ff."""
    config = shape.config
    a_unit = config.n_layer * (2 * config.d_model + config.bias)
    d_ff = max(1, config.feed_forward_width + round((N - shape.N) / a_unit))
    config = replace(config, d_ff=d_ff)
    found = count(config, convention)
    return replace(shape, config=config, N=found, relative_error=found / N - 1)


def _with_usual_heads(shape: Shape) -> Shape:
    """The same network, its heads as near to 64 wide (or to a step of 128) as d_model divides."""
    d_model, usual = shape.config.d_model, max(shape.head_width, 64)
    divisors = [n for n in range(1, d_model + 1) if d_model % n == 0]
    n_heads = min(divisors, key=lambda n: abs(math.log(d_model / n / usual)))
    return replace(shape, config=replace(shape.config, n_heads=n_heads), head_width=d_model // n_heads)


def _log_miss(ratio: float, asked: float) -> float:
    return abs(math.log(ratio / asked))


def _check(numbers: Mapping[str, float | None]) -> None:
    for name, value in numbers.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"shape: {name} is {value}; it must be positive")
    N = numbers["N"]
    if N is not None and N > 1e15:
        raise InputError(f"shape: N is {N:.3g}; shapes are solved up to 1e15 parameters")

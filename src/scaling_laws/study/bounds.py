"""Bounds of numbers, declared beside the fields that they are of, and the one checker of all of them.

    learning_rate: PositiveNumber
    seeds: tuple[Seed, ...]

A number without bounds must still be finite and no larger than `LARGEST_NUMBER`, and an integer one of 64
bits: what follows from it is computed in floating point and in tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from scaling_laws.study.errors import InputError

LARGEST_INTEGER = 2**63 - 1
LARGEST_NUMBER = 1e150
"""Its square is still a number."""


@dataclass(frozen=True)
class Bounds:
    """What a number must lie between.

    Attributes:
        low, high: the ends.
        open_low, open_high: whether the end itself is outside.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def hold(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def words(self, value: float) -> str:
        """What is asked of a value that is outside: `positive`, `0 or more`, `in [0, 1)`."""
        if self.high > 1 and value <= self.low:
            return f"it must be {'positive' if self.open_low and self.low == 0 else f'{self.low:g} or more'}"
        if self.high > 1:
            return f"it must be {'less than' if self.open_high else 'at most'} {self.high:g}"
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"it must lie in {left}{self.low:g}, {self.high:g}{right}"


PositiveNumber = Annotated[float, Bounds(0, open_low=True)]
NotNegative = Annotated[float, Bounds(0)]
Rate = Annotated[float, Bounds(0, 1e30, open_low=True)]
"""A learning rate; the largest of these diverge at the first step."""
Parameters = Annotated[float, Bounds(0, 1e15, open_low=True)]
Exponent = Annotated[float, Bounds(-10, 10)]
Share = Annotated[float, Bounds(0, 1)]
PartOfAll = Annotated[float, Bounds(0, 1, open_low=True, open_high=True)]
ShareBelowOne = Annotated[float, Bounds(0, 1, open_high=True)]
PositiveCount = Annotated[int, Bounds(0, 10**6, open_low=True)]
"""Of heads, windows, devices, steps between two events: what no study has more of."""
Count = Annotated[int, Bounds(0, 10**6)]
Windows = PositiveCount | Literal["all"]
"""Of held-out text: so many, or where there are fewer all."""
Halvings = Annotated[int, Bounds(0, 60)]
Layers = Annotated[int, Bounds(0, 10_000)]
PositiveLayers = Annotated[int, Bounds(0, 10_000, open_low=True)]
Width = Annotated[int, Bounds(0, 10**7, open_low=True)]
"""Of a network's vectors, or of its context."""
Vocabulary = Annotated[int, Bounds(0, 2**32, open_low=True)]
Tokens = Annotated[int, Bounds(0, 10**18, open_low=True)]
"""Of a horizon, or bytes: more than there are."""
Amount = Annotated[int, Bounds(0, 10**18)]
Time = Annotated[float, Bounds(0, 1e11)]
"""Seconds, of a training or since 1970."""
Seed = Annotated[int, Bounds(0, 2**32, open_high=True)]


def check_bounds(owner: Any, values: Mapping[str, Any] | None = None, *, what: str = "") -> None:
    """Refuse a number that is not finite, too large for 64 bits, or outside its field's bounds.

    Args:
        owner: an instance of a dataclass; or, with what they were given in `values`, a function whose
            arguments, or a mapping whose values are types.
        what: stands before the field's name in the message: `search`, or `data.`.

    Raises:
        InputError: one line that names the field.
    """
    declared: Any = type(owner) if values is None else owner
    if isinstance(declared, dict):
        fields = {name: _allowed(hint) for name, hint in declared.items()}
    else:
        fields = _fields(declared)
    for name, value in (vars(owner) if values is None else values).items():
        try:
            _check(value, fields.get(name, ANYTHING), name)
        except InputError as error:
            between = ": " if what and not what.endswith(".") else ""
            raise InputError(f"{what}{between}{error}") from None


@cache
def _fields(owner: Any) -> dict[str, _Allowed]:
    """Of a class, or of a function's arguments."""
    return {name: _allowed(hint) for name, hint in get_type_hints(owner, include_extras=True).items()}


def _check(value: Any, allowed: _Allowed, name: str) -> None:
    if value is None and allowed.none:
        return
    if type(value) in allowed.plain_numbers:  # nearly all values; the rest of this is for the others
        _check_number(value, allowed.bounds, name)
        return
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if allowed.scalars and not _is_one_of(value, is_number, allowed.scalars):
        wanted = (
            "a whole number"
            if is_number
            else "a number"
            if {int, float} & allowed.scalars
            else "true or false"
        )
        raise InputError(f"{name} is {value!r}; it must be {wanted}")
    if is_number:
        _check_number(value, allowed.bounds, name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check(item, _allowed(allowed.entry), f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, _allowed(allowed.item), name)


SCALARS: set[Any] = {int, float, bool}


@dataclass(frozen=True, kw_only=True)
class _Allowed:
    """What a type says of a value: worked out once, since a solver makes thousands of one kind of object.

    Attributes:
        none: whether None passes.
        scalars: the numbers and truth values that it takes; empty where it takes other things, too.
        plain_numbers: Python's own among them.
        bounds: of a number.
        entry, item: the types of a mapping's values, and of a list's.
    """

    none: bool
    scalars: frozenset[Any]
    plain_numbers: frozenset[Any]
    bounds: tuple[Bounds, ...]
    entry: Any
    item: Any


@cache
def _allowed(hint: Any) -> _Allowed:
    parts = _parts(hint)
    kinds = {_kind(part) for part in parts}
    number = next((part for part in parts if _kind(part) in (int, float)), None)
    scalars = frozenset(kinds) if kinds <= SCALARS else frozenset()
    return _Allowed(
        none=not kinds or NoneType in get_args(hint) or not kinds <= SCALARS,
        scalars=scalars,
        plain_numbers=(scalars | {int} if float in scalars else scalars) - {bool},
        bounds=tuple(each for each in getattr(number, "__metadata__", ()) if isinstance(each, Bounds)),
        entry=next((get_args(part)[-1] for part in parts if len(get_args(part)) == 2), None),
        item=next((get_args(part)[0] for part in parts if _kind(part) in (list, tuple)), None),
    )


def _parts(hint: Any) -> tuple[Any, ...]:
    """The types of a union, without None."""
    if hint is None or hint is Any:
        return ()
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(part for part in parts if part is not NoneType)


def _kind(hint: Any) -> Any:
    """The class behind a type."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return get_origin(hint) or hint


ANYTHING = _allowed(None)


def _is_one_of(value: Any, is_number: bool, kinds: frozenset[Any]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    return is_number and (float in kinds or (int in kinds and isinstance(value, Integral)))


def _check_number(value: Any, of: tuple[Bounds, ...], name: str) -> None:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise InputError(f"{name} is an integer of more than 64 bits")
    if not math.isfinite(value):
        raise InputError(f"{name} is {value}; it must be a finite number")
    if abs(value) > LARGEST_NUMBER:
        raise InputError(f"{name} is {value}; nothing here is larger than {LARGEST_NUMBER:g}")
    for bounds in of:
        if not bounds.hold(value):
            raise InputError(f"{name} is {value}; {bounds.words(value)}")

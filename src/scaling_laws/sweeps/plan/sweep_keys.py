"""Which keys a sweep file may have where, and which of its values is wrong: said in a user's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, get_type_hints

from scaling_laws.models.families import FAMILIES
from scaling_laws.study.errors import InputError
from scaling_laws.study.file_keys import fits, in_words, lacking
from scaling_laws.study.schedule import Schedule
from scaling_laws.sweeps.plan.learning_rates import LearningRateRule
from scaling_laws.sweeps.plan.search_section import ShapeSearch
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep

SHAPE = {
    "N",
    "N_about",
    "N_reused",
    *(wish for family in FAMILIES for wish in family.wishes),
    *(field.name for family in FAMILIES for field in fields(family.config)),  # type: ignore[arg-type]
} - {"n_vocab", "n_ctx"}
"""Arguments of built-in networks, and what may be wished of their shapes."""
MODEL = {field.name for field in fields(Model)}
LADDER = {field.name for field in fields(Ladder)}
SWEEP = {field.name for field in fields(Sweep)}
SCHEDULE = {field.name for field in fields(Schedule)}
RULE = {field.name for field in fields(LearningRateRule)}
SEARCH = {field.name for field in fields(ShapeSearch)}
HOMES = (
    (SWEEP, "it is the whole study's: write it at the top of the file"),
    (MODEL, "it belongs in a ladder or a model"),
    (LADDER, "it belongs in a ladder"),
    (SCHEDULE, "it belongs in schedule"),
    (SHAPE, "it belongs in the shape of a model"),
    (RULE, "it belongs in learning_rate"),
    (SEARCH, "it belongs in search"),
)
"""Keys, and where they are at home; the first that has one counts."""


@dataclass(frozen=True, kw_only=True)
class _Section:
    """One mapping of the file.

    Attributes:
        where: its path; empty for the whole file.
        content: what the file holds there.
        keys: that it may have.
        made_of: the dataclass that it becomes.
    """

    where: str
    content: Mapping[str, Any]
    keys: set[str]
    made_of: type[Any]


def check_keys(content: Mapping[str, Any]) -> None:
    """Refuse a key that is not known where it stands.

    Args:
        content: of the whole file; what is no mapping where one should be is passed over.

    Raises:
        InputError: it says the key's place, and the place or the name that was probably meant.
    """
    for section in _sections(content):
        for key in section.content:
            if key not in section.keys:
                raise InputError(f"{_named(section.where)}no key {key!r}{_hint(str(key), section.keys)}")


def wrong_value(content: Mapping[str, Any]) -> str:
    """Which value is not of its key's type, and what it should be; empty where all are, one by one."""
    for section in _sections(content):
        hints = get_type_hints(section.made_of, include_extras=True)
        if missing := lacking(section.content, section.made_of):
            return f"{_named(section.where)}{missing} is missing"
        for key, value in section.content.items():
            if key in ("ladders", "models", "search") and isinstance(value, list | dict):
                continue
            if key in hints and not fits(value, hints[key]):
                where = f"{section.where}.{key}" if section.where else key
                return f"{where} is {value!r}; it must be {in_words(hints[key])}"
    return ""


def _sections(content: Mapping[str, Any]) -> Iterator[_Section]:
    yield _Section(where="", content=content, keys=SWEEP, made_of=Sweep)
    yield from _inner("", content)
    if isinstance(content.get("search"), dict):
        yield _Section(where="search", content=content["search"], keys=SEARCH, made_of=ShapeSearch)
    for number, ladder in _entries(content.get("ladders")):
        where = f"ladders[{number}]"
        yield _Section(where=where, content=ladder, keys=LADDER | MODEL | {"vary"}, made_of=Ladder)
        yield from _inner(where, ladder)
        for k, model in _entries(ladder.get("models")):
            inside = f"{where}.models[{k}]"
            yield _Section(where=inside, content=model, keys=MODEL | {"vary"}, made_of=Model)
            yield from _inner(inside, model)


def _inner(where: str, content: Mapping[str, Any]) -> Iterator[_Section]:
    for key, keys, made_of in (
        ("schedule", SCHEDULE, Schedule),
        ("learning_rate", RULE, LearningRateRule),
    ):
        if isinstance(content.get(key), dict):
            inside = f"{where}.{key}" if where else key
            yield _Section(where=inside, content=content[key], keys=keys, made_of=made_of)


def _entries(value: Any) -> list[tuple[int, dict[str, Any]]]:
    entries = value if isinstance(value, list) else []
    return [(number, entry) for number, entry in enumerate(entries) if isinstance(entry, dict)]


def _hint(key: str, allowed: set[str]) -> str:
    home = next((place for keys, place in HOMES if key in keys), "")
    if home:
        return f"; {home}"
    everywhere = set().union(*(keys for keys, _ in HOMES))
    close = get_close_matches(key, sorted(allowed), n=1) or get_close_matches(key, sorted(everywhere), n=1)
    if not close:
        return ""
    place = next(place for keys, place in HOMES if close[0] in keys)
    return f"; did you mean {close[0]}?" + ("" if close[0] in allowed else f" ({place})")


def _named(where: str) -> str:
    return f"{where}: " if where else ""

"""What is wrong with a mapping of a user's file that should become a dataclass: said in a user's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from scaling_laws.study.errors import InputError


def wrong_entry(content: Mapping[str, Any], made_of: type[Any], where: str = "") -> str:
    """The first key that the dataclass does not have, or lacks, or whose value is of another type.

    Args:
        where: of the mapping in its file; empty for the whole file.

    Returns:
        A phrase; empty where nothing is wrong with any key by itself.
    """
    place, hints = f"{where}: " if where else "", get_type_hints(made_of, include_extras=True)
    for key in content:
        if key not in hints:
            close = get_close_matches(str(key), sorted(hints), n=1)
            return f"{place}no key {key!r}" + (f"; did you mean {close[0]}?" if close else "")
    if missing := lacking(content, made_of):
        return f"{place}{missing} is missing"
    for key, value in content.items():
        if not fits(value, hints[key]):
            return f"{place}{key} is {value!r}; it must be {in_words(hints[key])}"
    return ""


def lacking(content: Mapping[str, Any], made_of: type[Any]) -> str:
    """The first key that must be given and is not."""
    needed = (each for each in fields(made_of) if each.default is MISSING and each.default_factory is MISSING)
    return next((each.name for each in needed if each.name not in content), "")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value can be read as a type."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.instantiate(parser.parse_object({"value": value}))
    except (ArgumentError, InputError, TypeError, ValueError):
        return False
    return True


def in_words(hint: Any) -> str:
    """A type in a user's words."""
    origin = get_origin(hint)
    if origin is Annotated:
        return in_words(get_args(hint)[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(each) for each in get_args(hint) if each is not NoneType))
    if origin is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if origin in (tuple, list):
        of = {int: "whole numbers", float: "numbers", str: "texts"}
        item = get_args(hint)[0]
        return "a list of " + of.get(get_args(item)[0] if get_origin(item) is Annotated else item, "mappings")
    if origin is dict:
        return f"a mapping, each value {in_words(get_args(hint)[1])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(hint, "a mapping")

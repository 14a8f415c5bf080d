"""The readers of all that lies in files: one for JSON, one for YAML, one for tables, and one for types.

A file may come from a stranger, or be damaged. Whatever is wrong with it is one line that names the file and
the place; nothing in it is run.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scaling_laws.study.bounds import LARGEST_INTEGER
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
DEEPEST = 64
"""Lists and mappings within one another; nothing here is nested more than a dozen deep."""
LARGEST_JSON_BYTES = 2**30
LARGEST_YAML_BYTES = 2**24
LARGEST_TABLE_BYTES = 2**30
HALF_A_SIGN = re.compile(rb"\\u[dD][89a-fA-F]")
GZIP = b"\x1f\x8b"
MOST_YAML_VALUES = 100_000
"""Of a YAML file, aliases written out."""


def read_json(path: Path, *, kind: str, remedy: str) -> dict[str, Any]:
    """A JSON object from a file.

    Args:
        kind: what the file should be: "record".
        remedy: what to do where it is not.

    Raises:
        InputError: as `read_json_or_none`, or there is no such file.
    """
    content = read_json_or_none(path, kind=kind, remedy=remedy)
    if content is None:
        raise InputError(f"{path}: not a readable {kind} (No such file or directory); {remedy}")
    return content


def read_json_or_none(path: Path, *, kind: str, remedy: str) -> dict[str, Any] | None:
    """A JSON object from a file; None where there is none.

    Raises:
        InputError: not readable, larger than `LARGEST_JSON_BYTES`, not JSON, nested deeper than `DEEPEST`,
            no object, or with a number that is not finite or an integer of more than 64 bits.
    """
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise ValueError(f"larger than {LARGEST_JSON_BYTES // 2**20} MiB")
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: not a readable {kind} ({reason}); {remedy}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a readable {kind} (no JSON object); {remedy}")
    return content


def parse_json(text: bytes) -> Any:
    """What a JSON text says. Standard library only, as `make clean` needs it.

    Raises:
        ValueError: in a few words, why it cannot be read.
    """
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    _check_size(content, most_values=None)
    if HALF_A_SIGN.search(text):
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a sign that takes two") from None
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _check_size(content: Any, most_values: int | None) -> None:
    """Raises ValueError: nested too deep, too many values, or an integer of more than 64 bits."""
    left: list[tuple[Any, int]] = [(content, 1)]
    n_values = 0
    while left:
        value, depth = left.pop()
        n_values += 1
        if most_values is not None and n_values > most_values:
            raise ValueError(f"more than {most_values:,} values, aliases written out")
        if isinstance(value, dict | list):
            if depth > DEEPEST:
                raise ValueError(f"nested more than {DEEPEST} deep")
            left += [(item, depth + 1) for item in (value.values() if isinstance(value, dict) else value)]
        elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise ValueError(f"{_place_of(content, value)} is an integer of more than 64 bits")


def _place_of(content: Any, sought: int, place: str = "", depth: int = 0) -> str:
    """Where a number is: `runs[3].tokens`; empty where it is not, or deeper than anything is read."""
    if content is sought:
        return place.removeprefix(".") or "it"
    if depth > DEEPEST:
        return ""
    if isinstance(content, dict):
        parts = [(f"{place}.{key}", item) for key, item in content.items()]
    elif isinstance(content, list):
        parts = [(f"{place}[{number}]", item) for number, item in enumerate(content)]
    else:
        return ""
    return next((found for at, item in parts if (found := _place_of(item, sought, at, depth + 1))), "")


def typed(value: Any, of: type[T], source: str | Path, at: str = "", *, remedy: str = "") -> T:
    """A parsed value as a type: dataclasses, `TypedDict`s, unions. Keys that no type has are passed over.

    A dataclass checks its own bounds (`bounds.check_bounds` in its `__post_init__`).

    Args:
        source: the file, for errors.
        at: the value's place in it: `runs`.
        remedy: what to do where it is wrong.

    Raises:
        InputError: a value of another type, or outside its bounds; one line that names file and field.
    """
    import msgspec

    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        field = f"{at}{place.rstrip('`')}".removeprefix(".")
        message = f"{source}: {field}: {problem}" if field else f"{source}: {problem}"
        raise InputError(f"{message}; {remedy}" if remedy else message) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; numbers are read as the command line reads them (`1e-3` is one).

    Raises:
        InputError: not readable, larger than `LARGEST_YAML_BYTES`, not YAML, a key given twice, a tag
            (`!!set`), nested deeper than `DEEPEST`, or of more than `MOST_YAML_VALUES` values, aliases
            written out. Without the file's name.
    """
    import yaml

    try:
        if path.stat().st_size > LARGEST_YAML_BYTES:
            raise InputError(f"cannot be read: larger than {LARGEST_YAML_BYTES // 2**20} MiB")
        text = path.read_text(encoding="utf-8")
        _check_events(yaml.parse(text, Loader=_yaml_loader()))
        content = yaml.load(text, Loader=_yaml_loader())
        _check_size(content, MOST_YAML_VALUES)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise InputError(f"cannot be read: {reason}") from None
    if not isinstance(content, dict):
        raise InputError("holds no keys")
    if not_text := [key for key in content if not isinstance(key, str)]:
        raise InputError(f"the key {not_text[0]!r} is not a name")
    return content


def _check_events(events: Iterable[Any]) -> None:
    """Raises ValueError: nested too deep, which would crash the parser's own recursion later, or a tag.

    Tags make other things than plain values, or name classes; nothing that is read here needs one.
    """
    import yaml

    depth = 0
    for event in events:
        if (tag := getattr(event, "tag", None)) is not None:
            raise ValueError(f"the tag {tag[:80]!r} at line {event.start_mark.line + 1} is not read here")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")


@cache
def _yaml_loader() -> Any:
    """PyYAML's loader of plain values that refuses a key given twice, reads `1e-3`, and knows no dates."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class PlainLoader(base):  # type: ignore[misc]
        def flatten_mapping(self, node: Any) -> None:
            """What every mapping passes through, once before its merge keys are written out."""
            checked = self.__dict__.setdefault("checked", set())
            if id(node) not in checked:
                checked.add(id(node))
                seen = set()
                for key, _ in node.value:
                    if (key.tag, str(key.value)) in seen:
                        raise yaml.constructor.ConstructorError(
                            None, None, f"the key {key.value!r} is given twice", key.start_mark
                        )
                    seen.add((key.tag, str(key.value)))
            super().flatten_mapping(node)

    number = re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    )
    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith((":timestamp", ":float"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    PlainLoader.yaml_implicit_resolvers = resolvers
    PlainLoader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789."))
    return PlainLoader


def read_table(path: Path, *, text_columns: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV, compressed with gzip or not, each number as it was written.

    Args:
        text_columns: whose cells are no numbers even where they look so.

    Raises:
        InputError: it is no CSV in UTF-8, a row is longer or shorter than the first, or it is larger than
            `LARGEST_TABLE_BYTES`.
    """
    import pandas as pd

    try:
        text = _table_text(path)
        n_columns = 0
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
            n_columns = len(cells) if number == 1 else n_columns
            if cells and len(cells) != n_columns:
                raise ValueError(f"row {number} has {len(cells)} cells, the first {n_columns}")
        return pd.read_csv(io.StringIO(text), dtype=dict.fromkeys(text_columns, str))
    except (OSError, ValueError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())})") from None


def _table_text(path: Path) -> str:
    return table_bytes(path, packed=path.suffix == ".gz").decode("utf-8")


def table_bytes(path: Path, *, packed: bool = False) -> bytes:
    """A table's file, unpacked where it begins as gzip does, or is `packed` whatever it begins with.

    Raises:
        ValueError: larger than `LARGEST_TABLE_BYTES`.
        OSError, EOFError, zlib.error: it cannot be read, or is not whole.
    """
    with open(path, "rb") as file:
        packed = packed or file.read(2) == GZIP
        file.seek(0)
        with gzip.open(file) if packed else file as content:
            unpacked = content.read(LARGEST_TABLE_BYTES + 1)
    if len(unpacked) > LARGEST_TABLE_BYTES:
        raise ValueError(f"larger than {LARGEST_TABLE_BYTES // 2**20} MiB")
    return unpacked


def table_rows(path: Path) -> tuple[str, str]:
    """The first line and the others of a table of bare numbers and names that has one row a line.

    Raises:
        InputError: not UTF-8; a quoted cell; a line of more or fewer cells than the first.
    """
    try:
        header, _, body = path.read_text(encoding="utf-8").partition("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a readable table (byte {error.start} is not UTF-8)") from None
    except OSError as error:
        raise InputError(f"{path}: not a readable table ({error.strerror})") from None
    n_commas = header.count(",")
    if '"' in header or '"' in body:
        raise InputError(f"{path}: not a readable table (it has quoted cells)")
    for number, line in enumerate(body.splitlines(), start=2):
        if line.count(",") != n_commas:
            cells = f"{line.count(',') + 1} cells, the first line {n_commas + 1}"
            raise InputError(f"{path}: not a readable table (line {number} has {cells})")
    return header, body


def check_number_columns(path: Path, table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raises InputError unless the columns hold numbers, or nothing."""
    import numpy as np
    import pandas as pd

    for column in columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(f"{path}: column {column!r} holds something other than numbers")
        if np.isinf(table[column]).any():
            raise InputError(f"{path}: column {column!r} has an infinite number")

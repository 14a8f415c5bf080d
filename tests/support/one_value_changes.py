"""One change to one value of a file: what a damaged or hostile file looks like to whoever reads it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

HERE = "@@here@@"
RAW = ("NaN", "Infinity", "1e999", "9" * 5000, "[" * 100_000, "[" * 900 + "]" * 900, '"\\ud800"', "nul", "")
"""Put into the text as they are: no JSON, or more of it than anybody can read."""
VALUES = (
    *(None, True, False, "", "x", "nan", "<script>", "../../x", "\u202e", [], {}, [1], ["x"], {"a": 1}, [[]]),
    *(0, 1, -1, 0.5, -0.5, 2, 1e308, -1e308, 1e-308, 1e20, 2**31, 2**63, 10**30, -(10**30)),
)


def one_change(content: Any, random: random.Random) -> tuple[str, str]:
    """The JSON text of `content` with one change, and what was changed, in words."""
    changed = copy.deepcopy(content)
    holder, key = random.choice(list(_places(changed)))
    place = f"{key!r} of {str(holder)[:40]}"
    kind = random.choice(("value",) * 8 + ("raw",) * 2 + ("missing", "twice"))
    if kind == "value":
        holder[key] = copy.copy(random.choice(VALUES))
        return json.dumps(changed), f"{place}: {holder[key]!r}"
    if kind == "raw":
        raw, holder[key] = random.choice(RAW), HERE
        return json.dumps(changed).replace(f'"{HERE}"', raw), f"{place}: {raw[:20]}"
    if kind == "missing" or isinstance(holder, list):
        del holder[key]
        return json.dumps(changed), f"{place}: missing"
    value, holder[key] = holder[key], HERE
    twice = f'{json.dumps(value)}, {json.dumps(key)}: "x"'
    return json.dumps(changed).replace(f'"{HERE}"', twice), f"{place}: twice"


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every value, as the list or mapping that holds it and its key there."""
    if isinstance(content, dict):
        keys: list[Any] = list(content)
    elif isinstance(content, list):
        keys = list(range(len(content)))
    else:
        return
    for key in keys:
        yield content, key
        yield from _places(content[key])


CELLS = (
    "",
    "nan",
    "inf",
    "-inf",
    "x",
    "-1",
    "0",
    "1e308",
    "-1e308",
    "1e999",
    '"',
    '"a\nb"',
    "1,2",
    "\x00",
    "é",
)


def one_cell(text: str, random: random.Random) -> tuple[bytes, str]:
    """A CSV with one cell changed, and what was changed; now and then a byte that is not UTF-8."""
    lines = text.splitlines()
    number = random.randrange(len(lines))
    cells = lines[number].split(",")
    column = random.randrange(len(cells))
    if random.random() < 0.1:
        changed = [*lines[:number], "\0".join(lines[number : number + 1]), *lines[number + 1 :]]
        return "\n".join(changed).encode()[:-3] + b"\xff\n", "a byte that is not UTF-8"
    cells[column] = random.choice(CELLS)
    lines[number] = ",".join(cells)
    return ("\n".join(lines) + "\n").encode(), f"line {number + 1}, cell {column + 1}: {cells[column]!r}"

"""The readers of files: what is refused, in one line that names the place."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scaling_laws.study.artefacts import parse_json, read_json, read_table, read_yaml, table_rows, typed
from scaling_laws.study.bounds import (
    Layers,
    NotNegative,
    PositiveNumber,
    Seed,
    ShareBelowOne,
    Tokens,
    check_bounds,
)
from scaling_laws.study.errors import InputError

LAUGHS = "\n".join(
    [
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]",
        *(f"{n}: &{n} [{', '.join(['*' + before] * 9)}]" for before, n in zip("abcde", "bcdef", strict=True)),
    ]
)


def file(tmp_path: Path, content: str | bytes, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def one_line(error: InputError) -> str:
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ('{"a": ' * 900 + "1" + "}" * 900, "nested more than 64 deep"),
        ('{"a": [1, {"b": ' + "9" * 50 + "}]}", r"a\[1\].b is an integer of more than 64 bits"),
        ('{"b": ' + "[" * 900 + "]" * 900 + ', "a": ' + "9" * 50 + "}", "integer of more than 64 bits"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"a": 1e999}', "1e999 is too large a number"),
        ('{"a": "\\ud800"}', "half of a sign"),
        (b'{"a": "\xff"}', "utf-8"),
        ("{", "Expecting"),
        ("", "Expecting"),
        ("[]", "no JSON object"),
    ],
)
def test_json_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = file(tmp_path, content)
    with pytest.raises(InputError, match=says) as raised:
        read_json(path, kind="record", remedy="delete it")
    assert one_line(raised.value).startswith(f"{path}: not a readable record (")
    assert one_line(raised.value).endswith("; delete it")


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    content = {"a": [1, -0.1, 1e-300, None, True, "ü", "\U0001f600"], "b": {"c": 2**63 - 1}}
    assert read_json(file(tmp_path, json.dumps(content)), kind="", remedy="") == content
    assert parse_json(json.dumps(content, ensure_ascii=False).encode()) == content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("n_ctx: 64\nn_ctx: 128", "the key 'n_ctx' is given twice at line 2"),
        ("model: {a: 1, a: 1}", "the key 'a' is given twice"),
        ("[" * 1_000_000, "nested more than 64 deep"),
        ("a: " + "{b: " * 900 + "}" * 900, "nested more than 64 deep"),
        ("a: &a [*a]", "nested more than 64 deep"),
        (LAUGHS, "more than 100,000 values"),
        ("a: " + "9" * 400, "a is an integer of more than 64 bits"),
        ("a: " + "9" * 5000, "digits"),
        ("a: !!python/object/apply:os.system [ls]", "python/object"),
        ("a: !!bool maybe", "the tag 'tag:yaml.org,2002:bool' at line 1"),
        ("a: 1\nb: !!timestamp soon", "timestamp' at line 2"),
        ("a: !!set {b}", "the tag 'tag:yaml.org,2002:set'"),
        (b"a: \xff", "utf-8"),
        ("- 1", "holds no keys"),
        ("1: 2", "the key 1 is not a name"),
    ],
)
def test_yaml_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        read_yaml(file(tmp_path, content))
    assert len(one_line(raised.value)) < 400


def test_yaml_is_read_as_the_command_line_reads_it(tmp_path: Path) -> None:
    text = "a: 1e-3\nb: 1E5\nc: .5\nd: 5.\ne: 2020-01-01\nf: 0x10\ng: yes\nh: &x {i: 1}\nj: {<<: *x, i: 2}"
    assert read_yaml(file(tmp_path, text)) == {
        **{"a": 1e-3, "b": 1e5, "c": 0.5, "d": 5.0, "e": "2020-01-01", "f": 16, "g": True},
        **{"h": {"i": 1}, "j": {"i": 2}},
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,\xff\n", "byte 6 is not UTF-8"),
        ("a,b\n1,2\n1,2,3,4\n", "line 3 has 4 cells, the first line 2"),
        ('a,b\n1,"2\n3"\n', "quoted cells"),
    ],
)
def test_a_ragged_table_is_one_line(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = file(tmp_path, content)
    with pytest.raises(InputError, match=says) as raised:
        table_rows(path)
    assert str(path) in one_line(raised.value)


def test_a_packed_table_that_is_cut_off_or_ragged_is_one_line(tmp_path: Path) -> None:
    packed = gzip.compress(b"a,b\n1,2\n3,4,5\n")
    for content in (packed, packed[:20], b"a,b\n"):
        with pytest.raises(InputError, match="not a readable table"):
            read_table(file(tmp_path, content, "table.csv.gz"))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Fields of several kinds."""

    rate: PositiveNumber = 1.0
    decay: NotNegative | None = None
    beta: ShareBelowOne = 0.9
    seeds: tuple[Seed, ...] = (1,)
    tokens: Tokens = 1
    layers: Layers = 1
    free: float = 0.0
    others: Any = None

    def __post_init__(self) -> None:
        check_bounds(self)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rate": float("nan")}, "rate is nan; it must be a finite number"),
        ({"rate": float("inf")}, "rate is inf; it must be a finite number"),
        ({"rate": 0.0}, "rate is 0.0; it must be positive"),
        ({"rate": "x"}, "rate is 'x'; it must be a number"),
        ({"rate": None}, "rate is None; it must be a number"),
        ({"decay": -0.1}, "decay is -0.1; it must be 0 or more"),
        ({"beta": 1.0}, r"beta is 1.0; it must lie in \[0, 1\)"),
        ({"seeds": (1, -1)}, "seeds is -1; it must be 0 or more"),
        ({"seeds": (2**32,)}, "seeds is 4294967296; it must be less than"),
        ({"seeds": (10**23,)}, "seeds is an integer of more than 64 bits"),
        ({"tokens": 10**19}, "tokens is an integer of more than 64 bits"),
        ({"tokens": 2 * 10**18}, "tokens is 2000000000000000000; it must be at most"),
        ({"layers": 0.5}, "layers is 0.5; it must be a whole number"),
        ({"layers": 10**9}, "layers is 1000000000; it must be at most 10000"),
        ({"free": 1e200}, "free is 1e.200; nothing here is larger"),
        ({"others": {"a": [1, {"b": float("nan")}]}}, "others.a.b is nan"),
    ],
)
def test_a_number_outside_its_bounds_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**changes)


def test_types_name_file_and_field() -> None:
    assert typed({"rate": 2, "more": 1}, Settings, "f.json") == Settings(rate=2.0)
    with pytest.raises(InputError, match=r"^f.json: seeds\[1\]: Expected `int`, got `str`; delete it$"):
        typed({"seeds": [1, "x"]}, Settings, "f.json", remedy="delete it")
    with pytest.raises(InputError, match=r"^f.json: runs\[0\]: rate is -1.0; it must be positive$"):
        typed([{"rate": -1.0}], list[Settings], "f.json", "runs")

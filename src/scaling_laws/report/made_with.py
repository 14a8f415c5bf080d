"""What the runs and the fits of a study were made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scaling_laws.laws.results.types import Laws
from scaling_laws.study.runs import Study


def manifest(study: Study, laws: Laws) -> Iterator[tuple[str, str]]:
    """Keys and values as text: conventions, forms, settings and input of the fits; versions of the runs."""
    plain = laws.to_json()
    yield "schema of laws.json", str(laws.schema)
    yield from _flat("conventions", plain["conventions"])
    yield from _flat("fits", plain["manifest"])
    for name in ("git_revision", "host", "schedule", "corpus", "versions"):
        values = sorted({_line(getattr(record, name)) for record in study.records})
        if values:
            yield f"runs: {name.replace('_', ' ')}", "; ".join(values)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}: {key}", inner)
    else:
        yield prefix, _line(value)


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_line(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_line(inner) for inner in value)
    return str(value)

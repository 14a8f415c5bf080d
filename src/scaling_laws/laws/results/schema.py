"""The JSON schema of `laws.json`, made from its types: `python -m scaling_laws.laws.results.schema`."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

from scaling_laws.laws.results.types import KEYS, OPTIONAL, Laws, family_keys

WHERE = "#/$defs/{name}"


def laws_schema() -> dict[str, Any]:
    """Every key of the file is required; so are the fields of its entries, but for `OPTIONAL`."""
    import msgspec

    hints = get_type_hints(Laws)
    del hints["by_family"]
    kinds = [kind for kind, _ in family_keys().values()]
    schemas, definitions = msgspec.json.schema_components([*hints.values(), *kinds], ref_template=WHERE)
    for definition in definitions.values():
        if definition.get("type") == "object" and "properties" in definition:
            definition["required"] = [name for name in definition["properties"] if name not in OPTIONAL]
    properties = {KEYS.get(name, name): schema for name, schema in zip(hints, schemas, strict=False)}
    family = {"type": "object", "properties": {"family": {"type": "string"}}, "required": ["family"]}
    for key, schema in zip(family_keys(), schemas[len(hints) :], strict=True):
        properties[key] = {"type": "array", "items": {"allOf": [family, schema]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "laws.json",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in OPTIONAL],
        "$defs": definitions,
    }


def schema_text() -> str:
    """The content of docs/laws.schema.json."""
    return json.dumps(laws_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")

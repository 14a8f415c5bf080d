"""Around on_a_gpu.sh: the wheels that it wants, the imports that work, and the tables of the documents.

    python benchmarks/on_a_gpu.py needs             NAME==VERSION of all that the script needs but torch
    python benchmarks/on_a_gpu.py check             every import on this machine: its version, or its error
    python benchmarks/on_a_gpu.py tables [FOLDER]   results/bench/gpu -> docs/performance.md, scaling-up.md

`tables` imports what measured; `needs` and `check` want nothing but Python (and packaging, for `needs`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "results/bench/gpu"
TESTS_NEED = ("pytest", "pytest-xdist", "hypothesis")
IMPORTS = {"PyYAML": "yaml", "pillow": "PIL", "pytest-xdist": "xdist"}
"""Distribution -> module, where dashes and underscores do not tell."""
TARGET_PYTHON = {"python_version": "3.12", "python_full_version": "3.12.0", "extra": ""}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("needs", "check", "tables"))
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="default: results/bench/gpu")
    options = parser.parse_args()
    if options.what == "needs":
        print("\n".join(sorted(_needs())))
    elif options.what == "check":
        print("\n".join(_check()))
    else:
        for file in (ROOT / "docs/performance.md", ROOT / "docs/scaling-up.md"):
            filled = fill(file.read_text(encoding="utf-8"), options.folder)
            file.write_text(filled, encoding="utf-8")


def _direct() -> list[str]:
    """Requirements of the project and of its tests on a GPU."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *TESTS_NEED]


def _needs() -> Iterator[str]:
    """The requirements and what they require, as it is installed here; torch and what it requires aside."""
    from packaging.requirements import Requirement

    seen = {"torch"}
    open_ends = [Requirement(text) for text in _direct()]
    while open_ends:
        asked = open_ends.pop()
        name = asked.name.lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        found = distribution(name)
        yield f"{name}=={found.version}"
        wanted = [TARGET_PYTHON | {"extra": extra} for extra in ("", *asked.extras)]
        for further in map(Requirement, found.requires or ()):
            if further.marker is None or any(further.marker.evaluate(each) for each in wanted):
                open_ends.append(further)


def _check() -> Iterator[str]:
    """A line a requirement."""
    for text in _direct():
        name = re.split(r"[\[<>=~! ]", text)[0]
        try:
            importlib.import_module(IMPORTS.get(name, name.replace("-", "_")))
            yield f"{name} {distribution(name).version}"
        except (ImportError, PackageNotFoundError, OSError) as error:
            yield f"{name}: MISSING ({str(error)[:200]})"


# --- tables ---------------------------------------------------------------------------------------


def fill(text: str, folder: Path) -> str:
    """A document with the tables between its marks `<!-- gpu: NAME -->` and `<!-- gpu: end -->` made anew.

    A part without a file in the folder keeps what it says.
    """

    def filled(found: re.Match[str]) -> str:
        content = _json(folder, found["name"])
        if content is None:
            return found[0]
        return f"<!-- gpu: {found['name']} -->\n{_tables()[found['name']](content)}<!-- gpu: end -->"

    return re.sub(r"<!-- gpu: (?P<name>\w+) -->\n.*?<!-- gpu: end -->", filled, text, flags=re.DOTALL)


def _json(folder: Path, name: str) -> Mapping[str, Any] | None:
    path = folder / f"{name}.json"
    content: Mapping[str, Any] | None = None
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    return content


def _tables() -> dict[str, Callable[[Mapping[str, Any]], str]]:
    import gpu
    import precision
    import stacked

    return {
        "alone": gpu.alone_table,
        "sharing": gpu.sharing_table,
        "precision": precision.table,
        "stacked": stacked.table,
    }


if __name__ == "__main__":
    main()

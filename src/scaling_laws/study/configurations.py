"""Where a configuration is found: as it is given, in the working folder's configs/, or in the package's.

The wheel holds configs/ and examples/ of the repository in `scaling_laws/shipped/`; in a clone they are the
repository's own. What is written goes to the working folder, whichever was found.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from scaling_laws.study.errors import InputError

_PACKAGE = Path(__file__).parents[1]
SHIPPED = folder if (folder := _PACKAGE / "shipped").is_dir() else _PACKAGE.parents[1]
"""Holds the package's `configs/` and `examples/`."""
CONFIGS = Path("configs")
"""In the working folder, and in `SHIPPED`."""


def find_config(given: Path | str, *folders: str) -> Path:
    """The file that a path or a name means.

    Args:
        given: `quick`, `quick.yaml`, `sweeps/quick`, `configs/sweeps/quick.yaml` or any file of one's own.
        folders: of `configs/`, in which a bare name is looked for, as `"sweeps"`.

    Returns:
        `given` itself where there is no such file: whoever reads it says so, with `missing_hint`.
    """
    path = Path(given)
    if path.is_file() or path.is_absolute():
        return path
    inside = path.relative_to(CONFIGS) if path.parts[:1] == CONFIGS.parts else path
    places = [inside, *(Path(folder, inside) for folder in folders)]
    if not inside.suffix:
        places = [place.with_name(f"{place.name}.yaml") for place in places if place.name]
    for root in (CONFIGS, SHIPPED / CONFIGS):
        for place in places:
            if (root / place).is_file():
                return root / place
    return path


def missing_hint(given: Path | str, *folders: str) -> str:
    """What follows an error about a configuration that is not there; empty where it is."""
    if find_config(given, *folders).exists():
        return ""
    names = [name for name in config_files() if not folders or name.split("/")[0] in folders]
    wanted = Path(given).stem
    close = difflib.get_close_matches(wanted, [Path(name).stem for name in names], n=1)
    meant = next((name for name in names if close and Path(name).stem == close[0]), None)
    return f"; {f'did you mean {meant}? ' if meant else ''}`scaling-laws config` lists what there is"


def config_files() -> dict[str, Path]:
    """Every configuration by its name, `sweeps/quick` (scripts with their ending), sorted.

    Those of the working folder stand before those of the package of the same name.
    """
    found: dict[str, Path] = {}
    for root in (CONFIGS, SHIPPED / CONFIGS):
        for path in sorted(root.glob("*/*")):
            if path.suffix in (".yaml", ".sh"):
                name = path.relative_to(root)
                found.setdefault((name.with_suffix("") if path.suffix == ".yaml" else name).as_posix(), path)
    return dict(sorted(found.items()))


def config_called(name: str) -> Path:
    """The one configuration of a name, whatever its folder.

    Raises:
        InputError: there is none, or there are several.
    """
    known = config_files()
    found = {full: path for full, path in known.items() if name in _names(full, path)}
    if not found:
        raise InputError(f"{name}: there is no such configuration{missing_hint(name)}")
    if len(found) > 1:
        raise InputError(f"{name}: there are {' and '.join(found)}; give one of these names")
    return next(iter(found.values()))


def _names(full: str, path: Path) -> Iterator[str]:
    """What a configuration may be called: `sweeps/quick`, `quick`, with `.yaml`, with `configs/`."""
    folder = full.split("/")[0]
    for name in (path.stem if path.suffix == ".yaml" else path.name, path.name):
        yield from (name, f"{folder}/{name}", f"{CONFIGS}/{folder}/{name}")

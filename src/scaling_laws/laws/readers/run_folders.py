"""Folders that other programs logged their runs into: what the readers of such folders share.

Each run is points along its training and settings. N and D stand among the points or the settings, in the
run's name (`n=1.2e6_d=1e8`, `gpt-125m`), or in a table `sizes.csv` in the folder, a row per run.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.cells import counted
from scaling_laws.laws.readers.table_files import read_cells
from scaling_laws.laws.usual_names import usual_column
from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SIZES = "sizes.csv"
"""A table beside the runs: the column run, and N, D or whatever else nobody logged."""
DEEPEST_FOLDER = 5
"""Folders below the one that was named, in which runs are looked for."""
NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
NAMED_COUNT = re.compile(
    rf"(?<![A-Za-z0-9])(?P<name>[A-Za-z][A-Za-z_]*?)[=:](?P<count>{NUMBER}\s*[kmbgt]?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""`n=1.2e6`, `D=20B`."""
BARE_COUNT = re.compile(
    r"(?<![A-Za-z0-9.=:])(?P<count>[0-9]+(?:\.[0-9]+)?[mb])"
    r"(?P<tokens>[-_ ]?(?:tok|toks|tokens))?(?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""`125m`, `1.3B`; followed by `tokens` it is a D."""
NAMES_IN_NAMES = {
    "N": ("n", "params", "parameters", "size", "nparams", "n_params"),
    "D": ("d", "tokens", "ntokens", "n_tokens", "data"),
}
SHOWN_NAMES = 6


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """One run as it was logged.

    Attributes:
        name: its folder, relative to the one that was named.
        points: tag -> step -> value.
        settings: by name, what holds for all of it.
    """

    name: str
    points: Mapping[str, Mapping[int, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def folders_with(root: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[Path, list[str]]]:
    """Folders at or below `root` that hold files of wanted names, with these names, in order of their path.

    Hidden folders are passed over, and no link is followed.
    """
    for folder, folders, files in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        folders[:] = [] if depth == DEEPEST_FOLDER else sorted(f for f in folders if not f.startswith("."))
        if found := sorted(name for name in files if wanted(name)):
            yield Path(folder), found


def has_folder_with(root: Path, wanted: Callable[[str], bool]) -> bool:
    """Whether `folders_with` finds one."""
    return root.is_dir() and next(folders_with(root, wanted), None) is not None


def run_name(root: Path, folder: Path) -> str:
    """The folder relative to `root`; of `root` itself its own name."""
    relative = folder.relative_to(root).as_posix()
    return root.resolve().name if relative == "." else relative


def settings_file(path: Path) -> dict[str, Any]:
    """The settings of a YAML file such as Lightning's `hparams.yaml`, laid out flat: `model.n_layer`.

    Empty where there is no file, or one that holds objects of Python's: these are not made.
    """
    try:
        return dict(flat(read_yaml(path))) if path.is_file() else {}
    except InputError:
        return {}


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as `outer.inner`; lists are passed over."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list | tuple):
            yield f"{prefix}{key}", value


def along_table(root: Path, runs: Iterable[LoggedRun], missing: Mapping[str, str]) -> pd.DataFrame:
    """The runs as a table of points along them, as `Reader.read` describes it.

    Args:
        root: the folder that was named.
        missing: what a user of this format can do where nothing says N, D or the loss.

    Raises:
        InputError: `sizes.csv` is no table with a column run.
    """
    import pandas as pd

    parts: list[pd.DataFrame] = []
    names: list[str] = []
    from_names: dict[str, str] = {}
    for run in runs:
        names.append(run.name)
        points = pd.DataFrame(
            {tag: pd.Series(_told_apart(values), dtype=object) for tag, values in run.points.items()}
        ).sort_index()
        if points.empty:
            points = pd.DataFrame(index=[0])
        settings = {name: value for name, value in run.settings.items() if name not in points}
        for role, value in counts_in(run.name).items():
            if usual_column([*points, *settings], role) is None:
                settings[role] = value
                from_names.setdefault(role, f"{run.name} has {role} {value:.4g}")
        points.insert(0, "step", points.pop("step") if "step" in points else points.index)
        part = pd.concat(
            [points, pd.DataFrame(settings, index=points.index, dtype=object)], axis=1
        )  # at once: a column at a time is slow
        part.insert(0, "run", run.name)
        part.index = pd.Index([f"{run.name}, step {step}" for step in points.index])
        parts.append(part.loc[:, ~part.columns.duplicated()])
    table = pd.concat(parts) if parts else pd.DataFrame(columns=["run", "step"])
    table = _with_sizes(root, table)
    shown = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
    beside = f"or in {root / SIZES} with the columns run,{{role}} (run: {shown})"
    said = f"{' and '.join(from_names)} as the runs' names say: {'; '.join(from_names.values())}."
    table.attrs = {
        "notes": (said,) if from_names else (),
        "along": True,
        "usual_names": True,
        "missing": {
            "N": f"{missing['N']}, in the runs' names (n=1.2e6, 125m), {beside.format(role='N')}",
            "D": f"{missing['D']}, in the runs' names (d=1e8), {beside.format(role='D')}",
            "loss": missing["loss"],
        },
    }
    return table


def counts_in(name: str) -> dict[str, float]:
    """N and D that a run's name gives: `n=1.2e6_d=1e8`, or one size as `125m` (its unit is needed)."""
    found: dict[str, float] = {}
    for match in NAMED_COUNT.finditer(name):
        for role, names in NAMES_IN_NAMES.items():
            if match["name"].lower() in names:
                found.setdefault(role, _count(match["count"]))
    bare: dict[str, set[float]] = {"N": set(), "D": set()}
    for match in BARE_COUNT.finditer(name):
        bare["D" if match["tokens"] else "N"].add(_count(match["count"]))
    for role, counts in bare.items():
        if len(counts) == 1:
            found.setdefault(role, counts.pop())
    return found


def _count(text: str) -> float:
    value = counted(text)
    assert value is not None  # the patterns allow nothing else
    return value


def _told_apart(values: Mapping[int, Any]) -> dict[int, Any]:
    """NaN and infinities as text: a value that was logged so is not one that is missing."""
    return {
        step: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for step, value in values.items()
    }


def _with_sizes(root: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the columns of `sizes.csv`, where there is one."""
    path = root / SIZES
    if not path.is_file():
        return table
    sizes = read_cells(path)
    if "run" not in sizes:
        raise InputError(f"{path}: no column 'run'; it has {', '.join(map(str, sizes.columns))}")
    if len(twice := sizes["run"][sizes["run"].duplicated()]):
        raise InputError(f"{path}, row {twice.index[0]}: a second row of the run {twice.iloc[0]!r}")
    known = sizes.set_index("run")
    if unknown := sorted(set(known.index) - set(table["run"])):
        runs = ", ".join(sorted(set(table["run"]))[:SHOWN_NAMES])
        raise InputError(f"{path}: there is no run {unknown[0]!r}; the runs are {runs}")
    for column in known:
        table[column] = table["run"].map(known[column])
    return table

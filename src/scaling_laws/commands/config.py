"""`scaling-laws config`: the configurations that there are, and a copy of one of them to edit."""

from __future__ import annotations

import argparse
import sys
import textwrap
from itertools import groupby
from pathlib import Path

from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.configurations import config_called, config_files
from scaling_laws.study.errors import InputError

USED_BY = {
    "sweeps": "scaling-laws study NAME, scaling-laws sweep NAME",
    "papers": "scaling-laws paper NAME",
    "scales": "--scale NAME",
    "data": "scaling-laws data build NAME, corpus: in a sweep",
    "train": "scaling-laws fit --config NAME",
    "trainer": "a second --config NAME of fit, overlays: in a sweep",
    "cluster": "cluster: in a sweep; scripts",
}
WIDTH = 110


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """What `config` takes."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="print this one (> mine.yaml); without a name, all are listed"
    )


def config(options: argparse.Namespace) -> None:
    """List the configurations, or print one as it is.

    Raises:
        InputError: there is none of this name, or there are several.
    """
    if options.name is None:
        print(_list())
        return
    sys.stdout.write(config_called(options.name).read_text(encoding="utf-8"))


def _list() -> str:
    lines = []
    for folder, group in groupby(config_files().items(), lambda item: item[0].split("/")[0]):
        lines += [f"{folder}/   {USED_BY.get(folder, '')}".rstrip()]
        for name, path in group:
            label = f"  {name.removeprefix(f'{folder}/'):<18} "
            lines.append(label + textwrap.shorten(_about(path), WIDTH - len(label), placeholder=" ..."))
        lines.append("")
    return "\n".join([*lines, "A copy to edit: scaling-laws config sweeps/quick > mine.yaml"])


def _about(path: Path) -> str:
    """The question of a sweep, or the first comment."""
    if path.parent.name in ("sweeps", "papers"):
        try:
            if question := read_yaml(path).get("question"):
                return str(question)
        except InputError:
            return "cannot be read"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    comment = next((line for line in lines if line.startswith("#") and not line.startswith("#!")), "")
    return comment.lstrip("# ")

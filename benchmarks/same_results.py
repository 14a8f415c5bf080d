"""Whether two revisions of this project give the same results.

    python benchmarks/same_results.py BEFORE [AFTER] [--study FOLDER]

AFTER is this working tree unless it is named. Both read the same runs: results/{quick,cpu}/runs.csv of
BEFORE, a synthetic study of the paper that BEFORE's tests write, folders of finished studies. Compared are

    laws, text              laws.json with 40 resamples, and what `laws` prints
    figures, claims, page   data of every figure (taken from matplotlib), claims, and words, printed ones too:
                            of `report`, and of `paper` for each paper
    losses                  every loss of the tiny study, trained anew: curves and records

Only the command line is used, so modules may move freely. The exit status is 1 where something differs.
"""

from __future__ import annotations

import argparse
import csv
import html
import importlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STEPS = {"laws": ("laws", "text"), "report": ("figures", "claims", "page"), "study": ("losses",)}
"""Parts of the result, by the verb that gives them."""
PARTS = [part for parts in STEPS.values() for part in parts]
RUNS = ("quick.csv", "cpu.csv", "paper", "tiny")
PAPERS = ("kaplan2020", "hoffmann2022", "porian2024", "pearce_song2024")
CATCH = "SAME_RESULTS_CATCH"
"""Environment variable: where a process that saves figures leaves their data."""
WRITE_PAPER = """
import pathlib, sys
sys.path[:0] = [".", "tests"]
try:
    from tests.support.synthetic_paper import write_synthetic_paper
except ModuleNotFoundError:
    from synthetic_paper import write_synthetic_paper
write_synthetic_paper(pathlib.Path(sys.argv[1]))
"""
NOT_COPIED = shutil.ignore_patterns("checkpoints", "events.*", "figures", "claims.*", "report.*")
"""Of a study's folder: what is large and not read, and what `report` writes."""
IN_A_LINE = r"</?(?:t[dh]|a|b|i|em|strong|su[bp]|span|code|abbr)\b[^>]*>"


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A revision's files, and the folder of what they gave."""

    tree: Path
    outputs: Path

    def run(self, folder: Path, *arguments: str | Path, **env: str) -> list[str]:
        """Run Python on this code in `folder`; the lines that it printed."""
        command = [sys.executable, "-P", *arguments]
        env |= {"PYTHONPATH": str(self.tree / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True)
        failure = [*done.stderr.splitlines(), f"exit status {done.returncode}"] if done.returncode else []
        return done.stdout.splitlines() + failure


def main() -> None:
    if CATCH in os.environ:
        return importlib.import_module("scaling_laws.cli").main()
    options = _options()
    before, after = _revision(options.before), _revision(options.after)
    sources = _made(before.outputs / "sources", lambda folder: _write_sources(before, folder))
    n_differences = 0
    for source in [*(sources / name for name in options.runs), *(each.resolve() for each in options.study)]:
        steps = ("laws", "report") if source.is_dir() else ("laws",) if source.exists() else ("study",)
        for step in steps:
            if not (parts := [part for part in STEPS[step] if part in options.only]):
                continue
            old, new = (_result(revision, step, source) for revision in (before, after))
            for renamed in options.rename:
                old = json.loads(json.dumps(old, ensure_ascii=False).replace(*renamed.split("=", 1)))
            if step == "report":
                old["claims"], new["claims"] = _by_claim(old["claims"], new["claims"])
            for part in parts:
                found = [*_differences(part, old[part], new[part], options.tolerance)]
                found = [each for each in found if not re.search(options.ignore, each[0])]
                print(f"{source.name}, {part}: {len(found) or 'no'} differences", flush=True)
                for path, *values in found[: options.show]:
                    print("  {}\n    before {!s:.200}\n    after  {!s:.200}".format(path, *values))
                n_differences += len(found)
    sys.exit(1 if n_differences else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether two revisions give the same results.")
    add = parser.add_argument
    add("before", metavar="BEFORE", help="a revision")
    add("after", metavar="AFTER", nargs="?", help="another (default: this working tree)")
    add("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    add("--runs", nargs="*", choices=RUNS, default=RUNS, metavar="NAME", help=", ".join(RUNS))
    add("--study", nargs="+", type=Path, default=[], metavar="FOLDER", help="finished studies")
    add("--tolerance", type=float, default=0.0, help="relative, of numbers in JSON (default: 0)")
    add("--ignore", default="(?!)", metavar="REGEX", help="paths that are meant to differ")
    add("--show", type=int, default=5, metavar="N", help="differences to print of each part (default: 5)")
    add("--rename", nargs="+", default=[], metavar="OLD=NEW", help="a word in BEFORE's results, and AFTER's")
    return parser.parse_args()


def _revision(name: str | None) -> Revision:
    """A commit, or the working tree, whose results are made anew each time."""
    if name is None:
        shutil.rmtree(outputs := ROOT / "build/same_results/working_tree", ignore_errors=True)
        return Revision(tree=ROOT, outputs=outputs)
    commit = _shell(f"git rev-parse --verify {name}^{{commit}}")
    shared = Path(_shell("git rev-parse --path-format=absolute --git-common-dir")).parent  # by worktrees
    outputs = shared / "build/same_results" / commit[:12]
    unpack = f"mkdir {{0}} && git archive {commit} | tar --extract --directory {{0}}"
    return Revision(tree=_made(outputs / "tree", lambda tree: _shell(unpack.format(tree))), outputs=outputs)


def _write_sources(before: Revision, folder: Path) -> None:
    text = before.run(before.tree, "-c", WRITE_PAPER, folder / "paper")
    assert not text, "\n".join(text)
    for name in ("quick", "cpu"):
        shutil.copy(before.tree / f"results/{name}/runs.csv", folder / f"{name}.csv")


def _made(path: Path, make: Callable[[Path], object]) -> Path:
    """The folder or file, made unless it is there: whole, though another process may be making it, too."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
            new = Path(temporary) / path.name
            make(new)
            if not path.exists():
                new.rename(path)
    return path


def _shell(command: str) -> str:
    return subprocess.check_output(command, shell=True, cwd=ROOT, text=True).strip()


def _result(revision: Revision, step: str, source: Path) -> dict[str, Any]:
    """The parts that a step gives, by name."""

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary).resolve()  # a checkout as the commands see it, to be written to
            for entry in revision.tree.iterdir():
                if entry.name not in ("build", "data", "lightning_logs") and entry.name[0] != ".":
                    (folder / entry.name).symlink_to(entry)
            runs = f"lightning_logs/{source.name}" if source.is_dir() else source.name
            if source.is_dir():
                shutil.copytree(source, folder / runs, ignore=NOT_COPIED)
            elif source.exists():
                shutil.copy(source, folder)
            parts = {"laws": _laws, "report": _report, "study": _losses}[step](revision, folder, runs)
            path.write_text(json.dumps(parts, ensure_ascii=False).replace(f"{folder}/", ""), encoding="utf-8")

    files = sorted(source.glob("*/record.json")) if source.is_dir() else [source][: source.exists()]
    digest = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return _json(_made(revision.outputs / f"{source.name}-{digest[:8]}.{step}.json", make))


def _laws(revision: Revision, folder: Path, runs: str) -> dict[str, Any]:
    options = ("--bootstrap", "40", "-o", "same_results.json")
    text = revision.run(folder, "-m", "scaling_laws", "laws", runs, *options)
    return {"laws": _json(folder / "same_results.json"), "text": text}


def _report(revision: Revision, folder: Path, runs: str) -> dict[str, Any]:
    """Of `report`, and of `paper` for each paper where the revision has that verb: all together."""
    commands = {runs: ("report", runs)}
    if any(line.split()[:1] == ["paper"] for line in revision.run(folder, "-m", "scaling_laws", "--help")):
        commands |= {name: ("paper", name, "--runs", runs, "-o", name) for name in PAPERS}
    parts: dict[str, Any] = {"figures": {}, "claims": [], "page": []}
    caught = Path(tempfile.mkdtemp(dir=folder))
    for output, command in commands.items():
        parts["page"] += revision.run(folder, Path(__file__).resolve(), *command, **{CATCH: str(caught)})
        claims = _json(folder / output / "claims.json") or []
        parts["claims"] += claims["claims"] if isinstance(claims, dict) else claims
        for path in sorted((folder / output / "figures").glob("*.svg")):
            data = _json(caught / f"{sha256(path.read_bytes()).hexdigest()}.json")
            parts["figures"].setdefault(re.sub(r"^fig\d+_", "", path.stem), data)
        for path in sorted((folder / output).glob("*.html")):
            parts["page"] += _words(path.read_text(encoding="utf-8"))
    return parts


def _losses(revision: Revision, folder: Path, study: str) -> dict[str, Any]:
    text = revision.run(folder, "-m", "scaling_laws", "study", f"configs/sweeps/{study}.yaml")
    losses: dict[str, Any] = {}
    for record in sorted(folder.glob(f"lightning_logs/{study}/*/record.json")):
        rows = list(csv.DictReader((record.parent / "curve.csv").read_text(encoding="utf-8").splitlines()))
        curve = {name: [row[name] for row in rows] for name in rows[0] if "loss" in name}
        losses[record.parent.name] = curve | {"record": _json(record)["losses"]}
    assert losses, "\n".join(text)
    return {"losses": losses}


def _words(page: str) -> list[str]:
    """The words of a page, a line for a row of a table."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    lines = re.sub(r"<[^>]*>", "\n", re.sub(IN_A_LINE, " ", page.replace("\n", " "))).splitlines()
    return [" ".join(html.unescape(line).split()) for line in lines if line.strip()]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _catch_figures(folder: Path) -> None:
    """From now on each figure that is saved leaves its data in `<sha256 of the image>.json`."""
    from matplotlib.figure import Figure

    save = Figure.savefig

    def caught(figure: Figure, target: Any, *arguments: Any, **keywords: Any) -> None:
        save(figure, target, *arguments, **keywords)
        image = Path(target).read_bytes() if isinstance(target, str | Path) else target.getvalue()
        content = {"texts": _texts(figure.texts), "axes": [_axes_data(axes) for axes in figure.axes]}
        (folder / f"{sha256(image).hexdigest()}.json").write_text(json.dumps(content), encoding="utf-8")

    Figure.savefig = caught


def _axes_data(axes: Any) -> dict[str, Any]:
    from matplotlib.colors import to_hex

    xy = (axes.xaxis, axes.yaxis)
    return {
        "titles": [axes.get_title(place) for place in ("left", "center", "right")],
        "labels": [[axis.get_label_text(), axis.get_scale()] for axis in xy],
        "limits": [_numbers(axis.get_view_interval()) for axis in xy],
        "ticks": [_texts(tick.label1 for tick in axis.majorTicks) for axis in xy],
        "lines": [[to_hex(line.get_color()), _numbers(line.get_xydata())] for line in axes.lines],
        "colours": [_numbers(each.get_facecolor()) for each in axes.collections],
        "offsets": [_numbers(each.get_offsets()) for each in axes.collections],
        "paths": [[_numbers(path.vertices) for path in each.get_paths()] for each in axes.collections],
        "patches": [
            _numbers(p.get_patch_transform().transform_path(p.get_path()).vertices) for p in axes.patches
        ],
        "texts": _texts(axes.texts),
        "legend": _texts(axes.get_legend().get_texts()) if axes.get_legend() else [],
    }


def _texts(texts: Iterable[Any]) -> list[str]:
    return [text.get_text() for text in texts]


def _numbers(values: Any) -> Any:
    import numpy as np

    return np.ma.filled(np.ma.asarray(values, dtype=float), math.nan).tolist()


def _by_claim(*results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claims by their slugs where all have one, else by their words."""
    key = "slug" if all("slug" in claim for claims in results for claim in claims) else "claim"
    return [{claim[key]: claim for claim in claims} for claims in results]


def _differences(path: str, before: Any, after: Any, tolerance: float) -> Iterator[tuple[str, Any, Any]]:
    """Path and values where JSON differs; of what is printed, the lines that only one has, in any order."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before | after:
            values = before.get(key, "nothing"), after.get(key, "nothing")
            yield from _differences(f"{path}/{key}", *values, tolerance)
    elif path in ("text", "page"):
        lines = Counter(before) - Counter(after), Counter(after) - Counter(before)
        for pair in zip_longest(*(each.elements() for each in lines), fillvalue="nothing"):
            yield (path, *pair)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield path, f"{len(before)} entries", f"{len(after)} entries"
        for number, values in enumerate(zip(before, after, strict=False)):
            yield from _differences(f"{path}/{number}", *values, tolerance)
    elif isinstance(before, float) and isinstance(after, float):
        if not math.isclose(before, after, rel_tol=tolerance) and not (before != before and after != after):
            yield path, before, after
    elif before != after:
        yield path, before, after


if CATCH in os.environ:
    # One process draws all of them: others would import no script, and leave no data.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    _catch_figures(Path(os.environ[CATCH]))
if __name__ == "__main__":
    main()

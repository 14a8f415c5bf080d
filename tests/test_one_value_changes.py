"""Every file that the commands read, with one value changed: one line, no traceback, no NaN, nothing else.

120 cases here; `ALL` of them with the marker `systems`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import re
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
import yaml
from tests.support.one_value_changes import one_cell, one_change
from tests.support.shape_stub import StubTrainings, finished_search, shape_plan
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.cli import main
from scaling_laws.data.manifest import manifest_text
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.laws.results.study import fit_folder
from scaling_laws.report.figures.shape_search import shape_search
from scaling_laws.report.pictures import Picture, picture_of
from scaling_laws.report.shape_result import write_shape_result
from scaling_laws.study.runs import study_of_table
from scaling_laws.sweeps.search.result import shape_result

QUICK, ALL, PARTS, REPORTS = 120, 2000, 8, 6
SWEEP = """
study: study
question: What happens?
corpus: corpus.yaml
schedule: {warmup_steps: 10}
ladders:
  - family: transformer
    learning_rate: {at_1e5: 6.0e-3}
    models:
      - {shape: {n_layer: 1, d_model: 16, n_heads: 1}, horizons_tokens: [65536, 131072], seeds: [1, 2]}
      - {shape: {N: 3.0e4}, horizons_tokens: [65536]}
"""
CORPUS = """
name: bytes
source: text
paths: [text]
tokenizer: bytes
n_vocab: 256
val_share: 0.2
test_share: 0.2
"""
FITTED = ["--form", "kaplan_n", "--form", "chinchilla", "--bootstrap", "2", "-o", "out.json"]
LAWS, TABLE = ["laws", "logs/study", *FITTED], ["laws", "table.csv", *FITTED]
STATUS = ["sweep", "sweep.yaml", "--status", "--logs", "logs", "--data", "data"]
DRY_RUN = ["sweep", "sweep.yaml", "--dry-run", "--logs", "new", "--data", "data"]
SEARCH_STATUS = ["sweep", "shapes/shape.yaml", "--status", "--logs", "shapes/logs", "--data", "data"]
BUILD = ["data", "build", "corpus.yaml", "-o", "built"]
REPORT = ["report", "logs/study", "-o", "page"]
PLAN = ["plan", "--laws", "laws.json", "--compute", "1e18"]
LEDGER = """outcome,device_s,tokens,C
complete,60.0,1000000,1e15
failed,6.0,100000,1e14
"""
ATTEMPTS = [
    {"event": "start", "attempt": "a", "time_s": 1.7e9, "host": "here", "pid": 7, "split": 1}
    | {"start_records": 0, "start_step": 0},
    {"event": "end", "attempt": "a", "outcome": "failed", "reason": "it failed", "elapsed_s": 4.5}
    | {"saved_records": 0, "saved_step": 20, "end_records": 0, "end_step": 25},
    {"event": "retry", "time_s": 1.7e9},
    {"event": "start", "attempt": "b", "time_s": 1.7e9, "host": "here", "pid": 8, "split": 2}
    | {"start_records": 0, "start_step": 20},
]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file, how one value of it is changed, and the commands that read it.

    Attributes:
        weight: its share of the cases.
    """

    path: str
    commands: tuple[list[str], ...]
    change: Callable[[bytes, random.Random], tuple[bytes, str]]
    weight: int = 1


def _json(content: bytes, random: random.Random) -> tuple[bytes, str]:
    text, what = one_change(json.loads(content), random)
    return text.encode(errors="surrogatepass"), what


def _record(content: bytes, random: random.Random) -> tuple[bytes, str]:
    plain = json.loads(content)
    del plain["checksum"], plain["files"]  # as an old version, or a stranger, would write it
    return _json(json.dumps(plain).encode(), random)


def _lines(content: bytes, random: random.Random) -> tuple[bytes, str]:
    lines = content.splitlines()
    number = random.randrange(len(lines))
    lines[number], what = _json(lines[number], random)
    return b"\n".join(lines) + b"\n", f"line {number + 1}: {what}"


def _manifest(content: bytes, random: random.Random) -> tuple[bytes, str]:
    """Most of them with the hash that belongs to it."""
    plain = json.loads(content)
    text, what = _json(content, random)
    if random.random() < 0.7:
        del plain["manifest_sha256"]
        text, what = _json(json.dumps(plain).encode(), random)
        with contextlib.suppress(ValueError, RecursionError, TypeError, AttributeError):
            text = manifest_text(json.loads(text)).encode()
    return text, what


def _cells(content: bytes, random: random.Random) -> tuple[bytes, str]:
    return one_cell(content.decode(), random)


def _packed_cells(content: bytes, random: random.Random) -> tuple[bytes, str]:
    if random.random() < 0.2:
        return content[: random.randrange(len(content))], "cut off"
    text, what = one_cell(gzip.decompress(content).decode(), random)
    return gzip.compress(text), what


def _yaml(content: bytes, random: random.Random) -> tuple[bytes, str]:
    """YAML reads JSON."""
    text, what = one_change(yaml.safe_load(content), random)
    text = text.replace("NaN", ".nan").replace("Infinity", ".inf")
    return text.encode(errors="surrogatepass"), what


ARTEFACTS = (
    Artefact(path="logs/study/{run}/record.json", change=_record, commands=(LAWS,), weight=5),
    Artefact(path="logs/study/{run}/curve.csv", change=_cells, commands=(["curves"],), weight=2),
    Artefact(path="logs/study/{run}/position_losses.csv", change=_cells, commands=(["curves"],)),
    Artefact(path="logs/study/plan.json", change=_json, commands=(STATUS, LAWS), weight=2),
    Artefact(path="logs/study/study.json", change=_json, commands=(LAWS,)),
    Artefact(path="logs/study/{run}/attempts.jsonl", change=_lines, commands=(STATUS,), weight=4),
    Artefact(path="laws.json", change=_json, commands=(PLAN,), weight=3),
    Artefact(
        path="prediction.json",
        change=_json,
        commands=(
            ["plan", "--score", "prediction.json", "--loss", "3.1"],
            ["plan", "--score", "prediction.json", "--loss", "3.1", "--n", "2e5", "--d", "3e6"],
        ),
        weight=4,
    ),
    Artefact(
        path="data/bytes/manifest.json",
        change=_manifest,
        commands=(["data", "show", "data/bytes"],),
        weight=4,
    ),
    Artefact(path="export/runs.csv", change=_cells, commands=(["curves", "export"],)),
    Artefact(path="export/curves.csv.gz", change=_packed_cells, commands=(["curves", "export"],)),
    Artefact(path="export/laws.json", change=_json, commands=(["curves", "export"],)),
    Artefact(path="sweep.yaml", change=_yaml, commands=(DRY_RUN,), weight=4),
    Artefact(path="corpus.yaml", change=_yaml, commands=(DRY_RUN, BUILD), weight=2),
    Artefact(path="data/throughput.json", change=_json, commands=(DRY_RUN,)),
    Artefact(path="logs/study/*/failure.json", change=_json, commands=(LAWS, STATUS)),
    Artefact(path="shapes/logs/shapes/*/trial.json", change=_json, commands=(SEARCH_STATUS,), weight=2),
    Artefact(path="shapes/logs/shapes/shape.json", change=_json, commands=(["shape"],)),
    Artefact(path="table.csv", change=_cells, commands=(TABLE,), weight=2),
)
REPORTED = (
    *(artefact for artefact in ARTEFACTS if artefact.path.startswith("logs/study/")),
    Artefact(path="logs/study/shape.json", change=_json, commands=()),
    Artefact(path="logs/study/ledger.csv", change=_cells, commands=()),
)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, byte_corpus: TokenCorpus, text_folder: Path
) -> Iterator[Path]:
    """A working directory with one of each artefact; beside it a folder that nobody may touch."""
    base = tmp_path_factory.mktemp("changes")
    (base / "outside").mkdir()
    (base / "outside" / "mine.txt").write_text("mine")
    work = base / "work"
    (work / "text").mkdir(parents=True)
    for number in range(20):
        (work / "text" / f"{number}.txt").write_text(f"text number {number}\n" * 20)
    (work / "sweep.yaml").write_text(SWEEP)
    (work / "corpus.yaml").write_text(CORPUS)
    write_synthetic_study(
        work / "logs/study", families=("transformer",), max_sizes=4, horizons=(1e6, 2e6, 4e6), diverged=1
    )
    shutil.copytree(byte_corpus.folder, work / "data/bytes")
    (work / "table.csv").write_text(
        "run,N,D,loss\n"
        + "".join(
            f"r{N:g}-{D:g},{N:g},{D:g},{1.5 + 9 / N**0.2 + 60 / D**0.3}\n"
            for N in (1e5, 3e5, 1e6, 3e6)
            for D in (1e7, 3e7, 1e8)
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        patch.setattr("scaling_laws.sweeps.plan.timings._timed", _a_second_each)
        main(DRY_RUN)
        _write_search(work / "shapes", text_folder)
        main(["laws", "logs/study", "--bootstrap", "3", "-o", "laws.json"])
        main([*PLAN, "--freeze", "prediction.json"])
        _write_export(work)
        (work / "logs/study/study.json").write_text('{"question": "What happens?"}')
        _write_plan(work / "logs/study")
        for path in sorted(work.glob("logs/study/*-s0-*")):
            (path / "attempts.jsonl").write_text("".join(json.dumps(event) + "\n" for event in ATTEMPTS))
        for path in work.glob("logs/study/*/unfinished.json"):
            (path.parent / "failure.json").write_text('{"reason": "it failed"}')
        yield work


def _a_second_each(probes: Iterable[str], *_: Any) -> Iterator[tuple[str, tuple[float, float]]]:
    """A machine whose every step takes a second: none of the thousand cases is timed."""
    return ((key, (1.0, 1.0)) for key in probes)


def _write_search(folder: Path, text_folder: Path) -> None:
    folder.mkdir()
    plan = shape_plan(folder, text_folder, trials=6)
    result = shape_result(plan, finished_search(plan, StubTrainings()), n_infeasible=0)
    write_shape_result(result, {trial.run: [(64, 3.0)] for trial in result.trials}, plan.folder)


def _write_plan(study: Path) -> None:
    records = [json.loads(path.read_text()) for path in sorted(study.glob("*/record.json"))]
    runs = [
        {
            **{key: record[key] for key in ("name", "run_id", "family", "batch_tokens", "steps", "seed")},
            **{"trunk": record["name"], "experiments": ["grid"], "N": 1e4, "C": 1e12, "C_exact": 1e12},
            **{"D": record["tokens"], "learning_rate": 1e-3, "devices": 1, "expected_s": 4.5},
            "trained_tokens": record["tokens"],
        }
        for record in records
    ]
    plan = {
        "schema": 1,
        "study": "study",
        "asked": "0",
        "precision": "32-true",
        "references": {},
        "runs": runs,
    }
    (study / "plan.json").write_text(json.dumps(plan))
    for name in [run["name"] for run in runs][:3]:
        (study / name / "record.json").rename(study / name / "unfinished.json")


def _write_export(work: Path) -> None:
    from scaling_laws.study.runs import load_study

    study = load_study(work / "logs/study")
    (work / "export").mkdir()
    study.runs.to_csv(work / "export/runs.csv", index=False)
    columns = ["run", "step", "tokens", "learning_rate", "train_loss_nats", "test_loss_nats"]
    study.curves()[columns].to_csv(work / "export/curves.csv.gz", index=False)
    shutil.copy(work / "laws.json", work / "export/laws.json")


def _run(command: list[str]) -> None:
    """A command line; `curves` is what `report` begins with, `shape` one of its figures."""
    if command[0] == "curves":
        from scaling_laws.study.errors import InputError
        from scaling_laws.study.runs import load_study

        try:
            study = load_study(Path(command[1] if len(command) > 1 else "logs/study"))
            study.curves()
            study.positions()
        except InputError as error:
            print(f"error: {error}")
            raise SystemExit(2) from None
    elif command[0] == "shape":
        study = study_of_table("shapes", pd.DataFrame({"D": [1.0]}))
        tables: Any = SimpleNamespace(study=replace(study, folder=Path("shapes/logs/shapes")))
        found = picture_of(shape_search, tables, cast(Any, None))
        print(found.description if isinstance(found, Picture) else found.reason)
    else:
        main(command)


def _cases(n: int, of: tuple[Artefact, ...] = ARTEFACTS) -> Iterator[tuple[Artefact, int]]:
    """The first `n` artefacts to be changed, and the seed of each change."""
    chosen = random.Random(0)
    for seed in range(n):
        yield chosen.choices(of, [artefact.weight for artefact in of])[0], seed


def _wrong_in(folder: Path, artefact: Artefact, seed: int, capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with how a changed file is met; None where nothing is."""
    chosen = random.Random(seed)
    pattern = artefact.path.replace("{run}", "*")
    path = chosen.choice(sorted(folder.glob(pattern)))
    before = path.read_bytes()
    content, what = artefact.change(before, chosen)
    what = f"seed {seed}, {path.relative_to(folder)}, {what}"
    (folder / "out.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "built", ignore_errors=True)
    timings = (folder / "data/throughput.json").read_bytes()
    path.write_bytes(content)
    try:
        for command in artefact.commands:
            status: Any = 0
            try:
                _run(command)
            except SystemExit as ended:
                status = ended.code
            except BaseException:
                last = "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
                return f"{what}: {' '.join(command)}:\n{last}"
            shown = "".join(capsys.readouterr())
            said = [line for line in shown.splitlines() if not line.startswith("error:")]
            said = [line.replace("(NaN is no number)", "") for line in said]
            if any(re.search(r"(?<![\w./-])nan(?![\w.-])|Traceback", line, re.IGNORECASE) for line in said):
                return f"{what}: {' '.join(command)}: prints NaN, or a traceback:\n{shown}"
            errors = [line for line in shown.splitlines() if line.startswith("error:")]
            if status and (len(errors) != 1 or not shown.strip().endswith(errors[0])):
                return f"{what}: {' '.join(command)}: exit status {status}, and not one line:\n{shown[:500]}"
            if errors and len(errors[0]) > 1500:
                return f"{what}: {' '.join(command)}: an error of {len(errors[0])} letters"
    finally:
        (folder / "data/throughput.json").write_bytes(timings)
        path.write_bytes(before)
    return None


def _snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("out.json", ".verified.json")
        if not {"built", "page"} & {part.name for part in path.parents}
    }


def _try(folder: Path, cases: list[tuple[Artefact, int]], capsys: pytest.CaptureFixture[str]) -> None:
    before = _snapshot(folder.parent)
    wrong = [found for case in cases if (found := _wrong_in(folder, *case, capsys))]
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong[:20])
    assert _snapshot(folder.parent) == before


def test_whatever_one_value_is_the_answer_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _try(folder, list(_cases(QUICK)), capsys)


@pytest.mark.systems
@pytest.mark.parametrize("part", range(PARTS))
def test_two_thousand_changes(folder: Path, capsys: pytest.CaptureFixture[str], part: int) -> None:
    """In parts, each of which takes some minutes."""
    _try(folder, list(_cases(ALL))[QUICK:][part::PARTS], capsys)


@pytest.mark.systems
def test_reports_of_changed_files(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real command, with few resamples and coarse pictures."""
    monkeypatch.setattr("scaling_laws.report.study_report.fit_folder", partial(fit_folder, resamples=2))
    monkeypatch.setattr("scaling_laws.report.pictures.PNG_DPI", 20)
    shutil.copy(folder / "shapes/logs/shapes/shape.json", folder / "logs/study/shape.json")
    (folder / "logs/study/ledger.csv").write_text(LEDGER)
    reported = tuple(replace(artefact, commands=(REPORT,)) for artefact in REPORTED)
    _try(folder, list(_cases(REPORTS, reported)), capsys)

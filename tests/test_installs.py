"""What works where training does not: without torch, on Windows, and where Greek cannot be printed."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scaling_laws.cli import FOR_TRAINING
from scaling_laws.data.tokens import TokenCorpus

ROOT = Path(__file__).parents[1]
UNIX = ("fcntl", "resource", "pwd", "grp", "termios")
PROGRAM = """
import io, json, os, signal, sys, warnings

absent, commands, python = json.load(sys.stdin)
sys.modules.update(dict.fromkeys(absent))  # importing them raises ModuleNotFoundError
if "fcntl" in absent:
    del signal.SIGUSR1, signal.SIGUSR2, signal.SIGKILL, signal.SIGHUP, os.sched_getaffinity, os.getuid
warnings.simplefilter("ignore", EncodingWarning)
warnings.filterwarnings("error", category=EncodingWarning, module="scaling_laws")
from scaling_laws.cli import main

def said(arguments):
    streams = sys.stdout, sys.stderr = [io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2)]
    status = 0
    try:
        main(arguments)
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for stream in streams:
        stream.flush()
    return status, *(stream.buffer.getvalue().decode() for stream in streams)

results = [said(command) for command in commands]
exec(python)
print(json.dumps(results))
"""
PYTHON = """
import scaling_laws as sl
for name in sl.__all__:
    getattr(sl, name)
fit = sl.fit("runs.csv", "chinchilla", resamples=20)
assert fit.identified and "nats" in str(fit.plan(compute="1e21 FLOPs"))
fit.plot()
"""
TABLE = "N,D,loss\n" + "".join(
    f"{n:.0f},{d:.0f},{1.7 + 400 * n**-0.34 + 410 * d**-0.28:.6f}\n"
    for n in (1e6, 3e6, 1e7, 3e7)
    for d in (1e8, 1e9, 1e10)
)
"""Chinchilla's law without noise."""
LAWS = "laws runs.csv --form chinchilla --bootstrap 20 -o laws.json"
TRAINING = ("study tiny", "sweep tiny --dry-run", "sweep tiny --status", "paper kaplan2020 --scale smoke")
TRAINING += ("fit --config transformer", "test --config transformer")


@dataclass(frozen=True)
class Said:
    status: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, byte_corpus: TokenCorpus) -> dict[str, Said]:
    """All verbs in one process without the packages for training, without Unix, and in ASCII."""
    folder = tmp_path_factory.mktemp("light")
    lines = TABLE.splitlines(keepends=True)
    (folder / "runs.csv").write_text(TABLE, encoding="utf-8")
    (folder / "four.csv").write_text("".join(lines[row] for row in (0, 1, 5, 9, 12)), encoding="utf-8")
    commands = ("--version", "config", "config quick", LAWS, "plan --compute 1e21 --laws laws.json")
    commands += ("plan --compute 1e21 --published kaplan", "report four.csv", "paper")
    commands += (f"data show {byte_corpus.folder}", *TRAINING)
    return in_one_process(folder, (*FOR_TRAINING, "plotly", *UNIX), commands, PYTHON)


def in_one_process(
    folder: Path, absent: tuple[str, ...], commands: tuple[str, ...], python: str = ""
) -> dict[str, Said]:
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", PROGRAM],
        input=json.dumps([absent, [command.split() for command in commands], python]),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    return {command: Said(*each) for command, each in zip(commands, said, strict=True)}


def test_what_does_not_train_needs_nothing_for_it(light: dict[str, Said]) -> None:
    for command, said in light.items():
        if command not in TRAINING:
            assert said.status == 0 and "error" not in said.errors, (command, said.errors)
            assert said.output.isascii() and said.output, command
    assert "0.34" in light[LAWS].output and "alpha" in light[LAWS].output
    assert "alpha_N of L(N)" in light["report four.csv"].output


def test_training_on_windows_is_refused_in_one_line(light: dict[str, Said]) -> None:
    for command in TRAINING:
        verb = command.split()[0]
        assert light[command].status == 2
        assert light[command].errors.startswith(f"error: {verb}: training needs Linux or macOS;"), command
        assert light[command].errors.count("\n") == 1


def test_training_without_its_packages_says_what_to_install(tmp_path: Path) -> None:
    commands = (*TRAINING, "data build tiny")
    for command, said in in_one_process(tmp_path, tuple(FOR_TRAINING), commands).items():
        verb = command.split()[0]
        assert said.status == 2 and said.output == ""
        assert said.errors.startswith(f"error: {verb}") and said.errors.count("\n") == 1, command
        assert "which is not installed" in said.errors and "`pip install .`" in said.errors


def test_one_owner_of_each_range() -> None:
    """requirements-laws.txt has the ranges of pyproject.toml, constraints-lowest.txt the least of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {each.name: each.specifier for each in map(Requirement, project["dependencies"])}
    laws, lowest = requirements("requirements-laws.txt"), requirements("constraints-lowest.txt")
    asked = {name for name, requirement in laws.items() if requirement.specifier}
    assert asked == ours.keys() - (FOR_TRAINING | {"pytorch-lightning", "lightning-utilities"})
    for name in asked:
        assert laws[name].specifier == ours[name]
        (least,) = (each.version for each in laws[name].specifier)
        (pinned,) = (each.version for each in lowest[name].specifier)
        assert pinned in laws[name].specifier and pinned.startswith(least), name


def requirements(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    asked = filter(None, (line.partition("#")[0].strip() for line in lines))
    return {each.name: each for each in map(Requirement, asked)}

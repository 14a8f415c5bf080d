"""What the SLURM engine writes, reads and refuses, with programs that stand for SLURM's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.small_sweep import arguments, edited

from scaling_laws.cli import main
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.run.engines import EngineContext, read_options, slurm_queue
from scaling_laws.sweeps.run.engines.slurm import SlurmEngine

CLUSTER = Path(__file__).parents[2] / "configs" / "cluster"
HOME = "/scratch/me/scaling_laws"
Programs = Callable[[Mapping[str, str]], None]


def engine(folder: Path = Path(HOME) / "lightning_logs" / "quick", **options: Any) -> SlurmEngine:
    context = EngineContext(
        folder=folder,
        accelerator=options.pop("accelerator", "gpu"),
        workers=options.pop("workers", None),
        command=(f"{HOME}/.venv/bin/python", "-m", "scaling_laws", "sweep", "configs/sweeps/quick.yaml"),
        options=options,
    )
    return SlurmEngine(context)


def jobs(*kinds: str) -> Any:
    return [SimpleNamespace(kind=kind, name=f"job-{number}") for number, kind in enumerate(kinds)]


def options_of(script: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_the_example_is_what_is_written() -> None:
    (script,) = engine(**read_options(CLUSTER / "slurm.yaml")).preview(jobs(*["1x1"] * 30))
    written = script.replace(str(Path.cwd()), HOME)
    assert written == (CLUSTER / "sweep_array_example.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "kinds", "expected"),
    [
        ({}, ["1x1"] * 3, [{"array": "0-2", "nodes": "1", "gpus-per-node": "1", "cpus-per-task": "1"}]),
        ({"max_jobs": 2}, ["1x1"] * 3, [{"array": "0-1"}]),
        ({"workers": 4}, ["1x1"] * 9, [{"array": "0-2", "gpus-per-node": "1", "cpus-per-task": "4"}]),
        ({"accelerator": "cpu", "workers": 4}, ["1x2"] * 9, [{"array": "0-8", "ntasks-per-node": "2"}]),
        ({"accelerator": "cpu", "workers": 4}, ["1x1"] * 9, [{"array": "0-2", "cpus-per-task": "4"}]),
        ({}, ["2x4", "1x1"], [{"nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "4"}, {"nodes": "1"}]),
    ],
)
def test_what_jobs_want_is_derived(
    given: dict[str, Any], kinds: list[str], expected: list[dict[str, str]]
) -> None:
    scripts = engine(**given).preview(jobs(*kinds))
    assert len(scripts) == len(expected)
    for script, wanted in zip(scripts, expected, strict=True):
        assert wanted.items() <= options_of(script).items()


@pytest.mark.parametrize("given", ["--gres=gpu:1", "-G 1", "--gpus 1"])
def test_who_asks_for_gpus_is_not_asked_again(given: str) -> None:
    (script,) = engine(sbatch=given).preview(jobs("1x1"))
    assert "gpus-per-node" not in options_of(script)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sbatch": "--job-name=mine"}, "--job-name"),
        ({"sbatch": "-J mine"}, "--job-name"),
        ({"sbatch": "--time='4"}, "not a line of options"),
        ({"max_jobs": -1}, "max_jobs is -1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        engine(**options)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Writes shell scripts that stand for SLURM's programs, alone on the PATH but for the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def write(scripts: Mapping[str, str]) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (folder / name).chmod(0o755)

    return write


def test_slurm_that_does_not_answer_is_asked_again(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    failing = (
        f"echo . >> {asked}; [ $(wc -l < {asked}) -gt 2 ] && exit 0; echo 'squeue: error: no controller' >&2"
    )
    programs({"squeue": f"{failing}; exit 1"})
    assert engine(tmp_path).status() == []
    assert capsys.readouterr().out == "squeue does not answer (no controller); asking again\n"


def test_slurm_that_never_answers_is_one_line(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_queue, "PATIENCE_S", 0.5)
    programs({"squeue": "echo 'squeue: error: no controller' >&2; exit 1"})
    with pytest.raises(InputError, match=r"squeue does not answer \(no controller\); run the same"):
        engine(tmp_path).status()


def test_where_there_is_no_slurm_one_line_says_so(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        main(arguments(sweep_file, "--engine", "slurm"))
    assert stopped.value.code == 2
    assert "squeue is not installed here; --engine slurm runs on a login node" in capsys.readouterr().err


def test_status_says_what_waits_and_why(tmp_path: Path, programs: Programs) -> None:
    name = engine(tmp_path)._name
    lines = [
        f"7_0|{name}-1x1|RUNNING|None|0|n1|",
        f"7_1|{name}-1x1|PENDING|BeginTime|2||",
        f"7_2|{name}-1x1|PENDING|AssocGrpCpuLimit|0||",
        "8_0|another-1x1|PENDING|Priority|0||",
    ]
    programs({"squeue": "\n".join(f"echo '{line}'" for line in lines)})
    assert engine(tmp_path).status() == [
        "SLURM: 1 task running on n1",
        "SLURM: 1 task queued: AssocGrpCpuLimit",
        f"SLURM: 1 task queued (1 requeued): {slurm_queue.REASONS['BeginTime']}",
        "scancel 7 saves and ends them",
    ]


def test_a_sweep_names_the_file_of_its_cluster(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("setup: module load cuda\nmax_jobs: 2\n", encoding="utf-8")
    edited(sweep_file, cluster=str(cluster))
    main(arguments(sweep_file, "--engine", "slurm", "--dry-run", "--max-jobs", "1"))
    printed = capsys.readouterr().out
    assert "\nmodule load cuda\n" in printed and "#SBATCH --array=0-0\n" in printed


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("partition: gpu\n", "its keys may be address, elastic, max_jobs, sbatch, setup"),
        ("max_jobs: many\n", "max_jobs is 'many'; it must be of type int"),
        ("- gpu\n", "its keys may be"),
        ("sbatch: [\n", "expected node content"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_options(path)


def test_status_says_what_ended_as_it_should_not(tmp_path: Path, programs: Programs) -> None:
    programs({"squeue": "exit 0"})
    (tmp_path / "slurm").mkdir()
    ended = "the task ended with status"
    for name, text in {
        "7_0": "an older array",
        "8_0": f"all is well\n{ended} 0",
        "8_1": f"saved\n{ended} 143\nslurmstepd: error: *** JOB 8 ON n1 CANCELLED ***",
        "8_2": f"error: the disk is full\n{ended} 2",
        "8_3": "no module cuda",
        "8_4": f"saved\n{ended} 138",
    }.items():
        (tmp_path / "slurm" / f"{name}.out").write_text(text + "\n", encoding="utf-8")
    two, three, four = engine(tmp_path).status()
    assert two.startswith("task 8_2 ended with status 2: error: the disk is full (")
    assert three.startswith("task 8_3 did not finish; last line of ") and three.endswith(": no module cuda")
    assert four == "task 8_4 saved at its time limit and is not queued any more"


def test_options_of_another_engine_are_refused(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments(sweep_file, "--sbatch", "--time=1"))
    assert "--sbatch is for --engine slurm or ray" in capsys.readouterr().err

"""What becomes of trainings that fail, and of sweeps whose machine does."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.stub_training import started, stub_plan, train_nothing
from tests.support.failing_trainings import (
    crash,
    die_twice,
    fail_one,
    fill_the_disk,
    raise_twice,
    train_for_show,
)
from tests.support.small_sweep import arguments, edited
from tests.support.tiny_runs import config
from tests.sweeps.test_sweep_storms import SUPERVISOR, holders

from scaling_laws.cli import main
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import read_record
from scaling_laws.sweeps.plan.disk import extensions
from scaling_laws.sweeps.plan.experiments import Plan, plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.sweeps.run import attempts, lease
from scaling_laws.sweeps.run.engines import EngineContext
from scaling_laws.sweeps.run.engines.local import LocalEngine
from scaling_laws.sweeps.run.ledger import ledger_of, parts_of, status_text
from scaling_laws.sweeps.run.loop import run_plan
from scaling_laws.sweeps.run.progress import Progress
from scaling_laws.training.run import train_trunk

HUNGRY_NETWORK = """
import torch

class Hungry(torch.nn.Module):
    family = "hungry"
    def __init__(self, n_vocab, n_ctx, width=4, rows=4):
        super().__init__()
        self.embedding = torch.nn.Embedding(n_vocab, width)
        self.head = torch.nn.Linear(width, n_vocab, bias=False)
        self.rows = rows
    def forward(self, tokens):
        if self.training and len(tokens) > self.rows and type(tokens) is torch.Tensor:
            raise torch.OutOfMemoryError(f"{len(tokens)} rows do not fit")
        return self.head(self.embedding(tokens))
    def parameters_by_group(self):
        return {"token_embedding": self.embedding.weight.numel(), "head": self.head.weight.numel()}
    def flops_per_token(self):
        return {"de_embed": 2.0 * self.head.weight.numel()}
"""


def stubs(sweep_file: Path, n_jobs: int, **more: Any) -> Plan:
    return stub_plan(plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs"), n_jobs, **more)


def run(planned: Plan, train: Any, gpus: Sequence[str] | None = None, **more: Any) -> Progress:
    context = EngineContext(folder=planned.folder, accelerator="cpu", workers=2, train=train)
    return run_plan(planned, LocalEngine(context, gpus=gpus), watch=lambda progress: None, **more)


def ledger(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "ledger.csv").read_text(encoding="utf-8").splitlines()))


def outcomes(folder: Path) -> list[str | None]:
    return [attempt.outcome for attempt in attempts.read(folder).attempts]


# --- memory ---------------------------------------------------------------------------------------


def hungry_sweep(sweep_file: Path, monkeypatch: pytest.MonkeyPatch, rows: Sequence[int]) -> Path:
    """Networks that have memory for so many rows at a time; a step has four."""
    monkeypatch.chdir(sweep_file.parent)
    (sweep_file.parent / "hungry_networks.py").write_text(HUNGRY_NETWORK, encoding="utf-8")
    models = [{"shape": {"width": 4, "rows": n}, "horizons_tokens": [640]} for n in rows]
    ladder = {"class_path": "hungry_networks.Hungry", "learning_rate": 0.01, "models": models}
    return edited(sweep_file, ladders=[ladder])


def test_a_training_without_memory_is_tried_with_smaller_micro_batches(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(arguments(hungry_sweep(sweep_file, monkeypatch, rows=[4, 1])))
    folder = sweep_file.parent / "logs" / "s"
    enough, short = sorted(folder.glob("hungry-*"), key=lambda path: "rows4" not in path.name)
    assert outcomes(enough) == ["done"] and outcomes(short) == ["out_of_memory", "out_of_memory", "done"]
    trainer = yaml.safe_load((short / "config.yaml").read_text(encoding="utf-8"))["trainer"]
    assert trainer["accumulate_grad_batches"] == 4
    planned = {run.name: run.run_id for run in plan(load_sweep(sweep_file)).runs}
    records = [read_record(path / "record.json") for path in (enough, short)]
    assert [record.run_id for record in records] == [planned[record.name] for record in records]
    assert records[1].batch_tokens == records[0].batch_tokens == 64
    assert records[1].losses["test"]["loss_nats"] == pytest.approx(
        records[0].losses["test"]["loss_nats"], rel=1e-5
    )


def test_a_training_that_never_fits_is_set_aside(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments(hungry_sweep(sweep_file, monkeypatch, rows=[0]), "--quiet"))
    printed, error = capsys.readouterr()
    assert "OutOfMemoryError: 1 rows do not fit" in error and "splits no further" in error
    assert printed.count("\n") == 1  # the last line
    folder = next((sweep_file.parent / "logs" / "s").glob("hungry-*"))
    assert outcomes(folder) == ["out_of_memory"] * 2 + ["failed"] * 3


# --- kills and stops ------------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "outcome"), [(die_twice, "killed"), (raise_twice, "failed")])
def test_a_training_is_tried_again(sweep_file: Path, train: Any, outcome: str) -> None:
    planned = stubs(sweep_file, 2)
    progress = run(planned, train)
    assert len(progress.done) == 2 and not progress.failed
    for job in planned.jobs:
        assert outcomes(planned.folder / job.name) == [outcome, outcome, "done"]
        assert not (planned.folder / job.name / "failure.json").exists()
    rows = ledger(planned.folder)
    assert [row["outcome"] for row in rows] == [outcome, outcome, "done"] * 2
    expected = "its process was ended by SIGKILL" if outcome == "killed" else "RuntimeError: bad luck"
    assert {row["reason"] for row in rows if row["outcome"] == outcome} == {expected}


def test_a_crash_is_a_failure(sweep_file: Path) -> None:
    planned = stubs(sweep_file, 1)
    progress = run(planned, crash)
    assert "its process was ended by SIGSEGV; see " in progress.failed[planned.jobs[0].name]


def test_who_comes_late_to_a_job_that_another_gave_up_leaves_it(sweep_file: Path) -> None:
    """Two supervisors see its second failure; one of them starts the third try, and then the other does."""
    planned = stubs(sweep_file, 1)
    folder, start = planned.folder / planned.jobs[0].name, attempts.Place(records=0, step=0)
    for number in range(attempts.MAX_FAILURES):
        attempts.begin(folder, f"a{number}", start=start, split=1)
        attempts.end(folder, f"a{number}", attempts.FAILED, reason="no luck", saved=start)
    context = EngineContext(folder=planned.folder, accelerator="cpu", workers=1, train=train_nothing)
    engine = LocalEngine(context)
    engine.submit([planned.jobs])
    while not (ended := engine.ended(0.1)):
        pass
    assert [one.outcome for one in ended] == [attempts.HELD]
    assert outcomes(folder) == ["failed"] * attempts.MAX_FAILURES and not started(folder)


def test_who_was_stopped_goes_on_where_others_have_finished(sweep_file: Path) -> None:
    """Supervisor and training are stopped; another supervisor does the rest, and nothing is done twice."""
    n_jobs = 6
    command = [sys.executable, str(SUPERVISOR), str(sweep_file), str(n_jobs), "1", "train_slowly"]
    stopped = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    folder = sweep_file.parent / "logs" / "s"
    deadline_s = time.monotonic() + 300
    while not (found := holders(folder)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    for pid in (stopped.pid, *found):
        os.kill(pid, signal.SIGSTOP)
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while len(list(folder.glob("*/record.json"))) < n_jobs - 1 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    time.sleep(1)
    assert other.poll() is None  # it waits for the training that is held
    for pid in (stopped.pid, *found):
        os.kill(pid, signal.SIGCONT)
    for process in (stopped, other):
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and output.splitlines()[-1] == f"{n_jobs} done, 0 failed"
    assert [len(started(folder / f"stub-{number:05d}")) for number in range(n_jobs)] == [1] * n_jobs


def test_who_has_nothing_to_take_leaves_when_idle(sweep_file: Path) -> None:
    """The only job is another's: it is left to that one, without an error."""
    command = [
        sys.executable,
        str(SUPERVISOR),
        str(sweep_file),
        "1",
        "1",
        "train_slowly",
        "--leave-when-idle",
    ]
    held = lease.take(sweep_file.parent / "logs" / "s" / "stub-00000")
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    assert output == "0 of 1 runs are done, and others train the rest; leaving\n"
    held.close()  # type: ignore[union-attr]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    assert output == "1 done, 0 failed\n"


def test_a_record_is_written_by_the_holder_alone(tmp_path: Path, byte_corpus: TokenCorpus) -> None:
    """A training of which another machine has taken the folder ends before its record."""
    planned = config(byte_corpus, tmp_path / "run", steps=2)
    held = lease.take(tmp_path / "run")
    assert held is not None
    (tmp_path / "run" / lease.OWNER_FILE).write_text("another machine:1:1:host\n", encoding="utf-8")
    with pytest.raises(lease.Lost):
        train_trunk([planned], before_record=held.hold)
    assert not (tmp_path / "run" / "record.json").exists()
    held.close()
    assert (tmp_path / "run" / lease.OWNER_FILE).exists()  # it is the other's
    train_trunk([planned], before_record=lambda: None)
    assert (tmp_path / "run" / "record.json").exists()


# --- the machine ----------------------------------------------------------------------------------


def test_trainings_of_several_devices_take_turns(sweep_file: Path) -> None:
    planned = stubs(sweep_file, 6, devices=(1, 2))
    assert len(run(planned, train_nothing, gpus=("a", "b")).done) == 6
    with pytest.raises(InputError, match=r"stub-.* needs 3 GPUs, and this machine has 2"):
        run(stubs(edited(sweep_file, study="t"), 1, devices=(3,)), train_nothing, gpus=("a", "b"))


def test_a_file_system_without_flock_costs_one_line(sweep_file: Path, tmp_path: Path) -> None:
    """In every process of the sweep: two at once train each job once."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def flock(*arguments):\n"
        "    raise OSError(errno.ENOSYS, 'Function not implemented')\n"
        "fcntl.flock = flock\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "scaling_laws", *arguments(sweep_file, "--quiet")]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        _, error = process.communicate(timeout=300)
        lines = [line for line in error.splitlines() if ": about " not in line]  # of slow machines
        assert process.returncode == 0 and len(lines) == 1 and "has no locks (flock)" in lines[0]
    folder = sweep_file.parent / "logs" / "s"
    assert len(list(folder.glob("*/record.json"))) == 6
    for path in folder.glob(f"*/{attempts.FILE}"):
        assert outcomes(path.parent) == ["done"]


def test_a_full_disk_is_nobodys_failure(sweep_file: Path) -> None:
    planned = stubs(sweep_file, 3)
    for _ in range(attempts.MAX_FAILURES + 1):
        with pytest.raises(InputError, match=r"/somewhere/file: could not be written \(No space left"):
            run(planned, fill_the_disk)
    assert len(run(planned, train_nothing).done) == 3
    for job in planned.jobs:
        assert set(outcomes(planned.folder / job.name)) <= {"interrupted", "done"}
        assert not lease.is_held(planned.folder / job.name)


@pytest.mark.slow
@pytest.mark.parametrize("n_free_kb", [40, 200, 300, 400, 500])
def test_a_disk_that_fills_up(sweep_file: Path, n_free_kb: int) -> None:
    """A file system of its own, with so much room when the sweep begins, and plenty later."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mounting a small file system takes root")
    logs = sweep_file.parent / "logs"
    logs.mkdir()
    sweep = shlex.join([sys.executable, "-m", "scaling_laws", *arguments(sweep_file, "--quiet")])
    script = f"""
        mount -t tmpfs -o size=16m tmpfs {logs} || exit 77
        head -c $((16 * 1024 * 1024 - {n_free_kb} * 1024)) /dev/zero > {logs}/filler
        {sweep} ; echo "status $?"
        rm {logs}/filler
        {sweep} ; echo "status $?"
        cp -r {logs} {logs}-kept
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode == 77:
        pytest.skip("no tmpfs can be mounted here")
    said = done.stdout.splitlines()
    assert said[0] == "status 2" and said[-1] == "status 0", done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {logs}/")
    assert "could not be written" in errors[0] and "Traceback" not in done.stderr
    kept = Path(f"{logs}-kept") / "s"
    assert len(list(kept.glob("*/record.json"))) == 6
    for folder in kept.glob(f"*/{attempts.FILE}"):
        assert set(outcomes(folder.parent)) <= {"interrupted", "killed", "done"}
    shutil.rmtree(kept)


# --- the ledger -----------------------------------------------------------------------------------


def test_the_ledger_says_what_is_done_and_what_it_cost(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = stubs(sweep_file, 3)
    progress = run(planned, fail_one)
    assert list(progress.failed) == ["stub-00001"]
    jobs = ledger_of(planned.folder, planned)
    text = status_text("s", jobs)
    assert "2 of 3 runs done" in text
    assert "3 planned, 2 done, 0 running, 0 waiting, 1 set aside" in text
    assert "attempts: 5 (2 done, 3 failed)" in text
    assert (
        "stub-00001: failed 3 times without getting further, last: RuntimeError: this one is broken" in text
    )
    held = lease.take(planned.folder / "stub-00001")
    assert "1 running, 0 waiting, 0 set aside" in status_text("s", ledger_of(planned.folder, planned))
    held.close()  # type: ignore[union-attr]
    tokens = planned.jobs[0].runs[0].trained_tokens
    assert [sum(row.tokens for row in job.rows) for job in jobs] == [tokens, 0, tokens]
    assert run(planned, train_nothing, retry_failed=True).failed == {}


def extended(sweep_file: Path, horizons: Sequence[int]) -> Plan:
    """One job with so many horizons."""
    model = {"shape": {"n_layer": 1, "d_model": 8}, "horizons_tokens": list(horizons)}
    ladder = {"family": "transformer", "learning_rate": 0.01, "models": [model]}
    edited(sweep_file, ladders=[ladder])
    return plan(load_sweep(sweep_file), logs=sweep_file.parent / "logs")


def test_the_ledger_adds_up_over_extensions(sweep_file: Path) -> None:
    """A longer horizon makes the trunk of before a branch, and a job of another name: both are paid for."""
    first = extended(sweep_file, [6400, 12_800])
    run(first, train_for_show)
    own = [planned_run.trained_tokens for planned_run in first.runs]
    assert own[0] == 12_800 and own[1] < 6400
    longer = extended(sweep_file, [6400, 12_800, 25_600])
    (line,) = extensions(longer)
    assert "kept no state before its cooldown (keep: trunk), so it is trained from step 0: 25,600 tok" in line
    state = longer.folder / first.jobs[0].name / "checkpoints" / "step_00000160.ckpt"
    state.parent.mkdir()
    state.touch()
    assert extensions(longer) == [f"{longer.jobs[0].name}: goes on from step 160 of {first.jobs[0].name}"]
    run(longer, train_for_show)
    assert not extensions(longer)
    shorter = extended(sweep_file, [3200, 6400, 12_800, 25_600])  # its trunk's state is gone: from the start
    progress = run(shorter, train_for_show)
    assert len(progress.done) == 4 and progress.n_found_done == 3
    rows = ledger(shorter.folder)
    spent = {(row["job"], row["attempt"]): int(row["tokens"]) for row in rows}
    former, job = first.jobs[0].name, shorter.jobs[0].name
    assert spent == {(job, "1"): 25_600, (job, "2"): 3200, (former, "1"): sum(own)}
    flops = sum(float(row["C"]) for row in rows if row["job"] == job)
    assert flops == pytest.approx(6 * longer.runs[0].N * 28_800, rel=1e-5)


def test_the_ledger_counts_what_a_kill_had_trained(sweep_file: Path) -> None:
    """Of a run and the branch after it, from where the attempt began, whatever is planned by then."""
    folder = extended(sweep_file, [6400, 12_800]).folder
    job = extended(sweep_file, [6400, 12_800]).jobs[0]
    trunk, branch = job.runs
    parts = [run_.part for run_ in parts_of(extended(sweep_file, [6400, 12_800]))]
    attempts.begin(folder / job.name, "a", start=attempts.Place(records=0, step=50), split=1, parts=parts)
    reached = attempts.Place(records=1, step=parts[1].first_step + 3)
    attempts.end(folder / job.name, "a", attempts.KILLED, reason="was killed", elapsed_s=1.0, reached=reached)
    rows = [row for one in ledger_of(folder, extended(sweep_file, [6400, 12_800])) for row in one.rows]
    assert [row.tokens for row in rows] == [(trunk.steps - 50 + 3) * branch.batch_tokens]


def test_the_status_is_told_without_torch(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments(sweep_file, "--status"))
    assert "plan.json: no plan to be read" in capsys.readouterr().err
    main(arguments(sweep_file, "--quiet"))
    code = (
        "import sys; from scaling_laws.cli import main\n"
        "main(sys.argv[1:])\n"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules), 'torch was imported'"
    )
    command = [sys.executable, "-c", code, *arguments(sweep_file, "--status")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "study s: 6 of 6 runs done" in said and "attempts: 4 (4 done)" in said
    rows = ledger(sweep_file.parent / "logs" / "s")
    runs = plan(load_sweep(sweep_file)).runs
    assert sum(int(row["tokens"]) for row in rows) == sum(run.trained_tokens for run in runs)
    spent = sum(run.C / run.D * run.trained_tokens for run in runs)
    assert sum(float(row["C"]) for row in rows) == pytest.approx(spent, rel=1e-5)


def test_a_forkserver_that_was_killed_is_replaced(sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that fails costs nothing; ten in a row end the sweep."""
    from scaling_laws.sweeps.run import loop
    from scaling_laws.sweeps.run.engines import local

    start, n_failed = local.start, 0

    def failing(*arguments: Any, **more: Any) -> Any:
        nonlocal n_failed
        n_failed += 1
        if n_failed % 3:
            raise EOFError("unexpected EOF")
        return start(*arguments, **more)

    monkeypatch.setattr(local, "start", failing)
    monkeypatch.setattr(loop, "ASK_S", 0.01)
    planned = stubs(sweep_file, 3)
    assert len(run(planned, train_nothing).done) == 3
    assert [outcomes(planned.folder / job.name) for job in planned.jobs] == [["done"]] * 3

    def never(*arguments: Any, **more: Any) -> Any:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr(local, "start", never)
    with pytest.raises(InputError, match=r"no process can be started \(unexpected EOF\)"):
        run(stubs(edited(sweep_file, study="t"), 3), train_nothing)

"""Sweeps on a real Ray cluster: nodes that die and come, a command that is killed, jobs without a place."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tests.support.engine_runs import RayRun, SweepRun, slow_sweep
from tests.support.ray_cluster import RayCluster

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.run import attempts
from scaling_laws.sweeps.run.engines import EngineContext
from scaling_laws.sweeps.run.engines.ray import RayEngine

CHECKPOINT_S = 22


@pytest.mark.systems
def test_a_node_dies_and_another_comes(ray_cluster: RayCluster, tmp_path: Path, text_folder: Path) -> None:
    nodes = [ray_cluster.add_node() for _ in range(2)]
    run = RayRun(slow_sweep(tmp_path, text_folder, n_jobs=2, steps=450), ray_cluster)
    run.begin()
    run.until_trained(2)
    time.sleep(CHECKPOINT_S)
    ray_cluster.kill_node(nodes[0])
    ray_cluster.add_node()
    assert run.wait() == 0, run.output
    assert run.is_done(2)
    assert "raylet" not in run.output.lower()
    outcomes = run.outcomes()
    assert sorted(outcomes.values()) == [["done"], ["killed", "done"]]
    lost = next(name for name, each in outcomes.items() if len(each) == 2)
    _, second = attempts.read(run.folder / lost).attempts
    assert second.start.step > 0  # from its checkpoint


@pytest.mark.systems
def test_the_command_is_killed_and_typed_again(
    two_ray_nodes: RayCluster, tmp_path: Path, text_folder: Path
) -> None:
    run = RayRun(slow_sweep(tmp_path, text_folder, n_jobs=2, steps=150), two_ray_nodes)
    run.begin()
    run.until_trained(2)
    run.kill_command()
    run.begin()
    assert run.wait() == 0, run.output
    assert run.is_done(2)
    assert all(outcomes[-1] == "done" and "failed" not in outcomes for outcomes in run.outcomes().values())


@pytest.mark.systems
def test_a_job_that_no_node_can_hold_is_refused(
    two_ray_nodes: RayCluster, tmp_path: Path, text_folder: Path
) -> None:
    sweep_file = slow_sweep(
        tmp_path, text_folder, n_jobs=1, steps=20, trainer={"devices": 4, "strategy": "ddp_fork"}
    )
    run = RayRun(sweep_file, two_ray_nodes)
    run.begin()
    assert run.wait() == 2
    last = run.output.splitlines()[-1]
    assert (
        last.startswith("error: ") and "needs 4 CPUs on one node, and no node of the cluster has more" in last
    )


@pytest.mark.systems
def test_where_no_cluster_answers_one_line_says_so(tmp_path: Path, text_folder: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install '.[ray]')")
    sweep_file = slow_sweep(tmp_path, text_folder, n_jobs=1, steps=20)
    run = SweepRun(sweep_file, "ray", "--address", "127.0.0.1:1", environment=dict(os.environ))
    run.begin()
    assert run.wait() == 2
    assert "error: no Ray cluster answers at 127.0.0.1:1" in run.output.splitlines()[-1]
    assert "Traceback" not in run.output


# --- what is asked of Ray, with a module that stands for it ----------------------------------------


def engine(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]], **given: Any) -> RayEngine:
    """An engine whose cluster has nodes of these resources, and whose tasks all raise `given["raises"]`."""
    crashed, cancelled, other = (type(name, (Exception,), {}) for name in ("Crashed", "Cancelled", "Other"))
    raised = {"crashed": crashed, "cancelled": cancelled, "other": other}.get(given.pop("raises", ""), other)

    def get(task: object) -> None:
        raise raised("Task failed\nModuleNotFoundError: No module named 'scaling_laws'")

    class Remote:
        asked: ClassVar[list[dict[str, Any]]] = []

        def options(self, **asked: Any) -> Remote:
            self.asked.append(asked)
            return self

        def remote(self, *arguments: object) -> object:
            return object()

    stand_in = SimpleNamespace(
        is_initialized=lambda: True,
        nodes=lambda: [{"Alive": True, "Resources": resources} for resources in nodes],
        cluster_resources=lambda: {"GPU": 2.0},
        remote=lambda **options: lambda function: Remote(),
        wait=lambda tasks, num_returns, timeout: (tasks[:num_returns], tasks[num_returns:]),
        get=get,
        exceptions=SimpleNamespace(
            TaskCancelledError=cancelled,
            WorkerCrashedError=crashed,
            NodeDiedError=crashed,
            OutOfMemoryError=crashed,
            RayError=Exception,
        ),
    )
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    options = {name: given.pop(name) for name in ("elastic", "max_jobs") if name in given}
    return RayEngine(EngineContext(folder=Path("logs/s"), options=options, **{"accelerator": "gpu", **given}))


def job(devices: int, *, nodes: int = 1) -> Any:
    return SimpleNamespace(name="job", devices=devices, nodes=nodes, kind=f"{nodes}x{devices}", runs=())


@pytest.mark.parametrize(
    ("workers", "devices", "accelerator", "expected"),
    [
        (None, 1, "gpu", {"num_cpus": 1, "num_gpus": 1}),
        (4, 1, "gpu", {"num_cpus": 1, "num_gpus": 0.25}),
        (4, 2, "gpu", {"num_cpus": 2, "num_gpus": 2}),
        (4, 2, "cpu", {"num_cpus": 2, "num_gpus": 0}),
        (None, 1, "auto", {"num_gpus": 1}),
    ],
)
def test_what_a_job_asks_for(
    monkeypatch: pytest.MonkeyPatch,
    workers: int | None,
    devices: int,
    accelerator: str,
    expected: dict[str, float],
) -> None:
    made = engine(monkeypatch, [], workers=workers, accelerator=accelerator)
    assert made.submit([[job(devices)]]) == 1
    (asked,) = made._train.asked[-1:]
    assert expected.items() <= asked.items()


def test_more_than_any_node_has_is_refused_unless_nodes_come(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes: list[dict[str, float]] = [{"CPU": 64}, {"CPU": 8, "GPU": 2}]
    engine(monkeypatch, nodes).require(job(2))
    with pytest.raises(InputError, match=r"needs 4 GPUs on one node, and no node .* more than 2"):
        engine(monkeypatch, nodes).require(job(4))
    engine(monkeypatch, nodes, elastic=True).require(job(4))
    with pytest.raises(InputError, match="needs 2 nodes; --engine slurm trains it"):
        engine(monkeypatch, nodes, elastic=True).require(job(4, nodes=2))


@pytest.mark.parametrize(
    ("raises", "outcome", "exit_status", "reason"),
    [
        ("crashed", None, None, "Task failed"),
        ("cancelled", "interrupted", None, ""),
        ("other", None, 1, "its task did not begin: ModuleNotFoundError: No module named 'scaling_laws'"),
    ],
)
def test_what_becomes_of_a_task_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch, raises: str, outcome: str | None, exit_status: int | None, reason: str
) -> None:
    made = engine(monkeypatch, [], raises=raises)
    made.submit([[job(1)]])
    (ended,) = made.ended(0.0)
    assert (ended.outcome, ended.exit_status, ended.reason) == (outcome, exit_status, reason)
    assert made.ended(0.0) == []


def test_a_job_that_never_begins_is_set_aside_with_the_reason(tmp_path: Path) -> None:
    for number in range(attempts.MAX_FAILURES):
        assert attempts.read(tmp_path).set_aside() is None
        attempts.note_killed(
            tmp_path,
            f"attempt-{number}",
            pid=0,
            exit_status=1,
            elapsed_s=1.0,
            reached=attempts.Place(records=0, step=0),
            by_us=False,
            reason="its task did not begin: no module",
        )
    reason = attempts.read(tmp_path).set_aside()
    assert reason is not None and reason.endswith("last: its task did not begin: no module")


def test_without_ray_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="Ray is not installed; pip install ray, here and on every node"):
        RayEngine(EngineContext(folder=Path("logs/s"), accelerator="cpu"))

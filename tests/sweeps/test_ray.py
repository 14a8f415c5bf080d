"""Sweeps on a real Ray cluster: nodes that die and come, a command that is killed, jobs without a place."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.support.engine_runs import RayRun, SweepRun, slow_sweep
from tests.support.ray_cluster import RayCluster

from scaling_laws.sweeps.run import attempts

pytestmark = pytest.mark.systems
CHECKPOINT_S = 22


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
    outcomes = run.outcomes()
    assert sorted(outcomes.values()) == [["done"], ["killed", "done"]]
    lost = next(name for name, each in outcomes.items() if len(each) == 2)
    _, second = attempts.read(run.folder / lost).attempts
    assert second.start.step > 0  # from its checkpoint


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
        last.startswith("error: ") and "wants 4 CPUs on one node, and no node of the cluster has more" in last
    )


def test_where_no_cluster_answers_one_line_says_so(tmp_path: Path, text_folder: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'scaling_laws[ray]')")
    sweep_file = slow_sweep(tmp_path, text_folder, n_jobs=1, steps=20)
    run = SweepRun(sweep_file, "ray", "--address", "127.0.0.1:1", environment=dict(os.environ))
    run.begin()
    assert run.wait(30) == 2
    assert "error: no Ray cluster answers at 127.0.0.1:1" in run.output.splitlines()[-1]
    assert "Traceback" not in run.output

"""The sweep that most tests run, and a PostgreSQL server for those that need one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.postgres_server import postgres
from tests.support.ray_cluster import RayCluster, ray_cluster
from tests.support.slurm_cluster import slurm_cluster
from tests.support.small_sweep import write_sweep

__all__ = ["postgres", "ray_cluster", "slurm_cluster"]


@pytest.fixture(scope="session")
def timings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timings") / "throughput.json"


@pytest.fixture(autouse=True)
def one_file_of_timings(timings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dry runs in this process time the same networks, two seconds of work: the first of them does."""
    monkeypatch.setattr("scaling_laws.sweeps.plan.planning.TIMINGS", str(timings_file))


@pytest.fixture
def sweep_file(tmp_path: Path, text_folder: Path) -> Path:
    """Four trainings of two families."""
    return write_sweep(tmp_path, text_folder)


@pytest.fixture(scope="module")
def two_ray_nodes(ray_cluster: RayCluster) -> RayCluster:
    """A Ray cluster of two nodes with a core each."""
    ray_cluster.add_node()
    ray_cluster.add_node()
    return ray_cluster

"""The sweep that most tests run, and a PostgreSQL server for those that need one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.postgres_server import postgres
from tests.support.ray_cluster import RayCluster, ray_cluster
from tests.support.slurm_cluster import slurm_cluster
from tests.support.small_sweep import write_sweep

__all__ = ["postgres", "ray_cluster", "slurm_cluster"]


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

"""A Ray cluster of the tests' own: the real daemons, a head without room for jobs, nodes that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


class RayCluster:
    """The daemons that one test module has started.

    Attributes:
        address: what `--address` takes.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address = str(cluster.address)

    def add_node(self, n_cpus: int = 1) -> Any:
        return self._cluster.add_node(num_cpus=n_cpus)

    def kill_node(self, node: Any) -> None:
        """All its processes at once, as when a machine loses power."""
        self._cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    """A real Ray cluster without a node for jobs, where Ray is installed."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install '.[ray]')")
    from ray.cluster_utils import Cluster

    try:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    except Exception as error:
        pytest.skip(f"Ray does not start here: {error}")
    try:
        yield RayCluster(cluster)
    finally:
        cluster.shutdown()

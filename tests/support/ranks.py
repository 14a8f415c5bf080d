"""Two processes that train together, started as torchrun or srun start them, but forked: it takes no time."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping

LIMIT_S = 60


def on_ranks(
    work: Callable[[], object], environment: Callable[[int, int], Mapping[str, str]] | None = None
) -> list[int]:
    """Run `work` on two ranks and return their exit statuses.

    Args:
        environment: from a rank and a free port to the variables that its process finds; torchrun's if None.

    Raises:
        TimeoutError: a rank hangs; all have been killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def rank_process(rank: int) -> None:
        os.environ.update((environment or torchrun)(rank, port))
        work()

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=rank_process, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT_S)
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
    if hanging:
        raise TimeoutError(f"{len(hanging)} ranks hang")
    return [process.exitcode or 0 for process in processes]


def torchrun(rank: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


def srun(rank: int, port: int) -> dict[str, str]:
    """Two nodes of one task each."""
    return {
        "SLURM_JOB_ID": "1234",
        "SLURM_JOB_NAME": "fit",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_LOCALID": "0",
        "MASTER_PORT": str(port),
    }

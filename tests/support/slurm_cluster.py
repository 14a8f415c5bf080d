"""A SLURM cluster of the tests' own: the real daemons, four nodes on this machine, private ports and folders.

Each node lives in a process namespace of its own: to our processes it is another machine, and it dies as one.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "unshare")
PARTITIONS = {"steady": ("n1", "n2"), "mortal": ("n3", "n4")}
"""Nodes of the second are killed."""
CPUS = 16
"""That a node claims: more than this machine has."""
START_S = 60
SLURM_NAMES = ("SLURM_", "SBATCH_", "SQUEUE_", "SRUN_")
"""Variables of a job in which the test session may run itself."""
REQUEUE_WAIT_S = 10
"""Of a job that was put back into the queue: 120 s unless configured."""


class SlurmCluster:
    """The daemons that one test session has started.

    Attributes:
        environment: of processes that shall find it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = free_ports(1 + sum(map(len, PARTITIONS.values())))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(SLURM_NAMES)}
        self.environment = inherited | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "MASTER_ADDR": "127.0.0.1",  # names of nodes are no names of hosts here
        }

    def start(self) -> None:
        """Bring it up, and wait until all its nodes are idle.

        Raises:
            TimeoutError: it does not come up.
        """
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        (self.folder / "slurm.conf").write_text(self._configuration(), encoding="utf-8")
        for name in ("state", "munge"):
            (self.folder / name).mkdir(mode=0o755)
        self._start(
            "munged",
            ["munged", "--foreground", "--force", "--key-file", f"{self.folder}/munge.key"]
            + ["--socket", f"{self.folder}/munge/socket", "--pid-file", f"{self.folder}/munge/pid"]
            + ["--log-file", f"{self.folder}/munge/log", "--seed-file", f"{self.folder}/munge/seed"],
        )
        wait_until(lambda: (self.folder / "munge" / "socket").exists(), START_S, "munged")
        self._start("slurmctld", ["slurmctld", "-D"])
        for node in self.nodes:
            self.start_node(node)
        wait_until(lambda: self.idle_nodes() == self.nodes, START_S, "sinfo: all nodes idle")

    @property
    def nodes(self) -> list[str]:
        return [node for nodes in PARTITIONS.values() for node in nodes]

    def start_node(self, node: str) -> None:
        # The shell is the first process of the namespace, and waits for orphans: slurmd takes them for alive.
        inside = ["bash", "-c", f"slurmd -D -N {node} & wait $!"]
        self._start(node, ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inside])

    def kill_node(self, node: str) -> None:
        """All its processes at once, as when a machine loses power; SLURM is told, or it waits long."""
        self._end(node, kill=True)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=power")

    def idle_nodes(self) -> list[str]:
        listed = subprocess.run(
            ["sinfo", "--noheader", "--states=idle", "--Node", "--format=%N"],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        return sorted(set(listed.stdout.split()))

    def run(self, *command: str) -> str:
        """What a command of SLURM prints.

        Raises:
            CalledProcessError: it fails.
        """
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def queued(self) -> list[str]:
        """Ids of the jobs that have not ended."""
        return self.run("squeue", "--noheader", "--format=%i").split()

    def stop(self) -> None:
        """End what was started, and nothing else."""
        for name in reversed(list(self._daemons)):
            self._end(name, kill=name in self.nodes)

    def _start(self, name: str, command: list[str]) -> None:
        with open(self.folder / f"{name}.out", "ab") as log:
            self._daemons[name] = subprocess.Popen(
                command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _end(self, name: str, *, kill: bool) -> None:
        daemon = self._daemons.pop(name)
        if kill:  # the first process of a node's namespace: all others in it die with it
            children = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(daemon.pid)], capture_output=True, text=True
            )
            for pid in children.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
        else:
            daemon.terminate()
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _configuration(self) -> str:
        host, user = socket.gethostname().split(".")[0], getpass.getuser()
        controller, *ports = self._ports
        lines = [
            "ClusterName=tests",
            # Ranks meet at a port that Lightning derives from the id of their job: no two clusters share one.
            f"FirstJobId={1 + 1000 * int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={controller}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder}/munge/socket,cred_expire={REQUEUE_WAIT_S}",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.%n.pid",
            f"SlurmdSpoolDir={self.folder}/spool.%n",
            "SlurmdParameters=config_overrides",
            "ProctrackType=proctrack/pgid",
            "TaskPlugin=task/none",
            "MpiDefault=none",
            "ReturnToService=2",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "SchedulerParameters=sched_min_interval=500000,batch_sched_delay=1",
            "KillWait=10",
        ]
        numbered = iter(ports)
        for partition, nodes in PARTITIONS.items():
            lines += [
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={next(numbered)} "
                f"CPUs={CPUS} RealMemory=4000"
                for node in nodes
            ]
            default = "YES" if partition == "steady" else "NO"
            lines.append(f"PartitionName={partition} Nodes={','.join(nodes)} Default={default}")
        return "\n".join(lines) + "\n"


def free_ports(n_ports: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n_ports)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(is_true: object, limit_s: float, what: str, *, poll_s: float = 0.2) -> None:
    """Wait for something to come true.

    Raises:
        TimeoutError: it does not.
    """
    assert callable(is_true)
    end_s = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(poll_s)


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A real SLURM of this test session, where Debian's packages `slurm-wlm` and `munge` are installed."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)")
    # Short, for the name of a socket has 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    cluster = SlurmCluster(folder)
    try:
        try:
            cluster.start()
        except (OSError, AssertionError) as error:
            logs = "".join(path.read_text(errors="replace")[-1000:] for path in sorted(folder.glob("*.out")))
            pytest.skip(f"SLURM does not start here ({error}): {logs}")
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)

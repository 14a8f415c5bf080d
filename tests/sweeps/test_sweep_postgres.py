"""Sweeps whose queue is a PostgreSQL database: on many machines, and when it goes away."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from benchmarks.stub_training import started
from tests.support.postgres_server import PASSWORD, QUOTED_PASSWORD, PostgresServer
from tests.support.small_sweep import arguments

from scaling_laws.cli import main
from scaling_laws.sweeps.run.queue import Queue

pytestmark = pytest.mark.systems
SUPERVISOR = Path(__file__).parents[1] / "support" / "stub_supervisor.py"


def supervisor(sweep_file: Path, n_trunks: int, workers: int, train: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SUPERVISOR), str(sweep_file), str(n_trunks), str(workers), train, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_cells_are_handed_out_once_and_studies_do_not_mix(postgres: PostgresServer) -> None:
    with ExitStack() as stack:
        first, second, other = (
            stack.enter_context(closing(Queue(postgres.url(), name))) for name in ("mine", "mine", "yours")
        )
        first.refill(["a", "b"], is_held=lambda cell: False)
        other.refill(["c"], is_held=lambda cell: False)
        taken = [queue.take() for queue in (first, second, second, other)]
    assert [found and found[1] for found in taken] == ["a", "b", None, "c"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wr0ng%2Fsecret"}, 'password authentication failed for user "tester"'),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_refuses_gets_one_line_without_the_password(
    postgres: PostgresServer,
    sweep_file: Path,
    capfd: pytest.CaptureFixture[str],
    change: dict[str, str],
    says: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(sweep_file, "--storage", postgres.url(**change)))
    assert stopped.value.code == 2
    printed = "".join(capfd.readouterr())
    assert says in printed and "Traceback" not in printed and "error: " in printed.splitlines()[-1]
    written = [
        path.read_bytes().decode(errors="replace")
        for path in (sweep_file.parent / "logs").rglob("*")
        if path.is_file()
    ]
    for secret in (PASSWORD, QUOTED_PASSWORD, "wr0ng/secret", "wr0ng%2Fsecret"):
        assert not any(secret in text for text in (printed, *written))


@pytest.mark.slow
def test_an_outage_of_twenty_seconds_loses_nothing(postgres: PostgresServer, sweep_file: Path) -> None:
    """Two supervisors; the server is stopped in the middle and started again."""
    n_trunks = 60
    running = [supervisor(sweep_file, n_trunks, 2, "train_slowly", postgres.url()) for _ in range(2)]
    folder = sweep_file.parent / "logs" / "s"
    deadline_s = time.monotonic() + 90
    while len(list(folder.glob("*/record.json"))) < 5 and time.monotonic() < deadline_s:
        time.sleep(0.1)
    postgres.stop()
    n_before = len(list(folder.glob("*/record.json")))
    time.sleep(20)
    postgres.start()
    for process in running:
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
        assert output.splitlines()[-1] == f"{n_trunks} done, 0 failed"
        assert re.search("does not answer.*\n(.*\n)*.*answers again", output)
    assert 5 <= n_before < n_trunks
    assert [len(started(folder / f"stub-{number:05d}")) for number in range(n_trunks)] == [1] * n_trunks

"""A PostgreSQL server of the tests' own, where Debian's package is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "s3cret/of a%20test"
QUOTED_PASSWORD = "s3cret%2Fof%20a%2520test"


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    """A private server that can be stopped and started."""

    programs: Path
    folder: Path
    port: int

    def url(self, *, database: str = "postgres", password: str = QUOTED_PASSWORD) -> str:
        return f"postgresql://tester:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("start", "-w", "-l", str(self.folder / "log.txt"), "-o", options)

    def stop(self) -> None:
        self._control("stop", "-w", "-m", "fast")

    def _control(self, *arguments: str) -> None:
        run_as_postgres([str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), *arguments])


def run_as_postgres(command: list[str]) -> None:
    """PostgreSQL refuses to run as root; Debian's package has made a user for it."""
    more = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    # Not captured: a server that keeps the pipe open would be waited for.
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **more)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of this test session on a free port, where Debian's package `postgresql` is installed."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed (apt-get install postgresql)")
    if os.geteuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install '.[postgres]')")
    # Not below pytest's own folder: the user postgres may not enter it.
    folder = Path(tempfile.mkdtemp(prefix="scaling-laws-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = PostgresServer(programs=programs, folder=folder, port=free.getsockname()[1])
    password_file = folder / "password"
    password_file.write_text(PASSWORD + "\n", encoding="utf-8")
    password_file.chmod(0o644)
    initdb = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "tester", "-A", "scram-sha-256"]
    try:
        run_as_postgres([*initdb, "--pwfile", str(password_file)])
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


def find_postgres() -> Path | None:
    """The folder of the newest server's programs: Debian keeps them off the path."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    on_path = shutil.which("initdb")
    folders = sorted(versions, key=lambda path: int(path.parent.name)) + (
        [Path(on_path).parent] if on_path else []
    )
    return next((folder for folder in reversed(folders) if (folder / "pg_ctl").exists()), None)

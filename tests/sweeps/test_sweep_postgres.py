"""Searches whose storage is a PostgreSQL database: its errors are one line, and never show the password."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.postgres_server import PASSWORD, QUOTED_PASSWORD, PostgresServer
from tests.support.shape_stub import write_shape_sweep
from tests.support.small_sweep import arguments

from scaling_laws.cli import main

pytestmark = pytest.mark.systems


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wr0ng%2Fsecret"}, 'password authentication failed for user "tester"'),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_refuses_gets_one_line_without_the_password(
    postgres: PostgresServer,
    tmp_path: Path,
    text_folder: Path,
    capfd: pytest.CaptureFixture[str],
    change: dict[str, str],
    says: str,
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(write_shape_sweep(tmp_path, text_folder), "--storage", postgres.url(**change)))
    assert stopped.value.code == 2
    printed = "".join(capfd.readouterr())
    assert says in printed and "Traceback" not in printed and "error: " in printed.splitlines()[-1]
    written = [
        path.read_bytes().decode(errors="replace")
        for path in (tmp_path / "logs").rglob("*")
        if path.is_file()
    ]
    for secret in (PASSWORD, QUOTED_PASSWORD, "wr0ng/secret", "wr0ng%2Fsecret"):
        assert not any(secret in text for text in (printed, *written))

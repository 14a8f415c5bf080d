"""Opens the database of a search: SQLite, or PostgreSQL. Errors never show a password."""

from __future__ import annotations

import random
import re
import time
import warnings
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar
from urllib.parse import unquote

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from scaling_laws.study.errors import InputError

CONNECT_S = 10
"""Wait so long for a server that does not answer at all."""
LOCK_S = 60
"""Wait so long for others' transactions on an SQLite file."""
OPEN_TRIES = 8
MADE_BY_OTHERS = ("already exists", "UniqueViolation", "UNIQUE constraint", "duplicate key", "locked")
"""What databases say where several supervisors make the tables at the same time."""
DAMAGED = ("malformed", "file is not a database")

OUTAGES = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.InternalError,
    sqlalchemy.exc.TimeoutError,
    optuna.exceptions.StorageInternalError,
)
"""What a database raises that stopped answering."""

Opened = TypeVar("Opened")


def open_storage(url: str, use: Callable[[RDBStorage], Opened]) -> Opened:
    """Connect, make the tables where there are none, and call `use`.

    Raises:
        InputError: the database cannot be opened, in one line.
    """
    for n_tries in range(1, OPEN_TRIES + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return use(_connected(url))
        except sqlalchemy.exc.NoSuchModuleError as error:
            raise InputError(
                "the search's storage cannot be opened: its URL has an unknown scheme; "
                "sqlite:///file and postgresql://user@host/database are known"
            ) from error
        except ImportError as error:
            raise InputError(
                "the search's storage cannot be opened: the database's driver is not installed; "
                "for PostgreSQL: pip install 'psycopg[binary]'"
            ) from error
        except (sqlalchemy.exc.SQLAlchemyError, OSError, ValueError) as error:
            if n_tries < OPEN_TRIES and any(words in str(error) for words in MADE_BY_OTHERS):
                time.sleep(random.random())
                continue
            reason = without_secrets(str(error), url)
            if any(words in reason for words in DAMAGED):
                reason += "; delete that file and run the same command again: the runs do not depend on it"
            raise InputError(
                f"the search's storage cannot be opened ({type(error).__name__}): {reason}"
            ) from None
        except optuna.exceptions.StorageInternalError as error:
            if n_tries < OPEN_TRIES:
                time.sleep(random.random())
                continue
            reason = without_secrets(str(error.__cause__ or error), url)
            raise InputError(f"the search's storage cannot be opened: {reason}") from None
    raise AssertionError("the last try returns or raises")


def without_secrets(text: str, url: str) -> str:
    """The first line of an error without what the URL must not tell: its password, and all its options."""
    authority, _, options = url.partition("://")[2].partition("?")
    password = authority.rpartition("@")[0].partition(":")[2]
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    for secret in (url, password, unquote(password), options, *re.findall(r"password=([^&]+)", options)):
        if secret:
            line = line.replace(secret, "***")
    return line


def _connected(url: str) -> RDBStorage:
    """A storage whose connections are closed with it: SQLAlchemy's pool would keep them until the end."""
    storage = _storage(url)
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _storage(url: str) -> RDBStorage:
    url = url.replace("{", "{{").replace("}", "}}")  # Optuna takes braces for fields to fill in
    if url.startswith("sqlite"):
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_S}})
        _take_locks_at_once(storage)
        return storage
    options: dict[str, object] = {"pool_pre_ping": True}
    if url.startswith(("postgresql", "postgres:")):
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    return RDBStorage(_with_driver(url), engine_kwargs=options)


def _with_driver(url: str) -> str:
    """`postgresql://` means psycopg2 to SQLAlchemy; psycopg 3 where that is not installed."""
    scheme, separator, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        return url
    driver = "postgresql" if find_spec("psycopg2") else "postgresql+psycopg"
    return f"{driver}{separator}{rest}"


def _take_locks_at_once(storage: RDBStorage) -> None:
    """Open every SQLite transaction with BEGIN IMMEDIATE.

    SQLite ignores the row locks that Optuna asks for, so that two workers can pop the same trial; with the
    write lock taken at the start of a transaction they cannot (SQLAlchemy's documented recipe).

    Nor does it wait for the disk: a killed process loses nothing thereby, and what a loss of power may damage
    is a file that the run folders fill again.
    """

    @sqlalchemy.event.listens_for(storage.engine, "connect")
    def _(connection, _record):  # type: ignore[no-untyped-def]
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=OFF")

    @sqlalchemy.event.listens_for(storage.engine, "begin")
    def _(connection):  # type: ignore[no-untyped-def]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()

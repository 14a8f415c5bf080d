"""Who is training a trunk: a lock on its folder that the kernel frees when the holder dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO


def take(folder: Path) -> IO[str] | None:
    """Lock a run's folder for as long as the returned file stays open; None where somebody holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / ".lease", "w")  # noqa: SIM115 (the caller keeps it open)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_held(folder: Path) -> bool:
    """Whether a living process holds the folder."""
    if not (folder / ".lease").exists():
        return False
    file = take(folder)
    if file is None:
        return True
    file.close()
    return False

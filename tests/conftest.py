"""Fixtures that several layers' tests share."""

from __future__ import annotations

import email
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.fitted_studies import FittedStudy, fitted_paper, fitted_study

from scaling_laws.cli import main
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tokens import TokenCorpus, build_corpus

ROOT = Path(__file__).parents[1]
PACKAGES = ("email", "http", "json", "logging")
SHARED = {
    "tiny study": {"tiny_study"},
    "papers": {"paper", "flat"},
    "synthetic studies": {"synthetic", "one_run"},
}
"""Group -> its fixtures. Three groups: one would keep one of two workers busy for longer than all else."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files go to workers whole; those that share what is long in the making to one, which makes it once."""
    needed: dict[Path, set[str]] = {}
    for item in items:
        needed.setdefault(item.path, set()).update(getattr(item, "fixturenames", ()))
    for item in items:
        names = needed[item.path]
        if item.path.parent.name not in ("reports", "papers"):
            names = names & {"tiny_study"}  # other folders have fixtures of these names of their own
        group = next((name for name, shared in SHARED.items() if names & shared), str(item.path))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Modules of the standard library as text files: some 500 kB that no change of this project touches."""
    folder = tmp_path_factory.mktemp("text")
    library = Path(email.__file__).parents[1]
    for number, path in enumerate(
        sorted(path for name in PACKAGES for path in (library / name).rglob("*.py"))
    ):
        (folder / f"{number:03d}.txt").write_text(
            path.read_text(encoding="utf-8") + f"# {number}\n", encoding="utf-8"
        )
    return folder


@pytest.fixture(scope="session")
def byte_corpus(tmp_path_factory: pytest.TempPathFactory, text_folder: Path) -> TokenCorpus:
    """Those files as bytes, with val, test and one foreign corpus held out."""
    foreign = tmp_path_factory.mktemp("foreign")
    (foreign / "counting.txt").write_text(" ".join(str(n) for n in range(4000)), encoding="utf-8")
    config = CorpusConfig(
        name="bytes",
        source="text",
        paths=(str(text_folder),),
        foreign={"numbers": (str(foreign),)},
        piece_bytes=2000,
        val_share=0.1,
        test_share=0.1,
        tokenizer="bytes",
        n_vocab=256,
    )
    return build_corpus(config, tmp_path_factory.mktemp("corpus") / "bytes")


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which `scaling-laws study configs/sweeps/tiny.yaml` has been run."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "README.md").symlink_to(ROOT / "README.md")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["study", "configs/sweeps/tiny.yaml"])
    return folder


@pytest.fixture(scope="session")
def without_torch() -> Callable[..., str]:
    """Run a command in a process where importing torch fails; what it prints. It must end well."""
    code = "import sys; sys.modules['torch'] = None\nfrom scaling_laws.cli import main\nmain(sys.argv[1:])"

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def tiny_export(
    tiny_study: Path, without_torch: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The tiny study, reported and exported without torch: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("export") / "results"
    study = tiny_study / "lightning_logs" / "tiny"
    return folder, without_torch("report", str(study), "--export", str(folder))


# --- synthetic studies, fitted once ---------------------------------------------------------------


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """Both families, all sizes and horizons, one diverged run."""
    return fitted_study(tmp_path_factory.mktemp("reports") / "synthetic", pytestconfig)


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """One transformer and nothing that a law needs."""
    folder = tmp_path_factory.mktemp("reports") / "one_run"
    few = {"families": ("transformer",), "max_sizes": 1, "horizons": (1e6,), "seeds_of_small_sizes": 1}
    return fitted_study(folder, pytestconfig, **few, diverged=0)


@pytest.fixture(scope="session")
def fitted(pytestconfig: pytest.Config) -> Callable[..., FittedStudy]:
    """Write a synthetic study with given options into a folder, read it back, fit it with few resamples."""
    return partial(fitted_study, config=pytestconfig)


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """Every run of `configs/papers/kaplan2020.yaml`, losses by the paper's laws."""
    return fitted_paper("kaplan", tmp_path_factory.mktemp("paper") / "paper", pytestconfig)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """The same runs in a world in which nothing scales; to save time, the laws of two families."""
    folder = tmp_path_factory.mktemp("flat") / "flat"
    return fitted_paper("flat", folder, pytestconfig, ("transformer", "lstm"))

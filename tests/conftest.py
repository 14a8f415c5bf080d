"""Fixtures that several layers' tests share."""

from __future__ import annotations

import email
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.fitted_studies import FittedStudy, fitted_paper, fitted_study

from scaling_laws.cli import main
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tokens import TokenCorpus, build_corpus

ROOT = Path(__file__).parents[1]
PACKAGES = ("email", "http", "json", "logging")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files go to workers whole; those that share a trained or a fitted study to one, which makes it once."""
    sharing = {
        item.path
        for item in items
        if item.path.parent.name in ("reports", "papers") or "tiny_study" in getattr(item, "fixturenames", ())
    }
    for item in items:
        item.add_marker(pytest.mark.xdist_group("studies" if item.path in sharing else str(item.path)))


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


# --- synthetic studies, fitted once ---------------------------------------------------------------


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> FittedStudy:
    """Both families, all sizes and horizons, one diverged run."""
    return fitted_study(tmp_path_factory.mktemp("reports") / "synthetic")


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> FittedStudy:
    """One transformer and nothing that a law needs."""
    folder = tmp_path_factory.mktemp("reports") / "one_run"
    return fitted_study(
        folder, families=("transformer",), max_sizes=1, horizons=(1e6,), seeds_of_small_sizes=1, diverged=0
    )


@pytest.fixture(scope="session")
def fitted() -> Callable[..., FittedStudy]:
    """Write a synthetic study with given options into a folder, read it back, fit it with few resamples."""
    return fitted_study


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """Every run of `configs/papers/kaplan2020.yaml`, losses by the paper's laws."""
    return fitted_paper("kaplan", tmp_path_factory.mktemp("paper") / "paper", pytestconfig)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """The same runs in a world in which nothing scales; to save time, the laws of two families."""
    folder = tmp_path_factory.mktemp("flat") / "flat"
    return fitted_paper("flat", folder, pytestconfig, ("transformer", "lstm"))

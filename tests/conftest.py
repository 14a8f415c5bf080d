"""Fixtures that several layers' tests share."""

from __future__ import annotations

import email
from pathlib import Path

import pytest

from scaling_laws.cli import main
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tokens import TokenCorpus, build_corpus

ROOT = Path(__file__).parents[1]
PACKAGES = ("email", "http", "json", "logging")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files go to workers whole; those that share a trained or a fitted study to one, which makes it once."""
    reports = ROOT / "tests" / "reports"
    sharing = {
        item.path
        for item in items
        if item.path.parent == reports or "tiny_study" in getattr(item, "fixturenames", ())
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

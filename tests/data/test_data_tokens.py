"""Corpora on disk: built the same twice, read back exactly, refused when damaged."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from scaling_laws.data.config import CorpusConfig, load_config
from scaling_laws.data.corpus import split_documents
from scaling_laws.data.tokens import build_corpus, describe, open_corpus
from scaling_laws.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs" / "data"
WORDS = ["law", "loss", "token", "scale", "width", "depth", "batch", "data", "compute", "power", "curve"]


@pytest.fixture
def config(tmp_path) -> CorpusConfig:
    rng = np.random.default_rng(0)
    for folder, n_documents in (("texts", 80), ("news", 10)):
        (tmp_path / folder).mkdir()
        for i in range(n_documents):
            text = " ".join(rng.choice(WORDS, 60)) + f"\n{folder} {i} – ünïcode <|endoftext|>\n"
            (tmp_path / folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return CorpusConfig(
        name="words",
        source="text",
        paths=(str(tmp_path / "texts"),),
        foreign={"news": (str(tmp_path / "news"),)},
        val_share=0.1,
        test_share=0.2,
        n_vocab=300,
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(config: CorpusConfig, **values) -> CorpusConfig:
    return CorpusConfig(**{**vars(config), **values})


def test_built_twice_is_the_same_to_the_bit(config, tmp_path):
    first = build_corpus(config, tmp_path / "a")
    second = build_corpus(config, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert first.manifest_hash == second.manifest_hash


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_documents_come_back_exactly(config, tmp_path, kind):
    config = change(config, tokenizer=kind, n_vocab={"bpe": 300, "bytes": 256}[kind])
    corpus = build_corpus(config, tmp_path / "c")
    assert corpus.held_out == ("val", "test", "news")
    assert corpus.n_vocab == config.n_vocab
    tokenizer = corpus.tokenizer()
    for split, documents in split_documents(config).items():
        tokens, offsets = corpus.tokens(split), corpus.documents(split)
        assert tokens.dtype == np.uint16
        assert tokens.max() < corpus.n_vocab
        assert len(offsets) == len(documents) + 1
        assert np.array_equal(np.flatnonzero(tokens == tokenizer.separator_id), offsets[:-1])
        assert offsets[-1] == len(tokens)
        texts = [tokenizer.decode(tokens[a + 1 : b]) for a, b in pairwise(offsets)]
        assert texts == [document.read() for document in documents]
        n_bytes = sum(len(text.encode("utf-8")) for text in texts)
        assert corpus.bytes_per_token(split) == pytest.approx(n_bytes / len(tokens))


def test_large_vocabulary_takes_four_bytes(config, tmp_path, monkeypatch):
    monkeypatch.setattr("scaling_laws.data.tokens.LARGEST_UINT16_VOCABULARY", 299)
    wide = build_corpus(config, tmp_path / "wide")
    monkeypatch.undo()
    narrow = build_corpus(config, tmp_path / "narrow")
    assert wide.tokens("train").dtype == np.uint32
    assert np.array_equal(wide.tokens("train"), narrow.tokens("train"))


def test_held_out_text_changes_neither_tokenizer_nor_training_tokens(config, tmp_path):
    build_corpus(config, tmp_path / "before")
    for split, documents in split_documents(config).items():
        if split != "train":
            for document in documents:
                path = tmp_path / document.name
                path.write_text(f"qqqq zzzz {document.name} " * 500)
    build_corpus(config, tmp_path / "after")
    before, after = contents(tmp_path / "before"), contents(tmp_path / "after")
    same = {name for name in before if before[name] == after[name]}
    assert same == {"tokenizer.json", "train.bin", "train.documents.npy"}


def test_building_again_reuses(config, tmp_path):
    folder = tmp_path / "c"
    build_corpus(config, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build_corpus(config, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_another_corpus_is_not_overwritten(config, tmp_path):
    folder = tmp_path / "c"
    first = build_corpus(config, folder)
    other = change(config, seed=1)
    with pytest.raises(InputError, match=r"another configuration.*--force"):
        build_corpus(other, folder)
    (tmp_path / "texts" / "0.txt").write_text("changed\n")
    with pytest.raises(InputError, match=r"no longer those it was built from.*--force"):
        build_corpus(config, folder)
    assert open_corpus(folder).manifest_hash == first.manifest_hash
    replaced = build_corpus(other, folder, force=True)
    assert replaced.manifest["config"]["seed"] == 1


def test_interrupted_build_leaves_no_corpus(config, tmp_path, monkeypatch):
    folder = tmp_path / "c"
    whole = build_corpus(config, folder)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("scaling_laws.data.tokens.write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(config, folder, force=True)
    with pytest.raises(InputError, match="no corpus here"):
        open_corpus(folder)
    monkeypatch.undo()
    assert build_corpus(config, folder).manifest_hash == whole.manifest_hash
    assert not list(folder.glob(".*"))


def test_folder_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be built"):
        build_corpus(config, tmp_path / "file")


# --- damage ---------------------------------------------------------------------------------------

ARTEFACTS = [
    "manifest.json",
    "sources.jsonl",
    "tokenizer.json",
    "train.bin",
    "train.documents.npy",
    "news.bin",
    "news.documents.npy",
]


def refused(folder, name):
    with pytest.raises(InputError) as caught:
        open_corpus(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert "build" in message


@pytest.mark.parametrize("name", ARTEFACTS)
def test_damage_is_found_before_use_and_mended_by_building(config, tmp_path, name):
    folder = tmp_path / "c"
    whole = build_corpus(config, folder)
    path = folder / name
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(content), 100, replace=False):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        refused(folder, name)
    for short in (b"", content[: len(content) // 2], content[:-1], content + b"x"):
        path.write_bytes(short)
        refused(folder, name)
    path.unlink()
    refused(folder, name)
    assert build_corpus(config, folder).manifest_hash == whole.manifest_hash
    assert path.read_bytes() == content


def test_size_is_checked_even_without_hashes(config, tmp_path):
    build_corpus(config, tmp_path / "c")
    path = tmp_path / "c" / "train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"train\.bin"):
        open_corpus(tmp_path / "c", verify=False)


def test_damaged_manifest_is_not_replaced_without_force(config, tmp_path):
    folder = tmp_path / "c"
    build_corpus(config, folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="--force"):
        build_corpus(config, folder)
    build_corpus(config, folder, force=True)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_other_version(config, tmp_path, schema):
    folder = tmp_path / "c"
    build_corpus(config, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema": schema}))
    with pytest.raises(InputError, match="schema 1"):
        open_corpus(folder)


def test_shard_of_another_corpus(config, tmp_path):
    build_corpus(config, tmp_path / "a")
    build_corpus(change(config, n_vocab=310), tmp_path / "b")
    shutil.copy(tmp_path / "b" / "tokenizer.json", tmp_path / "a")
    refused(tmp_path / "a", "tokenizer.json")


def test_no_corpus(tmp_path):
    with pytest.raises(InputError, match="no corpus here"):
        open_corpus(tmp_path)
    with pytest.raises(InputError, match="no corpus here"):
        open_corpus(tmp_path / "nowhere")


# --- the embedded corpus --------------------------------------------------------------------------


def test_tiny_embedded_corpus(tmp_path):
    corpus = build_corpus(load_config(CONFIGS / "tiny.yaml"), tmp_path / "tiny")
    assert corpus.held_out == ("val", "test", "prose", "packages")
    assert corpus.n_vocab == 512
    assert len(corpus.tokens("train")) > 800_000
    assert all(len(corpus.tokens(split)) > 30_000 for split in corpus.held_out)
    assert {"python", "torch", "tokenizers"} <= corpus.manifest["versions"].keys()
    rows = [json.loads(line) for line in (corpus.folder / "sources.jsonl").read_text().splitlines()]
    assert len({row["sha256"] for row in rows}) == len(rows)
    text = describe(corpus)
    assert all(split in text for split in ("train", *corpus.held_out))
    assert "<|endoftext|>" in text

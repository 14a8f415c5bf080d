"""Held-out text in the training text, counted span by span here; near-duplicates; the manifest of both."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

from scaling_laws.data import overlap as module
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.manifest import HASHES, manifest_text
from scaling_laws.data.overlap import Text, overlap
from scaling_laws.data.tokens import build_corpus, describe, open_corpus


def text_of(documents: list[list[int]]) -> Text:
    offsets = np.cumsum([0, *map(len, documents)])
    return Text(tokens=np.array([t for d in documents for t in d], dtype="<u2"), offsets=offsets)


def spans(documents: list[list[int]], n: int) -> list[tuple[int, ...]]:
    return [tuple(d[i : i + n]) for d in documents for i in range(len(d) - n + 1)]


def drawn(rng: random.Random, n_documents: int, longest: int) -> list[list[int]]:
    return [[rng.randrange(5000) for _ in range(rng.randint(1, longest))] for _ in range(n_documents)]


def with_copies(rng: random.Random, train: list[list[int]], held_out: list[list[int]]) -> None:
    """Put stretches of held-out documents into training documents."""
    for document in train[::3]:
        source = rng.choice(held_out)
        begin = rng.randrange(len(source))
        document[len(document) // 2 :] = source[begin : begin + rng.randint(1, 120)]


@pytest.mark.parametrize("chunk_tokens", [2**18, 97])
def test_every_span_is_counted(chunk_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_TOKENS", chunk_tokens)
    rng = random.Random(0)
    held_out = {"val": drawn(rng, 5, 300), "test": drawn(rng, 20, 200), "short": [[1, 2, 3]]}
    train = drawn(rng, 40, 300)
    with_copies(rng, train, held_out["val"] + held_out["test"])
    found = overlap(text_of(train), {k: text_of(v) for k, v in held_out.items()}, bytes_per_token=3.0)
    assert found.near_span_tokens == 13
    for n in (13, 25, 50):
        known = set(spans(train, n))
        for split, documents in held_out.items():
            all_spans = spans(documents, n)
            expected = sum(span in known for span in all_spans) / len(all_spans) if all_spans else 0.0
            assert found.shares[split][n] == pytest.approx(expected)
    assert 0 < found.shares["test"][50] < found.shares["test"][13] < 1
    known = {span for documents in held_out.values() for span in spans(documents, 13)}
    for document, near in zip(train, found.near, strict=True):
        own = spans([document], 13)
        assert near == bool(own and sum(span in known for span in own) >= len(own) / 2)
    assert 0 < found.near.sum() < len(train)


def test_a_sample_of_all_spans_tells_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    held_out, train = drawn(rng, 400, 400), drawn(rng, 400, 400)
    with_copies(rng, train, held_out)
    texts = text_of(train), {"test": text_of(held_out)}
    whole = overlap(*texts, bytes_per_token=3.0)
    monkeypatch.setattr(module, "MOST_HASHES", 10_000)
    sampled = overlap(*texts, bytes_per_token=3.0)
    assert sampled.shares["test"][13] != whole.shares["test"][13]  # it is one
    for n in (13, 25, 50):
        assert sampled.shares["test"][n] == pytest.approx(whole.shares["test"][n], rel=0.25)
    assert (sampled.near == whole.near).mean() > 0.97


@pytest.mark.parametrize(("bytes_per_token", "expected"), [(4.0, 13), (2.0, 25), (1.0, 50), (0.4, 50)])
def test_near_duplicates_are_found_by_spans_of_some_words(bytes_per_token: float, expected: int) -> None:
    texts = text_of([[1] * 60]), {"test": text_of([[2] * 60])}
    found = overlap(*texts, bytes_per_token=bytes_per_token)
    assert found.near_span_tokens == expected and not found.near.any()
    assert found.shares == {"test": {13: 0.0, 25: 0.0, 50: 0.0}}


def test_it_takes_seconds_where_encoding_takes_minutes() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 4096, 4_000_000).astype("<u2")  # of 12 MB of text
    offsets = np.arange(0, 4_000_001, 500)
    began_s = time.process_time()
    overlap(
        Text(tokens=tokens, offsets=offsets),
        {"test": Text(tokens=tokens[:200_000], offsets=offsets[:401])},
        bytes_per_token=3.0,
    )
    assert time.process_time() - began_s < 8  # encoding: 5 s on the same core; 1.5 s here


# --- in a corpus ---------------------------------------------------------------------------------------

WORDS = [f"word{i}" for i in range(500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents, and of each a copy with one word in forty changed."""
    folder, rng = tmp_path_factory.mktemp("texts"), random.Random(2)
    for number in range(60):
        words = rng.choices(WORDS, k=400)
        (folder / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
        words[::40] = rng.choices(WORDS, k=10)
        (folder / f"{number}-again.txt").write_text(" ".join(words), encoding="utf-8")
    return folder


def other(name: str) -> str:
    """The copy of a document, or the document of a copy."""
    return name.replace("-again", "") if "again" in name else name.replace(".", "-again.")


def config(folder: Path, **more: object) -> CorpusConfig:
    plain = {"val_share": 0.1, "test_share": 0.1, "n_vocab": 400}
    return CorpusConfig(name="mine", source="text", paths=(str(folder),), **(plain | more))


def test_near_duplicates_of_held_out_text_are_removed_where_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = build_corpus(config(folder), tmp_path / "kept")
    assert "near-copies of held-out text" in capsys.readouterr().err
    removed = build_corpus(config(folder, near_duplicates="remove"), tmp_path / "removed")
    assert "note" not in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "kept" / "sources.jsonl").read_text().splitlines()]
    split_of = {row["name"].removeprefix(f"{folder.name}/"): row["split"] for row in rows}
    expected = {
        name for name, split in split_of.items() if split == "train" and split_of[other(name)] != "train"
    }
    file = tmp_path / "removed" / "near_duplicates.jsonl"
    listed = [json.loads(line)["name"] for line in file.read_text().splitlines()]
    gone = {name.removeprefix(f"{folder.name}/") for name in listed}
    assert gone == expected and len(gone) > 5
    near = kept.manifest["overlap"]["near_duplicates"]
    assert near["documents"] == len(gone) and not near["removed"]
    assert near == removed.manifest["overlap"]["near_duplicates"] | {"removed": False}
    spans = kept.manifest["overlap"]["share_of_held_out_spans_in_training_text"]
    assert 0.3 < spans["test"]["50"] <= spans["test"]["25"] <= spans["test"]["13"] <= 1

    # What is left is what was there, without them.
    train = removed.manifest["splits"]["train"]
    tokens, places = kept.tokens("train"), kept.documents("train")
    names = [row["name"].removeprefix(f"{folder.name}/") for row in rows if row["split"] == "train"]
    left = [tokens[places[k] : places[k + 1]] for k, name in enumerate(names) if name not in gone]
    assert np.array_equal(removed.tokens("train"), np.concatenate(left))
    assert removed.documents("train").tolist() == [0, *np.cumsum([len(each) for each in left]).tolist()]
    assert train["n_documents"] == len(left)
    assert train["n_bytes"] == sum(row["n_bytes"] for row in rows if row["split"] == "train") - sum(
        (folder / name).stat().st_size for name in gone
    )
    assert removed.manifest["splits"]["test"] == kept.manifest["splits"]["test"]
    again = build_corpus(config(folder, near_duplicates="remove"), tmp_path / "removed")
    assert again == removed  # it was opened
    assert "removed" in describe(removed) and "13 tokens" in describe(removed)


def test_what_is_only_measured_is_no_part_of_a_corpuss_hash(folder: Path, tmp_path: Path) -> None:
    """A corpus of an earlier version has neither the numbers nor the settings, and is the same corpus."""
    corpus = build_corpus(config(folder), tmp_path / "c")
    assert not {"near_duplicates", "document_separator"} & corpus.manifest["config"].keys()
    content = {k: v for k, v in corpus.manifest.items() if k not in ("overlap", *HASHES)}
    (tmp_path / "c" / "manifest.json").write_text(manifest_text(content), encoding="utf-8")
    before = open_corpus(tmp_path / "c")
    assert before.manifest_hash == corpus.manifest_hash and "overlap" not in before.manifest
    assert build_corpus(config(folder), tmp_path / "c").manifest_hash == corpus.manifest_hash
    assert "near-duplicates" not in describe(before)

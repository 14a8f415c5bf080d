"""Hugging Face data sets: one corpus however its rows are read; no network; one line where it is needed."""

import builtins
import json
import random
from types import SimpleNamespace

import pytest

from scaling_laws.data import huggingface
from scaling_laws.data.corpus import split_documents
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.huggingface import dataset_path
from scaling_laws.data.tokens import build_corpus, open_corpus
from scaling_laws.study.errors import InputError

TEXTS = [f"Row {i}: the loss falls as a power of {i * i}, äöü 😀 <|endoftext|>\n" for i in range(80)]
NEWS = [f"News {i}\n" for i in range(10)]


def test_a_path_names_a_data_set_and_its_options():
    text = (
        "wikimedia/wikipedia?configuration=20231101.en&split=train[:10%]+test&revision=b04c&text_field=body"
    )
    path = dataset_path(text)
    assert (path.name, path.configuration) == ("wikimedia/wikipedia", "20231101.en")
    assert (path.split, path.revision, path.text_field) == ("train[:10%]+test", "b04c", "body")
    assert str(path) == text
    assert str(dataset_path("c4")) == "c4"


@pytest.mark.parametrize("text", ["c4?", "c4?split", "c4?split=", "c4?subset=en", "c4?split=a&&revision=b"])
def test_a_bad_option_is_refused(text):
    if text == "c4?":
        assert dataset_path(text) == dataset_path("c4")
        return
    with pytest.raises(InputError, match="is not one of configuration, split, revision, text_field"):
        dataset_path(text)


def test_without_the_package_the_line_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in (str(tmp_path), "allenai/c4"):
        with pytest.raises(InputError, match=r'pip install "datasets>=4"') as caught:
            build_corpus(config(name), tmp_path / "c")
        assert "\n" not in str(caught.value)


def config(*paths, **options) -> CorpusConfig:
    options = {"val_share": 0.2, "test_share": 0.2, "tokenizer": "bytes", "n_vocab": 256} | options
    return CorpusConfig(name="hf", source="huggingface", paths=tuple(map(str, paths)), **options)


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


@pytest.fixture
def stored(datasets, tmp_path):
    """The same rows in every way that they can lie on a disk, one of them in another order."""
    rows = datasets.Dataset.from_dict({"text": TEXTS, "number": list(range(80))})
    rows.save_to_disk(tmp_path / "saved" / "rows")
    datasets.DatasetDict({"train": rows, "other": rows.select([0])}).save_to_disk(tmp_path / "dict" / "rows")
    for kind in ("parquet", "jsonl", "shuffled"):
        (tmp_path / kind / "rows").mkdir(parents=True)
    rows.to_parquet(str(tmp_path / "parquet" / "rows" / "a.parquet"))
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    for kind, texts in (("jsonl", TEXTS), ("shuffled", [*shuffled, TEXTS[3], None, " "])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / kind / "rows" / "a.jsonl").write_text(lines, encoding="utf-8")
    return {kind: tmp_path / kind / "rows" for kind in ("saved", "dict", "parquet", "jsonl", "shuffled")}


def contents(splits):
    return {name: [(d.name, d.read()) for d in documents] for name, documents in splits.items()}


@pytest.mark.parametrize("streaming", [False, True])
def test_the_corpus_does_not_depend_on_how_the_rows_are_read(stored, tmp_path, streaming):
    found = [
        contents(split_documents(config(path, streaming=streaming), tmp_path)) for path in stored.values()
    ]
    assert all(one == found[0] for one in found)
    assert sorted(text for documents in found[0].values() for _, text in documents) == sorted(TEXTS)
    assert [*found[0]] == ["train", "val", "test"] and all(found[0].values())


def test_streamed_or_not_is_the_same_corpus_to_the_bit(stored, tmp_path):
    (tmp_path / "news.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in NEWS))
    foreign = {"news": (f"{tmp_path / 'news.jsonl'}?text_field=body",)}
    shards = []
    for streaming in (False, True):
        corpus = build_corpus(
            config(stored["parquet"], foreign=foreign, streaming=streaming), tmp_path / str(streaming)
        )
        assert corpus.held_out == ("val", "test", "news")
        names = {path.name for path in corpus.folder.glob("[!.]*")}
        assert names == {*corpus.manifest["files"], "manifest.json"}
        shards.append({split: corpus.tokens(split).tobytes() for split in ("train", *corpus.held_out)})
    assert shards[0] == shards[1]
    assert {d.read() for d in split_documents(config(stored["saved"], foreign=foreign))["news"]} == {*NEWS}


def test_a_limit_takes_the_beginning_of_a_stream_and_reads_no_more(stored, tmp_path, monkeypatch):
    read = []
    real = huggingface._contents

    def counted(*arguments):
        for content in real(*arguments):
            read.append(content.decode())
            yield content

    monkeypatch.setattr(huggingface, "_contents", counted)
    splits = split_documents(config(stored["jsonl"], streaming=True, max_train_bytes=1000), tmp_path)
    assert read == TEXTS[: len(read)] and len(read) < 40
    assert 900 < sum(document.n_bytes for document in splits["train"]) <= 1000
    assert {d.read() for documents in splits.values() for d in documents} == {*read[:-1]}


def test_a_built_corpus_is_opened_without_its_rows(stored, tmp_path, monkeypatch):
    corpus = build_corpus(config(stored["jsonl"]), tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr(huggingface, "_load", None)
        assert build_corpus(config(stored["jsonl"]), tmp_path / "c").manifest_hash == corpus.manifest_hash
    file = stored["jsonl"] / "a.jsonl"
    file.write_text(file.read_text().replace("Row 7:", "Row 8:"))
    with pytest.raises(InputError, match=r"the data sets are no longer .*--force"):
        build_corpus(config(stored["jsonl"]), tmp_path / "c")


def test_the_commit_of_a_data_set_of_the_hub_is_kept(stored, datasets, tmp_path, monkeypatch):
    asked = []

    class Hub:
        def dataset_info(self, name, revision):
            asked.append((name, revision))
            return SimpleNamespace(sha="0123abc")

    def from_hub(name, configuration, *, split, revision, streaming):
        assert (name, configuration, split, revision) == ("org/rows", "en", "train", "0123abc")
        return datasets.load_from_disk(stored["saved"])

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset", from_hub)
    there = config("org/rows?configuration=en&revision=v1")
    corpus = build_corpus(there, tmp_path / "c")
    assert asked == [("org/rows", "v1")]
    assert corpus.manifest["at_commits"]["paths"] == ["org/rows?configuration=en&revision=0123abc"]
    assert build_corpus(there, tmp_path / "c").manifest_hash == corpus.manifest_hash
    assert len(asked) == 1


def test_the_hub_out_of_reach_is_one_line(datasets, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://localhost:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:9")
    with pytest.raises(
        InputError, match="org/none: not on this disk, and the hub does not have it"
    ) as caught:
        build_corpus(config("org/none"), tmp_path / "c")
    assert "\n" not in str(caught.value) and "save_to_disk" in str(caught.value)
    with pytest.raises(InputError, match="no corpus here"):
        open_corpus(tmp_path / "c")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("jsonl", "?split=none", "cannot be opened"),
        ("jsonl", "?configuration=none", "cannot be opened"),
        ("jsonl", "?revision=main", "leave the revision out"),
        ("jsonl", "?text_field=none", "none"),
        ("parquet", "?text_field=number", "row 0: 'number' is not text"),
        ("dict", "?split=none", "its splits are train, other"),
        ("saved", "?split=train", "was saved as one split"),
    ],
)
def test_what_a_data_set_does_not_have_is_one_line(stored, tmp_path, kind, options, says, streaming):
    with pytest.raises(InputError) as caught:
        split_documents(config(f"{stored[kind]}{options}", streaming=streaming), tmp_path)
    message = str(caught.value)
    assert says in message and str(stored[kind]) in message and "\n" not in message


def test_a_stream_that_breaks_off_is_one_line(stored, tmp_path):
    file = stored["jsonl"] / "a.jsonl"
    file.write_text(file.read_text() + '{"text": \n')
    for streaming in (False, True):
        with pytest.raises(InputError) as caught:
            split_documents(config(stored["jsonl"], streaming=streaming), tmp_path)
        assert str(stored["jsonl"]) in str(caught.value) and "\n" not in str(caught.value)

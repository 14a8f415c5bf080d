"""Documents: where they come from, duplicates, order and split."""

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from scaling_laws.data import embedded
from scaling_laws.data.corpus import split_documents
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.study.errors import InputError


def text_config(*paths, **options) -> CorpusConfig:
    options = {"val_share": 0.2, "test_share": 0.3, "n_vocab": 300} | options
    return CorpusConfig(name="mine", source="text", paths=tuple(map(str, paths)), **options)


def write_files(folder, texts):
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "texts", {f"part{i % 3}/{i}.txt": f"text number {i}\n" for i in range(60)})


def names(splits):
    return {split: [document.name for document in documents] for split, documents in splits.items()}


def test_every_document_is_in_exactly_one_split(folder):
    splits = names(split_documents(text_config(folder)))
    everything = [name for split in splits.values() for name in split]
    assert sorted(everything) == sorted(f"texts/part{i % 3}/{i}.txt" for i in range(60))
    assert [*splits] == ["train", "val", "test"]
    assert len(splits["train"]) > len(splits["test"]) > 0 < len(splits["val"])


def test_split_of_a_document_depends_on_its_name_and_the_seed_alone(folder):
    before = names(split_documents(text_config(folder)))
    other_seed = names(split_documents(text_config(folder, seed=1)))
    for i in range(0, 60, 2):
        (folder / f"part{i % 3}" / f"{i}.txt").unlink()
    write_files(folder, {f"new/{i}.txt": f"new {i}" for i in range(30)})
    after = names(split_documents(text_config(folder)))
    for split in before:
        assert [n for n in before[split] if n in after[split]] == [
            n for n in after[split] if "/new/" not in n
        ]
    assert other_seed["test"] != before["test"]


def test_duplicates_stay_once_over_all_splits_and_foreign_corpora(tmp_path, folder):
    write_files(folder, {f"copy/{i}.txt": f"text number {i % 60}\n" for i in range(90)})
    news = write_files(tmp_path / "news", {f"{i}.txt": f"text number {i}\n" for i in range(55, 70)})
    splits = split_documents(text_config(folder, foreign={"news": (str(news),)}))
    texts = [document.read() for documents in splits.values() for document in documents]
    assert len(texts) == len(set(texts)) == 70  # 0 ... 69
    assert {document.read() for document in splits["news"]} == {f"text number {i}\n" for i in range(60, 70)}


def test_empty_and_hidden_files_are_left_out(folder):
    write_files(folder, {"empty.txt": "", "blank.txt": " \n\t\n", ".hidden/x.txt": "x", ".y.txt": "y"})
    assert sum(map(len, split_documents(text_config(folder)).values())) == 60


def test_limit_in_bytes_keeps_the_shares(folder):
    whole = names(split_documents(text_config(folder)))
    cut = split_documents(text_config(folder, max_train_bytes=200))
    assert 150 < sum(document.n_bytes for document in cut["train"]) <= 200
    for split, documents in names(cut).items():
        assert documents == whole[split][: len(documents)]
    assert 0 < len(cut["test"]) < len(whole["test"])


def test_long_file_is_cut_at_line_ends_and_nothing_is_lost(tmp_path):
    text = "".join(f"line {i} äöü\n" for i in range(2000)) + "no line end"
    path = tmp_path / "book.txt"
    path.write_text(text, encoding="utf-8")
    splits = split_documents(text_config(path, piece_bytes=300))
    pieces = sorted(
        (int(document.name.split(":")[1]), document)
        for documents in splits.values()
        for document in documents
    )
    assert "".join(document.read() for _, document in pieces) == text
    assert all(300 <= document.n_bytes < 330 for _, document in pieces[:-1])


def test_one_whole_file_cannot_be_split(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("text\n" * 1000)
    with pytest.raises(InputError, match="piece_bytes"):
        split_documents(text_config(path))


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    texts = [f"Text {i}\nwith ünïcode\u2028 and a line" for i in range(40)]
    path.write_text("\n\n".join(json.dumps({"body": text, "other": 1}) for text in texts), encoding="utf-8")
    config = CorpusConfig(
        name="j",
        source="jsonl",
        paths=(str(tmp_path),),
        text_field="body",
        val_share=0.2,
        test_share=0.2,
        n_vocab=300,
    )
    splits = split_documents(config)
    assert sorted(document.read() for documents in splits.values() for document in documents) == sorted(texts)


@pytest.mark.parametrize(
    "line", ['{"body": "x"}', '{"text": 3}', "[1]", "{", '"text"', '{"text": "\\ud800"}']
)
def test_bad_jsonl_line_is_named(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2: .*'text'"):
        split_documents(CorpusConfig(name="j", source="jsonl", paths=(str(path),), n_vocab=300))


def test_bad_paths(tmp_path, folder):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        split_documents(text_config(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no document is left for 'train'"):
        split_documents(text_config(tmp_path / "empty"))
    write_files(tmp_path / "other", {"texts/a.txt": "a"})
    with pytest.raises(InputError, match=r"other/texts: named like .*texts"):
        split_documents(text_config(folder, tmp_path / "other" / "texts"))
    (folder / "latin.txt").write_bytes("übel".encode("latin-1"))
    with pytest.raises(InputError, match=r"texts/latin\.txt: not UTF-8 at byte 0"):
        split_documents(text_config(folder))


# --- the embedded corpus --------------------------------------------------------------------------


def test_embedded_sources_are_what_they_say():
    sources = embedded.embedded_sources()
    for documents in sources.values():
        assert len({source.name for source in documents}) == len(documents)
    tops = {source.name.split("/")[0] for source in sources["train"]}
    assert tops == {"stdlib", *embedded.TRAIN_PACKAGES}
    assert {source.name.split("/")[0] for source in sources["packages"]} == {*embedded.FOREIGN_PACKAGES}
    train = {source.name for source in sources["train"]}
    assert {"stdlib/ast.py", "stdlib/asyncio/tasks.py", "torch/nn/modules/linear.py"} <= train
    assert not any("/tests/" in name or "site-packages" in name or "sysconfigdata" in name for name in train)


def test_embedded_imports_none_of_its_packages():
    code = (
        "import sys; from scaling_laws.data.embedded import embedded_sources; embedded_sources();"
        "print([m for m in ('torch', 'scipy', 'pandas', 'optuna', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_missing_package_is_named(monkeypatch):
    find_spec = embedded.importlib.util.find_spec

    def without_sympy(name: str) -> ModuleSpec | None:
        return None if name == "sympy" else find_spec(name)

    monkeypatch.setattr(embedded.importlib.util, "find_spec", without_sympy)
    with pytest.raises(InputError, match="sympy is not installed"):
        embedded.embedded_sources()
    monkeypatch.undo()
    monkeypatch.setattr(embedded, "DESCRIBED_DISTRIBUTIONS", ("rich", "no-such-distribution"))
    with pytest.raises(InputError, match="no-such-distribution is not installed"):
        embedded.embedded_sources()

"""Corpora on disk: built the same twice, read back exactly, refused when damaged."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from scaling_laws.cli import main
from scaling_laws.data.batches import training_batch
from scaling_laws.data.clean import remove_corpora
from scaling_laws.data.corpus import split_documents
from scaling_laws.data.corpus_file import CorpusConfig, load_config
from scaling_laws.data.manifest import manifest_text
from scaling_laws.data.tokenizer import TextTokenizer, train_tokenizer
from scaling_laws.data.tokens import build_corpus, describe, open_corpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import sha256_of

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
    """The files of a corpus; a stamp (`.verified.json`) is not one of them."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


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
    times = {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}
    build_corpus(config, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*")} == times


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
    assert not list(folder.glob(".building*"))


def test_folder_that_cannot_be_written(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: is a file; name a folder"):
        build_corpus(config, tmp_path / "file")


class WrongTokenizer(TextTokenizer):
    """Gives one document an id that it must not have."""

    def encode(self, texts):
        for text, ids in zip(texts, super().encode(texts), strict=True):
            yield np.append(ids, self.wrong_id) if "texts 7 " in text else ids


@pytest.mark.parametrize("wrong_id", [300, 70_000, "separator"])
def test_an_id_outside_the_vocabulary_ends_the_build(config, tmp_path, monkeypatch, wrong_id):
    def wrong(*arguments):
        tokenizer = train_tokenizer(*arguments)
        tokenizer.__class__ = WrongTokenizer
        tokenizer.wrong_id = tokenizer.separator_id if wrong_id == "separator" else wrong_id
        return tokenizer

    monkeypatch.setattr("scaling_laws.data.tokenizer.train_tokenizer", wrong)
    with pytest.raises(InputError, match=r"^texts/7\.txt: the tokenizer gives it an id") as caught:
        build_corpus(config, tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c").exists()


FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import build_corpus
from scaling_laws.study.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sizes = [0, 4000, 9000, 12000, 1_000_000]
refused = 0
for size in sizes:
    folder = Path(sys.argv[2], str(size))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        build_corpus(load_config(sys.argv[1]), folder)
    except InputError as error:
        refused += 1
        assert str(folder) in str(error) and "cannot be built" in str(error), error
        assert "\\n" not in str(error)
        assert not folder.exists(), size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for size in sizes:
    build_corpus(load_config(sys.argv[1]), Path(sys.argv[2], str(size)))
print("refused", refused, "of", len(sizes))
"""


def test_a_disk_that_is_full_leaves_no_corpus(config, tmp_path):
    """Writes fail as on a full disk (with EFBIG): tokenizer, sources, tokens, one after the other."""
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**asdict(config), "paths": [*config.paths], "foreign": {}}))
    command = [sys.executable, "-c", FILL_THE_DISK, str(path), str(tmp_path / "corpora")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "refused 4 of 5"


def test_a_disk_that_is_full_at_the_manifest_leaves_no_corpus(config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scaling_laws.data.tokens.write_atomically", full)
    with pytest.raises(InputError, match=r"/c: the corpus cannot be built \(.*No space left on device\)"):
        build_corpus(config, tmp_path / "c")
    with pytest.raises(InputError, match="no corpus here"):
        open_corpus(tmp_path / "c")


# --- large texts -----------------------------------------------------------------------------------


def odd_text(n_lines: int) -> str:
    """Lines of all sorts of blanks, marks and characters of one to four bytes."""
    rng = np.random.default_rng(1)
    ends = ["\n", "\n\n", " \n", "\n ", "\r\n", "\n\t", "}\n", "\u3000\n", "\x1c\n", "é\n", "\n🦊", "\n'll"]
    return "".join(
        " ".join(rng.choice([*WORDS, "ünï", "数字", "🦊"], 5)) + rng.choice(ends) for _ in range(n_lines)
    )


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
def test_a_large_document_is_encoded_in_parts_as_it_is_whole(tmp_path, monkeypatch, kind):
    (tmp_path / "texts").mkdir()
    for number in range(40):
        (tmp_path / "texts" / f"{number}.txt").write_text(odd_text(200) + str(number), newline="")
    config = CorpusConfig(
        name="odd",
        source="text",
        paths=(str(tmp_path / "texts"),),
        val_share=0.2,
        test_share=0.2,
        tokenizer=kind,
        n_vocab={"bpe": 320, "bytes": 256}[kind],
    )
    whole = build_corpus(config, tmp_path / "whole")
    monkeypatch.setattr("scaling_laws.data.tokens.PART_CHARACTERS", 50)
    monkeypatch.setattr("scaling_laws.data.sources.BLOCK_BYTES", 37)  # characters lie in two blocks
    documents = split_documents(config)["train"]
    n_parts = [len(list(document.parts(50))) for document in documents]
    assert min(n_parts) > 20 and all("".join(each.parts(50)) == each.read() for each in documents)
    parts = build_corpus(config, tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert parts.manifest_hash == whole.manifest_hash


def test_the_place_of_a_bad_byte_in_a_large_file(config, tmp_path, monkeypatch):
    monkeypatch.setattr("scaling_laws.data.sources.BLOCK_BYTES", 7)
    good = "größe und länge ".encode() * 10
    for bad, place in ((b"\xff", len(good)), ("ü".encode()[:1], len(good))):
        (tmp_path / "texts" / "0.txt").write_bytes(good + bad)
        with pytest.raises(InputError, match=rf"texts/0.txt: not UTF-8 at byte {place};"):
            build_corpus(config, tmp_path / "c")


def test_one_large_file_is_refused_before_it_is_read(config, tmp_path):
    file = tmp_path / "large.txt"
    with open(file, "wb") as content:
        content.truncate(50_000_000_000)  # a hole: it takes no place
    began_s = time.monotonic()
    with pytest.raises(InputError, match=r"no document is left for .*piece_bytes cuts long text files"):
        build_corpus(change(config, paths=(str(file),), foreign={}), tmp_path / "c")
    assert time.monotonic() - began_s < 5


LARGE = """
import resource, sys
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tokens import build_corpus
build_corpus(CorpusConfig(name="small", source="text", paths=(sys.argv[1] + "/small",), val_share=0.3,
    test_share=0.3, tokenizer="bytes", n_vocab=256), sys.argv[1] + "/a")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
build_corpus(CorpusConfig(name="large", source="text", paths=(sys.argv[1] + "/large",), val_share=0.3,
    test_share=0.3, tokenizer="bytes", n_vocab=256), sys.argv[1] + "/b")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""


def test_a_large_corpus_needs_little_memory(tmp_path):
    """Five files of 40 MB, each a document, are built in less memory than one of them takes as tokens."""
    line = " ".join(WORDS).encode() + b"\n"
    for folder, n_lines in (("small", 10), ("large", 40_000_000 // len(line))):
        (tmp_path / folder).mkdir()
        for number in range(12 if folder == "small" else 5):
            (tmp_path / folder / f"{number}.txt").write_bytes(line * n_lines + b"%d" % number)
    command = [sys.executable, "-c", LARGE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 70  # MB


# --- what is not ours ------------------------------------------------------------------------------


def test_a_folder_of_ones_own_is_not_built_into(config, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"mine: holds files that scaling-laws did not write \(train.bin\)"):
        build_corpus(config, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"train.bin": b"mine"}
    build_corpus(config, folder, force=True)
    assert open_corpus(folder, verify=True).name == "words"


def test_a_new_split_does_not_replace_a_file_of_ones_own(config, tmp_path):
    folder = tmp_path / "c"
    build_corpus(change(config, foreign={}), folder)
    (folder / "news.bin").write_bytes(b"mine")
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"news.bin: already exists, and scaling-laws did not write it"):
        build_corpus(config, folder)
    assert (folder / "news.bin").read_bytes() == b"mine"


def test_a_build_that_fails_leaves_no_folder(config, tmp_path):
    with pytest.raises(InputError, match="no document is left"):
        build_corpus(change(config, paths=(f"{tmp_path}/texts/0.txt",)), tmp_path / "data" / "c")
    assert not (tmp_path / "data" / "c").exists()


def test_clean_removes_what_builds_made_and_nothing_else(config, tmp_path):
    data = tmp_path / "data"
    for name in ("whole", "with_notes", "changed"):
        build_corpus(config, data / name)
    (data / "with_notes" / "notes.txt").write_text("mine")
    with open(data / "changed" / "sources.jsonl", "a") as file:
        file.write("mine")
    for name in ("my_text_sources", "manifest_of_another_kind"):
        (data / name).mkdir()
    (data / "my_text_sources" / "novel.txt").write_text("years of work")
    (data / "manifest_of_another_kind" / "manifest.json").write_text('{"name": "app"}')
    (data / "list.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    build_corpus(config, tmp_path / "elsewhere" / "c")
    (data / "link").symlink_to(tmp_path / "elsewhere" / "c")
    root = CONFIGS.parents[1]
    command = [sys.executable, "-S", "-m", "scaling_laws.data.clean", str(data)]  # nothing is installed
    subprocess.run(command, check=True, env={"PYTHONPATH": str(root / "src")}, cwd=tmp_path)
    left = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    assert left == {
        "with_notes/notes.txt",
        "changed/sources.jsonl",
        "my_text_sources/novel.txt",
        "manifest_of_another_kind/manifest.json",
        "list.txt",
    }
    open_corpus(tmp_path / "elsewhere" / "c", verify=True)


def test_clean_believes_no_strangers_manifest(config, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    corpus = build_corpus(config, tmp_path / "data" / "c")
    content = {key: value for key, value in corpus.manifest.items() if key != "manifest_sha256"}
    content["files"]["../../victim.txt"] = {"n_bytes": 4, "sha256": sha256_of(victim)}
    (tmp_path / "data" / "c" / "manifest.json").write_text(manifest_text(content))
    remove_corpora(tmp_path / "data")
    assert victim.exists() and not (tmp_path / "data" / "c").exists()


# --- damage ---------------------------------------------------------------------------------------

ARTEFACTS = [
    "manifest.json",
    "sources.jsonl",
    "tokenizer.json",
    *(f"{split}.{end}" for split in ("train", "val", "test", "news") for end in ("bin", "documents.npy")),
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


def test_the_artefacts_are_all_there_are(config, tmp_path):
    build_corpus(config, tmp_path / "c")
    assert sorted(contents(tmp_path / "c")) == sorted(ARTEFACTS)


def test_damaged_manifest_is_not_replaced_without_force(config, tmp_path):
    folder = tmp_path / "c"
    build_corpus(config, folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="--force"):
        build_corpus(config, folder)
    build_corpus(config, folder, force=True)


@pytest.mark.parametrize("schema", [0, 1, 3, "2", None])
def test_other_version(config, tmp_path, schema):
    folder = tmp_path / "c"
    build_corpus(config, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema": schema}))
    with pytest.raises(InputError, match="schema 2, which this version reads"):
        open_corpus(folder)


def test_shard_of_another_corpus(config, tmp_path):
    build_corpus(config, tmp_path / "a")
    build_corpus(change(config, n_vocab=310), tmp_path / "b")
    shutil.copy(tmp_path / "b" / "tokenizer.json", tmp_path / "a")
    refused(tmp_path / "a", "tokenizer.json")


# --- what was verified is not hashed again --------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are hashed, as they are."""
    names = []

    def counted(path, *progress):
        names.append(path.name)
        return sha256_of(path, *progress)

    monkeypatch.setattr("scaling_laws.data.manifest.sha256_of", counted)
    return names


@pytest.fixture
def settled(config, tmp_path, monkeypatch):
    """A corpus whose files have not been written to for a while."""
    build_corpus(config, tmp_path / "c")
    monkeypatch.setattr("scaling_laws.data.manifest.SETTLED_NS", -1)
    return tmp_path / "c"


def test_a_large_corpus_says_that_it_is_checked(settled, monkeypatch, capsys):
    monkeypatch.setattr("scaling_laws.study.stages.NOTICE_AFTER_S", 0.0)
    open_corpus(settled)
    assert f"checking the files of {settled}: about" in capsys.readouterr().err
    open_corpus(settled)
    assert capsys.readouterr().err == ""


def test_a_file_is_hashed_once(settled, hashed):
    files = sorted(set(ARTEFACTS) - {"manifest.json"})
    open_corpus(settled)
    assert sorted(hashed) == files
    open_corpus(settled)
    assert sorted(hashed) == files
    open_corpus(settled, verify=True)
    assert sorted(hashed) == sorted(files * 2)


def test_a_file_written_just_now_is_not_remembered(config, tmp_path, hashed):
    """It could be written again within the grain of its times."""
    build_corpus(config, tmp_path / "c")
    hashed.clear()
    open_corpus(tmp_path / "c")
    assert len(hashed) == len(ARTEFACTS) - 1


@pytest.mark.parametrize("kind", ["written", "times put back", "replaced", "restamped"])
def test_a_file_that_changed_is_hashed_again(settled, hashed, kind):
    open_corpus(settled)
    hashed.clear()
    path = settled / "train.bin"
    before = path.stat()
    flipped = bytearray(path.read_bytes())
    flipped[1000] ^= 1
    if kind == "replaced":
        path.rename(settled / "elsewhere")
    path.write_bytes(flipped)
    if kind == "times put back":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
    if kind == "restamped":
        stamp = json.loads((settled / ".verified.json").read_text())
        (settled / ".verified.json").write_text(json.dumps(dict.fromkeys(stamp, stamp["test.bin"])))
    refused(settled, "train.bin")
    assert "train.bin" in hashed


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"train.bin": 3}', '{"train.bin": []}', "\xff"])
def test_a_damaged_stamp_costs_no_more_than_the_hashes(settled, hashed, content):
    (settled / ".verified.json").write_bytes(content.encode("latin-1"))
    open_corpus(settled)
    assert len(hashed) == len(ARTEFACTS) - 1
    open_corpus(settled)
    assert len(hashed) == len(ARTEFACTS) - 1


def test_damage_that_no_write_did_is_found_when_asked_for(settled, capsys):
    """As by a failing disk: the bytes differ, the file's times do not (here: the stamp is told so)."""
    open_corpus(settled)
    path = settled / "val.bin"
    flipped = bytearray(path.read_bytes())
    flipped[10] ^= 4
    path.write_bytes(flipped)
    status = path.stat()
    stamp = json.loads((settled / ".verified.json").read_text())
    stamp["val.bin"][1:5] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    (settled / ".verified.json").write_text(json.dumps(stamp))
    open_corpus(settled)
    main(["data", "show", str(settled)])
    with pytest.raises(SystemExit):
        main(["data", "show", str(settled), "--verify"])
    assert "val.bin: damaged" in capsys.readouterr().err


def with_tokens(folder, split, ids):
    """A corpus as a stranger might send it: other tokens of a split, and the hashes that belong to them."""
    path = folder / f"{split}.bin"
    tokens = np.fromfile(path, "<u2")
    tokens[: len(ids)] = ids
    tokens.tofile(path)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    manifest["files"][path.name]["sha256"] = sha256_of(path)
    (folder / "manifest.json").write_text(manifest_text(manifest))


@pytest.mark.parametrize("split", ["train", "val", "news"])
def test_tokens_beyond_the_vocabulary_are_refused_when_a_corpus_is_opened(settled, split, monkeypatch):
    n_vocab = open_corpus(settled).n_vocab
    with_tokens(settled, split, [1, n_vocab - 1])
    open_corpus(settled)
    monkeypatch.setattr("scaling_laws.data.manifest.IDS_AT_A_TIME", 100)  # the last part counts, too
    with_tokens(settled, split, [1] * 250 + [n_vocab])
    refused(settled, f"{split}.bin: holds the token {n_vocab}, and the manifest's vocabulary has {n_vocab}")


def test_a_vocabulary_that_shrinks_is_noticed_without_a_change_of_the_tokens(settled):
    largest = int(open_corpus(settled).tokens("train").max())
    manifest = json.loads((settled / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    (settled / "manifest.json").write_text(manifest_text(manifest | {"n_vocab": largest}))
    refused(settled, f".bin: holds the token {largest}, and the manifest's vocabulary has {largest}")


def test_ten_billion_tokens_are_opened_and_read_in_no_time(settled, monkeypatch):
    """A sparse shard of 20 GB, verified before: opening and the first batch, and batches far apart."""
    n_tokens = 10**10
    with (settled / "train.bin").open("wb") as file:
        file.truncate(2 * n_tokens)
    manifest = json.loads((settled / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    manifest["files"]["train.bin"] = {"n_bytes": 2 * n_tokens, "sha256": "of 20 GB of zeros"}
    manifest["splits"]["train"]["n_tokens"] = n_tokens
    (settled / "manifest.json").write_text(manifest_text(manifest))
    with monkeypatch.context() as patch:  # the one time that it is hashed takes a while
        patch.setattr(
            "scaling_laws.data.manifest.sha256_of",
            lambda path, _: "of 20 GB of zeros" if path.name == "train.bin" else sha256_of(path),
        )
        patch.setattr("scaling_laws.data.manifest.largest_id", lambda path, dtype, _: 0)
        open_corpus(settled)

    def batch(k):
        start_s = time.perf_counter()
        rows = training_batch(
            open_corpus(settled).tokens("train"), seed=0, batch=k, batch_sequences=512, n_ctx=1024
        )
        assert rows.shape == (512, 1025)
        return time.perf_counter() - start_s

    assert batch(0) < 0.5
    elapsed_s = {k: min(batch(k + i) for i in range(3)) for k in (0, 10**4, 10**8, 10**11)}
    assert max(elapsed_s.values()) < 3 * min(elapsed_s.values()) + 0.01, elapsed_s


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

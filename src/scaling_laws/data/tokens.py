"""Token shards: built once, memory-mapped, and checked against their hashes when opened.

A corpus is a folder:

    manifest.json           what it is and the SHA-256 of every other file; written last
    sources.jsonl           one line a document: split, name, n_bytes, sha256
    near_duplicates.jsonl   those of the training split that were removed (`overlap.py`), if any were
    tokenizer.json
    tasks.jsonl             questions that trainings are scored by (`tasks.py`), if any were asked for
    <split>.bin             token ids, uint16 (uint32 above 65536 tokens), little-endian
    <split>.documents.npy   int64 (n_documents + 1,): offset of every document's first token, and n_tokens
    .verified.json          which files were found whole, and when they had last changed (`manifest.py`)
    .scaling-laws.json      which files a build wrote, and may replace (`study/own_files.py`)

for the splits train, val, test and each foreign corpus. Every document starts with the separator.
"""

from __future__ import annotations

import json
import mmap
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.data.corpus import Document, embedded_is_read, split_documents
from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.embedded import embedded_versions
from scaling_laws.data.huggingface import local_sha256, pinned
from scaling_laws.data.manifest import (
    REPLACE,
    SCHEMA,
    check_files,
    checked_manifest,
    describe_files,
    manifest_text,
    sha256,
)
from scaling_laws.data.overlap import SPANS_TOKENS, Overlap, Text, overlap
from scaling_laws.data.packages import ARCHIVES
from scaling_laws.data.tasks import TASKS_FILE, TaskItem, build_items, is_own_file, items_text, read_items
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import claim_files, listed_names, require_own_folder
from scaling_laws.study.records import sha256_of, write_atomically
from scaling_laws.study.stages import Stage

if TYPE_CHECKING:
    from scaling_laws.data.tokenizer import TextTokenizer

LARGEST_UINT16_VOCABULARY = 2**16
WRITER = "corpus"
"""In a folder's list of files that are ours."""
ENCODE_CHARACTERS, PART_CHARACTERS = 4_000_000, 1_000_000
"""Text encoded at a time, and of one document: enough to keep all cores busy, and not more than fits."""
LARGEST_WHOLE_BYTES = 100_000_000
"""Of a document whose parts somebody's vocabulary might encode otherwise: a token takes a hundred bytes."""
NOTED_NEAR_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class TokenCorpus:
    """An opened corpus. Splits are "train" and the names in `held_out`."""

    folder: Path
    name: str
    n_vocab: int
    manifest_hash: str
    held_out: tuple[str, ...]
    """val, test, then the foreign corpora."""
    manifest: dict[str, Any]

    def tokens(self, split: str) -> np.ndarray:
        """Token ids: (n_tokens,) uint16 or uint32, memory-mapped, read-only."""
        with (self.folder / f"{split}.bin").open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Windows are read in random order. Without this the kernel reads ahead of each of them, megabytes on
        # some machines: the first batches of a large shard then take seconds instead of milliseconds.
        pages.madvise(mmap.MADV_RANDOM)
        tokens: np.ndarray = np.frombuffer(pages, dtype=self.manifest["dtype"])
        return tokens

    def documents(self, split: str) -> np.ndarray:
        """Offset of every document's first token, and n_tokens: (n_documents + 1,) int64.

        Raises:
            InputError: the file holds something else.
        """
        path, n_tokens = self.folder / f"{split}.documents.npy", self.manifest["splits"][split]["n_tokens"]
        try:
            offsets: np.ndarray = np.load(path, allow_pickle=False)
            whole = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) > 1
            if not whole or offsets[0] != 0 or offsets[-1] != n_tokens or (np.diff(offsets) <= 0).any():
                raise ValueError
        except (OSError, ValueError, EOFError, AttributeError):
            raise InputError(
                f"{path}: holds no offsets of {n_tokens} tokens; build the corpus again"
            ) from None
        return offsets

    def tasks(self) -> list[TaskItem]:
        """The questions that trainings are scored by; none where the corpus was built without.

        Raises:
            InputError: the file is damaged.
        """
        return read_items(self.folder / TASKS_FILE) if TASKS_FILE in self.manifest["files"] else []

    def bytes_per_token(self, split: str) -> float:
        """Bytes of text per token, separators counted as tokens: bits per byte = nats / ln 2 / this."""
        entry = self.manifest["splits"][split]
        return float(entry["n_bytes"] / entry["n_tokens"])

    def text_hash(self, split: str) -> str:
        """Of a split's texts, whatever their tokens: two corpora with one hold the same text there.

        Raises:
            InputError: the list of the texts is damaged.
        """
        path = self.folder / "sources.jsonl"
        try:
            sources = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            hashes = [source["sha256"] for source in sources if source["split"] == split]
            return sha256("\n".join(hashes).encode())[:16]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: is not a list of sources; build the corpus again") from error

    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that made the tokens."""
        from scaling_laws.data.tokenizer import load_tokenizer

        return load_tokenizer(self.folder / "tokenizer.json")


def build_corpus(
    config: CorpusConfig, folder: Path | str, *, file: Path | str | None = None, force: bool = False
) -> TokenCorpus:
    """Build a corpus into `folder`; where the same one is there already, open it.

    The same: built from an equal configuration and from the same texts. If its files are damaged, it is built
    again. A data set of the hub is not looked at again: its commit is in the manifest.

    Args:
        config: what to build.
        folder: where to.
        file: what the configuration was read from, for the command that builds it again.
        force: replace whatever is there.

    Raises:
        InputError: the texts cannot be used (see `split_documents`), nor the vocabulary, the folder cannot
            be written, or it holds another corpus, or files that no build wrote.
    """
    folder = Path(folder)
    try:
        if force or not _is_built(config, folder, file):
            require_own_folder(folder, earlier=("manifest.json",), force=force)
            with _removed_if_empty(folder):
                _build(config, folder, force=force)
    except OSError as error:
        raise InputError(
            f"{folder}: the corpus cannot be built ({error}); correct that, and retry"
        ) from error
    return open_corpus(folder)


def open_corpus(folder: Path | str, *, verify: bool = False) -> TokenCorpus:
    """Open a corpus and check that it is whole: every file that changed since it was last found so is hashed.

    Args:
        folder: where `build_corpus` put it.
        verify: hash the files that have not changed, too.

    Raises:
        InputError: something is missing, damaged, or of another version; says which file.
    """
    folder = Path(folder)
    manifest = checked_manifest(folder)
    check_files(folder, manifest, again=verify)
    return TokenCorpus(
        folder=folder,
        name=manifest["name"],
        n_vocab=manifest["n_vocab"],
        manifest_hash=manifest["manifest_sha256"],
        held_out=tuple(split for split in manifest["splits"] if split != "train"),
        manifest=manifest,
    )


def describe(corpus: TokenCorpus, *, n_sample_tokens: int = 200) -> str:
    """A table of the splits, and the start of the test split as text."""
    manifest = corpus.manifest
    lines = [
        f"{corpus.name}  ({corpus.folder})",
        f"vocabulary {corpus.n_vocab} ({manifest['config']['tokenizer']}), "
        f"manifest hash {corpus.manifest_hash[:16]}",
        "",
        f"{'split':<12}{'tokens':>14}{'bytes':>14}{'bytes/token':>13}{'documents':>11}",
    ]
    for split, entry in manifest["splits"].items():
        lines.append(
            f"{split:<12}{entry['n_tokens']:>14,}{entry['n_bytes']:>14,}{corpus.bytes_per_token(split):>13.3f}"
            f"{entry['n_documents']:>11,}"
        )
    lines += _described_overlap(manifest.get("overlap"))
    if counts := Counter(item.task for item in corpus.tasks()):
        lines += ["", "tasks: " + ", ".join(f"{name} {count:,}" for name, count in counts.items())]
    try:
        sample = corpus.tokenizer().decode(corpus.tokens("test")[:n_sample_tokens])
    except ModuleNotFoundError:  # an installation for laws and plans alone
        return "\n".join([*lines, "", "its text is shown where the package tokenizers is installed"])
    return "\n".join([*lines, "", f"test, first {n_sample_tokens} tokens:", sample])


def _described_overlap(found: dict[str, Any] | None) -> list[str]:
    """What a manifest says of held-out text in the training text; old ones say nothing."""
    if found is None:
        return []
    shares = found["share_of_held_out_spans_in_training_text"]
    near = found["near_duplicates"]
    fate = "removed" if near["removed"] else "kept (near_duplicates: remove takes them out)"
    return [
        "",
        f"{'in the training text, of spans of':<34}" + "".join(f"{f'{n} tokens':>12}" for n in SPANS_TOKENS),
        *(
            f"{split:<34}"
            + "".join(f"{100 * of[str(n)]:>10.2f} %" if str(n) in of else f"{'-':>12}" for n in SPANS_TOKENS)
            for split, of in shares.items()
        ),
        f"near-duplicates of held-out text among the training documents: {near['documents']:,}, "
        f"{100 * near['share_of_training_tokens']:.2f} % of the tokens, {fate}",
    ]


# --- building -------------------------------------------------------------------------------------


def _is_built(config: CorpusConfig, folder: Path, file: Path | str | None) -> bool:
    """Whether `folder` holds this very corpus, undamaged."""
    if not (folder / "manifest.json").exists():
        return False
    manifest = checked_manifest(folder)
    again = f"{REPLACE}: scaling-laws data build {file} -o {folder} --force" if file else REPLACE
    if manifest["config"] != _as_json(config):
        raise InputError(f"{folder}: holds a corpus of another configuration; {again}")
    if manifest["inputs"] != _inputs(config):
        raise InputError(
            f"{folder}: the vocabulary or the data sets are no longer those it was built from; {again}"
        )
    # Rows and archives may have come over a network: their commit or hash stands for them.
    if config.source not in ("huggingface", "package"):
        sources = _sources_table(split_documents(config, archives=folder.parent / ARCHIVES))
        if manifest["files"]["sources.jsonl"]["sha256"] != sha256(sources.encode("utf-8")):
            raise InputError(f"{folder}: the texts are no longer those it was built from; {again}")
    try:
        open_corpus(folder)
    except InputError:
        return False
    return True


def _inputs(config: CorpusConfig) -> dict[str, str]:
    """SHA-256, by path, of the local files that decide the tokens and are not among the documents."""
    hashes = {}
    if config.tokenizer_path is not None:
        from scaling_laws.data.vocabulary import vocabulary_sha256

        hashes = vocabulary_sha256(config.tokenizer_path)
    hashes |= {task: sha256_of(Path(task)) for task in config.tasks if is_own_file(task)}
    return hashes | (local_sha256(config) if config.source == "huggingface" else {})


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Take a folder away that a build made and left nothing in."""
    was_there = folder.exists()
    try:
        yield
    finally:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()


def _build(config: CorpusConfig, folder: Path, *, force: bool) -> None:
    """Write everything into a temporary folder, move it into place file by file, and write the manifest."""
    inputs = _inputs(config)
    at_commits = pinned(config) if config.source == "huggingface" else config
    versions = {"tokenizers": version("tokenizers")}
    if embedded_is_read(config):
        versions |= embedded_versions()
    if config.source == "huggingface":
        versions["datasets"] = version("datasets")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as temporary_name:
        scratch, made = Path(temporary_name, "scratch"), Path(temporary_name, "made")
        scratch.mkdir()
        made.mkdir()
        splits = split_documents(at_commits, scratch, folder.parent / ARCHIVES)
        tokenizer = _tokenizer(config, splits["train"])
        tokenizer.save(made / "tokenizer.json")
        (made / "sources.jsonl").write_text(_sources_table(splits), encoding="utf-8")
        dtype = np.dtype("<u2" if tokenizer.n_vocab <= LARGEST_UINT16_VOCABULARY else "<u4")
        n_bytes = _n_bytes(document for documents in splits.values() for document in documents)
        with Stage(f"encoding {n_bytes / 1e6:,.0f} MB of text", n_bytes) as encoding:
            entries = {
                split: _write_split(documents, tokenizer, dtype, made / split, encoding)
                for split, documents in splits.items()
            }
        found = _compare(made, entries, dtype)
        near_share = _near_share(made, found)
        if (
            config.near_duplicates == "keep"
            and near_share >= NOTED_NEAR_SHARE
            and config.source != "embedded"
        ):
            print(
                f"note: corpus {config.name}: {100 * near_share:.1f} % of the training text are near-copies "
                "of held-out text, whose loss is the lower for it; near_duplicates: remove takes them out",
                file=sys.stderr,
            )
        if config.near_duplicates == "remove" and found.near.any():
            _remove_near(config, made, splits["train"], entries, dtype, found)
        if config.tasks:
            texts = [document.read() for document in splits["test"]]
            items = build_items(config.tasks, texts, config.seed)
            (made / TASKS_FILE).write_text(items_text(items), encoding="utf-8")
        files = sorted(made.iterdir())
        described = describe_files(files)
        content = {
            "schema": SCHEMA,
            "name": config.name,
            "config": _as_json(config),
            "inputs": inputs,
            "at_commits": {"paths": at_commits.paths, "foreign": at_commits.foreign},
            "dtype": dtype.str,
            "n_vocab": tokenizer.n_vocab,
            "separator_id": tokenizer.separator_id,
            "splits": entries,
            "files": described,
            "versions": versions,
            "overlap": {
                "share_of_held_out_spans_in_training_text": {
                    split: {str(n): round(share, 6) for n, share in shares.items()}
                    for split, shares in found.shares.items()
                },
                "near_duplicates": {
                    "span_tokens": found.near_span_tokens,
                    "documents": int(found.near.sum()),
                    "share_of_training_tokens": round(near_share, 6),
                    "removed": config.near_duplicates == "remove",
                },
            },
        }
        text = manifest_text(content)
        hashes = {name: entry["sha256"] for name, entry in described.items()}
        hashes["manifest.json"] = sha256(text.encode("utf-8"))
        ours = listed_names(folder, WRITER) | _names_in_manifest(folder)
        known_by = dict.fromkeys(ours, lambda path: True)  # damaged or not
        claim_files(folder, hashes, writer=WRITER, known_by=known_by, force=force)
        # From here to the new manifest the folder holds no corpus: an interrupted build is never opened.
        (folder / "manifest.json").unlink(missing_ok=True)
        for file in files:
            file.replace(folder / file.name)
    write_atomically(folder / "manifest.json", text)


def _names_in_manifest(folder: Path) -> set[str]:
    """Files of the corpus that is there."""
    try:
        return {"manifest.json", *checked_manifest(folder)["files"]}
    except InputError:
        return set()


def _tokenizer(config: CorpusConfig, documents: Sequence[Document]) -> TextTokenizer:
    from scaling_laws.data.tokenizer import train_tokenizer
    from scaling_laws.data.vocabulary import read_vocabulary

    if config.tokenizer == "file":
        assert config.tokenizer_path is not None
        return read_vocabulary(config.tokenizer_path, config.n_vocab)
    assert config.n_vocab is not None
    n_bytes = _n_bytes(documents)
    with Stage(f"reading {n_bytes / 1e6:,.0f} MB of text for the tokenizer", n_bytes) as reading:
        return train_tokenizer(config.tokenizer, config.n_vocab, _texts(documents, reading))


def _texts(documents: Sequence[Document], reading: Stage) -> Iterator[str]:
    for document in documents:
        for text in document.parts(PART_CHARACTERS):
            yield text
            reading.done(len(text.encode()))


def _n_bytes(documents: Iterable[Document]) -> int:
    return sum(document.n_bytes for document in documents)


def _text(made: Path, split: str, dtype: np.dtype) -> Text:
    """Tokens and documents of a split that has just been written."""
    tokens = np.memmap(made / f"{split}.bin", dtype=dtype, mode="r")
    return Text(tokens=tokens, offsets=np.load(made / f"{split}.documents.npy"))


def _compare(made: Path, entries: dict[str, dict[str, int]], dtype: np.dtype) -> Overlap:
    train = entries["train"]
    n_tokens = train["n_tokens"]
    with Stage(f"comparing {n_tokens / 1e6:,.0f} M tokens with the held-out text", n_tokens) as comparing:
        return overlap(
            _text(made, "train", dtype),
            {split: _text(made, split, dtype) for split in entries if split != "train"},
            bytes_per_token=train["n_bytes"] / n_tokens,
            progress=comparing.done,
        )


def _near_share(made: Path, found: Overlap) -> float:
    """Share of the training tokens that are in near-duplicates of held-out text."""
    lengths = np.diff(np.load(made / "train.documents.npy"))
    return float(lengths[found.near].sum() / lengths.sum())


def _remove_near(
    config: CorpusConfig,
    made: Path,
    documents: Sequence[Document],
    entries: dict[str, dict[str, int]],
    dtype: np.dtype,
    found: Overlap,
) -> None:
    """Write the training split again without its near-duplicates, whose names go into a file.

    Raises:
        InputError: nothing would be left.
    """
    if found.near.all():
        raise InputError(
            f"corpus {config.name}: every training document is a near-duplicate of held-out text; give other "
            "text, or set near_duplicates: keep"
        )
    train = _text(made, "train", dtype)
    removed = [document for document, near in zip(documents, found.near, strict=True) if near]
    with (made / "without.bin").open("wb") as file:
        for place in np.flatnonzero(~found.near):
            file.write(train.tokens[train.offsets[place] : train.offsets[place + 1]].tobytes())
    (made / "without.bin").replace(made / "train.bin")
    lengths = np.diff(train.offsets)[~found.near]
    np.save(made / "train.documents.npy", np.concatenate(([0], np.cumsum(lengths))).astype("<i8"))
    (made / "near_duplicates.jsonl").write_text(_sources_table({"train": removed}), encoding="utf-8")
    entries["train"] = {
        "n_tokens": int(lengths.sum()),
        "n_bytes": entries["train"]["n_bytes"] - sum(document.n_bytes for document in removed),
        "n_documents": len(documents) - len(removed),
    }


def _write_split(
    documents: Sequence[Document],
    tokenizer: TextTokenizer,
    dtype: np.dtype,
    stem: Path,
    encoding: Stage,
) -> dict[str, int]:
    """Write `<stem>.bin` and `<stem>.documents.npy`; return the split's counts."""
    starts: list[int] = []
    n_tokens = 0
    with stem.with_name(f"{stem.name}.bin").open("wb") as file:
        for batch in _batches(documents, tokenizer):
            encoded = tokenizer.encode([text for _, _, text in batch])
            for (document, is_first, text), ids in zip(batch, encoded, strict=True):
                # astype would wrap silently: 70000 becomes 4464.
                if ids.max(initial=0) >= tokenizer.n_vocab or tokenizer.separator_id in ids:
                    raise InputError(
                        f"{document.name}: the tokenizer gives it an id that is the separator's, or outside "
                        f"the vocabulary of {tokenizer.n_vocab}; use another tokenizer"
                    )
                if is_first:
                    starts.append(n_tokens)
                    ids = np.concatenate(([tokenizer.separator_id], ids))
                file.write(ids.astype(dtype).tobytes())
                n_tokens += len(ids)
                encoding.done(len(text.encode()))
    np.save(stem.with_name(f"{stem.name}.documents.npy"), np.array([*starts, n_tokens], dtype="<i8"))
    return {
        "n_tokens": n_tokens,
        "n_bytes": _n_bytes(documents),
        "n_documents": len(documents),
    }


def _batches(
    documents: Sequence[Document], tokenizer: TextTokenizer
) -> Iterator[list[tuple[Document, bool, str]]]:
    """Texts of about `ENCODE_CHARACTERS` together: documents or parts of one, and whether it begins there."""
    batch: list[tuple[Document, bool, str]] = []
    n_characters = 0
    for document in documents:
        if not tokenizer.encodes_parts and document.n_bytes > LARGEST_WHOLE_BYTES:
            raise InputError(
                f"{document.name}: is a document of {document.n_bytes / 1e6:,.0f} MB, and with "
                f"tokenizer: file one may have {LARGEST_WHOLE_BYTES / 1e6:.0f} MB; cut it with piece_bytes"
            )
        texts = document.parts(PART_CHARACTERS) if tokenizer.encodes_parts else iter((document.read(),))
        for place, text in enumerate(texts):
            batch.append((document, place == 0, text))
            n_characters += len(text)
            if n_characters >= ENCODE_CHARACTERS:
                yield batch
                batch, n_characters = [], 0
    if batch:
        yield batch


def _sources_table(splits: dict[str, list[Document]]) -> str:
    rows = (
        {"split": split, "name": document.name, "n_bytes": document.n_bytes, "sha256": document.sha256}
        for split, documents in splits.items()
        for document in documents
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def _as_json(config: CorpusConfig) -> dict[str, Any]:
    """The configuration as it comes back from JSON: tuples are lists."""
    result: dict[str, Any] = json.loads(json.dumps(config.decisive()))
    return result

"""Token shards: built once, memory-mapped, and checked against their hashes when opened.

A corpus is a folder:

    manifest.json           what it is and the SHA-256 of every other file; written last
    sources.jsonl           one line a document: split, name, n_bytes, sha256
    tokenizer.json
    <split>.bin             token ids, uint16 (uint32 above 65536 tokens), little-endian
    <split>.documents.npy   int64 (n_documents + 1,): offset of every document's first token, and n_tokens

for the splits train, val, test and each foreign corpus. Every document starts with the separator.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scaling_laws.data.config import CorpusConfig
from scaling_laws.data.corpus import Document, split_documents
from scaling_laws.data.embedded import embedded_versions
from scaling_laws.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from scaling_laws.errors import InputError
from scaling_laws.records import write_atomically

SCHEMA = 1
LARGEST_UINT16_VOCABULARY = 2**16
ENCODE_BYTES = 4_000_000
"""Text encoded at a time: enough to keep all cores busy."""
_REPLACE = "build into another folder, or replace this one with --force"


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
        tokens: np.ndarray = np.memmap(self.folder / f"{split}.bin", dtype=self.manifest["dtype"], mode="r")
        return tokens

    def documents(self, split: str) -> np.ndarray:
        """Offset of every document's first token, and n_tokens: (n_documents + 1,) int64."""
        offsets: np.ndarray = np.load(self.folder / f"{split}.documents.npy")
        return offsets

    def bytes_per_token(self, split: str) -> float:
        """Bytes of text per token, separators counted as tokens: bits per byte = nats / ln 2 / this."""
        entry = self.manifest["splits"][split]
        return float(entry["n_bytes"] / entry["n_tokens"])

    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that made the tokens."""
        return load_tokenizer(self.folder / "tokenizer.json")


def build_corpus(config: CorpusConfig, folder: Path | str, *, force: bool = False) -> TokenCorpus:
    """Build a corpus into `folder`; where the same one is there already, open it.

    The same: built from an equal configuration and from the same texts. If its files are damaged, it is built
    again.

    Args:
        config: what to build.
        folder: where to.
        force: replace whatever corpus is there.

    Raises:
        InputError: the texts cannot be used (see `split_documents`), the folder cannot be written, or it
            holds another corpus.
    """
    folder = Path(folder)
    try:
        splits = split_documents(config)
        sources = _sources_table(splits)
        if force or not _is_built(config, sources, folder):
            _build(config, splits, sources, folder)
    except OSError as error:
        raise InputError(
            f"{folder}: the corpus cannot be built ({error}); correct that, and retry"
        ) from error
    return open_corpus(folder)


def open_corpus(folder: Path | str, *, verify: bool = True) -> TokenCorpus:
    """Open a corpus and check that it is whole.

    Args:
        folder: where `build_corpus` put it.
        verify: compare the SHA-256 of every file as well as the sizes.

    Raises:
        InputError: something is missing, damaged, or of another version; says which file.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing; build the corpus again")
        if path.stat().st_size != expected["n_bytes"]:
            raise InputError(
                f"{path}: damaged (not {expected['n_bytes']} bytes long); build the corpus again"
            )
        if verify and _file_sha256(path) != expected["sha256"]:
            raise InputError(f"{path}: damaged (its SHA-256 is not the manifest's); build the corpus again")
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
    sample = corpus.tokenizer().decode(corpus.tokens("test")[:n_sample_tokens])
    return "\n".join([*lines, "", f"test, first {n_sample_tokens} tokens:", sample])


# --- building -------------------------------------------------------------------------------------


def _is_built(config: CorpusConfig, sources: str, folder: Path) -> bool:
    """Whether `folder` holds this very corpus, undamaged."""
    if not (folder / "manifest.json").exists():
        return False
    manifest = _read_manifest(folder)
    if manifest["config"] != _as_json(config):
        raise InputError(f"{folder}: holds a corpus of another configuration; {_REPLACE}")
    if manifest["files"]["sources.jsonl"]["sha256"] != _sha256(sources.encode("utf-8")):
        raise InputError(f"{folder}: the texts are no longer those it was built from; {_REPLACE}")
    try:
        open_corpus(folder)
    except InputError:
        return False
    return True


def _build(config: CorpusConfig, splits: dict[str, list[Document]], sources: str, folder: Path) -> None:
    """Write everything into a temporary folder, move it into place file by file, and write the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as temporary_name:
        temporary = Path(temporary_name)
        texts = (document.read() for document in splits["train"])
        tokenizer = train_tokenizer(config.tokenizer, config.n_vocab, texts)
        tokenizer.save(temporary / "tokenizer.json")
        (temporary / "sources.jsonl").write_text(sources, encoding="utf-8")
        dtype = np.dtype("<u2" if tokenizer.n_vocab <= LARGEST_UINT16_VOCABULARY else "<u4")
        entries = {
            split: _write_split(documents, tokenizer, dtype, temporary / split)
            for split, documents in splits.items()
        }
        files = sorted(temporary.iterdir())
        content = {
            "schema": SCHEMA,
            "name": config.name,
            "config": _as_json(config),
            "dtype": dtype.str,
            "n_vocab": tokenizer.n_vocab,
            "separator_id": tokenizer.separator_id,
            "splits": entries,
            "files": {
                file.name: {"n_bytes": file.stat().st_size, "sha256": _file_sha256(file)} for file in files
            },
            "versions": {"tokenizers": version("tokenizers")}
            | (embedded_versions() if config.source == "embedded" else {}),
        }
        # From here to the new manifest the folder holds no corpus: an interrupted build is never opened.
        (folder / "manifest.json").unlink(missing_ok=True)
        for file in files:
            file.replace(folder / file.name)
    write_atomically(folder / "manifest.json", _manifest_text(content))


def _write_split(
    documents: Sequence[Document], tokenizer: TextTokenizer, dtype: np.dtype, stem: Path
) -> dict[str, int]:
    """Write `<stem>.bin` and `<stem>.documents.npy`; return the split's counts."""
    offsets = [0]
    with stem.with_name(f"{stem.name}.bin").open("wb") as file:
        for chunk in _chunks(documents):
            for ids in tokenizer.encode([document.read() for document in chunk]):
                # astype would wrap silently: 70000 becomes 4464.
                assert ids.max(initial=0) < tokenizer.n_vocab
                file.write(np.concatenate(([tokenizer.separator_id], ids)).astype(dtype).tobytes())
                offsets.append(offsets[-1] + 1 + len(ids))
    np.save(stem.with_name(f"{stem.name}.documents.npy"), np.array(offsets, dtype="<i8"))
    return {
        "n_tokens": offsets[-1],
        "n_bytes": sum(document.n_bytes for document in documents),
        "n_documents": len(documents),
    }


def _chunks(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """Neighbouring documents of about `ENCODE_BYTES` together."""
    chunk: list[Document] = []
    n_bytes = 0
    for document in documents:
        chunk.append(document)
        n_bytes += document.n_bytes
        if n_bytes >= ENCODE_BYTES:
            yield chunk
            chunk, n_bytes = [], 0
    if chunk:
        yield chunk


def _sources_table(splits: dict[str, list[Document]]) -> str:
    rows = (
        {"split": split, "name": document.name, "n_bytes": document.n_bytes, "sha256": document.sha256}
        for split, documents in splits.items()
        for document in documents
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- manifest and hashes --------------------------------------------------------------------------


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no corpus here (no manifest.json); build one with `scaling-laws data build`"
        )
    try:
        text = path.read_bytes().decode("utf-8")
        manifest = json.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged (not readable as JSON); {_REPLACE}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a corpus of schema {SCHEMA}, which this version reads; {_REPLACE}")
    content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    if text != _manifest_text(content):
        raise InputError(f"{path}: damaged or edited (its SHA-256 is not the one it states); {_REPLACE}")
    return manifest


def _manifest_text(content: dict[str, Any]) -> str:
    """The file's text: the content, and last the hash of the content."""
    sha256 = _sha256(json.dumps(content).encode("ascii"))
    return json.dumps(content | {"manifest_sha256": sha256}, indent=2) + "\n"


def _as_json(config: CorpusConfig) -> dict[str, Any]:
    """The configuration as it comes back from JSON: tuples are lists."""
    result: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return result


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

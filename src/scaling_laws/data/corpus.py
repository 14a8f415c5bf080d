"""From sources to documents: without duplicates, in a fixed order, split by document.

Order and split follow a hash of the document's name, so that they do not depend on the order in which a disk
lists its files, nor does the split on what other documents there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from scaling_laws.data.config import CorpusConfig
from scaling_laws.data.embedded import embedded_sources
from scaling_laws.data.sources import Source, jsonl_sources, text_sources
from scaling_laws.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a split."""

    name: str
    n_bytes: int
    """Length of the text in UTF-8."""
    sha256: str
    read_bytes: Callable[[], bytes]

    def read(self) -> str:
        """The text."""
        return self.read_bytes().decode("utf-8")


def split_documents(config: CorpusConfig) -> dict[str, list[Document]]:
    """Documents by split: train, val, test, then the foreign corpora; each in the order of the hash.

    Of documents with the same content only the first stays, over all splits, so that nothing held out is also
    trained on. Documents without a visible character are dropped. A limit in bytes ends the walk at the first
    document that would pass it; so the held-out shares are shares of what is used.

    Raises:
        InputError: a source cannot be used (see `sources` and `embedded`), a text is not UTF-8, or a split is
            left without documents.
    """
    sources = _sources(config)
    splits: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    seen: set[str] = set()

    train_bytes = 0
    for document in _unseen(sources.pop("train"), config.seed, seen):
        split = _split_of(document.name, config)
        if split == "train":
            train_bytes += document.n_bytes
            if config.max_train_bytes is not None and train_bytes > config.max_train_bytes:
                break
        splits[split].append(document)

    for name, foreign in sources.items():
        splits[name] = []
        foreign_bytes = 0
        for document in _unseen(foreign, config.seed, seen):
            foreign_bytes += document.n_bytes
            if config.max_foreign_bytes is not None and foreign_bytes > config.max_foreign_bytes:
                break
            splits[name].append(document)

    for name, documents in splits.items():
        if not documents:
            raise InputError(
                f"corpus {config.name}: no document is left for {name!r} without empty texts and duplicates; "
                "give more documents (piece_bytes cuts long text files), a larger share or a larger limit"
            )
    return splits


def _sources(config: CorpusConfig) -> dict[str, list[Source]]:
    """Sources of the training distribution, under "train", and of each foreign corpus."""
    if config.source == "embedded":
        return embedded_sources()
    paths = {"train": config.paths, **config.foreign}
    if config.source == "jsonl":
        return {name: list(jsonl_sources(paths[name], config.text_field)) for name in paths}
    return {name: list(text_sources(paths[name], config.piece_bytes)) for name in paths}


def _unseen(sources: Iterable[Source], seed: int, seen: set[str]) -> Iterator[Document]:
    """Documents in order, without the empty ones and those whose content is in `seen`, which grows."""
    for source in sorted(sources, key=lambda source: _digest(source.name, seed)):
        content = source.read()
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 in seen or not _text(source.name, content).strip():
            continue
        seen.add(sha256)
        yield Document(name=source.name, n_bytes=len(content), sha256=sha256, read_bytes=source.read)


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: not UTF-8 at byte {error.start}; convert the file, or take it out of the folder"
        ) from error


def _split_of(name: str, config: CorpusConfig) -> str:
    # The first bytes of the digest decide the order and the last the split: one tells nothing of the other.
    place = int.from_bytes(_digest(name, config.seed)[-8:]) / 2**64
    if place < config.val_share:
        return "val"
    return "test" if place < config.val_share + config.test_share else "train"


def _digest(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()

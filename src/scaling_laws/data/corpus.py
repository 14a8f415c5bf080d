"""From sources to documents: without duplicates, in a fixed order, split by document.

Order and split follow a hash of the document's name, so that they do not depend on the order in which a disk
lists its files or a stream delivers its rows, nor does the split on what other documents there are.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.embedded import embedded_sources
from scaling_laws.data.huggingface import huggingface_sources
from scaling_laws.data.sources import TextSource, jsonl_sources, text_sources
from scaling_laws.study.errors import InputError

LARGE_BYTES = 10_000_000
"""Of all texts: less is read at once."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a split."""

    name: str
    n_bytes: int
    """Length of the text in UTF-8."""
    sha256: str
    blocks: Callable[[], Iterator[bytes]]
    """Reads the text in UTF-8, in one block or several."""

    def read(self) -> str:
        """The text."""
        return b"".join(self.blocks()).decode("utf-8")

    def parts(self, n_characters: int) -> Iterator[str]:
        """The text in parts of about this length, which a byte-level tokenizer encodes as it does the whole.

        A part ends with a line whose last character, and the next one's first, are not blank: there no token
        of GPT-2's pattern goes on. A text without such lines is one part.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        held: list[str] = []
        for block in self.blocks():
            text = decoder.decode(block)
            if sum(map(len, held)) + len(text) >= n_characters and (end := _last_cut(text)):
                yield "".join([*held, text[:end]])
                held, text = [], text[end:]
            held.append(text)
        if any(held) or not self.n_bytes:
            yield "".join(held)


def split_documents(config: CorpusConfig, scratch: Path | None = None) -> dict[str, list[Document]]:
    """Documents by split: train, val, test, then the foreign corpora; each in the order of the hash.

    Of documents with the same content only the first stays, over all splits, so that nothing held out is also
    trained on. Documents without a visible character are dropped. A limit in bytes ends the walk at the first
    document that would pass it; so the held-out shares are shares of what is used. A stream is walked as it
    arrives, so what a limit takes of it is its beginning; of all other sources it takes a random sample.

    Args:
        scratch: where the texts of a stream are kept; it must outlive the documents.

    Raises:
        InputError: a source cannot be used (see `sources`, `embedded` and `huggingface`), a text is not
            UTF-8, or a split is left without documents.
    """
    sources = _sources(config, scratch)
    splits: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    seen: set[str] = set()

    train_bytes = 0
    for document in _unseen(sources.pop("train"), seen):
        split = _split_of(document.name, config)
        if split == "train":
            train_bytes += document.n_bytes
            if config.max_train_bytes is not None and train_bytes > config.max_train_bytes:
                break
        splits[split].append(document)

    for name, foreign in sources.items():
        splits[name] = []
        foreign_bytes = 0
        for document in _unseen(foreign, seen):
            foreign_bytes += document.n_bytes
            if config.max_foreign_bytes is not None and foreign_bytes > config.max_foreign_bytes:
                break
            splits[name].append(document)

    for name, documents in splits.items():
        documents.sort(key=lambda document: _digest(document.name, config.seed))
        if not documents:
            raise _too_few(config, name)
    return splits


def _too_few(config: CorpusConfig, split: str) -> InputError:
    return InputError(
        f"corpus {config.name}: no document is left for {split!r} without empty texts and duplicates; "
        "give more documents (piece_bytes cuts long text files), a larger share or a larger limit"
    )


def _last_cut(text: str) -> int:
    """Where the last part of a text ends that can be encoded by itself; 0 where there is none."""
    place = text.rfind("\n", 0, len(text) - 1)
    while place > 0 and (text[place - 1].isspace() or text[place + 1].isspace()):
        place = text.rfind("\n", 0, place)
    return place + 1 if place > 0 else 0


def _sources(config: CorpusConfig, scratch: Path | None) -> dict[str, Iterable[TextSource]]:
    """Sources of the training distribution, under "train", and of each foreign corpus, as they are walked."""
    sources: dict[str, Iterable[TextSource]]
    if config.source == "embedded":
        sources = {**embedded_sources()}
    else:
        paths = {"train": config.paths, **config.foreign}
        sources = {name: _of_paths(config, paths[name], scratch) for name in paths}
    if config.streaming:
        return sources
    named: dict[str, Iterable[TextSource]] = {
        name: sorted(found, key=lambda source: _digest(source.name, config.seed))
        for name, found in sources.items()
    }
    # By their names alone: a text of gigabytes need not be read to see that there is nothing to hold out.
    n_bytes = sum(source.n_bytes for source in named["train"])
    splits = {_split_of(source.name, config) for source in named["train"]}
    if n_bytes > LARGE_BYTES and (
        missing := [split for split in ("train", "val", "test") if split not in splits]
    ):
        raise _too_few(config, missing[0])
    return named


def _of_paths(config: CorpusConfig, paths: tuple[str, ...], scratch: Path | None) -> Iterator[TextSource]:
    if config.source == "text":
        return text_sources(paths, config.piece_bytes)
    if config.source == "jsonl":
        return jsonl_sources(paths, config.text_field)
    return chain.from_iterable(
        huggingface_sources(path, config.text_field, streaming=config.streaming, scratch=scratch)
        for path in paths
    )


def _unseen(sources: Iterable[TextSource], seen: set[str]) -> Iterator[Document]:
    """Documents without the empty ones and those whose content is in `seen`, which grows."""
    for source in sources:
        digest, n_bytes, is_blank = hashlib.sha256(), 0, True
        decoder = codecs.getincrementaldecoder("utf-8")()
        for block in chain(source.blocks(), [b""]):
            begun = len(decoder.getstate()[0])  # bytes of a character whose others are in this block
            try:
                is_blank = not decoder.decode(block, final=not block).strip() and is_blank
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{source.name}: not UTF-8 at byte {n_bytes - begun + error.start}; "
                    "convert the file, or take it out of the folder"
                ) from error
            digest.update(block)
            n_bytes += len(block)
        sha256 = digest.hexdigest()
        if sha256 in seen or is_blank:
            continue
        seen.add(sha256)
        yield Document(name=source.name, n_bytes=n_bytes, sha256=sha256, blocks=source.blocks)


def _split_of(name: str, config: CorpusConfig) -> str:
    # The first bytes of the digest decide the order and the last the split: one tells nothing of the other.
    place = int.from_bytes(_digest(name, config.seed)[-8:]) / 2**64
    if place < config.val_share:
        return "val"
    return "test" if place < config.val_share + config.test_share else "train"


def _digest(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()

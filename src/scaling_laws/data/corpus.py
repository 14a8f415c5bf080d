"""From sources to documents: without duplicates, in a fixed order, split by document.

Order and split follow a hash of the document's name, so that they do not depend on the order in which a disk
lists its files or a stream delivers its rows, nor does the split on what other documents there are.
"""

from __future__ import annotations

import codecs
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from scaling_laws.data.corpus_file import OWN_SPLITS, SEPARATOR, CorpusConfig, is_corpus_file, load_config
from scaling_laws.data.embedded import embedded_sources
from scaling_laws.data.huggingface import huggingface_sources
from scaling_laws.data.packages import ARCHIVES, package_sources
from scaling_laws.data.sources import BadText, TextSource, jsonl_sources, require_paths, text_sources
from scaling_laws.study.errors import InputError
from scaling_laws.study.stages import Stage

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
    together: str = ""
    """What decides its split, where that is not its name."""

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


def split_documents(
    config: CorpusConfig, scratch: Path | None = None, archives: Path | None = None
) -> dict[str, list[Document]]:
    """Documents by split: train, val, test, then the foreign corpora; each in the order of the hash.

    Of documents with the same content only the first stays, over all splits, so that nothing held out is also
    trained on. Documents without a visible character are dropped. A limit in bytes ends the walk at the first
    document that would pass it; so the held-out shares are shares of what is used. A stream is walked as it
    arrives, so what a limit takes of it is its beginning; of all other sources it takes a random sample.

    Args:
        scratch: where the texts of a stream are kept; it must outlive the documents.
        archives: where those of packages are kept; data/archives by default.

    Raises:
        InputError: a source cannot be used (see `sources`, `embedded`, `huggingface` and `packages`), a text
            is not UTF-8, or a split is left without documents.
    """
    sources = _sources(config, scratch, archives or Path("data", ARCHIVES))
    splits: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    seen: set[str] = set()

    problems = _Problems()
    train_bytes = 0
    for document in _unseen(sources.pop("train"), seen, problems):
        split = _split_of(document.together or document.name, config)
        if split == "train":
            train_bytes += document.n_bytes
            if config.max_train_bytes is not None and train_bytes > config.max_train_bytes:
                break
        splits[split].append(document)

    for name, foreign in sources.items():
        splits[name] = []
        foreign_bytes = 0
        for document in _unseen(foreign, seen, problems):
            foreign_bytes += document.n_bytes
            if config.max_foreign_bytes is not None and foreign_bytes > config.max_foreign_bytes:
                break
            splits[name].append(document)

    problems.report(config)
    _hold_out_one(splits, config)
    for name, documents in splits.items():
        documents.sort(key=lambda document: _digest(document.name, config.seed))
        if not documents:
            raise _too_few(config, name, sum(len(splits[own]) for own in OWN_SPLITS))
    return splits


def _hold_out_one(splits: dict[str, list[Document]], config: CorpusConfig) -> None:
    """Give an empty split of our own one document of the largest, where there are three or more in all.

    Which one: that whose place in the order of the hash is nearest to the split's.
    """
    own = {name: splits[name] for name in OWN_SPLITS}
    if sum(map(len, own.values())) < len(own):
        return
    for name in [name for name in own if not own[name]]:
        largest = max(own.values(), key=len)
        chosen = (max if name == "train" else min)(largest, key=lambda each: _place(each.name, config))
        with_it = chosen.together or None
        moved = [each for each in largest if each is chosen or each.together == with_it]
        largest[:] = [each for each in largest if each not in moved]
        own[name] += moved
        print(
            f"note: corpus {config.name}: of {sum(map(len, own.values()))} documents none fell to {name!r} "
            "by its share; it has one of them",
            file=sys.stderr,
        )


def _too_few(config: CorpusConfig, split: str, n_documents: int) -> InputError:
    of = f", of {n_documents} in all" if split in OWN_SPLITS else ""
    return InputError(
        f"corpus {config.name}: no document is left for {split!r} without empty texts and duplicates{of}; "
        "give more documents (piece_bytes cuts long text files, document_separator those with separators), "
        "or a larger limit"
    )


def _last_cut(text: str) -> int:
    """Where the last part of a text ends that can be encoded by itself; 0 where there is none."""
    place = text.rfind("\n", 0, len(text) - 1)
    while place > 0 and (text[place - 1].isspace() or text[place + 1].isspace()):
        place = text.rfind("\n", 0, place)
    return place + 1 if place > 0 else 0


def _sources(config: CorpusConfig, scratch: Path | None, archives: Path) -> dict[str, Iterable[TextSource]]:
    """Sources of the training distribution, under "train", and of each foreign corpus, as they are walked."""
    sources: dict[str, Iterable[TextSource]]
    if config.source in ("text", "jsonl"):
        foreign_paths = chain.from_iterable(config.foreign.values())
        require_paths([*config.paths, *(path for path in foreign_paths if not is_corpus_file(path))])
    if config.source == "embedded":
        sources = {**embedded_sources()}
    elif config.source == "package":
        sources = {"train": _of_packages(config, archives)}
    else:
        sources = {"train": _of_paths(config, config.paths, scratch)}
    for name, paths in config.foreign.items():
        corpora = [path for path in paths if is_corpus_file(path)]
        own = tuple(path for path in paths if not is_corpus_file(path))
        sources[name] = chain(
            _of_paths(config, own, scratch) if own else (),
            *(_sources(_corpus(path), scratch, archives)["train"] for path in corpora),
        )
    if config.streaming:
        return sources
    named = {
        name: sorted(found, key=lambda source: _digest(source.name, config.seed))
        for name, found in sources.items()
    }
    # By their names alone: a text of gigabytes need not be read to see that there is nothing to hold out.
    n_bytes = sum(source.n_bytes for source in named["train"])
    if n_bytes > LARGE_BYTES and len(named["train"]) < len(OWN_SPLITS):
        splits = {_split_of(source.together or source.name, config) for source in named["train"]}
        missing = [split for split in OWN_SPLITS if split not in splits]
        raise _too_few(config, missing[0], len(named["train"]))
    return {**named}


def _of_packages(config: CorpusConfig, archives: Path) -> Iterator[TextSource]:
    return chain.from_iterable(package_sources(package, archives) for package in config.packages)


def _corpus(path: str) -> CorpusConfig:
    """Another corpus, of which the texts are foreign ones here; its own foreign texts are not meant."""
    config = load_config(path)
    if config.source == "huggingface":
        raise InputError(f"{path}: is a data set of rows; name the data set itself under foreign")
    return replace(config, foreign={})


def embedded_is_read(config: CorpusConfig) -> bool:
    """Whether the corpus holds texts of the installed packages."""
    others = [path for paths in config.foreign.values() for path in paths if is_corpus_file(path)]
    return config.source == "embedded" or any(load_config(path).source == "embedded" for path in others)


def _of_paths(config: CorpusConfig, paths: tuple[str, ...], scratch: Path | None) -> Iterator[TextSource]:
    if config.source == "text":
        return text_sources(paths, config.piece_bytes, config.document_separator)
    if config.source == "jsonl":
        return jsonl_sources(paths, config.text_field)
    return chain.from_iterable(
        huggingface_sources(path, config.text_field, streaming=config.streaming, scratch=scratch)
        for path in paths
    )


KINDS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive, as docx and xlsx are",
    b"\x1f\x8b": "compressed by gzip",
    b"(\xb5/\xfd": "compressed by zstd",
    b"\x7fELF": "a program",
    b"\xff\xfe": "UTF-16 that is cut off",
    b"\xfe\xff": "UTF-16 that is cut off",
}
"""How files begin that are no text in UTF-8."""
MOST_SHOWN = 8


class _Problems:
    """What the texts hold that cannot be trained on, and what is probably not meant to be."""

    def __init__(self) -> None:
        self._bad: dict[str, str] = {}
        """File -> what it is."""
        self._remedy = "convert them, or take them out"
        self._n_separators = 0

    def add_bad(self, source: TextSource, place: int, block: bytes) -> None:
        """A text that is not UTF-8 from a place in it; `block` is its beginning."""
        known = next((kind for begins, kind in KINDS.items() if block.startswith(begins)), None)
        other = "binary" if b"\0" in block else "text in another encoding, perhaps Windows-1252"
        self._bad.setdefault(source.file or source.name, f"not UTF-8 at byte {place}; {known or other}")

    def add_unreadable(self, error: BadText) -> None:
        """A text that its source cannot read."""
        self._bad.setdefault(error.place, error.what)
        self._remedy = error.remedy

    def look_for_separators(self, block: bytes) -> None:
        self._n_separators += block.count(SEPARATOR.encode())

    def report(self, config: CorpusConfig) -> None:
        """Raises InputError: texts are not UTF-8, or cannot be read; names all of them."""
        if self._bad:
            shown = [f"{name}: {what}" for name, what in sorted(self._bad.items())[:MOST_SHOWN]]
            more = len(self._bad) - len(shown)
            raise InputError(f"{' | '.join(shown)}{f' | and {more} more' if more else ''}; {self._remedy}")
        if self._n_separators and config.source != "embedded":
            print(
                f"note: corpus {config.name}: {SEPARATOR} stands {self._n_separators:,} times in the text, "
                f"and is trained on as {len(SEPARATOR)} characters; "
                f'document_separator: "{SEPARATOR}" makes it the end of a document',
                file=sys.stderr,
            )


def _unseen(sources: Iterable[TextSource], seen: set[str], problems: _Problems) -> Iterator[Document]:
    """Documents without the empty ones and those whose content is in `seen`, which grows."""
    n_bytes = sum(source.n_bytes for source in sources) if isinstance(sources, list) else 0
    with Stage(f"looking through {n_bytes / 1e6:,.0f} MB of text", n_bytes) as looking:
        for source in sources:
            document = _looked_through(source, problems, looking)
            if document is not None and document.sha256 not in seen:
                seen.add(document.sha256)
                yield document


def _looked_through(source: TextSource, problems: _Problems, looking: Stage) -> Document | None:
    """A source as a document; None where it is blank, or cannot be read, which is then a problem."""
    digest, n_bytes, is_blank = hashlib.sha256(), 0, True
    decoder = codecs.getincrementaldecoder("utf-8")()
    beginning = b""
    try:
        blocks = chain(source.blocks(), [b""])
    except BadText as error:
        problems.add_unreadable(error)
        return None
    for block in blocks:
        begun = len(decoder.getstate()[0])  # bytes of a character whose others are in this block
        beginning = beginning or block[:512]
        try:
            is_blank = not decoder.decode(block, final=not block).strip() and is_blank
        except UnicodeDecodeError as error:
            problems.add_bad(source, n_bytes - begun + error.start, beginning)
            return None
        problems.look_for_separators(block)
        digest.update(block)
        n_bytes += len(block)
        looking.done(len(block))
    if is_blank:
        return None
    return Document(
        name=source.name,
        n_bytes=n_bytes,
        sha256=digest.hexdigest(),
        blocks=source.blocks,
        together=source.together,
    )


def _split_of(name: str, config: CorpusConfig) -> str:
    place = _place(name, config)
    if place < config.val_share:
        return "val"
    return "test" if place < config.val_share + config.test_share else "train"


def _place(name: str, config: CorpusConfig) -> float:
    """Where from 0 to 1 a document lies among the splits.

    The first bytes of the digest decide the order and the last the split: one tells nothing of the other.
    """
    return int.from_bytes(_digest(name, config.seed)[-8:]) / 2**64


def _digest(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).digest()

"""How much of the held-out text is in the training text, and which training documents are nearly held out.

A span is n tokens in a row within one document. Of each held-out split this counts which share of its spans
of 13, 25 and 50 tokens occurs in the training text, too, and of each training document which share of its
spans occurs in any held-out split: from a half on it is a near-duplicate. Spans are compared by hashes of 64
bits; of large held-out texts a fixed sample of all hashes is compared, so that memory stays below some 50 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

SPANS_TOKENS = (13, 25, 50)
NEAR_SHARE = 0.5
"""Of a training document's spans in held-out text, from which it is a near-duplicate."""
LEAST_SPAN_BYTES = 30
"""Spans of less text, as 13 bytes are, occur everywhere: near-duplicates are found by longer ones."""
MOST_HASHES = 2**20
"""Of held-out spans of one length."""
CHUNK_TOKENS = 2**18
FILTER_BITS = 22
_MIX, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


@dataclass(frozen=True, kw_only=True)
class Text:
    """The tokens of one split, and where its documents begin."""

    tokens: np.ndarray
    """(n_tokens,)"""
    offsets: np.ndarray
    """(n_documents + 1,): of every document's first token, and n_tokens."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What the training text and the held-out splits have in common."""

    shares: dict[str, dict[int, float]]
    """By held-out split and span length in tokens, the share of spans that are in the training text."""
    near_span_tokens: int
    near: np.ndarray
    """Whether each training document is a near-duplicate of held-out text: (n_documents,) bool."""


def overlap(
    train: Text,
    held_out: Mapping[str, Text],
    *,
    bytes_per_token: float,
    progress: Callable[[int], None] = lambda n_tokens: None,
) -> Overlap:
    """Compare the training text with every held-out split.

    Args:
        bytes_per_token: of the training text; decides the spans by which near-duplicates are found.
        progress: is given so many tokens of the training text more.
    """
    long_enough = [n for n in SPANS_TOKENS if n * bytes_per_token >= LEAST_SPAN_BYTES]
    near_span = long_enough[0] if long_enough else SPANS_TOKENS[-1]
    n_held_out = sum(len(text.tokens) for text in held_out.values())
    kept_bits = max(0, (max(1, n_held_out - 1) // MOST_HASHES).bit_length())
    known = {n: _Known(held_out, n, kept_bits) for n in SPANS_TOKENS}
    n_documents = len(train.offsets) - 1
    n_spans, n_found = np.zeros(n_documents, np.int64), np.zeros(n_documents, np.int64)
    for chunk in _chunks(train):
        for n, each in known.items():
            hashes, documents = chunk.spans(n, kept_bits)
            found = each.mark(hashes)
            if n == near_span:
                n_spans += np.bincount(documents, minlength=n_documents)
                n_found += np.bincount(documents[found], minlength=n_documents)
        progress(chunk.n_tokens)
    return Overlap(
        shares={split: {n: each.share(split) for n, each in known.items()} for split in held_out},
        near_span_tokens=near_span,
        near=(n_spans > 0) & (n_found >= NEAR_SHARE * n_spans),
    )


class _Known:
    """The hashes of all held-out spans of one length, and which of them the training text has."""

    def __init__(self, held_out: Mapping[str, Text], n: int, kept_bits: int) -> None:
        self._counts = {split: _counted(text, n, kept_bits) for split, text in held_out.items()}
        self._hashes = np.unique(np.concatenate([hashes for hashes, _ in self._counts.values()]))
        self._is_found = np.zeros(len(self._hashes), bool)
        self._filter = np.zeros(2**FILTER_BITS, bool)
        self._filter[_place(self._hashes)] = True

    def mark(self, hashes: np.ndarray) -> np.ndarray:
        """Which of these hashes (S,) of the training text are known; they count as found from now on."""
        found: np.ndarray = self._filter[_place(hashes)]
        maybe = hashes[found]
        if len(maybe):
            places = np.minimum(np.searchsorted(self._hashes, maybe), len(self._hashes) - 1)
            same = self._hashes[places] == maybe
            self._is_found[places[same]] = True
            found[found] = same
        return found

    def share(self, split: str) -> float:
        """Of the spans of a split, those that were found; 0 where it has none."""
        hashes, counts = self._counts[split]
        found = self._is_found[np.searchsorted(self._hashes, hashes)]
        return float(counts[found].sum() / counts.sum()) if len(counts) else 0.0


def _counted(text: Text, n: int, kept_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The different hashes of a text's spans, and how often each occurs."""
    parts = [np.unique(chunk.spans(n, kept_bits)[0], return_counts=True) for chunk in _chunks(text)]
    hashes, places = np.unique(np.concatenate([part for part, _ in parts]), return_inverse=True)
    counts = np.bincount(places, weights=np.concatenate([part for _, part in parts]), minlength=len(hashes))
    return hashes, counts


def _place(hashes: np.ndarray) -> np.ndarray:
    """The first bits: those that the sample was chosen by are the last."""
    places: np.ndarray = (hashes >> np.uint64(64 - FILTER_BITS)).astype(np.int64)
    return places


@dataclass(frozen=True)
class _Chunk:
    """A stretch of a text, with the tokens after it that its last spans need."""

    hashes: dict[int, np.ndarray]
    """Of the runs of 1, 2, 4, ..., 32 tokens that begin at each token."""
    documents: np.ndarray
    """The document of each token: (n_tokens,)."""
    left: np.ndarray
    """Tokens from each to the end of its document."""

    @property
    def n_tokens(self) -> int:
        return len(self.documents)

    def spans(self, n: int, kept_bits: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the sampled spans that begin here, and the document of each: (S,) and (S,)."""
        hashes, begun = None, 0
        for width in (32, 16, 8, 4, 2, 1):
            if n & width:
                part = self.hashes[width][begun : begun + self.n_tokens]
                hashes = part if hashes is None else _joined(hashes[: len(part)], part)
                begun += width
        assert hashes is not None
        whole = self.left[: len(hashes)] >= n
        if kept_bits:
            whole &= hashes & np.uint64(2**kept_bits - 1) == 0
        return hashes[whole], self.documents[: len(hashes)][whole]


def _chunks(text: Text) -> Iterator[_Chunk]:
    n_tokens = len(text.tokens)
    for start in range(0, n_tokens, CHUNK_TOKENS):
        stop = min(start + CHUNK_TOKENS, n_tokens)
        ids = np.asarray(text.tokens[start : stop + SPANS_TOKENS[-1] - 1]).astype(np.uint64)
        hashes = {1: _mixed((ids + np.uint64(1)) * _MIX)}
        for width in (1, 2, 4, 8, 16):
            half = hashes[width]
            hashes[2 * width] = _joined(half[:-width] if len(half) > width else half[:0], half[width:])
        places = np.arange(start, stop)
        documents = np.searchsorted(text.offsets, places, side="right") - 1
        yield _Chunk(hashes=hashes, documents=documents, left=text.offsets[documents + 1] - places)


def _joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hash of a run and the one after it."""
    return _mixed(first * _STEP + second)


def _mixed(values: np.ndarray) -> np.ndarray:
    values = values ^ (values >> np.uint64(29))
    values *= _MIX
    values ^= values >> np.uint64(32)
    return values

"""Which windows of tokens a batch holds: pure functions, so that a resumed run goes on with the same data.

A split of n tokens is cut into (n - 1) // n_ctx windows of n_ctx + 1 tokens; neighbours share one token, so
that every target is seen exactly once in a pass (a tail that fills no window is left out). Each pass visits
the windows in its own order, given by a keyed permutation that is computed, not stored: batch k costs the
same for any k and any size of the corpus. Networks trained with one seed and one batch size see the same
batches in the same order, so their noise is correlated.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided

from scaling_laws.study.errors import InputError

N_ROUNDS = 6
"""Four leave neighbours at preferred distances; the tests see nothing of it after six."""


def windows_per_epoch(n_tokens: int, n_ctx: int, split: str = "train") -> int:
    """Windows in one pass: (n_tokens - 1) // n_ctx.

    Raises:
        InputError: there is not one.
    """
    n_windows = (n_tokens - 1) // n_ctx
    if n_windows < 1:
        raise InputError(
            f"{split} split of {n_tokens:,} tokens: shorter than one window of n_ctx + 1 = {n_ctx + 1}; "
            "give more text, a smaller n_ctx"
            + (" or fewer train_halvings" if split == "train" else f" or a larger share for {split}")
        )
    return n_windows


def batch_rows(batch: int, batch_sequences: int, *, share: int = 0, n_shares: int = 1) -> np.ndarray:
    """Numbers of the sequences in one share of a batch: (batch_sequences / n_shares,).

    Sequences are numbered through all batches: batch k holds k B ... (k + 1) B - 1. Its shares are disjoint,
    and together they are the batch, however many there are.
    """
    assert batch_sequences % n_shares == 0
    return np.arange(batch * batch_sequences + share, (batch + 1) * batch_sequences, n_shares)


def training_batch(
    tokens: np.ndarray,
    *,
    seed: int,
    batch: int,
    batch_sequences: int,
    n_ctx: int,
    share: int = 0,
    n_shares: int = 1,
) -> np.ndarray:
    """Batch number `batch` (from 0) of the stream that `seed` orders: a pure function of its arguments.

    With W = windows_per_epoch, sequence s is the window at place s % W of pass s // W. A batch may hold the
    end of one pass and the start of the next. Only the rows of the share are read.

    Args:
        tokens: (n_tokens,), any integer type.
        seed: chooses the order.
        batch: number of the batch, >= 0.
        batch_sequences: B.
        n_ctx: T, inputs (and targets) a sequence.
        share: which share of the batch is wanted, 0 ... n_shares - 1.
        n_shares: equal shares that the batch is dealt out to, row by row.

    Returns:
        (B / n_shares, T + 1) int64: inputs are [:, :-1], targets [:, 1:].

    Raises:
        InputError: `tokens` is shorter than a window.
    """
    n_windows = windows_per_epoch(len(tokens), n_ctx)
    epochs, places = np.divmod(batch_rows(batch, batch_sequences, share=share, n_shares=n_shares), n_windows)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        places[rows] = permutation(places[rows], n_windows, seed=seed, epoch=int(epoch))
    windows: np.ndarray = _windows(tokens, n_ctx, n_windows)[places]
    return windows.astype(np.int64)


def noise_suffix(sequences: np.ndarray, *, n_noise: int, n_vocab: int, stream: str) -> np.ndarray:
    """Uniform random tokens to end each sequence with: a pure function of its number and the stream's name.

    Kaplan 2020, section 6.3: random tokens at the end of each context raise every loss by a constant. These
    are splitmix64's outputs (Steele et al. 2014), counted through all sequences, from a state that `stream`
    chooses.

    Args:
        sequences: (B,) numbers of sequences, >= 0.
        n_noise: tokens a sequence; 0 gives a width of 0.
        n_vocab: V, tokens are 0 ... V - 1.

    Returns:
        (B, n_noise) int64.
    """
    start = np.frombuffer(hashlib.blake2b(stream.encode(), digest_size=8).digest(), dtype="<u8")
    numbers = sequences.astype(np.uint64)[:, None] * np.uint64(n_noise) + np.arange(n_noise, dtype=np.uint64)
    mixed: np.ndarray = start + (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    noise: np.ndarray = (mixed % np.uint64(n_vocab)).astype(np.int64)
    return noise


def held_out_windows(
    tokens: np.ndarray,
    documents: np.ndarray,
    *,
    n_windows: int,
    n_ctx: int,
    n_folds: int = 16,
    split: str = "held-out",
) -> tuple[np.ndarray, np.ndarray]:
    """Windows spread evenly over a held-out split, and the fold of each.

    Windows lie on the grid of `windows_per_epoch`, so no two share a target; where the grid has fewer than
    `n_windows`, all of them are returned. A fold is a run of neighbouring documents of about n_tokens /
    n_folds tokens; a window belongs to the fold of the document that holds its first token. Where documents
    are longer than that, some folds stay empty.

    Args:
        tokens: (n_tokens,), any integer type.
        documents: (n_documents + 1,) offset of every document's first token, and n_tokens.
        n_windows: W, at most.
        n_ctx: T.
        n_folds: folds are numbered 0 ... n_folds - 1.
        split: what to call it where it is too short.

    Returns:
        windows (W, T + 1) int64, folds (W,) int64, both in the order of the text.

    Raises:
        InputError: `tokens` is shorter than a window.
    """
    n_available = windows_per_epoch(len(tokens), n_ctx, split)
    n_taken = min(n_windows, n_available)
    places = (2 * np.arange(n_taken) + 1) * n_available // (2 * n_taken)
    windows = _windows(tokens, n_ctx, n_available)[places].astype(np.int64)
    # The fold of a document is that of its middle: even, and neighbours stay together.
    document_folds = (documents[:-1] + documents[1:]) * n_folds // (2 * len(tokens))
    holders = np.searchsorted(documents, places * n_ctx, side="right") - 1
    return windows, document_folds[holders]


def permutation(places: np.ndarray, n: int, *, seed: int, epoch: int) -> np.ndarray:
    """Where a keyed pseudo-random permutation of 0 ... n - 1 sends `places`.

    A Feistel network over pairs (left, right) with left < a, right < b and a * b at or just above n. Each
    round adds a keyed hash of one half to the other, which can be undone, so the network permutes
    0 ... a * b - 1. What lands on n or beyond goes through it again until it lands below, which permutes
    0 ... n - 1 (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").

    Args:
        places: (m,) integers in 0 ... n - 1.
        n: size of the set, 1 <= n < 2^62.
        seed, epoch: the key.

    Returns:
        (m,) int64.
    """
    result = _feistel(places.astype(np.uint64), n, seed, epoch)
    outside = np.flatnonzero(result >= n)
    while outside.size:
        result[outside] = _feistel(result[outside], n, seed, epoch)
        outside = outside[result[outside] >= n]
    return result.astype(np.int64)


def _feistel(values: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    n_left = math.isqrt(n - 1) + 1
    n_right = -(-n // n_left)
    left, right = values // n_right, values % n_right
    for index, key in enumerate(_round_keys(seed, epoch)):
        if index % 2 == 0:
            left = (left + _mix(right, key)) % n_left
        else:
            right = (right + _mix(left, key)) % n_right
    values = left * n_right + right
    return values


def _mix(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """A 31-bit hash: two multiplications modulo 2^64 by odd constants (those of splitmix64)."""
    mixed: np.ndarray = (values ^ key) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed >>= np.uint64(33)
    return mixed


@lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int) -> np.ndarray:
    digest = hashlib.blake2b(f"{seed}:{epoch}".encode(), digest_size=8 * N_ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _windows(tokens: np.ndarray, n_ctx: int, n_windows: int) -> np.ndarray:
    """A view (n_windows, n_ctx + 1) whose rows overlap by one token."""
    plain = np.asarray(tokens)  # indexing a memmap object itself costs more than the copy of a batch
    return as_strided(
        plain, (n_windows, n_ctx + 1), (n_ctx * plain.itemsize, plain.itemsize), writeable=False
    )

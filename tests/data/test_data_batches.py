"""Batches: a pure function of (seed, k); each target once in a pass; folds of whole documents."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling_laws.data.batches import (
    batch_rows,
    held_out_windows,
    noise_suffix,
    permutation,
    training_batch,
    windows_per_epoch,
)
from scaling_laws.study.errors import InputError


def starts_of_pass(
    n_tokens: int, n_ctx: int, *, seed: int, epoch: int, batch_sequences: int = 7
) -> list[int]:
    """First tokens of the windows of one pass, in order; the tokens are their own offsets."""
    tokens = np.arange(n_tokens, dtype=np.uint32)
    n_windows = windows_per_epoch(n_tokens, n_ctx)
    n_batches = -(-n_windows * (epoch + 1) // batch_sequences)
    batches = [
        training_batch(tokens, seed=seed, batch=k, batch_sequences=batch_sequences, n_ctx=n_ctx)
        for k in range(n_batches)
    ]
    starts = np.concatenate(batches)[:, 0]
    return starts[n_windows * epoch : n_windows * (epoch + 1)].tolist()


@settings(max_examples=300, deadline=None)
@given(n=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_permutation_is_a_bijection(n, seed, epoch):
    images = permutation(np.arange(n), n, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(images), np.arange(n))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 2**60), place=st.integers(0, 2**60), seed=st.integers(0, 100))
def test_permutation_of_a_place_does_not_depend_on_its_company(n, place, seed):
    place %= n
    (alone,) = permutation(np.array([place]), n, seed=seed, epoch=0)
    assert 0 <= alone < n
    assert permutation(np.array([0, place, n - 1]), n, seed=seed, epoch=0)[1] == alone


@pytest.mark.parametrize("n", [64, 1000, 4097, 100_000])
def test_permutation_looks_random(n):
    """Moments of a random permutation, within five standard errors over 40 keys."""
    places = np.arange(n)
    fixed, correlations, ascents = [], [], []
    for seed in range(40):
        images = permutation(places, n, seed=seed, epoch=seed % 3)
        fixed.append(np.sum(images == places))
        correlations.append(np.corrcoef(places, images)[0, 1])
        ascents.append(np.mean(np.diff(images) > 0))
    # Fixed points: mean 1, variance 1. Correlation: variance 1 / (n - 1). Share of ascents: about 1 / 12n.
    assert abs(np.mean(fixed) - 1) < 5 / np.sqrt(40)
    assert abs(np.mean(correlations)) < 5 / np.sqrt(40 * n)
    assert abs(np.mean(ascents) - 0.5) < 5 / np.sqrt(40 * 12 * n)


@pytest.mark.parametrize("lag", [1, 2, 31, 32])
def test_distances_between_neighbours_are_uniform(lag):
    """Chi-squared of 50 bins, 49 degrees of freedom: standard deviation 9.9, 1.8 for the mean of 30."""
    n = 1000
    chi_squared = []
    for seed in range(30):
        images = permutation(np.arange(n), n, seed=seed, epoch=0)
        counts = np.bincount((images[lag:] - images[:-lag]) % n * 50 // n, minlength=50)
        expected = (n - lag) / 50
        chi_squared.append(np.sum((counts - expected) ** 2) / expected)
    assert abs(np.mean(chi_squared) - 49) < 5 * 1.8


def test_small_permutations_reach_every_order():
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = tuple(permutation(np.arange(4), 4, seed=seed, epoch=0).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    # Chi-squared with 23 degrees of freedom: mean 23, standard deviation 6.8.
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 23 + 5 * 6.8


@pytest.mark.parametrize(("n_tokens", "n_ctx"), [(1001, 10), (1000, 10), (1002, 10), (50, 49), (1000, 1)])
def test_each_target_is_seen_once_a_pass(n_tokens, n_ctx):
    for epoch in (0, 1):
        starts = starts_of_pass(n_tokens, n_ctx, seed=3, epoch=epoch)
        targets = sorted(start + 1 + i for start in starts for i in range(n_ctx))
        assert targets == list(range(1, 1 + (n_tokens - 1) // n_ctx * n_ctx))


def test_rows_are_runs_of_the_text():
    tokens = np.arange(70_000, dtype=np.uint16)[:65_000]
    batch = training_batch(tokens, seed=0, batch=5, batch_sequences=16, n_ctx=128)
    assert batch.shape == (16, 129)
    assert batch.dtype == np.int64
    assert np.all(np.diff(batch) == 1)
    assert np.all(batch[:, 0] % 128 == 0)


def test_batch_is_a_pure_function():
    tokens = np.random.default_rng(0).integers(0, 1000, 20_000).astype(np.uint16)
    before = tokens.copy()

    def batch(k: int, seed: int = 0) -> np.ndarray:
        return training_batch(tokens, seed=seed, batch=k, batch_sequences=8, n_ctx=32)

    forwards = [batch(k) for k in range(200)]
    backwards = [batch(k) for k in reversed(range(200))][::-1]
    assert np.array_equal(forwards, backwards)
    assert not np.array_equal(batch(0, seed=1), batch(0))
    forwards[0][:] = 0  # a batch is a copy
    assert np.array_equal(tokens, before)


def test_stream_does_not_depend_on_the_batch_size():
    tokens = np.arange(5000)
    small = [training_batch(tokens, seed=1, batch=k, batch_sequences=4, n_ctx=16) for k in range(200)]
    large = [training_batch(tokens, seed=1, batch=k, batch_sequences=400, n_ctx=16) for k in range(2)]
    assert np.array_equal(np.concatenate(small), np.concatenate(large))


@pytest.mark.parametrize("n_shares", [1, 2, 3, 4, 6, 12])
def test_shares_of_a_batch_are_the_batch(n_shares):
    """Batches of 12 of 62 windows: some hold the end of a pass."""
    tokens = np.arange(1000)
    for k in range(20):
        arguments = dict(seed=2, batch=k, batch_sequences=12, n_ctx=16)
        whole = training_batch(tokens, **arguments)
        dealt = np.empty_like(whole)
        rows = []
        for share in range(n_shares):
            dealt[share::n_shares] = training_batch(tokens, **arguments, share=share, n_shares=n_shares)
            rows += batch_rows(k, 12, share=share, n_shares=n_shares).tolist()
        assert np.array_equal(dealt, whole)
        assert sorted(rows) == list(range(12 * k, 12 * k + 12))


def test_passes_differ_in_order():
    first, second = (starts_of_pass(5000, 16, seed=0, epoch=epoch) for epoch in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second)


def test_known_batch():
    """The order is part of the records: a change of these numbers changes every run."""
    assert permutation(np.arange(10), 10, seed=0, epoch=0).tolist() == [9, 3, 4, 6, 5, 7, 0, 2, 1, 8]


@pytest.mark.parametrize("n_tokens", [0, 1, 128])
def test_corpus_shorter_than_a_window(n_tokens):
    tokens = np.zeros(n_tokens, dtype=np.uint16)
    with pytest.raises(InputError, match=f"{n_tokens} tokens"):
        training_batch(tokens, seed=0, batch=0, batch_sequences=1, n_ctx=128)
    with pytest.raises(InputError, match="n_ctx"):
        held_out_windows(tokens, np.array([0, n_tokens]), n_windows=4, n_ctx=128)


# --- held out -------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    n_windows=st.integers(1, 60),
    n_ctx=st.integers(1, 20),
)
def test_held_out_windows(lengths, n_windows, n_ctx):
    documents = np.concatenate(([0], np.cumsum(lengths)))
    n_tokens = int(documents[-1])
    if n_tokens <= n_ctx:
        return
    tokens = np.arange(n_tokens, dtype=np.uint16)
    windows, folds = held_out_windows(tokens, documents, n_windows=n_windows, n_ctx=n_ctx)
    available = (n_tokens - 1) // n_ctx
    assert windows.shape == (min(n_windows, available), n_ctx + 1)
    assert windows.dtype == folds.dtype == np.int64
    assert np.all(np.diff(windows) == 1)
    starts = windows[:, 0]
    if len(starts) > 1:
        assert np.diff(starts).min() >= n_ctx  # no target twice
        assert np.diff(starts).max() - np.diff(starts).min() <= n_ctx  # evenly spread
    assert folds.min() >= 0
    assert folds.max() < 16
    assert np.all(np.diff(folds) >= 0)
    # Windows that start in one document are in one fold.
    holders = np.searchsorted(documents, starts, side="right") - 1
    for document in np.unique(holders):
        assert len(np.unique(folds[holders == document])) == 1


def test_folds_hold_about_equal_tokens():
    lengths = np.random.default_rng(0).integers(50, 150, 2000)
    documents = np.concatenate(([0], np.cumsum(lengths)))
    tokens = np.zeros(documents[-1], dtype=np.uint16)
    _, folds = held_out_windows(tokens, documents, n_windows=10**9, n_ctx=16)
    counts = np.bincount(folds, minlength=16)
    assert len(counts) == 16
    assert counts.max() / counts.min() < 1.05


# --- noise ----------------------------------------------------------------------------------------


def splitmix64(state: int, n: int) -> list[int]:
    """The first n outputs: the generator of Steele et al. 2014, with Python's integers."""
    outputs = []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        mixed = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        outputs.append(mixed ^ (mixed >> 31))
    return outputs


def test_noise_is_splitmix64_counted_through_all_sequences():
    assert splitmix64(0, 2) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]  # the published first outputs
    start = int.from_bytes(hashlib.blake2b(b"train:0", digest_size=8).digest(), "little")
    expected = np.array([output % 1000 for output in splitmix64(start, 6 * 5)]).reshape(6, 5)
    noise = noise_suffix(np.arange(6), n_noise=5, n_vocab=1000, stream="train:0")
    assert np.array_equal(noise, expected)
    assert noise.dtype == np.int64
    some = noise_suffix(np.array([4, 1]), n_noise=5, n_vocab=1000, stream="train:0")
    assert np.array_equal(some, expected[[4, 1]])
    assert noise_suffix(np.arange(6), n_noise=0, n_vocab=1000, stream="train:0").shape == (6, 0)


@pytest.mark.parametrize("n_vocab", [2, 257, 50257])
def test_noise_is_uniform_and_independent_of_its_place(n_vocab):
    """Chi-squared of 64 cells, pairs of neighbours: 63 degrees of freedom, standard deviation 11."""
    noise = noise_suffix(np.arange(10**9, 10**9 + 4000), n_noise=32, n_vocab=n_vocab, stream="test")
    assert noise.min() >= 0 and noise.max() < n_vocab
    edges = np.linspace(0, n_vocab, min(8, n_vocab) + 1)
    for left, right in ((noise[:, :-1], noise[:, 1:]), (noise[:-1], noise[1:])):
        counts, _, _ = np.histogram2d(left.ravel(), right.ravel(), bins=[edges, edges])
        widths = np.histogram(np.arange(n_vocab), edges)[0] / n_vocab
        expected = left.size * np.outer(widths, widths)
        chi_squared = np.sum((counts - expected) ** 2 / expected)
        freedom = counts.size - 1
        assert abs(chi_squared - freedom) < 6 * np.sqrt(2 * freedom)

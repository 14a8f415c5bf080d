"""Made text whose entropy is known: each word depends on the one before it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scaling_laws.training.datamodule import WindowSource

FloatArray = NDArray[np.float64]


class WordChain(WindowSource):
    """Words drawn by a power law of their rank, in an order that the word before decides.

    The orders are random, so that a network narrower than the number of words needs its hidden units to tell
    them apart.

    Args:
        n_tokens: of the training split.
        seed: of the orders and the draws.
    """

    N_WORDS = 32
    EXPONENT = 1.5
    N_CHAINS = 64
    """Drawn side by side, one after the other in the text."""

    def __init__(self, n_tokens: int = 2_000_000, seed: int = 0) -> None:
        self.name = "word_chain"
        self.n_vocab = self.N_WORDS
        self.manifest_hash = f"word_chain-{self.N_WORDS}-{n_tokens}-{seed}"
        self.held_out = ("val", "test")
        self.seed = seed
        self._sizes = {"train": n_tokens, "val": 50_000, "test": 50_000}
        self._made: dict[str, NDArray[np.uint16]] = {}

    @cached_property
    def _shares(self) -> FloatArray:
        """(V,): probabilities by rank."""
        shares = (1.0 + np.arange(self.N_WORDS)) ** -self.EXPONENT
        return np.asarray(shares / shares.sum())

    @property
    def entropy_nats(self) -> float:
        """Of a word after another: no network has a lower loss."""
        return float(-(self._shares * np.log(self._shares)).sum())

    def tokens(self, split: str) -> NDArray[np.uint16]:
        """(n,): the chains of a split, one after the other."""
        if split not in self._made:
            orders = np.random.default_rng(self.seed).permuted(
                np.tile(np.arange(self.N_WORDS), (self.N_WORDS, 1)), axis=1
            )
            random = np.random.default_rng([self.seed, *split.encode()])
            length = self._sizes[split] // self.N_CHAINS
            ranks = random.choice(self.N_WORDS, size=(length, self.N_CHAINS), p=self._shares)
            words = np.empty_like(ranks)
            last = random.integers(self.N_WORDS, size=self.N_CHAINS)
            for place in range(length):
                last = words[place] = orders[last, ranks[place]]
            self._made[split] = words.T.ravel().astype(np.uint16)
        return self._made[split]

    def documents(self, split: str) -> NDArray[np.int64]:
        """Where chains begin."""
        return np.arange(self.N_CHAINS + 1) * (self._sizes[split] // self.N_CHAINS)

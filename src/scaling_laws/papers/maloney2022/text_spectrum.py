"""The spectrum of a text's own features, beside the exponents that a study has measured on that text.

The model says: where the variances of features fall as I^-(1+alpha), the loss falls as min(N, T)^-alpha. The
features here are the simplest that predict a next token linearly: which tokens stand before it. The text is
the beginning of the repository's own corpus, and its measured exponents are those of results/cpu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.straight_line import line_through
from scaling_laws.laws.results.types import read_laws
from scaling_laws.papers.maloney2022.ridge import FloatArray

CORPUS, FAMILY, FORM = "configs/data/embedded.yaml", "transformer", "kaplan_nd"
MEASURED = Path("results/cpu/laws.json")
TEXT_BYTES, LEAST_BYTES = 3_000_000, 100_000
CONTEXT = 32
"""Tokens whose counts are one kind of features."""
RANGES = ((4, 64), (32, 512))
"""Places in the spectrum, largest variance first, over which an exponent is read."""
FOLDS = 5
"""Of documents; each is left out in turn."""
STUDENT = 2.132
"""Student's t of a 90 % interval with four degrees of freedom."""
KINDS = {
    "one": "the last token",
    "two": "the last two tokens",
    "bag": f"counts of the last {CONTEXT} tokens",
}


@dataclass(frozen=True, kw_only=True)
class TextSpectrum:
    """What was found of a text.

    Attributes:
        n_tokens, n_vocab: of the text.
        variances: kind of features -> (I,) eigenvalues of their covariance, falling.
        alphas: (kind, range) -> the exponent less one, and its 90 % interval over folds of documents.
        measured: alpha_N and alpha_D of the study, with their intervals; empty where there is none.
    """

    n_tokens: int
    n_vocab: int
    variances: Mapping[str, FloatArray]
    alphas: Mapping[tuple[str, tuple[int, int]], tuple[float, Interval]]
    measured: Mapping[str, tuple[float, Interval]]


def text_spectrum() -> TextSpectrum:
    """Of the beginning of the repository's corpus.

    Raises:
        InputError: the corpus cannot be built.
    """
    from scaling_laws.data.corpus import split_documents
    from scaling_laws.data.corpus_file import load_config
    from scaling_laws.data.tokenizer import train_tokenizer

    config = replace(load_config(CORPUS), max_train_bytes=TEXT_BYTES, max_foreign_bytes=LEAST_BYTES)
    texts = [document.read() for document in split_documents(config)["train"]]
    assert config.n_vocab is not None
    tokenizer = train_tokenizer("bpe", config.n_vocab, texts)
    return spectrum_of(list(tokenizer.encode(texts)), config.n_vocab, measured_exponents(MEASURED))


def measured_exponents(path: Path) -> dict[str, tuple[float, Interval]]:
    """alpha_N and alpha_D of a study's laws; empty where it has none.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return {}
    fits = [fit for of in read_laws(path).by_family if of.family == FAMILY for fit in of.fits]
    chosen = next((fit for fit in fits if fit.form == FORM and fit.identified), None)
    if chosen is None:
        return {}
    known = {name: (chosen.parameters[name], chosen.intervals[name]) for name in ("alpha_N", "alpha_D")}
    return {name: (value, interval) for name, (value, interval) in known.items() if value is not None}


def spectrum_of(
    documents: list[NDArray[np.int64]], n_vocab: int, measured: Mapping[str, tuple[float, Interval]]
) -> TextSpectrum:
    """Spectra of every kind of features of these documents' tokens."""
    folds = [np.concatenate(documents[fold::FOLDS]) for fold in range(FOLDS)]
    variances, alphas = {}, {}
    for kind in KINDS:
        moments = [_moments(tokens, n_vocab, kind) for tokens in folds]
        variances[kind] = _variances(moments)
        without = [_variances(moments[:fold] + moments[fold + 1 :]) for fold in range(FOLDS)]
        for places in RANGES:
            value = _alpha(variances[kind], places)
            others = np.array([_alpha(each, places) for each in without])
            error = float(np.sqrt((FOLDS - 1) / FOLDS * ((others - others.mean()) ** 2).sum()))  # jackknife
            alphas[kind, places] = value, (value - STUDENT * error, value + STUDENT * error)
    n_tokens = sum(map(len, folds))
    return TextSpectrum(
        n_tokens=n_tokens, n_vocab=n_vocab, variances=variances, alphas=alphas, measured=measured
    )


def _moments(tokens: NDArray[np.int64], n_vocab: int, kind: str) -> tuple[float, FloatArray, FloatArray]:
    """(positions, sum of features, sum of their products) over the positions of a text."""
    if kind == "one":
        counts = np.bincount(tokens, minlength=n_vocab).astype(np.float64)
        return float(len(tokens)), counts, np.diag(counts)
    if kind == "two":
        first, second = (
            np.bincount(each, minlength=n_vocab).astype(np.float64) for each in (tokens[:-1], tokens[1:])
        )
        pairs = np.bincount(tokens[:-1] * n_vocab + tokens[1:], minlength=n_vocab**2).reshape(n_vocab, -1)
        products = np.block([[np.diag(first), pairs], [pairs.T, np.diag(second)]])
        return float(len(tokens) - 1), np.concatenate([first, second]), products
    n = len(tokens) // CONTEXT  # every 32nd position, whose counts share no token
    places = np.repeat(np.arange(n), CONTEXT) * n_vocab + tokens[: n * CONTEXT]
    products, total = np.zeros((n_vocab, n_vocab)), np.zeros(n_vocab)
    for start in range(0, n, 4096):
        rows = min(4096, n - start)
        some = places[start * CONTEXT : (start + rows) * CONTEXT] - start * n_vocab
        counts = np.bincount(some, minlength=rows * n_vocab).reshape(rows, n_vocab).astype(np.float64)
        products += counts.T @ counts
        total += counts.sum(axis=0)
    return float(n), total, products


def _variances(moments: Sequence[tuple[float, FloatArray, FloatArray]]) -> FloatArray:
    """Eigenvalues of the covariance over some folds, falling."""
    n = sum(each[0] for each in moments)
    mean = np.sum([total for _, total, _ in moments], axis=0) / n
    products = np.sum([each for _, _, each in moments], axis=0)
    return np.asarray(np.linalg.eigvalsh(products / n - np.outer(mean, mean))[::-1])


def _alpha(variances: FloatArray, places: tuple[int, int]) -> float:
    """The exponent of variances ~ I^-(1+alpha), at places of equal ln I."""
    first, last = places
    index = np.unique(np.geomspace(first, min(last, len(variances) // 2), 30).round().astype(int))
    return -line_through(np.log(index), np.log(variances[index - 1])).slope - 1

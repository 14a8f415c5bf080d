"""From how many tokens on rows follow a law: the cut that predicts a larger size best, not one by eye.

Early checkpoints of a training (warm-up, first batches) follow no power law and bend a fit. Each candidate
cut is fitted to the smaller sizes and tested on rows of a larger one that no candidate cuts: the same rows
for all. Of cuts that do about as well the one that leaves out least is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Of the rows that candidates cut, in order of their tokens."""
FEWEST_SIZES = 3
"""That a law is fitted to before a larger one tests it."""
MOST_HELD_OUT = 3
"""Sizes that are held out in turn, the largest ones."""
AS_GOOD = 1.05
"""Times the lowest error: what does no worse than that leaves more rows in."""


@dataclass(frozen=True, kw_only=True)
class CutCandidate:
    """One cut.

    Attributes:
        tokens: rows of fewer are left out; 0 for none.
        n_rows: that stay.
        error: mean absolute error of ln loss at the held-out sizes; None where no law could be fitted.
    """

    tokens: float
    n_rows: int
    error: float | None


@dataclass(frozen=True, kw_only=True)
class TokenCut:
    """The cut that was taken, and what it was chosen from.

    Attributes:
        tokens: rows of fewer are left out; 0 for none.
        n_left_out: rows.
        held_out: sizes that tested it, N.
        candidates: by tokens.
        reason: why nothing could be chosen, so that every row stays; empty otherwise.
    """

    tokens: float
    n_left_out: int
    held_out: tuple[float, ...]
    candidates: tuple[CutCandidate, ...]
    reason: str

    def sentence(self) -> str:
        if self.reason:
            return f"no rows are cut by tokens: {self.reason}"
        errors = {each.tokens: each.error for each in self.candidates if each.error is not None}
        sizes = "1 larger size" if len(self.held_out) == 1 else f"{len(self.held_out)} larger sizes"
        if self.tokens == 0:
            return (
                f"no rows are cut by tokens: of {len(self.candidates)} cuts none predicts {sizes} better "
                f"(error {100 * errors[0.0]:.2g} %)"
            )
        without = f", {100 * errors[0.0]:.2g} % without" if 0.0 in errors else ""
        return (
            f"{self.n_left_out} rows of fewer than {self.tokens:.3g} tokens are left out: of "
            f"{len(self.candidates)} cuts the one that predicts {sizes} best (error "
            f"{100 * errors[self.tokens]:.2g} %{without})"
        )


def choose_cut(runs: pd.DataFrame, form: type[JointLaw], delta: float = DEFAULT_DELTA) -> TokenCut:
    """The least number of tokens from which on rows follow the law.

    Args:
        runs: usable ones, with columns N, D, loss, trunk.
        form: a law of N and D.

    Raises:
        InputError: the form is of other variables.
    """
    if tuple(form.variables) != ("N", "D"):
        raise InputError(f"rows are cut by tokens only for a law of N and D, and {form.form} is not one")
    N, D = (runs[name].to_numpy(dtype=np.float64) for name in ("N", "D"))
    log_loss = np.log(runs["loss"].to_numpy(dtype=np.float64))
    cuts = np.unique([0.0, *(float(np.quantile(D, share, method="higher")) for share in SHARES)])
    sizes = np.unique(N)
    held_out = sizes[FEWEST_SIZES:][-MOST_HELD_OUT:]
    if not len(held_out):
        return _none(f"{len(sizes)} sizes, of which one must test what {FEWEST_SIZES} smaller ones say")
    errors: dict[float, list[float]] = {cut: [] for cut in cuts.tolist()}
    tested = []
    for size in held_out.tolist():
        test = (size == N) & (cuts[-1] <= D)
        if not test.any():
            continue
        tested.append(size)
        for cut in cuts.tolist():
            errors[cut].append(_error(runs, (size > N) & (cut <= D), test, form, delta, log_loss))
    if not tested:
        return _none("no larger size has rows that every cut leaves in")
    means = {cut: float(np.mean(found)) for cut, found in errors.items()}
    known = {cut: error for cut, error in means.items() if np.isfinite(error)}
    if not known:
        return _none("no law could be fitted to the smaller sizes")
    lowest = min(known.values())
    chosen = min(cut for cut, error in known.items() if error <= AS_GOOD * lowest)
    return TokenCut(
        tokens=chosen,
        n_left_out=int(np.sum(chosen > D)),
        held_out=tuple(tested),
        candidates=tuple(
            CutCandidate(tokens=cut, n_rows=int(np.sum(cut <= D)), error=known.get(cut)) for cut in means
        ),
        reason="",
    )


def _error(
    runs: pd.DataFrame,
    fitted: np.ndarray[tuple[int], np.dtype[np.bool_]],
    test: np.ndarray[tuple[int], np.dtype[np.bool_]],
    form: type[JointLaw],
    delta: float,
    log_loss: FloatArray,
) -> float:
    """Mean absolute error of ln loss on the test rows; infinite without a law."""
    part, other = runs[fitted], runs[test]
    if part.empty:
        return float("inf")
    fit = fit_law(form, make_rows({"N": part["N"], "D": part["D"]}, part["loss"], part["trunk"]), delta=delta)
    if fit.law is None or "fewer points" in fit.reason or fit.reason.startswith("only "):
        return float("inf")
    with np.errstate(all="ignore"):
        predicted = np.log(fit.law.loss(other["N"].to_numpy(float), other["D"].to_numpy(float)))
    error = float(np.mean(np.abs(predicted - log_loss[test])))
    return error if np.isfinite(error) else float("inf")


def _none(reason: str) -> TokenCut:
    return TokenCut(tokens=0.0, n_left_out=0, held_out=(), candidates=(), reason=reason)

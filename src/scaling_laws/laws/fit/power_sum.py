"""What the fitter minimises over: ln y as a function of a few parameters, with exact derivatives.

Most laws are ln y = m * ln(sum_k exp(u_k)), every u_k linear in the parameters: `PowerSum`. Those that bend
otherwise are in `curved.py`.

Shapes: S problems in a batch, n rows, K terms, p parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.forms.terms import FloatArray

Index = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model at a batch of parameters.

    Attributes:
        log_loss: (S, n).
        jacobian: (S, n, p): derivative of `log_loss`.
        share: (S, n, K): each term's share of a sum; of other laws (S, n, 1), ones.
    """

    log_loss: FloatArray
    jacobian: FloatArray
    share: FloatArray


class LogLossModel(Protocol):
    """ln y as a function of the parameters."""

    @property
    def n_parameters(self) -> int: ...

    def predict(self, theta: FloatArray) -> Prediction:
        """At each row of theta, (S, p)."""

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        """sum_i pull_i d2(ln y_i)/dtheta2, (S, p, p), pull being (S, n)."""

    def select(self, index: Index) -> Self:
        """The model of some of the batch's problems."""


@runtime_checkable
class RowwiseModel(LogLossModel, Protocol):
    """One whose sums over rows may be taken in parts."""

    def of_rows(self, rows: slice) -> Self:
        """The model of some of the rows."""


@dataclass(frozen=True, kw_only=True)
class PowerSum:
    """ln y = m * ln(sum_k exp(u_k)).

    Attributes:
        design: (n, K, q): u_k = design_k . phi + offset_k, phi being the first q parameters.
        offset: (n, K).
        free_power: whether m = exp(last parameter); otherwise m = 1.
    """

    design: FloatArray
    offset: FloatArray
    free_power: bool

    @property
    def n_parameters(self) -> int:
        return int(self.design.shape[2]) + int(self.free_power)

    @cached_property
    def _linear(self) -> FloatArray:
        """The design, term by term: (K n, q). A step goes over rows, which lie side by side in memory."""
        n, K, q = self.design.shape
        return np.ascontiguousarray(self.design.transpose(1, 0, 2)).reshape(K * n, q)

    @cached_property
    def _outer(self) -> FloatArray:
        """x_k x_k' of each term and row, (K n, q q); every step of a fit needs them."""
        outer: FloatArray = np.einsum("ra,rb->rab", self._linear, self._linear).reshape(len(self._linear), -1)
        return outer

    @cached_property
    def _columns(self) -> tuple[Index, FloatArray, list[tuple[int, int, FloatArray]]]:
        """What each of the q parameters moves: its first term (q,) with the slopes (q, n); its other terms.

        The others, which few laws have, as (parameter, term, slopes (n,)).
        """
        n, K, q = self.design.shape
        first, slopes = np.zeros(q, dtype=np.intp), np.zeros((q, n))
        others: list[tuple[int, int, FloatArray]] = []
        for j in range(q):
            moved = [k for k in range(K) if self.design[:, k, j].any()]
            if moved:
                first[j], slopes[j] = moved[0], self.design[:, moved[0], j]
            others += [(j, k, np.ascontiguousarray(self.design[:, k, j])) for k in moved[1:]]
        return first, slopes, others

    def select(self, index: Index) -> PowerSum:
        return self

    def of_rows(self, rows: slice) -> PowerSum:
        return replace(self, design=self.design[rows], offset=self.offset[rows])

    def predict(self, theta: FloatArray) -> Prediction:
        """ln y = m ln(sum_k exp(u_k)) and its derivatives."""
        n, K, q = self.design.shape
        with np.errstate(over="ignore", invalid="ignore"):
            share = (theta[:, :q] @ self._linear.T).reshape(-1, K, n)
            share += self.offset.T
            top = share.max(axis=1)
            share -= top[:, None]
            np.exp(share, out=share)
            total = share.sum(axis=1)
            log_loss = np.log(total) + top
            share /= total[:, None]
            first, slopes, others = self._columns
            jacobian = np.empty((len(theta), self.n_parameters, n))
            np.multiply(share[:, first], slopes, out=jacobian[:, :q])
            for j, k, slope in others:
                jacobian[:, j] += share[:, k] * slope
            if self.free_power:
                power = np.exp(theta[:, q])[:, None]
                log_loss *= power
                jacobian[:, :q] *= power[:, None]
                jacobian[:, q] = log_loss
        return Prediction(log_loss=log_loss, jacobian=jacobian.swapaxes(1, 2), share=share.swapaxes(1, 2))

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        """m (sum_k share_k x_k x_k' - slope slope'), slope = sum_k share_k x_k; and what m adds."""
        n, K, q = self.design.shape
        pulled_share = (pull[:, None] * prediction.share.swapaxes(1, 2)).reshape(-1, K * n)
        slope = prediction.jacobian[..., :q]
        of_terms: FloatArray = (pulled_share @ self._outer).reshape(-1, q, q)
        if not self.free_power:
            of_terms -= gram(slope, pull)
            return of_terms
        power = np.exp(theta[:, q])[:, None, None]
        curvature = np.zeros((len(theta), q + 1, q + 1))
        curvature[:, :q, :q] = of_terms * power - gram(slope, pull) / power
        # m = exp(theta_q), so that d2/dtheta_q dx is the slope once more.
        gradient = np.einsum("snp,sn->sp", prediction.jacobian, pull)
        curvature[:, q, :] += gradient
        curvature[:, :q, q] += gradient[:, :q]
        return curvature


@dataclass(frozen=True, kw_only=True)
class PinnedPrediction(Prediction):
    """That of a model with one parameter held, and of the whole."""

    whole: Prediction


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A model with one parameter held, at a value of its own for each problem: what a profile is made of.

    Attributes:
        model: the whole.
        held: index of the parameter.
        values: (S,), or (1,): of all problems.
    """

    model: LogLossModel
    held: int
    values: FloatArray

    @property
    def n_parameters(self) -> int:
        return self.model.n_parameters - 1

    def select(self, index: Index) -> Pinned:
        values = self.values if len(self.values) == 1 else self.values[index]
        return replace(self, model=self.model.select(index), values=values)

    def of_rows(self, rows: slice) -> Pinned:
        assert isinstance(self.model, RowwiseModel)
        return replace(self, model=self.model.of_rows(rows))

    def whole(self, theta: FloatArray) -> FloatArray:
        """The free parameters (S, p - 1) with the held one among them, (S, p)."""
        return np.insert(theta, self.held, self.values, axis=1)

    def predict(self, theta: FloatArray) -> Prediction:
        whole = self.model.predict(self.whole(theta))
        # Rows side by side, as in the whole.
        jacobian = np.delete(whole.jacobian.swapaxes(1, 2), self.held, axis=1).swapaxes(1, 2)
        return PinnedPrediction(log_loss=whole.log_loss, jacobian=jacobian, share=whole.share, whole=whole)

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        assert isinstance(prediction, PinnedPrediction)
        whole = self.model.curvature(self.whole(theta), prediction.whole, pull)
        return np.delete(np.delete(whole, self.held, axis=1), self.held, axis=2)


def gram(J: FloatArray, weights: FloatArray) -> FloatArray:
    """sum_i w_i J_i J_i', (S, p, p)."""
    return np.asarray(np.swapaxes(J, 1, 2) @ (weights[..., None] * J))

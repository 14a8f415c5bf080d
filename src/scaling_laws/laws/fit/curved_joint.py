"""Coordinates of the curved laws of N and D: Chinchilla's raised terms, and repeated data."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from scaling_laws.laws.fit.coordinates import SMALLEST_SHARE, Free, PowerSumCoordinates
from scaling_laws.laws.fit.curved import CurvedCoordinates, Evaluation, no_constant, simpler_minima
from scaling_laws.laws.fit.huber import Problem
from scaling_laws.laws.fit.power_sum import Prediction, gram
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.terms import FloatArray

START_GAMMAS = (0.4, 0.7, 1.0, 1.5, 2.5)
N_GRID_APART = 3
"""Of the simpler law's own starts, every third is one too."""
START_REPEATS = (2.0, 8.0, 32.0)
LARGEST_REPEATS = 1e4


class GammaCoordinates(CurvedCoordinates):
    """theta = (ln E, ln A and ln B at the centre, alpha, beta, ln gamma)."""

    @property
    def free(self) -> dict[str, Free]:
        return {
            "E": Free(0, np.exp),
            "alpha": Free(3, np.asarray),
            "beta": Free(4, np.asarray),
            "gamma": Free(5, np.exp),
        }

    def evaluate(self, theta: FloatArray) -> Evaluation:
        x, y = self.x, self.y
        e, a, b, alpha, beta, gamma = (column[:, None] for column in theta.T)
        gamma = np.exp(gamma)
        of_N, of_D = a - alpha * x, b - beta * y
        bracket = np.logaddexp(of_N, of_D)
        log_loss = np.logaddexp(e, gamma * bracket)
        share = np.exp(gamma * bracket - log_loss)
        by_N, by_D = share * gamma * np.exp(of_N - bracket), share * gamma * np.exp(of_D - bracket)
        columns = [1 - share, by_N, by_D, -by_N * x, -by_D * y, share * gamma * bracket]
        return log_loss, np.stack(columns, axis=2)

    def curvature(self, theta: FloatArray, prediction: Prediction, pull: FloatArray) -> FloatArray:
        """In closed form, since every roll-out and bootstrap of this law takes it.

        With v = gamma ln(bracket) and s its share of L, d2(ln L) = s (1 - s) q q' + s d2v, q = dv - d(ln E);
        d2v = gamma w (1 - w) d d', w the share of N in the bracket and d the difference of its two terms'
        gradients, and what ln gamma adds.
        """
        x, y = self.x, self.y
        share = 1 - prediction.jacobian[..., 0]
        gamma = np.exp(theta[:, 5])[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = prediction.jacobian / share[..., None]  # of v, but for the first entry
            w = slope[..., 1] / gamma
            slope[..., 0] = -1.0  # of -ln E
            ones = np.ones_like(x)
            d = np.stack([0 * ones, ones, -ones, -x, y, 0 * ones], axis=1)
            curvature = gram(slope, pull * share * (1 - share))
            curvature += gram(np.broadcast_to(d, slope.shape), pull * share * gamma * w * (1 - w))
            through = np.einsum("snp,sn->sp", slope, pull * share)
        curvature[:, 5, 1:] += through[:, 1:]
        curvature[:, 1:5, 5] += through[:, 1:5]
        return curvature

    def starts(self, problem: Problem) -> FloatArray:
        simpler = PowerSumCoordinates(Chinchilla, self.rows)
        grid = simpler.starts(problem)[::N_GRID_APART]
        starts = []
        for theta, gammas in (
            (simpler_minima(Chinchilla, self.rows, problem), START_GAMMAS),
            (grid, (1.0,)),
        ):
            for (e, *rest), gamma in product(theta, gammas):
                starts.append([e, *(value / gamma for value in rest), np.log(gamma)])
        return np.array(starts)

    def law(self, theta: FloatArray) -> Any:
        return self.law_of(theta, **_additive(self, theta), gamma=np.exp(theta[..., 5]))

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        reasons = no_constant(self, theta, "E")
        for name, index in (("alpha", 3), ("beta", 4)):
            if theta[index] <= 0:
                reasons[name] = f"{name} <= 0: the rows show no such power law"
        if abs(theta[5]) > np.log(20):
            reasons["gamma"] = "gamma left its range of 1/20 to 20"
        return reasons


class MuennighoffCoordinates(CurvedCoordinates):
    """theta = (ln E, ln A and ln B at the centre, alpha, beta, ln R_D_star, ln R_N_star)."""

    @property
    def free(self) -> dict[str, Free]:
        return {
            "E": Free(0, np.exp),
            "alpha": Free(3, np.asarray),
            "beta": Free(4, np.asarray),
            "R_D_star": Free(5, np.exp),
            "R_N_star": Free(6, np.exp),
        }

    def evaluate(self, theta: FloatArray) -> Evaluation:
        N, D = self.rows.values["N"], self.rows.values["D"]
        unique = np.minimum(self.rows.values["U"], D)
        centre_N, centre_D = self.rows.centre("N"), self.rows.centre("D")
        e, a, b, alpha, beta, log_R_D, log_R_N = (column[:, None] for column in theta.T)
        log_D, by_R_D, _ = _saturating(np.log(unique), np.log(D), log_R_D)

        log_U = np.log(unique) - centre_D
        matched = (np.log(alpha) - np.log(beta) + a - b + beta * log_U) / alpha  # ln N_opt(U), centred
        smaller = matched < np.log(N) - centre_N
        log_N, by_R_N, by_base = _saturating(
            np.where(smaller, matched + centre_N, np.log(N)), np.log(N), log_R_N
        )
        x, y = log_N - centre_N, log_D - centre_D
        log_loss = np.logaddexp(np.logaddexp(e, a - alpha * x), b - beta * y)
        of_N, of_D = np.exp(a - alpha * x - log_loss), np.exp(b - beta * y - log_loss)
        # What the matched size adds to every derivative, through N'.
        through = np.where(smaller, -of_N * by_base, 0.0)  # = -share alpha dlnN'/dlnU_N / alpha
        columns = [
            np.exp(e - log_loss),
            of_N + through,
            of_D - through,
            -of_N * x + through * (1 / alpha - matched),
            -of_D * y + through * (log_U - 1 / beta),
            -of_D * beta * by_R_D,
            -of_N * alpha * by_R_N,
        ]
        return log_loss, np.stack(columns, axis=2)

    def starts(self, problem: Problem) -> FloatArray:
        starts = []
        for theta in simpler_minima(Chinchilla, self.rows, problem):
            # ln R away from the simpler law's optimum; alpha and beta must stay positive.
            base = [*theta[:3], *np.maximum(theta[3:5], 0.05)]
            starts += [
                [*base, np.log(R_D), np.log(R_N)] for R_D, R_N in product(START_REPEATS, START_REPEATS)
            ]
        return np.array(starts)

    def law(self, theta: FloatArray) -> Any:
        repeats = {"R_D_star": np.exp(theta[..., 5]), "R_N_star": np.exp(theta[..., 6])}
        return self.law_of(theta, **_additive(self, theta), **repeats)

    def on_bound(self, theta: FloatArray) -> dict[str, str]:
        reasons = no_constant(self, theta, "E")
        jacobian = self.model.predict(theta[None]).jacobian[0]
        if theta[5] > np.log(LARGEST_REPEATS):
            reasons["R_D_star"] = "R_D_star -> infinity: repeated tokens are as good as new ones"
        if not np.abs(jacobian[:, 6]).max() > SMALLEST_SHARE * 1e-2:
            reasons["R_N_star"] = (
                "no row has more parameters than its unique tokens are worth: R_N_star is free"
            )
        elif theta[6] > np.log(LARGEST_REPEATS):
            reasons["R_N_star"] = "R_N_star -> infinity: excess parameters are as good as others"
        return reasons


def _saturating(
    log_base: FloatArray, log_total: FloatArray, log_scale: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """ln of base (1 + R (1 - exp(-r/R))), r = total/base - 1; its derivatives by ln R and by ln base."""
    R = np.exp(log_scale)
    log_ratio = log_total - log_base
    repeats = np.expm1(log_ratio)
    left = np.exp(-repeats / R)
    worth = 1 + R * (1 - left)
    by_scale = R * (1 - left - np.where(left > 0, repeats / R * left, 0.0)) / worth
    by_base = 1 - np.exp(log_ratio - repeats / R) / worth
    return log_base + np.log(worth), by_scale, by_base


def _additive(coordinates: CurvedCoordinates, theta: FloatArray) -> dict[str, FloatArray]:
    """E, A, B, alpha and beta of theta = (ln E, ln A and ln B at the centre, alpha, beta, ...)."""
    alpha, beta = theta[..., 3], theta[..., 4]
    with np.errstate(over="ignore"):
        A = np.exp(theta[..., 1] + alpha * coordinates.rows.centre("N"))
        B = np.exp(theta[..., 2] + beta * coordinates.rows.centre("D"))
        return {"E": np.exp(theta[..., 0]), "A": A, "B": B, "alpha": alpha, "beta": beta}

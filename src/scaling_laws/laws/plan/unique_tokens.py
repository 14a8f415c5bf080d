"""A budget with too little data: how large a model, how many epochs (Muennighoff 2023, arXiv 2305.16264)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.published import MUENNIGHOFF
from scaling_laws.laws.results.types import Laws
from scaling_laws.study.errors import InputError

SPAN = 1e3
"""Sizes down to this fraction of the unlimited optimum, and up to this multiple, are tried."""


@dataclass(frozen=True, kw_only=True)
class RepeatedPlan:
    """What to train with C FLOPs and U unique tokens.

    Attributes:
        C: FLOPs.
        unique_tokens: U.
        N, D: parameters; tokens, repeats counted.
        epochs: D/U, below 1 where the data are not used up.
        loss_nats: nats per token.
        unlimited_N, unlimited_D, unlimited_loss_nats: the optimum if no token returned.
        source: where the law and its R's come from.
    """

    C: float
    unique_tokens: float
    N: float
    D: float
    epochs: float
    loss_nats: float
    unlimited_N: float
    unlimited_D: float
    unlimited_loss_nats: float
    source: str


def plan_repeated(law: Muennighoff, C: float, unique_tokens: float, *, source: str) -> RepeatedPlan:
    """The N that minimises L(N, C/6N, U): the least of a grid in ln N, refined between its neighbours.

    Raises:
        InputError: the number of unique tokens is not positive.
    """
    from scipy.optimize import minimize_scalar

    if not (np.isfinite(unique_tokens) and unique_tokens > 0):
        raise InputError(f"unique tokens are {unique_tokens}: give a positive number")
    N_times_D = C / FLOPS_PER_PARAMETER_TOKEN
    unlimited_N, unlimited_D = (float(value) for value in law.unlimited.optimum(C))

    def loss(log_N: float) -> float:
        N = np.exp(log_N)
        return float(law.loss(N, N_times_D / N, unique_tokens))

    grid = np.log(unlimited_N) + np.linspace(-np.log(SPAN), np.log(SPAN), 601)
    losses = law.loss(np.exp(grid), N_times_D / np.exp(grid), unique_tokens)
    best = int(np.clip(np.argmin(losses), 1, len(grid) - 2))
    bounds = (float(grid[best - 1]), float(grid[best + 1]))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    N = float(np.exp(found.x))
    return RepeatedPlan(
        C=C,
        unique_tokens=unique_tokens,
        N=N,
        D=N_times_D / N,
        epochs=N_times_D / N / unique_tokens,
        loss_nats=float(found.fun),
        unlimited_N=unlimited_N,
        unlimited_D=unlimited_D,
        unlimited_loss_nats=float(law.unlimited.loss(unlimited_N, unlimited_D)),
        source=source,
    )


def repeated_law(laws: Laws, family: str) -> tuple[Muennighoff, str]:
    """The family's own law of repeats, or its Chinchilla law with the paper's R's; and which, in words.

    Raises:
        InputError: none of the three forms is identified.
    """
    fits = {fit.form: fit.law for fit in laws.of(family).fits if fit.identified}
    if "muennighoff" in fits:
        return fits["muennighoff"], "fitted to these runs"
    for form in ("chinchilla", "chinchilla_tied"):
        if form in fits:
            law = fits[form]
            return borrowed(law), (
                f"{law.formula} fitted to these runs; how fast repeats lose their worth (R_D_star ="
                f" {MUENNIGHOFF.R_D_star}, R_N_star = {MUENNIGHOFF.R_N_star}) is borrowed from Muennighoff"
                " et al. 2023"
            )
    raise InputError(
        f"{laws.study}: --unique-tokens needs an identified law with an irreducible loss (chinchilla) of"
        f" {family}"
    )


def borrowed(law: Chinchilla | ChinchillaTied) -> Muennighoff:
    """A law of unlimited data with the paper's R's."""
    return Muennighoff(
        E=law.E,
        A=law.A,
        B=law.B,
        alpha=law.alpha,
        beta=law.beta if isinstance(law, Chinchilla) else law.alpha,
        R_D_star=MUENNIGHOFF.R_D_star,
        R_N_star=MUENNIGHOFF.R_N_star,
    )

"""Runs that a reader should look at: flagged by a rule that is named, never dropped.

Leaving out what does not fit makes any law look right (Choshen 2024, arXiv 2410.11840, rule 8: dropping the
flagged model made the prediction worse more often than not). So a flag changes no fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import refit
from scaling_laws.laws.fit.noise import MAD_TO_SD, SeedNoise, seed_noise
from scaling_laws.laws.fit.profile import curvature
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, JointLaw
from scaling_laws.laws.forms.terms import FloatArray

if TYPE_CHECKING:
    import pandas as pd

RESIDUAL = "residual"
NOT_MONOTONE = "not monotone"
HIGHEST_LEVERAGE = "highest leverage"

MOST_ROBUST_SDS = 5.0
MOST_NOISE_SDS = 3.0
FEWEST_ROWS_A_PARAMETER = 2
MOST_STANDARD_ERRORS = 1.0
ROUNDING = 1e-9
"""Of ln loss: an exact law leaves residuals of no meaning."""
MOST_ROUNDS = 5
MOST_SHARE = 0.1
"""More flagged residuals than this share of the rows are no outliers: the form does not fit."""
LARGEST_SET_SHARE = 0.02
LARGEST_SET = 5
"""Of runs that are left out together. In n rows of normal influence, the k of most influence move an exponent
by about 2.5 k/sqrt(n) standard errors: below one at these sizes."""
MOST_LEFT_OUT = 2000
"""Runs, or trainings, up to which each is left out in turn: the refits grow as the square of their number."""
ERROR_DRAWS = 1000
"""Of a normal law, for standard errors of what the coordinates give."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One rule that one run breaks.

    Attributes:
        run: its name.
        rule: the rule's name: residual, not monotone, highest leverage.
        words: what was found, a sentence.
        value: what the rule looks at: a difference of ln loss, or of an exponent.
        threshold: the size beyond which it is flagged, in the same unit.
    """

    run: str
    rule: str
    words: str
    value: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """What the rules caught.

    Attributes:
        flags: by rule, then by run in the table's order.
        not_applied: why a rule could not be applied, by rule.
    """

    flags: tuple[Flag, ...] = ()
    not_applied: Mapping[str, str] = field(default_factory=dict)


def find_outliers(
    runs: pd.DataFrame,
    *,
    form: type[JointLaw] = Chinchilla,
    delta: float = DEFAULT_DELTA,
    noise: SeedNoise | None = None,
) -> Outliers:
    """Flag runs far from the joint fit, worse than a shorter run of their size, or of great weight in it.

    Args:
        runs: one family's usable runs: run, trunk, N, D, loss.
        form: the joint law.
        delta: of its fit.
        noise: between seeds; by default that of `runs`.
    """
    noise = noise or seed_noise(runs)
    names = [str(run) for run in runs["run"]]
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    fit = fit_law(form, rows, delta=delta)
    flags: list[Flag] = []
    not_applied: dict[str, str] = {}
    noise_sd = noise.sd_log_loss
    if rows.n >= FEWEST_ROWS_A_PARAMETER * len(form.units):
        # Whether the rows determine its parameters does not matter for how well the law follows them.
        suspects = _residuals(fit, 0.0)
        if not suspects[2] and (far := np.abs(suspects[0]) > MOST_ROBUST_SDS * suspects[1]).any():
            without = seed_noise(runs[~far]).sd_log_loss  # an outlier among replicates hides in their noise
            noise_sd = noise_sd if without is None else without
        residual, residual_sd, reason = _residuals(fit, noise_sd or 0.0)
        noise_sd = noise_sd or residual_sd
        if reason:
            not_applied[RESIDUAL] = reason
        else:
            flags += _far_from_fit(names, residual, residual_sd, form.form)
    else:
        not_applied[RESIDUAL] = (
            f"{rows.n} runs for {len(form.units)} parameters: the fit can follow any one of them"
        )
    if noise_sd:
        flags += _not_monotone(runs, noise_sd)
    else:
        not_applied[NOT_MONOTONE] = "neither seeds nor a joint fit show how large the noise is"
    if fit.identified and rows.n <= MOST_LEFT_OUT:
        flags += _of_leverage(names, fit)
    elif fit.identified:
        not_applied[HIGHEST_LEVERAGE] = f"{rows.n} runs: too many to leave each out in turn"
    else:
        not_applied[HIGHEST_LEVERAGE] = f"{form.form} is not identified: {fit.reason}"
    return Outliers(flags=tuple(flags), not_applied=not_applied)


def _residuals(fit: Fit[Any], least_sd: float) -> tuple[FloatArray, float, str]:
    """ln L_hat - ln L less their median, (n,); their robust standard deviation; why there are none.

    Outliers pull the fit towards themselves and hide one another: it is made again without those that were
    flagged, until they no longer change. A fit with Huber's loss passes through about as many rows as it has
    parameters; as these say nothing of the noise, the median leaves them out (as MATLAB's robustfit does).
    """
    n_parameters = fit.minima.shape[1]
    problem = fit.problem
    kept, theta = np.ones(fit.rows.n, dtype=bool), fit.minima[:1]
    for _ in range(MOST_ROUNDS):
        residual = (problem.model.predict(theta).log_loss - problem.log_loss)[0]
        residual = residual - np.median(residual[kept])
        size = np.sort(np.abs(residual))[n_parameters:]
        sd = max(MAD_TO_SD * float(np.median(size)), least_sd, ROUNDING)
        within = np.abs(residual) <= MOST_ROBUST_SDS * sd
        if np.mean(~within) > MOST_SHARE:
            share = f"{100 * np.mean(~within):.0f} % of the runs lie more than {MOST_ROBUST_SDS:g} robust"
            return residual, sd, f"{share} standard deviations from the fit: the form does not describe them"
        if (within == kept).all():
            break
        kept = within
        theta = refit(fit, replace(problem, weights=np.where(kept, fit.weights, 0.0)[None]), 1)
    return residual, sd, ""


def _far_from_fit(names: list[str], residual: FloatArray, sd: float, form: str) -> Iterator[Flag]:
    for i in np.flatnonzero(np.abs(residual) > MOST_ROBUST_SDS * sd):
        side = "below" if residual[i] > 0 else "above"
        words = (
            f"its loss lies {100 * abs(np.expm1(-residual[i])):.2g} % {side} {form},"
            f" {abs(residual[i]) / sd:.1f} robust standard deviations"
        )
        yield Flag(
            run=names[i],
            rule=RESIDUAL,
            words=words,
            value=float(residual[i]),
            threshold=MOST_ROBUST_SDS * sd,
        )


def _not_monotone(runs: pd.DataFrame, noise_sd: float) -> Iterator[Flag]:
    """Runs of higher loss than a run of the same size that saw fewer tokens."""
    threshold = MOST_NOISE_SDS * noise_sd
    for _, of_size in runs.groupby("N"):
        for _, run in of_size.iterrows():
            shorter = of_size[of_size["D"] < run["D"]]
            if shorter.empty:
                continue
            best = shorter.loc[shorter["loss"].idxmin()]
            rise = float(np.log(run["loss"] / best["loss"]))
            if rise > threshold:
                words = (
                    f"its loss is {100 * np.expm1(rise):.2g} % above that of {best['run']}, of the same size"
                    f" and fewer tokens: {rise / noise_sd:.1f} standard deviations of the noise"
                )
                yield Flag(
                    run=str(run["run"]),
                    rule=NOT_MONOTONE,
                    words=words,
                    value=rise,
                    threshold=threshold,
                )


def _of_leverage(names: list[str], fit: Fit[Any]) -> Iterator[Flag]:
    """Runs without which an exponent moves by more than a standard error, alone or few together.

    Alone: every run is left out in turn. Together: for either direction, the runs that move the exponent most
    in it are left out cumulatively (Broderick 2020, arXiv 2011.14999), the smallest set that moves it enough
    is flagged. Every refit starts from the fit's minima. The standard errors are those of the curvature: a
    bootstrap's would hold the very shifts that they are to judge.
    """
    random = np.random.default_rng(0)
    theta = random.multivariate_normal(fit.minima[0], curvature(fit)[1], size=ERROR_DRAWS)
    draws = fit.coordinates.law(theta)
    n = fit.rows.n
    every = np.eye(n, dtype=bool)
    without_one = _exponents(fit, every)
    at_fit = _exponents(fit, np.zeros((1, n), dtype=bool))
    largest_set = int(np.clip(np.floor(LARGEST_SET_SHARE * n), 1, LARGEST_SET))
    flags: dict[int, Flag] = {}
    for name, exponents in without_one.items():
        error = _standard_error(getattr(draws, name))
        if error < ROUNDING:
            continue
        shift = exponents - at_fit[name][0]
        sets = [every[i] for i in np.flatnonzero(np.abs(shift) > error)]
        for order in (np.argsort(shift), np.argsort(-shift)):
            together = np.cumsum(every[order[:largest_set]], axis=0) > 0
            moved = np.abs(_exponents(fit, together)[name] - at_fit[name][0]) > error
            sets += [together[int(np.argmax(moved))]] if moved.any() else []
        for left_out in sets:
            without = float(_exponents(fit, left_out[None])[name][0])
            for i in map(int, np.flatnonzero(left_out)):
                flag = _leverage_flag(names, i, left_out, name, float(at_fit[name][0]), without, error)
                # One flag a run: that of the largest shift in standard errors.
                if i not in flags or abs(flags[i].value / flags[i].threshold) < abs(
                    flag.value / flag.threshold
                ):
                    flags[i] = flag
    yield from (flags[i] for i in sorted(flags))


def _leverage_flag(
    names: list[str],
    i: int,
    left_out: NDArray[np.bool_],
    name: str,
    at_fit: float,
    without: float,
    error: float,
) -> Flag:
    others = int(left_out.sum()) - 1
    who = f"it and {others} others" if others > 1 else "it and one other" if others else "it"
    words = (
        f"without {who}, {name} goes from {at_fit:.3f} to {without:.3f}; its standard error is {error:.3f}"
    )
    return Flag(
        run=names[i],
        rule=HIGHEST_LEVERAGE,
        words=words,
        value=without - at_fit,
        threshold=MOST_STANDARD_ERRORS * error,
    )


def _exponents(fit: Fit[Any], left_out: NDArray[np.bool_]) -> dict[str, FloatArray]:
    """alpha and beta (whatever the form calls them) and a_opt of refits, (k,) each, for left_out (k, n)."""
    problem = fit.problem
    theta = refit(fit, replace(problem, weights=np.where(left_out, 0.0, fit.weights)), len(left_out))
    law = fit.coordinates.law(theta)
    of_law = [name for name in fit.form.units if name.startswith(("alpha", "beta"))]
    return {name: np.asarray(getattr(law, name)) * np.ones(len(theta)) for name in (*of_law, "a_opt")}


def _standard_error(draws: FloatArray) -> float:
    """Half the central 68 % of the draws: a few of them may have run away."""
    low, high = np.nanquantile(np.broadcast_to(draws, np.shape(draws)), [0.1587, 0.8413])
    return float(high - low) / 2

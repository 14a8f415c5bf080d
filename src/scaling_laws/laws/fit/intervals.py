"""How sure a fit is: bootstraps, the noise between seeds, and intervals of whatever a law computes.

Rows of one training (checkpoints, cooldown branches) are not independent, so whole trainings are weighted at
random. Below `FEWEST_CLUSTERS` trainings there are too few for that; noise is then added to the fitted losses
instead (a parametric bootstrap), and the method says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scaling_laws.laws.fit import DEFAULT_RESAMPLES
from scaling_laws.laws.fit.fit import Fit, L, part_of
from scaling_laws.laws.fit.huber import Problem, minimise
from scaling_laws.laws.fit.level import LEVEL, interval_level
from scaling_laws.laws.fit.noise import SeedNoise, components, share_within
from scaling_laws.laws.fit.noise_growth import NoiseGrowth, sd_of_new_run
from scaling_laws.laws.fit.power_sum import gram
from scaling_laws.laws.fit.rows import LARGE_ROWS
from scaling_laws.laws.fit.thinned import MANY_TRAININGS
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import UNITS, FloatArray, Law, Numbers
from scaling_laws.study.errors import InputError

FEWEST_CLUSTERS = 10
AMPLITUDE = 0.5
"""Standard deviation of a training's random weight; by `make coverage`, 1 gives too wide intervals."""
MOST_ABSORBED = 0.75
MOST_DECADES = 20
"""A scale that is less certain than that was not measured."""
CHECK_RESAMPLES = 50
"""Where it is only asked whether the parameters are bounded: their intervals are not shown."""
NO_SCALE = "an exponent is so near 0 that its scale is no number"
RESAMPLE_ITERATIONS = 100
"""Of a refit, which starts at the optimum: a percentile does not feel the last digits of a few draws."""
LARGEST_WEIGHTS = 20_000_000
"""Rows times resamples whose weights are held at a time, 8 bytes each."""
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Bootstrap(Generic[L]):
    """A law's refits to resampled rows.

    Attributes:
        draws: the law with an array (resamples,) for each parameter.
        method: what was resampled, in words.
        row_sd: standard deviation of one row's ln loss about the law, for predictions.
        noise_growth: how the noise between seeds depends on N and D, where it was seen to.
    """

    draws: L
    method: str
    row_sd: float
    noise_growth: NoiseGrowth | None = None


def residual_sd(fit: Fit[L]) -> float:
    """Standard deviation of ln loss about the fitted law, for n - p degrees of freedom."""
    assert fit.certificate is not None
    freedom = max(fit.rows.n - fit.minima.shape[1], 1)
    return float(fit.certificate.rms_log_residual * np.sqrt(fit.rows.n / freedom))


def run_noise_sd(fits: Iterable[Fit[Any]], noise: SeedNoise | None) -> float | None:
    """The noise of one run's ln loss: between seeds, or about the identified law that follows the rows best.

    Whichever is larger; None where neither is known.
    """
    known = sorted(residual_sd(fit) for fit in fits if fit.identified)[:1]
    if noise is not None and noise.sd_log_loss is not None:
        known.append(noise.sd_log_loss)
    return max(known, default=None)


def bootstrap(
    fit: Fit[L],
    *,
    noise: SeedNoise | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Bootstrap[L]:
    """Refit the law to resampled rows, every refit started at the fit's local minima.

    With ten trainings or more, each training gets a random weight (the Bayesian bootstrap, Rubin 1981). The
    weights stay near one, and the refits' distances from the optimum are scaled back: Huber's loss with a
    delta below the noise is nearly absolute deviation, whose optimum jumps when rows drop out. With fewer
    trainings, the fitted losses get noise in two parts, of the training and of the row, with the variances
    that the residuals show (`noise.components`), or the seeds' where those are larger: residuals show what
    the form cannot follow, but a form with a parameter for every second row can follow noise.

    Args:
        fit: an identified fit.
        noise: the noise between seeds, if it was measured.
        resamples: refits; 0 for none, and no intervals.
        seed: of the random numbers.

    Raises:
        InputError: the fit is not identified.
    """
    if not fit.identified:
        raise InputError(f"{fit.form.form} has no intervals: {fit.reason}")
    theta, method, row_sd = bootstrap_draws(fit, noise=noise, resamples=resamples, seed=seed)
    growth = noise.growth if noise else None
    return Bootstrap(draws=fit.coordinates.law(theta), method=method, row_sd=row_sd, noise_growth=growth)


def bootstrap_draws(
    fit: Fit[L],
    *,
    noise: SeedNoise | None,
    resamples: int,
    seed: int,
    strata: NDArray[np.intp] | None = None,
) -> tuple[FloatArray, str, float]:
    """What `bootstrap` is made of: the refits' coordinates (resamples, p), the method, and one row's noise.

    With `strata`, (n,), trainings are drawn within each stratum: every family keeps its number.
    """
    problem = fit.problem
    random = np.random.default_rng(seed)
    seed_sd = _one_seed_sd(fit, noise)
    n_clusters = fit.rows.n_clusters
    if resamples == 0:
        return np.empty((0, fit.minima.shape[1])), "no resamples", max(residual_sd(fit), seed_sd)
    if fit.rows.n > LARGE_ROWS and fit.is_rowwise:
        return _of_large_table(fit, noise, resamples, seed, strata)
    if n_clusters >= FEWEST_CLUSTERS:
        method = f"bootstrap over {n_clusters} trainings ({resamples} resamples)"
        most = max(LARGEST_WEIGHTS // fit.rows.n, 1)
        parts = [min(most, resamples - start) for start in range(0, resamples, most)]
        optima = [
            refit(fit, replace(problem, weights=weights), len(weights))
            for weights in _training_weights(fit, parts, random, strata)
        ]
        theta = fit.minima[0] + (np.concatenate(optima) - fit.minima[0]) / AMPLITUDE
        return theta, method, max(residual_sd(fit), seed_sd)
    prediction = problem.model.predict(fit.minima[:1])
    residual = (problem.log_loss - prediction.log_loss)[0]
    of_residuals = components(residual, prediction.jacobian[0], fit.rows.cluster)
    of_fit = of_residuals.or_seeds(noise, fit.rows)
    name = "residual noise" if of_fit is of_residuals else "seed noise"
    problem = replace(
        problem, log_loss=prediction.log_loss + of_fit.draw(fit.rows.cluster, resamples, random)
    )
    trainings = "1 training" if n_clusters == 1 else f"{n_clusters} trainings"
    method = f"parametric bootstrap with the {name} ({trainings}; {resamples} resamples)"
    return refit(fit, problem, resamples), method, max(of_residuals.sd, seed_sd)


def _one_seed_sd(fit: Fit[L], noise: SeedNoise | None) -> float:
    """The noise between seeds where one number is all there is; 0 where a new run's place says more."""
    if noise is None or noise.of_rows(fit.rows) is not None:
        return 0.0
    return noise.sd_log_loss or 0.0


def bootstrap_together(
    fits: Sequence[Fit[Any]], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> list[Law] | None:
    """Refits of laws whose rows share some trainings: each resample weighs such a training alike in all.

    What is subtracted draw by draw then varies as what the rows do not share.

    Args:
        fits: identified; a training is known by its name, `Rows.cluster`.
        resamples, seed: as in `bootstrap`.

    Returns:
        each law with an array (resamples,) for each parameter; None where one has fewer than
        `FEWEST_CLUSTERS` trainings, or too many rows to be refitted.
    """
    if any(fit.rows.n_clusters < FEWEST_CLUSTERS or fit.rows.n > LARGE_ROWS for fit in fits):
        return None
    trainings = np.unique(np.concatenate([fit.rows.cluster for fit in fits]))
    drawn = np.random.default_rng(seed).exponential(size=(resamples, len(trainings)))
    draws = []
    for fit in fits:
        own = drawn[:, np.isin(trainings, fit.rows.cluster)]
        optima = refit(fit, replace(fit.problem, weights=_weights(fit, own)), resamples)
        theta = fit.minima[0] + (optima - fit.minima[0]) / AMPLITUDE
        draws.append(fit.coordinates.law(theta))
    return draws


def _of_large_table(
    fit: Fit[L],
    noise: SeedNoise | None,
    resamples: int,
    seed: int,
    strata: NDArray[np.intp] | None,
) -> tuple[FloatArray, str, float]:
    """`bootstrap_draws` of a table of more rows than every refit could take.

    Of many trainings the optimum is normal about the truth, with the sandwich covariance of its trainings'
    pulls (White 1980, Liang & Zeger 1986): what random weights of the trainings would give, at once. Of
    fewer, each resample is one Newton step from the optimum. Of too few to weigh, a part of each training's
    rows gets noise: what its rows do not share makes such an interval wider than it is.
    """
    n_clusters, random = fit.rows.n_clusters, np.random.default_rng(seed)
    row_sd = max(residual_sd(fit), _one_seed_sd(fit, noise))
    if n_clusters > MANY_TRAININGS:
        theta = random.multivariate_normal(
            fit.minima[0], _sandwich(fit, strata), size=resamples, method="svd"
        )
        return theta, f"sandwich covariance of {n_clusters:,} trainings ({resamples} draws)", row_sd
    if n_clusters >= FEWEST_CLUSTERS:
        method = f"bootstrap over {n_clusters:,} trainings ({resamples} resamples, a Newton step each)"
        return _newton_steps(fit, resamples, random, strata), method, row_sd
    part = part_of(fit)
    theta, method, of_part = bootstrap_draws(part, noise=noise, resamples=resamples, seed=seed)
    theta = fit.minima[0] + (theta - part.minima[0])
    return theta, f"{method}, of {part.rows.n:,} rows", max(row_sd, of_part)


def _newton_steps(
    fit: Fit[L], resamples: int, random: np.random.Generator, strata: NDArray[np.intp] | None
) -> FloatArray:
    """The optima of resampled trainings, (resamples, p), to first order."""
    pulls, J, slope, training = _pulls(fit, strata)
    information = np.stack(
        [[np.bincount(training, slope * fit.weights * one * other) for other in J.T] for one in J.T]
    )
    drawn = random.exponential(size=(resamples, len(pulls)))
    drawn /= drawn.mean(axis=1, keepdims=True)
    weights = 1 + AMPLITUDE * (drawn - 1) / (1 - _absorbed(fit, training))
    weights = np.maximum(weights, 0.0)
    matrices = np.einsum("rc,pqc->rpq", weights, information)
    step = np.einsum("rpq,rq->rp", np.linalg.pinv(matrices), (weights - 1) @ pulls)
    return np.asarray(fit.minima[0] - step / AMPLITUDE)


def _sandwich(fit: Fit[L], strata: NDArray[np.intp] | None) -> FloatArray:
    """Covariance of the optimum's coordinates, (p, p), the trainings being independent in their strata."""
    pulls, J, slope, _ = _pulls(fit, strata)
    inverse = np.linalg.pinv(slope * gram(J[None], fit.weights[None])[0])
    return np.asarray(inverse @ (pulls.T @ pulls) @ inverse)


def _pulls(
    fit: Fit[L], strata: NDArray[np.intp] | None
) -> tuple[FloatArray, FloatArray, float, NDArray[np.intp]]:
    """What each training adds to the gradient, (trainings, p), about the mean of its stratum.

    Returns:
        that, the Jacobian (n, p), the mean slope of Huber's psi, and each row's training (n,).
    """
    problem = fit.problem
    prediction = problem.model.predict(fit.minima[:1])
    residual = (prediction.log_loss - problem.log_loss)[0]
    J = prediction.jacobian[0]
    pull = fit.weights * np.clip(residual, -problem.delta, problem.delta)
    _, training = np.unique(fit.rows.cluster, return_inverse=True)
    by_column = [np.bincount(training, pull * column) for column in J.T]
    pulls: FloatArray = np.stack(by_column, axis=1).astype(np.float64)
    of_training = np.zeros(len(pulls), dtype=np.intp)
    of_training[training] = 0 if strata is None else strata
    for k in range(int(of_training.max()) + 1):
        pulls[of_training == k] -= pulls[of_training == k].mean(axis=0)
    return pulls, J, share_within(residual, problem.delta, J.shape[1]), training


def refit(fit: Fit[L], problem: Problem, resamples: int) -> FloatArray:
    """The optima of a batch of resampled problems, (resamples, p), each the best from the fit's minima."""
    minima = [minimise(problem, np.tile(theta, (resamples, 1)), RESAMPLE_ITERATIONS) for theta in fit.minima]
    best = np.argmin([minimum.objective for minimum in minima], axis=0)
    return np.asarray(np.stack([minimum.theta for minimum in minima])[best, np.arange(resamples)])


def _training_weights(
    fit: Fit[L], parts: Sequence[int], random: np.random.Generator, strata: NDArray[np.intp] | None
) -> Iterator[FloatArray]:
    """A random weight near one for each training, of mean one in its stratum, times its rows' own, (S, n).

    Its standard deviation is `AMPLITUDE`, more for trainings of leverage (see `_absorbed`). The numbers are
    those of all resamples together, however they are split into parts of S.
    """
    for resamples in parts:
        yield _weights(fit, random.exponential(size=(resamples, fit.rows.n_clusters)), strata)


def _weights(fit: Fit[L], drawn: FloatArray, strata: NDArray[np.intp] | None = None) -> FloatArray:
    """The rows' weights, (S, n), of exponential numbers (S, trainings), by the trainings' names in order."""
    _, cluster = np.unique(fit.rows.cluster, return_inverse=True)
    stratum = np.zeros(fit.rows.n, dtype=np.intp) if strata is None else strata
    for k in range(int(stratum.max()) + 1):
        members = np.unique(cluster[stratum == k])
        drawn[:, members] /= drawn[:, members].mean(axis=1, keepdims=True)
    weights = 1 + AMPLITUDE * (drawn - 1) / (1 - _absorbed(fit, cluster))
    return np.asarray(np.maximum(weights, 0.0)[:, cluster] * fit.weights)


def _absorbed(fit: Fit[L], cluster: NDArray[np.intp]) -> FloatArray:
    """The share of each training's noise that the fit follows, so that residuals do not show it: (clusters,).

    The largest eigenvalue of the training's block of the hat matrix, the correction HC3 of MacKinnon & White
    1985 for clusters. Rows beyond delta pull alike however far they are: only the share of rows that noise
    leaves within delta counts.
    """
    problem = fit.problem
    prediction = problem.model.predict(fit.minima[:1])
    residual = (problem.log_loss - prediction.log_loss)[0]
    within = share_within(residual, fit.delta, fit.minima.shape[1])
    basis, _ = np.linalg.qr(prediction.jacobian[0] * np.sqrt(fit.weights)[:, None])
    blocks = np.zeros((int(cluster.max()) + 1, basis.shape[1], basis.shape[1]))
    np.add.at(blocks, cluster, basis[:, :, None] * basis[:, None, :])
    return np.asarray(np.minimum(within * np.linalg.eigvalsh(blocks)[:, -1], MOST_ABSORBED))


def percentile_interval(draws: ArrayLike, level: float | None = None) -> Interval:
    """The central `level` of the draws, by default `interval_level()`; None for an end that is no number."""
    level = interval_level() if level is None else level
    values = np.asarray(draws, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if not len(values):
        return None, None
    tail = (1 - level) / 2
    # An order statistic, not an average of two: a draw may be infinite.
    low, high = np.quantile(values, [tail, 1 - tail], method="closest_observation")
    return (float(low) if np.isfinite(low) else None), (float(high) if np.isfinite(high) else None)


def parameter_intervals(result: Bootstrap[L], level: float | None = None) -> dict[str, Interval]:
    """Intervals of every parameter, and of a_opt and b_opt where the law has them."""
    quantities: dict[str, Numbers] = dict(vars(result.draws))
    if isinstance(result.draws, JointLaw):
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw may have exponents of 0
            quantities |= {"a_opt": result.draws.a_opt, "b_opt": result.draws.b_opt}
    return {name: percentile_interval(values, level) for name, values in quantities.items()}


def why_uncertain(
    form: type[Law], intervals: Mapping[str, Interval], profile: Mapping[str, Interval] | None = None
) -> str:
    """Why a law's 90 % intervals do not bound what matters of it; empty where they do.

    Each exponent's must lie on one side of 0, each scale's within `MOST_DECADES`, and no profile of either
    may be open. A level of the response, such as an irreducible loss, may be 0.

    Args:
        form: the law's class.
        intervals: by name; others than the parameters' are passed over.
        profile: of the parameters that have one.
    """
    for name, unit in form.units.items():
        if unit == UNITS[form.response] or name not in intervals:
            continue
        low, high = intervals[name]
        if low is None or high is None:
            return f"the 90 % interval of {name} is open: the rows do not bound it"
        if low <= 0 <= high and (unit == "1" or low < 0):
            variables = " and ".join(form.variables)
            return (
                f"the 90 % interval of {name}, {low:.3g} to {high:.3g}, holds 0: "
                f"the rows do not show how {form.response} depends on {variables}"
            )
        if low >= 0 and (low == 0 or np.log10(high) - np.log10(low) > MOST_DECADES):
            return (
                f"the 90 % interval of {name}, {low:.3g} to {high:.3g}, spans more than {MOST_DECADES} "
                "powers of ten: the rows do not show this scale"
            )
        if None in (profile or {}).get(name, ()):
            return f"the profile of {name} does not close: the rows bound it on one side only"
    return ""


def checked(fit: Fit[L], *, noise: SeedNoise | None = None) -> Fit[L]:
    """The fit; not identified where the intervals of a short bootstrap do not bound its parameters.

    For laws that predict, or are compared, without intervals of their own: see `why_uncertain`.
    """
    if not fit.identified or fit.law is None:
        return fit
    reason = NO_SCALE
    if all(np.isfinite(value) for value in vars(fit.law).values()):
        result = bootstrap(fit, noise=noise, resamples=CHECK_RESAMPLES)
        reason = why_uncertain(fit.form, parameter_intervals(result, LEVEL))
    return replace(fit, identified=not reason, reason=reason)


def loss_interval(result: Bootstrap[L], level: float | None = None, seed: int = 0, **at: float) -> Interval:
    """Interval of the loss a *new run* would reach, noise of one run included; `at` names the variables."""
    law: Any = result.draws
    with np.errstate(over="ignore", invalid="ignore"):
        losses = np.asarray(law.loss(**at), dtype=np.float64)
    sd = sd_of_new_run(result.row_sd, result.noise_growth, at)
    noise = np.random.default_rng(seed).normal(scale=sd, size=losses.shape)
    return percentile_interval(losses * np.exp(noise), level)


def optimum_interval(draws: JointLaw, C: float, level: float | None = None) -> tuple[Interval, Interval]:
    """Intervals of N_opt(C) and D_opt(C), from a law whose parameters are draws."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a draw may have no optimum: NaN
        N, D = draws.optimum(C)
    return percentile_interval(N, level), percentile_interval(D, level)

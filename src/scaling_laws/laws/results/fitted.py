"""From the fitter's results to the types of `laws.json`: what is kept of a fit, and its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.batch.batch_scan import BatchLevel
from scaling_laws.laws.batch.critical_batch import BatchLaw
from scaling_laws.laws.fit.fit import Fit
from scaling_laws.laws.fit.intervals import (
    NO_SCALE,
    Bootstrap,
    bootstrap,
    loss_interval,
    parameter_intervals,
    residual_sd,
    why_uncertain,
)
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.predictive import profile_prediction
from scaling_laws.laws.fit.profile import profile_intervals
from scaling_laws.laws.forms.declared import declaration_of
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.positions import PositionLosses, fit_positions
from scaling_laws.laws.results.types import (
    CriticalBatchLaw,
    FittedLaw,
    LawCertificate,
    PositionFit,
    PredictedRun,
)
from scaling_laws.laws.selection import longest_of_each_size
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

POSITION_CORPUS = "test"
KEPT_RESAMPLES = 200
NO_INTERVALS = "no resamples"
"""The method of a fit that was made without intervals."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one analysis chose: see `study.fit_study`; those after `level` are of chosen forms alone.

    Attributes:
        pins: parameters that are held, with their values.
        cluster: the column whose groups are resampled instead of trainings; empty for trainings.
        above: how many times rows count that lie above the law (`fit.fit_law`).
        predict: new runs to predict, each the law's variables with their values.
        cut_tokens: whether rows of few tokens are left out, from where on chosen by out-of-sample error.
        share_floor: the column whose values may share an irreducible loss; empty for none.
    """

    n: str
    c: str
    delta: float
    resamples: int
    seed: int
    level: float = LEVEL
    pins: tuple[tuple[str, float], ...] = ()
    cluster: str = ""
    above: float = 1.0
    predict: tuple[tuple[tuple[str, float], ...], ...] = ()
    cut_tokens: bool = False
    share_floor: str = ""


def fitted_law(fit: Fit[Any], rows: str, n_runs: int, noise: SeedNoise, settings: Settings) -> FittedLaw:
    """A fit with its intervals.

    Args:
        rows: which runs it was fitted to, a sentence.
        n_runs: runs of its family.
    """
    parameters = vars(fit.law) if fit.law is not None else dict.fromkeys(fit.form.units)
    law = FittedLaw(
        form=fit.form.form,
        formula=fit.form.formula,
        parameters=parameters,
        units=fit.form.units,
        n_rows=fit.rows.n,
        n_clusters=fit.rows.n_clusters,
        identified=fit.identified,
        reason=fit.reason,
        certificate=LawCertificate(**vars(fit.certificate)) if fit.certificate else None,
        rows=rows,
        objective=fit.objective,
        delta=fit.delta,
        n_left_out=n_runs - fit.rows.n,
        ranges={
            name: (float(values.min()), float(values.max()))
            for name, values in {**_compute(fit), **fit.rows.values, "loss": fit.rows.loss}.items()
            if len(values)
        },
        level=settings.level,
        declared=declaration_of(fit.form),
    )
    if not fit.identified:
        return law
    if not all(_is_number(name, value) for name, value in parameters.items()):
        return replace(law, identified=False, reason=NO_SCALE)
    assert law.certificate is not None
    profile = profile_intervals(fit)
    certificate = replace(law.certificate, profile=profile)
    joint = fit.law if isinstance(fit.law, JointLaw) else None
    law = replace(law, derived={"a_opt": float(joint.a_opt), "b_opt": float(joint.b_opt)} if joint else {})
    if settings.resamples == 0:
        if reason := why_uncertain(fit.form, profile, profile):
            return replace(law, identified=False, reason=reason, derived={})
        return replace(law, certificate=certificate, interval_method=NO_INTERVALS, row_sd=residual_sd(fit))
    result = bootstrap(fit, noise=noise, resamples=settings.resamples, seed=settings.seed)
    intervals = parameter_intervals(result, settings.level)
    if reason := why_uncertain(fit.form, parameter_intervals(result, LEVEL), profile):
        return replace(law, identified=False, reason=reason, derived={})
    draws = {name: np.asarray(values) for name, values in vars(result.draws).items()}
    finite = np.all([_is_number(name, values) for name, values in draws.items()], axis=0)
    return replace(
        law,
        predictions=tuple(_predicted(fit, result, dict(at), noise, settings) for at in settings.predict),
        certificate=certificate,
        intervals=intervals,
        interval_method=result.method,
        row_sd=result.row_sd,
        noise_growth=result.noise_growth,
        resamples={name: tuple(values[finite][:KEPT_RESAMPLES]) for name, values in draws.items()},
    )


def _predicted(
    fit: Fit[Any], result: Bootstrap[Any], at: dict[str, float], noise: SeedNoise, settings: Settings
) -> PredictedRun:
    """The loss of a new run, with its interval by the bootstrap and by a profile.

    Raises:
        InputError: the law has other variables.
    """
    if {*at} != {*fit.form.variables}:
        needed = " and ".join(fit.form.variables)
        raise InputError(f"a prediction of {fit.form.form} needs {needed}, not {' and '.join(at)}")
    with np.errstate(all="ignore"):
        loss = float(np.asarray(fit.law.loss(**at)))  # type: ignore[union-attr]
    try:
        profile, reason = profile_prediction(fit, noise=noise, level=settings.level, **at), ""
    except InputError as error:
        profile, reason = (None, None), str(error)
    return PredictedRun(
        at=at,
        loss_nats=loss,
        interval=loss_interval(result, settings.level, seed=settings.seed, **at),
        profile_interval=profile,
        no_profile=reason,
    )


def _compute(fit: Fit[Any]) -> dict[str, Any]:
    """6 N D of the rows of a law of N and D."""
    if not {"N", "D"} <= {*fit.form.variables} or "C" in fit.form.variables:
        return {}
    return {"C": FLOPS_PER_PARAMETER_TOKEN * fit.rows.values["N"] * fit.rows.values["D"]}


def _is_number(name: str, values: Any) -> Any:
    """Whether a parameter has not over- or underflowed: all are positive, but E may have gone to zero."""
    return np.isfinite(values) & ((np.asarray(values) > 0) | (name == "E"))


def critical_batch_law(law: BatchLaw) -> CriticalBatchLaw:
    draws = vars(law.draws) if law.draws else {}
    return CriticalBatchLaw(
        levels=tuple(
            BatchLevel(**{item.name: getattr(level, item.name) for item in fields(BatchLevel)})
            for level in law.levels
        ),
        parameters=vars(law.law) if law.law else dict.fromkeys(CriticalBatch.units),
        intervals=law.intervals,
        interval_method=law.interval_method,
        ranges={} if law.loss_range is None else {"L": law.loss_range},
        size_dependence=law.size,
        noise_scale=law.noise_scale,
        warnings=law.warnings,
        identified=law.law is not None,
        reason=law.reason,
        resamples={name: tuple(np.asarray(values)[:KEPT_RESAMPLES]) for name, values in draws.items()},
    )


def position_fits(
    runs: pd.DataFrame, losses: Mapping[str, PositionLosses], settings: Settings
) -> tuple[PositionFit, ...]:
    """Loss by position of the longest run of each size."""
    fits = []
    for _, run in longest_of_each_size(runs).sort_values(["family", "N"]).iterrows():
        if run["run"] not in losses:
            continue
        law = fit_positions(losses[run["run"]], delta=settings.delta, seed=settings.seed)
        fits.append(
            PositionFit(
                family=run["family"],
                run=run["run"],
                N=run["N"],
                corpus=POSITION_CORPUS,
                parameters=vars(law.fit.law) if law.fit.law else dict.fromkeys("abc"),
                intervals=law.intervals,
                identified=not law.reason,
                reason=law.reason,
                interval_method=law.interval_method,
            )
        )
    return tuple(fits)

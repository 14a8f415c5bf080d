"""One family's laws, each fitted to the runs that it speaks of; what they say of compute; their checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.allocation.approaches import Approaches, compare_approaches
from scaling_laws.laws.allocation.frontier import (
    FrontierPoint,
    SizeCurve,
    envelope,
    size_curves,
    slice_computes,
)
from scaling_laws.laws.allocation.isoflop import Method, Slice, isoflop_slice
from scaling_laws.laws.allocation.power_lines import (
    akima_optima,
    allocation_bias,
    envelope_optima,
    fit_allocation,
    isoflop_optima,
)
from scaling_laws.laws.batch.constant_rate import curves_of_study
from scaling_laws.laws.batch.critical_batch import critical_batch_from_curves
from scaling_laws.laws.checks.bracketing import learning_rates_bracketed
from scaling_laws.laws.checks.holdout import hold_out_largest
from scaling_laws.laws.checks.learning_curve import extrapolate_curves
from scaling_laws.laws.checks.outliers import find_outliers
from scaling_laws.laws.checks.rollout import roll_out
from scaling_laws.laws.checks.rollout_scores import Axis, Comparison
from scaling_laws.laws.checks.sensitivity import sensitivity
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import residual_sd, run_noise_sd
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.catalogue import FITTED_JOINT_FORMS, FORMS_OF_ONE_VARIABLE
from scaling_laws.laws.forms.joint import Chinchilla, ChinchillaTied, KaplanND
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.terms import Law
from scaling_laws.laws.results.fitted import Settings, critical_batch_law, fitted_law
from scaling_laws.laws.results.types import CriticalBatchLaw, FamilyLaws, Frontier, LearningCurves, UsedRate
from scaling_laws.laws.selection import at_common_horizon, of_largest_size, on_envelope
from scaling_laws.study.recipe import for_training_time

if TYPE_CHECKING:
    import pandas as pd

AXES: tuple[Axis, ...] = ("N", "D", "C")
OPTIMA = {"envelope": envelope_optima, "isoflop": isoflop_optima, "akima": akima_optima}
NO_CURVES = "the table has no learning curves"
NO_RESAMPLES = "it rests on resamples, and none were made (--bootstrap 0)"


@dataclass(frozen=True, kw_only=True)
class FamilyTables:
    """The runs of one family.

    Attributes:
        family: its name.
        complete: every complete run, with the columns of the run table.
        runs: those that a law may use (`selection.usable_runs`), N and C in the chosen conventions.
        curves: run, step, tokens, learning_rate, loss, ... of the complete runs; None where there are none.
        noise: between seeds.
        settings: of the analysis.
    """

    family: str
    complete: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame | None
    noise: SeedNoise
    settings: Settings


def laws_of(tables: FamilyTables) -> FamilyLaws:
    """One family's laws, and where they say that compute should go; the rest: `checks_of`, `rolled_out`."""
    settings, runs = tables.settings, tables.runs
    curves = size_curves(runs)
    points = envelope(curves)
    fits = fits_of_runs(runs, points, delta=settings.delta)
    fitted = tuple(
        fitted_law(fit, sentence, len(tables.complete), tables.noise, settings) for fit, sentence in fits
    )
    joint = [fit for fit, _ in fits if fit.form in FITTED_JOINT_FORMS]
    known = {fit.form for fit in fitted if fit.identified}
    identified = sorted((fit for fit in joint if fit.form.form in known), key=residual_sd)
    law = identified[0].law if identified else None
    noise_sd = run_noise_sd(joint, tables.noise) if settings.resamples else None

    def slices(method: Method) -> tuple[Slice, ...]:
        return tuple(
            isoflop_slice(
                curves,
                C,
                method=method,
                law=law,
                noise_sd=noise_sd,
                resamples=settings.resamples,
                seed=settings.seed,
            )
            for C in slice_computes(curves).tolist()
        )

    return FamilyLaws(
        family=tables.family,
        fits=fitted,
        learning_rates=_used_rates(runs),
        frontier=_frontier(points, curves),
        isoflop=slices("parabola"),
        isoflop_akima=slices("akima"),
        allocation=tuple(
            replace(fit_allocation(curves, of, noise_sd=noise_sd, seed=settings.seed), method=method)
            for method, of in OPTIMA.items()
        ),
        allocation_bias=()
        if law is None
        else tuple(replace(allocation_bias(curves, of, law), method=method) for method, of in OPTIMA.items()),
        approaches=_approaches(tables, joint),
        critical_batch=critical_batch_of(tables),
    )


def fits_of_runs(
    runs: pd.DataFrame,
    points: Sequence[FrontierPoint],
    *,
    delta: float,
    skip: type[Law] | tuple[type[Law], ...] = (),
) -> list[tuple[Fit[Any], str]]:
    """Every law of N, D, C, of N and D, and of repeated data, each with a sentence: of which runs.

    Args:
        runs: those that a law may use.
        points: of their envelope.
        skip: laws that are left out.
    """
    selected = {
        "N": at_common_horizon(runs),
        "D": of_largest_size(runs),
        "C": on_envelope(runs, list(points)),
    }
    fits: list[tuple[Fit[Any], str]] = []
    for variable, forms in FORMS_OF_ONE_VARIABLE.items():
        table, sentence = selected[variable]
        rows = make_rows({variable: table[variable]}, table["loss"], table["trunk"])
        more = runs[variable].nunique() > table[variable].nunique()
        of_one = [fit_law(form, rows, delta=delta) for form in forms if not issubclass(form, skip)]
        fits += [(_with_selection(fit, sentence) if more else fit, sentence) for fit in of_one]
    rows = make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    fits += [(fit_law(form, rows, delta=delta), "all runs") for form in FITTED_JOINT_FORMS]
    if "unique_tokens" in runs.columns:
        values = {"N": runs["N"], "D": runs["D"], "U": runs["unique_tokens"]}
        repeated = fit_law(Muennighoff, make_rows(values, runs["loss"], runs["trunk"]), delta=delta)
        fits.append((repeated, "all runs"))
    return fits


def _with_selection(fit: Fit[Any], sentence: str) -> Fit[Any]:
    """Too few different rows are those that were chosen, which the table has more of."""
    if not fit.reason.startswith("only "):
        return fit
    return replace(fit, reason=f"{fit.reason}, where it can be fitted: {sentence}")


def _used_rates(runs: pd.DataFrame) -> tuple[UsedRate, ...]:
    """The learning rate and batch that each size was trained with, the best where there were several."""
    if "learning_rate" not in runs.columns or runs["learning_rate"].isna().all():
        return ()
    columns = [name for name in ("N", "D", "learning_rate", "batch_tokens") if name in runs.columns]
    rates = runs[columns].drop_duplicates().sort_values(["N", "D"])
    return tuple(
        UsedRate(**{str(name): value for name, value in row.items()}) for row in rates.to_dict("records")
    )


def _frontier(points: Sequence[FrontierPoint], curves: Sequence[SizeCurve]) -> Frontier:
    if points:
        return Frontier(points=tuple(points), reason="")
    alone = len(curves) < 2
    return Frontier(reason="one size" if alone else "no two sizes were trained with overlapping compute")


def _approaches(tables: FamilyTables, joint: Sequence[Fit[Any]]) -> Approaches:
    if tables.settings.resamples == 0:
        return Approaches(notes=(NO_RESAMPLES,))
    return compare_approaches(
        tables.runs,
        [fit for fit in joint if fit.form is not ChinchillaTied],  # its exponents are assumed
        learning_curves=tables.curves,
        noise=tables.noise,
        seed=tables.settings.seed,
    )


def critical_batch_of(tables: FamilyTables) -> CriticalBatchLaw:
    """Of all complete runs of one recipe: those of a lesser learning rate belong to a batch scan too."""
    settings = tables.settings
    if tables.curves is None or tables.curves.empty:
        return CriticalBatchLaw(reason=NO_CURVES)
    if settings.resamples == 0:
        return CriticalBatchLaw(reason=NO_RESAMPLES)
    curves = curves_of_study(tables.curves, for_training_time(tables.complete), loss="loss", n=settings.n)
    return critical_batch_law(
        critical_batch_from_curves(curves, resamples=settings.resamples, seed=settings.seed)
    )


def checks_of(tables: FamilyTables) -> FamilyLaws:
    """What tests one family's laws, but for the roll-outs."""
    settings, runs, delta = tables.settings, tables.runs, tables.settings.delta
    return FamilyLaws(
        family=tables.family,
        holdout=tuple(
            hold_out_largest(form, runs, delta=delta, noise=tables.noise) for form in (KaplanND, Chinchilla)
        ),
        learning_curves=_learning_curves(tables),
        outliers=find_outliers(runs, form=Chinchilla, delta=delta, noise=tables.noise),
        bracketing=learning_rates_bracketed(tables.complete, n=settings.n),
        sensitivity=tuple(
            sensitivity(
                runs,
                n=settings.n,
                c=settings.c,
                delta=delta,
                noise=tables.noise,
                all_runs=tables.complete,
            )
        ),
    )


def _learning_curves(tables: FamilyTables) -> LearningCurves:
    if tables.curves is None or tables.curves.empty:
        return LearningCurves(reason=NO_CURVES)
    # Runs of the laws alone: where tokens return, or the rate is far off, no power law ends the curve.
    longest = tables.runs.sort_values(["D", "run"], ascending=[False, True]).drop_duplicates("trunk")
    curves = tables.curves[tables.curves["run"].isin(longest["run"])]  # branches repeat their trunk
    result = extrapolate_curves(curves, loss="loss", delta=tables.settings.delta, seed=tables.settings.seed)
    return LearningCurves(scores=result.scores, left_out=result.left_out, sentence=result.sentence, reason="")


def rolled_out(tables: FamilyTables, axis: Axis) -> tuple[Comparison, ...]:
    """The joint forms over one axis, and the forms of that variable alone beside them."""
    result = roll_out(tables.runs, axis, delta=tables.settings.delta, noise=tables.noise)
    return result.joint, result.single

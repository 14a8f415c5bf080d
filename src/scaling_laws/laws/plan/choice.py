"""Which of a study's laws of N and D to believe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling_laws.laws.fit.intervals import Bootstrap
from scaling_laws.laws.forms.catalogue import JOINT_FORMS
from scaling_laws.laws.forms.joint import Chinchilla, JointLaw
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.laws.results.types import FamilyLaws, FittedLaw, Laws

LABELS = {form.form: form.label for form in sorted(JOINT_FORMS, key=lambda form: form is not Chinchilla)}
"""Laws of N and D; the first that is identified is taken where nothing decides."""


def best_joint_fit(laws: FamilyLaws) -> tuple[FittedLaw | None, str]:
    """The law of N and D to believe: the identified form with the lowest error on the held-out size.

    Returns:
        the fit, and why this one, in words; None and the reasons where no form is identified.
    """
    fits = {fit.form: fit for fit in laws.fits if fit.is_joint}
    labels = LABELS | {form: form for form in fits if form not in LABELS}  # last those of a user's own
    identified = [form for form in labels if form in fits and fits[form].identified]
    reasons = "; ".join(f"{form}: {fit.reason}" for form, fit in sorted(fits.items()) if fit.reason)
    if not identified:
        return None, reasons or "no such fit"
    errors = {
        entry.form: entry.mean_absolute_error
        for entry in laws.holdout
        if entry.form in identified and entry.mean_absolute_error is not None
    }
    first = identified[0]
    if len(identified) == 1:
        because = f" ({reasons})" if reasons else ""
        return fits[first], f"{labels[first]} form: the only one that is identified{because}"
    if len(errors) < 2:
        return fits[first], f"{labels[first]} form: no held-out size decides between forms"
    ranked = sorted(errors, key=lambda form: errors[form])
    best = ranked[0]
    others = ", ".join(f"{labels[form]} {100 * errors[form]:.1f} %" for form in ranked[1:])
    why = f"{labels[best]} form: the lowest held-out error, {100 * errors[best]:.1f} % ({others})"
    return fits[best], why


def family_to_plan(laws: Laws, family: str | None) -> str:
    """The named family, or the only one there is.

    Raises:
        InputError: no law of N and D; several families and none named; no such family.
    """
    families = sorted(each.family for each in laws.by_family if any(fit.is_joint for fit in each.fits))
    if not families:
        raise InputError(f"{laws.study}: holds no law of N and D; fit one with `scaling-laws laws`")
    if family is None and len(families) > 1:
        raise InputError(f"{laws.study}: holds laws of {', '.join(families)}; name one family")
    if family is not None and family not in families:
        raise InputError(f"{laws.study}: no law of the family {family!r}; it has {', '.join(families)}")
    return family or families[0]


def chosen_fit(laws: Laws, family: str) -> tuple[FittedLaw, str]:
    """`best_joint_fit`, or an error.

    Raises:
        InputError: no form is identified.
    """
    fit, why = best_joint_fit(laws.of(family))
    if fit is None:
        raise InputError(f"{laws.study}: no law of N and D is identified for {family} ({why})")
    return fit, why


def joint_draws(fit: FittedLaw) -> Bootstrap[JointLaw] | None:
    """The bootstrap of a fit; None where it kept no draws."""
    if fit.draws is None:
        return None
    return Bootstrap(
        draws=fit.draws,
        method=fit.interval_method,
        row_sd=fit.row_sd or 0.0,
        noise_growth=fit.noise_growth,
    )

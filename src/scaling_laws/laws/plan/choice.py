"""Which of a `laws.json`'s laws of N and D to believe, and the law's class made from its entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scaling_laws.laws.fit.intervals import Bootstrap
from scaling_laws.laws.forms.catalogue import FORMS, JOINT_FORMS
from scaling_laws.laws.forms.joint import Chinchilla, JointLaw
from scaling_laws.study.errors import InputError

LABELS = {form.form: form.label for form in sorted(JOINT_FORMS, key=lambda form: form is not Chinchilla)}
"""Laws of N and D; the first that is identified is taken where nothing decides."""


def best_joint_fit(laws: Mapping[str, Any], family: str | None) -> tuple[Mapping[str, Any] | None, str]:
    """The law of N and D to believe: the identified form with the lowest error on the held-out size.

    Returns:
        the fit, and why this one, in words; None and the reasons where no form is identified.
    """
    fits = {fit["form"]: fit for fit in laws["fits"] if fit["family"] == family and fit["form"] in LABELS}
    identified = [form for form in LABELS if form in fits and fits[form]["identified"]]
    reasons = "; ".join(f"{form}: {fit['reason']}" for form, fit in sorted(fits.items()) if fit["reason"])
    if not identified:
        return None, reasons or "no such fit"
    errors = {
        entry["form"]: float(entry["mean_absolute_error"])
        for entry in laws.get("holdout", ())
        if entry["family"] == family and entry["form"] in identified
        if entry.get("mean_absolute_error") is not None
    }
    first = identified[0]
    if len(identified) == 1:
        because = f" ({reasons})" if reasons else ""
        return fits[first], f"{LABELS[first]} form: the only one that is identified{because}"
    if len(errors) < 2:
        return fits[first], f"{LABELS[first]} form: no held-out size decides between forms"
    ranked = sorted(errors, key=lambda form: errors[form])
    best = ranked[0]
    others = ", ".join(f"{LABELS[form]} {100 * errors[form]:.1f} %" for form in ranked[1:])
    why = f"{LABELS[best]} form: the lowest held-out error, {100 * errors[best]:.1f} % ({others})"
    return fits[best], why


def family_to_plan(laws: Mapping[str, Any], family: str | None) -> str:
    """The family asked for, or the only one there is.

    Raises:
        InputError: no law of N and D; several families and none named; no such family.
    """
    study = laws.get("study", "laws.json")
    families = sorted({fit["family"] for fit in laws.get("fits", []) if fit["form"] in LABELS})
    if not families:
        raise InputError(f"{study}: holds no law of N and D; fit one with `scaling-laws laws`")
    if family is None and len(families) > 1:
        raise InputError(f"{study}: holds laws of {', '.join(families)}; name one family")
    if family is not None and family not in families:
        raise InputError(f"{study}: no law of the family {family!r}; it has {', '.join(families)}")
    return family or families[0]


def chosen_fit(laws: Mapping[str, Any], family: str) -> tuple[Mapping[str, Any], str]:
    """`best_joint_fit`, or an error.

    Raises:
        InputError: no form is identified.
    """
    fit, why = best_joint_fit(laws, family)
    if fit is None:
        study = laws.get("study", "laws.json")
        raise InputError(f"{study}: no law of N and D is identified for {family} ({why})")
    return fit, why


def joint_law(form: str, parameters: Mapping[str, Any]) -> JointLaw:
    """A law of N and D from its name and its parameters; lists become arrays of draws.

    Raises:
        InputError: the parameters are not the form's.
    """
    try:
        law = FORMS[form](**{name: _numbers(value) for name, value in parameters.items()})
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{form}: the parameters {', '.join(parameters)} are not those of the form"
        ) from None
    assert isinstance(law, JointLaw)
    return law


def joint_draws(fit: Mapping[str, Any]) -> Bootstrap[JointLaw] | None:
    """The bootstrap of a fit's entry; None where it kept no draws."""
    if not fit.get("resamples"):
        return None
    draws = joint_law(fit["form"], fit["resamples"])
    return Bootstrap(draws=draws, method=fit["interval_method"], row_sd=fit.get("row_sd") or 0.0)


def _numbers(value: Any) -> Any:
    return np.asarray(value, dtype=np.float64) if isinstance(value, list) else float(value)

"""Curves, bands and words of a fit from `laws.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.report.text import interval_text, number, tex

LEVELS = (5.0, 95.0)
"""Percentiles of the 90 % bands."""
FORM_NAMES = {form: f"{FORMS[form].label} L(N, D)" for form in ("kaplan_nd", "chinchilla")}
"""The two forms that every study is held against."""
EXPONENT_OF_N = {"alpha_N": r"\alpha_N", "alpha": r"\alpha"}


def form_name(form: str) -> str:
    """A law of N and D in words."""
    return f"{FORMS[form].label} L(N, D)"


def exponent_of_N(fit: Mapping[str, Any]) -> str:
    """What a fit calls its exponent of N: a key of `EXPONENT_OF_N`."""
    return next(name for name in EXPONENT_OF_N if name in fit["parameters"])


def law_of(fit: Mapping[str, Any]) -> Any:
    """The law of a fit, with its fitted parameters."""
    return FORMS[fit["form"]](**fit["parameters"])


def draws_of(fit: Mapping[str, Any], columns: bool = False) -> Any:
    """The same law with the bootstrap's draws for parameters, or `None` where the fit has none.

    With `columns` the draws stand in a column: a method called on an array of points gives a row a draw.
    """
    draws = {
        name: np.asarray(fit["resamples"][name], dtype=float)
        for name in fit["parameters"]
        if name in fit["resamples"]
    }
    if len(draws) < len(fit["parameters"]):
        return None
    return FORMS[fit["form"]](
        **{name: values[:, None] if columns else values for name, values in draws.items()}
    )


def fitted_band(fit: Mapping[str, Any], **points: Any) -> NDArray[Any] | None:
    """5th and 95th percentile of the fitted loss over the draws at `N=`, `D=`, `C=`: shape (2, points)."""
    draws = draws_of(fit, columns=True)
    return None if draws is None else np.nanpercentile(draws.loss(**points), LEVELS, axis=0)


def value_with_interval(fit: Mapping[str, Any] | None, name: str, digits: int = 3) -> str:
    """`0.103 [0.098, 0.109]`, or `not identified`, or `–` where there is no such fit."""
    if fit is None:
        return "–"
    value = {**fit["parameters"], **fit["derived"]}.get(name)
    if not fit["identified"] or value is None:
        return "not identified"
    return f"{number(value, digits)} {interval_text(fit['intervals'].get(name), digits)}".strip()


def pure_power_title(fit: Mapping[str, Any], variable: str) -> str:
    """`L = (N / 3.1e9)^-0.103`, as the paper prints a fit in its figures, in mathtext."""
    scale, exponent = fit["parameters"][f"{variable}_c"], fit["parameters"][f"alpha_{variable}"]
    return rf"$L = ({variable}\,/\,{tex(scale)})^{{-{exponent:.3f}}}$"

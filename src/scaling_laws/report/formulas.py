"""Curves, bands and words of a fitted law."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.forms.terms import in_columns, latex
from scaling_laws.laws.plan.choice import LABELS
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.report.text import NOTHING, tex, with_interval

FORM_NAMES = {"kaplan_nd": "Kaplan's L(N, D)", "chinchilla": "Chinchilla's L(N, D)"}
"""The two forms that every study is compared with."""


def form_name(form: str) -> str:
    """A law of N and D in words."""
    return f"{LABELS.get(form, form)} L(N, D)"


def compared_forms(laws: Laws) -> dict[str, str]:
    """`FORM_NAMES`, and the laws of N and D of a user's own, by form."""
    fits = (fit for family in laws.families for fit in laws.of(family).fits)
    return FORM_NAMES | {fit.form: form_name(fit.form) for fit in fits if fit.declared and fit.is_joint}


def fitted_band(fit: FittedLaw, **points: Any) -> NDArray[Any] | None:
    """The interval of the fitted loss over the draws at `N=`, `D=`, `C=`: shape (2, points)."""
    if fit.draws is None:
        return None
    band: NDArray[Any] = np.nanpercentile(
        in_columns(fit.draws).loss(**points), interval_percentiles(), axis=0
    )
    return band


def value_with_interval(fit: FittedLaw | None, name: str, digits: int = 3) -> str:
    """`0.103 [0.098, 0.109]`, or `not identified`, or a dash where there is no such fit."""
    if fit is None:
        return NOTHING
    value = fit.value(name)
    if not fit.identified or value is None:
        return "not identified"
    return with_interval(value, fit.interval(name), digits)


def latex_with_values(formula: str, parameters: Mapping[str, float], digits: int = 3) -> str:
    r"""A formula in LaTeX with numbers for its parameters: `L(N) = 1.8 + 400/N^{0.34}`."""
    names = list(parameters)

    def numbered(match: re.Match[str]) -> str:
        return f"Value{names.index(match[0])}" if match[0] in parameters else match[0]

    symbols = latex(re.sub(r"[A-Za-z]\w*", numbered, formula))
    return re.sub(r"Value(\d+)", lambda match: tex(parameters[names[int(match[1])]], digits), symbols)


def pure_power_title(variable: str, scale: float, exponent: float) -> str:
    """`L = (N / 3.1e9)^-0.103`, as the paper prints a fit in its figures, in mathtext."""
    return rf"$L = ({variable}\,/\,{tex(scale)})^{{-{exponent:.3f}}}$"

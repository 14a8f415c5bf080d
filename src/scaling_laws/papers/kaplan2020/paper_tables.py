"""The paper's six tables from a study's own runs, the paper's column beside ours (Kaplan 2020).

Table 1 is counted from a run's record; Tables 2 to 6 are from the laws and the route. Every table of numbers
is a DataFrame with the columns of `VALUES`, and text of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.laws.published import KAPLAN_SINGLE, KAPLAN_TABLE_2, KAPLAN_TABLE_3, KAPLAN_TABLE_6
from scaling_laws.laws.results.types import CriticalBatchLaw, FittedLaw, Laws
from scaling_laws.papers.kaplan2020.accounting import table_1
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.report import style as st
from scaling_laws.report.text import NOTHING, Table, interval_text, number
from scaling_laws.study.units import PF_DAY_FLOPS

VALUES = ("quantity", "unit", "paper", "family", "value", "low", "high", "reason")
"""One row a quantity and family: `paper` and `value` as numbers, `low` and `high` of the 90 % interval (NaN
for an end that is not known); `reason` says why there is no value."""
SYMBOLS = {"alpha": "α", "star": "*"}


def all_tables(tables: KaplanTables, laws: Laws) -> dict[str, Table]:
    """All six by their name in the paper."""
    return {
        "Table 1": table_1(tables),
        "Table 2": table_2(tables),
        "Table 3": table_3(tables),
        "Table 4": table_4(tables),
        "Table 5": table_5(tables),
        "Table 6": table_6(tables),
    }


# --- Tables 2, 3, 5 and 6: fitted numbers ---------------------------------------------------------


def joint_of_data(study: KaplanTables) -> pd.DataFrame:
    """Table 2, the joint fit of L(N, D), in the columns of `VALUES`."""
    rows = [
        _row(
            name,
            unit,
            getattr(KAPLAN_TABLE_2, name),
            family,
            *_of_fit(study.laws.of(family).fit("kaplan_nd"), name),
        )
        for family in _families(study)
        for name, unit in (("alpha_N", "1"), ("alpha_D", "1"), ("N_c", "parameters"), ("D_c", "tokens"))
    ]
    return _values(rows)


def joint_of_steps(study: KaplanTables) -> pd.DataFrame:
    """Table 3, the joint fit of L(N, S_min), in the columns of `VALUES`."""
    rows = [
        _row(name, unit, getattr(KAPLAN_TABLE_3, name), family, *_of_steps(study, family, name))
        for family in _families(study)
        for name, unit in (("alpha_N", "1"), ("alpha_S", "1"), ("N_c", "parameters"), ("S_c", "steps"))
    ]
    return _values(rows)


def fitted_values(study: KaplanTables) -> pd.DataFrame:
    """Table 5, every exponent with its scale, in the columns of `VALUES`; compute in PF-days."""
    single, efficient = KAPLAN_SINGLE, KAPLAN_SINGLE.efficient
    rows: list[dict[str, Any]] = []
    for family in _families(study):
        of_N, of_D, of_C = (study.laws.of(family).fit(form) for form in ("kaplan_n", "kaplan_d", "kaplan_c"))
        of_batch = study.critical_batch(family)
        single_C_min = single.of_C_min
        rows += [
            _row("alpha_N", "1", single.of_N.alpha_N, family, *_of_fit(of_N, "alpha_N")),
            _row("N_c", "parameters", single.of_N.N_c, family, *_of_fit(of_N, "N_c")),
            _row("alpha_D", "1", single.of_D.alpha_D, family, *_of_fit(of_D, "alpha_D")),
            _row("D_c", "tokens", single.of_D.D_c, family, *_of_fit(of_D, "D_c")),
            _row("alpha_C", "1", single.of_C_naive.alpha_C, family, *_of_fit(of_C, "alpha_C")),
            _row("C_c", "PF-days", _days(single.of_C_naive.C_c), family, *_in_days(_of_fit(of_C, "C_c"))),
            _row(
                "alpha_C_min",
                "1",
                single_C_min.alpha_C,
                family,
                *_of_frontier(study, family, "alpha_C_min"),
            ),
            _row(
                "C_c_min",
                "PF-days",
                _days(single_C_min.C_c),
                family,
                *_in_days(_of_frontier(study, family, "C_c_min")),
            ),
            _row("alpha_B", "1", efficient.alpha_B, family, *_of_fit(of_batch, "alpha_B")),
            _row("B_star", "tokens", efficient.B_star, family, *_of_fit(of_batch, "B_star")),
            _row("alpha_S", "1", efficient.alpha_S, family, *_of_steps(study, family, "alpha_S")),
            _row("S_c", "steps", efficient.S_c, family, *_of_steps(study, family, "S_c")),
        ]
    return _values(rows)


def efficient_training(study: KaplanTables) -> pd.DataFrame:
    """Table 6, N, B, S_min and D as powers of C_min in PF-days, in the columns of `VALUES`.

    Scales are the value at 1 PF-day; a study's, far beyond its runs, have no interval.
    """
    paper = {
        "N": (KAPLAN_TABLE_6.N, "parameters"),
        "B": (KAPLAN_TABLE_6.batch_tokens, "tokens"),
        "S_min": (KAPLAN_TABLE_6.steps_min, "steps"),
        "D": (KAPLAN_TABLE_6.D, "tokens"),
    }
    rows = []
    for family in _families(study):
        route = study.route(family)
        for name, (theirs, unit) in paper.items():
            ours = route.optimal(name)
            exponent: _Found = (None, None, route.reason or "no frontier")
            scale = exponent
            if ours is not None:
                exponent = (ours.exponent, ours.exponent_interval, "")
                scale = (ours.coefficient * PF_DAY_FLOPS**ours.exponent, None, "")
            letter = name.removesuffix("_min")
            rows.append(_row(f"p_{letter}", "1", theirs.exponent, family, *exponent))
            rows.append(_row(f"{letter}_e", unit, theirs.scale, family, *scale))
    return _values(rows)


_Found = tuple[float | None, Sequence[float | None] | None, str]
"""A value, its interval, and why there is none."""


def _of_fit(fit: FittedLaw | CriticalBatchLaw | None, name: str) -> _Found:
    if fit is None:
        return None, None, "not fitted"
    if not fit.identified:
        return None, None, fit.reason or "not identified"
    return fit.parameters[name], fit.intervals.get(name), ""


def _of_steps(study: KaplanTables, family: str, name: str) -> _Found:
    route = study.route(family)
    law = route.law_of_steps
    if law is None:
        return None, None, route.reason if route.steps is None else route.steps.reason
    return getattr(law, name), route.interval(name), ""


def _of_frontier(study: KaplanTables, family: str, name: str) -> _Found:
    route = study.route(family)
    law = route.law_of_C_min
    if law is None:
        return None, None, route.frontier[0].reason if route.frontier else route.reason
    return getattr(law, name), route.interval(name), ""


def _in_days(found: _Found) -> _Found:
    value, interval, reason = found
    return _days(value), None if interval is None else [_days(end) for end in interval], reason


def _days(flops: Any) -> float | None:
    return None if flops is None else float(flops) / PF_DAY_FLOPS


def _row(
    quantity: str,
    unit: str,
    paper: Any,
    family: str,
    value: float | None,
    interval: Sequence[float | None] | None,
    reason: str,
) -> dict[str, Any]:
    low, high = interval or (None, None)
    cells = (quantity, unit, float(paper), family, value, low, high, reason)
    return dict(zip(VALUES, cells, strict=True))


def _values(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(VALUES))
    return table.astype(dict.fromkeys(("paper", "value", "low", "high"), float))


def _families(study: KaplanTables) -> list[str]:
    """Those with a law of their own."""
    return st.families_of(each.family for each in study.laws.by_family if each.fits)


def _as_table(values: pd.DataFrame, caption: str) -> Table:
    """A row a quantity, a column a family, the paper's last."""
    families = st.families_of(values["family"])
    rows = []
    for quantity in dict.fromkeys(values["quantity"]):
        of_quantity = values[values["quantity"] == quantity].set_index("family")
        unit, paper = str(of_quantity["unit"].iloc[0]), float(of_quantity["paper"].iloc[0])
        ours = (_cell(of_quantity.loc[family]) for family in families)
        rows.append((_symbol(quantity), NOTHING if unit == "1" else unit, *ours, number(paper)))
    columns = (
        "quantity",
        "unit",
        *(f"{st.family_name(family)}, this study" for family in families),
        "Kaplan 2020",
    )
    missing = [
        f"{st.family_name(family)}: {words}." for family in families if (words := _reasons(values, family))
    ]
    return Table(columns=columns, rows=tuple(rows), caption=" ".join([caption, *missing]))


def _reasons(values: pd.DataFrame, family: str) -> str:
    """Why values are missing, each reason once; one that ends another is said by it."""
    reasons = dict.fromkeys(reason for reason in values.loc[values["family"] == family, "reason"] if reason)
    return "; ".join(
        one for one in reasons if not any(other != one and other.endswith(one) for other in reasons)
    )


def _cell(row: Any) -> str:
    if np.isnan(row["value"]):
        return NOTHING
    ends = [None if np.isnan(end) else float(end) for end in (row["low"], row["high"])]
    interval = "" if ends == [None, None] else interval_text(ends)
    return f"{number(float(row['value']))} {interval}".strip()


def _symbol(name: str) -> str:
    for word, symbol in SYMBOLS.items():
        name = name.replace(word, symbol)
    return name


def table_2(study: KaplanTables) -> Table:
    """The joint fit of L(N, D)."""
    return _as_table(
        joint_of_data(study), "L(N, D) = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D (1.5). Brackets: 90 % intervals."
    )


def table_3(study: KaplanTables) -> Table:
    """The joint fit of L(N, S_min)."""
    return _as_table(
        joint_of_steps(study), "L(N, S_min) = (N_c/N)^α_N + (S_c/S_min)^α_S (1.6). Brackets: 90 % intervals."
    )


def table_5(study: KaplanTables) -> Table:
    """Every exponent with its scale."""
    return _as_table(
        fitted_values(study),
        "Laws of one variable. Scales depend on the vocabulary; α_C is at a fixed batch. Brackets: 90 % "
        "intervals.",
    )


def table_6(study: KaplanTables) -> Table:
    """Compute-efficient training."""
    return _as_table(
        efficient_training(study),
        "Powers of C_min in PF-days along the frontier: N_opt = N_e C_min^p_N, and so on. Scales: values at "
        "1 PF-day, for a small study far beyond its runs. Brackets: 90 % intervals.",
    )


# --- Table 4: which law applies when --------------------------------------------------------------

LAWS_BY_LIMIT = (
    ("N", "∞", "∞", "fixed", "L(N) = (N_c/N)^α_N", "kaplan_n"),
    ("∞", "D", "early stop", "fixed", "L(D) = (D_c/D)^α_D", "kaplan_d"),
    ("optimal", "∞", "C", "fixed", "L(C) = (C_c/C)^α_C (naive)", "kaplan_c"),
    ("N_opt", "D_opt", "C_min", "B << B_crit", "L(C_min) = (C_c_min/C_min)^α_C_min", "kaplan_c_min"),
    ("N", "D", "early stop", "fixed", "L(N, D) = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D", "kaplan_nd"),
    ("N", "∞", "S steps", "B", "L(N, S) = (N_c/N)^α_N + (S_c/S_min(S, B))^α_S", "kaplan_ns"),
)
"""Parameters, data, compute, batch, law, and the form that fits it: Table 4."""


def table_4(study: KaplanTables) -> Table:
    """Which law applies when, and whether this study's runs determine it."""
    families = _families(study)
    rows = []
    for *limits, form in LAWS_BY_LIMIT:
        rows.append((*limits, *(_state(study, family, form) for family in families)))
    ours = (f"{st.family_name(family)}, this study" for family in families)
    columns = ("parameters", "data", "compute", "batch", "law", *ours)
    return Table(columns=columns, rows=tuple(rows), caption="∞ marks what is not limited.")


def _state(study: KaplanTables, family: str, form: str) -> str:
    """Exponents of the law, or why there is none."""
    route = study.route(family)
    of_route: dict[str, tuple[Any, str]] = {
        "kaplan_ns": (route.steps, route.reason),
        "kaplan_c_min": (next(iter(route.frontier), None), route.reason),
    }
    fit, reason = of_route.get(form) or (study.laws.of(family).fit(form), "")
    if fit is None:
        return reason or "not fitted"
    if not fit.identified:
        return f"not identified: {fit.reason}"
    exponents = {name: value for name, value in vars(fit.law).items() if name.startswith("alpha")}
    return ", ".join(f"{_symbol(name)} = {number(float(value))}" for name, value in exponents.items())

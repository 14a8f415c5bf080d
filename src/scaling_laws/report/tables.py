"""The tables of a report, as rows of text: for the terminal, for Markdown, and for the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scaling_laws.laws.published import (
    HOFFMANN,
    HOFFMANN_ENVELOPE,
    HOFFMANN_ISOFLOP,
    HOFFMANN_PARAMETRIC,
    KAPLAN_SINGLE,
    KAPLAN_TABLE_6,
    ReportedExponent,
)
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables, find_allocation, find_fit
from scaling_laws.report.formulas import FORM_NAMES, value_with_interval
from scaling_laws.report.text import NOTHING, Table, interval_text, number, short

SHOWN_WARNINGS = 5
"""In the terminal; the report lists all."""


def headline(laws: Laws) -> Table:
    """This study by family, Kaplan 2020 and Chinchilla 2022, with 90 % intervals."""
    families = st.families_of(fit["family"] for fit in laws["fits"])

    def row(name: str, form: str, parameter: str, kaplan: Any, chinchilla: Any) -> tuple[str, ...]:
        ours = [value_with_interval(find_fit(laws, form, family), parameter) for family in families]
        return (name, *ours, _published(kaplan), _published(chinchilla))

    def error(name: str, forms: tuple[str, ...], key: str) -> tuple[str, ...]:
        return (name, *(_held_out(laws, family, forms, key) for family in families), NOTHING, NOTHING)

    def allocation(name: str, method: str, chinchilla: ReportedExponent) -> tuple[str, ...]:
        ours = [measured_exponent(laws, method, family) for family in families]
        theirs = f"{chinchilla.a:.2f} [{chinchilla.low:.3f}, {chinchilla.high:.3f}]"
        return (name, *ours, NOTHING, theirs)

    kaplan = KAPLAN_SINGLE
    rows = (
        row("α_N of L(N)", "kaplan_n", "alpha_N", kaplan.of_N.alpha_N, None),
        row("α_D of L(D)", "kaplan_d", "alpha_D", kaplan.of_D.alpha_D, None),
        row("α_C of L(C)", "kaplan_c", "alpha_C", kaplan.of_C_naive.alpha_C, None),
        row("α of L(N, D)", "chinchilla", "alpha", None, HOFFMANN.alpha),
        row("β of L(N, D)", "chinchilla", "beta", None, HOFFMANN.beta),
        row("E, nats per token", "chinchilla", "E", None, HOFFMANN.E),
        row("a: N_opt ~ C^a", "chinchilla", "a_opt", KAPLAN_TABLE_6.N.exponent, HOFFMANN_PARAMETRIC.a),
        row("b: D_opt ~ C^b", "chinchilla", "b_opt", KAPLAN_TABLE_6.D.exponent, HOFFMANN_PARAMETRIC.b),
        row("a, Kaplan's joint form", "kaplan_nd", "a_opt", None, None),
        allocation("a, slices of equal compute", "isoflop", HOFFMANN_ISOFLOP),
        allocation("a, envelope", "envelope", HOFFMANN_ENVELOPE),
        error("held-out error, Chinchilla's form", ("chinchilla",), "relative_error"),
        error("held-out error, Kaplan's form", ("kaplan_nd",), "relative_error"),
        error("held-out error, no fit", ("chinchilla", "kaplan_nd"), "baseline_relative_error"),
    )
    columns = (
        "",
        *(f"{st.family_name(family)}, this study" for family in families),
        "Kaplan 2020",
        "Chinchilla 2022",
    )
    return Table(
        columns=columns,
        rows=rows,
        caption="Brackets: 90 % intervals (Chinchilla 2022: 80 %). L(N) = (N_c/N)^α_N, L(D) and L(C) alike "
        "(C at a fixed batch). L(N, D) = E + A/N^α + B/D^β. Chinchilla 2022: the last two a from its "
        "approaches 2 and 1, all else from approach 3. Scales and E depend on the vocabulary and on what N "
        "counts, exponents less so. Held-out error: mean |error| on the largest size, predicted from the "
        "smaller ones; no fit: the lowest loss among those.",
    )


def headline_text(laws: Laws) -> str:
    """The headline table for the terminal, with how many runs were left out and the fit's warnings."""
    lines = [f"{laws['study']}: scaling laws with 90 % intervals", "", headline(laws).text()]
    if left_out := laws["left_out"]:
        lines += ["", f"left out of the fits: {len(left_out)} (reasons in the report)"]
    lines += [f"warning: {warning}" for warning in laws["warnings"][:SHOWN_WARNINGS]]
    if (more := len(laws["warnings"]) - SHOWN_WARNINGS) > 0:
        lines.append(f"and {more} more warnings in the report")
    return "\n".join(lines)


def runs(tables: StudyTables, laws: Laws) -> Table:
    """One row a complete run, by family, N and D."""
    conventions = laws["conventions"]
    n, c = conventions["N"], conventions["C"]
    columns = (
        "run",
        "family",
        "N",
        "D",
        "C, FLOPs",
        "test loss, nats",
        "bits per byte",
        "rate",
        "tokens/s",
        "s",
    )
    if tables.complete.empty:
        return Table(columns=columns, rows=())
    rows = [
        (
            str(run["run"]),
            st.family_name(str(run["family"])),
            short(run[n]),
            short(run["D"]),
            f"{run[c]:.2e}",
            f"{run['loss']:.4f}",
            _decimals(run.get("bits_per_byte_test"), 4),
            NOTHING if pd.isna(run["learning_rate"]) else f"{run['learning_rate']:.2g}",
            short(run["tokens_per_s"]),
            _decimals(run["elapsed_s"], 0),
        )
        for _, run in tables.complete.sort_values(["family", n, "D", "seed"]).iterrows()
    ]
    caption = (
        "loss on held-out files of the training distribution, final weights; s: seconds of its own steps"
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def left_out(laws: Laws) -> Table:
    """Runs that no fit used, and why."""
    rows = tuple((str(row["run"]), str(row["status"]), str(row["reason"])) for row in laws["left_out"])
    return Table(columns=("run", "status", "reason"), rows=rows)


def fits(laws: Laws) -> Table:
    """Every fit with its parameters, what it was fitted to, and its certificate."""
    columns = ("fit", "family", "parameters", "rows", "certificate", "identified", "intervals")
    rows = []
    for fit in laws["fits"]:
        certificate = fit["certificate"]
        quantities = {**fit["parameters"], **fit["derived"]} if fit["identified"] else {}
        rows.append(
            (
                fit["formula"],
                st.family_name(fit["family"]),
                "; ".join(_parameter(fit, name) for name in quantities) or NOTHING,
                f"{fit['n_rows']} rows of {fit['n_clusters']} trainings: {fit['rows']}",
                _certificate(certificate),
                "yes" if fit["identified"] else f"no: {fit['reason']}",
                fit["interval_method"] or NOTHING,
            )
        )
    return Table(columns=columns, rows=tuple(rows))


def _parameter(fit: Mapping[str, Any], name: str) -> str:
    unit = fit["units"].get(name, "1")
    words = f"{name} = {value_with_interval(fit, name)}"
    return words if unit in ("", "1") else f"{words} {unit}"


def _certificate(certificate: Mapping[str, Any]) -> str:
    if not certificate:
        return NOTHING
    on_bound = certificate["on_bound"]
    return (
        f"{certificate['starts']} starts, {100 * (certificate['share_at_best'] or 0):.0f} % at the best; "
        f"gradient {number(certificate['gradient_norm'], 2)}; "
        f"condition {number(certificate['condition_number'], 2)}; "
        f"rms {_decimals(100 * (certificate['rms_log_residual'] or 0), 2)} %"
        + (f"; on a bound: {', '.join(on_bound)}" if on_bound else "")
        + "".join(
            f"; profile of {name} {interval_text(ends)}"
            for name, ends in certificate.get("profile", {}).items()
        )
    )


def _held_out(laws: Laws, family: str, forms: tuple[str, ...], key: str) -> str:
    """Mean absolute error in per cent, by the first of the forms that could be fitted."""
    entries = [entry for entry in laws["holdout"] if entry["family"] in (family, "all")]
    for form in forms:
        for entry in entries:
            if entry["form"] == form and entry[key]:
                return f"{100 * np.abs(np.asarray(entry[key], dtype=float)).mean():.1f} %"
    return "not identified" if entries else NOTHING


def measured_exponent(laws: Laws, method: str, family: str) -> str:
    """a of N_opt ~ C^a through measured optima, with its interval."""
    entry = find_allocation(laws, method, family)
    if entry["exponent"] is None:
        return "not identified"
    return f"{number(entry['exponent'])} {interval_text(entry['exponent_interval'])}".strip()


def sensitivity(laws: Laws) -> Table:
    """How the exponents move with one choice of the analysis at a time; point estimates."""
    columns = ("family", "change", "runs", "α", "β", "a, L(N, D)", "a, slices", "a, envelope")
    names = ("alpha", "beta", "a_opt", "isoflop_exponent", "envelope_exponent")
    rows = tuple(
        (
            st.family_name(entry["family"]),
            entry["change"],
            str(entry["n_rows"]),
            *(_value_or_range(entry, name) for name in names),
        )
        for entry in laws.get("sensitivity", ())
    )
    return Table(columns=columns, rows=rows, caption="Point estimates; a dash: not identified.")


def _value_or_range(entry: Mapping[str, Any], name: str) -> str:
    if entry.get(f"{name}_range"):
        low, high = entry[f"{name}_range"]
        return f"{number(low)} to {number(high)}"
    return number(entry[name])


def _published(value: Any) -> str:
    return NOTHING if value is None else f"{float(value):.3g}"


def _decimals(value: Any, digits: int) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{value:.{digits}f}"


def holdout(laws: Laws) -> Table:
    """Predicted and measured loss of every held-out run."""
    rows = []
    for entry in laws["holdout"]:
        name = (st.family_name(entry["family"]), FORM_NAMES[entry["form"]])
        if not entry["predicted"]:
            rows.append(
                (st.family_name(entry["family"]), FORM_NAMES[entry["form"]], entry["reason"], *(NOTHING,) * 3)
            )
            continue
        for run, predicted, actual, error in zip(
            entry["held_out"], entry["predicted"], entry["actual"], entry["relative_error"], strict=True
        ):
            cells = run, f"{predicted:.4f}", f"{actual:.4f}", f"{100 * error:+.2f} %"
            rows.append((*name, *cells))
    return Table(columns=("family", "form", "run", "predicted", "measured", "error"), rows=tuple(rows))


def late_positions(laws: Laws) -> Table:
    """LSTM less Transformer at late positions, one row a matched pair."""
    late = laws["late_positions"]
    rows = tuple(
        (
            short(pair["N_lstm"]),
            short(pair["N_transformer"]),
            f"{pair['difference_nats']:+.4f}",
            interval_text(pair["interval"]) or NOTHING,
        )
        for pair in late["pairs"]
    )
    caption = f"mean over positions from {late['position_from']} on; above 0 the Transformer is better"
    columns = ("N of the LSTM", "N of the Transformer", "LSTM less Transformer, nats", "90 % interval")
    return Table(columns=columns, rows=rows, caption=caption)

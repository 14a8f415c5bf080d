"""What the verb `laws` prints: the headline of a study or table, or chosen fits and their certificates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.shared_floor import SharedFloor
from scaling_laws.laws.results.types import FittedLaw, LawCertificate, Laws, PositionFit, PredictedRun

if TYPE_CHECKING:
    from scaling_laws.report.text import Table

SHOWN_REASONS = 8
DERIVED = {"a_opt": "of N_opt ~ C^a_opt", "b_opt": "of D_opt ~ C^b_opt", "B_crit": "E_min / S_min"}
"""What follows from the parameters, in the place of a unit."""
NIL = 1e-10
"""Below this a parameter has gone to zero."""


def study_text(laws: Laws, *, is_study: bool, doubts: Sequence[str] = ()) -> list[str | Table]:
    """The headline table, what could not be fitted, and what the table's reader should look at."""
    from scaling_laws.report.tables import headline

    with_what = f"with {100 * laws.level:g} % intervals"
    if laws.manifest.resamples == 0:
        with_what = "without intervals (--bootstrap 0)"
    lines: list[str | Table] = [
        f"{laws.study}: scaling laws {with_what}",
        "",
        headline(laws),
        "",
        _counts(laws, is_study=is_study),
    ]
    lines += _winners(laws)
    if reasons := _not_fitted(laws):
        lines += ["", "Not fitted:"]
        lines += [f"  {reason}" for reason in reasons[:SHOWN_REASONS]]
        if (more := len(reasons) - SHOWN_REASONS) > 0:
            lines.append(f"  and {more} more (`reason` in laws.json)")
    if left_out := laws.left_out:
        lines += ["", f"Left out of the fits: {len(left_out)} runs (`left_out` in laws.json)"]
    return [*lines, *_warnings_text(laws, doubts)]


def _counts(laws: Laws, *, is_study: bool) -> str:
    """What N and C are: known of a study alone."""
    from scaling_laws.study.conventions import C_CONVENTIONS, N_CONVENTIONS

    N, C = laws.conventions.N, laws.conventions.C
    if not is_study:
        of_C = C if C == "6 N D" else f"the column {C}"
        return f"N is the column {N}, as the table counts it; C is {of_C}."
    of_N = N_CONVENTIONS[N].counts if N in N_CONVENTIONS else N
    return f"N counts parameters {of_N}; C is {C_CONVENTIONS[C].label if C in C_CONVENTIONS else C}."


def _winners(laws: Laws) -> list[str]:
    """Which form predicts the runs beyond a cut best, one line a family and axis."""
    winners = [
        f"  {'' if family.family == 'all' else family.family + ': '}{comparison.sentence.split('. ')[0]}"
        for family in laws.by_family
        for comparison in family.rollout
        if comparison.kind == "joint" and comparison.winner
    ]
    title = "Out-of-sample error (fitted to smaller runs, tested on larger ones):"
    return ["", title, *winners] if winners else []


def _not_fitted(laws: Laws) -> list[str]:
    """`family, laws: reason`, one line a family and reason."""
    reasons = [
        *(
            (of.family, fit.reason, fit.form)
            for of in laws.by_family
            for fit in of.fits
            if not fit.identified
        ),
        *(
            (of.family, one.reason, f"N_opt(C) by {one.method}")
            for of in laws.by_family
            for one in of.allocation
        ),
        *((of.family, one.reason, f"held-out {one.form}") for of in laws.by_family for one in of.holdout),
    ]
    grouped: dict[tuple[str, str], list[str]] = {}
    for family, reason, name in reasons:
        if reason:
            grouped.setdefault((family, reason), []).append(name)
    families = {family for family, _ in grouped}
    return [
        ("" if families == {"all"} else f"{family}: ") + f"{', '.join(dict.fromkeys(names))}: {reason}"
        for (family, reason), names in grouped.items()
    ]


def forms_text(laws: Laws) -> list[str | Table]:
    """Every chosen fit as a table of its parameters, with how far it can be believed."""
    with_what = f"with {100 * laws.level:g} % intervals" if laws.manifest.resamples else "without intervals"
    parts: list[str | Table] = [f"{laws.study}: fits {with_what}"]
    for of in laws.by_family:
        for fit in of.fits:
            parts += ["", *_fit_text(fit, of.family)]
    for floor in laws.shared_floors:
        parts += ["", *_floor_text(floor)]
    for entry in laws.positions:
        parts += ["", _position_text(entry)]
    warnings = [f"warning: {each}" for each in laws.warnings if ": not identified: " not in each]
    return [*parts, *([""] if warnings else []), *warnings]


def latex_text(laws: Laws) -> str:
    """Every identified law with its numbers, a line each, as it stands in a paper."""
    from scaling_laws.report.formulas import latex_with_values

    lines = [
        ("" if of.family == "all" else f"{of.family}, ")
        + f"{fit.form}: {latex_with_values(fit.formula, known_numbers(fit))}"
        for of in laws.by_family
        for fit in of.fits
        if fit.identified
    ]
    return "\n".join(["LaTeX:", *(f"  {line}" for line in lines or ["no law is identified"])])


def known_numbers(fit: FittedLaw) -> dict[str, float]:
    """The parameters that have a value."""
    return {name: value for name, value in fit.parameters.items() if value is not None}


def _fit_text(fit: FittedLaw, of: str) -> list[str | Table]:
    from scaling_laws.report.text import Table

    family = "" if of == "all" else f", {of}"
    lines: list[str | Table] = [f"{fit.form}{family}: {fit.formula}"]
    if fit.identified:
        rows = [
            (
                name,
                _number(value),
                _interval(fit.intervals.get(name)),
                DERIVED.get(name) or fit.units[name],
            )
            for name, value in {**fit.parameters, **fit.derived}.items()
        ]
        names = ("parameter", "value", f"{100 * fit.level:g} % interval", "unit")
        shown = [names, *rows]
        if not fit.intervals:
            shown = [(name, value, "", unit) for name, value, _, unit in shown]
        columns, *cells = [tuple(cell for cell in row if cell) for row in shown]
        lines.append(Table(columns=columns, rows=tuple(cells)))
        method = f"intervals by {fit.interval_method}" if fit.intervals else "no intervals: --bootstrap 0"
        lines.append(f"identified; {method}")
        lines += [_prediction(each, fit.level) for each in fit.predictions]
    else:
        lines.append(f"not identified: {fit.reason}")
    trainings = "1 training" if fit.n_clusters == 1 else f"{fit.n_clusters} trainings"
    lines.append(f"{fit.n_rows} rows of {trainings} ({fit.rows}): {_ranges(fit)}")
    if fit.objective is not None:
        lines.append(f"objective {fit.objective:.7g}: sum of Huber(ln L_hat - ln L), delta {fit.delta:g}")
    if fit.certificate:
        lines.append(f"certificate: {_certificate(fit.certificate)}")
    return lines


def _prediction(each: PredictedRun, level: float) -> str:
    """The loss of a new run, with both intervals."""
    at = ", ".join(f"{name} = {_number(value)}" for name, value in each.at.items())
    profile = f"none ({each.no_profile})" if each.no_profile else _interval(each.profile_interval)
    return (
        f"a new run at {at}: {each.loss_nats:.4f} nats per token, {100 * level:g} % interval "
        f"{_interval(each.interval)} by resamples, {profile} by profile"
    )


def _floor_text(found: SharedFloor) -> list[str | Table]:
    """A row a data set: its own E, and its law with the shared one."""
    from scaling_laws.report.tables import shared_floors

    table = shared_floors(found)
    return [table.caption, table]


def _certificate(certificate: LawCertificate) -> str:
    """How far the optimum can be believed to be one, in words."""
    starts, share = certificate.starts, certificate.share_at_best
    condition = certificate.condition_number
    words = [
        f"{round(share * starts)} of {starts} starts ended at this optimum",
        f"gradient {certificate.gradient_norm:.1e}",
        f"condition number {'infinite' if condition is None else f'{condition:.3g}'}",
        f"rms residual of ln L {certificate.rms_log_residual:.2e}",
    ]
    if certificate.on_bound:
        words.append(f"on a bound: {', '.join(certificate.on_bound)}")
    return "; ".join(words)


def _position_text(entry: PositionFit) -> str:
    if not entry.identified:
        return f"position, {entry.run}: not identified: {entry.reason}"
    values = ", ".join(
        f"{name} = {_number(value)} {_interval(entry.intervals.get(name))}"
        for name, value in entry.parameters.items()
    )
    return f"position, {entry.run} (N = {entry.N:.4g}): {values}"


def _ranges(fit: FittedLaw) -> str:
    return ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in fit.ranges.items())


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return "0" if abs(value) < NIL else f"{value:.4g}"


def _interval(interval: Interval | None) -> str:
    """`[0.34, 0.35]`; an end that the draws do not bound is `?`."""
    if not interval:
        return "–"
    low, high = ("?" if end is None else _number(end) for end in interval)
    return f"[{low}, {high}]"


def _warnings_text(laws: Laws, doubts: Sequence[str]) -> list[str]:
    """What the reader of a table should look at; the others are counted."""
    more = len(laws.warnings) - len(doubts)
    lines = [f"warning: {sentence}" for sentence in doubts]
    lines += [f"{more} {'warning is' if more == 1 else 'warnings are'} in laws.json"] * (more > 0)
    return ["", *lines] if lines else []

"""The tables of a report, as rows of text: for the terminal, for Markdown, and for the HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scaling_laws.laws.checks import local_exponents as checks
from scaling_laws.laws.checks.rollout_scores import Comparison, FormScore
from scaling_laws.laws.checks.sensitivity import Sensitivity
from scaling_laws.laws.fit.level import interval_words
from scaling_laws.laws.fit.noise import SeedNoise, noise_by_size_and_horizon
from scaling_laws.laws.fit.shared_floor import SharedFloor
from scaling_laws.laws.plan.choice import LABELS
from scaling_laws.laws.published import (
    HOFFMANN,
    HOFFMANN_ENVELOPE,
    HOFFMANN_ISOFLOP,
    HOFFMANN_PARAMETRIC,
    KAPLAN_SINGLE,
    KAPLAN_TABLE_6,
    ReportedExponent,
)
from scaling_laws.laws.results.compared_column import ComparedColumn
from scaling_laws.laws.results.types import FittedLaw, LawCertificate, Laws
from scaling_laws.report import style as st
from scaling_laws.report.formulas import FORM_NAMES, value_with_interval
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import (
    NOTHING,
    Table,
    decimals,
    interval_text,
    number,
    percent,
    short,
    with_interval,
)

AXIS_NAMES = {"N": "larger N", "D": "larger D", "C": "more compute"}
ROUTES = {"envelope": "envelope of final losses", "learning_curves": "envelope of learning curves"}
ROUTES |= {"parabola": "slices, parabola", "akima": "slices, Akima"}
CURVE_FORMS = ("power_d", "kaplan_d", "last loss seen")
LEVEL_QUANTITIES = ("S_min", "E_min", "B_crit")


def headline(laws: Laws) -> Table:
    """These runs by family, Kaplan 2020 and Chinchilla 2022, with 90 % intervals."""
    families = st.families_of(family for family in laws.families if laws.of(family).fits)

    def row(name: str, form: str, parameter: str, kaplan: Any, chinchilla: Any) -> tuple[str, ...]:
        ours = [value_with_interval(laws.of(family).fit(form), parameter) for family in families]
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
    names = (st.family_name(family) for family in families)
    columns = ("", *names, "Kaplan 2020", "Chinchilla 2022")
    return Table(
        columns=columns,
        rows=rows,
        caption=f"Brackets: {100 * laws.level:g} % intervals (Chinchilla 2022: 80 %). L(N) = (N_c/N)^α_N, "
        "L(D) and L(C) alike (C at a fixed batch). L(N, D) = E + A/N^α + B/D^β. Chinchilla 2022: the last "
        "two a from its approaches 2 and 1, all else from approach 3. Scales and E depend on the vocabulary "
        "and on what N counts, exponents less so. Held-out error: mean |error| on the largest size, "
        "predicted from the smaller ones; no fit: the lowest loss among those.",
    )


def runs(study: StudyTables, laws: Laws) -> Table:
    """One row a complete run, by family, N and D."""
    n, c = laws.conventions.N, laws.conventions.C
    columns = (
        "run",
        "family",
        "N",
        "D",
        "C, FLOPs",
        "loss, nats",
        "bits per byte",
        "rate",
        "tokens/s",
        "s",
    )
    if study.complete.empty:
        return Table(columns=columns, rows=())
    order = [name for name in ("family", n, "D", "seed") if name in study.complete]
    rows = [
        (
            str(run["run"]),
            st.family_name(str(run["family"])),
            short(run[n]),
            short(run["D"]),
            f"{run[c]:.2e}",
            f"{run['loss']:.4f}",
            decimals(run.get("bits_per_byte_test"), 4),
            NOTHING if np.isnan(run.get("learning_rate", np.nan)) else f"{run['learning_rate']:.2g}",
            short(run["tokens_per_s"]) if "tokens_per_s" in run else NOTHING,
            decimals(run.get("elapsed_s"), 0),
        )
        for _, run in study.complete.sort_values(order).iterrows()
    ]
    caption = (
        "loss on held-out files of the training distribution, final weights; s: seconds of its own steps"
        if study.counted_here
        else "loss as the table has it"
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def left_out(laws: Laws) -> Table:
    """Runs that no fit used, and why."""
    rows = tuple((each.run, each.status, each.reason) for each in laws.left_out)
    return Table(columns=("run", "status", "reason"), rows=rows)


def fits(laws: Laws) -> Table:
    """Every fit with its parameters, what it was fitted to, and its certificate."""
    return _fits([(family, laws.of(family).fits) for family in laws.families])


def own_laws(laws: Laws) -> Table:
    """Laws of a user's own beside ours of N and D, on the same rows; without rows where there are none."""
    rows = tuple(
        (
            LABELS.get(fit.form, fit.form),
            st.family_name(family),
            fit.formula,
            decimals(100 * (certificate.rms_log_residual or 0), 2) + " %" if certificate else NOTHING,
            number(fit.objective),
            "yes" if fit.identified else f"no: {fit.reason}",
        )
        for family in laws.families
        for fits_of_family in [laws.of(family).fits]
        if any(fit.declared for fit in fits_of_family)
        for fit in sorted(fits_of_family, key=lambda fit: fit.declared is None)
        for certificate in [fit.certificate]
        if fit.declared or fit.is_joint
    )
    caption = (
        "Objective: the sum of Huber's loss over the rows, which a law with more parameters makes smaller "
        "on its own rows. Laws of your own are fitted to all rows; the predictions beyond a cut are of ours."
    )
    columns = ("law", "family", "fit", "residuals (rms)", "objective", "identified")
    return Table(columns=columns, rows=rows, caption=caption)


def novel_fits(laws: Laws) -> Table:
    """`fits` of the loss on novel tokens alone; without rows where no run left losses by class."""
    table = _fits([(family, laws.of(family).novel) for family in laws.families])
    caption = (
        "The loss on tokens whose predecessor is new in the window: nothing there can be "
        "copied, so it hardly matters whether a network has learned to copy."
    )
    return replace(table, caption=caption)


def asked_predictions(laws: Laws) -> Table:
    """Predicted losses of new runs (`laws --form ... --predict`), a row each."""
    rows = tuple(
        (
            fit.formula,
            st.family_name(family),
            ", ".join(f"{name} = {number(value)}" for name, value in run.at.items()),
            number(run.loss_nats, 4),
            interval_text(run.interval),
            f"none: {run.no_profile}" if run.no_profile else interval_text(run.profile_interval),
        )
        for family in laws.families
        for fit in laws.of(family).asked
        for run in fit.predictions
    )
    levels = {fit.level for family in laws.families for fit in laws.of(family).asked}
    caption = (
        f"Loss in nats per token, with {' and '.join(f'{100 * level:g} %' for level in sorted(levels))} "
        "intervals of one new run: by resamples of the runs, and by a profile that follows the law to where "
        "the data no longer support it. With few trainings trust the profile."
    )
    return Table(
        columns=("law", "family", "new run", "loss", "by resamples", "by profile"), rows=rows, caption=caption
    )


def asked_cuts(laws: Laws) -> Table:
    """Laws fitted without rows of few tokens (`laws --form ... --cut-tokens`), a row each."""
    rows = tuple(
        (
            fit.formula,
            st.family_name(family),
            fit.token_cut.sentence(),
            "; ".join(_parameter(fit, name) for name in fit.parameters) if fit.identified else NOTHING,
        )
        for family in laws.families
        for fit in laws.of(family).asked
        if fit.token_cut
    )
    return Table(columns=("law", "family", "cut", "parameters without these rows"), rows=rows)


def _fits(by_family: Sequence[tuple[str, Sequence[FittedLaw]]]) -> Table:
    columns = ("fit", "family", "parameters", "rows", "certificate", "identified", "intervals")
    rows = tuple(
        (
            fit.formula,
            st.family_name(family),
            "; ".join(_parameter(fit, name) for name in quantities if fit.identified) or NOTHING,
            f"{fit.n_rows} rows of {fit.n_clusters} trainings: {fit.rows}",
            _certificate(fit.certificate),
            "yes" if fit.identified else f"no: {fit.reason}",
            fit.interval_method or NOTHING,
        )
        for family, fits_of_family in by_family
        for fit in fits_of_family
        for quantities in [[*fit.parameters, *fit.derived]]
    )
    return Table(columns=columns, rows=rows)


def _parameter(fit: FittedLaw, name: str) -> str:
    unit = fit.units.get(name, "1")
    words = f"{name} = {value_with_interval(fit, name)}"
    return words if unit in ("", "1") else f"{words} {unit}"


def _certificate(certificate: LawCertificate | None) -> str:
    if certificate is None:
        return NOTHING
    words = [
        f"{certificate.starts} starts, {100 * (certificate.share_at_best or 0):.0f} % at the best",
        f"gradient {number(certificate.gradient_norm, 2)}",
        f"condition {number(certificate.condition_number, 2)}",
        f"rms {decimals(100 * (certificate.rms_log_residual or 0), 2)} %",
    ]
    if certificate.on_bound:
        words.append(f"on a bound: {', '.join(certificate.on_bound)}")
    words += [f"profile of {name} {interval_text(ends)}" for name, ends in certificate.profile.items()]
    return "; ".join(words)


def _held_out(laws: Laws, family: str, forms: tuple[str, ...], key: str) -> str:
    """Mean absolute error in per cent, by the first of the forms that could be fitted."""
    entries = laws.of(family).holdout
    for form in forms:
        for entry in entries:
            if entry.form == form and getattr(entry, key):
                return f"{100 * np.abs(np.asarray(getattr(entry, key), dtype=float)).mean():.1f} %"
    return "not identified" if entries else NOTHING


def measured_exponent(laws: Laws, method: str, family: str) -> str:
    """a of N_opt ~ C^a through measured optima, with its interval."""
    entry = laws.of(family).allocation_by(method)
    if entry.exponent is None:
        return "not identified"
    return with_interval(entry.exponent, entry.exponent_interval)


def sensitivity(laws: Laws) -> Table:
    """How the exponents move with one choice of the analysis at a time; point estimates."""
    columns = ("family", "change", "runs", "α", "β", "a, L(N, D)", "a, slices", "a, envelope")
    names = ("alpha", "beta", "a_opt", "isoflop_exponent", "envelope_exponent")
    rows = tuple(
        (
            st.family_name(family),
            entry.change,
            str(entry.n_rows),
            *(_value_or_range(entry, name) for name in names),
        )
        for family in laws.families
        for entry in laws.of(family).sensitivity
    )
    return Table(columns=columns, rows=rows, caption="Point estimates; a dash means not identified.")


def local_exponents(study: StudyTables, laws: Laws) -> Table:
    """The exponent of N at each horizon and of D at each size, beside those of the joint law."""
    rows: list[tuple[str, ...]] = []
    for family in study.families:
        of_family = checks.local_exponents(study.of(family))
        for each in of_family:
            fixed, points = ("D", "sizes") if each.of == "N" else ("N", "horizons")
            rows.append(
                (
                    st.family_name(family),
                    f"α_{each.of} at {fixed} = {short(each.at)}",
                    f"{each.n_points} {points}",
                    number(each.exponent),
                    "" if None in each.interval else interval_text(each.interval),
                )
            )
        joint = laws.of(family).fit("kaplan_nd")
        if of_family and joint is not None and joint.identified:
            for name, symbol in (("alpha_N", "α_N"), ("alpha_D", "α_D")):
                cells = (number(joint.parameters[name]), interval_text(joint.intervals.get(name)))
                rows.append((st.family_name(family), f"{symbol} of L(N, D)", f"{joint.n_rows} runs", *cells))
    return Table(
        columns=("family", "exponent", "of", "value", f"{interval_words()} interval"),
        rows=tuple(rows),
        caption=(
            "L(N) describes unlimited data: where α_N grows with the horizon, its value at one "
            "horizon is not a property of the networks. Straight lines in logarithms over sizes, "
            "which are independent; the horizons of one size come from one training, so their "
            "exponent has no interval here."
        ),
    )


def noise_between_seeds(study: StudyTables, noise: SeedNoise) -> Table:
    """The deviation between seeds of every size and horizon that was trained with several."""
    found = noise_by_size_and_horizon(study.runs)
    rows = tuple(
        (st.family_name(family), short(N), short(D), str(n_runs), f"{100 * deviation:.2g} %")
        for family, N, D, n_runs, deviation in found.itertuples(index=False)
    )
    return Table(
        columns=("family", "N", "D", "seeds", "standard deviation of ln loss"),
        rows=rows,
        caption=(
            f"{_where_noise_differs(noise)} From n seeds a deviation is known within a factor of about "
            "1 + 1/sqrt(n - 1)."
        ),
    )


def _where_noise_differs(noise: SeedNoise) -> str:
    growth = noise.growth
    if growth is None:
        return (
            "Nothing here shows that the noise depends on size or horizon, so intervals use one deviation, "
            "pooled over these."
        )
    powers = " ".join(
        f"{symbol}^{exponent:.2g}"
        for symbol, exponent in (("N", growth.of_N), ("D", growth.of_D))
        if exponent
    )
    return (
        f"The noise depends on size or horizon (p = {growth.p_value:.2g}), about as {powers}: "
        f"{100 * growth.sd_log_loss:.2g} % at N = {short(growth.N_0)}, D = {short(growth.D_0)}. "
        "Intervals of a new run's loss use the noise of its size and horizon; outside this table, that of "
        "its nearest end."
    )


def _value_or_range(entry: Sensitivity, name: str) -> str:
    if ends := getattr(entry, f"{name}_range", None):
        return f"{number(ends[0])} to {number(ends[1])}"
    return number(getattr(entry, name))


def _published(value: Any) -> str:
    return NOTHING if value is None else f"{float(value):.3g}"


def holdout(laws: Laws) -> Table:
    """Predicted and measured loss of every held-out run."""
    rows: list[tuple[str, ...]] = []
    for family in laws.families:
        for entry in laws.of(family).holdout:
            name = (st.family_name(family), FORM_NAMES[entry.form])
            if not entry.predicted:
                rows.append((*name, entry.reason, NOTHING, NOTHING, NOTHING))
            rows += [
                (*name, run, f"{predicted:.4f}", f"{actual:.4f}", f"{100 * error:+.2f} %")
                for run, predicted, actual, error in zip(
                    entry.held_out,
                    entry.predicted,
                    entry.actual,
                    entry.relative_error,
                    strict=bool(entry.predicted),
                )
            ]
    return Table(columns=("family", "form", "run", "predicted", "measured", "error"), rows=tuple(rows))


def late_positions(laws: Laws) -> Table:
    """LSTM less Transformer at late positions, one row a matched pair."""
    late = laws.late_positions
    rows = tuple(
        (
            short(pair.N_lstm),
            short(pair.N_transformer),
            f"{pair.difference_nats:+.4f}",
            interval_text(pair.interval) or NOTHING,
        )
        for pair in late.pairs
    )
    caption = f"mean over positions from {late.position_from} on; above 0 the Transformer is better"
    columns = (
        "N of the LSTM",
        "N of the Transformer",
        "LSTM less Transformer, nats",
        f"{interval_words()} interval",
    )
    return Table(columns=columns, rows=rows, caption=caption)


def rollout(laws: Laws, kind: str) -> Table:
    """How well each form, fitted below a cut, predicts the runs beyond it: one row per form.

    Args:
        kind: `joint` for the laws of N and D on all runs; `single` for those of one variable, beside the
            joint laws on the runs that those predict.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    sentences = []
    for family in laws.families:
        name = st.family_name(family)
        for entry in laws.of(family).rollout:
            if entry.kind != kind or not entry.scores:
                continue
            for score in entry.scores:
                cells.setdefault((name, score.form), {})[entry.axis] = _rollout_cell(score, entry)
            sentences += [f"{name}, {AXIS_NAMES[entry.axis]}: {entry.sentence}"] if entry.sentence else []
    rows = [
        (name, form, *(by_axis.get(axis, NOTHING) for axis in AXIS_NAMES))
        for (name, form), by_axis in cells.items()
    ]
    caption = (
        "Mean |predicted/measured - 1| over the windows that every compared form predicted; in "
        "brackets, over those that the form itself predicted. " + " ".join(sentences)
    )
    columns = ("family", "form", *(f"on {words}" for words in AXIS_NAMES.values()))
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def _rollout_cell(score: FormScore, entry: Comparison) -> str:
    if score.n_refused == entry.n_windows:
        return "not identified in any window" if entry.n_windows > 1 else "not identified"
    refused = f"; {score.n_refused} of {entry.n_windows} refused" if score.n_refused else ""
    return f"{percent(score.error)} ({percent(score.own_error)}{refused})"


def approaches(laws: Laws) -> Table:
    """The exponents of N_opt and D_opt by every approach, and N_opt at the largest compute."""
    rows = []
    for family in laws.families:
        for each in laws.of(family).approaches.approaches:
            at = next((optimum for optimum in reversed(each.optima) if not optimum.extrapolated), None)
            rows.append(
                (
                    st.family_name(family),
                    f"{each.approach}: {ROUTES.get(each.method, each.method)}",
                    with_interval(each.a, each.a_interval),
                    with_interval(each.b, each.b_interval),
                    NOTHING if at is None else with_interval(at.N_opt, at.N_opt_interval),
                    NOTHING if at is None else f"{at.C:.2e}",
                    each.reason or NOTHING,
                )
            )
    columns = ("family", "approach", "a: N_opt ~ C^a", "b: D_opt ~ C^b", "N_opt", "at C, FLOPs", "why not")
    return Table(
        columns=columns,
        rows=tuple(rows),
        caption="Approaches of Hoffmann 2022: 1 envelope, 2 slices of equal compute, 3 a law of N and D.",
    )


def efficiencies(laws: Laws) -> Table:
    """What another family's parameters, tokens and compute are worth in the reference's."""
    rows = [
        (
            f"{st.family_name(each.family)} in {st.family_name(shared.reference)}s",
            shared.formula,
            *(with_interval(getattr(each, name), each.intervals[name]) for name in ("m_C", "m_N", "m_D")),
        )
        for shared in laws.shared
        for each in shared.efficiencies
    ]
    columns = ("worth of", "shared law", "one FLOP", "one parameter", "one token")
    caption = (
        "One law for all families, with shared exponents: with C FLOPs the first family reaches what the "
        f"second reaches with (one FLOP) x C, both at their best sizes. {interval_words()} intervals."
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def compared(found: ComparedColumn) -> Table:
    """What one value of a column is worth in the reference's; where nothing was fitted, why not."""
    rows = []
    for law in found.laws:
        rows += [
            (
                each.family,
                str(found.n_runs.get(each.family, 0)),
                law.formula,
                *(with_interval(getattr(each, name), each.intervals[name]) for name in ("m_C", "m_N", "m_D")),
                "",
            )
            for each in law.efficiencies
        ]
        if law.reason:
            rows.append((NOTHING, "", law.formula, NOTHING, NOTHING, NOTHING, law.reason))
    reference = found.laws[0].reference
    columns = (found.by, "runs", "shared law", "one FLOP", "one parameter", "one token", "why not")
    caption = (
        f"In the unit of {reference} ({found.n_runs.get(reference, 0)} runs): with C FLOPs the first reaches "
        f"what {reference} reaches with (one FLOP) x C, both at their best sizes and rates. 90 % intervals."
    ) + f" {found.losses}" * bool(found.losses)
    if not any(row[-1] for row in rows):
        return Table(columns=columns[:-1], rows=tuple(row[:-1] for row in rows), caption=caption)
    return Table(columns=columns, rows=tuple(rows), caption=caption)


def shared_floors(found: SharedFloor) -> Table:
    """A row a data set: its own irreducible loss, and its law with the shared one."""
    names = [name for name in found.data_sets[0].parameters if name != found.floor]
    rows = [
        (
            each.value,
            str(each.n_rows),
            with_interval(each.E, each.E_interval)
            if each.E is not None
            else f"not identified: {each.reason}",
            *(
                with_interval(each.parameters[name], each.intervals.get(name, (None, None)))
                if found.identified
                else NOTHING
                for name in names
            ),
        )
        for each in found.data_sets
    ]
    shared = ""
    if found.E is not None:
        shared = f" Shared: {found.floor} = {with_interval(found.E, found.E_interval)}."
    columns = (found.by, "runs", f"{found.floor} of its own", *(f"{name}, shared" for name in names))
    return Table(columns=columns, rows=tuple(rows), caption=f"{found.form}: {found.sentence()}{shared}")


def learning_curves(laws: Laws) -> Table:
    """How well the end of a run is predicted from its first part."""
    rows = [
        (
            st.family_name(family),
            f"{100 * score.share:.0f} %",
            str(score.n_compared),
            *(percent(score.mean_absolute_error.get(name)) for name in CURVE_FORMS),
            f"{score.n_covered} of {score.n_intervals}",
        )
        for family in laws.families
        for score in laws.of(family).learning_curves.scores
    ]
    columns = ("family", "seen", "runs", "E + B/D^β", "(D_c/D)^α_D", "last loss seen", "in its 90 % interval")
    caption = (
        "Mean error of the last loss at a constant learning rate. The intervals treat the "
        "points of a curve as independent, and are too narrow where they are not."
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def outliers(laws: Laws) -> Table:
    """Runs that a rule caught; none is dropped."""
    rows = [
        (st.family_name(family), flag.run, flag.rule, flag.words)
        for family in laws.families
        for flag in laws.of(family).outliers.flags
    ]
    return Table(columns=("family", "run", "rule", "why"), rows=tuple(rows))


def critical_batch(laws: Laws) -> Table:
    """Steps and tokens to each loss in the limits of a large and of a small batch."""
    rows = [
        (
            st.family_name(family),
            short(level.N),
            f"{level.loss:.3f}",
            *(with_interval(getattr(level, name), level.intervals.get(name)) for name in LEVEL_QUANTITIES),
            level.warning or NOTHING,
        )
        for family in laws.families
        for level in laws.of(family).critical_batch.levels
        if level.B_crit is not None
    ]
    columns = ("family", "N", "loss", "S_min, steps", "E_min, tokens", "B_crit, tokens", "warning")
    return Table(columns=columns, rows=tuple(rows), caption=" ".join(_batch_sentences(laws)))


def _batch_sentences(laws: Laws) -> Iterator[str]:
    for family in laws.families:
        law, name = laws.of(family).critical_batch, st.family_name(family)
        if not law.measured:
            continue
        if law.reason:
            yield f"{name}: no critical batch: {law.reason}."
        elif law.size_dependence is not None:
            values = ", ".join(
                f"{key} = {with_interval(value, law.intervals.get(key))}"
                for key, value in law.parameters.items()
            )
            yield f"{name}: B_crit = B_star/L^(1/alpha_B) with {values}. {law.size_dependence.sentence}"

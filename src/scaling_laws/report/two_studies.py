"""Two studies or tables over one another: their runs, their laws, and the differences with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.allocation.frontier import envelope, size_curves
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import Fit
from scaling_laws.laws.fit.intervals import (
    FEWEST_CLUSTERS,
    Interval,
    bootstrap_together,
    percentile_interval,
)
from scaling_laws.laws.fit.level import interval_percentiles, interval_words
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray, Law, in_columns
from scaling_laws.laws.plan.choice import LABELS, best_joint_fit
from scaling_laws.laws.results.decision import Decision, decide_between
from scaling_laws.laws.results.family import fits_of_runs
from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.report import style as st
from scaling_laws.report.content import Chapter, Page, Titled
from scaling_laws.report.decisions import decision_table, decision_words
from scaling_laws.report.findings import measured
from scaling_laws.report.made_with import manifest
from scaling_laws.report.pictures import Picture, picture
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import NOTHING, Table, interval_text, number, with_interval
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import MAIN_CORPUS
from scaling_laws.study.runs import Study

QUESTION = "What differs between these runs?"
NATS = "nats/token"
UNITLESS = ("", "1", NATS)
"""Units of parameters whose difference says something; of all others it is the ratio."""
POINTS = 60
BEYOND = 10.0
"""Times the most compute that both reach: where the page decides between them."""
DECISION_RESAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two.

    Attributes:
        name: that no other has: "quick", or "quick (2)" beside another quick.
    """

    name: str
    study: Study
    laws: Laws
    tables: StudyTables


def two_sides(first: tuple[Study, Laws], second: tuple[Study, Laws]) -> tuple[Side, Side]:
    """Both with names that differ."""
    names = [study.name for study, _ in (first, second)]
    if names[0] == names[1]:
        names[1] += " (2)"
    sides = [
        Side(name=name, study=study, laws=laws, tables=StudyTables.read(study, laws))
        for name, (study, laws) in zip(names, (first, second), strict=True)
    ]
    return sides[0], sides[1]


def common_families(sides: Sequence[Side]) -> list[tuple[str, str]]:
    """Families to compare: those of one name; else the only one of each.

    Raises:
        InputError: no family is in both.
    """
    ours, theirs = (side.tables.families for side in sides)
    if shared := [family for family in ours if family in theirs]:
        return [(family, family) for family in shared]
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    words = " and ".join(f"{side.name} of {', '.join(side.tables.families) or 'none'}" for side in sides)
    raise InputError(f"no family is in both: there are runs in {words}")


def pairing(sides: Sequence[Side]) -> tuple[bool, str]:
    """Whether the draws of the two are of the same trainings, and the sentence that says so."""
    ours, theirs = (_identities(side.tables.runs) for side in sides)
    shared = len(ours & theirs)
    if ours and ours == theirs:
        return True, (
            "Both use the same runs, so the intervals of differences are paired: each resample "
            "weights a training equally in both."
        )
    if shared:
        runs_are = "1 run is" if shared == 1 else f"{shared} runs are"
        return False, (
            f"{runs_are} in both: each resample gives a training of both the same weight, so that the "
            "intervals of differences are of what the two do not share. A law of fewer than "
            f"{FEWEST_CLUSTERS} trainings treats the two as independent, and its intervals are too wide."
        )
    return False, "No run is in both: the intervals of differences are those of independent runs."


def other_text(sides: Sequence[Side]) -> str:
    """What to say where the two were measured on different text; empty where they were not, or nobody knows.

    A token of one corpus, or of one tokenizer, is not one of another: only bits per byte compare.
    """
    hashes = [
        set(side.study.runs["manifest_hash"].dropna()) if "manifest_hash" in side.study.runs else set()
        for side in sides
    ]
    if not all(hashes) or hashes[0] & hashes[1]:
        return ""
    column = f"bits_per_byte_{MAIN_CORPUS}"
    known = [(side.name, side.study.runs[column].min()) for side in sides if column in side.study.runs]
    lowest = " and ".join(f"{name} {bits:.3f}" for name, bits in known)
    words = (
        "The two were measured on different text: losses in nats per token cannot be compared, exponents can."
    )
    return words + (f" Lowest losses in bits per byte: {lowest}." if len(known) == len(sides) else "")


def _identities(runs: pd.DataFrame) -> set[tuple[Any, ...]]:
    """What makes a run the same in two tables: its name, N and D; of a row without a name its loss, too."""
    return set(_identity(runs))


def _identity(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = [name for name in ("run", "N", "D") if name in runs]
    if len(runs) and runs["run"].str.fullmatch(r"(\d+: )?row \d+").all():
        columns.append("loss")
    return list(runs[columns].itertuples(index=False, name=None)) if len(runs) else []


def _trainings_told_apart(sides: Sequence[Side], families: tuple[str, str]) -> list[pd.DataFrame]:
    """The runs of each; only a training of which a run is in both has one name in both.

    Rows without a name are "row 2" in every table.
    """
    runs = [side.tables.of(family) for side, family in zip(sides, families, strict=True)]
    theirs = _identities(runs[1])
    shared = set(runs[0].loc[[each in theirs for each in _identity(runs[0])], "trunk"])
    return [
        table.assign(
            trunk=table["trunk"].where(table["trunk"].isin(shared), f"{side.name}: " + table["trunk"])
        )
        for side, table in zip(sides, runs, strict=True)
    ]


def _drawn_together(sides: Sequence[Side], families: tuple[str, str]) -> dict[str, list[Law]]:
    """Paired draws of each law that both identify, by form, where the two share some of their runs alone."""
    runs = _trainings_told_apart(sides, families)
    ours, theirs = (_identities(each) for each in runs)
    if not ours & theirs or ours == theirs:
        return {}
    known = [
        {fit.form: fit for fit in side.laws.of(family).fits if fit.identified and fit.resamples}
        for side, family in zip(sides, families, strict=True)
    ]
    both = known[0].keys() & known[1].keys()
    fits: list[dict[str, Fit[Any]]] = []
    for side, table in zip(sides, runs, strict=True):
        skipped = tuple(form for form in FORMS.values() if form.form not in both)
        made = fits_of_runs(
            table, envelope(size_curves(table)), delta=side.laws.manifest.delta or DEFAULT_DELTA, skip=skipped
        )
        fits.append({fit.form.form: fit for fit, _ in made if fit.identified})
    return {
        form: draws
        for form in both & fits[0].keys() & fits[1].keys()
        if all(_is_same(of[form], by_form[form]) for of, by_form in zip(fits, known, strict=True))
        and (draws := bootstrap_together([of[form] for of in fits])) is not None
    }


def _is_same(fit: Fit[Any], law: FittedLaw) -> bool:
    """Whether a fit to a table's rows is the law that is compared."""
    return fit.objective is not None and bool(np.isclose(fit.objective, law.objective or 0.0, rtol=1e-6))


def differences(sides: Sequence[Side]) -> Table:
    """Every parameter of laws that both identify, and the second less (or over) the first, 90 % intervals."""
    paired, sentence = pairing(sides)
    elsewhere = other_text(sides)
    rows = [
        row
        for ours, theirs in common_families(sides)
        for row in _rows(
            ours,
            sides[0].laws.of(ours).fits,
            sides[1].laws.of(theirs).fits,
            paired,
            _drawn_together(sides, (ours, theirs)),
            one_text=not elsewhere,
        )
    ]
    a, b = (side.name for side in sides)
    chance = f" By chance about {max(round(len(rows) / 10), 1)} of {len(rows)} would leave no difference out."
    return Table(
        columns=("law", "quantity", a, b, "difference", "apart"),
        rows=tuple(rows),
        caption=f"Difference: {b} less {a}; of scales (×) {b} over {a}. "
        f"Brackets: {interval_words()} intervals. "
        f"{sentence}{chance * bool(rows)}{' ' * bool(elsewhere)}{elsewhere}",
    )


def _rows(
    family: str,
    ours: Sequence[FittedLaw],
    theirs: Sequence[FittedLaw],
    paired: bool,
    together: Mapping[str, list[Law]],
    one_text: bool,
) -> Iterator[tuple[str, ...]]:
    """Of different text the parameters in nats are left out."""
    others = {fit.form: fit for fit in theirs if fit.identified}
    for fit in ours:
        other = others.get(fit.form)
        if other is None or not fit.identified:
            continue
        name = fit.formula if family == "all" else f"{st.family_name(family)}: {fit.formula}"
        for quantity in (*fit.parameters, *fit.derived):
            values = fit.value(quantity), other.value(quantity)
            if values[0] is None or values[1] is None or _is_assumed(fit, quantity):
                continue
            if not one_text and fit.units.get(quantity) == NATS:
                continue
            ratio = fit.units.get(quantity, "1") not in UNITLESS
            if fit.form in together:
                draws = [_of_draws(each, quantity) for each in together[fit.form]]
                both = draws[0], draws[1]
            else:
                alike = paired and fit.n_clusters == other.n_clusters
                both = paired_draws(_draws(fit, quantity), _draws(other, quantity), paired=alike)
            difference, apart = _difference(values[0], values[1], both, ratio=ratio)
            cells = (with_interval(each.value(quantity), each.interval(quantity)) for each in (fit, other))
            yield (name, quantity, *cells, difference, apart)


def _is_assumed(fit: FittedLaw, quantity: str) -> bool:
    """Whether a derived exponent is the form's and not the runs': a_opt of Chinchilla's tied law is 1/2."""
    return quantity in fit.derived and len(set(_draws(fit, quantity))) == 1


def _difference(
    ours: float, theirs: float, both: tuple[FloatArray, FloatArray], *, ratio: bool
) -> tuple[str, str]:
    """The difference (or ratio) with its interval, by draws, and whether the interval leaves none out."""
    interval: Interval | None = None
    if len(both[0]):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            interval = percentile_interval(both[1] / both[0] if ratio else both[1] - both[0])
    if ratio:
        words = f"×{number(theirs / ours)} {interval_text(interval)}".strip() if ours else NOTHING
    else:
        words = f"{theirs - ours:+.3g} {interval_text(interval)}".strip()
    none = 1.0 if ratio else 0.0
    if interval is None or interval[0] is None or interval[1] is None:
        return words, "not known"
    return words, "yes" if not interval[0] <= none <= interval[1] else "no"


def paired_draws(ours: FloatArray, theirs: FloatArray, *, paired: bool) -> tuple[FloatArray, FloatArray]:
    """Draws to subtract: draw by draw where both are of the same trainings, else in every combination."""
    if paired and len(ours) == len(theirs):
        return ours, theirs
    grid = np.meshgrid(ours, theirs)
    return grid[0].ravel(), grid[1].ravel()


def _draws(fit: FittedLaw, quantity: str) -> FloatArray:
    return np.empty(0) if fit.draws is None else _of_draws(fit.draws, quantity)


def _of_draws(law: Law, quantity: str) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.atleast_1d(np.asarray(getattr(law, quantity), dtype=np.float64))


def compared_page(sides: tuple[Side, Side]) -> Page:
    """The page of two studies.

    Raises:
        InputError: no family is in both.
    """
    families = common_families(sides)
    table = differences(sides)
    headline = _only_exponents(table)
    elsewhere = other_text(sides)
    pictures = tuple(
        each
        for place, family in enumerate(families)
        if (each := _picture(sides, family, place, one_text=not elsewhere)) is not None
    )
    apart = [row for row in table.rows if row[-1] == "yes"]
    decisions = () if elsewhere else _decisions(sides, families)
    doubts = [f"{side.name}: {warning}" for side in sides for warning in side.laws.warnings]
    return Page(
        title=f"{sides[0].name} and {sides[1].name}",
        question=QUESTION,
        answer=(" ".join(_answer(sides, families, table, len(apart), elsewhere)),),
        headline=headline,
        chapters=(
            Chapter(
                name="laws",
                question="Where do the runs and their laws lie?",
                pictures=pictures,
                sentences=() if pictures else ("No law of N and D is identified in both.",),
            ),
            *_parameters(table, headline),
            Chapter(
                name="decision",
                question="Which one to take at ten times the compute?",
                sentences=tuple(decision_words(decisions, None).splitlines())
                if decisions
                else (elsewhere or "No law of N and D is identified in both.",),
                tables=(Titled("", decision_table(decisions), open=True),) if decisions else (),
            ),
            Chapter(
                name="doubts",
                question="How far to trust it?",
                sentences=() if doubts else ("The fits have no warnings.",),
                listed=tuple(doubts),
            ),
        ),
        manifest=tuple(
            (f"{side.name}: {key}", value) for side in sides for key, value in manifest(side.study, side.laws)
        ),
    )


def _parameters(table: Table, headline: Table) -> Iterator[Chapter]:
    """All differences, where the headline has not shown them all."""
    if not table.rows:
        yield Chapter(
            name="differences",
            question="Which parameters differ?",
            sentences=("No law is identified in both.",),
        )
    elif headline.rows != table.rows:
        yield Chapter(
            name="differences", question="Which parameters differ?", tables=(Titled("", table, open=True),)
        )


def _only_exponents(table: Table) -> Table:
    """What a reader looks for first: the rows of a_opt, and the laws' exponents where there are none."""
    rows = tuple(row for row in table.rows if row[1] == "a_opt") or table.rows[:6]
    return Table(columns=table.columns, rows=rows, caption=table.caption)


def _answer(
    sides: Sequence[Side],
    families: Sequence[tuple[str, str]],
    table: Table,
    n_apart: int,
    elsewhere: str,
) -> Iterator[str]:
    ours, theirs = families[0]
    a, b = sides
    yield f"{a.name}: {measured(a.tables, ours)}"
    yield f"{b.name}: {measured(b.tables, theirs)}"
    fits = [best_joint_fit(side.laws.of(family))[0] for side, family in zip(sides, families[0], strict=True)]
    if fits[0] is not None and fits[1] is not None and not elsewhere:
        C = min(_largest_C(side, family) for side, family in zip(sides, families[0], strict=True))
        losses = [float(fit.law.loss(*fit.law.optimum(C))) for fit in fits if fit is not None]
        yield (
            f"At {C:.2g} FLOPs, the most that both reach, the best size ends at {losses[0]:.3f} nats by the "
            f"law of {a.name} and {losses[1]:.3f} by that of {b.name}."
        )
    yield f"{n_apart} of {len(table.rows)} parameters differ by more than their 90 % intervals allow."
    counts = [n_label(side.tables, side.laws) for side in sides]
    if counts[0] != counts[1]:
        yield f"N is counted differently: {counts[0]} and {counts[1]}."
    yield elsewhere or "Losses can be compared on the same text and tokens only."


def _decisions(sides: Sequence[Side], families: Sequence[tuple[str, str]]) -> tuple[Decision, ...]:
    """Which side to take at ten times the most that both reach; families without a law are left out."""
    found = []
    for of_family in families:
        told_apart = _trainings_told_apart(sides, of_family)
        parts = [table.assign(side=side.name) for side, table in zip(sides, told_apart, strict=True)]
        C = BEYOND * min(_largest_C(side, family) for side, family in zip(sides, of_family, strict=True))
        first, second = (side.name for side in sides)
        runs = pd.concat(parts, ignore_index=True)
        try:
            decision, _ = decide_between(
                runs,
                "side",
                first,
                second,
                C,
                noise=seed_noise(runs),
                family="" if of_family[0] == "all" else of_family[0],
                resamples=DECISION_RESAMPLES,
            )
        except InputError:  # no law of both is identified: the chapters above say why
            continue
        found.append(decision)
    return tuple(found)


def _largest_C(side: Side, family: str) -> float:
    runs = side.tables.of(family)
    return FLOPS_PER_PARAMETER_TOKEN * float((runs["N"] * runs["D"]).max())


def _picture(
    sides: tuple[Side, Side], families: tuple[str, str], place: int, *, one_text: bool
) -> Picture | None:
    fits = [best_joint_fit(side.laws.of(family))[0] for side, family in zip(sides, families, strict=True)]
    if not any(fits):
        return None
    name = "" if families[0] == "all" else f": {st.family_name(families[0])}"
    words = "; ".join(
        f"{side.name}: " + (f"{LABELS.get(fit.form, fit.form)} law" if fit else "no law is identified")
        for side, fit in zip(sides, fits, strict=True)
    )
    return picture(
        name=f"two_studies_{place + 1}",
        title=f"Runs, and the best size at each compute{name}",
        chapter="compute",
        description=f"{words}. Dashed: beyond the runs.",
        draw=st.styled(_draw),
        data=(sides, families, fits, one_text),
    )


def _draw(data: tuple[Sequence[Side], Sequence[str], Sequence[FittedLaw | None], bool]) -> Figure:
    """Left: every run, and the loss of the best size. Right: the best size.

    Losses of different text have no axis in common: runs and best sizes then share the one panel.
    """
    *sides_and_laws, one_text = data
    if one_text:
        figure, (losses, sizes) = st.panels(2, width=11.0, height=4.9)
        panels = {"loss": losses, "N": sizes}
    else:
        figure, (sizes,) = st.panels(1, width=7.0, height=4.9)
        panels = {"N": sizes}
    of_runs = next(iter(panels))
    all_C: list[float] = []
    values: dict[str, list[float]] = {what: [] for what in panels}
    for place, (side, family, fit) in enumerate(zip(*sides_and_laws, strict=True)):
        runs = side.tables.of(family)
        C = FLOPS_PER_PARAMETER_TOKEN * runs["N"] * runs["D"]
        look: dict[str, Any] = {"color": st.FAMILY_COLOURS[place], "marker": st.FAMILY_MARKERS[place]}
        look |= {"linestyle": "none", "markersize": 4, "alpha": 0.7, "label": st.plain(side.name)}
        panels[of_runs].plot(C, runs[of_runs], **look)
        all_C += list(C)
        values[of_runs] += list(runs[of_runs])
        if fit is not None:
            ends = float(C.min()), float(C.max())
            values["N"] += [float(N) for N in fit.law.optimum(np.array(ends))[0]]
            _lines(panels, fit, ends, place, st.plain(side.name))
    if one_text:
        st.log_y(losses, values["loss"], st.LOSS_LABEL)
        losses.set_title("Runs, and the best size's loss")
    st.log_y(sizes, values["N"], "best N, parameters" if one_text else "N, parameters", margin=0.2)
    sizes.set_title("Best size" if one_text else "Runs, and the best size")
    for panel in panels.values():
        st.log_x(panel, all_C, "6ND, training FLOPs")
        st.legend_below(panel, columns=2)
    return figure


def _lines(
    panels: Mapping[str, Axes], fit: FittedLaw, ends: tuple[float, float], place: int, name: str
) -> None:
    """Loss and N of the best size by one law: solid with a band where there are runs, dashed beyond."""
    colour = st.FAMILY_COLOURS[place]
    inside = np.geomspace(*ends, POINTS)
    beyond = np.geomspace(ends[0] / 3, ends[1] * 3, POINTS)
    for C, line in ((beyond, (0, (4, 3))), (inside, "-")):
        N, D = fit.law.optimum(C)
        best = {"loss": fit.law.loss(N, D), "N": N}
        label = f"law of {name}" if line == "-" else None
        for what, panel in panels.items():
            panel.plot(C, best[what], color=colour, linestyle=line, linewidth=1.3, label=label)
    if fit.draws is not None:
        draws = in_columns(fit.draws)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            N, D = draws.optimum(inside)
            best = {"loss": draws.loss(N, D), "N": N}
            for what, panel in panels.items():
                low, high = np.nanpercentile(best[what], interval_percentiles(), axis=0)
                panel.fill_between(inside, low, high, color=colour, alpha=st.BAND_ALPHA, linewidth=0)


def summary(page: Page) -> str:
    """The answer and the exponents, for the terminal."""
    return "\n".join([*page.answer, "", page.headline.text()])

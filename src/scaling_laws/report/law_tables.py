"""Tables of what tests the laws and what follows from them: roll-outs, approaches, families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws
from scaling_laws.report.text import NOTHING, Table, interval_text, number, short

AXIS_NAMES = {"N": "larger N", "D": "larger D", "C": "more compute"}
ROUTES = {"envelope": "envelope of final losses", "learning_curves": "envelope of learning curves"}
ROUTES |= {"parabola": "slices, parabola", "akima": "slices, Akima"}
CURVE_FORMS = ("power_d", "kaplan_d", "last loss seen")
LEVEL_QUANTITIES = ("S_min", "E_min", "B_crit")


def rollout(laws: Laws, kind: str) -> Table:
    """How well each form, fitted below a cut, predicts the runs beyond it: one row a form.

    Args:
        kind: `joint` for the laws of N and D on all runs; `single` for those of one variable, beside the
            joint laws on the runs that those are asked about.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    sentences = []
    for entry in laws.get("rollout", ()):
        if entry["kind"] != kind or not entry["scores"]:
            continue
        name = st.family_name(entry["family"])
        for score in entry["scores"]:
            cells.setdefault((name, score["form"]), {})[entry["axis"]] = _rollout_cell(score, entry)
        sentences += (
            [f"{name}, {AXIS_NAMES[entry['axis']]}: {entry['sentence']}"] if entry["sentence"] else []
        )
    rows = [
        (name, form, *(by_axis.get(axis, NOTHING) for axis in AXIS_NAMES))
        for (name, form), by_axis in cells.items()
    ]
    caption = (
        "Mean |predicted/measured - 1| over the windows that every compared form predicted; in brackets, "
        "over those that it did. " + " ".join(sentences)
    )
    columns = ("family", "form", *(f"on {words}" for words in AXIS_NAMES.values()))
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def _rollout_cell(score: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    if score["n_refused"] == entry["n_windows"]:
        return "not identified in any window" if entry["n_windows"] > 1 else "not identified"
    refused = f"; {score['n_refused']} of {entry['n_windows']} refused" if score["n_refused"] else ""
    return f"{_percent(score['error'])} ({_percent(score['own_error'])}{refused})"


def approaches(laws: Laws) -> Table:
    """The exponents of N_opt and D_opt by every approach, and N_opt at the largest compute."""
    rows = []
    for entry in laws.get("approaches", ()):
        for one in entry["approaches"]:
            name = f"{one['approach']}: {ROUTES.get(one['method'], one['method'])}"
            inside = [point for point in one["optima"] if not point["extrapolated"]]
            at = inside[-1] if inside else None
            rows.append(
                (
                    st.family_name(entry["family"]),
                    name,
                    _with_interval(one["a"], one["a_interval"]),
                    _with_interval(one["b"], one["b_interval"]),
                    NOTHING if at is None else _size_with_interval(at),
                    NOTHING if at is None else f"{at['C']:.2e}",
                    one["reason"] or NOTHING,
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
    rows = []
    for entry in laws.get("families", ()):
        for one in entry["efficiencies"]:
            cells = [_with_interval(one[name], one["intervals"][name]) for name in ("m_C", "m_N", "m_D")]
            reference = f"{st.family_name(one['family'])} in {st.family_name(entry['reference'])}s"
            rows.append((reference, entry["formula"], *cells))
    columns = ("worth of", "shared law", "one FLOP", "one parameter", "one token")
    caption = (
        "One law for all families, with shared exponents: with C FLOPs the first family reaches what the "
        "second reaches with (one FLOP) x C, both at their best sizes. 90 % intervals."
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def learning_curves(laws: Laws) -> Table:
    """How well the end of a run is predicted from its first part."""
    rows = []
    for entry in laws.get("learning_curves", ()):
        for score in entry["scores"]:
            errors = score["mean_absolute_error"]
            rows.append(
                (
                    st.family_name(entry["family"]),
                    f"{100 * score['share']:.0f} %",
                    str(score["n_compared"]),
                    *(_percent(errors.get(name)) for name in CURVE_FORMS),
                    f"{score['n_covered']} of {score['n_intervals']}",
                )
            )
    columns = ("family", "seen", "runs", "E + B/D^β", "(D_c/D)^α_D", "last loss seen", "in its 90 % interval")
    caption = (
        "Mean error of the last loss at a constant learning rate. The intervals take a curve's points as "
        "independent and are too narrow where they are not."
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def outliers(laws: Laws) -> Table:
    """Runs that a rule caught; none is dropped."""
    rows = [
        (st.family_name(entry["family"]), flag["run"], flag["rule"], flag["words"])
        for entry in laws.get("outliers", ())
        for flag in entry["flags"]
    ]
    return Table(columns=("family", "run", "rule", "why"), rows=tuple(rows))


def critical_batch(laws: Laws) -> Table:
    """Steps and tokens to each loss in the limits of a large and of a small batch."""
    rows = []
    for entry in laws.get("critical_batch", ()):
        for level in entry.get("levels", ()):
            if level["B_crit"] is None:
                continue
            intervals = level["intervals"]
            rows.append(
                (
                    st.family_name(entry["family"]),
                    short(level["N"]),
                    f"{level['loss']:.3f}",
                    *(_with_interval(level[name], intervals.get(name)) for name in LEVEL_QUANTITIES),
                    level["warning"] or NOTHING,
                )
            )
    columns = ("family", "N", "loss", "S_min, steps", "E_min, tokens", "B_crit, tokens", "warning")
    sentences = list(_batch_sentences(laws))
    return Table(columns=columns, rows=tuple(rows), caption=" ".join(sentences))


def _batch_sentences(laws: Laws) -> Iterator[str]:
    for entry in laws.get("critical_batch", ()):
        name = st.family_name(entry["family"])
        if entry["reason"]:
            yield f"{name}: no critical batch: {entry['reason']}."
            continue
        parameters, intervals = entry["parameters"], entry["intervals"]
        yield (
            f"{name}: B_crit = B_star/L^(1/alpha_B) with "
            + ", ".join(
                f"{key} = {_with_interval(parameters[key], intervals.get(key))}" for key in parameters
            )
            + f". {entry['size_dependence']['sentence']}"
        )
    for entry in laws.get("training_time", ()):
        if not entry["reason"]:
            yield f"{st.family_name(entry['family'])}: {entry['identity']}"


def _with_interval(value: float | None, interval: Any) -> str:
    return NOTHING if value is None else f"{number(value)} {interval_text(interval)}".strip()


def _size_with_interval(at: Mapping[str, Any]) -> str:
    return _with_interval(at["N_opt"], at["N_opt_interval"])


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.2g} %"

"""What a family is worth in another: parameters, tokens and FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.formulas import form_name
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import with_interval

WORTHS = {"m_N": "one parameter", "m_D": "one token", "m_C": "one FLOP"}
NEEDS_FAMILIES = "Needs a law that two families share: `scaling-laws sweep configs/sweeps/families.yaml`"


@dataclass(frozen=True, kw_only=True)
class Worths:
    """What families are worth in the reference's, by shared laws.

    Attributes:
        table: form, formula, reference, family, worth (of `WORTHS`), value, low, high.
        families: in the order of their colours.
    """

    table: pd.DataFrame
    families: Sequence[str]


def _describe(data: Worths) -> str:
    """What one FLOP of each family is worth, by the first law that was fitted."""
    table = data.table
    first = table[(table["form"] == table["form"].iloc[0]) & (table["worth"] == "m_C")]
    words = [
        f"one FLOP spent on {st.family_name(row['family'])}s is worth "
        f"{with_interval(row['value'], (row['low'], row['high']))}"
        for row in first.to_dict("records")
    ]
    reference = st.family_name(str(table["reference"].iloc[0]))
    return f"By {table['formula'].iloc[0]}, {', '.join(words)} spent on {reference}s."


def _draw(data: Worths) -> Figure:
    """One panel each for parameters, tokens and FLOPs; a row a shared law and family."""
    table = data.table
    keys = list(dict.fromkeys(zip(table["family"], table["form"], strict=True)))
    figure, axes = st.panels(len(WORTHS), width=11.5, height=1.9 + 0.34 * len(keys))
    unit = f"of those of a {st.family_name(str(table['reference'].iloc[0]))} (= 1)"
    for panel, (worth, name) in zip(axes, WORTHS.items(), strict=True):
        _forest(panel, table[table["worth"] == worth], keys, data.families)
        panel.set_title(f"{name} is worth")
        panel.set_xlabel(unit)
    labels = [f"{st.plain(st.family_name(family))}, {form_name(form)}" for family, form in keys]
    st.name_rows(axes, labels)
    return figure


@figure(
    "family_efficiency",
    "What one family is worth in another",
    "family",
    order=2,
    draw=_draw,
    describe=_describe,
)
def family_efficiency(study: StudyTables, laws: Laws) -> Worths | str:
    """Of all families that share a law."""
    rows = [
        (shared.form, shared.formula, shared.reference, each.family, worth, getattr(each, worth))
        + (each.intervals.get(worth) or (None, None))
        for shared in laws.shared
        for each in shared.efficiencies
        for worth in WORTHS
    ]
    if not rows:
        reasons = "; ".join(dict.fromkeys(shared.reason for shared in laws.shared if shared.reason))
        return NEEDS_FAMILIES + (f" ({reasons})." if reasons else ".")
    columns = ["form", "formula", "reference", "family", "worth", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns).astype({"value": float, "low": float, "high": float})
    families = st.families_of([*study.families, *table["family"], *table["reference"]])
    return Worths(table=table, families=families)


def _forest(axes: Axes, table: pd.DataFrame, keys: list[tuple[str, str]], families: Sequence[str]) -> None:
    for row in table.to_dict("records"):
        place = keys.index((row["family"], row["form"]))
        style = st.family_style(row["family"], families) | {"linestyle": "none"}
        axes.plot([row["low"], row["high"]], [place, place], color=style["color"], linewidth=1.6)
        axes.plot([row["value"]], [place], **style)
    axes.axvline(1, color=st.INK, linewidth=0.9)
    st.log_x(axes, [1.0, *table["value"], *table["low"], *table["high"]], "", margin=0.1)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)

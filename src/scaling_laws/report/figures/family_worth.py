"""What a family is worth in another: parameters, tokens and FLOPs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import form_name
from scaling_laws.report.text import interval_text, number

TITLE_EFFICIENCY = "What one family is worth in another"
WORTHS = {"m_N": "one parameter", "m_D": "one token", "m_C": "one FLOP"}


def efficiencies(laws: Laws) -> pd.DataFrame:
    """form, formula, reference, family, worth (of `WORTHS`), value, low, high: of shared laws."""
    rows = [
        (entry["form"], entry["formula"], entry["reference"], one["family"], worth, one[worth])
        + tuple(one["intervals"].get(worth) or (None, None))
        for entry in laws.get("families", ())
        for one in entry["efficiencies"]
        for worth in WORTHS
    ]
    columns = ["form", "formula", "reference", "family", "worth", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"value": float, "low": float, "high": float})


@st.styled
def draw_efficiencies(tables: StudyTables, laws: Laws) -> Figure:
    """One panel each for parameters, tokens and FLOPs; a row a shared law and family."""
    table = efficiencies(laws)
    if table.empty:
        reasons = "; ".join(
            dict.fromkeys(entry["reason"] for entry in laws.get("families", ()) if entry["reason"])
        )
        because = f" ({reasons})" if reasons else ""
        needs = "a law that two families share: `scaling-laws sweep configs/sweeps/families.yaml`"
        return st.note(TITLE_EFFICIENCY, f"Needs {needs}{because}.")
    keys = list(dict.fromkeys(zip(table["family"], table["form"], strict=True)))
    figure, axes = st.panels(len(WORTHS), width=11.5, height=1.9 + 0.34 * len(keys))
    for panel, (worth, name) in zip(axes, WORTHS.items(), strict=True):
        _forest(panel, table[table["worth"] == worth], keys, tables)
        panel.set_title(f"{name} is worth")
        if panel is not axes[0]:
            panel.set_yticklabels([])
    labels = [f"{st.plain(st.family_name(family))}, {form_name(form)}" for family, form in keys]
    axes[0].set_yticks(range(len(keys)), labels)
    reference = st.family_name(str(table["reference"].iloc[0]))
    unit = f"of those of a {reference} (= 1)"
    for panel in axes:
        panel.set_xlabel(unit)
    return figure


def _forest(axes: Axes, table: pd.DataFrame, keys: list[tuple[str, str]], tables: StudyTables) -> None:
    families = st.families_of([*tables.families, *table["family"], *table["reference"]])
    for family, form, (value, low, high) in zip(
        table["family"], table["form"], _intervals(table), strict=True
    ):
        place = keys.index((family, form))
        style = st.family_style(family, families) | {"linestyle": "none"}
        axes.plot([low, high], [place, place], color=style["color"], linewidth=1.6)
        axes.plot([value], [place], **style)
    axes.axvline(1, color=st.INK, linewidth=0.9)
    st.log_x(axes, [1.0, *table["value"], *table["low"], *table["high"]], "", margin=0.1)
    axes.set_yticks(range(len(keys)))
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def describe_efficiencies(tables: StudyTables, laws: Laws) -> str:
    """What one FLOP of each family is worth, by the first law that was fitted."""
    table = efficiencies(laws)
    if table.empty:
        return "No law is shared by two families, so that none is worth anything in another."
    first = table[(table["form"] == table["form"].iloc[0]) & (table["worth"] == "m_C")]
    words = [
        f"one FLOP spent on {st.family_name(family)}s is worth {number(value)} {interval_text((low, high))}"
        for family, (value, low, high) in zip(first["family"], _intervals(first), strict=True)
    ]
    reference = st.family_name(str(table["reference"].iloc[0]))
    return f"By {table['formula'].iloc[0]}, {', '.join(words)} spent on {reference}s."


def _intervals(table: pd.DataFrame) -> list[list[float]]:
    """[value, low, high] of each row."""
    return [[float(one) for one in row] for row in table[["value", "low", "high"]].to_numpy()]


FIGURES = (
    Entry(
        name="family_efficiency",
        title=TITLE_EFFICIENCY,
        paper="",
        question="family",
        draw=draw_efficiencies,
        describe=describe_efficiencies,
    ),
)

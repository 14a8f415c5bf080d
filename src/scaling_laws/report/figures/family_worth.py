"""What a family is worth: blocks used more than once (Kaplan et al. 2020, Figure 17), and its efficiency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.selection import at_common_horizon
from scaling_laws.report import style as st
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import form_name
from scaling_laws.report.text import interval_text, number, short

TITLE_REUSE = "Blocks used more than once"
TITLE_EFFICIENCY = "What one family is worth in another"
TRANSFORMERS = ("transformer", "recurrent_transformer")
REUSE_EXPERIMENTS = ("reuse", "families")
"""Those that train recurrent Transformers beside others, the better first."""
COUNTS = {"N_reused": "N with reuse: each parameter as often as it is used", "N": "N, unique parameters"}
"""Non-embedding both, whatever the laws count."""
WORTHS = {"m_N": "one parameter", "m_D": "one token", "m_C": "one FLOP"}


def reuse_losses(tables: StudyTables) -> pd.DataFrame:
    """n_reuse, N, N_reused, D, loss: Transformers at one horizon, means over equal networks, by N.

    Of the experiment `reuse`, else `families`, at the longest horizon that most of its sizes have. Of several
    learning rates the best. Empty where nothing was reused, or nothing was not.
    """
    for experiment in REUSE_EXPERIMENTS:
        runs = tables.of_experiment(experiment)
        if runs.empty:
            continue
        runs = runs[runs["family"].isin(TRANSFORMERS)]
        runs, _ = at_common_horizon(runs)
        mean = runs.groupby(["n_reuse", "N", "N_reused", "learning_rate"])[["D", "loss"]].mean().reset_index()
        best = mean.sort_values("loss").drop_duplicates(["n_reuse", "N"]).sort_values(["n_reuse", "N"])
        if not best.empty and best["n_reuse"].min() == 1 and best["n_reuse"].max() > 1:
            return best.drop(columns="learning_rate").reset_index(drop=True)
    return pd.DataFrame(columns=["n_reuse", "N", "N_reused", "D", "loss"])


def reuse_gains(losses: pd.DataFrame) -> pd.DataFrame:
    """n_reuse, counted (`N` or `N_reused`), percent, n: loss above that of networks that reuse nothing.

    Both at equal N as counted, the latter interpolated in ln L and ln N; sizes outside their range are passed
    over. `percent` is the mean over n sizes.

    Args:
        losses: of `reuse_losses`.
    """
    plain_ones = losses[losses["n_reuse"] == 1].sort_values("N")
    rows = []
    for n_reuse in sorted(losses.loc[losses["n_reuse"] > 1, "n_reuse"].unique()):
        for counted in COUNTS:
            these = losses[losses["n_reuse"] == n_reuse]
            # Sizes are solved to 2 %: the ends of the range are meant to be equal.
            inside = these[counted].between(plain_ones["N"].min() / 1.03, 1.03 * plain_ones["N"].max())
            these = these[inside]
            if these.empty:
                continue
            log_loss = np.interp(np.log(these[counted]), np.log(plain_ones["N"]), np.log(plain_ones["loss"]))
            percent = 100 * float(np.mean(np.expm1(np.log(these["loss"]) - log_loss)))
            rows.append((n_reuse, counted, percent, len(these)))
    return pd.DataFrame(rows, columns=["n_reuse", "counted", "percent", "n"])


@st.styled
def draw_reuse(tables: StudyTables, laws: Laws) -> Figure:
    """Figure 17. Left: N counts reuse. Right: N is of unique parameters."""
    losses = reuse_losses(tables)
    if losses.empty:
        needs = "recurrent Transformers beside others: `scaling-laws sweep configs/sweeps/reuse.yaml`."
        return st.note(TITLE_REUSE, f"Needs {needs}")
    figure, axes = st.panels(2, width=11.0, height=4.9)
    colours = st.SizeColours(losses["n_reuse"])
    for panel, (counted, label) in zip(axes, COUNTS.items(), strict=True):
        for place, (n_reuse, rows) in enumerate(losses.groupby("n_reuse")):
            once = n_reuse == 1
            look: dict[str, Any] = {
                "color": st.INK if once else colours(float(str(n_reuse))),
                "marker": st.FAMILY_MARKERS[place % len(st.FAMILY_MARKERS)],
                "linestyle": "--" if once else "-",
            }
            by_size = rows.sort_values(counted)
            name = "used once" if once else f"used {n_reuse} times"
            panel.plot(by_size[counted], by_size["loss"], **look, label=name)
        st.log_x(panel, losses[counted], label)
        st.log_y(panel, losses["loss"], st.LOSS_LABEL if panel is axes[0] else "", margin=0.1)
        st.legend_below(panel, columns=4)
    axes[0].set_title("At equal compute")
    axes[1].set_title("At equal parameters")
    figure.suptitle(f"Blocks of a Transformer, D = {short(losses['D'].mean())}", color=st.INK, fontsize=10.5)
    return figure


def describe_reuse(tables: StudyTables, laws: Laws) -> str:
    """By how much the loss of recurrent Transformers is above or below, by the parameter and by the FLOP."""
    gains = reuse_gains(reuse_losses(tables))
    if gains.empty:
        return "No recurrent Transformers were trained beside others of their sizes."
    by_count = gains.pivot(index="n_reuse", columns="counted", values="percent")
    words = [
        f"used {n_reuse} times {_signed(row.get('N'))} at equal parameters and "
        f"{_signed(row.get('N_reused'))} at equal compute"
        for n_reuse, row in by_count.iterrows()
    ]
    return f"The loss, against blocks used once, is for blocks {'; '.join(words)}."


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


def _signed(percent: float | None) -> str:
    return "(no such size)" if percent is None or np.isnan(percent) else f"{percent:+.1f} %"


FIGURES = (
    Entry(
        name="fig17_reuse",
        title=TITLE_REUSE,
        paper="Fig. 17",
        question="family",
        draw=draw_reuse,
        describe=describe_reuse,
    ),
    Entry(
        name="family_efficiency",
        title=TITLE_EFFICIENCY,
        paper="",
        question="family",
        draw=draw_efficiencies,
        describe=describe_efficiencies,
    ),
)

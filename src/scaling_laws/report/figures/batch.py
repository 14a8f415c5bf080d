"""The critical batch and the gradient noise scale against the loss (Kaplan 2020, Figure 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.batch.constant_rate import constant_rate_part
from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.report import style as st
from scaling_laws.report.batches import (
    NEEDS_BATCHES,
    all_curves,
    batch_draws,
    batch_law,
    batch_levels,
    entry_of,
    has_kaplans_tokens,
    why_no_batches,
)
from scaling_laws.report.evidence import Laws, StudyTables, n_label
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import LEVELS
from scaling_laws.report.text import interval_text, number, short

CRITICAL_TITLE = "The critical batch against the loss"
NOISE_TITLE = "The gradient noise scale and the critical batch"
B_LABEL = "$B_{crit}$, tokens"


# --- Figure 10 ------------------------------------------------------------------------------------


@st.styled
def draw_critical(tables: StudyTables, laws: Laws) -> Figure:
    """B_crit of every size and loss with its law, the noise scale there, and the paper's line."""
    family = tables.main_family
    levels = batch_levels(laws, family)
    if levels.empty:
        return st.note(CRITICAL_TITLE, why_no_batches(laws, family))
    figure, (axes,) = st.panels(1, width=9.0, height=5.6)
    colours = st.SizeColours(levels["N"])
    for N in np.unique(levels["N"]):
        of_size, colour = levels[levels["N"] == N], colours(N)
        for inside, part in of_size.groupby("inside"):
            errors = np.nan_to_num([part["B_crit"] - part["B_low"], part["B_high"] - part["B_crit"]])
            face = colour if inside else "none"
            look: dict[str, Any] = {"fmt": "o", "color": colour, "mfc": face, "elinewidth": 0.9, "ms": 5}
            axes.errorbar(part["loss"], part["B_crit"], np.clip(errors, 0, None), **look)
        axes.plot(of_size["loss"], of_size["noise_scale"], "x", color=colour, ms=4.5, alpha=0.8)
    axes.plot([], [], "o", color=st.GREY, label="$B_{crit}$ = $E_{min}/S_{min}$ of one size")
    if not levels["inside"].all():
        axes.plot([], [], "o", color=st.GREY, mfc="none", label="beyond the batches scanned")
    if levels["noise_scale"].notna().any():
        axes.plot([], [], "x", color=st.GREY, label="gradient noise scale")
    loss = np.geomspace(levels["loss"].min() / 1.05, levels["loss"].max() * 1.05, 80)
    law, draws = batch_law(laws, family), batch_draws(laws, family)
    if law is not None:
        axes.plot(loss, law.batch_tokens(loss), color=st.FIT, label=_law_label(laws, family))
        if draws is not None:
            low, high = np.percentile(draws.batch_tokens(loss), LEVELS, axis=0)
            axes.fill_between(loss, low, high, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)
    shown = [*levels["B_crit"], *levels["noise_scale"]]
    if has_kaplans_tokens(tables):
        kaplan = KAPLAN_SINGLE.efficient.of_batch.batch_tokens(loss)
        axes.plot(loss, kaplan, color=st.GREY, linestyle="--", label="Kaplan 2020")
        shown.extend(kaplan)
    st.log_x(axes, loss, st.LOSS_LABEL, margin=0.0)
    axes.invert_xaxis()
    st.log_y(axes, shown, B_LABEL)
    axes.set_title("The critical batch grows as the loss falls (axis reversed)")
    st.legend_below(axes, columns=2)
    colours.bar(figure, [axes], n_label(laws))
    return figure


def describe_critical(tables: StudyTables, laws: Laws) -> str:
    """The law of the critical batch, and whether it depends on size."""
    family = tables.main_family
    levels, entry = batch_levels(laws, family), entry_of(laws, "critical_batch", family)
    if levels.empty:
        return f"No critical batch was measured: {entry['reason']}."
    inside = int(levels["inside"].sum())
    words = (
        f"{st.family_name(str(family))}: {len(levels)} critical batches ({inside} among the batches scanned)"
    )
    if batch_law(laws, family) is None:
        return f"{words}; no law of the loss: {entry['reason']}."
    parameters, intervals = entry["parameters"], entry["intervals"]
    values = " and ".join(
        f"{name} = {number(parameters[key])} {interval_text(intervals.get(key))}".strip()
        for name, key in (("α_B", "alpha_B"), ("B_* in tokens", "B_star"))
    )
    kaplan = KAPLAN_SINGLE.efficient
    return (
        f"{words} give B_crit = B_*/L^(1/α_B) with {values} (Kaplan 2020: {kaplan.alpha_B} and "
        f"{short(kaplan.B_star)}); {_first_small(entry['size_dependence']['sentence'])}"
    )


def _law_label(laws: Laws, family: str | None) -> str:
    entry = entry_of(laws, "critical_batch", family)
    value, interval = number(entry["parameters"]["alpha_B"]), interval_text(entry["intervals"].get("alpha_B"))
    ours = f"{value} {interval}".strip()
    return f"$B_* / L^{{1/\\alpha_B}}$, $\\alpha_B$ = {ours} (Kaplan 2020: {KAPLAN_SINGLE.efficient.alpha_B})"


def _first_small(sentence: str) -> str:
    return sentence if sentence[:2].isupper() or sentence[1:2] == "_" else sentence[:1].lower() + sentence[1:]


# --- noise scale ----------------------------------------------------------------------------------


def noise_scales(curves: pd.DataFrame) -> pd.DataFrame:
    """The noise scale during training at a constant rate: N, batch_tokens, loss, noise_scale (tokens)."""
    columns = ["N", "batch_tokens", "loss", "noise_scale"]
    if curves.empty or "noise_scale_tokens" not in curves.columns:
        return pd.DataFrame(columns=columns)
    points = constant_rate_part(curves).points
    measured = points[points["noise_scale_tokens"] > 0]
    return measured.rename(columns={"noise_scale_tokens": "noise_scale"})[columns].reset_index(drop=True)


@st.styled
def draw_noise(tables: StudyTables, laws: Laws) -> Figure:
    """Left: the noise scale during training, by batch. Right: against B_crit at the same size and loss."""
    family = tables.main_family
    during, levels = noise_scales(all_curves(tables, laws, family)), batch_levels(laws, family)
    if during.empty:
        return st.note(NOISE_TITLE, f"{NEEDS_BATCHES}, whose runs measure the noise scale.")
    figure, (by_loss, by_batch) = st.panels(2, width=12.0, height=5.2)
    colours = st.SizeColours(during["batch_tokens"], "plasma")
    look: dict[str, Any] = {"s": 9, "alpha": 0.6, "cmap": colours.colours, "norm": colours.norm}
    look["rasterized"] = len(during) > st.MANY_POINTS
    by_loss.scatter(during["loss"], during["noise_scale"], c=during["batch_tokens"], **look)
    by_loss.plot([], [], "o", color=st.GREY, ms=3, label="one evaluation")
    st.log_x(by_loss, during["loss"], st.LOSS_LABEL)
    law = batch_law(laws, family)
    if law is not None:
        loss = np.geomspace(*by_loss.get_xlim(), 60)
        by_loss.plot(loss, law.batch_tokens(loss), color=st.FIT, label="$B_{crit}(L)$, measured by steps")
    st.log_y(by_loss, during["noise_scale"], "gradient noise scale, tokens")
    by_loss.invert_xaxis()
    by_loss.set_title("During training (axis reversed)")
    st.legend_below(by_loss, columns=2)
    colours.bar(figure, [by_loss], "batch, tokens")
    both = levels.dropna(subset=["noise_scale"])
    if both.empty:
        st.note_in(by_batch, why_no_batches(laws, family))
        return figure
    sizes = st.SizeColours(both["N"])
    _draw_noise_against_batch(by_batch, both, sizes)
    sizes.bar(figure, [by_batch], n_label(laws))
    return figure


def _draw_noise_against_batch(axes: Axes, both: pd.DataFrame, sizes: st.SizeColours) -> None:
    for inside in (True, False):
        part = both[both["inside"] == inside]
        colours = [sizes(N) for N in part["N"]]
        face: dict[str, Any] = {"c": colours} if inside else {"edgecolors": colours, "facecolors": "none"}
        axes.scatter(part["B_crit"], part["noise_scale"], s=26, zorder=3, **face)
    ends = [
        min(both["B_crit"].min(), both["noise_scale"].min()),
        max(both["B_crit"].max(), both["noise_scale"].max()),
    ]
    axes.plot(ends, ends, color=st.INK, linestyle=":", linewidth=1.0, label="equal")
    ratio = float(np.exp(np.log(both["noise_scale"] / both["B_crit"]).mean()))
    axes.plot(
        ends,
        [ratio * end for end in ends],
        color=st.FIT,
        linewidth=1.2,
        label=f"{number(ratio, 2)} times $B_{{crit}}$",
    )
    axes.plot([], [], "o", color=st.GREY, label="a size and loss")
    if not both["inside"].all():
        axes.plot([], [], "o", color=st.GREY, mfc="none", label="beyond the batches scanned")
    st.log_x(axes, both["B_crit"], B_LABEL)
    st.log_y(axes, [*both["noise_scale"], *both["B_crit"]], "gradient noise scale, tokens")
    axes.set_title("At the same size and loss")
    st.legend_below(axes, columns=2)


def describe_noise(tables: StudyTables, laws: Laws) -> str:
    """The ratio of the two, and their rank correlation."""
    family = tables.main_family
    during = noise_scales(all_curves(tables, laws, family))
    if during.empty:
        return "No run measured the gradient noise scale."
    low, high = during["noise_scale"].min(), during["noise_scale"].max()
    words = (
        f"{st.family_name(str(family))}: the noise scale lies between {short(low)} and {short(high)} tokens"
    )
    sentence = entry_of(laws, "critical_batch", family).get("noise_scale", {}).get("sentence")
    return (
        f"{words}; {_first_small(sentence)}" if sentence else f"{words}; no critical batch stands beside it."
    )


FIGURES = (
    Entry(
        name="fig10_critical_batch",
        title=CRITICAL_TITLE,
        paper="Fig. 10",
        question="batch",
        draw=draw_critical,
        describe=describe_critical,
    ),
    Entry(
        name="noise_scale",
        title=NOISE_TITLE,
        paper="",
        question="batch",
        draw=draw_noise,
        describe=describe_noise,
    ),
)

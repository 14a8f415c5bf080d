"""The critical batch and the gradient noise scale against the loss (Kaplan 2020, Figure 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_laws.laws.batch.constant_rate import constant_rate_part
from scaling_laws.laws.fit.level import interval_percentiles
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.results.types import CriticalBatchLaw, Laws
from scaling_laws.report import style as st
from scaling_laws.report.batch_laws import (
    NEEDS_BATCHES,
    batch_draws,
    batch_levels,
    has_kaplans_tokens,
    why_no_batches,
)
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import number, short, with_interval

B_LABEL = "$B_{crit}$, tokens"


@dataclass(frozen=True, kw_only=True)
class CriticalBatches:
    """Measured critical batches of one family and their law.

    Attributes:
        levels: see `batch_levels`.
        law: with `law.law` and its draws in columns.
        has_kaplans_tokens: whether the paper's law stands beside it.
    """

    family: str
    levels: pd.DataFrame
    law: CriticalBatchLaw
    draws: CriticalBatch | None
    has_kaplans_tokens: bool
    N_label: str


def _describe_critical(data: CriticalBatches) -> str:
    """The law of the critical batch, and whether it depends on size."""
    n_inside = int(data.levels["inside"].sum())
    words = (
        f"{st.family_name(data.family)}: {len(data.levels)} critical batches "
        f"({n_inside} among the batches scanned)"
    )
    law = data.law
    if law.law is None or law.size_dependence is None:
        return f"{words}; no law of the loss: {law.reason}."
    values = " and ".join(
        f"{name} = {with_interval(law.parameters[key], law.intervals.get(key))}"
        for name, key in (("α_B", "alpha_B"), ("B_* in tokens", "B_star"))
    )
    kaplan = KAPLAN_SINGLE.efficient
    return (
        f"{words} give B_crit = B_*/L^(1/α_B) with {values} (Kaplan 2020: {kaplan.alpha_B} and "
        f"{short(kaplan.B_star)}); {_first_small(law.size_dependence.sentence)}"
    )


def _draw_critical(data: CriticalBatches) -> Figure:
    """B_crit of every size and loss with its law, the noise scale there, and the paper's line."""
    levels = data.levels
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
    if data.law.law is not None:
        axes.plot(loss, data.law.law.batch_tokens(loss), color=st.FIT, label=_law_label(data.law))
        if data.draws is not None:
            low, high = np.percentile(data.draws.batch_tokens(loss), interval_percentiles(), axis=0)
            axes.fill_between(loss, low, high, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)
    shown = [*levels["B_crit"], *levels["noise_scale"]]
    if data.has_kaplans_tokens:
        kaplan = KAPLAN_SINGLE.efficient.of_batch.batch_tokens(loss)
        axes.plot(loss, kaplan, color=st.GREY, linestyle="--", label="Kaplan 2020")
        shown.extend(kaplan)
    st.log_x(axes, loss, st.LOSS_LABEL, margin=0.0)
    axes.invert_xaxis()
    st.log_y(axes, shown, B_LABEL)
    axes.set_title("The critical batch grows as the loss falls (axis reversed)")
    st.legend_below(axes, columns=2)
    colours.bar(figure, [axes], data.N_label)
    return figure


@figure(
    "critical_batch",
    "The critical batch against the loss",
    "batch",
    order=1,
    draw=_draw_critical,
    describe=_describe_critical,
)
def critical_batch(study: StudyTables, laws: Laws) -> CriticalBatches | str:
    """Of the main family."""
    family = study.main_family
    levels = batch_levels(laws, family)
    if levels.empty:
        return why_no_batches(laws, family)
    return CriticalBatches(
        family=str(family),
        levels=levels,
        law=laws.of(family).critical_batch,
        draws=batch_draws(laws, family),
        has_kaplans_tokens=has_kaplans_tokens(study),
        N_label=n_label(study, laws),
    )


def _law_label(law: CriticalBatchLaw) -> str:
    ours = with_interval(law.parameters["alpha_B"], law.intervals.get("alpha_B"))
    return f"$B_* / L^{{1/\\alpha_B}}$, $\\alpha_B$ = {ours} (Kaplan 2020: {KAPLAN_SINGLE.efficient.alpha_B})"


def _first_small(sentence: str) -> str:
    return sentence if sentence[:2].isupper() or sentence[1:2] == "_" else sentence[:1].lower() + sentence[1:]


# --- noise scale ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NoiseScales:
    """The gradient noise scale of one family.

    Attributes:
        during: at each evaluation at a constant rate: N, batch_tokens, loss, noise_scale (tokens).
        both: the levels of `batch_levels` that have a noise scale; empty for `reason`.
        law: B_crit(L); None where it is not identified.
        sentence: how the two compare.
    """

    family: str
    during: pd.DataFrame
    both: pd.DataFrame
    reason: str
    law: CriticalBatch | None
    sentence: str
    N_label: str


def _describe_noise(data: NoiseScales) -> str:
    """The ratio of the two, and their rank correlation."""
    low, high = data.during["noise_scale"].min(), data.during["noise_scale"].max()
    words = (
        f"{st.family_name(data.family)}: the noise scale lies between {short(low)} and {short(high)} tokens"
    )
    if not data.sentence:
        return f"{words}; there is no critical batch to compare."
    return f"{words}; {_first_small(data.sentence)}"


def _draw_noise(data: NoiseScales) -> Figure:
    """Left: the noise scale during training, by batch. Right: against B_crit at the same size and loss."""
    during = data.during
    figure, (by_loss, by_batch) = st.panels(2, width=12.0, height=5.2)
    colours = st.SizeColours(during["batch_tokens"], "plasma")
    look: dict[str, Any] = {"s": 9, "alpha": 0.6, "cmap": colours.colours, "norm": colours.norm}
    look["rasterized"] = len(during) > st.MANY_POINTS
    by_loss.scatter(during["loss"], during["noise_scale"], c=during["batch_tokens"], **look)
    by_loss.plot([], [], "o", color=st.GREY, ms=3, label="one evaluation")
    st.log_x(by_loss, during["loss"], st.LOSS_LABEL)
    if data.law is not None:
        loss = np.geomspace(*by_loss.get_xlim(), 60)
        label = "$B_{crit}(L)$, measured by steps"
        by_loss.plot(loss, data.law.batch_tokens(loss), color=st.FIT, label=label)
    st.log_y(by_loss, during["noise_scale"], "gradient noise scale, tokens")
    by_loss.invert_xaxis()
    by_loss.set_title("During training (axis reversed)")
    st.legend_below(by_loss, columns=2)
    colours.bar(figure, [by_loss], "batch, tokens")
    if data.both.empty:
        st.note_in(by_batch, data.reason)
        return figure
    sizes = st.SizeColours(data.both["N"])
    _draw_noise_against_batch(by_batch, data.both, sizes)
    sizes.bar(figure, [by_batch], data.N_label)
    return figure


@figure(
    "noise_scale",
    "The gradient noise scale and the critical batch",
    "batch",
    order=2,
    draw=_draw_noise,
    describe=_describe_noise,
)
def noise_scale(study: StudyTables, laws: Laws) -> NoiseScales | str:
    """Of the main family."""
    family = study.main_family
    law = laws.of(family).critical_batch
    during = noise_scales(study.curves_of(study.complete_of(family), laws.conventions.N))
    if during.empty:
        return f"{NEEDS_BATCHES}, whose runs measure the noise scale."
    return NoiseScales(
        family=str(family),
        during=during,
        both=batch_levels(laws, family).dropna(subset=["noise_scale"]),
        reason=why_no_batches(laws, family),
        law=law.law,
        sentence="" if law.noise_scale is None else law.noise_scale.sentence,
        N_label=n_label(study, laws),
    )


def noise_scales(curves: pd.DataFrame) -> pd.DataFrame:
    """The noise scale during training at a constant rate: N, batch_tokens, loss, noise_scale (tokens)."""
    columns = ["N", "batch_tokens", "loss", "noise_scale"]
    if curves.empty or "noise_scale_tokens" not in curves.columns:
        return pd.DataFrame(columns=columns)
    points = constant_rate_part(curves).points
    measured = points[points["noise_scale_tokens"] > 0]
    return measured.rename(columns={"noise_scale_tokens": "noise_scale"})[columns].reset_index(drop=True)


def _draw_noise_against_batch(axes: Axes, both: pd.DataFrame, sizes: st.SizeColours) -> None:
    for inside in (True, False):
        part = both[both["inside"] == inside]
        colours = [sizes(N) for N in part["N"]]
        face: dict[str, Any] = {"c": colours} if inside else {"edgecolors": colours, "facecolors": "none"}
        axes.scatter(part["B_crit"], part["noise_scale"], s=26, zorder=3, **face)
    pairs = both[["B_crit", "noise_scale"]].to_numpy()
    ends = np.array([pairs.min(), pairs.max()])
    axes.plot(ends, ends, color=st.INK, linestyle=":", linewidth=1.0, label="equal")
    ratio = float(np.exp(np.log(both["noise_scale"] / both["B_crit"]).mean()))
    label = f"{number(ratio, 2)} times $B_{{crit}}$"
    axes.plot(ends, ratio * ends, color=st.FIT, linewidth=1.2, label=label)
    axes.plot([], [], "o", color=st.GREY, label="a size and loss")
    if not both["inside"].all():
        axes.plot([], [], "o", color=st.GREY, mfc="none", label="beyond the batches scanned")
    st.log_x(axes, both["B_crit"], B_LABEL)
    st.log_y(axes, [*both["noise_scale"], *both["B_crit"]], "gradient noise scale, tokens")
    axes.set_title("At the same size and loss")
    st.legend_below(axes, columns=2)

"""How far to train a network of each size? Learning curves by size (Kaplan et al. 2020, Figure 2.)"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.report import style as st
from scaling_laws.report.evidence import (
    Laws,
    StudyTables,
    c_label,
    envelope_of,
    find_fit,
    n_label,
    training_losses,
)
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.formulas import law_of, value_with_interval
from scaling_laws.report.text import short
from scaling_laws.study.units import PF_DAY_FLOPS

TITLE = "Learning curves by size"
NEEDS_CURVES = (
    "Needs runs that left learning curves: of `scaling-laws sweep configs/sweeps/size.yaml`, for one."
)


@st.styled
def draw(tables: StudyTables, laws: Laws) -> Figure:
    """Left: test loss against tokens seen. Right: against compute, with the envelope."""
    family = tables.main_family
    runs = tables.of(family)
    curves = curves_by_compute(tables, runs)
    if curves.empty:
        return st.note(TITLE, NEEDS_CURVES)
    colours = st.SizeColours(runs["N"])
    figure, (by_tokens, by_compute) = st.panels(2, width=11.0, height=4.9)

    for _, curve in curves.groupby("run", sort=False):
        points = curve.iloc[st.thin(len(curve))]
        for axes, x in ((by_tokens, "tokens"), (by_compute, "pf_days")):
            axes.plot(points[x], points["loss"], color=colours(points["N"].iloc[0]), linewidth=1.1, alpha=0.8)
    for axes, ends in ((by_tokens, runs["D"]), (by_compute, runs["C"] / PF_DAY_FLOPS)):
        axes.scatter(ends, runs["loss"], s=16, c=[colours(N) for N in runs["N"]], zorder=3)
        st.legend_entry(axes, "end of a run")
    st.log_x(by_tokens, curves["tokens"], "training tokens seen")
    st.log_x(by_compute, curves["pf_days"], pf_days_label(laws))

    envelope = pd.DataFrame(envelope_of(laws, family)[0])
    fit = find_fit(laws, "kaplan_c", family)
    if not envelope.empty:
        if fit is not None and fit["identified"]:
            label = rf"envelope's fit, $\alpha_C$ = {value_with_interval(fit, 'alpha_C')}"
            line = law_of(fit).loss(envelope["C"])
            by_compute.plot(envelope["C"] / PF_DAY_FLOPS, line, color=st.FIT, label=label, zorder=4)
        by_compute.scatter(
            envelope["C"] / PF_DAY_FLOPS,
            envelope["loss"],
            s=44,
            c=[colours(N) for N in envelope["N"]],
            edgecolors=st.INK,
            linewidths=1.2,
            zorder=5,
        )
        st.legend_entry(by_compute, "envelope, in the colour of its best N", mec=st.INK, ms=6.5)
    for axes in (by_tokens, by_compute):
        st.log_y(axes, [*curves["loss"], *runs["loss"]], st.LOSS_LABEL if axes is by_tokens else "")
        st.legend_below(axes, columns=1)
    by_tokens.set_title("Loss against tokens")
    by_compute.set_title("Loss against compute")
    colours.bar(figure, [by_tokens, by_compute], n_label(laws))
    return figure


def describe(tables: StudyTables, laws: Laws) -> str:
    """How the best size moves along the envelope."""
    family = tables.main_family
    points, reason = envelope_of(laws, family)
    if not points:
        return f"There is no envelope: {reason}."
    first, last = points[0], points[-1]
    low, high = first["C"] / PF_DAY_FLOPS, last["C"] / PF_DAY_FLOPS
    return (
        f"From {low:.1e} to {high:.1e} PF-days the best size goes from N = {short(first['N'])} "
        f"to {short(last['N'])} and the lowest loss from {first['loss']:.2f} to {last['loss']:.2f} "
        "nats per token."
    )


def curves_by_compute(tables: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """run, tokens, loss, N, pf_days during training of some runs; compute grows in proportion to tokens."""
    columns = ["run", "tokens", "loss", "N", "pf_days"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    curves = training_losses(tables).merge(runs[["run", "N", "D", "C"]], on="run")
    return curves.assign(pf_days=curves["C"] * curves["tokens"] / curves["D"] / PF_DAY_FLOPS)[columns]


def pf_days_label(laws: Laws) -> str:
    """What C counts in these laws, in PF-days."""
    return c_label(laws).replace("training FLOPs", "PF-days")


FIGURES: tuple[Entry, ...] = (
    Entry(
        name="fig02_learning_curves",
        title="How training unfolds at each size",
        paper="Fig. 2",
        question="compute",
        draw=draw,
        describe=describe,
    ),
)

"""How far to train a network of each size? Learning curves by size (Kaplan et al. 2020, Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.results.types import FittedLaw, Laws
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.formulas import value_with_interval
from scaling_laws.report.study_tables import StudyTables, c_label, envelope_points, n_label, training_losses
from scaling_laws.report.text import short
from scaling_laws.study.units import PF_DAY_FLOPS

NEEDS_CURVES = "Needs runs with learning curves, as those of `scaling-laws sweep configs/sweeps/size.yaml`."


@dataclass(frozen=True, kw_only=True)
class CurvesBySize:
    """Learning curves of one family and their lower envelope.

    Attributes:
        runs: N, D, C, loss: where the curves end.
        curves: run, tokens, loss, N, pf_days.
        envelope: C, N, loss, by C; empty where there is none, for `reason`.
        fit: L(C) through the envelope.
        labels: of the axes: C, N.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    envelope: pd.DataFrame
    reason: str
    fit: FittedLaw | None
    labels: Mapping[str, str]


def _describe(data: CurvesBySize) -> str:
    """How the best size moves along the envelope."""
    if data.envelope.empty:
        return f"There is no envelope: {data.reason}."
    first, last = (data.envelope.iloc[place] for place in (0, -1))
    low, high = first["C"] / PF_DAY_FLOPS, last["C"] / PF_DAY_FLOPS
    return (
        f"From {low:.1e} to {high:.1e} PF-days the best size goes from N = {short(first['N'])} "
        f"to {short(last['N'])} and the lowest loss from {first['loss']:.2f} to {last['loss']:.2f} "
        "nats per token."
    )


def _draw(data: CurvesBySize) -> Figure:
    """Left: test loss against tokens seen. Right: against compute, with the envelope."""
    runs, curves = data.runs, data.curves
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
    st.log_x(by_compute, curves["pf_days"], data.labels["C"])

    if not data.envelope.empty:
        pf_days = data.envelope["C"] / PF_DAY_FLOPS
        if data.fit is not None and data.fit.identified:
            label = rf"envelope's fit, $\alpha_C$ = {value_with_interval(data.fit, 'alpha_C')}"
            line = data.fit.law.loss(data.envelope["C"])
            by_compute.plot(pf_days, line, color=st.FIT, label=label, zorder=4)
        by_compute.scatter(
            pf_days,
            data.envelope["loss"],
            s=44,
            c=[colours(N) for N in data.envelope["N"]],
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
    colours.bar(figure, [by_tokens, by_compute], data.labels["N"])
    return figure


@figure(
    "learning_curves", "How training unfolds at each size", "compute", order=1, draw=_draw, describe=_describe
)
def learning_curves(study: StudyTables, laws: Laws) -> CurvesBySize | str:
    """Of the main family."""
    of_family, runs = laws.of(study.main_family), study.of(study.main_family)
    curves = curves_by_compute(study, runs)
    if curves.empty:
        return NEEDS_CURVES
    return CurvesBySize(
        runs=runs,
        curves=curves,
        envelope=envelope_points(laws, study.main_family),
        reason=of_family.frontier.reason,
        fit=of_family.fit("kaplan_c"),
        labels={"C": pf_days_label(study, laws), "N": n_label(study, laws)},
    )


def curves_by_compute(study: StudyTables, runs: pd.DataFrame) -> pd.DataFrame:
    """run, tokens, loss, N, pf_days during training of some runs; compute grows in proportion to tokens."""
    columns = ["run", "tokens", "loss", "N", "pf_days"]
    if runs.empty:
        return pd.DataFrame(columns=columns)
    curves = training_losses(study).merge(runs[["run", "N", "D", "C"]], on="run")
    return curves.assign(pf_days=curves["C"] * curves["tokens"] / curves["D"] / PF_DAY_FLOPS)[columns]


def pf_days_label(study: StudyTables, laws: Laws) -> str:
    """What C counts in these laws, in PF-days."""
    return c_label(study, laws).replace("training FLOPs", "PF-days")

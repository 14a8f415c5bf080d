"""When do networks learn to copy from their context, and what are the laws of what cannot be copied?

A network that copies gains on the tokens that its window has shown before, and there alone. It learns to do
so suddenly, at a number of tokens that depends on its size, its heads and its seed; before and after, losses
follow different laws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.token_classes import NOVEL, TRIGRAM, class_losses
from scaling_laws.report import style as st
from scaling_laws.report.figure import figure
from scaling_laws.report.study_tables import StudyTables, n_label
from scaling_laws.report.text import short
from scaling_laws.study.records import MAIN_CORPUS

NEEDS_CLASSES = (
    "Needs losses by class of token, token_classes.csv in each run's folder: runs trained by this version "
    "leave them."
)
COPIES_FROM_NATS = 0.5
"""A network copies where it loses so much less on targets whose last three tokens stood earlier than on novel
ones: of small networks that had not learned it the difference was 0.2 to 0.35, of others 0.8 to 1.6."""


@dataclass(frozen=True, kw_only=True)
class Copying:
    """Losses by class of one family's runs.

    Attributes:
        family: its name.
        runs: run, trunk, N, D, loss, novel (loss on novel targets), gain (novel less repeated trigram, nats),
            copies, of the runs that a law may use.
        during: run, N, tokens, gain at each evaluation of the longest run of each training.
        of_all, of_novel: Kaplan's law of N and D of the losses on all and on novel targets.
        N_label: of the axis.
    """

    family: str
    runs: pd.DataFrame
    during: pd.DataFrame
    of_all: Fit[KaplanND]
    of_novel: Fit[KaplanND]
    N_label: str


def _describe(data: Copying) -> str:
    copies = data.runs["copies"]
    family = st.family_name(data.family)
    words = f"{int(copies.sum())} of {len(copies)} runs of {family} copy from their context"
    if copies.any() and not copies.all():
        first, last = data.runs.loc[copies, "D"].min(), data.runs.loc[~copies, "D"].max()
        words += (
            f", the first after {short(first)} tokens; one that does not was trained on {short(last)}. "
            "The runs of its laws lie on both sides of that transition: a smooth law of all tokens "
            "describes neither side; the law of the novel tokens is not affected"
        )
    exponents = [
        f"{name} {fit.law.alpha_N:.3g} in N and {fit.law.alpha_D:.3g} in D"
        for name, fit in (("all tokens", data.of_all), ("novel tokens", data.of_novel))
        if fit.law is not None and fit.identified
    ]
    return words + (f". Kaplan's exponents: of {', of '.join(exponents)}." if exponents else ".")


def _draw(data: Copying) -> Figure:
    """Left: what is gained on repeated trigrams during training. Right: final losses, all and novel."""
    colours = st.SizeColours(data.runs["N"])
    figure, (by_tokens, by_size) = st.panels(2, width=11.0, height=4.9)
    for _, curve in data.during.groupby("run", sort=False):
        by_tokens.plot(curve["tokens"], curve["gain"], color=colours(curve["N"].iloc[0]), linewidth=1.2)
    by_tokens.axhline(COPIES_FROM_NATS, color=st.INK, linestyle=":", linewidth=1)
    st.log_x(by_tokens, data.during["tokens"], "training tokens seen")
    by_tokens.set_ylabel("loss on novel tokens less that on repeated trigrams, nats")
    by_tokens.set_title("What is copied from the context")
    for column, marker, label in (("loss", "o", "all tokens"), ("novel", "s", "novel tokens")):
        by_size.scatter(
            data.runs["N"],
            data.runs[column],
            marker=marker,
            s=22,
            c=[st.FIT if copies else st.INK for copies in data.runs["copies"]],
            label=label,
        )
    st.log_x(by_size, data.runs["N"], data.N_label)
    st.log_y(by_size, [*data.runs["loss"], *data.runs["novel"]], st.LOSS_LABEL)
    by_size.set_title("Final losses; in colour, runs that copy")
    st.legend_below(by_size, columns=2)
    colours.bar(figure, [by_tokens], data.N_label)
    return figure


@figure("copying", "When networks learn to copy", "position", order=4, draw=_draw, describe=_describe)
def copying(study: StudyTables, laws: Laws) -> Copying | str:
    """Of the main family."""
    if study.main_family is None:
        return NEEDS_CLASSES
    table = study.study.token_classes(final_only=False)
    means = class_losses(table[table["corpus"] == MAIN_CORPUS])
    runs = study.of(study.main_family)
    if means.empty or not {NOVEL, TRIGRAM} <= set(means.columns) or not runs["run"].isin(means["run"]).any():
        return NEEDS_CLASSES
    means = means.assign(gain=means[NOVEL] - means[TRIGRAM]).merge(
        runs[["run", "trunk", "N", "D", "steps", "loss"]], on="run"
    )
    means["tokens"] = means["D"] * means["step"] / means["steps"]
    final = means[means["step"] == means.groupby("run")["step"].transform("max")]
    final = final.assign(copies=final["gain"] > COPIES_FROM_NATS).dropna(subset=[NOVEL, TRIGRAM])
    longest = final.sort_values("D").drop_duplicates("trunk", keep="last")["run"]
    return Copying(
        family=study.main_family,
        runs=final.reset_index(drop=True),
        during=means[means["run"].isin(longest)].dropna(subset=["gain"]),
        of_all=_law(final, "loss"),
        of_novel=_law(final, NOVEL),
        N_label=n_label(study, laws),
    )


def _law(runs: pd.DataFrame, column: str) -> Fit[KaplanND]:
    return fit_law(
        KaplanND, make_rows({"N": runs["N"], "D": runs["D"]}, np.asarray(runs[column]), runs["trunk"])
    )

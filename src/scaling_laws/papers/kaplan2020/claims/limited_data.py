"""The claim about overfitting (Kaplan 2020, section 4)."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.intervals import percentile_interval
from scaling_laws.papers.claim import Claim, Finding, judged, not_measured, too_little
from scaling_laws.papers.kaplan2020.limited_data import data_runs, fit_data_law
from scaling_laws.report.evidence import Laws, StudyTables

LEAST_EXCESS = 0.02
"""Of the loss on the smallest part over that on the whole corpus: the tolerance of (4.4)."""
MOST_RMS = 0.02
RESAMPLES = 100


def _collapse(tables: StudyTables, laws: Laws) -> Finding:
    runs = data_runs(tables, laws)
    if runs["D"].nunique() < 3 or runs["N"].nunique() < 2:
        return not_measured("no networks of two sizes on three parts of the corpus")
    largest = runs[runs["N"] == runs["N"].max()].groupby("D")["loss"].mean()
    excess = float(largest.iloc[0] / largest.iloc[-1] - 1)
    if excess < LEAST_EXCESS:
        why = f"with the fewest tokens the largest network is {100 * excess:.2g} % worse: it does not overfit"
        return Finding(verdict="contradicted", why=why)
    law = fit_data_law(runs, resamples=RESAMPLES)
    if law.law is None or law.draws is None or law.fit.certificate is None:
        return too_little(f"L(N, D) of unique tokens is not identified: {law.fit.reason}")
    rms = law.fit.certificate.rms_log_residual
    value = float(law.law.alpha_N / law.law.alpha_D)
    interval = percentile_interval(np.asarray(law.draws.alpha_N) / np.asarray(law.draws.alpha_D))
    context = f"{len(runs)} runs, {100 * rms:.2g} % from the law, overfitting of up to {100 * excess:.0f} %"
    if rms > MOST_RMS:
        return too_little(context, value, interval)
    return judged(value, interval, 0.5, 1.0, context)


CLAIMS = (
    Claim(
        number=14,
        text="Overfitting depends on N^0.74 / D alone: eight times the parameters need five times the text",
        source="(4.3), (4.4), Fig. 9",
        quantity="α_N / α_D of L(N, D), D unique tokens",
        paper="0.74",
        rule="L(N, D) (1.5) fitted to the runs on parts of the corpus. Confirmed: the law is within 2 % "
        "(rms), and the interval lies from 0.5 to 1. Contradicted: it lies outside, or the largest network "
        "on the fewest tokens is less than 2 % worse than on all.",
        sweep="data",
        evaluate=_collapse,
    ),
)

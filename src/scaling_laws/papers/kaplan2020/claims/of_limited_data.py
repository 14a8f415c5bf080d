"""The claim about overfitting (Kaplan 2020, section 4)."""

from __future__ import annotations

import numpy as np

from scaling_laws.laws.fit.intervals import percentile_interval
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.kaplan2020.evidence import KaplanTables, fit_data_law
from scaling_laws.report.claims import Claim, Finding, Limit, Measured, inconclusive, not_measured

LEAST_EXCESS = 2.0
"""Per cent of the loss on the smallest part over that on the whole corpus: the tolerance of (4.4)."""
RESAMPLES = 100
RMS = "rms distance from the law, per cent"


def _collapse(tables: KaplanTables, laws: Laws) -> Measured | Finding:
    runs = tables.data_runs()
    if runs["D"].nunique() < 3 or runs["N"].nunique() < 2:
        return not_measured("no two sizes of network were trained on three parts of the corpus")
    largest = runs[runs["N"] == runs["N"].max()].groupby("D")["loss"].mean()
    excess = 100 * float(largest.iloc[0] / largest.iloc[-1] - 1)
    if excess < LEAST_EXCESS:
        why = f"with the fewest tokens the largest network is {excess:.2g} % worse: it does not overfit"
        return Finding(verdict="contradicted", why=why)
    law = fit_data_law(runs, resamples=RESAMPLES)
    if law.law is None or law.draws is None or law.fit.certificate is None:
        return inconclusive(law.reason)
    rms = 100 * law.fit.certificate.rms_log_residual
    value = float(law.law.alpha_N / law.law.alpha_D)
    interval = percentile_interval(np.asarray(law.draws.alpha_N) / np.asarray(law.draws.alpha_D))
    context = f"{len(runs)} runs, {rms:.2g} % from the law, overfitting of up to {excess:.0f} %"
    return Measured(value=value, interval=interval, context=context, limited={RMS: rms})


CLAIMS = (
    Claim(
        slug="overfitting-by-size-and-data",
        text="Overfitting depends on N^0.74 / D alone: eight times the parameters need five times the text",
        source="(4.3), (4.4), Fig. 9",
        quantity="α_N / α_D of L(N, D), D unique tokens",
        paper="0.74",
        method="L(N, D) (1.5) fitted to the runs on parts of the corpus.",
        confirmed=(0.5, 1.0),
        limits=(
            Limit(name=RMS, words="the losses lie within {most:g} % (rms) of the law", most=2.0, always=True),
        ),
        contradicted_if="the largest network is less than "
        f"{LEAST_EXCESS:g} % worse on the fewest tokens than on all",
        needs="data",
        measure=_collapse,
    ),
)

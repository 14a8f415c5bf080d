"""Pearce & Song 2024: what counting parameters without embeddings does to the exponent of the best size."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import bootstrap, checked
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.published import BESIROGLU, HOFFMANN
from scaling_laws.laws.results.types import Laws
from scaling_laws.papers.pearce_song2024.closed_account import (
    KAPLAN_RANGE_N,
    KaplanCounting,
    PearceSong,
    apparent_exponents,
    kaplan_counting,
)
from scaling_laws.report.claims import Claim, Finding, Measured, inconclusive, not_measured
from scaling_laws.report.reproduction import Paper
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.style import family_name
from scaling_laws.report.text import Table, with_interval

N_SIZES = 20
HORIZONS = np.geomspace(1 / 8, 8, 5)
"""Tokens of the simulated runs, over those that are best for the size."""
NOISE = 0.002
"""Standard deviation of a simulated run's ln L."""


def simulated_runs() -> pd.DataFrame:
    """Kaplan's range of sizes in a world of Chinchilla's law in all parameters, as the paper simulates it."""
    account = PearceSong(law=BESIROGLU)
    sizes = np.geomspace(*KAPLAN_RANGE_N, N_SIZES)
    N = np.repeat(sizes, len(HORIZONS))
    D = np.concatenate([float(account.tokens(size)) * HORIZONS for size in sizes])
    loss = BESIROGLU.loss(account.total(N), D)
    runs = [f"run-{number}" for number in range(len(N))]
    return pd.DataFrame(
        {
            "run": runs,
            "trunk": runs,
            "family": "transformer",
            "N": N,
            "N_total": account.total(N),
            "D": D,
            "C": FLOPS_PER_PARAMETER_TOKEN * N * D,
            "loss": loss * np.exp(np.random.default_rng(0).normal(scale=NOISE, size=len(N))),
        }
    )


def counting(study: StudyTables, laws: Laws, family: str | None) -> KaplanCounting | None:
    """What exponent Kaplan's counting shows on a family's runs, by the law in all parameters that fits them.

    None where the runs do not determine that law, or their parameters are counted in one way only.
    """
    runs = study.of(family)
    if runs.empty or not {"N", "N_total"} <= set(study.complete.columns):
        return None
    runs = study.complete[study.complete["run"].isin(runs["run"])]
    rows = make_rows({"N": runs["N_total"], "D": runs["D"]}, runs["loss"], runs["trunk"])
    settings = laws.manifest
    noise = seed_noise(study.runs)
    fit = checked(fit_law(Chinchilla, rows, delta=settings.delta or DEFAULT_DELTA), noise=noise)
    if not fit.identified or fit.law is None:
        return None
    draws = bootstrap(fit, noise=noise, seed=settings.seed or 0).draws
    return kaplan_counting(fit.law, runs["N"], runs["N_total"], draws=draws)


def _difference(study: StudyTables, laws: Laws) -> Measured | Finding:
    found = counting(study, laws, study.main_family)
    if found is None:
        return not_measured("no joint law with an irreducible loss in all parameters")
    value = found.a - found.a_total
    interval = found.difference_interval or (None, None)
    if None in interval:
        return inconclusive("the difference has no interval", value)
    context = f"{found.a:.2f} without and {found.a_total:.2f} with embeddings"
    return Measured(value=value, interval=interval, context=context)


def on_these_runs(study: StudyTables, laws: Laws) -> Table:
    """The account of the counting on each family's runs."""
    found = [(family, counting(study, laws, family)) for family in study.families]
    rows = tuple(
        (
            family_name(family),
            with_interval(each.a_total, each.a_total_interval),
            with_interval(each.a, each.a_interval),
            f"{each.weight:.3g} N^{each.growth:.2f}",
            f"{each.N[0]:.3g} to {each.N[1]:.3g}",
        )
        for family, each in found
        if each is not None
    )
    sentences = [f"{family_name(family)}: {each.sentence}." for family, each in found if each is not None]
    columns = ("family", "a in all parameters", "a without embeddings", "embeddings' parameters", "N")
    return Table(columns=columns, rows=rows, caption=" ".join(sentences))


def in_kaplans_range() -> Table:
    """What two published laws in all parameters show where Kaplan's sizes are counted without embeddings."""
    laws = {"Hoffmann 2022": HOFFMANN, "Besiroglu 2024": BESIROGLU}
    found = {name: apparent_exponents(PearceSong(law=law)) for name, law in laws.items()}
    rows = tuple(
        (name, f"{each.a_total:.2f}", f"{each.a:.2f}", f"{each.loss_exponent:.3f}")
        for name, each in found.items()
    )
    columns = ("law", "a in all parameters", "a without embeddings", "exponent of the loss")
    caption = "Kaplan 2020 measured 0.73 and 0.057, without embeddings and at these sizes."
    return Table(columns=columns, rows=rows, caption=caption)


PAPER = Paper(
    module=__name__,
    title="Reconciling Kaplan and Chinchilla Scaling Laws",
    citation="Pearce & Song 2024 (arXiv 2406.12907)",
    question="How much of the difference between Kaplan's exponent and Chinchilla's is what N counts?",
    simulate=simulated_runs,
    claims=(
        Claim(
            slug="counting-changes-the-exponent",
            text="Leaving embeddings out of N makes the exponent of the best size larger",
            source="section 3",
            quantity="exponent without embeddings minus that with them",
            paper="0.28",
            method="One law L(N, D) with an irreducible loss is fitted in all parameters and seen through "
            "either count of N. The interval is that of the difference, draw by draw, since both exponents "
            "come from one law.",
            confirmed=(0.0, np.inf),
            needs="isoflop",
            measure=_difference,
        ),
    ),
    tables=lambda study, laws: {
        "Kaplan's range, in closed form": in_kaplans_range(),
        "The same account on these runs": on_these_runs(study, laws),
    },
)

"""What a reader needs to reproduce the fits, and what they should know before believing them."""

from __future__ import annotations

import hashlib
import platform
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.results.entries import Entry
from scaling_laws.laws.results.family_tables import Settings
from scaling_laws.study.recipe import head_counts

if TYPE_CHECKING:
    import pandas as pd

WARNED_FORMS = {"kaplan_n", "kaplan_d", "kaplan_c", "kaplan_nd", "chinchilla"}
"""Forms whose failure is a warning; of the others the table of fits tells."""
FEW_AT_BEST = 0.5
"""Share of the starts at the best objective below which the optimum is doubtful."""


def manifest(laws: Entry, runs: pd.DataFrame, positions: pd.DataFrame | None, settings: Settings) -> Entry:
    """Form, loss, delta, optimiser, starts, rows, conventions, versions and the hash of the input."""
    import pandas as pd

    digest = hashlib.sha256(runs.to_csv(index=False).encode())
    if positions is not None:
        digest.update(pd.util.hash_pandas_object(positions, index=False).to_numpy().tobytes())
    return {
        "forms": {fit["form"]: fit["formula"] for fit in laws["fits"]},
        "objective": "sum over rows of Huber_delta(ln L_hat - ln L)",
        "loss": "nats per token",
        "delta": settings.delta,
        "optimiser": "damped Newton with exact derivatives, from starts by variable projection",
        "starts": {fit["form"]: fit["certificate"]["starts"] for fit in laws["fits"] if fit["certificate"]},
        "seed": settings.seed,
        "resamples": settings.resamples,
        "rows": {f"{fit['family']}, {fit['form']}": fit["rows"] for fit in laws["fits"]},
        "n_left_out": len(laws["left_out"]),
        "conventions": laws["conventions"],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pandas": pd.__version__,
        },
        "input_sha256": digest.hexdigest(),
    }


def warnings(laws: Entry, runs: pd.DataFrame) -> list[str]:
    """A sentence each, of the content of `laws.json` and of the runs that a law may use."""
    sentences = []
    if runs.empty:
        sentences.append("No run has a loss that a law may use.")
    if laws["noise"]["reason"]:
        sentences.append(f"The noise between seeds is not known: {laws['noise']['reason']}.")
    if "unique_tokens" in runs.columns and (repeats := int((runs["unique_tokens"] < runs["D"]).sum())):
        sentences.append(f"{repeats} runs saw some tokens more than once; most laws take every token as new.")
    sentences += head_counts(runs)
    for fit in laws["fits"]:
        who = f"{fit['family']}, {fit['form']}"
        if not fit["identified"] and fit["form"] in WARNED_FORMS:
            sentences.append(f"{who}: not identified: {fit['reason']}.")
        elif fit["identified"] and fit["certificate"]["share_at_best"] < FEW_AT_BEST:
            share = fit["certificate"]["share_at_best"]
            sentences.append(f"{who}: only {100 * share:.0f} % of the starts reached the best objective.")
    for family in sorted({slice_["family"] for slice_ in laws["isoflop"]}):
        slices = [slice_ for slice_ in laws["isoflop"] if slice_["family"] == family]
        flagged = sum(bool(slice_["warning"]) for slice_ in slices)
        if flagged:
            sentences.append(f"{family}: {flagged} of {len(slices)} isoFLOP slices have a warning.")
    for entry in laws["approaches"]:
        of_exponents = [sentence for sentence in entry["disagreements"] if " exponent " in sentence]
        sentences += [f"{entry['family']}: {sentence}" for sentence in of_exponents]
        if others := len(entry["disagreements"]) - len(of_exponents):
            sentences.append(f"{entry['family']}: the approaches disagree on N_opt at {others} places.")
    for entry in laws["bracketing"]:
        sentences += [f"{entry['family']}: {entry['warning']}"] if entry["warning"] else []
    for entry in laws["outliers"]:
        if runs_flagged := sorted({flag["run"] for flag in entry["flags"]}):
            named = ", ".join(runs_flagged[:3]) + (", ..." if len(runs_flagged) > 3 else "")
            runs_are = "1 run is" if len(runs_flagged) == 1 else f"{len(runs_flagged)} runs are"
            sentences.append(f"{entry['family']}: {runs_are} flagged by the rules for outliers: {named}.")
    for entry in laws["critical_batch"]:
        sentences += [f"{entry['family']}: {sentence}" for sentence in entry.get("warnings", ())]
    return sentences

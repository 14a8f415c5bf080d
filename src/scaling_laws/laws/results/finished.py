"""What a reader needs to reproduce the fits, and what they should know before believing them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.results.fitted import Settings
from scaling_laws.laws.results.types import NOT_MEASURED, FamilyLaws, FittedLaw, Laws, LeftOut, Manifest
from scaling_laws.study.recipe import head_counts

if TYPE_CHECKING:
    import pandas as pd

WARNED_FORMS = {"kaplan_n", "kaplan_d", "kaplan_c", "kaplan_nd", "chinchilla"}
"""Forms whose failure is a warning; of the others the table of fits tells."""
FEW_AT_BEST = 0.5
"""Share of the starts at the best objective below which the optimum is doubtful."""


def finished_laws(
    laws: Laws, usable: pd.DataFrame, runs: pd.DataFrame, positions: pd.DataFrame | None, settings: Settings
) -> Laws:
    """The laws with their warnings and the manifest, as a reader of `laws.json` has them: plain numbers."""
    laws = replace(
        laws,
        warnings=tuple(_warnings(laws, usable)),
        manifest=_manifest(laws, runs, positions, settings),
    )
    return Laws.from_json(laws.to_json(), laws.study)


def left_out_of(table: pd.DataFrame | None, more: Sequence[Mapping[str, Any]] = ()) -> tuple[LeftOut, ...]:
    """Of rows of run, status, reason."""
    rows: list[Mapping[Any, Any]] = [*([] if table is None else table.to_dict("records")), *more]
    return tuple(LeftOut(**{name: str(row[name]) for name in ("run", "status", "reason")}) for row in rows)


def _manifest(laws: Laws, runs: pd.DataFrame, positions: pd.DataFrame | None, settings: Settings) -> Manifest:
    """Form, loss, delta, optimiser, starts, rows, conventions, versions and the hash of the input."""
    import pandas as pd

    digest = hashlib.sha256(runs.to_csv(index=False).encode())
    if positions is not None:
        digest.update(pd.util.hash_pandas_object(positions, index=False).to_numpy().tobytes())
    fits = [(family.family, fit) for family in laws.by_family for fit in family.fits]
    return Manifest(
        forms={fit.form: fit.formula for _, fit in fits},
        objective="sum over rows of Huber_delta(ln L_hat - ln L)",
        loss="nats per token",
        delta=settings.delta,
        optimiser="damped Newton with exact derivatives, from starts by variable projection",
        starts={fit.form: fit.certificate.starts for _, fit in fits if fit.certificate},
        seed=settings.seed,
        resamples=settings.resamples,
        rows={f"{family}, {fit.form}": fit.rows for family, fit in fits},
        n_left_out=len(laws.left_out),
        conventions=laws.conventions,
        versions={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pandas": pd.__version__,
        },
        input_sha256=digest.hexdigest(),
    )


def _warnings(laws: Laws, runs: pd.DataFrame) -> Iterator[str]:
    """A sentence each, of the laws and of the runs that a law may use."""
    if runs.empty:
        yield "No run has a loss that a law may use."
    if laws.noise.reason:
        yield f"The noise between seeds is unknown: {laws.noise.reason}."
    if "unique_tokens" in runs.columns and (repeats := int((runs["unique_tokens"] < runs["D"]).sum())):
        yield f"{repeats} runs saw some tokens more than once; most laws take every token as new."
    yield from head_counts(runs)
    # The file's order: one kind of result after another, family by family.
    kinds: tuple[Callable[[FamilyLaws], Iterator[str]], ...]
    kinds = (_of_fits, _of_slices, _of_approaches, _of_rates, _of_outliers)
    for of in kinds:
        for family in laws.by_family:
            yield from (f"{family.family}{sentence}" for sentence in of(family))
    for family in laws.by_family:
        yield from (f"{family.family}: {sentence}" for sentence in family.critical_batch.warnings)


def _of_fits(laws: FamilyLaws) -> Iterator[str]:
    for fit in laws.fits:
        if not fit.identified and fit.form in WARNED_FORMS:
            yield f", {fit.form}: not identified: {fit.reason}."
        elif fit.identified and _share_at_best(fit) < FEW_AT_BEST:
            share = 100 * _share_at_best(fit)
            yield f", {fit.form}: only {share:.0f} % of the starts reached the best objective."


def _share_at_best(fit: FittedLaw) -> float:
    return fit.certificate.share_at_best if fit.certificate else 0.0


def _of_slices(laws: FamilyLaws) -> Iterator[str]:
    if flagged := sum(bool(each.warning) for each in laws.isoflop):
        yield f": {flagged} of {len(laws.isoflop)} isoFLOP slices have a warning."


def _of_approaches(laws: FamilyLaws) -> Iterator[str]:
    of_exponents = [each for each in laws.approaches.disagreements if " exponent " in each]
    yield from (f": {sentence}" for sentence in of_exponents)
    if others := len(laws.approaches.disagreements) - len(of_exponents):
        yield f": the approaches disagree on N_opt at {others} places."


def _of_rates(laws: FamilyLaws) -> Iterator[str]:
    if laws.bracketing.warning not in ("", NOT_MEASURED):
        yield f": {laws.bracketing.warning}"


def _of_outliers(laws: FamilyLaws) -> Iterator[str]:
    if runs := sorted({flag.run for flag in laws.outliers.flags}):
        named = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
        runs_are = "1 run is" if len(runs) == 1 else f"{len(runs)} runs are"
        yield f": {runs_are} flagged by the rules for outliers: {named}."

"""What the values of a column are worth in one another: families, optimisers, weight decays, ..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.fit.shared_exponents import SHARED_FORMS, SharedLaw, fit_groups
from scaling_laws.laws.selection import LeftOut, usable_runs
from scaling_laws.study.errors import InputError
from scaling_laws.study.recipe import MAY_DIFFER, MAY_DIFFER_BETWEEN_REPLICATES, OF_IT

if TYPE_CHECKING:
    import pandas as pd

FAMILY = "family"
OF_THE_CORPUS = ("corpus", "n_vocab", "manifest_hash")
"""Columns by which texts and vocabularies are told apart: tokens of one are no tokens of another."""
IN_BITS_PER_BYTE = (
    "Losses are in bits per byte of the test text; C and D count the tokens of each run's own vocabulary."
)


@dataclass(frozen=True, kw_only=True)
class ComparedColumn:
    """The runs of one family, told apart by a column.

    Attributes:
        by: the column.
        family: whose runs; "" where the families themselves are compared.
        laws: by each form that can be shared; the first without a reason is the one to read.
        n_runs: by value, that entered the fits.
        left_out: runs that did not, with their reasons.
        losses: which they are, where it is not the loss in nats per token.
    """

    by: str
    family: str
    laws: tuple[SharedLaw, ...]
    n_runs: Mapping[str, int]
    left_out: tuple[LeftOut, ...]
    losses: str = ""


def compare_column(
    runs: pd.DataFrame,
    by: str,
    *,
    reference: str | None = None,
    n: str = "N",
    c: str = "C",
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> tuple[ComparedColumn, ...]:
    """What one value of a column is worth in another, in each family that has several.

    All values share one law's exponents (`shared_exponents.py`). Of each value, size and horizon the best
    learning rate counts, as everywhere; in all columns but `by` the runs are of one recipe.

    Args:
        runs: as for `fit_study`.
        by: a column that tells the runs apart.
        reference: the value to which the others are compared; by default that of most sizes and horizons.

    Raises:
        InputError: there is no such column, it says nothing of how runs were trained, or no family has two
            of its values, or none the reference; or several corpora hold out different texts.
    """
    groups, left_out = groups_to_compare(runs, by, reference=reference, n=n, c=c)
    compared = []
    for family, rows, first in groups:
        laws = tuple(
            fit_groups(
                form,
                rows,
                by=by,
                reference=first,
                noise=rows.attrs["noise"],
                delta=delta,
                resamples=resamples,
                seed=seed,
            )
            for form in SHARED_FORMS
        )
        compared.append(
            ComparedColumn(
                by=by,
                family=family,
                laws=laws,
                n_runs={str(value): int(count) for value, count in rows[by].value_counts().items()},
                left_out=left_out,
                losses=rows.attrs["losses"],
            )
        )
    return tuple(compared)


def groups_to_compare(
    runs: pd.DataFrame, by: str, *, reference: str | None = None, n: str = "N", c: str = "C"
) -> tuple[list[tuple[str, pd.DataFrame, str]], tuple[LeftOut, ...]]:
    """Of each family with several values of the column: its name, its runs, and the value to measure in.

    The runs' attributes: `noise` is that between seeds, of all families, `losses` as `ComparedColumn`'s. The
    second part are runs left out.

    Raises:
        InputError: as `compare_column`.
    """
    _check_column(runs, by)
    in_bytes = by in OF_THE_CORPUS and "manifest_hash" in runs
    if in_bytes:
        runs = _in_bits_per_byte(runs, by)
    usable, left_out = usable_runs(runs[runs[by].notna()], n=n, c=c, by=by)
    noise = seed_noise(usable)
    usable[by] = [_as_text(value) for value in usable[by]]
    groups = [("", usable)] if by == FAMILY else [(str(key), rows) for key, rows in usable.groupby(FAMILY)]
    several = [(family, rows) for family, rows in groups if rows[by].nunique() > 1]
    if not several:
        found = ", ".join(sorted({_as_text(value) for value in runs[by].dropna()})) or "none"
        raise InputError(f"{by}: no family has runs of two of its values ({found}): nothing to compare")
    if reference is not None and not any(reference in set(rows[by]) for _, rows in several):
        there = ", ".join(sorted({value for _, rows in several for value in rows[by]}))
        raise InputError(f"{by} is never {reference!r}; its values are {there}")
    found_groups = []
    for family, rows in several:
        first = _most_measured(rows, by)
        if reference is not None and reference in set(rows[by]):
            first = reference
        rows.attrs |= {"noise": noise, "losses": IN_BITS_PER_BYTE if in_bytes else ""}
        found_groups.append((family, rows, first))
    return found_groups, tuple(left_out)


def _in_bits_per_byte(runs: pd.DataFrame, by: str) -> pd.DataFrame:
    """Runs of several corpora with losses that can be compared; what else tells the corpora apart is gone.

    Raises:
        InputError: the runs have no such losses, or were tested on different texts.
    """
    if "test_text_hash" in runs and runs["test_text_hash"].nunique() > 1:
        raise InputError(
            f"{by}: the runs were tested on different texts, whose losses say nothing about one another; "
            "compare corpora that hold out the same text (the same paths, shares and seed)"
        )
    known = runs[runs["bits_per_byte_test"].notna()] if "bits_per_byte_test" in runs else runs.iloc[:0]
    if known.empty:
        raise InputError(
            f"{by}: losses of several vocabularies are compared in bits per byte; no run has any"
        )
    others = [column for column in OF_THE_CORPUS if column != by]
    return known.drop(columns=others, errors="ignore").assign(loss=known["bits_per_byte_test"])


def _check_column(runs: pd.DataFrame, by: str) -> None:
    several = [
        str(column)
        for column in runs.columns
        if column not in MAY_DIFFER_BETWEEN_REPLICATES
        and column not in MAY_DIFFER
        and runs[column].nunique() > 1
        and not str(column).startswith(("loss", "bits_per_byte"))
    ]
    if by not in runs.columns:
        close = get_close_matches(by, [str(column) for column in runs.columns], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        there = f"; columns with several values: {', '.join(several)}" if several and not close else ""
        raise InputError(f"the runs have no column {by!r}{hint}{there}")
    unsuitable = {"N", "D", "C", "loss", *MAY_DIFFER_BETWEEN_REPLICATES} - {*OF_THE_CORPUS}
    if by in unsuitable or MAY_DIFFER.get(by) == OF_IT:
        raise InputError(
            f"{by} is not a setting that runs can be compared by; give one of {', '.join(several)}"
        )


def _most_measured(rows: pd.DataFrame, by: str) -> str:
    """The value of the most pairs of N and D; of equals the first by name, Transformers before others."""
    pairs = {str(value): len(of[["N", "D"]].drop_duplicates()) for value, of in rows.groupby(by)}
    return min(pairs, key=lambda value: (value != "transformer", -pairs[value], value))


def _as_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)

"""What the values of a column are worth in one another, and what they share: `compare`, `shared_floor`."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from scaling_laws.api.analysis import load_study
from scaling_laws.api.one_law import Runs, flops
from scaling_laws.laws import run_tables
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.shared_floor import SharedFloor
from scaling_laws.laws.fit.shared_floor import shared_floor as tested_floor
from scaling_laws.laws.readers.study_reader import StudyReader
from scaling_laws.laws.results.chosen_forms import law_called
from scaling_laws.laws.results.compared_column import ComparedColumn, compare_column
from scaling_laws.laws.results.decision import Decision, HeldOutScore, decide
from scaling_laws.laws.selection import usable_runs
from scaling_laws.report import style as st
from scaling_laws.report import tables
from scaling_laws.report.decisions import decision_table, decision_words, drawn_worth
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, repr=False)
class ColumnComparison:
    """What `compare` has found.

    Attributes:
        families: one entry a family that has several values of the column.
        decisions: each value against the reference at one compute; empty unless `compare` was given one.
        held_out: how such choices did at scales that were held out; None without `at`.

    Examples:
        >>> found = compare("results/quick", by="family", resamples=20)  # of a clone of scaling_laws
        >>> found.table().columns.tolist()[:4]
        ['family', 'reference', 'form', 'm_C']
    """

    families: tuple[ComparedColumn, ...]
    decisions: tuple[Decision, ...] = ()
    held_out: HeldOutScore | None = None

    def summary(self) -> str:
        """A table a family, and the decisions."""
        parts = [
            "\n".join([f"{found.family}:"] * bool(found.family) + [table.text(), table.caption])
            for found in self.families
            for table in [tables.compared(found)]
        ]
        if self.decisions:
            table = decision_table(self.decisions)
            parts += [f"{table.text()}\n{table.caption}", decision_words(self.decisions, self.held_out)]
        return "\n\n".join(parts)

    def plot(self) -> Figure:
        """What a FLOP is worth over compute, by the laws and by the runs.

        Raises:
            InputError: `compare` was given no compute.
        """
        if not self.decisions:
            raise InputError("give compare(..., at=) a compute: the curve is drawn up to there")
        figure: Figure = st.styled(drawn_worth)(self.decisions)
        return figure

    def table(self) -> pd.DataFrame:
        """A row per family, form and value, with m_C, m_N and m_D and their intervals."""
        rows = []
        for found in self.families:
            for law in found.laws:
                for each in law.efficiencies:
                    row: dict[str, str | float | None] = {
                        "family": found.family,
                        found.by: each.family,
                        "reference": law.reference,
                        "form": law.form,
                    }
                    for name in ("m_C", "m_N", "m_D"):
                        low, high = each.intervals[name] or (None, None)
                        row |= {name: getattr(each, name), f"{name}_low": low, f"{name}_high": high}
                    rows.append(row)
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


def compare(
    runs: Runs | Study,
    by: str,
    *,
    reference: str | None = None,
    at: float | str | None = None,
    percent: float = 1.0,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> ColumnComparison:
    """What one value of a column is worth in another: parameters, tokens and compute, with intervals.

    Args:
        runs: a study, its folder, a table from `read_runs`, or a table's file with columns N, D (or C), loss
            and `by`.
        by: the column: `optimizer`, `weight_decay`, `family`, ...
        reference: the value to which the others are compared; by default that of most sizes and horizons.
        at: FLOPs, or a text such as "1e21": adds which value to take there (`ColumnComparison.decisions`).
        percent: the difference that a decision's number of seeds is for.
        delta, resamples, seed: as `fit`.

    Raises:
        InputError: whatever is wrong with the runs, or nothing can be compared by this column.

    Examples:
        >>> found = compare("results/quick", by="family", resamples=20)  # of a clone of scaling_laws
        >>> found.table()["m_C"].round(2).tolist()[0]  # a FLOP of LSTMs in FLOPs of Transformers
        1.56
    """
    if isinstance(runs, str | Path):
        is_study = StudyReader().recognises(Path(runs))
        runs = load_study(runs) if is_study else run_tables.read_runs(runs, labels=(by,))
    table = runs.runs if isinstance(runs, Study) else runs
    return compared(
        table, by, reference=reference, at=at, percent=percent, delta=delta, resamples=resamples, seed=seed
    )


def shared_floor(
    runs: Runs | Study,
    by: str,
    form: str = "chinchilla",
    *,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> SharedFloor:
    """Whether the values of a column, such as data sets, may share one irreducible loss: a test and its fits.

    The test is a likelihood ratio whose distribution is simulated: `p`, and `sentence()` says it in words.

    Args:
        runs: as `compare`.
        by: the column that tells the data sets apart.
        form: a law with an irreducible loss.
        delta, resamples, seed: as `fit`.

    Raises:
        InputError: whatever is wrong with the runs, no such column, one value alone, or another form.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> N, D = np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5))
        >>> N, D = N.ravel(), D.ravel()
        >>> loss = [E + 400 / N**0.34 + 1800 / D**0.36 for E in (1.6, 1.9)]
        >>> noise = np.random.default_rng(0).normal(scale=0.004, size=(2, 25))
        >>> tables = [
        ...     pd.DataFrame({"data": name, "N": N, "D": D, "loss": losses + scatter})
        ...     for name, losses, scatter in zip(("web", "code"), loss, noise, strict=True)
        ... ]
        >>> shared_floor(pd.concat(tables), "data", resamples=0).rejected
        True
    """
    if isinstance(runs, str | Path):
        is_study = StudyReader().recognises(Path(runs))
        runs = load_study(runs) if is_study else run_tables.read_runs(runs, labels=(by,))
    table = runs.runs if isinstance(runs, Study) else runs
    if "trunk" not in table and by in table:
        table = run_tables.read_runs(table, labels=(by,))
    if by not in table:
        raise InputError(f"the runs have no column {by!r} to tell data sets apart")
    usable, _ = usable_runs(table, by=by)
    return tested_floor(usable, by, law_called(form), delta=delta, resamples=resamples, seed=seed)


def compared(
    table: pd.DataFrame,
    by: str,
    *,
    reference: str | None,
    at: float | str | None,
    percent: float,
    n: str = "N",
    c: str = "C",
    delta: float,
    resamples: int,
    seed: int = 0,
) -> ColumnComparison:
    """`compare` of a table, in conventions of N and C."""
    families = compare_column(
        table, by, reference=reference, n=n, c=c, delta=delta, resamples=resamples, seed=seed
    )
    if at is None:
        return ColumnComparison(families=families)
    decisions, held_out = decide(
        table,
        by,
        float(flops(at)),
        reference=reference,
        percent=percent,
        n=n,
        c=c,
        delta=delta,
        resamples=resamples,
        seed=seed,
    )
    return ColumnComparison(families=families, decisions=decisions, held_out=held_out)

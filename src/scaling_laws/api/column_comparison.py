"""What the values of a column are worth in one another, for notebooks: `compare`."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scaling_laws.api.analysis import load_study
from scaling_laws.api.one_law import Runs
from scaling_laws.laws import run_tables
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.readers.study_reader import StudyReader
from scaling_laws.laws.results.compared_column import ComparedColumn, compare_column
from scaling_laws.report import tables
from scaling_laws.study.runs import Study


@dataclass(frozen=True, kw_only=True, repr=False)
class ColumnComparison:
    """What `compare` has found.

    Attributes:
        families: one entry a family that has several values of the column.

    Examples:
        >>> found = compare("results/quick", by="family", resamples=20)  # of a clone of scaling_laws
        >>> found.table().columns.tolist()[:4]
        ['family', 'reference', 'form', 'm_C']
    """

    families: tuple[ComparedColumn, ...]

    def summary(self) -> str:
        """A table a family."""
        return "\n\n".join(
            "\n".join([f"{found.family}:"] * bool(found.family) + [table.text(), table.caption])
            for found in self.families
            for table in [tables.compared(found)]
        )

    def table(self) -> pd.DataFrame:
        """A row a family, form and value, with m_C, m_N and m_D and their intervals."""
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
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> ColumnComparison:
    """What one value of a column is worth in another: parameters, tokens and compute, with intervals.

    Args:
        runs: a study, its folder, a table from `read_runs`, or a table's file with columns N, D (or C), loss
            and `by`.
        by: the column: `optimizer`, `weight_decay`, `family`, ...
        reference: the value that the others are measured in; by default that of most sizes and horizons.
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
    return ColumnComparison(
        families=compare_column(table, by, reference=reference, delta=delta, resamples=resamples, seed=seed)
    )

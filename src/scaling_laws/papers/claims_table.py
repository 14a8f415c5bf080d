"""All claims in one list, what a study finds about each, and the files and the table that say so."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from scaling_laws.papers.claim import VERDICTS, Claim, Finding
from scaling_laws.papers.kaplan2020.claims import (
    limited_data,
    positions,
    scaling,
    shape,
    training_time,
    tuning,
)
from scaling_laws.report.evidence import Laws, StudyTables
from scaling_laws.report.text import NOTHING, Table, interval_text, number
from scaling_laws.study.records import write_atomically

CLAIMS: tuple[Claim, ...] = (
    *scaling.CLAIMS,
    *shape.CLAIMS,
    *positions.CLAIMS,
    *limited_data.CLAIMS,
    *training_time.CLAIMS,
    *tuning.CLAIMS,
)


def findings(tables: StudyTables, laws: Laws) -> tuple[tuple[Claim, Finding], ...]:
    """What the study says about every claim."""
    return tuple((claim, claim.evaluate(tables, laws)) for claim in CLAIMS)


def claims_table(tables: StudyTables, laws: Laws) -> Table:
    """One row a claim."""
    return table_of(findings(tables, laws))


def table_of(found: tuple[tuple[Claim, Finding], ...]) -> Table:
    """One row a claim, and how many there are of each verdict."""
    rows = tuple(
        (
            str(claim.number),
            claim.text,
            claim.quantity,
            _value(finding),
            claim.paper or NOTHING,
            finding.verdict,
            finding.why if finding.verdict != "not measured" else f"{finding.why}; needs {_sweep(claim)}",
        )
        for claim, finding in found
    )
    counts = Counter(finding.verdict for _, finding in found)
    caption = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return Table(
        columns=("", "claim", "quantity", "this study", "paper", "verdict", "why"),
        rows=rows,
        caption=f"{caption}. Brackets: 90 % intervals. The rules are in claims.md.",
    )


def write_findings(laws: Laws, found: tuple[tuple[Claim, Finding], ...], folder: Path) -> None:
    """`claims.md`, `claims.csv` and `claims.json` in a folder.

    Raises:
        InputError: the folder cannot be written to.
    """
    entries = [_entry(claim, finding) for claim, finding in found]
    write_atomically(folder / "claims.json", json.dumps(entries, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "claims.csv", _csv(entries))
    write_atomically(folder / "claims.md", _markdown(laws, found))


def _entry(claim: Claim, finding: Finding) -> dict[str, Any]:
    low, high = finding.interval or (None, None)
    return {
        "number": claim.number,
        "claim": claim.text,
        "source": claim.source,
        "quantity": claim.quantity,
        "value": finding.value,
        "low": low,
        "high": high,
        "paper": claim.paper,
        "verdict": finding.verdict,
        "why": finding.why,
        "rule": claim.rule,
        "sweep": _sweep(claim),
    }


def _sweep(claim: Claim) -> str:
    return f"configs/sweeps/{claim.sweep}.yaml"


def _value(finding: Finding) -> str:
    if finding.value is None:
        return NOTHING
    return f"{number(finding.value)} {interval_text(finding.interval)}".strip()


def _csv(entries: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(entries[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return text.getvalue()


def _markdown(laws: Laws, found: tuple[tuple[Claim, Finding], ...]) -> str:
    """The table, and below it every rule."""
    table = table_of(found)
    parts = [
        f"# Claims of the paper, and what {laws['study']} finds",
        table.markdown(),
        table.caption,
        "## Rules",
        "\n".join(
            f"{claim.number}. **{claim.text}** ({claim.source}). {claim.rule} Runs: `{_sweep(claim)}`."
            for claim, _ in found
        ),
    ]
    return "\n\n".join(parts) + "\n"

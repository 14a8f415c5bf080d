"""What `scaling-laws sweep FILE --status` prints: what is done, what runs, what it cost, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from scaling_laws.sweeps import attempts
from scaling_laws.sweeps.ledger import RUNNING, LedgerRow, TrunkLedger

LOST = (attempts.FAILED, attempts.OUT_OF_MEMORY, attempts.KILLED)
LISTED = 20
"""Trainings named one by one; more are counted."""


def status_text(study: str, trunks: Sequence[TrunkLedger]) -> str:
    """The ledger of a study in a few lines."""
    n_runs, n_done = sum(trunk.n_runs for trunk in trunks), sum(trunk.n_done for trunk in trunks)
    finished = [trunk for trunk in trunks if trunk.n_done == trunk.n_runs]
    running = [trunk for trunk in trunks if trunk.is_running]
    aside = [trunk for trunk in trunks if trunk.set_aside and not trunk.is_running]
    n_waiting = len(trunks) - len(finished) - len(running) - len(aside)
    rows = [row for trunk in trunks for row in trunk.rows]
    lost = [row for row in rows if row.outcome in LOST]
    lines = [
        f"study {study}: {n_done} of {n_runs} runs done",
        f"trainings: {len(trunks)} planned, {len(finished)} done, {len(running)} running, "
        f"{n_waiting} waiting, {len(aside)} set aside",
        f"attempts: {len(rows)}{_outcomes(rows)}",
        f"spent: {_spent(rows)}",
        f"  of it by attempts that failed or were killed: {_spent(lost)}",
    ]
    lines += _named("running", [_running(trunk) for trunk in running])
    lines += _named(
        "set aside (--retry-failed tries them again)",
        [f"{trunk.name}: {trunk.set_aside}" for trunk in aside],
    )
    lines += _named("failed, and tried again", [_failed(trunk) for trunk in trunks if _has_failed(trunk)])
    return "\n".join(lines)


def _outcomes(rows: Sequence[LedgerRow]) -> str:
    counts = Counter(row.outcome for row in rows)
    return f" ({', '.join(f'{n} {outcome}' for outcome, n in sorted(counts.items()))})" if rows else ""


def _spent(rows: Sequence[LedgerRow]) -> str:
    seconds = sum(row.device_s for row in rows)
    return (
        f"{seconds:,.0f} device-seconds ({timedelta(seconds=round(seconds))}), "
        f"{sum(row.C for row in rows):.3g} FLOPs (6ND)"
    )


def _running(trunk: TrunkLedger) -> str:
    if not trunk.rows or trunk.rows[-1].outcome != RUNNING:
        return trunk.name
    row = trunk.rows[-1]
    return f"{trunk.name}: on {row.host}, process {row.pid}, for {timedelta(seconds=round(row.elapsed_s))}"


def _has_failed(trunk: TrunkLedger) -> bool:
    return trunk.set_aside is None and any(row.outcome in LOST and row.reason for row in trunk.rows)


def _failed(trunk: TrunkLedger) -> str:
    lost = [row for row in trunk.rows if row.outcome in LOST]
    return f"{trunk.name}: {len(lost)} attempts lost, last: {lost[-1].reason}"


def _named(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return [f"{title}:", *(f"  {line}" for line in lines[:LISTED]), *more]

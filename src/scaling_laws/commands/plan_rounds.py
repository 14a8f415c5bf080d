"""`scaling-laws plan --rounds R`: its options, and the file of the ledger."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from scaling_laws.study.errors import InputError
from scaling_laws.study.records import write_atomically

if TYPE_CHECKING:
    from scaling_laws.laws.plan.rounds import RoundsPlan

OF_A_LAW = ("laws", "published", "family", "target_loss", "n", "d", "tokens_per_second", "served_tokens")
OTHER_ANSWERS = ("unique_tokens", "next_rung", "freeze", "price")
SETTINGS = {"batch": "batch_tokens", "beta2": "beta2", "epsilon": "epsilon"}


def rounds(options: argparse.Namespace) -> RoundsPlan:
    """Plan the round that is on, and write its runs into the ledger.

    Raises:
        InputError: an option that does not belong here, no budget, or what is wrong with the ledger.
    """
    from scaling_laws.laws.plan.budget_ledger import ledger_csv, read_ledger
    from scaling_laws.laws.plan.rounds import FIRST_RATE, Campaign, plan_rounds

    for name in (*OF_A_LAW, *OTHER_ANSWERS):
        if getattr(options, name):
            raise InputError(f"--rounds learns a law of its own: leave --{name.replace('_', '-')} out")
    campaign = Campaign(
        compute=_budget(options),
        rounds=options.rounds,
        learning_rate=options.learning_rate or FIRST_RATE,
        settings={
            setting: getattr(options, name) for name, setting in SETTINGS.items() if getattr(options, name)
        },
        screened=_screened(options.screen),
        smallest_N=options.smallest_n or 1.0,
    )
    if options.ledger is None:
        return plan_rounds(campaign)
    is_new = not options.ledger.exists()
    try:
        found = plan_rounds(campaign, None if is_new else read_ledger(options.ledger))
    except InputError as error:
        if str(options.ledger) in str(error):
            raise
        raise InputError(f"{options.ledger}: {error}" if not is_new else str(error)) from None
    if found.new:
        write_atomically(options.ledger, ledger_csv(found.ledger))
    return replace(found, file=str(options.ledger))


def _budget(options: argparse.Namespace) -> float:
    """FLOPs."""
    from scaling_laws.laws.plan.compute_budget import DEFAULT_MFU, compute_of_hours

    if options.compute:
        return float(options.compute)
    if options.gpu_hours and (options.device or options.peak_tflops):
        peak = options.peak_tflops * 1e12 if options.peak_tflops else options.device.peak_flops_per_s
        return compute_of_hours(options.gpu_hours, peak, options.mfu or DEFAULT_MFU)
    raise InputError("--rounds spends a budget: give --compute C, or --gpu-hours H with --device NAME")


def _screened(text: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()] if text else []
    if unknown := [name for name in names if name not in SETTINGS]:
        raise InputError(f"--screen is {text}: {unknown[0]!r} is not one of {', '.join(SETTINGS)}")
    return tuple(SETTINGS[name] for name in names)

"""The largest reference that a budget pays for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.budget import Budget, parse_budget
from scaling_laws.sweeps.plan.experiments import Cost, Plan, by_trunk, study_specs, trained_tokens
from scaling_laws.sweeps.plan.reference import Reference, reference_of_size
from scaling_laws.sweeps.plan.run_specs import RunSpec

SIZES = tuple(float(f"{10 ** (k / 20):.3g}") for k in range(40, 281))
"""References are taken from twenty sizes a decade: machines of nearly equal speed plan the same networks."""
STRIDE = 8


def needs_time(study: Plan) -> bool:
    """Whether what the budget pays for depends on how fast this machine is."""
    return _needs_reference(study) and budget_of(study).device is not None


def budget_of(study: Plan) -> Budget:
    """The study's budget; those in the files that it includes are for these alone.

    Raises:
        InputError: there is none, it is no amount of compute, or not one of the runs' devices.
    """
    sweep = study.sweep
    if not sweep.budget:
        raise InputError(
            f"study {sweep.study!r}: its sizes or horizons are shares of what a budget pays for, but no "
            'budget is given; add budget: "30 core-minutes", or call it with --budget'
        )
    budget = parse_budget(sweep.budget)
    for experiment in study.experiments:
        on_cpu = experiment.trainer_arguments["accelerator"] == "cpu"
        if budget.device is not None and (budget.device == "core") != on_cpu:
            raise InputError(
                f"study {sweep.study!r}: its budget is {budget}, and its runs are trained on "
                f"{'CPU cores' if on_cpu else 'GPUs'}; take another --scale or --budget"
            )
    return budget


def find_references(study: Plan, cost: Cost | None) -> dict[str, Reference]:
    """What the budget pays for: one network and one horizon, for all experiments of a study.

    Args:
        study: a plan without trunks.
        cost: seconds of training, for a budget of time; may be None for one of FLOPs.

    Raises:
        InputError: the budget does not suffice for the smallest plan, or is not of this machine's devices.
    """
    if not _needs_reference(study):
        return {}
    budget = budget_of(study)
    price = _exact_flops if budget.device is None else cost
    assert price is not None
    impossible: list[InputError] = []

    @cache
    def price_of(N: float) -> float | None:
        """None where some network or horizon of the plan would be too small, or too large, to exist."""
        try:
            return spent(study_specs(replace(study, references=_references(study, N))), price)
        except InputError as error:
            impossible.append(error)
            return None

    possible = next((k for k in range(0, len(SIZES), STRIDE) if price_of(SIZES[k]) is not None), None)
    if possible is None:
        raise impossible[-1]
    below = range(max(0, possible - STRIDE + 1), possible + 1)
    smallest = next(k for k in below if price_of(SIZES[k]) is not None)
    least = price_of(SIZES[smallest])
    assert least is not None
    if least > budget.amount:
        raise InputError(
            f"study {study.sweep.study!r}: a budget of {budget} does not suffice: the smallest plan that its "
            f"networks and horizons allow (reference N = {SIZES[smallest]:g}) costs "
            f"{replace(budget, amount=_rounded_up(least))}; give it that much, or plan fewer runs"
        )

    def affordable(k: int) -> bool:
        price = price_of(SIZES[k])
        return price is not None and price <= budget.amount

    low, high = smallest, smallest + STRIDE
    while high < len(SIZES) and affordable(high):
        low, high = high, high + STRIDE
    high = min(high, len(SIZES))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if affordable(middle) else (low, middle)
    return _references(study, SIZES[low])


def spent(specs: Iterable[RunSpec], price: Callable[[RunSpec, int], float]) -> float:
    """What runs cost, in the unit of the price."""
    return sum(
        price(spec, tokens) for together in by_trunk(specs) for spec, tokens in trained_tokens(together)
    )


def _needs_reference(study: Plan) -> bool:
    return any(experiment.needs_reference for experiment in study.experiments)


def _references(study: Plan, N: float) -> dict[str, Reference]:
    return {
        experiment.study: reference_of_size(study.sweep, experiment, N)
        for experiment in study.experiments
        if experiment.needs_reference
    }


def _rounded_up(amount: float) -> float:
    """To the two digits that an error names: what it says suffices."""
    step = 10.0 ** (math.floor(math.log10(amount)) - 1)
    return math.ceil(amount / step) * step


def _exact_flops(spec: RunSpec, tokens: int) -> float:
    return spec.network.compute_flops(tokens)["C_exact"]

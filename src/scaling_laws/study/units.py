"""Units that several layers count in."""

PF_DAY_FLOPS = 1e15 * 24 * 3600
"""FLOPs of one petaflop/s-day: Kaplan 2020's unit of compute."""

FLOP_AXES = {"kflop": 1e3, "mflop": 1e6, "gflop": 1e9, "pflop": 1e15}
"""Units of TensorBoard's compute axes, whose values are integers of 64 bits."""


def flop_axes(flops_per_step: float) -> list[str]:
    """Names of the compute axes on which a run's optimiser steps are distinct integers.

    Those of which a step costs 1 or more: several for a large network, so that it lies on one axis with
    smaller ones of its study; kflop is for networks that have no other.
    """
    axes = [name for name, flops in FLOP_AXES.items() if flops <= flops_per_step]
    return axes[1:] if len(axes) > 1 else axes

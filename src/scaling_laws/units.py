"""Units that several layers count in."""

PF_DAY_FLOPS = 1e15 * 24 * 3600
"""FLOPs of one petaflop/s-day: Kaplan 2020's unit of compute."""

"""How a table of runs may be read; `--help` shows it without an import of NumPy."""

from typing import Literal, get_args

Keep = Literal["all", "last", "best"]
"""Which of several rows of one run."""
KEEP: tuple[Keep, ...] = get_args(Keep)
LossUnit = Literal["nats", "bits", "bits/byte", "perplexity"]
"""Nats and bits per token."""
LOSS_UNITS: tuple[LossUnit, ...] = get_args(LossUnit)

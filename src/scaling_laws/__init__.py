"""Measure how language models scale, and decide what to train next."""

__version__ = "0.2.0.dev0"

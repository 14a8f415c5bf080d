"""Measure how language models scale, and decide what to train next."""

__version__ = "0.1.0"

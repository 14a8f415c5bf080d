"""Kaplan et al. 2020: every experiment, figure, table and claim of it, from one study."""

from __future__ import annotations

from scaling_laws.papers.kaplan2020.claims import (
    of_learning_rates,
    of_limited_data,
    of_positions,
    of_shape,
    of_size_data_compute,
    of_training_time,
)
from scaling_laws.papers.kaplan2020.tables import all_tables
from scaling_laws.report.paper import Paper

PAPER = Paper(
    module=__name__,
    title="Scaling Laws for Neural Language Models",
    citation="Kaplan, McCandlish, Henighan et al. 2020 (arXiv 2001.08361)",
    question="How does the loss of a language model depend on its size, its data, its compute and its shape?",
    sweep="configs/papers/kaplan2020.yaml",
    claims=(
        *of_size_data_compute.CLAIMS,
        *of_shape.CLAIMS,
        *of_positions.CLAIMS,
        *of_limited_data.CLAIMS,
        *of_training_time.CLAIMS,
        *of_learning_rates.CLAIMS,
    ),
    figures={
        "power_laws": "Fig. 1",
        "learning_curves": "Fig. 2",
        "shape": "Fig. 5",
        "families": "Fig. 7",
        "critical_batch": "Fig. 10",
        "reuse": "Fig. 17",
        "position": "Fig. 20",
        "size_at_positions": "Fig. 21",
        "power_law_or_logarithm": "Fig. 23",
    },
    tables=all_tables,
)

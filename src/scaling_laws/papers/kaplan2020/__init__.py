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
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.kaplan2020.paper_tables import all_tables
from scaling_laws.report.reproduction import Paper

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
        "fig03_growth": "Fig. 3",
        "fig04_data_and_steps": "Fig. 4",
        "fig05_shape": "Fig. 5",
        "fig06_parameter_counts": "Fig. 6",
        "families": "Fig. 7",
        "fig08_transfer": "Fig. 8",
        "fig09_overfitting": "Fig. 9",
        "critical_batch": "Fig. 10",
        "fig11_fixed_compute_and_steps": "Fig. 11",
        "fig12_cost_of_a_wrong_size": "Fig. 12",
        "fig13_compute_min": "Fig. 13",
        "fig14_size_and_steps": "Fig. 14",
        "fig15_crossing": "Fig. 15",
        "fig16_early_stopping": "Fig. 16",
        "fig17_reuse": "Fig. 17",
        "fig18_steps_and_tokens": "Fig. 18",
        "fig19_least_steps_and_tokens": "Fig. 19",
        "position": "Fig. 20",
        "fig21_size_at_positions": "Fig. 21",
        "fig22_schedules": "Fig. 22",
        "fig23_power_law_or_logarithm": "Fig. 23",
        "fig24_depth": "Fig. 24",
    },
    tables=all_tables,
    evidence=KaplanTables,
)

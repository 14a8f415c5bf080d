"""What TensorBoard's tab `Custom Scalars` shows of a study: all its runs in one chart a question.

A chart names tags by a regular expression; each run that TensorBoard shows and that has such a tag is a line
of it. The tags are those of `training/event_log.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.records import MAIN_CORPUS
from scaling_laws.study.units import FLOP_AXES, flop_axes

SUMMARY_RUN = "summary"
"""Name of the report's own TensorBoard run: a folder beside the study's runs, without a record.json."""
EVENTS = "events.out.tfevents."
"""How the names of TensorBoard's files begin."""
Charts = Mapping[str, str]
"""By title, the regular expression of the tags."""
LOSS = "_loss_nats"


def categories(tables: StudyTables) -> dict[str, Charts]:
    """The charts by category, in order: empty where no run left a curve."""
    if tables.curves.empty:
        return {}
    corpora = sorted(_corpora(tables.curves), key=lambda name: (name != MAIN_CORPUS, name))
    return {
        # With more than forty runs TensorBoard begins with none of them chosen, and all charts empty.
        "Loss by training tokens, of the runs chosen on the left": {
            f"{corpus}, nats per token": rf"loss_nats_by_tokens/{corpus}$" for corpus in corpora
        },
        "Loss by training compute C = 6ND": {
            f"{MAIN_CORPUS}, nats per token, by {_unit_name(unit)}": rf"loss_nats_by_{unit}/{MAIN_CORPUS}$"
            for unit in _compute_axes(tables.curves)
        },
        "Loss by position in the context": {
            f"{MAIN_CORPUS}, nats per token (choose a run)": rf"position_loss_nats/{MAIN_CORPUS}_at_\d+$"
        },
        "Batch": {"gradient noise scale, tokens": r"training/noise_scale_tokens$"},
    }


def _corpora(curves: pd.DataFrame) -> Iterator[str]:
    """`train` and every held-out corpus that any run has a loss on."""
    for column in curves.columns:
        if column.endswith(LOSS) and curves[column].notna().any():
            yield column.removesuffix(LOSS)


def _compute_axes(curves: pd.DataFrame) -> list[str]:
    """Names of the compute axes that any run is drawn over."""
    used = {unit for flops_per_step in curves["C"] / curves["step"] for unit in flop_axes(flops_per_step)}
    return [unit for unit in FLOP_AXES if unit in used]


def _unit_name(unit: str) -> str:
    """`GFLOPs` of `gflop`."""
    return f"{unit[0].upper()}FLOPs"

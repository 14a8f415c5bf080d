"""Table 1 of Kaplan 2020 for a study's own networks: parameters and FLOPs by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scaling_laws.report import style as st
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.report.text import NOTHING, Table, short
from scaling_laws.study.conventions import EMBEDDING_GROUPS, HEAD_GROUP
from scaling_laws.study.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A row of Table 1.

    Attributes:
        name, parameters_formula, flops_formula: as printed.
        parameters, flops: of a shape; None for a row that has none.
        groups, rows: of a record (`models/transformer_config.py`) that the row is the sum of; groups are None
            where a record keeps them only together with another row.
    """

    name: str
    parameters_formula: str
    flops_formula: str
    parameters: Callable[[Mapping[str, float]], float] | None
    flops: Callable[[Mapping[str, float]], float] | None
    groups: tuple[str, ...] | None
    rows: tuple[str, ...]


OPERATIONS = (
    Operation(
        name="Embed",
        parameters_formula="(n_vocab + n_ctx) d_model",
        flops_formula="4 d_model",
        parameters=lambda s: (s["n_vocab"] + s["n_ctx"]) * s["d_model"],
        flops=lambda s: 4 * s["d_model"],
        groups=EMBEDDING_GROUPS,
        rows=("embed",),
    ),
    Operation(
        name="Attention: QKV",
        parameters_formula="n_layer d_model 3 d_attn",
        flops_formula="2 n_layer d_model 3 d_attn",
        parameters=lambda s: s["n_layer"] * s["d_model"] * 3 * s["d_attn"],
        flops=lambda s: 2 * s["used"] * s["d_model"] * 3 * s["d_attn"],
        groups=None,
        rows=("attention_qkv",),
    ),
    Operation(
        name="Attention: mask",
        parameters_formula=NOTHING,
        flops_formula="2 n_layer n_ctx d_attn",
        parameters=None,
        flops=lambda s: 2 * s["used"] * s["n_ctx"] * s["d_attn"],
        groups=None,
        rows=("attention_mask",),
    ),
    Operation(
        name="Attention: project",
        parameters_formula="n_layer d_attn d_model",
        flops_formula="2 n_layer d_attn d_model",
        parameters=lambda s: s["n_layer"] * s["d_attn"] * s["d_model"],
        flops=lambda s: 2 * s["used"] * s["d_attn"] * s["d_model"],
        groups=None,
        rows=("attention_project",),
    ),
    Operation(
        name="Attention: QKV and project",
        parameters_formula="4 n_layer d_model d_attn",
        flops_formula=NOTHING,
        parameters=lambda s: 4 * s["n_layer"] * s["d_model"] * s["d_attn"],
        flops=None,
        groups=("attention",),
        rows=("attention",),
    ),
    Operation(
        name="Feed-forward",
        parameters_formula="n_layer 2 d_model d_ff",
        flops_formula="2 n_layer 2 d_model d_ff",
        parameters=lambda s: s["n_layer"] * 2 * s["d_model"] * s["d_ff"],
        flops=lambda s: 2 * s["used"] * 2 * s["d_model"] * s["d_ff"],
        groups=("feed_forward",),
        rows=("feed_forward",),
    ),
    Operation(
        name="De-embed",
        parameters_formula=NOTHING,
        flops_formula="2 d_model n_vocab",
        parameters=None,
        flops=lambda s: 2 * s["d_model"] * s["n_vocab"],
        groups=(HEAD_GROUP,),
        rows=("de_embed",),
    ),
)
TOTAL = "Total (non-embedding)"


def accounting(record: RunRecord) -> pd.DataFrame:
    """Table 1 for a run's network: its own counts beside the paper's formulas for its shape.

    Columns operation, parameters_formula, parameters_paper, parameters, flops_formula, flops_paper, flops:
    the paper's count is None for a network that is no Transformer, ours where the record has none of its
    own. FLOPs are of one token forward; training takes three times as many. What the paper drops (norms) and
    what other families have stands in rows of its own.
    """
    shape, rows = _shape(record), []
    known_groups: set[str] = set()
    known_rows: set[str] = set()
    for operation in OPERATIONS:
        groups = [group for group in operation.groups or () if group in record.parameters]
        flops = [row for row in operation.rows if row in record.flops_per_token]
        known_groups |= set(groups)
        known_rows |= set(flops)
        if shape is None and not groups and not flops:
            continue
        rows.append(
            {
                "operation": operation.name,
                "parameters_formula": operation.parameters_formula,
                "parameters_paper": operation.parameters(shape) if operation.parameters and shape else None,
                "parameters": sum(record.parameters[group] for group in groups) if groups else None,
                "flops_formula": operation.flops_formula,
                "flops_paper": operation.flops(shape) if operation.flops and shape else None,
                "flops": sum(record.flops_per_token[row] for row in flops) if flops else None,
            }
        )
    others = [name for name in record.parameters if name not in known_groups]
    others += [name for name in record.flops_per_token if name not in known_rows and name not in others]
    rows += [
        {
            "operation": f"{name.replace('_', ' ').capitalize()} (not in the paper)",
            "parameters_formula": NOTHING,
            "parameters_paper": None,
            "parameters": None if name in known_groups else record.parameters.get(name),
            "flops_formula": NOTHING,
            "flops_paper": None,
            "flops": None if name in known_rows else record.flops_per_token.get(name),
        }
        for name in others
    ]
    rows.append(_total(record, shape))
    return pd.DataFrame(rows)


def _shape(record: RunRecord) -> dict[str, float] | None:
    """What the formulas need, defaults filled in; `used` counts a layer as often as it is used."""
    needed = ("n_layer", "d_model", "n_ctx", "n_vocab")
    if "attention" not in record.parameters or any(record.shape.get(name) is None for name in needed):
        return None
    shape = {name: float(record.shape[name]) for name in needed}
    d_ff, d_attn = record.shape.get("d_ff"), record.shape.get("d_attn")
    shape["d_ff"] = 4 * shape["d_model"] if d_ff is None else float(d_ff)
    shape["d_attn"] = shape["d_model"] if d_attn is None else float(d_attn)
    shape["used"] = shape["n_layer"] * float(record.shape.get("n_reuse") or 1)
    return shape


def _total(record: RunRecord, shape: Mapping[str, float] | None) -> dict[str, Any]:
    """N, and C_forward = 2 N + 2 n_layer n_ctx d_attn: everything but what embeds and de-embeds."""
    outside = (*EMBEDDING_GROUPS, HEAD_GROUP)
    parameters_paper = flops_paper = None
    if shape is not None:
        per_layer = 2 * shape["d_model"] * (2 * shape["d_attn"] + shape["d_ff"])
        parameters_paper = shape["n_layer"] * per_layer
        flops_paper = 2 * shape["used"] * (per_layer + shape["n_ctx"] * shape["d_attn"])
    return {
        "operation": TOTAL,
        "parameters_formula": "N = 2 d_model n_layer (2 d_attn + d_ff)",
        "parameters_paper": parameters_paper,
        "parameters": sum(count for group, count in record.parameters.items() if group not in outside),
        "flops_formula": "C_forward = 2 N + 2 n_layer n_ctx d_attn",
        "flops_paper": flops_paper,
        "flops": sum(
            flops for row, flops in record.flops_per_token.items() if row not in ("embed", "de_embed")
        ),
    }


def table_1(tables: StudyTables) -> Table:
    """Parameters and FLOPs of the largest network of every family, beside the paper's formulas."""
    of_parameters = ("parameters", "by formula", "counted")
    of_flops = ("FLOPs per token, forward", "by formula", "counted")
    columns = ("family", "operation", *of_parameters, *of_flops)
    rows: list[tuple[str, ...]] = []
    records = {record.name: record for record in tables.study.records}
    for family in st.families_of(tables.complete["family"]) if len(tables.complete) else ():
        runs = tables.complete[tables.complete["family"] == family].sort_values(["N", "run"])
        record = records.get(str(runs["run"].iloc[-1]))
        if record is None:
            continue
        name = f"{st.family_name(family)}, N = {short(float(runs['N'].iloc[-1]))}"
        for row in accounting(record).to_dict("records"):
            counts = (_count(row[key]) for key in ("parameters_paper", "parameters", "flops_paper", "flops"))
            parameters_paper, parameters, flops_paper, flops = counts
            cells = (str(row["parameters_formula"]), parameters_paper, parameters)
            rows.append((name, str(row["operation"]), *cells, str(row["flops_formula"]), flops_paper, flops))
    caption = (
        "Counts are for the largest network of each family. The paper drops biases, norms and "
        "nonlinearities, and leaves embedding and de-embedding out of N and C; a record keeps the "
        "attention's matrices as one group. If a shape names no d_attn or d_ff, d_model and 4 d_model are "
        "assumed."
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption if rows else "")


def _count(value: Any) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{float(value):,.0f}"

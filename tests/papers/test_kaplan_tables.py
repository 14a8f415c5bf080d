"""The paper's tables beside a study's: formulas by hand, printed constants, and the values of `laws.json`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from tests.papers.kaplan_study import by_hand, kaplan_of, timed_study

from scaling_laws.models.lstm_config import LSTMConfig
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.papers.kaplan2020 import paper_tables
from scaling_laws.papers.kaplan2020.accounting import TOTAL, accounting, table_1
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.study.units import PF_DAY_FLOPS

SHAPE = {"n_vocab": 1000, "n_ctx": 64, "n_layer": 3, "d_model": 32, "n_heads": 2, "d_ff": 96, "d_attn": 48}


@pytest.fixture(scope="module")
def timed() -> KaplanTables:
    return timed_study()


def record_of(synthetic: Any, config: Any, shape: dict[str, Any]) -> Any:
    return replace(
        synthetic.study.records[0],
        shape=shape,
        parameters=config.parameters_by_group(),
        flops_per_token=config.flops_per_token(),
    )


def by_operation(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(row["operation"]): {str(k): v for k, v in row.items()} for row in table.to_dict("records")}


# --- Table 1 --------------------------------------------------------------------------------------


def test_table_1_by_hand(synthetic: Any) -> None:
    """Every row by its formula, written out for one shape; counted parameters add biases alone."""
    rows = by_operation(accounting(record_of(synthetic, TransformerConfig(**SHAPE), SHAPE)))
    parameters = {
        "Embed": (1000 + 64) * 32,
        "Attention: QKV": 3 * 32 * 3 * 48,
        "Attention: project": 3 * 48 * 32,
        "Attention: QKV and project": 3 * 32 * 3 * 48 + 3 * 48 * 32,
        "Feed-forward": 3 * 2 * 32 * 96,
        TOTAL: 2 * 32 * 3 * (2 * 48 + 96),
    }
    flops = {
        "Embed": 4 * 32,
        "Attention: QKV": 2 * 3 * 32 * 3 * 48,
        "Attention: mask": 2 * 3 * 64 * 48,
        "Attention: project": 2 * 3 * 48 * 32,
        "Feed-forward": 2 * 3 * 2 * 32 * 96,
        "De-embed": 2 * 32 * 1000,
        TOTAL: 2 * parameters[TOTAL] + 2 * 3 * 64 * 48,
    }
    for name, expected in parameters.items():
        assert rows[name]["parameters_paper"] == expected, name
    for name, expected in flops.items():
        assert rows[name]["flops_paper"] == expected == rows[name]["flops"], name
    assert rows["Embed"]["parameters"] == parameters["Embed"]
    biases = 3 * (3 * 48 + 32)
    assert (
        rows["Attention: QKV and project"]["parameters"] == parameters["Attention: QKV and project"] + biases
    )
    assert rows["De-embed"]["parameters"] == 0  # tied
    norms = rows["Norm (not in the paper)"]["parameters"]
    assert norms == (2 * 3 + 1) * 2 * 32
    assert rows[TOTAL]["parameters"] == parameters[TOTAL] + biases + 3 * (96 + 32) + norms


def test_standard_shape_has_12_n_layer_d_model_squared(synthetic: Any) -> None:
    """(2.1): the shapes named in the paper's figures."""
    for n_layer, d_model, N in ((1, 8, 768), (2, 128, 393_216), (4, 256, 3_145_728)):
        shape = {"n_vocab": 50257, "n_ctx": 1024, "n_layer": n_layer, "d_model": d_model, "d_ff": None}
        record = record_of(synthetic, TransformerConfig(**shape), shape)
        assert by_operation(accounting(record))[TOTAL]["parameters_paper"] == N


def test_reused_blocks_are_counted_once_and_computed_often(synthetic: Any) -> None:
    shape = SHAPE | {"n_reuse": 4}
    rows = by_operation(accounting(record_of(synthetic, TransformerConfig(**shape), shape)))
    once = by_operation(accounting(record_of(synthetic, TransformerConfig(**SHAPE), SHAPE)))
    assert rows[TOTAL]["parameters_paper"] == once[TOTAL]["parameters_paper"]
    assert rows[TOTAL]["flops_paper"] == 4 * once[TOTAL]["flops_paper"] == rows[TOTAL]["flops"]


def test_other_families_have_rows_of_their_own(synthetic: Any) -> None:
    shape = {"n_vocab": 1000, "n_ctx": 64, "n_layer": 2, "d_model": 32}
    rows = by_operation(accounting(record_of(synthetic, LSTMConfig(**shape), shape)))
    recurrent = rows["Recurrent (not in the paper)"]
    assert recurrent["parameters"] == 2 * 4 * (2 * 32 * 32 + 2 * 32)
    assert recurrent["flops"] == 2 * 2 * 4 * 2 * 32 * 32 == rows[TOTAL]["flops"]
    assert rows[TOTAL]["parameters_paper"] is None or pd.isna(rows[TOTAL]["parameters_paper"])
    assert "Attention: QKV" not in rows


def test_nothing_that_a_network_counts_is_lost(synthetic: Any) -> None:
    """Rows of a network of one's own, whatever it calls them."""
    record = replace(
        synthetic.study.records[0],
        parameters={"token_embedding": 10, "attention": 20, "mixer": 30, "head": 5},
        flops_per_token={"attention": 40.0, "mixer": 60.0, "de_embed": 7.0, "gate": 3.0},
    )
    table = accounting(record)
    parts = table[table["operation"] != TOTAL]
    assert parts["parameters"].sum() == 65 and parts["flops"].sum() == 110
    total = by_operation(table)[TOTAL]
    assert (total["parameters"], total["flops"]) == (50, 103)


def test_table_1_shows_the_largest_network_of_every_family(synthetic: Any) -> None:
    text = table_1(synthetic.tables)
    runs = synthetic.tables.complete
    for family, name in (("transformer", "Transformer"), ("lstm", "LSTM")):
        N = runs.loc[runs["family"] == family, "N"].max()
        totals = [row for row in text.rows if row[0].startswith(f"{name}, N = ") and row[1] == TOTAL]
        assert len(totals) == 1
        assert f"{N:,.0f}" in totals[0]
    assert not table_1(by_hand()).rows


# --- Tables 2 to 6 --------------------------------------------------------------------------------

TABLE_2 = {"alpha_N": 0.076, "alpha_D": 0.103, "N_c": 6.4e13, "D_c": 1.8e13}
TABLE_3 = {"alpha_N": 0.077, "alpha_S": 0.76, "N_c": 6.5e13, "S_c": 2.1e3}
TABLE_5 = {"alpha_N": 0.076, "N_c": 8.8e13, "alpha_D": 0.095, "D_c": 5.4e13, "alpha_C": 0.057, "C_c": 1.6e7}
TABLE_5 |= {
    "alpha_C_min": 0.050,
    "C_c_min": 3.1e8,
    "alpha_B": 0.21,
    "B_star": 2.1e8,
    "alpha_S": 0.76,
    "S_c": 2.1e3,
}
TABLE_6 = {
    "p_N": 0.73,
    "N_e": 1.3e9,
    "p_B": 0.24,
    "B_e": 2.0e6,
    "p_S": 0.03,
    "S_e": 5.4e3,
    "p_D": 0.27,
    "D_e": 2e10,
}


@pytest.mark.parametrize(
    ("table", "printed"),
    [
        (paper_tables.joint_of_data, TABLE_2),
        (paper_tables.joint_of_steps, TABLE_3),
        (paper_tables.fitted_values, TABLE_5),
        (paper_tables.efficient_training, TABLE_6),
    ],
)
def test_the_papers_columns_are_as_printed(
    synthetic: Any, timed: Any, table: Any, printed: dict[str, float]
) -> None:
    for study in (timed, kaplan_of(synthetic)):
        values = table(study)
        for _, of_family in values.groupby("family"):
            found = dict(zip(of_family["quantity"], of_family["paper"], strict=True))
            assert found == pytest.approx(printed, rel=1e-12)


def ours(table: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    columns = ("value", "low", "high")
    return {str(row["quantity"]): tuple(row[name] for name in columns) for row in table.to_dict("records")}


def test_our_columns_are_the_laws(timed: KaplanTables) -> None:
    of_family, route = timed.laws.of("transformer"), timed.route()
    fits = {fit.form: fit for fit in of_family.fits}
    two, three = (ours(table(timed)) for table in (paper_tables.joint_of_data, paper_tables.joint_of_steps))
    five, six = (
        ours(table(timed)) for table in (paper_tables.fitted_values, paper_tables.efficient_training)
    )
    for name in TABLE_2:
        assert two[name] == (fits["kaplan_nd"].parameters[name], *fits["kaplan_nd"].intervals[name])
    for name in TABLE_3:
        assert three[name] == (getattr(route.law_of_steps, name), *route.interval(name))
    assert five["alpha_N"][0] == fits["kaplan_n"].parameters["alpha_N"]
    assert five["C_c"][0] * PF_DAY_FLOPS == pytest.approx(fits["kaplan_c"].parameters["C_c"])
    assert route.law_of_C_min is not None
    assert five["alpha_C_min"] == (route.law_of_C_min.alpha_C_min, *route.interval("alpha_C_min"))
    assert five["C_c_min"][1] * PF_DAY_FLOPS == pytest.approx(route.interval("C_c_min")[0])
    batch = of_family.critical_batch
    assert five["B_star"] == (batch.parameters["B_star"], *batch.intervals["B_star"])
    for letter, name in (("N", "N"), ("B", "B"), ("S", "S_min"), ("D", "D")):
        optimal = route.optimal(name)
        assert optimal is not None
        assert six[f"p_{letter}"] == (optimal.exponent, *optimal.exponent_interval)
        assert six[f"{letter}_e"][0] == pytest.approx(float(optimal.at(PF_DAY_FLOPS)))
    assert six["N_e"][0] * six["B_e"][0] * six["S_e"][0] * 6 == pytest.approx(PF_DAY_FLOPS)


def test_what_is_not_fitted_says_why(synthetic: Any) -> None:
    """That study has no batch scan: nothing is known of training time, and the cells are dashes."""
    study = kaplan_of(synthetic)
    for table, values in (
        (paper_tables.table_3, paper_tables.joint_of_steps),
        (paper_tables.table_6, paper_tables.efficient_training),
    ):
        assert values(study)["value"].isna().all()
        assert values(study)["reason"].astype(bool).all()
        text = table(study)
        assert {row[2] for row in text.rows} == {"–"}
        assert study.route().reason in text.caption
        assert text.caption.count(study.route().reason) == len(text.columns) - 3  # once a family


def test_table_4_has_the_six_laws(timed: KaplanTables) -> None:
    table = paper_tables.table_4(timed)
    assert [row[:4] for row in table.rows] == [
        ("N", "∞", "∞", "fixed"),
        ("∞", "D", "early stop", "fixed"),
        ("optimal", "∞", "C", "fixed"),
        ("N_opt", "D_opt", "C_min", "B << B_crit"),
        ("N", "D", "early stop", "fixed"),
        ("N", "∞", "S steps", "B"),
    ]
    of_N, steps = timed.laws.of("transformer").fit("kaplan_n"), timed.route().law_of_steps
    assert of_N is not None and steps is not None
    assert table.rows[0][5] == f"α_N = {of_N.parameters['alpha_N']:.4f}"
    assert table.rows[5][5] == f"α_N = {steps.alpha_N:.4f}, α_S = {steps.alpha_S:.3f}"


def test_every_table_of_every_study(synthetic: Any, one_run: Any, timed: KaplanTables) -> None:
    others = (kaplan_of(study) for study in (synthetic, one_run))
    for study in (timed, by_hand(), *others):
        tables = paper_tables.all_tables(study, study.laws)
        assert list(tables) == [f"Table {number}" for number in range(1, 7)]
        for table in tables.values():
            assert all(len(row) == len(table.columns) for row in table.rows)
            assert "nan" not in table.text() and table.markdown()

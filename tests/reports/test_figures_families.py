"""Families, reuse, efficiencies and shapes: numbers against laws that are known, from rows made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from scipy.stats import t as student_t
from tests.support.by_hand import fit_of, laws_with, study_of, tables_of
from tests.support.drawn import figures_in, prepared, said, shown

from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.shapes import (
    RATIOS,
    Correction,
    Importance,
    ShapeNoise,
    ShapeResult,
    ShapeTrial,
    envelope,
    noise_between_shapes,
    ranked,
)
from scaling_laws.papers.kaplan2020.equal_size import (
    compute_for_loss,
    exponent_of_N,
    noise_band_percent,
    shapes_at_equal_N,
)
from scaling_laws.papers.kaplan2020.figures import aspect_ratio, reuse
from scaling_laws.papers.kaplan2020.figures.reuse import reuse_gains, reuse_losses
from scaling_laws.report.figures import compared_families, family_efficiency
from scaling_laws.report.figures.entry import Entry
from scaling_laws.report.figures.family_efficiency import family_efficiency as efficiency_figure
from scaling_laws.report.figures.shape_search import shape_search

FIGURES = (
    *figures_in(compared_families),
    *figures_in(family_efficiency),
    *reuse.FIGURES,
    *aspect_ratio.FIGURES,
)
GAIN = 0.4
"""A block used r times is worth r^0.4 as many parameters."""


def reuse_rows(experiment: str = "reuse") -> list[dict[str, Any]]:
    """L = N^-0.076 of what a network is worth; at another horizon, and with a bad rate, losses are higher."""
    rows = []
    for n_reuse in (1, 2, 4):
        for N in (1e4, 2e4, 4e4, 8e4, 1.6e5) if n_reuse == 1 else (1e4, 4e4):
            for D, learning_rate, factor in ((1e6, 1e-3, 1.0), (1e6, 1e-2, 1.5), (4e6, 1e-3, 0.5)):
                if D > 1e6 and (N < 1e5 or n_reuse > 1):
                    continue
                row = {"N": N, "N_reused": n_reuse * N, "n_reuse": n_reuse, "D": D}
                family = "transformer" if n_reuse == 1 else "recurrent_transformer"
                row |= {"family": family, "experiments": experiment, "learning_rate": learning_rate}
                rows.append(row | {"loss": factor * 8 * (N * n_reuse**GAIN) ** -0.076})
    return rows


def test_reuse_is_measured_at_equal_parameters_and_at_equal_compute() -> None:
    losses = reuse_losses(tables_of(study_of(reuse_rows())))
    assert len(losses) == 5 + 2 + 2 and set(losses["D"]) == {1e6}
    gains = reuse_gains(losses).set_index(["n_reuse", "counted"])
    for n_reuse in (2, 4):
        at_equal_N = 100 * (n_reuse ** (-0.076 * GAIN) - 1)
        at_equal_C = 100 * (n_reuse ** (0.076 * (1 - GAIN)) - 1)
        assert gains.loc[(n_reuse, "N"), "percent"] == pytest.approx(at_equal_N, rel=1e-9)
        assert gains.loc[(n_reuse, "N_reused"), "percent"] == pytest.approx(at_equal_C, rel=1e-9)


def test_figure_17_counts_reuse_on_the_left_and_not_on_the_right() -> None:
    tables = tables_of(study_of(reuse_rows("size, families")))  # without `reuse`, of `families`
    left, right = reuse.draw_reuse(tables, laws_with()).axes[:2]
    reused, unique = (
        next(line for line in axes.lines if line.get_label() == "used 4 times") for axes in (left, right)
    )
    assert list(reused.get_xdata()) == [4e4, 1.6e5] and list(unique.get_xdata()) == [1e4, 4e4]
    assert list(reused.get_ydata()) == list(unique.get_ydata())
    sentence = reuse.describe_reuse(tables, laws_with())
    assert f"used 4 times {100 * (4 ** (-0.076 * GAIN) - 1):+.1f} % at equal parameters" in sentence


def test_families_of_several_depths_are_told_apart_and_a_user_s_own_is_shown() -> None:
    rows = [
        {
            "N": N,
            "D": D,
            "n_layer": n_layer,
            "family": family,
            "loss": 5.0 * N**-0.05,
            "experiments": "families",
        }
        for family, n_layer in (("transformer", 2), ("lstm", 1), ("lstm", 4), ("My$Net", math.nan))
        for N in (1e4, 1e5)
        for D in (1e6, 2e6)
    ]
    rows += [{**row, "experiments": "size", "D": 8e6} for row in rows if row["family"] != "lstm"]
    tables = tables_of(study_of(rows))
    runs = compared_families.compared_runs(tables)
    assert set(runs["D"]) == {2e6} and set(runs["family"]) == {"transformer", "lstm", "My$Net"}
    figure = shown(compared_families.compared_families, tables, laws_with())
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "LSTM of 1 layer" in labels and "LSTM of 4 layers" in labels
    assert r"My\$Net: not identified" in labels


def shared_law(form: str, m_N: float, m_D: float) -> dict[str, Any]:
    interval = {
        name: [value / 2, value * 2] for name, value in (("m_N", m_N), ("m_D", m_D), ("m_C", m_N * m_D))
    }
    one = {
        "family": "lstm",
        "m_N": m_N,
        "m_D": m_D,
        "m_C": m_N * m_D,
        "intervals": interval,
        "parameters": {},
    }
    return {
        "form": form,
        "formula": form,
        "reference": "transformer",
        "efficiencies": [one],
        "reason": "",
        **BLANK,
    }


BLANK = {
    **{"parameters": {}, "objective": None, "separate_objective": None},
    **{"n_rows": 0, "interval_method": ""},
}


def test_efficiencies_stand_where_they_were_fitted() -> None:
    laws = laws_with(families=[shared_law("kaplan_nd", 0.5, 3.0), shared_law("chinchilla", 0.4, 2.0)])
    table = prepared(efficiency_figure, tables_of(study_of()), laws).table
    assert len(table) == 6
    figure = shown(family_efficiency.family_efficiency, tables_of(study_of()), laws)
    for axes, expected in zip(figure.axes, ((0.5, 0.4), (3.0, 2.0), (1.5, 0.8)), strict=True):
        marks = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
        assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx(expected)
        assert [float(line.get_ydata()[0]) for line in marks] == [0, 1]
    sentence = said(family_efficiency.family_efficiency, tables_of(study_of()), laws)
    assert "one FLOP spent on LSTMs is worth 1.50 [0.750, 3.00] spent on Transformers" in sentence


def shape_rows() -> list[dict[str, Any]]:
    """Sizes missed by 2 %. The loss rises by 1 % of ln^2 of aspect ratio over 32, and falls as N^-0.08."""
    rows = []
    for experiment, target, D, depths in (
        ("depth", 4e5, 2e6, (1, 2, 4, 8, 16)),
        ("size", 4e5, 4e6, (1, 2, 6)),
        ("size", 1e5, 4e6, (1, 2, 3, 6)),
        ("size", 2e5, 4e6, (2,)),  # one shape is none to compare
    ):
        for place, n_layer in enumerate(depths):
            N = target * (1 + 0.02 * (-1) ** place)
            d_model = round(math.sqrt(N / 12 / n_layer))
            rise = 0.01 * math.log(d_model / n_layer / 32) ** 2
            row = {"N": N, "D": D, "n_layer": n_layer, "d_model": d_model, "experiments": experiment}
            rows.append(row | {"loss": 4 * (1 + rise) * (N / 1e5) ** -0.08 * (D / 2e6) ** -0.1})
    return rows


def shape_laws() -> dict[str, Any]:
    fits = [
        fit_of("kaplan_n", {"alpha_N": 0.08, "N_c": 1e10}),
        fit_of("kaplan_c", {"alpha_C": 0.05, "C_c": 1e20}),
    ]
    return laws_with(fits=fits) | {"noise": {"sd_log_loss": 0.002, "n_groups": 2, "n_runs": 6}}


def test_shapes_are_compared_at_equal_N() -> None:
    table = shapes_at_equal_N(tables_of(study_of(shape_rows())), shape_laws())
    assert table.groupby("N").size().tolist() == [4, 5]  # at 4e5 the horizon that more shapes have
    for _, group in table.groupby("N"):
        rise = 1 + 0.01 * np.log(group["aspect_ratio"] / 32) ** 2
        np.testing.assert_allclose(group["increase_percent"], 100 * (rise / rise.min() - 1), atol=1e-9)
    assert exponent_of_N(laws_with()).alpha_N == 0.076  # Kaplan's, where the study has none
    assert shapes_at_equal_N(tables_of(study_of()), laws_with()).empty


def test_a_percent_of_loss_in_compute_is_the_paper_s() -> None:
    assert compute_for_loss(shape_laws()) == pytest.approx(22.0, abs=0.1)
    assert compute_for_loss(laws_with()) is None


def test_the_noise_band_is_that_of_few_runs() -> None:
    """Student's t of the runs less their groups, in Figure 5 as in a search of shapes (`laws/shapes.py`)."""
    losses = [[3.00, 3.06, 3.02], [3.1, 3.0, 3.07]]
    of_search = noise_between_shapes(losses)
    rows = [
        {"N": N, "D": 1e6, "seed": seed, "loss": loss, "trunk": f"{N}-{seed}"}
        for N, group in enumerate(losses, 1)
        for seed, loss in enumerate(group)
    ]
    noise = seed_noise(pd.DataFrame(rows))
    assert of_search is not None and of_search.band_percent == pytest.approx(noise.band_percent)
    t = student_t.ppf(0.95, 4)
    assert noise.band_percent == pytest.approx(100 * math.expm1(t * math.sqrt(2) * noise.sd_log_loss))
    of_paper = noise_band_percent(laws_with() | {"noise": vars(noise)})
    assert of_paper == noise.band_percent


def searched() -> ShapeResult:
    """Five trials: the loss rises by 1 % for each doubling away from d_ff / d_model = 4."""
    trials = [
        ShapeTrial(
            run=f"trial-{place}",
            status="complete",
            d_ff_ratio=4.0 * 2**place,
            aspect_ratio=32.0 * 2**place,
            head_width=16,
            n_layer=2,
            d_model=64,
            n_heads=4,
            d_ff=256,
            N=50_000,
            tokens=1_000_000,
            learning_rate=0.01,
            learning_rate_factor=1.0,
            loss=3 * (1 + abs(place) / 100),
            test_loss=None,
            tokens_per_s=None,
        )
        for place in (-2, -1, 0, 1, 2)
    ]
    correction = Correction(alpha_N=0.08, source="a test")
    best_first = ranked(trials, correction, 50_000)
    return ShapeResult(
        study="shape",
        question="",
        N=5e4,
        tokens=1_000_000,
        constant_rate_tokens=(0, 1_000_000),
        n_shapes=5,
        counts={"complete": 5, "infeasible": 0},
        trained_tokens=5_000_000,
        optuna="",
        correction=correction,
        best=best_first[0],
        noise=ShapeNoise(sd_log_loss=0.001, sd_by_shape=(0.001,), n_shapes=1, n_runs=2, band_percent=0.4),
        envelopes={ratio: envelope(best_first, ratio) for ratio in RATIOS},
        importance=Importance(shares={"d_ff_ratio": 0.7, "aspect_ratio": 0.3}, reason=""),
        transfer=None,
        trials=best_first,
    )


def line_of(axes: Axes, label: str) -> Any:
    return next(line for line in axes.lines if str(line.get_label()).startswith(label))


@pytest.mark.parametrize("where", ["shape.json", "../shape/shape.json"])
def test_figure_5_is_drawn_from_a_search_and_from_depths(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "paper"
    (folder / where).parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    (folder / where).resolve().write_bytes(msgspec.json.encode(searched()))
    tables, laws = tables_of(study_of(shape_rows(), folder=folder)), shape_laws()
    left, middle, right = aspect_ratio.draw_shapes(tables, laws).axes[:3]
    assert list(line_of(left, "the best").get_ydata()) == pytest.approx([2, 1, 0, 1, 2])
    deep = line_of(middle, "N = 100k")
    table = shapes_at_equal_N(tables, laws)
    expected = table[(table["N"] < 2e5) & (table["n_layer"] > 1)]
    assert list(deep.get_ydata()) == expected["increase_percent"].tolist()
    assert len(line_of(middle, "a trial").get_xdata()) == 5
    assert right.get_xlabel() == "d_model / n_heads"
    sentence = aspect_ratio.describe_shapes(tables, laws)
    assert "d_ff / d_model of 0.71 to 23 within 2.0 %" in sentence and "α_N = 0.080" in sentence
    result = shape_search.prepare(tables, laws)
    assert result == searched()
    assert "d_ff / d_model matters most (70 %)" in shape_search.describe(result)
    shape_search.draw(result)


def test_the_paper_study_gives_back_its_truth(paper: Any) -> None:
    """Blocks used r times are worth r^0.4 in N there, of which limited data leave a part."""
    gains = reuse_gains(reuse_losses(paper.tables)).set_index(["n_reuse", "counted"])["percent"]
    for n_reuse in (2, 4, 8):
        assert 100 * (n_reuse**-0.0304 - 1) - 0.5 < gains[n_reuse, "N"] < 0
        assert 0 < gains[n_reuse, "N_reused"] < 100 * (n_reuse**0.0456 - 1) + 0.5
    shapes = shapes_at_equal_N(paper.tables, paper.laws)
    assert shapes["N"].nunique() == 4 and shapes["n_layer"].max() == 32
    for entry in FIGURES:
        shown(entry, paper.tables, paper.laws)
        assert said(entry, paper.tables, paper.laws).endswith(".")


@pytest.mark.parametrize("entry", FIGURES, ids=lambda entry: entry.name)
def test_what_cannot_be_drawn_names_its_sweep(entry: Entry, one_run: Any) -> None:
    for tables, laws in ((tables_of(study_of()), laws_with()), (one_run.tables, one_run.laws)):
        figure = shown(entry, tables, laws)
        words = " ".join(text.get_text() for text in figure.texts)
        assert "Needs" in words and ("configs/sweeps/" in words or "make shape" in words)
        assert said(entry, tables, laws).endswith(".")

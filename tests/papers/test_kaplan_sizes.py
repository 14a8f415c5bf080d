"""Figures 5, 6, 17, 21 and 23: what is prepared, against laws that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.axes import Axes
from tests.papers.kaplan_study import by_hand, kaplan, kaplan_of
from tests.support.by_hand import laws_with, searched, study_of, tables_of

from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.forms.single import KaplanN, LogN
from scaling_laws.laws.positions import PositionLosses
from scaling_laws.papers.kaplan2020.equal_size import alpha_N_of_shapes, shapes_at_equal_N
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.kaplan2020.figures.aspect_ratio import compute_for_loss, fig05_shape
from scaling_laws.papers.kaplan2020.figures.parameter_counts import fig06_parameter_counts, scatter_percent
from scaling_laws.papers.kaplan2020.figures.power_or_logarithm import (
    RIVALS,
    fig23_power_law_or_logarithm,
    prediction_errors,
)
from scaling_laws.papers.kaplan2020.figures.reuse import fig17_reuse, reuse_gains
from scaling_laws.papers.kaplan2020.figures.size_at_positions import (
    context_gaps,
    fig21_size_at_positions,
    of_two_contexts,
)

POWER = {"alpha_N": 0.08, "N_c": 1e12}
LOGARITHM = {"a": 8.0, "b": 0.4}
SIZES = (1e4, 3e4, 1e5, 3e5, 1e6)


def prepared(figure: Any, study: KaplanTables) -> Any:
    data = figure.prepare(study, study.laws)
    assert not isinstance(data, str), data
    return data


# --- Figure 17 ------------------------------------------------------------------------------------

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
    losses = prepared(fig17_reuse, by_hand(reuse_rows()))
    assert len(losses) == 5 + 2 + 2 and set(losses["D"]) == {1e6}
    gains = reuse_gains(losses).set_index(["n_reuse", "counted"])
    for n_reuse in (2, 4):
        at_equal_N = 100 * (n_reuse ** (-0.076 * GAIN) - 1)
        at_equal_C = 100 * (n_reuse ** (0.076 * (1 - GAIN)) - 1)
        assert gains.loc[(n_reuse, "N"), "percent"] == pytest.approx(at_equal_N, rel=1e-9)
        assert gains.loc[(n_reuse, "N_reused"), "percent"] == pytest.approx(at_equal_C, rel=1e-9)


def test_figure_17_counts_reuse_on_the_left_and_not_on_the_right() -> None:
    losses = prepared(fig17_reuse, by_hand(reuse_rows("size, families")))  # without `reuse`, of `families`
    left, right = fig17_reuse.draw(losses).axes[:2]
    reused, unique = (
        next(line for line in axes.lines if line.get_label() == "used 4 times") for axes in (left, right)
    )
    assert list(reused.get_xdata()) == [4e4, 1.6e5] and list(unique.get_xdata()) == [1e4, 4e4]
    assert list(reused.get_ydata()) == list(unique.get_ydata())
    sentence = fig17_reuse.describe(losses)
    assert f"used 4 times {100 * (4 ** (-0.076 * GAIN) - 1):+.1f} % at equal parameters" in sentence


# --- Figure 5 -------------------------------------------------------------------------------------


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


def shape_study(folder: Path = Path("nowhere")) -> KaplanTables:
    fits = {"kaplan_n": {"alpha_N": 0.08, "N_c": 1e10}, "kaplan_c": {"alpha_C": 0.05, "C_c": 1e20}}
    study = by_hand(shape_rows(), folder, fits)
    noise = SeedNoise(sd_log_loss=0.002, n_groups=2, n_runs=6, shared=None, reason="")
    return replace(study, laws=replace(study.laws, noise=noise))


def test_shapes_are_compared_at_equal_N() -> None:
    table = shapes_at_equal_N(shape_study())
    assert table.groupby("N").size().tolist() == [4, 5]  # at 4e5 the horizon that more shapes have
    for _, group in table.groupby("N"):
        rise = 1 + 0.01 * np.log(group["aspect_ratio"] / 32) ** 2
        np.testing.assert_allclose(group["increase_percent"], 100 * (rise / rise.min() - 1), atol=1e-9)
    assert alpha_N_of_shapes(by_hand()) == 0.076  # Kaplan's, where the study has none
    assert shapes_at_equal_N(by_hand()).empty


def test_a_percent_of_loss_in_compute_is_the_paper_s() -> None:
    assert compute_for_loss(shape_study()) == pytest.approx(22.0, abs=0.1)
    assert compute_for_loss(by_hand()) is None
    data = prepared(fig05_shape, shape_study())
    assert data.band == shape_study().laws.noise.band_percent and data.search is None


def line_of(axes: Axes, label: str) -> Any:
    return next(line for line in axes.lines if str(line.get_label()).startswith(label))


@pytest.mark.parametrize("where", ["shape.json", "../shape/shape.json"])
def test_figure_5_is_drawn_from_a_search_and_from_depths(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "paper"
    (folder / where).parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    (folder / where).resolve().write_bytes(msgspec.json.encode(searched()))
    data = prepared(fig05_shape, shape_study(folder))
    assert data.search == searched()
    left, middle, right = fig05_shape.draw(data).axes[:3]
    assert list(line_of(left, "the best").get_ydata()) == pytest.approx([2, 1, 0, 1, 2])
    table = data.at_equal_N
    expected = table[(table["N"] < 2e5) & (table["n_layer"] > 1)]
    assert list(line_of(middle, "N = 100k").get_ydata()) == expected["increase_percent"].tolist()
    assert len(line_of(middle, "a trial").get_xdata()) == 5
    assert right.get_xlabel() == "d_model / n_heads"
    sentence = fig05_shape.describe(data)
    assert "d_ff / d_model of 0.71 to 23 within 2.0 %" in sentence and "α_N = 0.080" in sentence


def test_the_paper_study_gives_back_its_truth(paper: Any) -> None:
    """Blocks used r times are worth r^0.4 in N there, of which limited data leave a part."""
    study = kaplan_of(paper)
    gains = reuse_gains(prepared(fig17_reuse, study)).set_index(["n_reuse", "counted"])["percent"]
    for n_reuse in (2, 4, 8):
        assert 100 * (n_reuse**-0.0304 - 1) - 0.5 < gains[n_reuse, "N"] < 0
        assert 0 < gains[n_reuse, "N_reused"] < 100 * (n_reuse**0.0456 - 1) + 0.5
    shapes = shapes_at_equal_N(study)
    assert shapes["N"].nunique() == 4 and shapes["n_layer"].max() == 32


# --- Figure 6 -------------------------------------------------------------------------------------


def depth_row(n_layer: int, N: float, embedding: float, D: float = 1e6, **more: Any) -> dict[str, Any]:
    row = {"n_layer": n_layer, "N": N, "N_total": N + embedding, "D": D, "C": 6 * N * D}
    loss = float(KaplanN(**POWER).loss(N))
    return row | {"loss": loss, "after_cooldown": True, "experiments": "size"} | more


def test_losses_lie_on_one_line_in_the_parameters_that_count() -> None:
    runs = [
        depth_row(n_layer, N, embedding=1e6 / n_layer**2 * (N / 1e5) ** 0.5, run=f"{n_layer}-{N:g}")
        for n_layer in (2, 3, 6)
        for N in SIZES
    ]
    sizes = prepared(fig06_parameter_counts, by_hand(runs))
    assert len(sizes) == 15
    assert scatter_percent(sizes["N"], sizes["loss"]) < 1e-9
    assert scatter_percent(sizes["N_total"], sizes["loss"]) > 1
    sentence = fig06_parameter_counts.describe(prepared(fig06_parameter_counts, by_hand(runs)))
    assert (
        "networks of 2, 3 and 6 layers lie 0.0 % (rms) off one power law in the parameters without"
        in sentence
    )


def test_depths_are_compared_at_one_horizon_with_their_best_rate() -> None:
    runs = [depth_row(n_layer, N, 1e5, D=5e5) for n_layer in (1, 2) for N in SIZES]
    runs += [depth_row(2, N, 1e5, D=4e6) for N in SIZES]  # a longer horizon that one depth has
    runs += [depth_row(2, SIZES[0], 1e5, D=5e5, learning_rate=1.0, loss=9.0)]
    runs += [depth_row(3, SIZES[0], 1e5, D=5e5, after_cooldown=False)]
    runs += [depth_row(6, SIZES[0], 1e5, D=5e5, experiments="depth")]
    runs += [depth_row(4, SIZES[0], 1e5, D=5e5, family="lstm")]
    sizes = prepared(fig06_parameter_counts, by_hand(runs))
    assert set(sizes["D"]) == {5e5} and set(sizes["n_layer"]) == {1, 2} and len(sizes) == 10
    assert sizes["loss"].max() == pytest.approx(KaplanN(**POWER).loss(SIZES[0]))


def test_networks_without_a_layer_have_no_place_among_non_embedding_parameters() -> None:
    runs = [depth_row(0, 32 + i, 1e4 * 2**i, loss=5.0 - 0.1 * i) for i in range(3)]
    runs += [depth_row(2, N, 1e4) for N in SIZES]
    figure = fig06_parameter_counts.draw(prepared(fig06_parameter_counts, by_hand(runs)))
    every, without = (sorted(str(line.get_label()) for line in axes.lines) for axes in figure.axes[:2])
    assert every == ["0 layers", "2 layers"] and without == ["2 layers"]
    assert "Too few sizes" in fig06_parameter_counts.describe(prepared(fig06_parameter_counts, by_hand(runs)))


def test_the_paper_is_recognised(paper: Any) -> None:
    """In a study of all experiments the losses of all depths collapse on N, and on nothing else."""
    sizes = prepared(fig06_parameter_counts, kaplan_of(paper))
    assert {0, 1, 2, 3, 6} == set(sizes["n_layer"])
    deep = sizes[sizes["n_layer"] >= 2]
    assert scatter_percent(deep["N"], deep["loss"]) < scatter_percent(deep["N_total"], deep["loss"])


# --- Figure 23 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "exact", "other"),
    [(KaplanN(**POWER).loss, "kaplan_n", "log_n"), (LogN(**LOGARITHM).loss, "log_n", "kaplan_n")],
)
def test_the_true_form_leaves_nothing_over(loss: Any, exact: str, other: str) -> None:
    rows = [{"N": N, "D": 1e6, "C": 6e6 * N, "loss": float(loss(N))} for N in SIZES]
    data = prepared(fig23_power_law_or_logarithm, by_hand(rows, fits={"kaplan_n": POWER, "log_n": LOGARITHM}))
    assert data.rms_percent(exact) < 1e-9 < 0.1 < data.rms_percent(other)
    assert list(data.residuals.loc[data.residuals["form"] == exact, "N"]) == list(SIZES)


def test_predictions_are_compared_where_both_made_them() -> None:
    def compared(**errors: float | None) -> dict[str, float]:
        scores = tuple(SimpleNamespace(form=form, error=error) for form, error in errors.items())
        rollout = SimpleNamespace(axis="N", kind="single", scores=scores)
        return prediction_errors(by_hand([{"N": 1e4, "D": 1e6, "loss": 3.0}], rollout=(rollout,)))

    assert compared(kaplan_n=0.01, log_n=0.03, power_n=0.5) == {"kaplan_n": 0.01, "log_n": 0.03}
    assert compared(kaplan_n=0.01, log_n=None) == {"kaplan_n": 0.01}
    assert prediction_errors(by_hand()) == {}


def test_figure_23_says_how_far_each_form_misses(synthetic: Any) -> None:
    data = prepared(fig23_power_law_or_logarithm, kaplan_of(synthetic))
    sentence = fig23_power_law_or_logarithm.describe(data)
    for form, name in RIVALS.items():
        of_form = data.residuals[data.residuals["form"] == form]
        rms = f"{np.sqrt((of_form['residual_percent'] ** 2).mean()):.2f} %"
        assert f"the {name} by {rms}" in sentence
        np.testing.assert_allclose(of_form["predicted"], data.fits[form].law.loss(of_form["N"]))
    assert "predicting larger sizes" in sentence


# --- Figure 21 ------------------------------------------------------------------------------------


def two_contexts() -> Any:
    """Sizes at n_ctx 128 and 8; the short context is lower by 0.1 T nats. One run of another horizon."""
    rows = [
        {"N": N, "D": D, "loss": 1.0, "n_ctx": n_ctx, "experiments": "size, context"}
        for N in (1e4, 1e5)
        for n_ctx in (128, 8)
        for D in (1e6, 4e6)
        if D == 1e6 or N == 1e4
    ]
    study = study_of(rows)
    losses = {}
    for row in study.runs.itertuples():
        at = np.arange(1, row.n_ctx + 1, dtype=float)
        mean = 6 - 0.1 * np.log(row.N) - (0.1 * at if row.n_ctx == 8 else 0 * at) + (row.D > 1e6)
        losses[str(row.run)] = PositionLosses(
            T=at, loss_sum=mean[None, :] * 3, count=np.full((1, len(at)), 3.0)
        )
    return kaplan(tables_of(study, losses), laws_with())


def test_a_short_context_is_compared_at_equal_size_and_tokens() -> None:
    study = two_contexts()
    runs = of_two_contexts(study)
    assert set(runs["D"]) == {1e6} and len(runs) == 4
    data = prepared(fig21_size_at_positions, study)
    table = data.table
    assert sorted(table.loc[table["n_ctx"] == 128, "position"].unique()) == [1, 2, 4, 8, 16, 64, 128]
    assert sorted(table.loc[table["n_ctx"] == 8, "position"].unique()) == [1, 2, 4, 8]
    gaps = context_gaps(table)
    np.testing.assert_allclose(gaps["gap"], -0.1 * gaps["position"])
    assert len(gaps) == 8
    sentence = fig21_size_at_positions.describe(data)
    assert "-0.100 nats at T = 1 and -0.800 at T = 8, over 2 sizes" in sentence
    axes = fig21_size_at_positions.draw(data).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(dashed) == 4


def test_the_paper_study_improves_where_its_truth_does(paper: Any) -> None:
    """An LSTM's truth no longer improves after 16 tokens, a short context's is better at its own."""
    data = prepared(fig21_size_at_positions, kaplan_of(paper))
    assert "n_ctx = 8" in fig21_size_at_positions.describe(data)

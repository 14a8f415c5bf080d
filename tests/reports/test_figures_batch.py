"""Figure 10, the noise scale and the learning rates: what is drawn, against what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tests.support.batch_study import (
    LAW,
    NOISE_SCALE_RATIO,
    RATE_BATCHES,
    RATE_SIZES,
    batch_study,
    best_rate,
    tables_of,
)
from tests.support.drawn import figures_in, points_named, said, shown

from scaling_laws.laws.fit.best_rates import best_rates, rate_losses
from scaling_laws.laws.published import KAPLAN_SINGLE
from scaling_laws.laws.results.study import no_laws
from scaling_laws.report.batch_laws import batch_draws, batch_law, batch_levels
from scaling_laws.report.figures import batch_and_noise, rate_and_batch
from scaling_laws.report.study_tables import StudyTables

ENTRIES = [
    *figures_in(batch_and_noise),
    *figures_in(rate_and_batch),
]
Timed = tuple[StudyTables, dict[str, Any]]


@pytest.fixture(scope="module")
def timed() -> Timed:
    return batch_study()


def lines_of(axes: Any, marker: str) -> list[Any]:
    return [line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata())]


# --- Figure 10 ------------------------------------------------------------------------


def test_levels_are_the_known_critical_batch(timed: Timed) -> None:
    levels = batch_levels(timed[1], "transformer")
    inside = levels[levels["inside"]]
    assert len(inside) >= 8
    np.testing.assert_allclose(inside["B_crit"], LAW.critical_batch(inside["loss"]), rtol=0.1)
    np.testing.assert_allclose(inside["E_min"], inside["S_min"] * inside["B_crit"], rtol=1e-9)
    assert (levels["B_low"] <= levels["B_crit"]).all() and (levels["B_crit"] <= levels["B_high"]).all()
    outside = levels[~levels["inside"]]
    assert len(outside) and len(outside) + len(inside) == len(levels)


def test_figure_10_draws_the_fitted_law(timed: Timed) -> None:
    tables, laws = timed
    axes = shown(batch_and_noise.critical_batch, tables, laws).axes[0]
    loss, B = points_named(axes, "$B_* /")
    law, draws = batch_law(laws, "transformer"), batch_draws(laws, "transformer")
    assert law is not None and draws is not None
    np.testing.assert_allclose(B, law.batch_tokens(loss))
    np.testing.assert_allclose(B, LAW.critical_batch(loss), rtol=0.05)
    assert np.asarray(draws.alpha_B).shape == np.asarray(draws.B_star).shape
    assert axes.get_xlim()[0] > axes.get_xlim()[1]  # the loss falls to the right, as in the paper
    levels = batch_levels(laws, "transformer")
    noise = np.concatenate([line.get_ydata() for line in lines_of(axes, "x")])
    assert sorted(noise) == sorted(levels["noise_scale"])


def test_the_papers_line_is_there_for_its_own_vocabulary_alone(synthetic: Any, timed: Timed) -> None:
    tables, laws = timed
    with pytest.raises(StopIteration):
        points_named(shown(batch_and_noise.critical_batch, tables, laws).axes[0], "Kaplan 2020")
    shape = synthetic.study.records[0].shape | {"n_vocab": 50257}
    record = replace(synthetic.study.records[0], shape=shape)
    of_gpt2 = replace(tables, study=replace(tables.study, records=(record,)))
    loss, B = points_named(shown(batch_and_noise.critical_batch, of_gpt2, laws).axes[0], "Kaplan 2020")
    np.testing.assert_allclose(B, 2.1e8 / loss ** (1 / 0.21))
    np.testing.assert_allclose(B, KAPLAN_SINGLE.efficient.critical_batch(loss))
    mixed = replace(tables, study=replace(tables.study, records=(record, synthetic.study.records[0])))
    with pytest.raises(StopIteration):
        points_named(shown(batch_and_noise.critical_batch, mixed, laws).axes[0], "Kaplan 2020")


# --- noise scale ----------------------------------------------------------------------------------


def test_noise_scale_is_of_every_batch_at_a_constant_rate(timed: Timed) -> None:
    tables, laws = timed
    found = batch_and_noise.noise_scales(
        tables.curves_of(tables.complete_of("transformer"), laws.conventions.N)
    )
    np.testing.assert_allclose(
        found["noise_scale"], NOISE_SCALE_RATIO * LAW.critical_batch(found["loss"]), rtol=1e-9
    )
    assert set(found["batch_tokens"]) == set(tables.complete["batch_tokens"])
    by_batch = shown(batch_and_noise.noise_scale, tables, laws).axes[1]
    _, ours = points_named(by_batch, "0.7")
    _, equal = points_named(by_batch, "equal")
    np.testing.assert_allclose(ours / equal, NOISE_SCALE_RATIO, rtol=0.1)
    assert "rank correlation" in said(batch_and_noise.noise_scale, tables, laws)


def test_no_noise_scale_without_a_measurement(timed: Timed) -> None:
    tables, laws = timed
    without = replace(tables, curves=tables.curves.assign(noise_scale_tokens=np.nan))
    assert batch_and_noise.noise_scales(
        without.curves_of(without.complete_of("transformer"), laws.conventions.N)
    ).empty
    assert "batch.yaml" in shown(batch_and_noise.noise_scale, without, laws).texts[0].get_text()


# --- learning rates -------------------------------------------------------------------------------


def test_best_rates_are_those_known(timed: Timed) -> None:
    losses = rate_losses(timed[0].of_experiment("lr"))
    best = best_rates(losses)
    assert len(best) == len(RATE_SIZES) * len(RATE_BATCHES)
    assert best["inside"].all()
    expected = [best_rate(N, B) for N, B in zip(best["N"], best["batch_tokens"], strict=True)]
    np.testing.assert_allclose(best["learning_rate"], expected, rtol=0.05)
    assert (losses.groupby("N")["excess_percent"].min() == 0).all()
    rule = rate_and_batch.rate_rule_of_batches(best)
    assert rule is not None
    assert rule["exponent"] == pytest.approx(-0.3, abs=0.01)
    assert rule["exponent_B"] == pytest.approx(0.5, abs=0.02)
    assert rule["at_1e5"] == pytest.approx(best_rate(1e5, rule["B_mean"]), rel=0.05)


def test_a_best_rate_at_the_edge_is_not_believed() -> None:
    rates = np.geomspace(1e-3, 1e-2, 4)
    tried = pd.DataFrame(
        {"N": 1e5, "batch_tokens": 1024, "learning_rate": rates, "loss": [4.0, 3.9, 3.8, 3.7]}
    )
    best = best_rates(tried)
    assert list(best["inside"]) == [False] and best["learning_rate"].iloc[0] == pytest.approx(1e-2)
    assert rate_and_batch.rate_rule_of_batches(best) is None


def test_replicates_are_averaged_and_horizons_not_mixed() -> None:
    runs = pd.DataFrame(
        [
            {"N": 1e5, "batch_tokens": 1024, "learning_rate": rate, "D": D, "loss": loss}
            for rate, D, loss in (
                (1e-3, 8e6, 4.0),
                (1e-3, 8e6, 4.2),
                (2e-3, 8e6, 3.9),
                (1e-3, 64e6, 2.0),  # another horizon: not to be compared with the others
            )
        ]
    )
    found = rate_losses(runs)
    assert list(found["loss"]) == pytest.approx([4.1, 3.9])
    assert list(found["excess_percent"]) == pytest.approx([100 * (4.1 / 3.9 - 1), 0])


def test_rates_on_one_line_have_no_contours(timed: Timed) -> None:
    tables, laws = timed
    one_batch = tables.complete[tables.complete["batch_tokens"] == RATE_BATCHES[0]]
    figure = shown(rate_and_batch.learning_rate_and_batch, replace(tables, complete=one_batch), laws)
    assert isinstance(figure, Figure) and len(figure.axes) == len(RATE_SIZES) + 1  # and no colour bar
    assert "do not determine a rule" in said(
        rate_and_batch.learning_rate_and_batch, replace(tables, complete=one_batch), laws
    )


# --- whatever the study ---------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_nothing_to_draw_is_a_note_that_names_a_sweep(one_run: Any, synthetic: Any, entry: Any) -> None:
    empty = tables_of(pd.DataFrame(), pd.DataFrame())
    if entry.name == "noise_scale":  # that study's curves hold one
        shown(entry, synthetic.tables, synthetic.laws)
        studies = [(empty, no_laws(empty.study))]
    else:
        none = (empty, no_laws(empty.study))
        studies = [none, one_run[:0:-1], (synthetic.tables, synthetic.laws)]
    for tables, laws in studies:
        figure = shown(entry, tables, laws)
        assert "configs/sweeps/" in " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
        assert said(entry, tables, laws).endswith(".")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_axes_are_labelled_and_nothing_sticks_out(paper: Any, entry: Any) -> None:
    figure = shown(entry, paper.tables, paper.laws)
    FigureCanvasAgg(figure).draw()
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        if axes.get_label() != "<colorbar>":
            assert axes.get_xlabel()
        for artist in (axes.get_legend(), axes.title):
            if artist is not None:
                box = artist.get_window_extent()
                assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
    assert said(entry, paper.tables, paper.laws).endswith(".")

"""Figures 8 and 24: offsets on other corpora, at any size and depth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests.support.by_hand import laws_with, study_of, tables_of
from tests.support.drawn import said, shown
from tests.support.synthetic_study import FOREIGN_LOSSES

from scaling_laws.papers.kaplan2020.figures import transfer
from scaling_laws.report.evidence import StudyTables

DEPTHS = (1, 2, 4, 8)


def line_named(axes: Axes, start: str) -> Any:
    return next(line for line in axes.lines if str(line.get_label()).startswith(start))


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def test_transfer_shows_the_known_offsets(synthetic: Any) -> None:
    figure = transfer.draw_transfer(synthetic.tables, synthetic.laws)
    size, along = figure.axes[:2]
    for corpus in ("prose", "packages"):
        offset, slope = FOREIGN_LOSSES[corpus]
        test, foreign = (np.asarray(line_named(size, name).get_ydata()) for name in ("test", corpus))
        np.testing.assert_allclose(foreign, offset + slope * test, rtol=1e-12)
        at_end = line_named(along, corpus)
        assert len(at_end.get_xdata()) == (synthetic.study.runs["family"] == "transformer").sum()
    assert not any(str(line.get_label()) == "val" for line in size.lines)
    offset, slope = FOREIGN_LOSSES["prose"]
    lowest = line_named(size, "test").get_ydata()[-1]
    expected = offset + (slope - 1) * lowest
    sentence = transfer.describe_transfer(synthetic.tables, synthetic.laws)
    assert f"and {expected:+.2f} at N = 393k. At equal" in sentence


def in_training(penalty: float) -> StudyTables:
    """Prose is 0.5 nats above the test corpus at the end of every run, `penalty` more during training."""
    runs = [
        {"run": f"{N:g}", "N": N, "D": 1e6, "C": N, "loss": loss}
        | {"loss_test": loss, "loss_val": loss, "loss_prose": 0.5 + loss}
        for N, loss in ((1e4, 5.0), (1e5, 4.0), (1e6, 3.0))
    ]
    test = np.array([9.0, 4.8, 4.2, 3.6, 3.0])
    curve = pd.DataFrame({"run": "1e+06", "tokens": 2e5 * np.arange(1, 6), "test_loss_nats": test})
    prose = 0.5 + test + penalty * (np.arange(5) < 4)
    return replace(tables_of(study_of(runs)), curves=curve.assign(prose_loss_nats=prose))


@pytest.mark.parametrize("penalty", [0.0, 0.2])
def test_losses_in_training_are_compared_at_equal_test_loss(penalty: float) -> None:
    tables = in_training(penalty)
    found = transfer.during_less_end(tables, tables.runs)
    assert found == {"prose": pytest.approx(0.75 * penalty)}  # three of the four evaluations among the ends
    assert f"prose {0.75 * penalty:+.3f}" in transfer.describe_transfer(tables, laws_with())


def test_a_corpus_that_no_run_knows_is_not_drawn() -> None:
    tables = in_training(0.0)
    runs = tables.runs.assign(loss_wiki=np.nan)
    assert transfer.foreign_corpora(runs) == ["prose"]
    sentence = transfer.describe_transfer(replace(tables, runs=runs, complete=runs), laws_with())
    assert "wiki" not in sentence and "nan" not in sentence


def depth_rows(**more: Any) -> list[dict[str, Any]]:
    """The deeper the better by 0.01 nats a layer; prose 0.5 nats above, whatever the depth."""
    return [
        {"n_layer": depth, "N": 1e5 + depth, "D": 1e6, "C": 1.0, "experiments": "depth", "seed": 1}
        | {"loss": 4 - 0.01 * depth, "loss_test": 4 - 0.01 * depth, "loss_prose": 4.5 - 0.01 * depth}
        | {"loss_val": 4.0, "train_loss": 3.9}
        | more
        for depth in DEPTHS
    ]


def test_losses_by_depth_are_means_of_the_best_rate() -> None:
    again = [row | {"loss_test": row["loss_test"] + 0.002} for row in depth_rows()]
    worse = [row | {"loss_test": 9.0} for row in depth_rows(learning_rate=0.5)]
    others = depth_rows(experiments="size", loss_test=1.0) + depth_rows(family="lstm", loss_test=1.0)
    losses = transfer.losses_by_depth(tables_of(study_of(depth_rows() + again + worse + others)))
    assert list(losses.index) == list(DEPTHS)
    np.testing.assert_allclose(losses["test"], [4.001 - 0.01 * depth for depth in DEPTHS])
    np.testing.assert_allclose(losses["prose"] - losses["test"], 0.499)
    assert list(losses.columns) == ["test", "prose", "N", "D", transfer.TRAINING_TEXT]


def test_figure_24_shows_every_corpus_at_every_depth() -> None:
    tables = tables_of(study_of(depth_rows()))
    level, offset = transfer.draw_depths(tables, laws_with()).axes[:2]
    assert [text.get_text() for text in level.get_xticklabels()] == ["1", "2", "4", "8"]
    np.testing.assert_allclose(line_named(level, "test").get_ydata(), [4 - 0.01 * depth for depth in DEPTHS])
    np.testing.assert_allclose(line_named(offset, "prose").get_ydata(), 0.5)
    assert {str(line.get_label()) for line in level.lines} == {"test", "prose", transfer.TRAINING_TEXT}
    sentence = transfer.describe_depths(tables, laws_with())
    assert "varies by 1.8 % and is lowest at 8" in sentence and "prose between +0.50 and +0.50" in sentence


def test_studies_without_them_say_which_sweep_has_them(one_run: Any) -> None:
    nothing = tables_of(study_of())
    for tables, laws in ((one_run.tables, one_run.laws), (nothing, laws_with())):
        assert "configs/sweeps/depth.yaml" in words(transfer.draw_depths(tables, laws))
        assert "`depth`" in transfer.describe_depths(tables, laws)
    assert "configs/sweeps/size.yaml" in words(transfer.draw_transfer(nothing, laws_with()))
    assert transfer.describe_transfer(nothing, laws_with()) == "No run was evaluated on another corpus."
    one_depth = tables_of(study_of(depth_rows()[:1]))
    assert "configs/sweeps/depth.yaml" in words(transfer.draw_depths(one_depth, laws_with()))
    alone = tables_of(study_of([{"N": 1e4, "D": 1e6, "C": 1.0, "loss": 3.0, "loss_test": 3.0}]))
    assert "besides the test corpus" in words(transfer.draw_transfer(alone, laws_with()))


def test_depth_and_training_do_not_matter_in_the_paper_but_may_elsewhere(paper: Any, flat: Any) -> None:
    """The offsets are the truth's; in a world where depth transfers worse, the figure shows it."""
    losses = transfer.losses_by_depth(paper.tables)
    assert list(losses.index) == [1, 2, 4, 8, 16, 32]
    np.testing.assert_allclose(losses["prose"] - losses["test"], 0.55, atol=1e-6)
    differing = transfer.losses_by_depth(flat.tables)
    assert np.ptp(differing["prose"] - differing["test"]) > 0.5
    for study in (paper, flat):
        for entry in transfer.FIGURES:
            assert not words(shown(entry, study.tables, study.laws)), entry.name
            assert "nan" not in said(entry, study.tables, study.laws)

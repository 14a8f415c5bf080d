"""Figures 8 and 24: offsets on other corpora, at any size and depth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.papers.kaplan_study import by_hand, kaplan_of
from tests.support.synthetic_study import FOREIGN_LOSSES

from scaling_laws.papers.kaplan2020.claims.of_shape import CLAIMS
from scaling_laws.papers.kaplan2020.evidence import KaplanTables
from scaling_laws.papers.kaplan2020.figures.other_text import (
    TRAINING_TEXT,
    during_less_end,
    fig08_transfer,
    fig24_depth,
    foreign_corpora,
)

DEPTHS = (1, 2, 4, 8)


def prepared(figure: Any, study: KaplanTables) -> Any:
    data = figure.prepare(study, study.laws)
    assert not isinstance(data, str), data
    return data


def test_transfer_shows_the_known_offsets(synthetic: Any) -> None:
    data = prepared(fig08_transfer, kaplan_of(synthetic))
    assert list(data.by_size.columns) == ["test", "packages", "prose"]  # `val` is no other text
    assert len(data.at_end) == (synthetic.study.runs["family"] == "transformer").sum()
    for corpus in ("prose", "packages"):
        offset, slope = FOREIGN_LOSSES[corpus]
        np.testing.assert_allclose(data.by_size[corpus], offset + slope * data.by_size["test"], rtol=1e-12)
    offset, slope = FOREIGN_LOSSES["prose"]
    expected = offset + (slope - 1) * data.by_size["test"].iloc[-1]
    assert f"and {expected:+.2f} at N = 393k. At equal" in fig08_transfer.describe(data)


def in_training(penalty: float) -> KaplanTables:
    """Prose is 0.5 nats above the test corpus at the end of every run, `penalty` more during training."""
    runs = [
        {"run": f"{N:g}", "N": N, "D": 1e6, "C": N, "loss": loss}
        | {"loss_test": loss, "loss_val": loss, "loss_prose": 0.5 + loss}
        for N, loss in ((1e4, 5.0), (1e5, 4.0), (1e6, 3.0))
    ]
    test = np.array([9.0, 4.8, 4.2, 3.6, 3.0])
    curve = pd.DataFrame({"run": "1e+06", "tokens": 2e5 * np.arange(1, 6), "test_loss_nats": test})
    prose = 0.5 + test + penalty * (np.arange(5) < 4)
    return replace(by_hand(runs), curves=curve.assign(prose_loss_nats=prose))


@pytest.mark.parametrize("penalty", [0.0, 0.2])
def test_losses_in_training_are_compared_at_equal_test_loss(penalty: float) -> None:
    data = prepared(fig08_transfer, in_training(penalty))
    # Three of the four evaluations lie among the ends.
    assert during_less_end(data) == {"prose": pytest.approx(0.75 * penalty)}
    assert f"prose {0.75 * penalty:+.3f}" in fig08_transfer.describe(data)


def test_the_sampling_error_of_the_text_is_in_the_interval(
    synthetic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds of documents that differ by 5 % move the slope of one corpus on another."""
    tables = kaplan_of(synthetic)
    positions = tables.study.positions()
    of_fold = np.random.default_rng(0).lognormal(sigma=0.05, size=(2, 1 + int(positions["fold"].max())))
    foreign = (positions["corpus"] != "test").to_numpy(int)
    noisy = positions.assign(loss_sum_nats=positions["loss_sum_nats"] * of_fold[foreign, positions["fold"]])
    found = {}
    for name, table in (("none", positions.iloc[:0]), ("noisy", noisy)):
        monkeypatch.setattr(type(tables.study), "positions", lambda *_, table=table: table)
        (claim,) = (each for each in CLAIMS if each.slug == "other-text-costs-an-offset")
        found[name] = claim.measure(tables, synthetic.laws)
    assert found["none"].value == found["noisy"].value
    widths = {name: high - low for name, each in found.items() for low, high in [each.interval]}
    assert widths["noisy"] > widths["none"] + 0.005
    assert "the held-out text is taken as it is" in found["none"].context
    assert "other documents alone would move it by" in found["noisy"].context


def test_a_corpus_that_no_run_knows_is_not_drawn() -> None:
    study = in_training(0.0)
    runs = study.runs.assign(loss_wiki=np.nan)
    assert foreign_corpora(runs) == ["prose"]
    data = prepared(fig08_transfer, replace(study, runs=runs, complete=runs))
    assert list(data.at_end.columns) == ["test", "prose"]
    assert "nan" not in fig08_transfer.describe(data)


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
    losses = prepared(fig24_depth, by_hand(depth_rows() + again + worse + others))
    assert list(losses.index) == list(DEPTHS)
    np.testing.assert_allclose(losses["test"], [4.001 - 0.01 * depth for depth in DEPTHS])
    np.testing.assert_allclose(losses["prose"] - losses["test"], 0.499)
    assert list(losses.columns) == ["test", "prose", "N", "D", TRAINING_TEXT]


def test_figure_24_shows_every_corpus_at_every_depth() -> None:
    losses = prepared(fig24_depth, by_hand(depth_rows()))
    np.testing.assert_allclose(losses["test"], [4 - 0.01 * depth for depth in DEPTHS])
    level, offset = fig24_depth.draw(losses).axes[:2]
    assert [text.get_text() for text in level.get_xticklabels()] == ["1", "2", "4", "8"]
    assert {str(line.get_label()) for line in level.lines} == {"test", "prose", TRAINING_TEXT}
    prose = next(line for line in offset.lines if line.get_label() == "prose")
    np.testing.assert_allclose(prose.get_ydata(), 0.5)
    sentence = fig24_depth.describe(losses)
    assert "varies by 1.8 % and is lowest at 8" in sentence and "prose between +0.50 and +0.50" in sentence


def test_studies_without_them_say_which_sweep_has_them(one_run: Any) -> None:
    alone = by_hand([{"N": 1e4, "D": 1e6, "C": 1.0, "loss": 3.0, "loss_test": 3.0}])
    for study in (by_hand(), alone):
        assert "besides the test corpus" in str(fig08_transfer.prepare(study, study.laws))
        assert "configs/sweeps/size.yaml" in str(fig08_transfer.prepare(study, study.laws))
    for study in (by_hand(), by_hand(depth_rows()[:1]), kaplan_of(one_run)):
        assert "configs/sweeps/depth.yaml" in str(fig24_depth.prepare(study, study.laws))


def test_depth_and_training_do_not_matter_in_the_paper_but_may_elsewhere(paper: Any, flat: Any) -> None:
    """The offsets are the truth's; in a world where depth transfers worse, the figure shows it."""
    losses = prepared(fig24_depth, kaplan_of(paper))
    assert list(losses.index) == [1, 2, 4, 8, 16, 32]
    np.testing.assert_allclose(losses["prose"] - losses["test"], 0.55, atol=1e-6)
    differing = prepared(fig24_depth, kaplan_of(flat))
    assert np.ptp(differing["prose"] - differing["test"]) > 0.5

"""Figures 3, 12 and 15 from the paper's constants, against vectors computed by hand from its formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.papers.kaplan_study import by_hand

from scaling_laws.laws.published import (
    KAPLAN_FIGURE_14_NAIVE_N,
    KAPLAN_SINGLE,
    KAPLAN_TABLE_2,
    KAPLAN_TABLE_3,
    KAPLAN_TABLE_6,
)
from scaling_laws.papers.kaplan2020.figures.growth import KAPLAN_EXPONENTS, factors, fig03_growth
from scaling_laws.papers.kaplan2020.figures.laws_cross import fig15_crossing, kaplan_laws
from scaling_laws.papers.kaplan2020.figures.wrong_size import fig12_cost_of_a_wrong_size
from scaling_laws.report.figure import StudyFigure
from scaling_laws.study.units import PF_DAY_FLOPS


def of_nothing(figure: StudyFigure[Any]) -> Any:
    """What is prepared of a study without a complete run."""
    nothing = by_hand()
    return figure.prepare(nothing, nothing.laws)


def line_named(axes: Any, start: str) -> tuple[np.ndarray, np.ndarray]:
    line = next(line for line in axes.lines if str(line.get_label()).startswith(start))
    return np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)


def test_growth_over_a_billion_times_the_compute() -> None:
    larger = factors(KAPLAN_EXPONENTS, 1e9)
    assert float(larger["N"]) == pytest.approx(3.7e6, rel=0.01)
    assert float(larger["B"]) == pytest.approx(145, rel=0.01)
    assert float(larger["S_min"]) == pytest.approx(1.9, rel=0.03)
    assert np.prod(list(larger.values())) == pytest.approx(1e9)


def test_growth_is_stacked_to_the_compute() -> None:
    """The top of the stack is as high as the compute, and each layer is as thick as its factor."""
    paper = fig03_growth.draw(of_nothing(fig03_growth)).axes[0]
    tops = [float(layer.get_paths()[0].vertices[:, 1].max()) for layer in paper.collections]
    assert tops == pytest.approx([1e9**0.03, 1e9**0.27, 1e9], rel=1e-6)
    labels = [text.get_text() for text in paper.get_legend().get_texts()]
    assert labels == [
        "model size: 3.72M× (exponent 0.73)",
        "batch: 145× (exponent 0.24)",
        "serial steps: 1.86× (exponent 0.03)",
    ]


def test_the_papers_crossing() -> None:
    """C* = 1.12e4 PF-days, N* = 1.17e12, D* = 2.5e11, L* = 1.67: Table 5 with D = 2e10 C^0.27."""
    found = kaplan_laws().crossing
    assert found.C is not None and found.N is not None and found.D is not None
    assert pytest.approx(1.12e4, rel=0.005) == found.C / PF_DAY_FLOPS
    assert pytest.approx(1.17e12, rel=0.005) == found.N
    assert pytest.approx(2.5e11, rel=0.01) == found.D
    assert found.loss == pytest.approx(1.67, abs=0.005)


def test_the_papers_lines_of_figure_15() -> None:
    lines = kaplan_laws().lines
    days = np.log(lines["C"] / PF_DAY_FLOPS)
    for at, expected in (
        (1e-8, 6.677),
        (1e-6, 5.304),
        (1e-4, 4.213),
        (1e-2, 3.346),
        (1, 2.658),
        (1e4, 1.677),
    ):
        assert np.exp(np.interp(np.log(at), days, np.log(lines["of_C"]))) == pytest.approx(expected, abs=1e-3)
    # L(D) at 1e9 and 1e10 tokens, where D = 2e10 C^0.27 sees them.
    for D, expected in ((1e9, 2.816), (1e10, 2.262)):
        at = np.log((D / 2e10) ** (1 / 0.27))
        assert np.exp(np.interp(at, days, np.log(lines["of_D"]))) == pytest.approx(expected, abs=1e-3)
    axes = fig15_crossing.draw(of_nothing(fig15_crossing)).axes[0]
    assert "PF-days" in axes.get_xlabel() and "nats" in axes.get_ylabel()
    marker = next(line for line in axes.lines if len(line.get_xdata()) == 1)
    assert marker.get_ydata()[0] == pytest.approx(1.67, abs=0.005)


# N over the best N: (compute ratio, steps ratio) of (B.16) and (B.17) with alpha_N = 0.077, alpha_S = 0.76.
RATIOS = {
    0.4: (2.151, 5.377),
    0.5: (1.393, 2.787),
    0.6: (1.165, 1.941),
    1.0: (1.0, 1.0),
    2.0: (1.160, 0.580),
    2.2: (1.204, 0.547),
    5.0: (1.826, 0.365),
    10.0: (2.839, 0.284),
}


@pytest.mark.parametrize("ratio", RATIOS)
def test_cost_of_a_wrong_size(ratio: float) -> None:
    """The grey lines of Figure 12."""
    compute, steps = fig12_cost_of_a_wrong_size.draw(of_nothing(fig12_cost_of_a_wrong_size)).axes[:2]
    for axes, expected in zip((compute, steps), RATIOS[ratio], strict=True):
        x, y = line_named(axes, "Kaplan 2020")
        reached = np.isfinite(y)
        found = np.exp(np.interp(np.log(ratio), np.log(x[reached]), np.log(y[reached])))
        assert found == pytest.approx(expected, rel=2e-3)


def test_sizes_that_cost_a_fifth_more() -> None:
    assert KAPLAN_TABLE_3.tolerated_sizes(0.2) == pytest.approx((0.577, 2.183), abs=1e-3)
    assert np.isinf(KAPLAN_TABLE_3.compute_ratio(0.2854)) and np.isfinite(
        KAPLAN_TABLE_3.compute_ratio(0.2856)
    )


def test_only_the_papers_constants_are_said_to_be_so() -> None:
    costs, growth, crossing = map(of_nothing, (fig12_cost_of_a_wrong_size, fig03_growth, fig15_crossing))
    for data in (costs, growth, crossing):
        assert "configs/sweeps/batch.yaml" in data.reason
    figure = fig12_cost_of_a_wrong_size.draw(costs)
    assert any("configs/sweeps/batch.yaml" in text.get_text() for text in figure.texts)
    ours = fig03_growth.draw(growth).axes[1]
    assert any("configs/sweeps/batch.yaml" in text.get_text().replace("\n", "") for text in ours.texts)
    assert "3.72M×" in fig03_growth.describe(growth)
    assert "1.12e+04 PF-days" in fig15_crossing.describe(crossing)
    assert "0.58 to 2.2" in fig12_cost_of_a_wrong_size.describe(costs)


def test_published_constants_by_hand() -> None:
    """What the grey lines of the other figures are drawn from."""
    of_batch = KAPLAN_SINGLE.efficient.of_batch
    losses = {10: 3.63e3, 8: 1.05e4, 6: 4.14e4, 5: 9.86e4, 4: 2.85e5, 3.5: 5.39e5, 3: 1.12e6, 2.5: 2.68e6}
    for loss, expected in losses.items():
        assert float(of_batch.batch_tokens(loss)) == pytest.approx(expected, rel=0.005)
    naive = {1e-6: 5.658, 1e-4: 4.352, 1e-2: 3.347, 1: 2.574}
    for days, loss in naive.items():
        assert float(KAPLAN_SINGLE.of_C_naive.loss(days * PF_DAY_FLOPS)) == pytest.approx(loss, abs=1e-3)
    one_day = KAPLAN_SINGLE.of_C_min.loss(PF_DAY_FLOPS)
    assert float(of_batch.batch_tokens(one_day)) == pytest.approx(1.997e6, rel=1e-3)
    spent = PF_DAY_FLOPS / (
        6 * KAPLAN_TABLE_6.N.at(PF_DAY_FLOPS) * KAPLAN_TABLE_6.batch_tokens.at(PF_DAY_FLOPS)
    )
    assert float(spent) == pytest.approx(5.54e3, rel=1e-3)
    assert float(KAPLAN_TABLE_2.loss(393_216, 2.1e7)) == pytest.approx(4.457, abs=1e-3)
    assert float(KAPLAN_FIGURE_14_NAIVE_N.at(PF_DAY_FLOPS)) == pytest.approx(1.6e9)

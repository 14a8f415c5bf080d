"""The best learning rate against the width, where it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.batch_study import tables_of
from tests.support.drawn import points_named, said, shown

from scaling_laws.laws.fit.rate_transfer import rate_transfers
from scaling_laws.laws.results.study import no_laws
from scaling_laws.report.figures import rate_and_width
from scaling_laws.study.runs import nothing

WIDTHS = (16, 32, 64, 128)
RATES = 0.016 * 2.0 ** np.arange(-3, 3)


def runs(exponents: dict[str, float], **columns: Any) -> pd.DataFrame:
    """Losses that rise with the square of ln(rate / best), where best = 0.016 (width / 32)^exponent."""
    rows = []
    for name, exponent in exponents.items():
        for width in WIDTHS:
            for rate in RATES:
                off = np.log(rate / (0.016 * (width / 32) ** exponent))
                rows += [
                    {
                        "run": f"{name}-{width}-{rate:g}-{D}",
                        "family": "transformer",
                        "parametrization": name,
                        "d_model": width,
                        "n_layer": 2,
                        "learning_rate": rate,
                        "D": D,
                        "loss": (4.0 - 0.1 * np.log(width) + 0.05 * off**2) * (1.5e6 / D) ** 0.1,
                        **columns,
                    }
                    for D in (500_000, 1_000_000)
                ]
    return pd.DataFrame(rows)


def test_the_exponent_of_the_best_rate_is_found() -> None:
    table = runs({"mup": 0.0, "standard": -0.5})
    D, (standard, mup) = rate_transfers(table)
    assert D == 1_000_000 and (standard.parametrization, mup.parametrization) == ("standard", "mup")
    for found, exponent in ((standard, -0.5), (mup, 0.0)):
        assert found.exponent == pytest.approx(exponent, abs=1e-6) and found.best["inside"].all()
        assert found.interval is not None and found.interval[0] <= found.exponent <= found.interval[1]
    # Of the rates tried the narrowest's best is too high for the widest under one of them.
    assert mup.excess_percent == pytest.approx(0.0, abs=1e-9)
    assert standard.excess_percent is not None and standard.excess_percent > 0.5


def test_a_best_rate_at_the_edge_has_no_part_in_the_exponent() -> None:
    _, (_, mup) = rate_transfers(runs({"standard": 0.0, "mup": -2.0}))
    assert list(mup.best["inside"]) == [False, True, True, False]
    assert mup.exponent is None and mup.interval is None


def test_recipes_are_not_mixed_and_one_parametrisation_is_none() -> None:
    decayed = runs({"standard": -1.0, "mup": -1.0}, weight_decay=0.5).query("d_model < 64")
    table = pd.concat([runs({"standard": -0.5, "mup": 0.0}, weight_decay=0.1), decayed])
    _, (standard, _) = rate_transfers(table)
    assert standard.exponent == pytest.approx(-0.5, abs=1e-6)
    with_gaps = runs({"standard": -0.5, "mup": 0.0}, **{"shape.width": float("nan"), "own": None})
    _, (standard, _) = rate_transfers(with_gaps)  # columns that other families have
    assert standard.exponent == pytest.approx(-0.5, abs=1e-6)
    assert rate_transfers(runs({"standard": 0.0})) == (0, ())
    assert rate_transfers(runs({"standard": 0.0, "mup": 0.0}).drop(columns="parametrization")) == (0, ())


def test_the_figure_shows_each_parametrisation_and_the_best_rates() -> None:
    figure = rate_and_width.learning_rate_and_width
    table = runs({"mup": 0.0, "standard": -0.5})
    tables = replace(tables_of(table.iloc[:0], table.iloc[:0]), complete=table, runs=table)
    laws = no_laws(nothing("widths"))
    axes = shown(figure, tables, laws).axes
    assert [each.get_title() for each in axes] == ["standard", "muP", "Best rate against width"]
    widths, rates = points_named(axes[2], "standard")
    np.testing.assert_allclose(rates, 0.016 * (widths / 32) ** -0.5, rtol=1e-6)
    words = said(figure, tables, laws)
    assert words.startswith("From width 16 to 128, at D = 1M tokens: under standard the best rate goes as ")
    assert "width^-0.50 [" in words and "width^0.00 [" in words
    one = replace(tables, complete=runs({"standard": 0.0}))
    assert said(figure, one, laws) == rate_and_width.NEEDS_WIDTHS

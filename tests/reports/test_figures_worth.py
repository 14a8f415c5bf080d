"""What a FLOP is worth, by compute: against envelopes whose worth is known, and the recorded study's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.drawn import prepared, said, shown

from scaling_laws.laws.allocation.frontier import size_curves
from scaling_laws.laws.allocation.worth import WorthCurve, worth_by_compute
from scaling_laws.report.figures.worth_by_compute import NEEDS_TWO, worth_curves

ALPHA_REFERENCE, ALPHA_OTHER, MEET = 0.10, 0.06, 3e13


def runs(alpha: float, family: str, sizes: tuple[float, ...] = (1e5, 2e5)) -> pd.DataFrame:
    """ln L = 1.5 - alpha ln(C / MEET) whatever the size: the envelope is that line."""
    D = np.tile(np.geomspace(1e6, 1e9, 13), len(sizes))
    table = pd.DataFrame({"family": family, "N": np.repeat(sizes, 13), "D": D}).assign(
        C=lambda rows: 6 * rows["N"] * rows["D"]
    )
    table["run"] = table["trunk"] = [f"{family}-{number}" for number in range(len(table))]
    return table.assign(loss=np.exp(1.5 - alpha * np.log(table["C"] / MEET)))


def curve(noise_sd: float | None) -> WorthCurve:
    reference, other = (
        size_curves(runs(alpha, family)) for alpha, family in ((ALPHA_REFERENCE, "a"), (ALPHA_OTHER, "b"))
    )
    found = worth_by_compute(reference, other, noise_sd=noise_sd)
    assert found is not None
    return found


def test_the_worth_is_the_compute_that_the_other_needs() -> None:
    found = curve(None)
    expected = (found.C / MEET) ** (ALPHA_OTHER / ALPHA_REFERENCE - 1)
    assert found.worth == pytest.approx(expected, rel=0.02)
    assert found.crossing == pytest.approx(MEET, rel=0.02)
    assert np.isnan(found.low).all() and found.crossing_interval == (None, None)


def test_noise_between_seeds_gives_bands_and_an_interval_of_the_crossing() -> None:
    quiet, loud = curve(0.001), curve(0.01)
    for found in (quiet, loud):
        low, high = found.crossing_interval
        assert low is not None and high is not None and low < MEET < high and found.share_crossing > 0.9
        assert np.nanmean(np.log(found.high / found.low)) > 0
    assert np.nanmean(np.log(loud.high / loud.low)) > 3 * np.nanmean(np.log(quiet.high / quiet.low))


def test_families_without_a_loss_in_common_have_no_curve() -> None:
    far = runs(ALPHA_OTHER, "b").assign(loss=100.0)
    assert worth_by_compute(size_curves(runs(ALPHA_REFERENCE, "a")), size_curves(far), noise_sd=None) is None


def tables(*families: pd.DataFrame) -> Any:
    table = pd.concat(families)
    names = list(table["family"].unique())
    return SimpleNamespace(
        main_family=names[0],
        families=names,
        complete=table,
        of=lambda family: table[table["family"] == family],
        counted_here=True,
    )


def test_the_figure_says_where_the_worth_goes_through_one() -> None:
    conventions = SimpleNamespace(N="N", C="C")
    laws = SimpleNamespace(conventions=conventions, noise=SimpleNamespace(sd_log_loss=0.002))
    both = tables(runs(ALPHA_REFERENCE, "transformer"), runs(ALPHA_OTHER, "lstm"))
    assert "both are worth the same at" in said(worth_curves, both, laws)
    assert len(shown(worth_curves, both, laws).axes) == 1
    assert prepared(worth_curves, tables(runs(ALPHA_REFERENCE, "transformer")), laws) == NEEDS_TWO

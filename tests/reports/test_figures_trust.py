"""Residuals and held-out runs: what is left is what the known laws do not explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.support.by_hand import fit_of, laws_with, study_of, tables_of
from tests.support.drawn import figures_in, prepared, said, shown
from tests.support.synthetic_study import LAWS

from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.report.figures import fit_quality, held_out
from scaling_laws.study.units import PF_DAY_FLOPS

FIGURES = (*figures_in(fit_quality), *figures_in(held_out))
PARAMETERS = {"alpha_N": 0.08, "alpha_D": 0.11, "N_c": 3e11, "D_c": 2e11}
LAW = KaplanND(**PARAMETERS)


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def grid(trend: float) -> Any:
    """Sizes by horizons, losses of `LAW` but `trend` per cent higher a decade of N."""
    rows = [
        {"N": N, "D": D, "unique_tokens": D, "C": 6 * N * D}
        | {"loss": float(LAW.loss(N, D)) * float(np.exp(trend / 100 * np.log10(N / 1e5)))}
        for N in (1e4, 1e5, 1e6)
        for D in (1e6, 1e7)
    ]
    return tables_of(study_of(rows))


def test_residuals_are_those_of_the_known_law(synthetic: Any) -> None:
    table = fit_quality.predicted_losses(synthetic.tables, synthetic.laws)
    assert not table.duplicated(["form", "run", "held_out"]).any()
    fitted = table[(table["form"] == "chinchilla") & ~table["held_out"] & (table["family"] == "transformer")]
    assert np.abs(np.log(fitted["loss"] / fitted["predicted"])).max() < 0.02
    held = table[table["held_out"] & (table["family"] == "transformer")]
    largest = synthetic.study.runs.query("family == 'transformer'").nlargest(1, "N")["N"].iloc[0]
    assert set(held["N"]) == {largest}
    assert held["predicted"].min() == pytest.approx(LAWS["transformer"].loss(largest, 4e6), rel=0.1)


@pytest.mark.parametrize("trend", [0.0, 3.0])
def test_a_trend_in_the_residuals_is_found(trend: float) -> None:
    laws = laws_with(fits=[fit_of("kaplan_nd", PARAMETERS)])
    slopes = prepared(fit_quality.residuals, grid(trend), laws).slopes.iloc[0]
    assert slopes["N"] == pytest.approx(trend, abs=1e-9) and slopes["D"] == pytest.approx(0, abs=1e-9)
    assert slopes["C"] == pytest.approx(trend * 2 / (2 + 0.75), rel=0.2, abs=1e-9)
    assert f"{trend:+.2f} % per decade of N, +0.00 % of D" in said(fit_quality.residuals, grid(trend), laws)


def test_residuals_stand_against_size_data_and_compute(synthetic: Any) -> None:
    table = fit_quality.predicted_losses(synthetic.tables, synthetic.laws)
    fitted = table[~table["held_out"] & (table["family"] == "lstm")]
    figure = shown(fit_quality.residuals, synthetic.tables, synthetic.laws)
    for row, form in enumerate(("kaplan_nd", "chinchilla")):
        of_form = fitted[fitted["form"] == form]
        for column, x in enumerate((of_form["N"], of_form["D"], of_form["C"] / PF_DAY_FLOPS)):
            axes = figure.axes[3 * row + column]
            line = next(line for line in axes.lines if line.get_label() == "LSTM")
            np.testing.assert_allclose(line.get_xdata(), x)
            residual = 100 * np.log(of_form["loss"] / of_form["predicted"])
            np.testing.assert_allclose(line.get_ydata(), residual, atol=1e-9)
    assert "PF-days" in figure.axes[5].get_xlabel()


def test_held_out_predictions_stand_beside_the_truth(synthetic: Any) -> None:
    figure = shown(held_out.held_out, synthetic.tables, synthetic.laws)
    sentence = said(held_out.held_out, synthetic.tables, synthetic.laws)
    runs = synthetic.study.runs.set_index("run")
    for axes, family in zip(figure.axes, ("transformer", "lstm"), strict=True):
        (entry,) = (each for each in synthetic.laws.of(family).holdout if each.form == "chinchilla")
        lines = {str(line.get_label()).partition(":")[0]: line for line in axes.lines}
        measured = runs.loc[list(entry.held_out)].sort_values("D")
        points = sorted(zip(*lines["measured"].get_data(), strict=True))
        np.testing.assert_allclose(points, measured[["D", "loss"]].to_numpy(dtype=float))
        predicted = dict(zip(entry.held_out, entry.predicted, strict=True))
        expected = [predicted[run] for run in measured.index]
        np.testing.assert_allclose(lines["Chinchilla's L(N, D)"].get_ydata(), expected)
        assert f"{100 * entry.mean_absolute_error:.1f} %" in lines["Chinchilla's L(N, D)"].get_label()
        np.testing.assert_allclose(lines["lowest loss that was fitted"].get_ydata(), entry.baseline)
        if family == "transformer":
            assert f"Chinchilla's L(N, D) {100 * entry.mean_absolute_error:.1f} %" in sentence
            assert f"is off by {100 * entry.baseline_mean_absolute_error:.1f} %" in sentence


def test_studies_without_a_law_say_what_it_takes(one_run: Any) -> None:
    for tables, laws in ((one_run.tables, one_run.laws), (tables_of(study_of()), laws_with())):
        for entry in FIGURES:
            assert "configs/sweeps/size.yaml" in words(shown(entry, tables, laws)), entry.name
            assert "nan" not in said(entry, tables, laws), entry.name


def test_a_form_that_is_not_identified_says_why_in_its_panel() -> None:
    not_identified = fit_of("chinchilla", {}, identified=False, reason="only 2 different D")
    laws = laws_with(fits=[fit_of("kaplan_nd", PARAMETERS), not_identified])
    figure = shown(fit_quality.predicted_and_measured, grid(1.0), laws)
    assert "only 2 different D" in figure.axes[1].texts[0].get_text().replace("\n", " ")
    assert len(shown(fit_quality.residuals, grid(1.0), laws).axes) == 3
    assert "rms" in said(fit_quality.predicted_and_measured, grid(1.0), laws)

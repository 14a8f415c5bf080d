"""The front door in Python, as a notebook uses it: `import scaling_laws as sl`."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.report.text import Table
from scaling_laws.report.two_studies import differences, pairing, two_sides

TRUTH = {"E": 1.8, "A": 400.0, "B": 1800.0, "alpha": 0.34, "beta": 0.36}


def table(sd: float = 0.002, seed: int = 0) -> pd.DataFrame:
    """36 runs of Chinchilla's law, under names of somebody's own."""
    N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    loss = TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]
    noise = np.random.default_rng(seed).normal(scale=sd, size=len(N))
    return pd.DataFrame({"params": N, "tokens": D, "val/loss": loss * np.exp(noise)})


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return sl.read_runs(table(), N="params", D="tokens", loss="val/loss")


@pytest.fixture(scope="module")
def fitted(runs: pd.DataFrame) -> sl.LawFit:
    return sl.fit(runs, "chinchilla", resamples=100)


@pytest.fixture(scope="module")
def analysis(runs: pd.DataFrame) -> sl.Analysis:
    return sl.analyse(runs, resamples=20)


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    assert sorted(sl.__all__) == sorted(set(dir(sl)) & set(sl.__all__))
    assert all(getattr(sl, name).__doc__ for name in sl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        _ = sl.fits


def test_the_import_is_lazy_and_nothing_needs_torch() -> None:
    code = (
        "import sys, scaling_laws as sl; assert not {'numpy', 'pandas'} & set(sys.modules), 'not lazy'\n"
        "for name in sl.__all__: getattr(sl, name)\n"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", sl.__all__)
def test_every_public_name_has_an_example_that_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    subject = getattr(sl, name)
    names = vars(importlib.import_module(subject.__module__))
    (found,) = doctest.DocTestFinder(recurse=False).find(subject, name, globs=dict(names))
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


def test_a_fit_finds_the_truth(fitted: sl.LawFit) -> None:
    assert fitted.identified and not fitted.reason
    assert fitted.certificate is not None and fitted.certificate.share_at_best > 0.5
    for name, value in TRUTH.items():
        low, high = fitted.interval(name, level=0.99)
        assert low is not None and high is not None and low < value < high
    narrow, wide = fitted.interval("alpha", level=0.5), fitted.interval("alpha", level=0.95)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]  # type: ignore[operator]


def test_a_fit_predicts_and_plans(fitted: sl.LawFit) -> None:
    loss = TRUTH["E"] + TRUTH["A"] / 7e9 ** TRUTH["alpha"] + TRUTH["B"] / 1e12 ** TRUTH["beta"]
    assert float(fitted.predict(N=7e9, D=1e12)) == pytest.approx(loss, rel=0.01)
    low, high = fitted.predict_interval(N=7e9, D=1e12)
    assert low < float(fitted.predict(N=7e9, D=1e12)) < high  # type: ignore[operator]
    N, D = fitted.optimum("1e22 FLOPs")
    assert float(6 * N * D) == pytest.approx(1e22)
    (low, high), _ = fitted.optimum_interval(1e22)
    assert low < float(N) < high  # type: ignore[operator]
    plan = fitted.plan(compute="1e22")
    assert pytest.approx(float(N)) == plan.N and plan.intervals["N"] != (None, None)
    assert "8." in str(plan) and "nats per token, 90 %" in str(plan)
    alone = fitted.plan(n="7B")
    assert float(fitted.optimum(alone.C)[0]) == pytest.approx(7e9)
    assert "extrapolation: of the fitted runs, N = 7e+09 is 7 times the largest (1e+09)" in str(alone)
    hours = alone.device_hours("a100", mfu=0.5)
    assert hours == pytest.approx(alone.C / (3600 * 312e12 * 0.5))
    assert alone.cost(2.5, "a100", mfu=0.5) == pytest.approx(2.5 * hours)
    assert sl.plan(fitted, n="7B", d="1T").loss_nats == pytest.approx(float(fitted.predict(N=7e9, D=1e12)))


def test_a_fit_shows_itself(fitted: sl.LawFit, runs: pd.DataFrame) -> None:
    assert repr(fitted).startswith("L(N,D) = E + A/N^alpha + B/D^beta, fitted to 36 rows of the table")
    assert "<pre>" in fitted._repr_html_()
    assert fitted.latex().startswith("L(N,D) = 1.8") and "N^{0.3" in fitted.latex()
    residuals = fitted.residuals
    assert list(residuals.columns) == ["run", "N", "D", "loss", "predicted", "relative_error"]
    assert residuals["loss"].tolist() == runs["loss"].tolist()
    assert residuals["relative_error"].abs().max() < 0.01
    assert isinstance(fitted.plot(), Figure)
    assert isinstance(sl.plot_fit(sl.fit(runs, "power_n", resamples=20)), Figure)


class Tied(
    sl.SumOfPowers,
    form="of_my_own",
    of=(sl.Term(None, "E"), sl.Term("N", "A", "alpha"), sl.Term("D", "B", "alpha")),
):
    """A law of a user's own, in a few lines."""

    E: float
    A: float
    B: float
    alpha: float


def test_a_law_of_ones_own_is_fitted_as_ours_are(runs: pd.DataFrame) -> None:
    ours, theirs = sl.fit(runs, "chinchilla_tied", resamples=20), sl.fit(runs, Tied, resamples=20)
    assert theirs.parameters == pytest.approx(ours.parameters)
    assert theirs.interval("alpha") == pytest.approx(ours.interval("alpha"))
    assert "of_my_own" not in repr(theirs) and isinstance(theirs.plot(), Figure)


def test_weights_and_families(runs: pd.DataFrame) -> None:
    two = pd.concat([runs.assign(family="a"), runs.assign(family="b", loss=runs["loss"] * 2)])
    with pytest.raises(sl.InputError, match="the runs are of a, b: name one"):
        sl.fit(two)
    assert pytest.approx(3.6, rel=0.05) == sl.fit(two, family="b", resamples=5).law.E
    weighted = sl.fit(runs, weights=np.where(runs["N"] > 5e7, 1.0, 1e-6), resamples=5)
    assert weighted.law.alpha != pytest.approx(sl.fit(runs, resamples=5).law.alpha, rel=1e-6)


def test_what_cannot_be_is_one_line(runs: pd.DataFrame, fitted: sl.LawFit, tmp_path: Path) -> None:
    constant = sl.read_runs(table().assign(**{"val/loss": 3.0}), N="params", D="tokens", loss="val/loss")
    unidentified = sl.fit(constant, resamples=5)
    for refused, message in (
        (lambda: sl.fit(runs, "chinchila"), "did you mean chinchilla"),
        (lambda: sl.fit(runs, "muennighoff"), "needs U: the runs have no column 'unique_tokens'"),
        (lambda: sl.fit(runs, weights=[1.0]), r"weights have shape \(1,\)"),
        (lambda: sl.fit(runs, family="gpt"), "no run is of the family 'gpt'"),
        (lambda: fitted.interval("gamma"), "no parameter 'gamma'"),
        (lambda: fitted.interval("alpha", level=90), "the level is 90"),
        (lambda: fitted.predict(C=1e20), "is a law of N, D; C is given"),
        (lambda: fitted.optimum("a lot"), "give FLOPs"),
        (lambda: fitted.plan(n="many", d=1e9), "n is many"),
        (lambda: unidentified.interval("alpha"), "not identified"),
        (lambda: unidentified.plan(compute=1e20), "not identified"),
        (lambda: sl.fit(runs, "power_n", resamples=5).optimum(1e20), "an optimum needs one of N and D"),
        (lambda: sl.plan(compute=1e20), "give a law"),
        (lambda: sl.plan(tmp_path / "laws.json", compute=1e20), "laws.json"),
        (lambda: sl.read_runs([]), "no table is given"),
        (lambda: sl.load_study(tmp_path), "no record.json"),
    ):
        with pytest.raises(sl.InputError, match=message) as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_several_tables_are_put_below_one_another() -> None:
    first, second = table().iloc[:18], table().iloc[18:]
    both = sl.read_runs([first, second], N="params", D="tokens", loss="val/loss")
    assert len(both) == 36 and both["run"].is_unique
    assert both.attrs["name"] == "the table and the table"


def test_plans_show_themselves_in_a_notebook(analysis: sl.Analysis, tmp_path: Path) -> None:
    plan = analysis.plan(compute="1e22 FLOPs")
    shown = plan._repr_html_()
    assert shown.count("<tr>") == 5 and f"<td>{plan.N:.4g}</td><td>parameters</td>" in shown
    assert "<li>extrapolation: of the fitted runs, N = " in shown and "<pre>" not in shown
    assert "&lt;b&gt;" in replace(plan, source="<b>")._repr_html_()
    (tmp_path / "laws.json").write_text(json.dumps(analysis.to_json()), encoding="utf-8")
    again = sl.plan(tmp_path / "laws.json", compute="1e22 FLOPs")
    assert pytest.approx(plan.N) == again.N and again.intervals["N"] == pytest.approx(plan.intervals["N"])
    for asked in ({"n": "7B"}, {"d": "140B"}, {"loss": 2.1}, {"n": "7B", "d": "1T"}):
        for of in (sl.plan(analysis, **asked), sl.plan(published="besiroglu", **asked)):
            assert of.N > 0 and of.D > 0 and of.loss_nats > 1.8 and of._repr_html_().count("<tr>") == 5


def test_a_study_is_simulated_before_it_is_trained(fitted: sl.LawFit) -> None:
    design = pd.DataFrame({"N": [1e7, 1e8, 1e9] * 4, "D": [1e9] * 3 + [4e9] * 3 + [2e10] * 3 + [1e11] * 3})
    planned = sl.simulate(fitted.law, design, noise=0.002, seeds=2)
    alpha = sl.fit(planned, "kaplan_nd", resamples=20).interval("alpha_N")
    found = sl.power(fitted.law, design, noise=0.002, seeds=2, studies=2, resamples=20)
    known = {each.name: each for each in found.of("chinchilla").parameters}
    assert alpha[0] is not None and known["alpha"].true == pytest.approx(fitted.parameters["alpha"])
    shown = found._repr_html_()
    assert shown.startswith("<p>2 simulated studies of these 24 runs") and "<pre>law " in shown


def test_an_analysis_of_a_table(analysis: sl.Analysis, tmp_path: Path) -> None:
    assert analysis.fit("chinchilla").identified
    assert pytest.approx(8.8e9, rel=0.1) == analysis.plan(compute=1e22).N
    assert sl.plan(analysis, compute=1e22).N == analysis.plan(compute=1e22).N
    json.dumps(analysis.to_json(), allow_nan=False)
    assert "α of L(N, D)" in repr(analysis)
    assert analysis.latex("chinchilla").startswith("L(N,D) = 1.")
    assert isinstance(sl.plot_isoflops(analysis), Figure)
    with pytest.raises(sl.InputError, match="position: "):
        analysis.figure("position")
    with pytest.raises(sl.InputError, match="no figure is called 'nothing'; there are power_laws"):
        analysis.figure("nothing")
    files = analysis.figures(tmp_path / "figures")
    assert {"power_laws.png", "power_laws.svg", "isoflop_slices.png"} <= {path.name for path in files}
    page = analysis.report(tmp_path / "page.html")
    assert "the table" in page.read_text(encoding="utf-8")
    assert (tmp_path / "page.md").exists()


@pytest.mark.systems
def test_the_page_of_a_table_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    table().iloc[::2].to_csv(path, index=False)
    columns = ["--n", "params", "--d", "tokens", "--loss", "val/loss"]
    main(["report", str(path), *columns])
    page = tmp_path / "mine.report" / "report.html"
    assert f"report: {page}" in capsys.readouterr().out
    assert page.exists() and (page.parent / "laws.json").exists()
    main(["report", str(path), *columns])  # ours, and replaced
    with pytest.raises(SystemExit):
        main(["report", str(path), *columns, "--export", str(tmp_path / "kept")])
    assert "a table is one already" in capsys.readouterr().err


@pytest.mark.systems
def test_the_manual_runs(tmp_path: Path) -> None:
    """Every block of docs/python.md as one plain script, without `if __name__ == "__main__"`."""
    root = Path(__file__).parents[2]
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) >= 3
    (tmp_path / "manual.py").write_text("\n".join(blocks))
    (tmp_path / "results").symlink_to(root / "results")
    subprocess.run([sys.executable, "manual.py"], cwd=tmp_path, check=True)
    assert (tmp_path / "page.html").exists() and (tmp_path / "power_laws.pdf").exists()


def test_a_table_does_not_say_what_its_n_counts(analysis: sl.Analysis, tmp_path: Path) -> None:
    page = analysis.report(tmp_path / "page.html").read_text(encoding="utf-8")
    words = re.sub(r"<script.*?</script>|base64,[A-Za-z0-9+/=]*", "", page, flags=re.DOTALL)
    assert "non-embedding" not in words and "unique tokens in one pass" not in words
    (data,) = re.findall(r'id="study-data">(.*?)</script>', page, flags=re.DOTALL)
    assert json.loads(data)["labels"]["N"] == "N, parameters"
    assert json.loads(data)["labels"]["C"] == "C = 6ND, training FLOPs"  # as it is, row by row
    (colours,) = [axes for axes in analysis.figure("power_laws").axes[-1:]]
    assert colours.get_ylabel() == "N, parameters"


def test_figures_for_print(analysis: sl.Analysis, tmp_path: Path) -> None:
    for columns, inches in ((1, 3.4), (2, 7.0)):
        files = analysis.figures(tmp_path / str(columns), columns=columns)
        assert {path.suffix for path in files} == {".png", ".svg", ".pdf"}
        with Image.open(tmp_path / str(columns) / "power_laws.png") as image:
            assert image.width == pytest.approx(300 * inches, abs=2)
            assert (image.height > image.width) == (columns == 1)  # its three panels are stacked
        assert (tmp_path / str(columns) / "power_laws.pdf").read_bytes().startswith(b"%PDF")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "power_laws.png").write_bytes(b"mine")
    with pytest.raises(sl.InputError, match=r"power_laws\.png"):
        analysis.figures(tmp_path / "mine")
    assert (tmp_path / "mine" / "power_laws.png").read_bytes() == b"mine"
    with pytest.raises(sl.InputError, match="1 or 2 columns"):
        analysis.figures(tmp_path, columns=3)


def test_two_analyses_on_one_page(analysis: sl.Analysis, tmp_path: Path) -> None:
    """Of the same runs a parameter differs from itself by nothing at all; of others' runs by its noise."""
    said = analysis.report_beside(analysis, tmp_path / "same.html")
    assert "0 of " in said and "differ by more than" in said
    page = (tmp_path / "same.md").read_text(encoding="utf-8")
    assert "the intervals of differences are paired" in page
    (row,) = [line for line in page.splitlines() if "E + A/N^alpha + B/D^beta | beta | " in line]
    assert row.split(" | ")[-2] == "+0 [0, 0]"
    renamed = replace(
        analysis.study, runs=analysis.study.runs.assign(run=lambda runs: "other " + runs["run"])
    )
    other = replace(analysis, study=renamed)
    _, table = pairing_and_differences(analysis, other)
    assert "No run is in both" in table.caption
    (cells,) = [
        cells for cells in table.rows if cells[1] == "beta" and cells[0].endswith("A/N^alpha + B/D^beta")
    ]
    low, high = (float(end) for end in cells[4].partition("[")[2].rstrip("]").split(", "))
    assert low < 0 < high and cells[5] == "no"


def pairing_and_differences(one: sl.Analysis, other: sl.Analysis) -> tuple[object, Table]:
    sides = two_sides((one.study, one.laws), (other.study, other.laws))
    return pairing(sides), differences(sides)


def test_a_plot_of_a_fit_marks_what_lies_beyond_the_runs(runs: pd.DataFrame) -> None:
    one_horizon = runs[runs["D"] == runs["D"].max()]
    (axes,) = sl.plot_fit(sl.fit(one_horizon, "power_n", resamples=20)).axes
    _, beyond, inside = axes.lines
    assert beyond.get_linestyle() == "--" and inside.get_linestyle() == "-"
    drawn = np.asarray(inside.get_xdata())[np.isfinite(inside.get_ydata())]
    low, high = one_horizon["N"].min(), one_horizon["N"].max()
    assert low / 1.03 <= drawn.min() and drawn.max() <= high * 1.03
    assert min(beyond.get_xdata()) < low / 2 and max(beyond.get_xdata()) > 2 * high
    (band,) = axes.collections
    assert band.get_datalim(axes.transData).x1 == pytest.approx(high)
    unsure = sl.fit(runs.iloc[:3], "chinchilla", resamples=20)
    assert any("not identified: " in text.get_text() for text in sl.plot_fit(unsure).axes[0].texts)


def test_the_reason_says_how_many_sizes_a_law_of_one_variable_had() -> None:
    """28 sizes, each with tokens of its own: no two share a horizon, which is why L(N) cannot be fitted."""
    N = np.geomspace(1e7, 1e9, 28)
    table = pd.DataFrame({"N": N, "D": 20 * N, "loss": 1.8 + 400 / N**0.34 + 1800 / (20 * N) ** 0.36})
    laws = sl.analyse(sl.read_runs(table), resamples=2).laws
    fit = laws.of("all").fit("power_n")
    assert fit is not None
    assert fit.reason.startswith(
        "only one N (a law of N needs several), where it can be fitted: 1 of 28 sizes"
    )

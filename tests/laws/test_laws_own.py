"""A law of a user's own: fitted and planned with as ours, and read again without its code; options."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.forms.declared import Declaration, declaration_of
from scaling_laws.laws.results.types import read_laws
from scaling_laws.report.tables import own_laws

MODULE = """
import scaling_laws as sl

TERMS = (sl.Term(None, "E"), sl.Term("N", "A", "alpha"), sl.Term("D", "B", "alpha"))

class Mine(sl.JointLaw, form="mine", of=TERMS):
    E: float
    A: float
    B: float
    alpha: float

class OfN(sl.SumOfPowers, form="of_n", of=(sl.Term("N", "N_0", "a"),), notation="scale"):
    N_0: float
    a: float

class Ours(sl.SumOfPowers, form="power_n", of=(sl.Term("N", "A", "alpha"),)):
    A: float
    alpha: float

class Bent(sl.JointLaw, form="bent", of=(sl.Term("N", "A", "a"), sl.Term("D", "B", "b"))):
    A: float
    B: float
    a: float
    b: float

    def outer(self, bracket):
        return bracket**0.5

class Fields(sl.SumOfPowers, form="fields", of=(sl.Term("N", "A", "alpha"),)):
    A: float

class Reversed(sl.JointLaw, form="reversed", of=(sl.Term("D", "B", "b"), sl.Term("N", "A", "a"))):
    A: float
    B: float
    a: float
    b: float

class Unknown(sl.SumOfPowers, form="unknown", of=(sl.Term("B", "A", "alpha"), sl.Term("B", "C", "beta"))):
    A: float
    alpha: float
    C: float
    beta: float

class NoLaw:
    pass
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `laws_of_mine.py` and a table of its law with 0.3 % noise."""
    (tmp_path / "laws_of_mine.py").write_text(MODULE)
    random, lines = np.random.default_rng(0), ["N,D,loss"]
    for N in np.geomspace(1e7, 1e9, 5):
        for D in np.geomspace(1e9, 1e11, 5):
            loss = (1.8 + 400 / N**0.35 + 1800 / D**0.35) * np.exp(0.003 * random.normal())
            lines.append(f"{N},{D},{loss}")
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "laws_of_mine", raising=False)
    return tmp_path


def test_it_is_fitted_and_planned_with_like_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = ["--form", "laws_of_mine.Mine", "--form", "chinchilla_tied", "--bootstrap", "20"]
    main(["laws", "runs.csv", *mine])
    assert "mine: L(N,D) = E + A/N^alpha + B/D^alpha" in capsys.readouterr().out
    own, ours = json.loads(Path("runs.laws.json").read_text())["fits"]
    assert own["form"] == "mine" and own["identified"] and own["certificate"]["share_at_best"] == 1
    for key in ("parameters", "intervals", "derived", "certificate", "objective"):
        assert own[key] == ours[key]
    main(["laws", "runs.csv", *mine[:2], "--bootstrap", "20", "--quiet"])
    (folder / "laws_of_mine.py").unlink()  # what is read later runs no code of its author
    main(["plan", "--laws", "runs.laws.json", "--compute", "1e21", "--json"])
    plan = json.loads(capsys.readouterr().out)
    law = read_laws(Path("runs.laws.json")).by_family[0].fits[0]
    assert law.is_joint and plan["N"] == pytest.approx(float(law.law.optimum(1e21)[0]))
    assert law.draws.alpha.shape == (20,)
    fitted = sl.fit(sl.read_runs("runs.csv"), "chinchilla_tied", resamples=20)
    assert plan["N"] == pytest.approx(fitted.plan(compute=1e21).N)


def test_a_frozen_prediction_holds_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["laws", "runs.csv", "--form", "laws_of_mine.Mine", "--bootstrap", "20", "--quiet"])
    main(["plan", "--laws", "runs.laws.json", "--n", "1e9", "--d", "1e10", "--freeze", "p.json"])
    main(["plan", "--score", "p.json", "--loss", "2.5", "--n", "1e9", "--d", "2e10", "--json"])
    assert '"predicted"' in capsys.readouterr().out


def test_in_python_by_name_and_of_one_variable(folder: Path) -> None:
    runs = sl.read_runs("runs.csv")
    named = sl.fit(runs, "laws_of_mine.OfN", resamples=10)
    assert named.result.formula == "L(N) = (N_0/N)^a" and named.latex().startswith("L(N) = (")
    assert named.result.declared is not None and not named.result.is_joint


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("laws_of_mine.Nothing", "--form laws_of_mine.Nothing: laws_of_mine has no class 'Nothing'"),
        ("no_such_module.Mine", "the module no_such_module cannot be run (ModuleNotFoundError"),
        (
            "broken_module.Mine",
            "the module broken_module cannot be run (ZeroDivisionError: ",
        ),
        (
            "laws_of_mine.NoLaw",
            "NoLaw: a law of your own is a scaling_laws.JointLaw or SumOfPowers with form=",
        ),
        ("laws_of_mine.Ours", "Ours: form='power_n' is the name of a law of ours; give it another"),
        ("laws_of_mine.Bent", "Bent: it defines outer, but a law is what its terms say"),
        ("laws_of_mine.Fields", "Fields: the field 'alpha' and the names in its terms do not agree"),
        ("laws_of_mine.Reversed", "Reversed: a JointLaw has one term of N and then one of D"),
        ("laws_of_mine.Unknown", "two terms of one variable"),
        ("mine", "no law is called 'mine'; there are"),
    ],
)
def test_what_is_no_law_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], form: str, message: str
) -> None:
    (folder / "broken_module.py").write_text("1 / 0\n")
    with pytest.raises(SystemExit):
        main(["laws", "runs.csv", "--form", form])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("runs.laws.json").exists()


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ((), "no term that varies"),
        (((None, "E", None, None),), "no term that varies"),
        ((("X", "A", "a", None),), "the variable 'X'"),
        ((("N", "A; import os", "a", None),), "a parameter 'A; import os'"),
        ((("N", "class", "a", None),), "a parameter 'class'"),
        ((("N", "A", None, None),), "has no exponent"),
        ((("N", "A", "a", None), ("D", "A", "b", None)), "a coefficient of its own"),
    ],
)
def test_a_declaration_from_a_stranger_is_checked(of: tuple, message: str) -> None:
    with pytest.raises(sl.InputError, match=message):
        Declaration(of=of)


def test_ours_need_no_declaration() -> None:
    from scaling_laws.laws.forms.catalogue import FORMS

    assert all(declaration_of(form) is None for form in FORMS.values())


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    main(["laws", "runs.csv", *arguments])
    return capsys.readouterr().out


def test_level_latex_and_no_resamples(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--form", "chinchilla_tied"]
    ninety = printed([*chosen, "--bootstrap", "40", "--latex"], capsys)
    assert "fits with 90 % intervals" in ninety
    assert "LaTeX:\n  chinchilla_tied: L(N,D) = 1." in ninety and "/N^{0.3" in ninety
    narrow = json.loads(Path("runs.laws.json").read_text())["fits"][0]
    text = printed([*chosen, "--bootstrap", "40", "--level", "0.99"], capsys)
    assert "fits with 99 % intervals" in text and "99 % interval" in text and "90 %" not in text
    wide = json.loads(Path("runs.laws.json").read_text())["fits"][0]
    assert wide["level"] == 0.99 and wide["resamples"] == narrow["resamples"]
    low, high = wide["intervals"]["alpha"]
    assert low < narrow["intervals"]["alpha"][0] < narrow["intervals"]["alpha"][1] < high
    text = printed([*chosen, "--bootstrap", "0"], capsys)
    assert "fits without intervals" in text and "no intervals: --bootstrap 0" in text and "[" not in text
    bare = json.loads(Path("runs.laws.json").read_text())["fits"][0]
    assert bare["identified"] and bare["intervals"] == {} == bare["resamples"]
    assert bare["parameters"] == narrow["parameters"] and bare["certificate"]["profile"]
    main(["plan", "--laws", "runs.laws.json", "--compute", "1e21", "--json"])
    assert json.loads(capsys.readouterr().out)["intervals"] == {}


def test_python_has_the_same(folder: Path) -> None:
    runs = sl.read_runs("runs.csv")
    bare = sl.fit(runs, resamples=0)
    assert "value  unit" in bare.summary() and "Intervals: no resamples." in bare.summary()
    for refused in (lambda: bare.interval("alpha"), lambda: bare.predict_interval(N=1e9, D=1e10)):
        with pytest.raises(sl.InputError, match="no intervals: it was fitted with resamples=0"):
            refused()
    assert bare.plan(compute=1e21).intervals == {} and bare.plot() is not None
    assert "value and 95 % interval" in sl.fit(runs, resamples=20).summary(level=0.95)


def test_a_whole_analysis_without_resamples(tmp_path: Path) -> None:
    """Four sizes, each at another D: not one size only."""
    path = tmp_path / "runs.csv"
    rows = [f"{N},{20 * N},{2 + 50 / N**0.3}" for N in np.geomspace(1e7, 1e9, 4)]
    path.write_text("\n".join(["N,D,loss", *rows]) + "\n")
    found = sl.analyse(path, resamples=0)
    assert "scaling laws without intervals" in found.summary()
    with pytest.raises(sl.InputError, match="chinchilla is not identified"):
        found.latex("chinchilla")
    (family,) = found.laws.by_family
    of_N = family.fit("kaplan_n")
    assert of_N is not None and "1 of 4 sizes at the largest horizon common to them" in of_N.reason


def test_the_file_of_laws_is_put_beside_the_table_and_spares_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.rename("runs.csv", "my.runs.tsv")
    place = Path("my.runs.laws.json")
    place.write_text("notes of mine\n")
    chosen = ["laws", "my.runs.tsv", "--form", "power_n", "--bootstrap", "0", "--quiet"]
    with pytest.raises(SystemExit):
        main(chosen)
    assert "already exists and is not a laws.json" in capsys.readouterr().err
    assert place.read_text() == "notes of mine\n"
    place.unlink()
    main(chosen)
    main(chosen)  # ours, and replaced
    assert read_laws(place).study == "my.runs.tsv"


FORMULAS = """
import scaling_laws as sl

class Crossed(sl.FormulaLaw, form="crossed", formula="E + A/N^alpha + B/D^beta"):
    E: float
    A: float
    B: float
    alpha: float
    beta: float

class Saturating(sl.FormulaLaw, form="saturating", formula="E + A*exp(-k*log(N))", signed=("k",)):
    E: float
    A: float
    k: float
"""


@pytest.fixture
def with_formulas(folder):
    (folder / "laws_of_mine.py").write_text(FORMULAS)
    return folder


def test_a_formula_is_fitted_and_planned_with_as_the_same_law_of_ours(with_formulas):
    from laws_of_mine import Crossed

    ours, theirs = (sl.fit("runs.csv", form, resamples=40) for form in ("chinchilla", Crossed))
    assert theirs.identified and theirs.fit.objective == pytest.approx(ours.fit.objective, rel=1e-9)
    for name, value in ours.parameters.items():
        assert theirs.parameters[name] == pytest.approx(value, rel=1e-6)
        assert theirs.interval(name) == pytest.approx(ours.interval(name), rel=1e-2)
    assert "a lower optimum is not ruled out" in theirs.summary()
    for question in ({"compute": 1e20}, {"n": "1B"}, {"d": "10B"}, {"loss": 2.6}, {"n": 1e9, "loss": 2.6}):
        planned, expected = (fit.plan(**question) for fit in (theirs, ours))
        assert pytest.approx((expected.N, expected.D), rel=1e-4) == (planned.N, planned.D), question
        assert planned.compute_ratio_half_N == pytest.approx(expected.compute_ratio_half_N, rel=1e-4)
    assert theirs.plot().axes[0].get_xscale() == "log"


def test_a_formula_is_read_again_without_its_code(with_formulas, capsys):
    main(["laws", "runs.csv", "--form", "laws_of_mine.Crossed", "--bootstrap", "20", "--latex"])
    assert r"A" in capsys.readouterr().out
    Path("laws_of_mine.py").unlink()
    sys.modules.pop("laws_of_mine")
    main(["plan", "--laws", "runs.laws.json", "--compute", "1e20"])
    printed = capsys.readouterr().out
    assert "crossed" in printed and "N" in printed
    assert "N taken without embeddings and head: the table does not say what it counts" in printed
    main(["plan", "--laws", "runs.laws.json", "--n", "1B"])


def test_a_formula_stands_beside_our_laws(with_formulas):
    from laws_of_mine import Crossed

    found = sl.analyse("runs.csv", resamples=10, forms=[Crossed, "laws_of_mine.Saturating"])
    forms = [fit.form for fit in found.laws.of("all").fits]
    assert forms[-2:] == ["crossed", "saturating"] and "chinchilla" in forms
    assert found.fit("crossed").identified
    for figure, n_panels in (("predicted_and_measured", 3), ("residuals", 9)):
        panels = found.figure(figure).axes
        assert len(panels) == n_panels and all(panel.lines for panel in panels)
        assert "crossed L(N, D)" in {panel.get_title() for panel in panels} | {
            panel.get_ylabel().partition("\n")[0] for panel in panels
        }
    rows = own_laws(found.laws).rows
    assert [row[0] for row in rows[:3]] == ["crossed", "saturating", "Kaplan's"]
    assert rows[0][2].startswith("L(N,D) = E + ") and rows[0][5] == "yes"


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("E + A*(", "is not a formula"),
        ("E + N.real", "N.real is not part"),
        ("E + open(N)", "open is not part"),
        ("E + A", "has no variable"),
        ("E + N if A else D", "is not part of a formula"),
        ("(" * 300 + "N" + ")" * 300, "signs; 400 are read"),
        ("E + A/N^alpha", "the field 'b'"),
        ("(lambda: N)()", "is not part of a formula"),
    ],
)
def test_what_is_no_formula_is_refused(formula, words):
    with pytest.raises(sl.InputError, match=words.replace("(", r"\(")):

        class Wrong(sl.FormulaLaw, form="wrong", formula=formula):
            E: float
            A: float
            alpha: float
            b: float


def test_a_laws_json_may_not_hold_code():
    for formula in ("__import__('os')", "N.__class__", "N + '1'", "at/N", "loss*N", "optimum + N"):
        with pytest.raises(sl.InputError):
            Declaration(of=(), formula=formula)

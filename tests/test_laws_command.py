"""The verb `laws` as a user types it: chosen forms, what is written and printed, and every refusal."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from scaling_laws.cli import main
from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.steps import CriticalBatch, TimeData
from scaling_laws.laws.results.study import fit_study
from scaling_laws.laws.run_tables import read_runs

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[2] / "shared" / "data"))
TRUTH = Chinchilla(E=1.8, A=400.0, B=2000.0, alpha=0.34, beta=0.37)


@pytest.fixture
def table(tmp_path):
    """36 runs of a known law with 0.3 % noise, under a stranger's column names."""
    random = np.random.default_rng(0)
    lines = ["Model Size,Training FLOP,final loss,weight of row"]
    for N in np.geomspace(1e7, 1e10, 6):
        for D in np.geomspace(1e9, 1e11, 6):
            loss = float(TRUTH.loss(N, D)) * np.exp(0.003 * random.normal())
            lines.append(f"{N},{6 * N * D},{loss},{1 if N < 1e9 else 2}")
    path = tmp_path / "theirs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


COLUMNS = ["--n", "Model Size", "--c", "Training FLOP", "--loss", "final loss", "--bootstrap", "40"]


FEW = ["--where", "`Model Size` < 6e8"]
"""Half of the sizes, where the numbers do not matter."""


def fitted(path: Path, *arguments: str):
    main(["laws", str(path), *arguments])
    return json.loads(path.with_suffix(".laws.json").read_text())


def test_a_large_table_says_how_long_it_takes(table, capsys, monkeypatch):
    fitted(table, *COLUMNS, "--form", "chinchilla")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("scaling_laws.study.stages.NOTICE_AFTER_S", 0.0)
    monkeypatch.setattr("scaling_laws.laws.results.chosen_forms.LARGE_WORK", 7_300)
    monkeypatch.setattr("scaling_laws.laws.results.chosen_forms.SAMPLE_ROWS", 30)
    monkeypatch.setattr("scaling_laws.laws.results.chosen_forms.SAMPLE_RESAMPLES", (1, 5))
    fitted(table, *COLUMNS, "--form", "chinchilla")
    said = capsys.readouterr().err
    assert said.startswith("fitting 36 rows, with 40 resamples for the intervals: about 0:0")
    assert said.count("\n") == 1 and "more" not in said
    fitted(table, *COLUMNS, "--form", "chinchilla", "--quiet")
    assert capsys.readouterr() == ("", "")


def test_every_law_says_how_long_it_takes(table, capsys, monkeypatch):
    monkeypatch.setattr("scaling_laws.study.stages.NOTICE_AFTER_S", 0.0)
    fitted(table, *COLUMNS, *FEW, "--bootstrap", "2")
    said = capsys.readouterr().err
    assert said.startswith("fitting every law to 18 runs: about 0:0") and said.endswith(" more\n")
    assert said.count("\n") == 1


def test_one_form_is_fitted_to_all_rows(table, capsys):
    laws = fitted(table, *COLUMNS, "--form", "chinchilla")
    (fit,) = laws["fits"]
    assert fit["identified"] and fit["n_rows"] == 36 and fit["rows"] == "all rows"
    for name in ("E", "alpha", "beta"):
        assert fit["parameters"][name] == pytest.approx(getattr(TRUTH, name), rel=0.06)
        low, high = fit["intervals"][name]
        assert low < fit["parameters"][name] < high
    printed = capsys.readouterr().out
    for word in ("chinchilla: L(N,D) = E + A/N^alpha + B/D^beta", "90 % interval", "nats/token", "a_opt"):
        assert word in printed
    for word in ("identified; intervals by bootstrap over 36 trainings (40 resamples)", "delta 0.001"):
        assert word in printed
    assert "of 49 starts ended at this optimum" in printed and "condition number" in printed
    assert "TensorBoard" not in printed


def test_the_file_has_the_schema_of_a_whole_analysis(table):
    laws = fitted(table, *COLUMNS, *FEW, "--form", "chinchilla")
    runs = read_runs(table, n="Model Size", c="Training FLOP", loss="final loss", where=FEW[1])
    whole = fit_study("theirs.csv", runs, resamples=5).to_json()
    assert set(whole) <= set(laws)
    for key, value in whole.items():
        assert type(laws[key]) is type(value), key
    assert set(laws["fits"][0]) == set(whole["fits"][0])
    assert laws["conventions"] == {"N": "Model Size", "C": "Training FLOP", "loss": "final loss"}
    assert laws["manifest"]["columns"]["n"] == "Model Size"
    assert len(laws["manifest"]["input_sha256"]) == 64
    for key in ("frontier", "isoflop", "allocation", "holdout", "sensitivity", "positions"):
        assert laws[key] == []
    # The same optimum as the whole analysis.
    (theirs,) = (fit for fit in whole["fits"] if fit["form"] == "chinchilla")
    assert laws["fits"][0]["objective"] == pytest.approx(theirs["objective"], rel=1e-9)


def test_a_plan_can_be_made_of_it(table, capsys):
    fitted(table, *COLUMNS, "--form", "chinchilla", "--quiet")
    assert capsys.readouterr().out == ""
    main(["plan", "--compute", "1e21", "--laws", str(table.with_suffix(".laws.json")), "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["N"] == pytest.approx(float(TRUTH.optimum(1e21)[0]), rel=0.25)


def test_several_forms_and_where(table):
    laws = fitted(
        table, *COLUMNS, "--form", "kaplan_nd", "--form", "power_n", "--where", "`Model Size` < 5e9"
    )
    assert [fit["form"] for fit in laws["fits"]] == ["kaplan_nd", "power_n"]
    assert {fit["n_rows"] for fit in laws["fits"]} == {30}
    assert laws["manifest"]["columns"]["where"] == "`Model Size` < 5e9"


def test_weights_weigh(table):
    """A weight of two is the row twice."""
    weighted = fitted(table, *COLUMNS, "--form", "chinchilla", "--weight", "weight of row")
    header, *rows = table.read_text().splitlines()
    doubled = table.with_name("doubled.csv")
    doubled.write_text("\n".join([header, *rows, *(row for row in rows if row.endswith(",2"))]) + "\n")
    twice = fitted(doubled, *COLUMNS, "--form", "chinchilla")
    mean_weight = twice["fits"][0]["n_rows"] / weighted["fits"][0]["n_rows"]
    objective = weighted["fits"][0]["objective"] * mean_weight
    assert objective == pytest.approx(twice["fits"][0]["objective"], rel=1e-9)
    alpha, other = (laws["fits"][0]["parameters"]["alpha"] for laws in (weighted, twice))
    assert alpha == pytest.approx(other, rel=1e-6)
    assert weighted["fits"][0]["rows"] == "all rows, weighted"
    assert fitted(table, *COLUMNS, "--form", "chinchilla")["fits"][0]["parameters"]["alpha"] != alpha


def test_delta_is_used(table):
    objectives = [
        fitted(table, *COLUMNS, "--form", "chinchilla", "--delta", delta)["fits"][0]["objective"]
        for delta in ("1e-3", "1e-1")
    ]
    assert objectives[1] > 1.5 * objectives[0]


def test_families_are_fitted_apart(tmp_path, capsys):
    other = Chinchilla(E=2.0, A=300.0, B=1500.0, alpha=0.30, beta=0.35)
    lines = ["family,N,D,loss"]
    for name, law in (("rnn", other), ("transformer", TRUTH)):
        for N in np.geomspace(1e7, 1e10, 5):
            for D in np.geomspace(1e9, 1e11, 5):
                lines.append(f"{name},{N},{D},{float(law.loss(N, D))}")
    path = tmp_path / "two.csv"
    path.write_text("\n".join(lines) + "\n")
    laws = fitted(path, "--form", "chinchilla", "--bootstrap", "5")
    alphas = {fit["family"]: fit["parameters"]["alpha"] for fit in laws["fits"]}
    assert alphas == pytest.approx({"rnn": 0.30, "transformer": 0.34}, rel=1e-6)
    assert "chinchilla, rnn: " in capsys.readouterr().out


def test_repeated_data(tmp_path):
    truth = Muennighoff(**vars(TRUTH), R_D_star=8.0, R_N_star=5.0)
    lines = ["N,D,loss,U"]
    for N in np.geomspace(1e7, 1e10, 5):
        for U in (1e9, 1e10):
            for epochs in (1, 4, 16, 64):
                lines.append(f"{N},{U * epochs},{float(truth.loss(N, U * epochs, U))},{U}")
    path = tmp_path / "epochs.csv"
    path.write_text("\n".join(lines) + "\n")
    (fit,) = fitted(path, "--form", "muennighoff", "--unique", "U", "--bootstrap", "5")["fits"]
    assert fit["identified"], fit["reason"]
    assert fit["parameters"]["R_D_star"] == pytest.approx(8.0, rel=1e-4)


def batch_scan(path: Path) -> CriticalBatch:
    """Steps to a loss for four sizes at six batches: exact but for 0.5 %."""
    law, random = CriticalBatch(alpha_B=0.2, B_star=2e8), np.random.default_rng(0)
    lines = ["N,level,batch,steps"]
    for N, loss in ((1e7, 4.2), (4e7, 3.7), (1.6e8, 3.3), (6.4e8, 2.9)):
        B_crit = float(law.batch_tokens(loss))
        to_loss = TimeData(S_min=5000.0, E_min=5000.0 * B_crit)
        for B in B_crit * np.geomspace(0.05, 20, 6):
            lines.append(f"{N},{loss},{B},{float(to_loss.steps(B)) * np.exp(0.005 * random.normal())}")
    path.write_text("\n".join(lines) + "\n")
    return law


def test_laws_of_time_from_a_scan_of_batches(tmp_path, capsys):
    path = tmp_path / "scan.csv"
    truth = batch_scan(path)
    arguments = ["--loss", "level", "--batch", "batch", "--steps", "steps", "--bootstrap", "100"]
    laws = fitted(path, *arguments, "--form", "time_data", "--form", "critical_batch")
    scans = [fit for fit in laws["fits"] if fit["form"] == "time_data"]
    assert len(scans) == 4
    for fit, loss in zip(scans, (4.2, 3.7, 3.3, 2.9), strict=True):
        assert fit["derived"]["B_crit"] == pytest.approx(float(truth.batch_tokens(loss)), rel=0.03)
        assert fit["parameters"]["S_min"] == pytest.approx(5000, rel=0.02)
        low, high = fit["intervals"]["B_crit"]
        assert low < fit["derived"]["B_crit"] < high
        assert set(fit["ranges"]) == {"B", "S"}
    (law,) = (fit for fit in laws["fits"] if fit["form"] == "critical_batch")
    assert law["parameters"]["alpha_B"] == pytest.approx(truth.alpha_B, rel=0.05)
    low, high = law["intervals"]["alpha_B"]
    assert low < truth.alpha_B < high
    printed = capsys.readouterr().out
    assert "E_min / S_min" in printed and "The batch is in the unit of batch" in printed


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")
def test_published_critical_batches(tmp_path):
    """E_min/S_min of five models, in sequences: ../shared/data/README.md, item 5."""
    path = tmp_path / "scan.csv"
    path.write_bytes((DATA / "critical_batch_size.csv").read_bytes())
    arguments = ("--loss", "target_c4_val_loss", "--batch", "batch_size_seqs", "--steps", "steps_to_target")
    laws = fitted(path, *arguments, "--form", "time_data")
    found = [fit["derived"]["B_crit"] for fit in laws["fits"]]
    assert found == pytest.approx([2191, 3240, 5433, 7907, 11131], rel=1e-3)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")
def test_besiroglus_refit_in_one_command(tmp_path):
    """arXiv 2404.10102: E 1.8172, alpha .3478, beta .3658 of 240 rows."""
    path = tmp_path / "chinchilla.csv"
    path.write_bytes((DATA / "chinchilla_epoch.csv").read_bytes())
    arguments = ["--form", "chinchilla", "--n", "Model Size", "--c", "Training FLOP", "--loss", "loss"]
    arguments += ["--where", "loss < 3.44", "--delta", "1e-3", "--bootstrap", "200"]
    (fit,) = fitted(path, *arguments)["fits"]
    assert fit["objective"] == pytest.approx(0.001018274, rel=1e-6)
    assert fit["n_rows"] == 240
    for name, value in {"E": 1.8172, "alpha": 0.3478, "beta": 0.3658}.items():
        assert fit["parameters"][name] == pytest.approx(value, abs=0.002)
        low, high = fit["intervals"][name]
        assert low < value < high


def test_without_a_form_the_whole_analysis_is_printed(table, capsys, monkeypatch):
    """The analysis itself is tested elsewhere: here a small one stands in."""
    import scaling_laws.laws.results.study as study

    runs = read_runs(table, n="Model Size", c="Training FLOP", loss="final loss")
    small = study.fit_study("theirs.csv", runs[runs["N"] == runs["N"].min()], resamples=5)
    monkeypatch.setattr(study, "fit_study", lambda *arguments, **settings: small)
    main(["laws", str(table), *COLUMNS])
    printed = capsys.readouterr().out
    assert printed.startswith("theirs.csv: scaling laws with 90 % intervals")
    assert "All runs" in printed and "this study" not in printed
    assert "Not fitted:" in printed and "only one N" in printed
    assert "report" not in printed and "TensorBoard" not in printed
    assert len(printed.splitlines()) < 50


def refusal(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as status:
        main(["laws", *map(str, arguments)])
    captured = capsys.readouterr()
    assert status.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--form", "chinchila"], "no law is called 'chinchila'.*did you mean chinchilla"),
        (["--form", "x"], "kaplan_nd"),
        (["--form", "position"], "form position needs the loss at every position"),
        (["--form", "muennighoff"], "no column 'unique_tokens' for U"),
        (["--form", "time_data"], "no column 'batch_tokens' for B"),
        (["--form", "kaplan_ns"], "no column 'batch_tokens' for B"),
        (["--form", "chinchilla", "--weight", "weights"], "no column 'weights' for the weight"),
        (["--weight", "weight of row"], "--weight needs --form"),
        (["--delta", "0"], "--delta is 0"),
        (["--delta", "-1"], "--delta is -1"),
        (["--delta", "nan"], "--delta is nan"),
        (["--delta", "inf"], "--delta is inf"),
        (["--bootstrap", "-1"], "--bootstrap is -1"),
        (["--compare", "family", "--level", "0.95"], "--level does not go with --compare"),
        (["--form", "chinchilla", "--level", "95"], "--level is 95; it must be a share"),
        (["--bootstrap", "1000000000"], "--bootstrap is 1000000000"),
    ],
)
def test_bad_arguments_are_refused(table, capsys, arguments, message):
    line = refusal([table, *COLUMNS, *arguments], capsys)
    assert np.all([part in line for part in message.split(".*")]), line
    assert sorted(path.name for path in table.parent.iterdir()) == ["theirs.csv"]


def test_bad_places_are_refused_before_anything_is_fitted(table, capsys, monkeypatch):
    folder = table.parent
    assert "there is no folder" in refusal([table, "-o", folder / "none" / "laws.json"], capsys)
    assert "not a file" in refusal([table, "-o", folder], capsys)
    assert "not a file" in refusal([table, "-o", "/dev/null"], capsys)
    assert "the table itself" in refusal([table, "-o", table], capsys)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert "no permission to write" in refusal([table, *COLUMNS], capsys)


def test_folders(tmp_path, capsys):
    assert "no record.json" in refusal([tmp_path], capsys)
    study = Path(__file__).parents[1] / "results" / "quick"
    assert "--where is for a table" in refusal([study, "--where", "loss < 3"], capsys)
    assert "cannot be read" in refusal([tmp_path / "absent.csv"], capsys)


def test_every_form_is_fitted_or_refused(table, capsys):
    """No form of the catalogue ends in a traceback."""
    for form in FORMS:
        try:
            laws = fitted(table, *COLUMNS, *FEW, "--form", form, "--bootstrap", "2", "--quiet")
        except SystemExit as status:
            assert status.code == 2
        else:
            assert laws["fits"][0]["identified"] or laws["fits"][0]["reason"]
    refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(refused) == 7  # position, muennighoff, three of steps, two of C_min

"""`scaling-laws report STUDY --export FOLDER`: what is small is copied, what is not small is refused."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageChops
from tests.support.fitted_studies import FittedStudy

from scaling_laws.cli import main
from scaling_laws.commands import report
from scaling_laws.commands.report import POINTS_A_CURVE, export, thinned
from scaling_laws.report.pictures import KEPT_DPI, KEPT_STEP, PNG_DPI
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import load_study


def test_small_results_are_copied_and_old_figures_removed(synthetic: FittedStudy, tmp_path: Path) -> None:
    study, folder = synthetic.study, tmp_path / "results"
    figures = study.folder / "figures"
    figures.mkdir(exist_ok=True)
    (figures / "one.svg").write_text("<svg/>", encoding="utf-8")
    (figures / "notes.txt").write_text("not a figure", encoding="utf-8")
    (study.folder / "laws.json").write_text("{}", encoding="utf-8")
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "old.png").write_bytes(b"old")
    said = export(study, folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"laws.json", "curves.csv.gz", "figures/one.svg"} <= names
    assert not names & {"figures/old.png", "figures/notes.txt"}
    assert said.startswith(f"{len(names)} files, ")
    before = (folder / "curves.csv.gz").read_bytes()
    curves = pd.read_csv(io.BytesIO(gzip.decompress(before)))
    assert set(curves["run"]) == set(study.runs["run"])
    export(study, folder)
    assert (folder / "curves.csv.gz").read_bytes() == before


def test_large_results_are_refused(
    synthetic: FittedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LARGEST_EXPORT_BYTES", 1000)
    with pytest.raises(InputError, match="nothing was written"):
        export(synthetic.study, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_curves_keep_their_ends() -> None:
    long = pd.DataFrame({"run": "a", "step": range(1, 301), "tokens": 1, "test_loss_nats": 3.0})
    short = pd.DataFrame({"run": "b", "step": range(1, 6), "tokens": 1, "test_loss_nats": 3.0})
    kept = thinned(pd.concat([long, short, short.assign(run="c", test_loss_nats=None)]))
    counts = kept.groupby("run")["step"].agg(["count", "max"])
    assert counts.loc["a", "count"] == POINTS_A_CURVE and counts.loc["a", "max"] == 300
    assert counts.loc["b"].tolist() == [5, 5] and "c" not in counts.index
    assert thinned(long.drop(columns="test_loss_nats")).empty


def test_the_command(tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = next((tiny_study / "lightning_logs").glob("*"))
    main(["report", str(folder), "--export", str(tmp_path / "results")])
    said = capsys.readouterr().out
    assert f"in {tmp_path / 'results'}" in said
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert {"runs.csv", "laws.json", "headline.md", "curves.csv.gz"} <= names
    assert len(load_study(folder).runs) == len(pd.read_csv(tmp_path / "results" / "runs.csv"))
    for path in (tmp_path / "results" / "figures").glob("*.png"):
        original = folder / "figures" / path.name
        with Image.open(path) as kept, Image.open(original) as drawn:
            assert kept.width == round(drawn.width * KEPT_DPI / PNG_DPI)
            same_size = drawn.convert("RGB").resize(kept.size, Image.Resampling.LANCZOS)
            difference = ImageChops.difference(kept.convert("RGB"), same_size)
        assert max(high for _, high in difference.getextrema()) <= KEPT_STEP / 2
        assert path.stat().st_size < original.stat().st_size

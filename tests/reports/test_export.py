"""`scaling-laws report STUDY --export FOLDER`: what is small is copied, what is not small is refused."""

from __future__ import annotations

import gzip
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.support.fitted_studies import FittedStudy
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.cli import main
from scaling_laws.laws.results.study import fit_folder
from scaling_laws.laws.results.types import Laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.laws.task_laws import fit_tasks, scored_of
from scaling_laws.report import export as exports
from scaling_laws.report.export import POINTS_A_CURVE, export, thinned
from scaling_laws.report.pictures import (
    KEPT_DPI,
    LARGEST_KEPT_BYTES,
    PNG_DPI,
    Picture,
    smaller_png,
)
from scaling_laws.report.study_report import write_study_report
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import LIST_FILE
from scaling_laws.study.runs import NOT_EXPORTED, Study, load_study

ROOT = Path(__file__).parents[2]


def test_small_results_are_copied_and_old_figures_removed(synthetic: FittedStudy, tmp_path: Path) -> None:
    study, laws, folder = synthetic.study, synthetic.laws, tmp_path / "results"
    export(study, laws, [picture("one"), picture("old")], folder)
    (folder / "figures" / "holiday.png").write_bytes(b"the user's own")
    said = export(study, laws, [picture("one")], folder)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"laws.json", "curves.csv.gz", "figures/one.png", "figures/holiday.png"} <= names
    assert "figures/old.png" not in names
    assert said.startswith(f"{len(names - {'figures/holiday.png', LIST_FILE})} files, ")
    before = (folder / "curves.csv.gz").read_bytes()
    curves = pd.read_csv(io.BytesIO(gzip.decompress(before)))
    assert set(curves["run"]) == set(study.runs["run"])
    export(study, laws, [picture("one")], folder)
    assert (folder / "curves.csv.gz").read_bytes() == before


def test_scores_of_tasks_and_their_laws_are_those_of_the_study(
    synthetic: FittedStudy, tmp_path: Path
) -> None:
    study = load_study(shutil.copytree(synthetic.study.folder, tmp_path / "study"))
    for place, (run, loss) in enumerate(zip(study.runs["run"], study.runs["loss"], strict=True)):
        right = [round(100 / (1 + np.exp(2 * (loss - 4)))), place % 10]
        lines = [f"8,sums,16,{right[1]},8.0,-9.5", f"16,sums,100,{right[0]},50.0,-60.25"]
        header = "step,task,n_items,n_correct,chance_sum,answer_log_p_sum_nats"
        (study.folder / run / "task_scores.csv").write_text("\n".join([header, *lines, ""]))
    export(study, synthetic.laws, [], tmp_path / "results")
    kept = load_study(tmp_path / "results")
    for final_only in (True, False):
        pd.testing.assert_frame_equal(kept.task_scores(final_only), study.task_scores(final_only))
    scored = scored_of(study)
    assert scored is not None
    laws = fit_tasks(scored)
    assert fit_tasks(scored_of(kept)) == laws  # type: ignore[arg-type]
    assert all(law.two_steps is not None for law in laws if law.n_sizes > 3)


def test_an_export_carries_nothing_that_lay_in_the_study(synthetic: FittedStudy, tmp_path: Path) -> None:
    """A study may come from a stranger: its figures may be pages with scripts, its laws.json anything."""
    study = synthetic.study
    (study.folder / "figures").mkdir(exist_ok=True)
    for name in ("figures/strange.png", "figures/strange.svg", "laws.json", "headline.md"):
        (study.folder / name).write_text("<svg><script>alert(1)</script></svg>", encoding="utf-8")
    (study.folder / "plan.json").write_text('{"runs": []}   <script>', encoding="utf-8")
    try:
        export(study, synthetic.laws, [picture("one")], tmp_path / "results")
    finally:
        for name in ("figures/strange.png", "figures/strange.svg", "laws.json", "headline.md", "plan.json"):
            (study.folder / name).unlink()
    for path in (tmp_path / "results").rglob("*"):
        assert "strange" not in path.name and path.name != "plan.json"
        assert path.is_dir() or b"script" not in path.read_bytes()


def test_large_results_are_refused(
    synthetic: FittedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "LARGEST_EXPORT_BYTES", 1000)
    with pytest.raises(InputError, match="nothing was written"):
        export(synthetic.study, synthetic.laws, [], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_curves_keep_their_ends() -> None:
    long = pd.DataFrame({"run": "a", "step": range(1, 301), "tokens": 1, "test_loss_nats": 3.0})
    short = pd.DataFrame({"run": "b", "step": range(1, 6), "tokens": 1, "test_loss_nats": 3.0})
    kept = thinned(pd.concat([long, short, short.assign(run="c", test_loss_nats=None)]))
    counts = kept.groupby("run")["step"].agg(["count", "max"])
    assert counts.loc["a", "count"] == POINTS_A_CURVE and counts.loc["a", "max"] == 300
    assert counts.loc["b"].tolist() == [5, 5] and "c" not in counts.index
    assert thinned(long.drop(columns="test_loss_nats")).empty


def test_the_command(tiny_study: Path, tiny_export: tuple[Path, str]) -> None:
    folder = next((tiny_study / "lightning_logs").glob("*"))
    results, said = tiny_export
    assert f"in {results}" in said
    names = {path.name for path in results.iterdir()}
    assert {"runs.csv", "laws.json", "headline.md", "curves.csv.gz"} <= names
    assert len(load_study(folder).runs) == len(pd.read_csv(results / "runs.csv"))
    for path in (results / "figures").glob("*.png"):
        original = folder / "figures" / path.name
        with Image.open(path) as kept, Image.open(original) as drawn:
            assert kept.width <= round(drawn.width * KEPT_DPI / PNG_DPI)
            same_size = drawn.convert("RGB").resize(kept.size, Image.Resampling.LANCZOS)
            off = np.abs(np.asarray(kept.convert("RGB"), dtype=int) - np.asarray(same_size, dtype=int))
            paper = (np.asarray(same_size) == 255).all(axis=-1)
        assert np.quantile(off, 0.999) <= 12 and off.max() <= 32 and off[paper].max() == 0
        assert path.stat().st_size < min(original.stat().st_size, LARGEST_KEPT_BYTES)
    assert not list(results.rglob("*.svg"))


def test_a_thin_line_keeps_its_colour() -> None:
    """Among thousands of greens."""
    ramp = np.linspace(0, 255, 600).astype(np.uint8)
    pixels = np.stack([np.zeros((400, 600), np.uint8), np.tile(ramp, (400, 1)), np.tile(ramp, (400, 1))], -1)
    pixels[:, :, 2] = np.linspace(60, 200, 400).astype(np.uint8)[:, None]
    pixels[:, 300:303] = red = (179, 18, 59)
    with Image.open(io.BytesIO(smaller_png(png_of(pixels)))) as image:
        colours = np.asarray(image.convert("RGB"), dtype=int).reshape(-1, 3)
    assert np.abs(colours - red).max(axis=1).min() <= 12


def test_a_large_picture_is_exported_with_fewer_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (450, 600, 3), dtype=np.uint8)
    kept = smaller_png(png_of(noise))
    assert 0.7 * LARGEST_KEPT_BYTES < len(kept) <= LARGEST_KEPT_BYTES
    with Image.open(io.BytesIO(kept)) as image:
        assert image.width / image.height == pytest.approx(4 / 3, rel=0.01)


# --- read again ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One family of four sizes, with its laws."""
    folder = tmp_path_factory.mktemp("study") / "small"
    return load_study(write_synthetic_study(folder, families=("transformer",), max_sizes=4))


@pytest.fixture(scope="module")
def laws(study: Study) -> Laws:
    return fitted_here(study)


def fitted_here(study: Study) -> Laws:
    """In this process: of so few resamples, starting others takes longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling_laws.laws.results.study.n_cores", lambda: 1)
        return fit_folder(study, resamples=20)


@pytest.fixture(scope="module")
def exported(study: Study, laws: Laws, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "small"
    export(study, laws, [], folder)
    return folder


def test_an_export_is_read_as_the_study(study: Study, exported: Path) -> None:
    again = load_study(exported)
    pd.testing.assert_frame_equal(again.runs, study.runs.fillna(np.nan), check_dtype=False)
    pd.testing.assert_frame_equal(again.left_out, study.left_out)
    curves, kept = again.curves(), thinned(study.curves()).reset_index(drop=True)
    assert set(curves.columns) == set(study.curves().columns) and "val_loss_nats" in kept.columns
    pd.testing.assert_frame_equal(curves[kept.columns], kept)
    at_end = curves.groupby("run").last()
    assert at_end["C_exact"].tolist() == pytest.approx(study.runs.set_index("run")["C_exact"][at_end.index])
    assert again.exported and not study.exported
    assert (again.name, again.question, again.records) == (study.name, study.question, ())
    assert again.positions().empty and again.positions(final_only=False).empty


def test_laws_of_an_export_are_the_studys(laws: Laws, exported: Path) -> None:
    """All but what needs losses by position; the note says so."""
    of_study = laws.to_json()
    of_export = fitted_here(load_study(exported)).to_json()
    assert of_export["warnings"][0] == NOT_EXPORTED and NOT_EXPORTED not in of_study["warnings"]
    for content in (of_study, of_export):
        for key in ("positions", "late_positions", "warnings", "manifest"):
            content.pop(key)
    assert of_export == of_study


def test_an_export_is_fitted_and_reported_beside_what_it_holds(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    main(["laws", str(exported), "--form", "chinchilla", "--bootstrap", "20"])
    assert f"laws: {exported / 'runs.laws.json'}" in capsys.readouterr().out
    main(["report", str(exported)])
    page = (exported / "report" / "report.md").read_text(encoding="utf-8")
    assert NOT_EXPORTED in page and "(an export has none)" in page
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("runs.csv", "N,D,loss\n1,2,3\n", "runs.csv: lacks the column 'run' of an exported study; for any"),
        ("runs.csv", "", "runs.csv: not a readable table (No columns to parse from file)"),
        ("laws.json", "{", "laws.json: not a readable laws.json"),
        ("laws.json", "[]", "laws.json: not a readable laws.json"),
        ("curves.csv.gz", "no gzip", "curves.csv.gz: not a readable table (Not a gzipped file"),
    ],
)
def test_a_damaged_export_is_one_line(
    exported: Path, tmp_path: Path, name: str, content: str, says: str
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in ("runs.csv", "curves.csv.gz", "laws.json"):
        shutil.copy(exported / path, folder / path)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(says)):
        load_study(folder).curves()


@pytest.mark.parametrize("name", ["quick", "cpu"])
def test_the_recorded_studies_are_exports(name: str) -> None:
    """Written by an earlier version: columns that came later are missing, and no run is lost."""
    folder = ROOT / "results" / name
    study = load_study(folder)
    usable, left_out = usable_runs(study.runs)
    assert len(usable) + len(left_out) == len(study.runs) == len(pd.read_csv(folder / "runs.csv"))
    assert set(study.curves()["run"]) == set(study.runs["run"])
    if name == "quick":
        assert len(usable) == 50


def picture(name: str) -> Picture:
    png = png_of(np.zeros((30, 30, 3), np.uint8))
    drawn = {"svg": b"<svg/>", "png": png, "narrow_svg": b"<svg/>"}
    return Picture(name=name, title=name, chapter="scale", description="", narrow_png=lambda: png, **drawn)


def png_of(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


# --- what is not ours ------------------------------------------------------------------------------


def test_a_run_called_summary_is_not_removed(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study.folder, folder)
    run = next(path.parent for path in folder.glob("*/record.json"))
    run.rename(folder / "summary")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"summary: holds .*; move it away"):
        write_study_report(load_study(folder), folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["figures", "summary"])
def test_a_strangers_links_are_not_followed(study: Study, tmp_path: Path, name: str) -> None:
    (tmp_path / "home").mkdir()
    folder = tmp_path / "study"
    shutil.copytree(study.folder, folder)
    (folder / name).symlink_to(tmp_path / "home")
    with pytest.raises(InputError, match=f"{name}: is a symbolic link"):
        write_study_report(load_study(folder), folder)
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("name", ["figures", "summary"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_fitted(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delattr("scaling_laws.report.study_report.fit_folder")
    folder = tmp_path / "study"
    shutil.copytree(study.folder, folder)
    (folder / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name}: is a file, where the report keeps a folder"):
        write_study_report(load_study(folder), folder)
    assert (folder / name).read_text() == "mine"


def test_an_export_into_a_folder_of_ones_own_is_refused_before_anything_is_fitted(
    study: Study, tmp_path: Path
) -> None:
    (tmp_path / "paper" / "figures").mkdir(parents=True)
    (tmp_path / "paper" / "figures" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(SystemExit):
        main(["report", str(study.folder), "-o", str(tmp_path / "o"), "--export", str(tmp_path / "paper")])
    assert [path.name for path in tmp_path.rglob("*")] == ["paper", "figures", "holiday.png"]
    with pytest.raises(SystemExit):
        main(["report", str(study.folder), "-o", str(tmp_path / "paper")])
    assert [path.name for path in tmp_path.rglob("*")] == ["paper", "figures", "holiday.png"]

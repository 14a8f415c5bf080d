"""Which columns of a curve a study needs: those of today are not those of yesterday or of tomorrow."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.laws.results.study import fit_study
from scaling_laws.report.export import thinned
from scaling_laws.study.errors import InputError
from scaling_laws.study.records import CURVE, CURVE_COLUMNS, loss_column
from scaling_laws.study.runs import Study, load_study


def small_study(folder: Path, *, without: tuple[str, ...] = (), more: str = "") -> Study:
    """A study whose curves lack some columns, or have one more."""
    write_synthetic_study(folder, families=("lstm",), max_sizes=3, horizons=(0.5e6, 1e6), diverged=0)
    for path in folder.glob("*/curve.csv"):
        table = pd.read_csv(path).drop(columns=list(without))
        (table.assign(**{more: 1.0}) if more else table).to_csv(path, index=False)
        record = json.loads((path.parent / "record.json").read_text())
        del record["files"], record["checksum"]  # they vouch for the curve as it was
        (path.parent / "record.json").write_text(json.dumps(record))
    return load_study(folder)


def test_a_study_without_a_newer_column_is_read(tmp_path: Path) -> None:
    optional = tuple(column.name for column in CURVE if not column.required)
    study = small_study(tmp_path / "old", without=optional)
    curves = study.curves()
    assert list(curves.columns[:3]) == ["run", "step", "tokens"] and loss_column("test") in curves.columns
    laws = fit_study("old", study.runs, curves=curves, resamples=10)
    assert laws.by_family[0].fits
    kept = list(thinned(curves).columns)
    losses = [column for column in curves.columns if column.endswith("_loss_nats")]
    assert kept[:3] == ["run", "step", "tokens"] and kept[3:] == losses


def test_a_study_with_an_unknown_column_is_read(tmp_path: Path) -> None:
    study = small_study(tmp_path / "new", more="of_tomorrow")
    assert (study.curves()["of_tomorrow"] == 1.0).all()


def test_runs_of_before_and_after_lie_below_one_another(tmp_path: Path) -> None:
    study = small_study(tmp_path / "s")
    path = study.folder / study.runs["run"].iloc[0] / "curve.csv"
    pd.read_csv(path).drop(columns="gradient_norm").to_csv(path, index=False)
    curves = study.curves()
    assert curves.groupby("run")["gradient_norm"].count().tolist()[0] == 0
    assert curves["gradient_norm"].notna().any()


@pytest.mark.parametrize(
    ("without", "says"),
    [
        (("tokens",), "lacks the column 'tokens'"),
        (("step",), "lacks the column 'step'"),
        (tuple(loss_column(name) for name in ("test", "val", "prose", "packages")), "of losses"),
    ],
)
def test_step_tokens_and_losses_are_needed(tmp_path: Path, without: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        small_study(tmp_path / "s", without=without).curves()


def test_the_columns_are_one_list() -> None:
    assert len(set(CURVE_COLUMNS)) == len(CURVE) and all(column.meaning for column in CURVE)
    assert [column.name for column in CURVE if column.required] == ["step", "tokens"]

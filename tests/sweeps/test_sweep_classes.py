"""A sweep file may name classes for its trainings; reading and planning it makes objects of none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.small_sweep import write_sweep

from scaling_laws.cli import main
from scaling_laws.sweeps.plan.reading import load_sweep

TRAP = """
from pathlib import Path
from pytorch_lightning.callbacks import Callback

Path("imported").touch()


class Trap(Callback):
    def __init__(self):
        Path("made").touch()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "trap.py").write_text(TRAP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def changed(path: Path, **keys: Any) -> Path:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**content, **keys}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "classes",
    [
        {"callbacks": [{"class_path": "trap.Trap"}]},
        {"logger": {"class_path": "trap.Trap", "init_args": {}}},
        {"callbacks": [{"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "made"]}}]},
        {"callbacks": [{"class_path": "pytorch_lightning.callbacks.RichModelSummary"}]},
    ],
)
def test_the_trainers_classes_are_not_made_while_a_sweep_is_planned(
    folder: Path, text_folder: Path, classes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(write_sweep(folder, text_folder), trainer=classes)
    assert load_sweep(file).trainer == classes
    main(["sweep", str(file), "--dry-run"])
    assert "Traceback" not in capsys.readouterr().err
    assert not (folder / "made").exists() and not (folder / "imported").exists()


def test_classes_in_a_shape_are_not_made(folder: Path, text_folder: Path) -> None:
    shape = {"n_layer": 1, "d_model": 16, "n_heads": 1, "inner": {"class_path": "trap.Trap"}}
    file = write_sweep(folder, text_folder)
    ladders = yaml.safe_load(file.read_text(encoding="utf-8"))["ladders"]
    ladders[0]["models"][0]["shape"] = shape
    sweep = load_sweep(changed(file, ladders=ladders))
    assert sweep.ladders[0].models[0].shape == shape
    assert not (folder / "made").exists() and not (folder / "imported").exists()

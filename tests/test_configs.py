"""Every file in configs/ is alive."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from scaling_laws.cli import main
from scaling_laws.data.config import load_config
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.records import read_record

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("path", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_corpus_files_are_read(path: Path) -> None:
    assert load_config(path).name == path.stem


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_training_files_train_two_steps(path: Path, byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    overrides = {
        "--data.corpus": byte_corpus.folder,
        "--trainer.max_steps": 2,
        "--trainer.default_root_dir": tmp_path / "run",
        "--trainer.enable_progress_bar": False,
        "--recorder.final_windows": 16,
    }
    main(["fit", "--config", str(path), *(str(part) for pair in overrides.items() for part in pair)])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.steps == 2 and record.shape["n_vocab"] == byte_corpus.n_vocab


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_training_files_print_themselves(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(path), "--print_config"])
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert printed["model"]["learning_rate"] == given["model"]["learning_rate"]
    assert printed["model"]["network"]["class_path"] == given["model"]["network"]["class_path"]

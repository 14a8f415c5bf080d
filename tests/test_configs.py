"""Every file in configs/ is alive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scaling_laws.cli import main
from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.records import read_record

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


OVERLAYS = sorted((CONFIGS / "trainer").glob("*.yaml"))
ONE_CPU = ("32-true", "bf16-mixed", "bf16-true", "cpu")


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_overlays_fit_every_training_file(
    path: Path, overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(path), "--config", str(overlay), "--print_config"])
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    for section, values in yaml.safe_load(overlay.read_text(encoding="utf-8")).items():
        for key, value in values.items():
            if not isinstance(value, dict | list):  # those gain the defaults of their classes
                assert printed[section][key] == value


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("overlay", ONE_CPU)
def test_overlays_of_one_process_train_two_steps(
    path: Path, overlay: str, byte_corpus: TokenCorpus, tmp_path: Path
) -> None:
    main(["fit", *two_steps(path, overlay, byte_corpus, tmp_path)])
    record = read_record(tmp_path / "run" / "record.json")
    assert record.steps == 2 and record.losses["test"]["loss_nats"] > 0
    assert record.optimizer["precision"] == ("32-true" if overlay == "cpu" else overlay)


def test_ddp_starts_its_own_processes(byte_corpus: TokenCorpus, tmp_path: Path) -> None:
    arguments = two_steps(CONFIGS / "train" / "lstm.yaml", "ddp-cpu", byte_corpus, tmp_path)
    subprocess.run([sys.executable, "-m", "scaling_laws", "fit", *arguments], check=True, timeout=120)
    record = read_record(tmp_path / "run" / "record.json")
    assert (record.status, record.steps, record.devices) == ("complete", 2, 2)
    assert len(list((tmp_path / "run").glob("events.out.tfevents.*"))) == 1


def two_steps(path: Path, overlay: str, corpus: TokenCorpus, folder: Path) -> list[str]:
    """Arguments of `fit` for two steps with an overlay."""
    overrides = {
        "--config": CONFIGS / "trainer" / f"{overlay}.yaml",
        "--data.corpus": corpus.folder,
        "--trainer.max_steps": 2,
        "--trainer.default_root_dir": folder / "run",
        "--trainer.enable_progress_bar": False,
        "--recorder.final_windows": 16,
    }
    return ["--config", str(path), *(str(part) for pair in overrides.items() for part in pair)]


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_training_files_print_themselves(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(path), "--print_config"])
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert printed["model"]["learning_rate"] == given["model"]["learning_rate"]
    assert printed["model"]["network"]["class_path"] == given["model"]["network"]["class_path"]

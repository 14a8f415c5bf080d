"""Where a configuration is found, and the verb that lists and prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling_laws.cli import main
from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.manifest import read_manifest
from scaling_laws.study.configurations import SHIPPED, config_called, config_files, find_config
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import experiments_of
from scaling_laws.sweeps.plan.reading import load_sweep

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is no clone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("given", ["quick", "quick.yaml", "sweeps/quick", "configs/sweeps/quick.yaml"])
def test_as_given_then_here_then_in_the_package(elsewhere: Path, given: str) -> None:
    assert find_config(given, "sweeps") == SHIPPED / "configs/sweeps/quick.yaml"
    here = elsewhere / "configs" / "sweeps" / "quick.yaml"
    here.parent.mkdir(parents=True)
    here.touch()
    assert find_config(given, "sweeps").resolve() == here
    (elsewhere / "sweeps").mkdir()
    if given != str(here.relative_to(elsewhere)):
        (elsewhere / given).touch()
        assert find_config(given, "sweeps") == Path(given)


def test_what_is_nowhere_is_as_it_was_given(elsewhere: Path) -> None:
    (elsewhere / "quick").mkdir()  # a folder is no configuration
    assert find_config("quick", "sweeps").is_file()
    for given in ("quick", "qick", "no/such", "/no/such.yaml", "", ".", ".."):
        assert find_config(given, "train") == Path(given)


def test_every_configuration_of_the_clone_is_found_by_its_name() -> None:
    files = {path for path in CONFIGS.glob("*/*") if path.is_file()}
    assert set(config_files().values()) == files
    for name, path in config_files().items():
        assert config_called(name) == config_called(f"configs/{path.parent.name}/{path.name}") == path


def test_it_is_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config"])
    listed = capsys.readouterr().out
    assert all(f"  {Path(name).name} " in listed for name in config_files())
    assert "How does the loss of small language models fall" in listed
    main(["config", "quick"])
    assert capsys.readouterr().out == (CONFIGS / "sweeps" / "quick.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("config tiny", "there are data/tiny and sweeps/tiny"),
        ("config qick", "did you mean sweeps/quick?"),
        ("sweep qick --status", "did you mean sweeps/quick?"),
        ("sweep quick --scale cpuu --status", "in configs/scales there are: cpu, english, gpu, smoke"),
        ("data build tinny", "did you mean data/tiny?"),
        ("fit --config transformr", "did you mean train/transformer?"),
    ],
)
def test_a_name_that_is_wrong(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as status:
        main(arguments.split())
    error = capsys.readouterr().err
    assert status.value.code == 2 and said in error and error.count("\n") == 1


def test_what_a_configuration_names_is_found_too() -> None:
    """Scale, corpus, overlays and included files."""
    sweep = load_sweep(Path("hoffmann2022"), scale="gpu")
    assert sweep.trainer_arguments["accelerator"] == "gpu" and len(experiments_of(sweep)) == 3
    assert load_config(sweep.corpus).name == "embedded_large"


def test_a_corpus_that_is_not_there_names_the_file_to_build_it_of() -> None:
    with pytest.raises(InputError, match=r"`scaling-laws data build configs/data/embedded\.yaml`"):
        read_manifest(Path("data/embedded"))
    with pytest.raises(InputError, match=r"`scaling-laws data build configs/data/tiny\.yaml -o there/tiny`"):
        read_manifest(Path("there/tiny"))
    with pytest.raises(InputError, match="`scaling-laws data build FILE -o data/mine`"):
        read_manifest(Path("data/mine"))

"""`trainer: {precision: auto}`: what it comes to, and that a study keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from scaling_laws.sweeps.plan import kept_settings
from scaling_laws.sweeps.plan.planning import plan_study, settled
from scaling_laws.sweeps.plan.reading import load_sweep


def processor(path: Path, flags: str) -> Path:
    path.write_text(f"processor : 0\nflags\t\t: fpu {flags} sse\n", encoding="ascii")
    return path


@pytest.fixture
def sweep_path(tmp_path: Path) -> Path:
    content = yaml.safe_load(Path("configs/sweeps/tiny.yaml").read_text(encoding="utf-8"))
    content["trainer"] = {"precision": "auto"}
    (tmp_path / "auto.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path / "auto.yaml"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx512f avx512_bf16", "bf16-mixed"), ("amx_bf16", "bf16-mixed"), ("avx512f", "32-true")],
)
def test_a_processor_with_bfloat16_is_told_by_its_flags(
    flags: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_settings, "PROCESSOR", processor(tmp_path / "cpuinfo", flags))
    assert kept_settings.native_precision("cpu") == expected
    assert kept_settings.native_precision("gpu") == "bf16-mixed"
    assert kept_settings.native_precision("mps") == "32-true"


def test_a_system_without_cpuinfo_trains_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_settings, "PROCESSOR", tmp_path / "none")
    assert kept_settings.native_precision("cpu") == "32-true"


def test_a_study_goes_on_in_the_precision_that_it_began_with(
    sweep_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun on one processor, gone on with on another: the same runs, to the last hash."""

    def planned() -> tuple[list[str], set[str]]:
        plan = settled(plan_study(load_sweep(sweep_path), logs=tmp_path / "logs", data=tmp_path, timed=False))
        return [run.run_id for run in plan.runs], {run.config["trainer"]["precision"] for run in plan.runs}

    monkeypatch.setattr(kept_settings, "PROCESSOR", processor(tmp_path / "new", "avx512_bf16"))
    begun, precisions = planned()
    assert precisions == {"bf16-mixed"}
    monkeypatch.setattr(kept_settings, "PROCESSOR", processor(tmp_path / "old", "sse4"))
    assert planned() == (begun, {"bf16-mixed"})
    (plan_file,) = (tmp_path / "logs").glob("*/plan.json")
    assert json.loads(plan_file.read_text(encoding="utf-8"))["precision"] == "bf16-mixed"
    plan_file.unlink()
    again, precisions = planned()
    assert precisions == {"32-true"} and not set(again) & set(begun)


def test_a_precision_that_is_named_stays(sweep_path: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(sweep_path.read_text(encoding="utf-8"))
    content["trainer"]["precision"] = "bf16-true"
    sweep_path.write_text(yaml.safe_dump(content), encoding="utf-8")
    plan = plan_study(load_sweep(sweep_path), logs=tmp_path, data=tmp_path, timed=False)
    assert {run.config["trainer"]["precision"] for run in plan.runs} == {"bf16-true"}

"""torch.compile: the same losses, the same checkpoints, few compilations, and a run that can do without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.support.tiny_runs import WALL_CLOCK, assert_same_run, config, fail_in_step, weights
from torch import nn
from torch._dynamo.utils import counters

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.records import read_record
from scaling_laws.training.run import train_trunk

# The first compilation imports and inspects modules of torch and of others that use deprecated names.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
STEPS = 12
MEASURED_SPEED = ["model_flops_utilisation", *WALL_CLOCK]


def planned(corpus: TokenCorpus, folder: Path, family: str, *, compiled: bool) -> dict[str, Any]:
    """A run without dropout (a compiled network draws other random numbers), of odd held-out batches."""
    plan = config(corpus, folder, family, steps=STEPS)
    plan["model"]["network"]["init_args"]["dropout"] = 0.0
    plan["model"]["compile"] = compiled
    plan["recorder"] |= {"evaluation_windows": 9, "final_windows": 37, "evaluations_per_doubling": 0}
    plan["recorder"]["evaluation_every_n_steps"] = 5
    return plan


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.systems)])
@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_compiled_runs_are_eager_runs(
    byte_corpus: TokenCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, backend: str
) -> None:
    """Same curve and names of weights; a run that began eager ends compiled.

    `aot_eager` traces both passes and calls no C++ compiler, which takes half a minute.
    """
    torch._dynamo.reset()
    counters.clear()
    original = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda network: original(network, backend=backend))
    eager, compiled, changed = (tmp_path / name for name in ("eager", "compiled", "changed"))
    train_trunk([planned(byte_corpus, eager, family, compiled=False)])
    train_trunk([planned(byte_corpus, compiled, family, compiled=True)])
    fail_in_step(planned(byte_corpus, changed, family, compiled=False), step=7)
    train_trunk([planned(byte_corpus, changed, family, compiled=True)])
    assert [read_record(each / "record.json").optimizer["compiled"] for each in (eager, compiled)] == [
        False,
        True,
    ]
    curves = [pd.read_csv(each / "curve.csv") for each in (eager, compiled, changed)]
    for curve in curves[1:]:
        pd.testing.assert_frame_equal(
            *(table.drop(columns=MEASURED_SPEED) for table in (curves[0], curve)), rtol=1e-4, atol=1e-5
        )
    assert weights(compiled).keys() == weights(eager).keys()
    # Training and evaluation; held-out batches of 5, 9 and 32 windows do not compile anew each.
    assert 0 < counters["stats"]["unique_graphs"] <= 4


def test_without_a_compiler_one_line_says_so_and_the_run_is_the_eager_one(
    byte_corpus: TokenCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # nothing is compiled already
    for name, compiled in (("eager", False), ("fallback", True)):
        plan = planned(byte_corpus, tmp_path / name, "transformer", compiled=compiled)
        plan["model"]["network"]["init_args"]["dropout"] = 0.1
        train_trunk([plan])
    lines = [line for line in capsys.readouterr().err.splitlines() if "compile" in line]
    assert len(lines) == 1 and lines[0].startswith("model.compile failed, training goes on without: ")
    assert "no-such-compiler" in lines[0]
    assert not read_record(tmp_path / "fallback" / "record.json").optimizer["compiled"]
    assert_same_run(tmp_path / "eager", tmp_path / "fallback")  # the trial has left no trace

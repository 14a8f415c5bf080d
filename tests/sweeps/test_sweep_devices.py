"""Who gets which part of a machine. No GPU is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.run.devices import Slots, find_gpus, gpus_for


def test_a_training_takes_as_many_cores_as_it_wants_devices() -> None:
    slots = Slots(workers=4)
    one, three = slots.take(1), slots.take(3)
    assert one is not None and three is not None
    assert slots.n_free == 0 and slots.take(1) is None
    assert one.environment == {}
    slots.give_back(one)
    assert slots.take(2) is None
    slots.give_back(three)
    assert slots.n_free == 4 and slots.take(4) is not None


def test_small_trainings_share_gpus_and_large_ones_have_theirs_alone() -> None:
    slots = Slots(workers=4, gpus=("GPU-a", "GPU-b"))
    shares = [slots.take(1) for _ in range(4)]
    assert [share and share.gpus for share in shares] == [("GPU-a",), ("GPU-b",)] * 2
    assert slots.take(1) is None
    for share in (shares[0], shares[2]):
        assert share is not None
        slots.give_back(share)
    assert slots.take(2) is None  # GPU-b is shared
    for share in (shares[1], shares[3]):
        assert share is not None
        slots.give_back(share)
    both = slots.take(2)
    assert both is not None
    assert both.environment == {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert slots.n_free == 3 and slots.take(1) is None  # a worker is free, a GPU is not
    slots.give_back(both)
    assert slots.take(1) is not None


def test_a_training_larger_than_the_machine_is_refused() -> None:
    with pytest.raises(InputError, match="big needs 4 GPUs, and this machine has 2"):
        Slots(workers=8, gpus=("0", "1")).require("big", 4)
    with pytest.raises(InputError, match="big needs 4 devices, and this machine has 2 workers; give --work"):
        Slots(workers=2).require("big", 4)
    Slots(workers=1, gpus=("0", "1")).require("big", 2)


def test_gpus_are_found_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "3, GPU-x"}) == ("3", "GPU-x")
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "1,-1,2"}) == ("1",)  # as CUDA reads it
    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    program = tmp_path / "nvidia-smi"
    lines = "GPU 0: NVIDIA H100 (UUID: GPU-11-22)\nGPU 1: NVIDIA H100 (UUID: GPU-33-44)"
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && echo "{lines}"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_gpus({}) == ("GPU-11-22", "GPU-33-44")
    assert gpus_for("cpu", {}) == () and gpus_for("auto", {}) == find_gpus({})
    cut = f"{lines}\n  MIG 1g.10gb Device 0: (UUID: MIG-55)"
    program.write_text(f'#!/bin/sh\necho "{cut}"\n', encoding="utf-8")
    assert find_gpus({}) == ("MIG-55",)
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert find_gpus({}) == () == gpus_for("auto", {})
    with pytest.raises(InputError, match="this machine shows no GPU"):
        gpus_for("gpu", {})

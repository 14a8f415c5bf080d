"""A checkpoint from a stranger runs nothing: what is no weights is refused, and the one before it taken."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from scaling_laws.study.errors import InputError
from scaling_laws.training import checkpoint_folder
from scaling_laws.training.checkpoint import AtomicCheckpointIO, holds_code, is_whole, newest_whole
from scaling_laws.training.checkpoint_folder import LAYOUT_FILE, META, folder_holds_code, seal

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
REFUSED = "holds something other than weights, which would be run; do not open it"


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


def write(path: Path, content: dict[str, Any]) -> Path:
    """A checkpoint whose SHA-256 agrees."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    assert is_whole(path)
    return path


def test_a_file_with_code(tmp_path: Path) -> None:
    path = write(tmp_path / "evil.ckpt", {"global_step": 1, "x": Trap(tmp_path / "made")})
    with pytest.raises(InputError, match=REFUSED) as refused:
        AtomicCheckpointIO().load_checkpoint(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    assert "weights_only" not in str(refused.value)  # torch's advice would run it
    assert not (tmp_path / "made").exists()


def test_the_state_before_it_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.parent.mkdir()
    write(folder / "last.ckpt", {"global_step": 2, "x": Trap(tmp_path / "made")})
    assert newest_whole(tmp_path / "run") is None
    older = write(folder / "previous.ckpt", {"global_step": 1, "w": torch.zeros(3)})
    assert newest_whole(tmp_path / "run") == older
    assert f"last.ckpt: {REFUSED}; an older state is taken" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A checkpoint folder as torch writes it, with one rank's tensors and settings that are no tensors."""
    weights = {"w": torch.ones(4, 3)}
    optimizer = {"state": {"w": {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": ["w"]}]}
    folder = tmp_path / "building"
    dcp.save({"state_dict": weights, "optimizer_0": optimizer}, checkpoint_id=folder, no_dist=True)
    torch.save({"global_step": 3, "callbacks": {}}, folder / META)
    return folder


def sealed(folder: Path) -> Path:
    target = folder.with_name("last.ckpt")
    seal(folder, target)
    assert is_whole(target)
    return target


def test_a_whole_folder_is_read(sharded: Path) -> None:
    target = sealed(sharded)
    assert not holds_code(target)


@pytest.mark.parametrize("where", [META, LAYOUT_FILE, "values", "outside"])
def test_a_folder_with_code(sharded: Path, tmp_path: Path, where: str) -> None:
    trap = Trap(tmp_path / "made")
    if where == META:
        torch.save({"global_step": 3, "x": trap}, sharded / META)
    elif where == LAYOUT_FILE:
        (sharded / LAYOUT_FILE).write_bytes(pickle.dumps(trap))
    else:
        layout = pickle.loads((sharded / LAYOUT_FILE).read_bytes())
        name = next(name for name in layout.state_dict_metadata if name.endswith(".lr"))
        index = next(index for index in layout.storage_data if index.fqn == name)
        stored = layout.storage_data[index]
        buffer = io.BytesIO()
        torch.save(trap, buffer)
        file = sharded / "more.distcp" if where == "values" else tmp_path / "more.distcp"
        file.write_bytes(buffer.getvalue())
        stored.relative_path = "more.distcp" if where == "values" else "../more.distcp"
        stored.offset, stored.length = 0, len(buffer.getvalue())
        (sharded / LAYOUT_FILE).write_bytes(pickle.dumps(layout))
    target = sealed(sharded)
    assert holds_code(target)
    with pytest.raises(InputError, match=REFUSED):
        AtomicCheckpointIO().load_checkpoint(target)
    assert not (tmp_path / "made").exists()


def test_a_layout_of_another_version_of_python_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_folder, "LAYOUT", {("pathlib_of_tomorrow", "PosixPath")})
    torch.save({}, tmp_path / META)
    (tmp_path / LAYOUT_FILE).write_bytes(b"cpathlib_of_tomorrow\nPosixPath\n.")
    with pytest.raises(InputError, match="another version of Python wrote it"):
        folder_holds_code(tmp_path)

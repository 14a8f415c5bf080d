"""Training on several devices with the weights split over them.

DDP is Lightning's own. Shapes need nothing here: every rank holds its share of a batch (`datamodule.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard

from scaling_laws.study.errors import InputError
from scaling_laws.training.checkpoint_folder import CODE, folder_holds_code, is_whole_folder, remove, seal


class FullyShardedStrategy(ModelParallelStrategy):
    """FSDP2: weights, gradients and the optimizer's state are split over all devices of all nodes.

    A weight keeps its name and its number of dimensions (FSDP1 flattens them), so the optimizer's groups and
    the clipping are those of one device, and the losses are the same but for the order of sums. A checkpoint
    is a folder with a file a rank, whole or absent; it may be resumed on another number of devices, or on one
    without this strategy.
    """

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        self._tensor_parallel_size = 1
        super().setup_environment()

    def shard(self, network: nn.Module) -> None:
        """Split a network: each layer of its module lists by itself, and the rest together.

        What is split together is gathered together when it is needed, so one layer at a time is in memory. A
        tied head lies with its embedding in the rest.
        """
        mesh = self.device_mesh["data_parallel"]
        for module in list(network.modules()):
            if isinstance(module, nn.ModuleList):
                for layer in module:
                    fully_shard(layer, mesh=mesh)
        # Gathered weights are given up after an evaluation, too: whoever then sets the shards is heard.
        fully_shard(network, mesh=mesh, reshard_after_forward=True)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None
    ) -> None:
        target = Path(self.broadcast(str(filepath)))
        beside = target.with_name(f".{target.name}.partial")
        if self.is_global_zero:
            remove(beside)  # what a kill has left
        self.barrier()
        try:
            super().save_checkpoint(checkpoint, beside, storage_options)
            if self.is_global_zero:
                seal(beside, target)
        except OSError as error:
            raise InputError(f"{target}: the checkpoint could not be written ({error.strerror})") from error

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        path = Path(checkpoint_path)
        if not path.is_dir():
            return self._load_whole(self.checkpoint_io.load_checkpoint(path))
        if not self.broadcast(self.is_global_zero and is_whole_folder(path)):
            raise InputError(f"{path}: the checkpoint is damaged (its SHA-256 differ); use an older one")
        if self.broadcast(self.is_global_zero and folder_holds_code(path)):
            raise InputError(f"{path}: {CODE}")
        checkpoint = super().load_checkpoint(path, weights_only)
        ours: Any = self.checkpoint_io
        ours.require_own(checkpoint, path)
        return checkpoint

    def _load_whole(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Take this rank's part of a checkpoint that one device has written; the rest of it is returned."""
        assert self.model is not None
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.model, checkpoint.pop("state_dict"), options=options)
        names = {weight: name for name, weight in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            # One device numbers the weights in the order of the optimizer's groups.
            numbered = [names[weight] for group in optimizer.param_groups for weight in group["params"]]
            named: dict[str, Any] = {
                "state": {numbered[number]: moments for number, moments in state["state"].items()},
                "param_groups": [
                    {**group, "params": [numbered[number] for number in group["params"]]}
                    for group in state["param_groups"]
                ],
            }
            set_optimizer_state_dict(self.model, optimizer, named, options=options)
        return checkpoint

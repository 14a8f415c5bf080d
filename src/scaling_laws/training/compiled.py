"""torch.compile that a run can do without."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scaling_laws.training.module import LanguageModel

REASON_WORDS = 30
"""A compiler's message goes on for pages."""


def compile_network(module: LanguageModel, window: Tensor) -> bool:
    """Compile a module's network in place, and try it on a batch before anything depends on it.

    In place: the names of the weights stay, so checkpoints pass between compiled and eager runs. The trial is
    a whole step but for its update (torch compiles the backward pass when it first runs), and leaves neither
    gradients nor used random numbers behind. Training has batches of one shape and evaluation of few: torch
    makes the batch dimension dynamic when it first changes, so compilations come to an end.

    Args:
        window: (B, T + 1), the first batch of the training.

    Returns:
        Whether the network is compiled; if not, one line has said why, and the network is as it was.
    """
    network = module.network
    devices = [module.device] if module.device.type == "cuda" else []
    try:
        network.compile()
        with torch.random.fork_rng(devices), module.trainer.precision_plugin.train_step_context():
            torch.autograd.backward(module.training_loss(window)[0])
        return True
    except Exception as error:  # whatever a compiler raises; the network's own error comes again uncompiled
        network._compiled_call_impl = None  # what `compile` has set; torch has no public way back
        if module.trainer.is_global_zero:
            reason = " ".join(str(error).split()[:REASON_WORDS])
            print(f"model.compile failed, training goes on without: {reason}", file=sys.stderr)
        return False
    finally:
        module.zero_grad()

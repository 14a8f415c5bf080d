"""Text that a network writes: a fixed piece of held-out text, continued.

Shapes: P tokens of prompt, M tokens of continuation, T = n_ctx, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.module import LanguageModel

PROMPT_TOKENS = 32
SEED = 0
"""Of the draws: the same for every run and step."""


def prompt_tokens(data: TokenDataModule, corpus: str) -> Tensor:
    """The first tokens (P,) of a held-out corpus: at most half a context."""
    n_tokens = max(1, min(PROMPT_TOKENS, data.text_ctx // 2))
    return torch.from_numpy(data.corpus.tokens(corpus)[:n_tokens].astype(np.int64))


def continuations(trainer: pl.Trainer, module: LanguageModel, prompt: Tensor, n_tokens: int) -> Tensor | None:
    """The prompt (P,) continued in two ways (2, M): by the most likely tokens, and by tokens drawn at
    temperature 1.

    The network sees windows of n_ctx tokens, those that are not yet written as zeros: it looks at none of
    them, since it has learned to predict each token from those before. Weights and random generators stay as
    they are. None where a logit is not finite.
    """
    data: TokenDataModule = trainer.datamodule  # type: ignore[attr-defined]
    draws = torch.Generator().manual_seed(SEED)
    text = prompt.repeat(2, 1)
    on_cuda = [module.device] if module.device.type == "cuda" else []
    was_training = module.training
    module.eval()
    with torch.no_grad(), torch.random.fork_rng(on_cuda), trainer.precision_plugin.val_step_context():
        for _ in range(n_tokens):
            recent = text[:, -data.text_ctx :]
            window = functional.pad(recent, (0, data.n_ctx - recent.shape[1]))
            logits = module(window.to(module.device))[:, recent.shape[1] - 1].float().cpu()
            if not logits.isfinite().all():
                break
            drawn = torch.multinomial(logits[1].softmax(-1), 1, generator=draws)
            text = torch.cat((text, torch.stack((logits[0].argmax(-1, keepdim=True), drawn))), dim=1)
    module.train(was_training)
    written = text[:, len(prompt) :]
    return written if written.shape[1] == n_tokens else None

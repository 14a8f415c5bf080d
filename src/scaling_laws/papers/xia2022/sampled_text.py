"""Text sampled from the difference of a small and a large network, and its loss by size (Xia et al. 2022).

The next token is drawn from max(p_small - p_large, 0), made to sum to one: what the small network finds
likelier than the large one. torch is imported where networks are loaded: the list of papers needs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROMPT, WRITTEN = 5, 50
"""Tokens of the prompt, and of what is written on it."""


def losses_of_sampled_text(
    folders: Sequence[Path], prompts: NDArray[np.int64], seed: int = 0
) -> NDArray[np.float64]:
    """(S, W): mean loss of each network on the text written on each prompt, nats per token.

    Args:
        folders: of finished runs; the first network's distribution less the last one's is sampled.
        prompts: (W, `PROMPT`) token ids.

    Raises:
        InputError: a run kept no weights, or its corpus is not there.
    """
    import torch

    from scaling_laws.training.snapshots import next_logits
    from scaling_laws.training.trained import read_trained

    trained = [read_trained(folder) for folder in folders]
    small, large = trained[0], trained[-1]
    draws = torch.Generator().manual_seed(seed)
    text = torch.from_numpy(prompts)
    with torch.no_grad():
        for _ in range(min(WRITTEN, small.text_ctx - prompts.shape[1])):
            of_small, of_large = (
                next_logits(each.network, text, each.n_ctx, each.text_ctx).softmax(-1)
                for each in (small, large)
            )
            difference = (of_small - of_large).clamp(min=0)
            # Equal networks have no difference: the small one then writes alone.
            none = difference.sum(-1, keepdim=True) <= 0
            chosen = torch.where(none, of_small, difference)
            text = torch.cat([text, torch.multinomial(chosen, 1, generator=draws)], dim=1)
        losses = []
        for each in trained:
            window = torch.nn.functional.pad(text, (0, each.n_ctx - text.shape[1]))
            log_p = each.network(window)[:, PROMPT - 1 : text.shape[1] - 1].float().log_softmax(-1)
            losses.append(-log_p.gather(-1, text[:, PROMPT:, None])[..., 0].mean(dim=1).numpy())
    return np.stack(losses).astype(np.float64)

"""What the initialisation is worth: validation loss after 0.52 M tokens, at one size a family.

    python benchmarks/initialisation.py

needs `data/embedded` (scaling-laws data build configs/data/embedded.yaml). A few minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from scaling_laws.data.batches import held_out_windows, training_batch
from scaling_laws.data.tokens import TokenCorpus, open_corpus
from scaling_laws.models.lstm import LSTM
from scaling_laws.models.optimizer_parts import make_optimizer
from scaling_laws.models.transformer import Transformer
from scaling_laws.study.schedule import Schedule

N_CTX, BATCH_SEQUENCES, STEPS = 128, 16, 256
Change = Callable[[torch.nn.Module], None]


def loss_after_training(network: torch.nn.Module, learning_rate: float, corpus: TokenCorpus) -> float:
    """Mean validation loss, nats per token, after `STEPS` steps of the quick study's recipe."""
    optimizer = make_optimizer(
        "adamw", network, learning_rate=learning_rate, betas=(0.9, 0.95), weight_decay=0.1
    )
    schedule = Schedule(warmup_steps=40, cooldown_share=0.2)
    tokens = corpus.tokens("train")
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule.factor(step, STEPS)
        batch = training_batch(tokens, seed=1, batch=step, batch_sequences=BATCH_SEQUENCES, n_ctx=N_CTX)
        loss(network, torch.from_numpy(batch)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    windows, _ = held_out_windows(corpus.tokens("val"), corpus.documents("val"), n_windows=256, n_ctx=N_CTX)
    with torch.no_grad():
        return float(loss(network.eval(), torch.from_numpy(windows)))


def loss(network: torch.nn.Module, window: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(network(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())


def embedding_std(std: float) -> Change:
    """Token embedding: normal with this std."""

    def change(network: torch.nn.Module) -> None:
        with torch.no_grad():
            network.get_parameter("token_embedding.weight").normal_(std=std)

    return change


def residual_std(scale: float) -> Change:
    """Matrices back to the residual stream: normal, std scale / sqrt(fan_in)."""

    def change(network: torch.nn.Module) -> None:
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if name.endswith("project.weight"):
                    weight.normal_(std=scale / math.sqrt(weight.shape[1]))

    return change


def transformer() -> torch.nn.Module:
    return Transformer(n_vocab=1024, n_ctx=N_CTX, n_layer=2, d_model=64, n_heads=4)


def lstm() -> torch.nn.Module:
    return LSTM(n_vocab=1024, n_ctx=N_CTX, n_layer=2, d_model=80)


TRIALS: list[tuple[Callable[[], torch.nn.Module], tuple[float, ...], dict[str, list[Change]]]] = [
    (
        transformer,
        (7e-3, 1.4e-2),
        {
            "as shipped": [],
            "embedding 0.02": [embedding_std(0.02)],
            "residual 1/sqrt(2 n_layer)": [residual_std(0.5)],
            "both": [embedding_std(0.02), residual_std(0.5)],
        },
    ),
    (
        lstm,
        (2e-2, 4e-2),
        {
            "as shipped: embedding 0.5": [],
            "embedding 1/sqrt(d_model)": [embedding_std(1 / math.sqrt(80))],
            "embedding 1.0": [embedding_std(1.0)],
        },
    ),
]


def main() -> None:
    torch.set_num_threads(1)
    corpus = open_corpus("data/embedded")
    print(f"{'family':<13}{'learning rate':<15}{'initialisation':<30}val loss, nats per token")
    for build, rates, variants in TRIALS:
        for rate in rates:
            for label, changes in variants.items():
                torch.manual_seed(1)
                network = build()
                for change in changes:
                    change(network)
                value = loss_after_training(network, rate, corpus)
                print(f"{build.__name__:<13}{rate:<15g}{label:<30}{value:.4f}", flush=True)


if __name__ == "__main__":
    main()

"""M small networks of one shape in one step: batched products and one optimiser. A prototype, in no sweep.

    python benchmarks/stacked.py                 -> results/bench/stacked.json  (a GPU; a minute or two)
    python benchmarks/stacked.py --device cpu --toy

A small network leaves most of a GPU idle, since each of its hundreds of kernels does little. `StackedGPT`
holds the weights of M networks in tensors with a dimension more, so that each kernel does M times the work;
their losses are independent, and each network's gradients are clipped by their own norm. Measured: tokens a
second of all M together in the nanoGPT-style step under autocast over those of one such network alone in
the loop of `plain_gpt.py`, eager and, where torch.compile works, compiled. (A stack draws its batches on the
device; M = 1 says what that alone is worth.) Before anything is timed, the stacked losses' gradients are
compared with those of the networks that were stacked. In sweeps it would pay only if it beat several
processes that share the GPU (`gpu.py --part sharing`) twice over: its networks are of one shape, batch and
horizon, and train in lockstep.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from device import compilation_error, half_type, machine, now_s
from plain_gpt import PlainGPT, plain_steps
from torch import Tensor, nn
from torch.nn import functional

from scaling_laws.study.records import write_atomically

TARGET = Path(__file__).parents[1] / "results/bench/stacked.json"
N_VOCAB, N_CTX, BATCH_SEQUENCES = 1024, 128, 16
SHAPES = (
    {"n_layer": 2, "d_model": 20, "n_heads": 1},  # N = 1e4
    {"n_layer": 2, "d_model": 64, "n_heads": 2},  # 1e5
    {"n_layer": 5, "d_model": 128, "n_heads": 4},  # 1e6
)
STACKS, COMPILED_STACKS = (1, 4, 16, 64), (1, 16)
WARM_UP_STEPS, STEPS, TURNS = 5, 10, 5
TOY_STEPS = 2
MAX_NORM = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="one shape, few steps, eager: proves the path")
    parser.add_argument("--target", type=Path, default=TARGET, help="default: %(default)s")
    options = parser.parse_args()
    device = options.device
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: no CUDA GPU is to be seen; --device cpu --toy proves the path")
    shapes = SHAPES[:1] if options.toy else SHAPES
    stacks = (1, 2) if options.toy else STACKS
    _require_equal(device)
    rows: list[dict[str, Any]] = []
    content = {
        **machine(device),
        "command": " ".join(["python", "benchmarks/stacked.py", *sys.argv[1:]]),
        "n_vocab": N_VOCAB,
        "n_ctx": N_CTX,
        "batch_sequences": BATCH_SEQUENCES,
        "not_compiled": "" if options.toy else compilation_error(device),
        "rows": rows,
    }
    # What needs no compilation first: it is quick, and says most.
    for compiled in (False,) if options.toy or content["not_compiled"] else (False, True):
        for shape in shapes:
            chosen = COMPILED_STACKS if compiled else stacks
            for row in _rows(shape, chosen, compiled, device, TOY_STEPS if options.toy else STEPS):
                rows.append(row)
                print(json.dumps(row), flush=True)
                write_atomically(options.target, json.dumps(content, indent=1) + "\n")


class StackedGPT(nn.Module):
    """`PlainGPT`s of one shape as one: token ids (M, B, T) to logits (M, B T, V)."""

    def __init__(self, networks: Sequence[PlainGPT]) -> None:
        super().__init__()
        self.n_heads = networks[0].blocks[0].n_heads
        self.n_layer = len(networks[0].blocks)
        named = [dict(network.named_parameters()) for network in networks]  # the tied head once
        self.stacked = nn.ParameterDict(
            {_key(name): nn.Parameter(torch.stack([each[name] for each in named])) for name in named[0]}
        )

    def forward(self, tokens: Tensor) -> Tensor:
        n_networks, n_batch, n_tokens = tokens.shape
        embeddings, positions = self.stacked["tokens_weight"], self.stacked["positions_weight"]
        which = torch.arange(n_networks, device=tokens.device)[:, None, None]
        x = embeddings[which, tokens] + positions[:, None, :n_tokens]  # (M, B, T, d)
        x = x.flatten(1, 2)  # (M, B T, d)
        for layer in range(self.n_layer):
            block = f"blocks_{layer}"
            query_key_value = self._product(f"{block}_attention", self._norm(f"{block}_norm_1", x))
            split = query_key_value.view(n_networks * n_batch, n_tokens, 3, self.n_heads, -1)
            query, key, value = split.permute(2, 0, 3, 1, 4)  # (M B, heads, T, head's width) each
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self._product(f"{block}_projection", mixed.transpose(1, 2).reshape(x.shape))
            wide = functional.gelu(self._product(f"{block}_expand", self._norm(f"{block}_norm_2", x)))
            x = x + self._product(f"{block}_contract", wide)
        return torch.bmm(self._norm("norm", x), embeddings.transpose(1, 2))

    def _product(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.stacked[f"{name}_weight"], self.stacked[f"{name}_bias"]
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    def _norm(self, name: str, x: Tensor) -> Tensor:
        normed = functional.layer_norm(x, x.shape[-1:])
        return normed * self.stacked[f"{name}_weight"][:, None] + self.stacked[f"{name}_bias"][:, None]


def _key(name: str) -> str:
    return name.replace(".", "_")


def stacked_loss(network: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    """Sum of the networks' mean losses, windows (M, B, T + 1): no gradient knows of another network."""
    logits = network(windows[..., :-1])
    losses = functional.cross_entropy(logits.flatten(0, 1), windows[..., 1:].flatten(), reduction="sum")
    return losses / windows[0, :, 1:].numel()


def stacked_steps(
    network: StackedGPT, tokens: np.ndarray, *, compiled: bool, device: str
) -> Callable[[int], float]:
    """As `plain_steps`, for all networks at once: a batch, a clipping and a decay for each."""
    network.to(device)
    n_networks = len(network.stacked["tokens_weight"])
    weights = list(network.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 3], "weight_decay": 0.1},
        {"params": [weight for weight in weights if weight.ndim < 3], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    kept = torch.from_numpy(tokens.astype(np.int64)).to(device)
    ahead = torch.arange(N_CTX + 1, device=device)
    loss_of = torch.compile(stacked_loss) if compiled else stacked_loss

    def steps(n_steps: int) -> float:
        for _ in range(n_steps):
            starts = torch.randint(len(kept) - N_CTX, (n_networks, BATCH_SEQUENCES, 1), device=device)
            with torch.autocast(device, half_type(device)):
                loss = loss_of(network, kept[starts + ahead])
            loss.backward()
            _clip_each(weights)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return steps


@torch.no_grad()
def _clip_each(weights: Sequence[Tensor]) -> None:
    """Gradients of every network to a norm of at most `MAX_NORM`."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)  # (M,)
    factors = (MAX_NORM / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient *= factors.view(-1, *[1] * (gradient.ndim - 1))


def _require_equal(device: str) -> None:
    """Stacked losses and gradients are those of the networks alone."""
    torch.manual_seed(0)
    shape = {"n_layer": 2, "d_model": 16, "n_heads": 2}
    networks = [PlainGPT(50, 8, **shape).to(device) for _ in range(3)]
    stacked = StackedGPT(networks)
    windows = torch.randint(50, (3, 4, 9), device=device)
    stacked_loss(stacked, windows).backward()
    for number, network in enumerate(networks):
        logits = network(windows[number, :, :-1])
        functional.cross_entropy(logits.flatten(0, 1), windows[number, :, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        for name, weight in network.named_parameters():
            gradient = stacked.stacked[_key(name)].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[number], weight.grad, rtol=1e-2, atol=1e-3)


def _rows(
    shape: Mapping[str, int], stacks: Sequence[int], compiled: bool, device: str, n_steps: int
) -> Iterator[dict[str, Any]]:
    """One network alone in the plain loop, then stacks of them; the ratio is to the former."""
    torch._dynamo.reset()
    tokens = np.random.default_rng(0).integers(0, N_VOCAB, 1_000_000, dtype=np.uint16)
    head = {**shape, "N": 12 * shape["n_layer"] * shape["d_model"] ** 2, "compiled": compiled}
    alone = None
    for n_networks in (0, *stacks):
        row = {**head, "n_networks": n_networks or 1, "how": "stacked" if n_networks else "alone"}
        try:
            networks = [PlainGPT(N_VOCAB, N_CTX, **shape) for _ in range(n_networks or 1)]
            if n_networks:
                steps = stacked_steps(StackedGPT(networks), tokens, compiled=compiled, device=device)
            else:
                steps = plain_steps(
                    networks[0],
                    tokens,
                    n_ctx=N_CTX,
                    batch_sequences=BATCH_SEQUENCES,
                    autocast=half_type(device),
                    compiled=compiled,
                    device=device,
                )
            speed = _tokens_per_s(steps, n_steps, n_networks or 1, device)
        except Exception as error:  # another card, another memory: the others may still run
            traceback.print_exc()
            yield row | {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        alone = alone or speed
        yield row | {"tokens_per_s": speed, "times_one_alone": speed / alone}


def _tokens_per_s(steps: Callable[[int], float], n_steps: int, n_networks: int, device: str) -> float:
    """Of all networks together, the median turn."""
    steps(min(WARM_UP_STEPS, n_steps))
    seconds = []
    for _ in range(TURNS):
        start_s = now_s(device)
        steps(n_steps)
        seconds.append(now_s(device) - start_s)
    return n_networks * n_steps * N_CTX * BATCH_SEQUENCES / statistics.median(seconds)


def table(content: Mapping[str, Any]) -> str:
    """Times one network alone, by size and number of networks."""
    rows = [row for row in content["rows"] if row["how"] == "stacked"]
    stacks = sorted({row["n_networks"] for row in rows})
    lines = ["| N | | " + " | ".join(f"M = {n}" for n in stacks) + " |", "|---" * (2 + len(stacks)) + "|"]
    for N, compiled in dict.fromkeys((row["N"], row["compiled"]) for row in rows):
        found = {row["n_networks"]: row for row in rows if (row["N"], row["compiled"]) == (N, compiled)}
        cells = []
        for n in stacks:
            ratio = found.get(n, {}).get("times_one_alone")
            cells.append("" if ratio is None else f"{ratio:.1f} ×")
        lines.append(f"| {N:,} | {'compiled' if compiled else 'eager'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

"""The network of a finished run, for use: text that it writes, and a folder that needs no run to load it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scaling_laws.data.tokenizer import TextTokenizer
from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import write_own_files
from scaling_laws.study.records import RunRecord, check_file, read_record
from scaling_laws.training.checkpoint import AtomicCheckpointIO, final_checkpoint
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.snapshots import next_logits
from scaling_laws.training.verbs import training_cli, without_greetings

LOADER = '''"""Loads the network and its tokenizer: python load.py "text" prints the likeliest next tokens."""
import importlib, json, pathlib, sys, tokenizers, torch

folder = pathlib.Path(__file__).resolve().parent
config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
module, name = config["class_path"].rsplit(".", 1)
network = getattr(importlib.import_module(module), name)(**config["init_args"]).eval()
config["scale"] and network.scale(embedding=1.0, **config["scale"])  # by muP or CompleteP
network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
if __name__ == "__main__":
    text = " ".join(sys.argv[1:]) or "The"
    ids = torch.tensor([tokenizer.encode(text).ids[-config["n_ctx"] :]])
    print([tokenizer.decode([int(i)]) for i in network(ids)[0, -1].topk(5).indices])
'''


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """What a run has learned, on the CPU and in float32."""

    network: nn.Module
    """In evaluation mode."""
    class_path: str
    arguments: dict[str, Any]
    """Of the network's constructor."""
    scale: dict[str, float]
    """What its `scale` multiplies, where it is parametrised by muP or CompleteP; else empty."""
    tokenizer: TextTokenizer
    n_ctx: int
    text_ctx: int
    """Positions of a window that are text: n_ctx but for a noise suffix."""
    record: RunRecord
    data: TokenDataModule
    """Of the run."""


def read_trained(folder: Path) -> TrainedNetwork:
    """The network of a finished run, with its final weights.

    Raises:
        InputError: the folder is no finished run's, it kept no weights, its corpus (which holds the
            tokenizer) is not where the run found it, or a file is damaged.
    """
    if not (folder / "record.json").exists():
        raise InputError(f"{folder}: holds no finished run (no record.json); name a run's folder")
    record, weights = read_record(folder / "record.json"), final_checkpoint(folder)
    if not weights.exists():
        raise InputError(f"{folder}: its weights were not kept ({weights.name} is missing); train it again")
    check_file(folder / "config.yaml", record)
    config = read_yaml(folder / "config.yaml")
    try:
        sections = {name: config[name] for name in ("model", "data")}
        class_path = str(config["model"]["network"]["class_path"])
    except (KeyError, TypeError):
        raise InputError(f"{folder / 'config.yaml'}: is not a run's configuration; restore it") from None
    trainer = {"default_root_dir": str(folder), "accelerator": "cpu", "devices": 1, "logger": False}
    with without_greetings():
        cli = training_cli({"seed_everything": 0, **sections, "trainer": trainer})
    state = AtomicCheckpointIO().load_checkpoint(weights)["state_dict"]
    try:
        cli.model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{folder}: the weights are of another network or vocabulary: {' '.join(str(error).split())}"
        ) from error
    return TrainedNetwork(
        network=cli.model.network.eval(),
        class_path=class_path,
        arguments=cli.model.network_arguments,
        scale={} if cli.model.scaling is None else cli.model.scaling.forward,
        tokenizer=cli.datamodule.tokenizer(),
        n_ctx=cli.datamodule.n_ctx,
        text_ctx=cli.datamodule.text_ctx,
        record=record,
        data=cli.datamodule,
    )


@torch.no_grad()
def written_on(
    trained: TrainedNetwork, text: str, *, n_tokens: int, temperature: float, top_k: int | None, seed: int
) -> str:
    """How the network goes on with a text; it ends early where the network ends its document.

    Args:
        text: where it is empty, the beginning of a document.
        n_tokens: written at most.
        temperature: the logits are divided by it; 0 takes the likeliest token.
        top_k: draw among so many likeliest tokens; None draws among all.
        seed: of the draws.
    """
    separator = trained.tokenizer.separator_id
    ids = next(trained.tokenizer.encode([text])).tolist() or [separator]
    n_given = len(ids)
    draws = torch.Generator().manual_seed(seed)
    for _ in range(n_tokens):
        logits = next_logits(trained.network, torch.tensor([ids]), trained.n_ctx, trained.text_ctx)[0]
        token = _drawn(logits, temperature, top_k, draws)
        if token == separator:
            break
        ids.append(token)
    return trained.tokenizer.decode(ids[n_given:])


def _drawn(logits: Tensor, temperature: float, top_k: int | None, draws: torch.Generator) -> int:
    """A token id, of logits (V,)."""
    if temperature == 0:
        return int(logits.argmax())
    values, tokens = logits.topk(min(top_k or len(logits), len(logits)))
    # Relative to the largest: a small temperature must not overflow.
    place = torch.multinomial(((values - values[0]) / temperature).softmax(-1), 1, generator=draws)
    return int(tokens[place])


def export_network(trained: TrainedNetwork, folder: Path, *, force: bool = False) -> None:
    """Write weights.pt (a plain state dict), config.json, tokenizer.json and load.py, which loads them.

    Raises:
        InputError: the folder holds files of somebody's own.
    """
    weights = io.BytesIO()
    torch.save(trained.network.state_dict(), weights)
    record = trained.record
    config = {
        "class_path": trained.class_path,
        "init_args": trained.arguments,
        "scale": trained.scale,
        "n_ctx": trained.n_ctx,
        "separator_id": trained.tokenizer.separator_id,
        "run": f"{record.study}/{record.name}",
        "steps": record.steps,
        "tokens": record.tokens,
        "losses": record.losses,
        "corpus": record.corpus,
    }
    content: dict[str, str | bytes] = {
        "weights.pt": weights.getvalue(),
        "config.json": json.dumps(config, indent=2) + "\n",
        "tokenizer.json": trained.tokenizer.to_json(),
        "load.py": LOADER,
    }
    write_own_files(folder, content, writer="export", force=force)

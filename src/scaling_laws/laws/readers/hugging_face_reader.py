"""Hugging Face's Trainer: `trainer_state.json` a run, in its folder or in those of its checkpoints."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.readers.run_folders import (
    LoggedRun,
    along_table,
    flat,
    folders_with,
    has_folder_with,
    run_name,
)
from scaling_laws.study.artefacts import table_bytes
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

STATE = "trainer_state.json"
CHECKPOINT = re.compile(r"checkpoint-[0-9]+")
TOKENS = "num_input_tokens_seen"
MISSING = {
    "N": "save the model's config.json or model.safetensors beside it",
    "D": "train with include_num_input_tokens_seen=True",
    "loss": "name the key of the loss (--tag eval_loss)",
}
LARGEST_HEADER_BYTES = 2**26
EMBEDDINGS = re.compile(
    r"(wte|wpe|embed_tokens|embed_in|word_embeddings|embeddings|lm_head|embed_out)\.weight$"
)


class HuggingFaceReader:
    """Reads the newest state of every run; N from `model.safetensors`, or worked out from `config.json`.

    Columns: those of the log, tokens, n_params (all parameters) and n_params_nonembedding, State.
    """

    def recognises(self, path: Path) -> bool:
        return has_folder_with(path, STATE.__eq__)

    def read(self, path: Path) -> pd.DataFrame:
        return along_table(path, _runs(path), MISSING)


def _runs(root: Path) -> Iterator[LoggedRun]:
    states: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for folder, _ in folders_with(root, STATE.__eq__):
        state = _json(folder / STATE)
        run = folder.parent if folder != root and CHECKPOINT.fullmatch(folder.name) else folder
        before = states.get(run)
        if before is None or _step(state) >= _step(before[1]):
            states[run] = (folder, state)
    for run, (folder, state) in states.items():
        yield LoggedRun(
            name=run_name(root, run),
            points=_points(folder / STATE, state),
            settings={"State": _state(state)} | _sizes(dict.fromkeys((folder, run))),
        )


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, NaN and infinities as Python's `json` writes them included: a loss may be one.

    Raises:
        InputError: it is something else.
    """
    try:
        content = json.loads(table_bytes(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: no JSON object")
    return content


def _step(state: Mapping[str, Any]) -> int:
    step = state.get("global_step")
    return step if isinstance(step, int) else 0


def _state(state: Mapping[str, Any]) -> str:
    """`finished`, unless the steps that were planned are more than those that were made."""
    planned = state.get("max_steps")
    return "unfinished" if isinstance(planned, int) and _step(state) < planned else "finished"


def _points(path: Path, state: Mapping[str, Any]) -> dict[str, dict[int, Any]]:
    """What the log holds, by key and step; the tokens seen by then as `tokens`."""
    log = state.get("log_history")
    if not isinstance(log, list) or not all(isinstance(entry, dict) for entry in log):
        raise InputError(f"{path}: no log_history, which Hugging Face's Trainer writes")
    points: dict[str, dict[int, Any]] = {}
    names = {"loss": "train/loss"}
    for entry in log:
        step = entry.get("step")
        if isinstance(step, int):
            for key, value in flat(entry):
                if key != "step":
                    points.setdefault(names.get(key, key), {})[step] = value
    seen = points.pop(TOKENS, {})
    total, last = state.get(TOKENS), _step(state)
    if not any(seen.values()) and isinstance(total, int | float) and total > 0 and last:
        seen = {step: total * step / last for values in points.values() for step in values}
    if any(seen.values()):
        points["tokens"] = seen
    return points


def _sizes(folders: Mapping[Path, None]) -> dict[str, Any]:
    """n_params and n_params_nonembedding, where a checkpoint or a configuration in the folders says them."""
    for folder in folders:
        if shapes := _tensors(folder):
            total = sum(shapes.values())
            embeddings = sum(count for name, count in shapes.items() if EMBEDDINGS.search(name))
            return {"n_params": total, "n_params_nonembedding": total - embeddings}
    for folder in folders:
        path = folder / "config.json"
        if path.is_file() and (counts := _of_config(_json(path))):
            return dict(zip(("n_params", "n_params_nonembedding"), counts, strict=True))
    return {}


def _tensors(folder: Path) -> dict[str, int]:
    """Numbers of each tensor by the headers of the safetensors files: 8 bytes of length, then JSON."""
    counts: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length)) if length <= LARGEST_HEADER_BYTES else {}
            for name, tensor in header.items():
                if name != "__metadata__":
                    counts[name] = math.prod(int(size) for size in tensor["shape"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
    return counts


def _of_config(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """All parameters and those without embeddings and head, of the kinds of networks that are known here."""
    kinds = {"gpt2": _of_gpt2, "gpt_neox": _of_gpt_neox} | dict.fromkeys(LIKE_LLAMA, _of_llama)
    count = kinds.get(str(config.get("model_type")))
    try:
        return None if count is None else count(config)
    except (KeyError, TypeError):
        return None


LIKE_LLAMA = ("llama", "mistral", "qwen2", "qwen3")


def _of_gpt2(config: Mapping[str, Any]) -> tuple[int, int]:
    width, inner = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
    attention = 4 * width**2 + 4 * width
    feed_forward = 2 * width * inner + inner + width
    body = config["n_layer"] * (attention + feed_forward + 4 * width) + 2 * width
    embeddings = (config["vocab_size"] + config["n_positions"]) * width
    head = 0 if config.get("tie_word_embeddings", True) else config["vocab_size"] * width
    return body + embeddings + head, body


def _of_gpt_neox(config: Mapping[str, Any]) -> tuple[int, int]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    attention = 4 * width**2 + 4 * width
    feed_forward = 2 * width * inner + inner + width
    body = config["num_hidden_layers"] * (attention + feed_forward + 4 * width) + 2 * width
    tied = config.get("tie_word_embeddings", False)
    return body + (1 if tied else 2) * config["vocab_size"] * width, body


def _of_llama(config: Mapping[str, Any]) -> tuple[int, int]:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    of_head = config.get("head_dim") or width // heads
    of_keys = of_head * (config.get("num_key_value_heads") or heads)
    attention = 2 * width * heads * of_head + 2 * width * of_keys
    if config["model_type"] == "qwen2" or config.get("attention_bias"):
        attention += heads * of_head + 2 * of_keys
    if config.get("attention_bias"):
        attention += width
    if config["model_type"] == "qwen3":
        attention += 2 * of_head
    layer = attention + 3 * width * config["intermediate_size"] + 2 * width
    body = config["num_hidden_layers"] * layer + width
    tied = config.get("tie_word_embeddings", False)
    return body + (1 if tied else 2) * config["vocab_size"] * width, body

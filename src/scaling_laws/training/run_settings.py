"""Which settings of a configuration decide a run's weights and rows, and in which of them two runs differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

NOT_DECISIVE = {
    "model": ("compile",),
    "data": ("corpus", "source", "evaluation_windows", "predict_file"),
    "recorder": ("study", "name", "trunk", "tags", "run_id"),
}
DECISIVE_OF_TRAINER = ("max_steps", "precision", "gradient_clip_val", "gradient_clip_algorithm")


def decisive_settings(
    config: Mapping[str, Any], corpus_hash: str, initial_weights: str | None = None
) -> dict[str, Any]:
    """What decides a run's weights and rows: not its folder, its names or its devices.

    Args:
        config: of `fit`, every default filled in.
        corpus_hash: of the corpus's manifest, or what a source of one's own calls it.
        initial_weights: SHA-256 of the checkpoint that the run begins with, if it does.
    """
    kept = {
        section: {key: value for key, value in config[section].items() if key not in names}
        for section, names in NOT_DECISIVE.items()
    }
    if kept["model"].get("objective", "") is None:  # runs from before there were others
        del kept["model"]["objective"]
    return {
        "seed": config["seed_everything"],
        **kept,
        "corpus": corpus_hash,
        "trainer": {key: config["trainer"][key] for key in DECISIVE_OF_TRAINER},
        **({"initial_weights": initial_weights} if initial_weights else {}),
    }


def identity_of(settings: Mapping[str, Any]) -> str:
    """Hash of `decisive_settings`."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted names as on the command line; lists are values."""
    return dict(_flat(settings, ""))


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(asked: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By setting, what is asked for and what was trained, where these differ."""
    new, old = (flat_settings(json.loads(json.dumps(each, default=str))) for each in (asked, trained))
    return {key: (new.get(key), old.get(key)) for key in {**new, **old} if new.get(key) != old.get(key)}

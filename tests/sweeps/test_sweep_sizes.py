"""Large sweep files: ten thousand models are read as a few are, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.reading import load_sweep

CONTENT: dict[str, Any] = {"study": "many", "question": "?", "corpus": "configs/data/tiny.yaml"}


def write(path: Path, models: list[Any]) -> Path:
    ladder = {"family": "transformer", "learning_rate": {"at_1e5": 6e-3}, "models": models}
    path.write_text(yaml.safe_dump({**CONTENT, "ladders": [ladder]}), encoding="utf-8")
    return path


def varied(n_seeds: int) -> dict[str, Any]:
    return {
        "shape": {"n_heads": 2},
        "vary": {
            "shape.d_model": [16, 32, 64],
            "horizons_tokens": [100_000, [200_000, 400_000]],
            "n_ctx": [64, None],
            "seeds": list(range(n_seeds)),
        },
    }


def test_many_models_are_the_same_models(tmp_path: Path) -> None:
    """Read at once, as few are, and value by value, as many are."""
    many = load_sweep(write(tmp_path / "many.yaml", [varied(20)])).ladders[0].models
    few = [
        model
        for seeds in range(20)
        for model in load_sweep(
            write(tmp_path / "few.yaml", [{**varied(0), "vary": {**varied(0)["vary"], "seeds": [seeds]}}])
        )
        .ladders[0]
        .models
    ]
    assert len(many) == 240 and sorted(map(repr, many)) == sorted(map(repr, few))
    assert many[0].shape is not many[1].shape


def test_of_ten_thousand_models_each_value_is_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser takes 5 ms a model, a minute for all of them."""
    n_parsed = []

    def parsed(parser: ArgumentParser, content: Any, *arguments: Any, **options: Any) -> Any:
        n_parsed.append(sum(len(ladder["models"]) for ladder in content.get("ladders", ())))
        return parse_object(parser, content, *arguments, **options)

    parse_object = ArgumentParser.parse_object
    monkeypatch.setattr(ArgumentParser, "parse_object", parsed)
    path = write(tmp_path / "many.yaml", [varied(833)])
    assert len(load_sweep(path).ladders[0].models) == 9996
    assert 833 <= sum(n_parsed) < 900


def test_a_wrong_model_among_many_is_named(tmp_path: Path) -> None:
    wrong = {"shape": {"n_layer": 1, "d_model": 16}, "horizons_tokens": ["a lot"]}
    with pytest.raises(InputError, match="a lot"):
        load_sweep(write(tmp_path / "many.yaml", [varied(20), wrong]))

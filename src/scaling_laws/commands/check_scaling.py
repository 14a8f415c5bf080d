"""The verb `check-scaling`: whether activations depend on the width, for the networks of a sweep file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scaling_laws.study.errors import InputError

FLAT = 0.25
"""Largest exponent of the width that is called flat. Of the read-out the random beginning falls as width^-0.5
under muP: at rates so small that nothing is learned in these steps, it is not flat."""


def add_check_scaling_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the verb."""
    parser.add_argument("sweep", type=Path, help="a sweep file with networks of several widths")
    parser.add_argument("-o", "--output", type=Path, help="a figure, as coordinates.png")
    parser.add_argument("--steps", type=int, default=4, help="steps of training (default: 4)")


def check_scaling(options: argparse.Namespace) -> None:
    """Train the networks of a sweep file for a few steps, and print how activations go with the width.

    Raises:
        InputError: the file is wrong, or holds no networks that differ in d_model alone.
    """
    from scaling_laws.sweeps.plan.experiments import plan
    from scaling_laws.sweeps.plan.reading import load_sweep
    from scaling_laws.training.coordinate_check import activations, growth

    if options.steps < 1:
        raise InputError(f"--steps is {options.steps}; it must be 1 or more")
    if options.output is not None and not options.output.absolute().parent.is_dir():
        raise InputError(f"{options.output}: there is no folder {options.output.parent}; make it first")
    planned = plan(load_sweep(options.sweep))
    assert planned.corpus.n_vocab is not None
    found = {}
    for name, networks, model, n_ctx in _groups(run.config for run in planned.runs):
        rows = activations(
            networks, model, n_vocab=planned.corpus.n_vocab, n_ctx=n_ctx, n_steps=options.steps
        )
        found[name] = rows
        slopes = growth(rows)
        worst = max(slopes.values(), key=abs)
        verdict = "flat" if abs(worst) <= FLAT else "not flat"
        words = ", ".join(f"{layer} {slope:+.2f}" for layer, slope in slopes.items())
        widths = ", ".join(map(str, networks))
        print(f"{name}, widths {widths}: mean |activation| ~ width^x after {options.steps} steps: {words}")
        print(f"  {verdict}: {'no' if verdict == 'flat' else 'an'} exponent is beyond {FLAT} of 0")
    if not found:
        raise InputError(f"{options.sweep}: has no networks that differ in d_model alone; vary shape.d_model")
    if options.output is not None:
        _draw(found, options.output)
        print(f"figure: {options.output}")


def _groups(
    configs: Iterator[Mapping[str, Any]],
) -> Iterator[tuple[str, dict[int, Mapping[str, Any]], Mapping[str, Any], int]]:
    """Networks by width that differ in nothing else: a name, the networks, their settings, the context."""
    groups: dict[str, dict[int, Mapping[str, Any]]] = {}
    for config in configs:
        model = dict(config["model"])
        network = model.pop("network")
        arguments = dict(network["init_args"])
        width = arguments.pop("d_model", None)
        model.pop("schedule"), model.pop("compile")
        if isinstance(width, int):
            alike = json.dumps(
                [network["class_path"], arguments, model, config["data"]["n_ctx"]], sort_keys=True
            )
            groups.setdefault(alike, {})[width] = network
    by_name: dict[str, list[tuple[float, str]]] = {}
    for alike, networks in groups.items():
        model = json.loads(alike)[2]
        if len(networks) > 1:
            name = model.get("parametrization", "standard")
            by_name.setdefault(name, []).append((model["learning_rate"], alike))
    for name, found in by_name.items():
        rate, alike = sorted(found)[len(found) // 2]  # the middle rate of each parametrisation is enough
        _, _, model, n_ctx = json.loads(alike)
        yield f"{name}, rate {rate:g}", dict(sorted(groups[alike].items())), model, n_ctx


def _draw(found: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """A row of panels for each parametrisation, a panel a layer, a line a step."""
    from scaling_laws.report.coordinate_figure import draw_coordinates

    draw_coordinates(found, path)

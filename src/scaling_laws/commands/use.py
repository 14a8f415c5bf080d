"""`scaling-laws generate` and `scaling-laws export`: use what was trained."""

from __future__ import annotations

import argparse
from pathlib import Path

from scaling_laws.study.bounds import NotNegative, PositiveCount, Seed, check_bounds

GENERATE_BOUNDS = {
    "n": PositiveCount,
    "temperature": NotNegative,
    "top_k": PositiveCount | None,
    "seed": Seed,
}


def add_generate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="a run's folder: lightning_logs/<study>/<run>")
    parser.add_argument("text", nargs="?", default="", help="how the text begins (default: a new document)")
    parser.add_argument("--n", type=int, default=100, help="tokens to write (default: 100)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="0 takes the likeliest token (default: 1)"
    )
    parser.add_argument("--top-k", type=int, help="draw among this many likeliest tokens (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")


def generate(options: argparse.Namespace) -> None:
    """Print a text and how the run's network goes on with it."""
    check_bounds(GENERATE_BOUNDS, {name: vars(options)[name] for name in GENERATE_BOUNDS}, what="--")
    from scaling_laws.training.trained import read_trained, written_on

    written = written_on(
        read_trained(options.run),
        options.text,
        n_tokens=options.n,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
    )
    print(options.text + written)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="a run's folder: lightning_logs/<study>/<run>")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="replace files there that no export wrote")


def export(options: argparse.Namespace) -> None:
    """Write a run's network into a folder that needs no run, and say how to load it."""
    from scaling_laws.training.trained import export_network, read_trained

    export_network(read_trained(options.run), options.output, force=options.force)
    print(
        f"{options.output}: weights.pt, config.json, tokenizer.json; load.py loads them "
        f'(python {options.output / "load.py"} "text" tries it)'
    )

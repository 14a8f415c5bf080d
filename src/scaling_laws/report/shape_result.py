"""A shape study's result as files, and in words and tables: what is printed at the end."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling_laws.laws.results.types import plain_json
from scaling_laws.laws.shapes import (
    RATIOS,
    Importance,
    RatioBin,
    ShapeRatios,
    ShapeResult,
    ShapeTransfer,
    ShapeTrial,
)
from scaling_laws.report import style as st
from scaling_laws.report.text import Table
from scaling_laws.study.records import write_atomically

SHOWN = 5
"""Trials in the table of the best."""


PNG_DPI = 150


def write_shape_result(
    result: ShapeResult, curves: Mapping[str, Sequence[tuple[int, float]]], folder: Path
) -> None:
    """`shape.json`, `shape.md`, `trials.csv`, `curves.csv`, `shape.png` and `shape.svg` in a folder.

    Args:
        curves: by run, tokens and loss (nats, on the text that chooses) of each evaluation.

    Raises:
        InputError: the folder cannot be written to.
    """
    from scaling_laws.report.figures.shape_search import shape_search

    plain = plain_json(result)
    write_atomically(folder / "shape.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "shape.md", markdown(result))
    write_atomically(folder / "trials.csv", _csv(plain["trials"]))
    rows = [
        {"run": run, "tokens": tokens, "val_loss_nats": loss}
        for run, evaluations in curves.items()
        for tokens, loss in evaluations
    ]
    write_atomically(folder / "curves.csv", _csv(rows))
    figure = shape_search.draw(result)
    write_atomically(folder / "shape.png", st.rendered(figure, "png", dpi=PNG_DPI))
    write_atomically(folder / "shape.svg", st.rendered(figure, "svg", metadata={"Date": None}))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown(result: ShapeResult) -> str:
    """The whole of `shape.md`."""
    return "\n\n".join(_sections(result)) + "\n"


def _sections(result: ShapeResult) -> Iterator[str]:
    yield f"# {result.study}: shapes of {result.N:,.0f} parameters"
    yield result.question
    yield _what_was_done(result)
    yield f"{_best(result)} {_noise(result)}"
    yield "## What each ratio costs"
    yield (
        "The lowest loss of each bin, over all else that was tuned along, in % above the best of all; "
        f"losses are brought to equal N by L(N), alpha_N = {result.correction.alpha_N:.3g} "
        f"({result.correction.source})."
    )
    yield _envelopes(result)
    yield _importance(result.importance)
    yield "## Does it carry over to a larger N?"
    yield _transfer(result.transfer)
    yield "## The best trials"
    yield _trials(result.complete)


def _what_was_done(result: ShapeResult) -> str:
    counts = {key: count for key, count in result.counts.items() if key != "infeasible"}
    endings = ", ".join(f"{count} {status}" for status, count in counts.items())
    n_infeasible = result.counts["infeasible"]
    return (
        f"{sum(counts.values())} trials ({endings}), {result.n_shapes} networks among the complete ones, "
        f"each trained for {result.tokens:,} tokens; N is met within 2 %. {n_infeasible} suggestions "
        "fit no network of N parameters and were not trained. Losses are on `val`, in nats per token."
    )


def _best(result: ShapeResult) -> str:
    best = result.best
    return (
        f"The best: n_layer {best.n_layer}, d_model {best.d_model}, n_heads {best.n_heads}, d_ff "
        f"{best.d_ff} (d_ff/d_model {best.d_ff_ratio:.3g}, d_model/n_layer {best.aspect_ratio:.3g}, "
        f"heads of {best.head_width}), learning rate {best.learning_rate:g}: loss {best.loss:.4f}."
    )


def _noise(result: ShapeResult) -> str:
    noise = result.noise
    if noise is None:
        return "The noise between seeds was not measured."
    by_shape = " and ".join(f"{100 * sd:.2g} %" for sd in noise.sd_by_shape)
    return (
        f"Noise between seeds: {100 * noise.sd_log_loss:.2g} % of the loss ({noise.n_runs} runs of "
        f"{noise.n_shapes} shapes, {by_shape}); differences below {noise.band_percent:.2g} % mean "
        "nothing."
    )


def _envelopes(result: ShapeResult) -> str:
    band = None if result.noise is None else result.noise.band_percent
    columns = ("ratio", "values: lowest loss above the best", *([] if band is None else ["within the noise"]))
    rows = []
    for ratio, label in RATIOS.items():
        bins = result.envelopes[ratio]
        cells = ", ".join(f"{_range(each)}: +{each.increase_percent:.1f} %" for each in bins)
        rows.append((label, cells, *([] if band is None else [_within(bins, band)])))
    return Table(columns=columns, rows=tuple(rows)).markdown()


def _range(bin_: RatioBin) -> str:
    return f"{bin_.low:g}" if bin_.low == bin_.high else f"{bin_.low:.2g} to {bin_.high:.2g}"


def _within(bins: Sequence[RatioBin], band: float) -> str:
    within = [each for each in bins if each.increase_percent <= band]  # the best's own bin always is
    return f"{min(each.low for each in within):.2g} to {max(each.high for each in within):.2g}"


def _importance(importance: Importance) -> str:
    if importance.shares is None:
        return f"Importance of the parameters: {importance.reason}."
    names = RATIOS | {"learning_rate_factor": "learning rate"}
    shares = ", ".join(f"{names[name]} {100 * share:.0f} %" for name, share in importance.shares.items())
    return f"What separates the better trials from the others (PED-ANOVA importance): {shares}."


def _transfer(transfer: ShapeTransfer | None) -> str:
    if transfer is None:
        return "Not trained: give the search a `transfer` with a larger N."
    rows = [
        (
            _shape(pair.small),
            f"{pair.loss_small:.4f}",
            _shape(pair.large),
            f"{pair.large.N:,}",
            f"{pair.loss_large:.4f}",
        )
        for pair in transfer.shapes
    ]
    verdict = "The best stays the best" if transfer.best_stays_best else "The best does not stay the best"
    return (
        f"{verdict} at N = {transfer.N:,.0f} and {transfer.tokens:,} tokens; "
        f"{transfer.n_pairs_kept} of {transfer.n_pairs} pairs keep their order.\n\n"
    ) + Table(
        columns=("shape", "loss", "its ratios at the larger N", "N", "loss"), rows=tuple(rows)
    ).markdown()


def _shape(shape: ShapeRatios) -> str:
    return (
        f"n_layer {shape.n_layer}, d_ff/d_model {shape.d_ff_ratio:.2g}, "
        f"d_model/n_layer {shape.aspect_ratio:.2g}, heads of {shape.head_width}"
    )


def _trials(trials: Sequence[ShapeTrial]) -> str:
    columns = ("run", "n_layer", "d_model", "n_heads", "d_ff", "N", "learning rate", "loss", "above the best")
    rows = [
        (
            trial.run,
            *map(str, (trial.n_layer, trial.d_model, trial.n_heads, trial.d_ff)),
            f"{trial.N:,}",
            f"{trial.learning_rate:g}",
            f"{trial.loss:.4f}",
            f"+{trial.increase_percent:.2f} %",
        )
        for trial in trials[:SHOWN]
    ]
    return Table(columns=columns, rows=tuple(rows)).markdown()

"""A shape study's result in words and tables: `shape.md`, and what is printed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scaling_laws.sweeps.shape.importance import RATIOS

SHOWN = 5
"""Trials in the table of the best."""
Result = Mapping[str, Any]


def markdown(result: Result) -> str:
    """The whole of `shape.md`."""
    return "\n\n".join(_sections(result)) + "\n"


def _sections(result: Result) -> Iterator[str]:
    yield f"# {result['study']}: shapes of {result['N']:,.0f} parameters"
    yield result["question"]
    yield _what_was_done(result)
    yield f"{_best(result)} {_noise(result)}"
    yield "## What each ratio costs"
    yield (
        "The lowest loss of each bin, over all else that was tuned along, in % above the best of all; "
        f"losses are brought to equal N by L(N), alpha_N = {result['correction']['alpha_N']:.3g} "
        f"({result['correction']['source']})."
    )
    yield _envelopes(result)
    yield _importance(result["importance"])
    yield "## Does it carry over to a larger N?"
    yield _transfer(result["transfer"])
    yield "## The best trials"
    yield _trials(result["trials"])


def _what_was_done(result: Result) -> str:
    counts = {key: count for key, count in result["counts"].items() if key != "infeasible"}
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    n_infeasible = result["counts"]["infeasible"]
    return (
        f"{sum(counts.values())} trials ({told}), {result['n_shapes']} networks among the complete ones, "
        f"each trained for {result['tokens']:,} tokens; N is met within 2 %. {n_infeasible} suggestions "
        "that no network of N parameters has were not trained. Losses are on `val`, in nats per token."
    )


def _best(result: Result) -> str:
    best = result["best"]
    return (
        f"The best: n_layer {best['n_layer']}, d_model {best['d_model']}, n_heads {best['n_heads']}, d_ff "
        f"{best['d_ff']} (d_ff/d_model {best['d_ff_ratio']:.3g}, d_model/n_layer {best['aspect_ratio']:.3g}, "
        f"heads of {best['head_width']}), learning rate {best['learning_rate']:g}: loss {best['loss']:.4f}."
    )


def _noise(result: Result) -> str:
    noise = result["noise"]
    if noise is None:
        return "The noise between seeds was not measured."
    by_shape = " and ".join(f"{100 * sd:.2g} %" for sd in noise["sd_by_shape"])
    return (
        f"Noise between seeds: {100 * noise['sd_log_loss']:.2g} % of the loss ({noise['n_runs']} runs of "
        f"{noise['n_shapes']} shapes, {by_shape}); differences below {noise['band_percent']:.2g} % mean "
        "nothing."
    )


def _envelopes(result: Result) -> str:
    band = (result["noise"] or {}).get("band_percent")
    rows = []
    for ratio, label in RATIOS.items():
        bins = result["envelopes"][ratio]
        cells = ", ".join(f"{_range(one)}: +{one['increase_percent']:.1f} %" for one in bins)
        rows.append([label, cells, "" if band is None else _within(bins, band)])
    columns = ["ratio", "values: lowest loss above the best"] + ([] if band is None else ["within the noise"])
    return _table(columns, [row[: len(columns)] for row in rows])


def _range(one: Mapping[str, Any]) -> str:
    if one["low"] == one["high"]:
        return f"{one['low']:g}"
    return f"{one['low']:.2g} to {one['high']:.2g}"


def _within(bins: Sequence[Mapping[str, Any]], band: float) -> str:
    low = [one["low"] for one in bins if one["increase_percent"] <= band]
    high = [one["high"] for one in bins if one["increase_percent"] <= band]
    return f"{min(low):.2g} to {max(high):.2g}"  # the best's own bin always is


def _importance(importance: Mapping[str, Any]) -> str:
    if importance["shares"] is None:
        return f"Importance of the parameters: {importance['reason']}."
    names = RATIOS | {"learning_rate_factor": "learning rate"}
    told = ", ".join(f"{names[name]} {100 * share:.0f} %" for name, share in importance["shares"].items())
    return f"Importance for being among the better trials (PED-ANOVA): {told}."


def _transfer(transfer: Mapping[str, Any] | None) -> str:
    if transfer is None:
        return "Not trained: give the search a `transfer` with a larger N."
    rows = [
        [
            _shape(one["small"]),
            f"{one['loss_small']:.4f}",
            _shape(one["large"]),
            f"{one['large']['N']:,}",
            f"{one['loss_large']:.4f}",
        ]
        for one in transfer["shapes"]
    ]
    verdict = "The best stays the best" if transfer["best_stays_best"] else "The best does not stay the best"
    return (
        f"{verdict} at N = {transfer['N']:,.0f} and {transfer['tokens']:,} tokens; "
        f"{transfer['n_pairs_kept']} of {transfer['n_pairs']} pairs keep their order.\n\n"
    ) + _table(["shape", "loss", "its ratios at the larger N", "N", "loss"], rows)


def _shape(one: Mapping[str, Any]) -> str:
    return (
        f"n_layer {one['n_layer']}, d_ff/d_model {one['d_ff_ratio']:.2g}, "
        f"d_model/n_layer {one['aspect_ratio']:.2g}, heads of {one['head_width']}"
    )


def _trials(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = ["run", "n_layer", "d_model", "n_heads", "d_ff", "N", "learning rate", "loss", "above the best"]
    best = [row for row in rows if row["corrected_loss"] is not None][:SHOWN]
    return _table(
        columns,
        [
            [
                row["run"],
                str(row["n_layer"]),
                str(row["d_model"]),
                str(row["n_heads"]),
                str(row["d_ff"]),
                f"{row['N']:,}",
                f"{row['learning_rate']:g}",
                f"{row['loss']:.4f}",
                f"+{row['increase_percent']:.2f} %",
            ]
            for row in best
        ],
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""What `scaling-laws plan` prints: lines and tables of the same plain values that `--json` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.plan.rounds_text import wrapped
from scaling_laws.report.text import Table

if TYPE_CHECKING:
    from scaling_laws.laws.plan.predictions import Score

Content = Mapping[str, Any]
Block = list[str | Table]


def answer_text(content: Content) -> list[str | Table]:
    """The plan, what it rests on, and what else the options want to know."""
    blocks: list[Block] = [[_plan(content)], _sizes(content)]
    if "served" in content:
        blocks.append(_served(content["served"]))
    if "repeated" in content:
        blocks.append(_repeated(content["repeated"]))
    if "next_rung" in content:
        blocks.append(_next_rung(content["next_rung"]))
    blocks += [_published(content["published"]), [_notes(content)]]
    return [part for block in blocks for part in (*block, "")][:-1]


def score_text(score: Score, prediction: Content) -> str:
    """A prediction beside what happened."""
    low, high = (_number(end, ".4f") for end in score.interval)
    verdict = {True: "inside", False: "OUTSIDE", None: "the prediction has no interval"}[score.inside]
    interval = "" if score.inside is None else f"   90 %: {low} to {high}: the truth is {verdict}"
    where = (
        "as predicted"
        if score.as_frozen
        else (
            f"other than predicted ({_number(prediction['N'])} and {_number(prediction['D'])}):"
            " the frozen law was evaluated at the run's own"
        )
    )
    when = "before" if score.days >= 0 else "after"
    lines = [
        f"prediction of {prediction['written']}, {abs(score.days):.1f} days {when} the run ended, by",
        f"  {prediction['source']}",
        f"  {'run':<12} N = {_number(score.N)}, D = {_number(score.D)}, {where}",
        f"  {'predicted':<12} {score.predicted:.4f} nats per token{interval}",
        f"  {'actual':<12} {score.actual:.4f} nats per token",
        f"  {'error':<12} {100 * score.relative_error:+.2f} %" + ("" if interval else f" ({verdict})"),
    ]
    return "\n".join(lines + wrapped([f"Warning: {score.warning}."] if score.warning else []))


def _plan(content: Content) -> str:
    """What to train."""
    origins = content["origins"]
    lines = [
        f"{content['source']}: with {content['question']} train",
        _quantity(content, "N", "parameters"),
        _quantity(content, "D", "tokens"),
        _quantity(content, "C", "FLOPs"),
        _quantity(content, "batch_tokens", "tokens", "batch", origins.get("batch_tokens", "")),
        _quantity(content, "steps", "updates"),
        _quantity(content, "learning_rate", "peak", "learning rate", origins.get("learning_rate", "")),
        _quantity(content, "loss_nats", "nats per token", "loss"),
        _shape(content["shape"]),
    ]
    if "gpu_hours" in content["budget"]:
        lines.append(_budget(content["budget"]))
    ratio = content["compute_over_optimal"]
    if ratio is not None and ratio > 1.001:
        lines.append(f"  {'optimum':<14} the same loss takes {1 / ratio:.3g} of this compute at the best N")
    return "\n".join(line for line in lines if line)


def _quantity(content: Content, key: str, unit: str, name: str | None = None, origin: str = "") -> str:
    label = f"  {name or key:<14}"
    value = content[key]
    if value is None:
        return f"{label} {origin or 'not known to this law'}"
    digits = {"loss_nats": ".4f", "learning_rate": ".3g"}.get(key, "")
    interval = ""
    if key in content["intervals"]:
        low, high = (
            "unbounded" if end is None else _number(end, digits) for end in content["intervals"][key]
        )
        interval = f"   90 %: {low} to {high}"
    return f"{label} {_number(value, digits):>10} {unit}{interval}" + (f" ({origin})" if origin else "")


def _shape(shape: Content) -> str:
    label = f"  {'shape':<14}"
    if "reason" in shape:
        return f"{label} {shape['reason']}"
    counted = {
        "N": "",
        "N_with_head": f", the head of {shape['n_vocab']:,} tokens counted",
        "N_total": f", a vocabulary of {shape['n_vocab']:,} and {shape['n_ctx']:,} positions counted",
    }[shape["N_counts"]]
    if shape.get("N_assumed"):
        counted += ", N taken without embeddings and head: the table does not say what it counts"
    return (
        f"{label} n_layer {shape['n_layer']}, d_model {shape['d_model']}, n_heads {shape['n_heads']}, "
        f"d_ff {shape['d_ff']}: N {100 * shape['relative_error']:+.1f} %{counted}"
    )


def _budget(budget: Content) -> str:
    how = ""
    if "mfu" in budget:
        peak = budget["peak_flops_per_s"] / 1e12
        how = f" at {100 * budget['mfu']:.3g} % of {peak:,.4g} TFLOP/s ({budget['peak_source']})"
    lines = [f"  {'device-hours':<14} {_number(budget['gpu_hours']):>10}{how}"]
    if "cost" in budget:
        lines.append(f"  {'cost':<14} {budget['cost']:>10,.2f} at {budget['price']:g} a device-hour")
    return "\n".join(lines)


def _sizes(content: Content) -> Block:
    """What a wrong size costs."""

    def ratio(size: str, value: float | None) -> str:
        reached = "never reach that loss" if value is None else f"need {value:.2f} times the compute"
        return f"{size} N would {reached}"

    rows = [("N/N_opt", "N", "D", "loss", "excess")]
    for cost in content["size_costs"]:
        excess = f"{100 * cost['relative_excess']:+.2f} %" if cost["size_ratio"] != 1 else "-"
        loss = "-" if cost["loss_nats"] is None else f"{cost['loss_nats']:.4f}"
        rows.append((f"{cost['size_ratio']:g}", _number(cost["N"]), _number(cost["D"]), loss, excess))
    half, double = content["compute_ratio_half_N"], content["compute_ratio_double_N"]
    head = f"A wrong size: {ratio('half', half)}; {ratio('twice', double)}. At equal compute:"
    return [head, _table(rows)]


def _served(served: Content) -> Block:
    head = (
        f"Serving {_number(served['served_tokens'])} tokens at a loss of {served['loss_nats']:.4f}, the least"
        " of 6 N D + 2 N T (Sardana et al. 2024):"
    )
    total = served["optimal_total"]
    rows = [
        ("", "N", "D", "FLOPs in all"),
        ("cheapest in all", *map(_number, (served["N"], served["D"], served["total"]))),
        ("cheapest to train", *map(_number, (served["optimal_N"], served["optimal_D"], total))),
    ]
    return [head, _table(rows), f"saving {100 * served['saving']:.1f} % of all FLOPs"]


def _repeated(plans: Sequence[Content]) -> Block:
    first = plans[0]
    rows = [("", "N", "D", "epochs", "loss", "loss, data unlimited")]
    rows += [
        (
            f"law {i}",
            _number(plan["N"]),
            _number(plan["D"]),
            f"{plan['epochs']:.2f}",
            f"{plan['loss_nats']:.4f}",
            f"{plan['unlimited_loss_nats']:.4f}",
        )
        for i, plan in enumerate(plans, start=1)
    ]
    head = f"With {_number(first['unique_tokens'])} unique tokens (Muennighoff et al. 2023):"
    sources = [f"  law {i}: {plan['source']}" for i, plan in enumerate(plans, start=1)]
    return [head, _table(rows), *wrapped(sources)]


def _next_rung(found: Content) -> Block:
    rows = [("", "N", "D", "cost, FLOPs", "loss", "narrows by", "per FLOP")]
    ranked = [*((str(i), rung) for i, rung in enumerate(found["best"], start=1)), ("most", found["most"])]
    rows += [
        (
            name,
            _number(rung["N"]),
            _number(rung["D"]),
            _number(rung["cost"]),
            f"{rung['loss_nats']:.4f}",
            f"{100 * rung['narrowing']:.1f} %",
            f"{rung['narrowing_per_flop']:.3f}",
        )
        for name, rung in ranked
    ]
    head = f"One further run that would narrow the interval of {found['target']}, the most per FLOP first:"
    warning = [f"  Warning: {found['warning']}."] if found["warning"] else []
    return [head, _table(rows), *wrapped(warning)]


def _published(rows: Iterable[Content]) -> Block:
    table = [("", "N", "D", "C", "loss", "N counts")]
    reasons = []
    for row in rows:
        numbers = [_number(row[key]) for key in ("N", "D", "C")]
        loss = "-" if row["loss_nats"] is None else f"{row['loss_nats']:.4f}"
        table.append((row["source"], *numbers, loss, row["N_counts"]))
        if row["reason"]:
            reasons.append(f"  {row['source']}: {row['reason']}")
    head = "What the published laws say to the same question, each of its own data, tokenizer and count of N:"
    return [head, _table(table, left=(0, 5)), *wrapped(reasons)]


def _notes(content: Content) -> str:
    lines = wrapped(f"Note: {note}" for note in content["notes"])
    return "\n".join(lines + ([f"prediction: {content['frozen']}"] if "frozen" in content else []))


def _table(rows: Sequence[tuple[str, ...]], left: tuple[int, ...] = (0,)) -> Table:
    """The first row is the head; numbers are set to the right."""
    columns, *body = rows
    numbers = tuple(place for place in range(len(columns)) if place not in left)
    return Table(columns=columns, rows=tuple(body), numbers=numbers)


def _number(value: float | None, digits: str = "") -> str:
    """Four digits; powers of ten from 10,000."""
    if value is None:
        return "-"
    return f"{value:{digits or (',.4g' if value < 1e4 else '.3e')}}"

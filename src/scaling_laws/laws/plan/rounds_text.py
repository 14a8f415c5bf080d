"""A plan in rounds as lines of text, from the plain values that `--json` prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH = 110
Content = Mapping[str, Any]


def rounds_text(content: Content) -> str:
    """The ledger, what was learned, what to train now, and the last run."""
    head = (
        f"{content['compute']:.3g} FLOPs in {content['rounds']} rounds; "
        f"round {content['round']}: {content['purpose']}"
    )
    blocks = [head, _ledger(content)]
    if content["learned"]:
        blocks.append("\n".join(wrapped("- " + sentence for sentence in content["learned"])))
    if content["last"] is not None:
        blocks.append(_last(content))
    blocks.append(_to_train(content))
    return "\n\n".join(blocks)


def _ledger(content: Content) -> str:
    rows = [("round", "for", "of budget", "runs", "trained", "spent, FLOPs", "waiting")]
    for cost in content["costs"]:
        rows.append(
            (
                str(cost["round"]),
                cost["purpose"],
                f"{100 * cost['share'] / content['compute']:.3g} %",
                str(cost["n_runs"]) if cost["n_runs"] else "-",
                str(cost["n_trained"]) if cost["n_runs"] else "-",
                f"{cost['spent']:.3g}" if cost["n_trained"] else "-",
                f"{cost['waiting']:.3g}" if cost["waiting"] else "-",
            )
        )
    left = f"  {content['left']:.3g} FLOPs are neither spent nor planned yet"
    done = content["left"] < 1e-6 * content["compute"]
    return "\n".join(["Ledger, in 6 N D:", *table_lines(rows, left=(0, 1)), *([] if done else [left])])


def _last(content: Content) -> str:
    last = content["last"]
    lines = [
        "The last run, with all that is left:",
        _line("N", last["N"], "parameters", last["N_interval"]),
        _line("D", last["D"], "tokens"),
        _line("C", last["C"], "FLOPs"),
        _line("learning rate", last["learning_rate"], "peak", last["learning_rate_interval"]),
    ]
    for setting in last["settings"]:
        name = setting["name"].replace("batch_tokens", "batch")
        value = "not known" if setting["value"] is None else f"{setting['value']:.4g}"
        lines.append(f"  {name:<14} {value:>10} ({setting['origin']})")
    if last["loss_nats"] is None:
        lines.append(f"  {'loss':<14} not identified: the runs do not determine a law")
    else:
        lines.append(_line("loss", last["loss_nats"], "nats per token", last["loss_interval"], ".4f"))
    if content["actual_loss"] is not None:
        error = ""
        if last["loss_nats"] is not None:
            percent = 100 * (last["loss_nats"] / content["actual_loss"] - 1)
            error = f", predicted with an error of {percent:+.2f} %"
        lines.append(f"  {'actual loss':<14} {content['actual_loss']:>10.4f} nats per token{error}")
    lines.append(f"  by {last['source']}")
    return "\n".join([*wrapped(lines), *wrapped(f"  Note: {note}" for note in last["notes"])])


def _to_train(content: Content) -> str:
    runs = content["to_train"]
    if not runs:
        return "All rounds are done."
    settings = [name for name in ("batch_tokens", "beta2", "epsilon") if any(run[name] for run in runs)]
    rows = [("run", "N", "D", "FLOPs", "learning rate", *settings)]
    for run in runs:
        values = ["-" if run[name] is None else f"{run[name]:.4g}" for name in settings]
        rows.append((run["run"], *(f"{run[name]:.4g}" for name in ("N", "D", "C", "learning_rate")), *values))
    total = sum(run["C"] for run in runs)
    new = "" if content["new"] in (0, len(runs)) else f", {content['new']} of them new"
    where = f" into {content['file']} and call again" if content["file"] else " into the ledger"
    what = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    head = f"To train now: {what}{new}, {total:.3g} FLOPs. Put each loss{where}:"
    return "\n".join([head, *table_lines(rows)])


def _line(name: str, value: float, unit: str, interval: Any = None, digits: str = ".4g") -> str:
    text = f"  {name:<14} {value:>10{digits}} {unit}"
    if interval and tuple(interval) != (None, None):
        low, high = ("unbounded" if end is None else f"{end:{digits}}" for end in interval)
        text += f"   90 %: {low} to {high}"
    return text


def table_lines(rows: Sequence[tuple[str, ...]], left: tuple[int, ...] = (0,)) -> list[str]:
    """Columns as wide as their widest cell; numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def wrapped(lines: Iterable[str]) -> list[str]:
    """The lines, none wider than `WIDTH`."""
    return [part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="      ")]

"""Anybody's table of runs as the table that the fits read.

What can be read in one way alone is read (`1.3B`, `1_000`); what pandas would guess, mend or drop is an error
here, in one line that names the file, the rows and the columns. What can be read but is probably not what was
meant is a sentence of `doubts`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws import KEEP, LOSS_UNITS, Keep, LossUnit
from scaling_laws.laws.cells import (
    NUMBER,
    all_positive,
    are_shares,
    counted,
    is_finite,
    is_missing,
    number,
    place,
    plain_numbers,
    positive_numbers,
    short,
    truth,
)
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.readers import reader_of, runs_path
from scaling_laws.laws.readers.table_files import SHOWN_CHARACTERS, cells_of
from scaling_laws.laws.readers.tracker_exports import run_column, why_no_runs
from scaling_laws.laws.row_conditions import satisfying
from scaling_laws.laws.usual_names import WORDS, likely_column, normal, usual_column, words_of
from scaling_laws.study.conventions import C_CONVENTIONS, N_CONVENTIONS
from scaling_laws.study.errors import InputError
from scaling_laws.study.names import one_line
from scaling_laws.study.recipe import recipe_columns

if TYPE_CHECKING:
    import pandas as pd

ROLES = {
    "loss": "the loss",
    "run": "the run",
    "unique_tokens": "U, unique tokens (--unique)",
    "batch_tokens": "B, tokens per step (--batch)",
    "steps": "S, steps (--steps)",
    "weight": "the weight (--weight)",
}
"""What a column is for, where it has no letter of its own."""
UNIT_WORDS = {"ppl": "perplexity", "perplexity": "perplexity", "bpb": "bits/byte", "bits": "bits"}
STATE_COLUMNS = ("State", "state", "Status", "status")
STATES = {"finished", "unfinished", "crashed", "failed", "killed", "running", "preempted", "scheduled"}
STATES |= {"pending"}
"""What Weights & Biases and MLflow say of a run in the column `State` or `status`."""
STEPS = ("step", "_step", "global_step", "Step", "steps", "iteration")
OTHER_CONVENTIONS = tuple(name for name in (*N_CONVENTIONS, *C_CONVENTIONS) if name not in ("N", "C"))
STUDY_COLUMNS = (
    "n_layer",
    "d_model",
    "n_heads",
    "n_ctx",
    "unique_tokens",
    "batch_tokens",
    "steps",
    "learning_rate",
    "warmup_tokens",
)
"""Columns of our own run tables (`runs.Study.runs`) that a law's analysis knows what to do with."""
TASK_COLUMNS = {"accuracy", "chance"}
"""Of a task, from 0 to 1 (`task_laws.py`): its accuracy, and that of guessing."""
CORPUS_COLUMN = "manifest_hash"
"""Of a study's own table: losses of different text are not compared."""
SHOWN_COLUMNS = 12
SHOWN_CELLS = 5

UNTRAINED_NATS = 14.0
"""ln of a vocabulary of a million: no language model has a higher loss per token but by a mistake."""
LOWEST_NATS = 0.5
"""Text has more than this left to guess per token, unless tokens are characters of very regular text."""
COMPUTE_RATIO = 10.0
"""Embeddings, head and attention move C from 6 N D by less than this; another unit moves it by more."""
FEWEST_TOKENS = 1e4
"""Nobody trains on less: D is in millions or billions then."""
MOST_TOKENS_A_PARAMETER = 1e5
FEWEST_RANKS = 10
FEWEST_ROWS_ALONG = 4
"""Rows of one run, all of one size, that look like its learning curve."""
AXES = {"N", "D", "C"}
KINDS = {"N": "parameters", "D": "tokens", "C": "FLOPs"}


def read_runs(
    source: str | Path | pd.DataFrame,
    n: str | None = None,
    d: str | None = None,
    c: str | None = None,
    loss: str | None = None,
    run: str | None = None,
    where: str | Sequence[str] | None = None,
    more: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    keep: Keep | None = None,
    loss_unit: LossUnit = "nats",
    bytes_per_token: float | None = None,
    with_unfinished: bool = False,
    needs: Collection[str] | None = ("N", "D", "C"),
) -> pd.DataFrame:
    """Read a table with one row per run, or a folder of runs.

    Counts may be written as people do: 1.3B, 125m, 1_000, "1,000". Rows without a finite loss, and those of
    runs that their `State` calls crashed or unfinished, are left out and named.

    Args:
        source: what a reader recognises (`readers`): a file, a folder of runs; or a DataFrame.
        n, d, c, loss, run: its columns of N (parameters), D (tokens), C (training FLOPs), loss and the
            run's name. By default the columns N, D, C, loss and run; of what a tracker exported or logged,
            those with their usual names. A missing D is C/(6 N), or batch times steps; a missing C is 6 N D,
            a missing name is the line number. A name may return: its rows are one training. Columns trunk,
            family, seed, after_cooldown and stopped_early are kept (an early-stopped loss is a final one
            where D is unique_tokens); those of `STUDY_COLUMNS` too, where they hold positive numbers; those
            of `OTHER_CONVENTIONS` unless N or C come from a column of another name.
        where: keep only some rows: conditions (`row_conditions`), all of which must hold.
        more: further columns of positive numbers: their name in the table (unique_tokens, batch_tokens,
            steps, weight, ...), and in the file.
        labels: columns that are kept as they are written: what the runs are to be compared by.
        keep: of several rows of one run, all, the last (most steps or tokens; none, where its loss is no
            number) or the best (lowest loss). By default all rows of a table, the last of a folder's runs.
        loss_unit: of the column: nats per token, bits per token, bits per byte, or perplexity.
        bytes_per_token: of the tokenizer on the evaluated text; needed for bits per byte.
        with_unfinished: keep runs that their `State` calls crashed, running or unfinished.
        needs: which of N, D and C there must be; None takes what there is.

    Returns:
        Columns run, trunk, family ("all" if absent), those of N, D and C that are known, loss (nats per
        token); seed, after_cooldown where the file has them; those of `more`; those that are kept. `attrs`
        has `name`, `notes` (sentences: what was read in another unit, what was left out), `left_out` (run and
        reason) and `columns` (by argument, what was named or found by its usual name).

    Raises:
        InputError: whatever is wrong with the file or with the arguments.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        name, raw = "the table", source
    else:
        path = runs_path(source)
        name, raw = str(path), reader_of(path).read(path)
    about = {} if isinstance(source, pd.DataFrame) else raw.attrs
    to_nats = _to_nats(loss_unit, bytes_per_token)
    header = [str(column) for column in raw.columns]
    if chart := why_no_runs(header):
        raise InputError(f"{name}: {chart}")
    if raw.empty:
        raise InputError(f"{name}: a header and no rows")
    chosen = _chosen_columns(header, about, {"n": n, "d": d, "c": c, "loss": loss, "run": run}, more or {})
    n, d, c, loss, run = (chosen.names.get(role) for role in ("n", "d", "c", "loss", "run"))
    more, from_batches = chosen.more, chosen.from_batches
    numbers = {"N": n, "D": d, "C": c, "loss": loss, **more}
    asked = {**numbers, "run": run, **{each: each for each in labels}}
    _check_columns(name, header, asked, python=needs is None)
    _check_needs(name, header, about, chosen, needs)
    assert loss is not None
    keep = keep or ("last" if about.get("along") else "all")
    if keep not in KEEP:
        raise InputError(f"keep is {keep!r}; there are {', '.join(KEEP)}")
    if about.get("along"):
        raw = _points(raw, loss)
        cells = cells_of(raw).set_axis(raw.index, axis=0)
    else:
        cells = raw if about.get("lines") else cells_of(raw)
    read_cell = partial(number, name)
    for condition in [where] if isinstance(where, str) else where or ():
        cells = satisfying(name, cells, condition, read_cell)
    names = cells[run] if run else pd.Series([f"row {line}" for line in cells.index], index=cells.index)
    order = _order(cells, d) if keep == "last" else None
    cells, left_out = _with_a_loss(name, cells, names, loss, order, with_unfinished)
    if keep != "all":
        cells = _kept(cells, names, _worth(cells[loss]) if order is None else order)
    table = _who(name, cells, run)
    bad: list[str] = []
    scaled: dict[str, str] = {}
    for role, column in numbers.items():
        if column is None:
            continue
        if about.get("along") and role in about["missing"] and (cells[column] == "").any():
            of_runs = ", ".join(dict.fromkeys(names[cells.index[cells[column] == ""]]))
            raise InputError(f"{name}: nothing says what {role} is of {of_runs}: {about['missing'][role]}")
        of_role: list[str] = []
        values = positive_numbers(name, cells[column], role, of_role, scaled)
        if of_role and needs is not None and role in AXES - {*needs} and role.lower() not in chosen.named:
            continue  # nobody asked for it
        bad += of_role
        table[role] = values
    if bad:
        hidden = f"; and {len(bad) - SHOWN_CELLS} more cells" if len(bad) > SHOWN_CELLS else ""
        raise InputError(f"{name}, " + "; ".join(bad[:SHOWN_CELLS]) + hidden)
    table["loss"] = [to_nats(value) for value in table["loss"]]
    _add_missing(name, table, from_batches)
    for column in ("seed", CORPUS_COLUMN):
        if column in cells:
            table[column] = cells[column]
    _add_endings(name, table, cells, of_unique_tokens=d == "unique_tokens")
    known = [*STUDY_COLUMNS, *(OTHER_CONVENTIONS if n == "N" and c in (None, "C") else ())]
    for column in known:
        if column in cells and column not in table and all_positive(cells[column]):
            table[column] = cells[column].astype(float)
    known += [each for each in TASK_COLUMNS if each in cells and are_shares(cells[each])]
    for column in TASK_COLUMNS & {*known}:
        table[column] = cells[column].astype(float)
    for column in labels:
        table[column] = cells[column]
    left_out = [*about.get("left_out", ()), *dict.fromkeys(left_out)]
    if keep != "all":
        left_out = [(of, reason) for of, reason in left_out if of not in set(table["run"])]
    columns = ["run", "trunk", "family", "N", "D", "C", "loss", "seed", CORPUS_COLUMN]
    columns += ["after_cooldown", "stopped_early"]
    columns = list(dict.fromkeys([*columns, *labels, *more, *known]))
    runs = table[[column for column in columns if column in table]].reset_index(drop=True)
    notes = [*about.get("notes", ()), *chosen.notes()]
    notes += [f"{role} is written with a unit or separators: {example}." for role, example in scaled.items()]
    notes += _of_loss_unit(loss, loss_unit) + _left_out_note(left_out, keep)
    runs.attrs = {
        "name": Path(name).name,
        "notes": tuple(notes),
        "left_out": tuple(left_out),
        "columns": {**chosen.named, **chosen.found},
    }
    return runs


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Which column has which role.

    Attributes:
        names: by argument (n, d, c, loss, run), those that there are.
        more: further columns, as `read_runs` takes them.
        named: what the user named.
        found: what was found by its usual name.
    """

    names: Mapping[str, str]
    more: Mapping[str, str]
    named: Mapping[str, str]
    found: Mapping[str, str]

    @property
    def from_batches(self) -> bool:
        """Whether D is batch times steps."""
        return not {"d", "c"} & set(self.names) and {"batch_tokens", "steps"} <= set(self.more)

    @property
    def known(self) -> set[str]:
        """Those of N, D and C that there are, or that follow from others."""
        known = {role.upper() for role in ("n", "d", "c") if role in self.names}
        known |= {"D"} if self.from_batches else set()
        return known | {"D", "C"} if "N" in known and known & {"D", "C"} else known

    def notes(self) -> list[str]:
        """What was found by its usual name, and how to choose otherwise."""
        if not self.found:
            return []
        what = {"n": "N", "d": "D", "c": "C", "loss": "the loss", "batch_tokens": "the tokens of a step"}
        parts = [f"{what[role]} is {column}" for role, column in self.found.items() if role in what]
        options = {"batch_tokens": "batch"}
        flags = [f"--{options.get(role, role)}" for role in self.found if role in what]
        return [f"By their usual names, {', '.join(parts)}; others by {', '.join(flags)}."] if parts else []


def _chosen_columns(
    header: Sequence[str],
    about: Mapping[Any, Any],
    named: Mapping[str, str | None],
    more: Mapping[str, str],
) -> _Columns:
    """The columns that were named; else those of our own names; else, of a tracker's runs, of usual names."""
    exported = run_column(header)
    usual = exported is not None or bool(about.get("usual_names"))
    names = {role: column for role, column in named.items() if column is not None}
    given, found, more = dict(names), dict[str, str](), dict(more)
    for role, own in (("n", "N"), ("d", "D"), ("c", "C"), ("loss", "loss"), ("run", "run")):
        if role in names:
            continue
        if own in header and not (usual and role == "loss"):
            names[role] = own
        elif role == "run" and exported is not None:
            names[role] = exported
        elif usual and role != "run":
            column = usual_column(header, own)
            if column is not None and column not in names.values():
                names[role] = found[role] = column
    if usual and not {"d", "c"} & set(names) and not {"batch_tokens", "steps"} & set(more):
        batch = usual_column(header, "batch_tokens")
        step = next((column for column in STEPS if column in header), None)
        if batch and step:
            more |= {"batch_tokens": batch, "steps": step}
            found["batch_tokens"] = batch
    return _Columns(names=names, more=more, named=given, found=found)


def _check_needs(
    name: str, header: list[str], about: Mapping[Any, Any], chosen: _Columns, needs: Collection[str] | None
) -> None:
    """Raises InputError where a column is missing: what it is, and what to do."""
    missing = about.get("missing", {})
    columns = {role.upper() if role in "ndc" else role: column for role, column in chosen.names.items()}
    python = needs is None  # the command says what it needs

    def absent(role: str) -> InputError:
        if role in missing:
            what = "which tag is the loss" if role == "loss" else f"what {role} is"
            return InputError(f"{name}: nothing says {what}: {missing[role]}; there are {_names(header)}")
        what = ROLES.get(role, role)
        twins = [each for each in header if each.lower() == role.lower()]
        hint = f"; is it {twins[0]!r}? name it on the command line" if twins else ""
        roles = [each for each in ("N", "D", "C", "loss") if each not in columns]
        hint = hint or _suggestion(header, roles, python)
        return InputError(f"{name}: no column {role!r} for {what}; it has {_names(header)}{hint}")

    if needs is None:  # a size that is there under another name was hardly left out on purpose
        needs = ("N",) if usual_column(header, "N") else ()
    if "N" in needs and "N" not in columns:
        raise absent("N")
    if "loss" not in columns:
        raise absent("loss")
    if not set(needs) <= chosen.known or not chosen.known:
        if "D" in missing:
            raise absent("D")
        lacking = [role for role in ("D", "C") if role in needs and role not in chosen.known] or ["D", "C"]
        what = "neither a column of D nor of C" if len(lacking) == 2 else f"no column of {lacking[0]}"
        raise InputError(
            f"{name}: {what}; name one; it has {_names(header)}" + _suggestion(header, ("D", "C"), python)
        )


def _points(raw: pd.DataFrame, loss: str) -> pd.DataFrame:
    """Of points along runs those with a loss, their other cells those that were logged last.

    Args:
        raw: columns run, step, loss and others; rows of one run in order.
    """
    others = [column for column in raw.columns if column not in ("run", "step", loss)]
    filled = raw.replace("", None)
    filled[others] = filled.groupby("run", sort=False)[others].ffill()
    measured = filled[filled[loss].notna()] if loss in filled else filled
    without = ~filled["run"].isin(set(measured["run"]))
    last = filled[without].drop_duplicates("run", keep="last")
    return pd.concat([measured, last]) if len(last) else measured


def left_out_of_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that `read_runs` left out: run, status, reason."""
    import pandas as pd

    rows = [(run, "left out", reason) for run, reason in runs.attrs.get("left_out", ())]
    return pd.DataFrame(rows, columns=["run", "status", "reason"])


def doubts(runs: pd.DataFrame) -> list[str]:
    """Sentences about a table of runs (columns family, N, D, C, loss) that looks like something else."""
    sentences = list(runs.attrs.get("notes", ()))
    loss = runs["loss"].to_numpy(dtype=np.float64)
    if loss.max() > UNTRAINED_NATS:
        sentences.append(
            f"Losses reach {loss.max():.4g}, more than an untrained model has in nats per token: if these are"
            " perplexities, give their logarithms."
        )
    elif loss.max() <= LOWEST_NATS:
        sentences.append(
            f"No loss is above {loss.max():.2g} nats per token: are these error rates, or losses per byte?"
        )
    # NaN, and no sentence, where one of the two never varies.
    rank = next(name for name in ("C", "D", "N") if name in runs)
    if len(runs) >= FEWEST_RANKS and runs[[rank, "loss"]].corr(method="spearman").to_numpy()[0, 1] > 0.5:
        what = "compute" if rank == "C" else rank
        sentences.append(f"The loss grows with {what}: is it an accuracy, or another measure to maximise?")
    for name, unit in KINDS.items():
        if name in runs and (least := runs[name].min()) < 1:
            sentences.append(f"{name} is below one ({least:.3g}): is it counted in {unit}?")
    if "D" in runs and 1 <= (most := runs["D"].max()) < FEWEST_TOKENS:
        sentences.append(f"D reaches {most:.4g} only: is it counted in tokens, or in millions or billions?")
    if {"N", "D"} <= {*runs.columns}:
        per_parameter = float(np.median(runs["D"] / runs["N"]))
        if per_parameter > MOST_TOKENS_A_PARAMETER:
            sentences.append(
                f"D is {per_parameter:.3g} times N in the middle run: is N counted in parameters?"
            )
    if {*AXES} <= {*runs.columns}:
        sentences += _of_compute(runs)
    by_family = runs.groupby("family")[recipe_columns(runs)].nunique().max()
    if mixed := sorted(by_family[by_family > 1].index):
        sentences.append(
            f"The runs of one law differ in {', '.join(mixed)}, too: keep those of one recipe with --where."
        )
    if along := _rows_along_runs(runs):
        sentences.append(along)
    axes = [name for name in ("N", "D", "C") if name in runs]
    if n_copies := int(runs.duplicated(["family", *axes, "loss"]).sum()):
        rows = "row repeats" if n_copies == 1 else "rows repeat"
        same = f"{', '.join(axes)} and loss"
        sentences.append(f"{n_copies} {rows} the {same} of another: copies count as measurements.")
    return sentences


def _of_compute(runs: pd.DataFrame) -> list[str]:
    """A sentence, where C is not what 6 N D says."""
    N, D, C = (runs[name].to_numpy(dtype=np.float64) for name in ("N", "D", "C"))
    ratios = np.exp(np.log(C) - np.log(FLOPS_PER_PARAMETER_TOKEN * N * D))
    ratio = float(np.exp(np.median(np.log(ratios))))
    off = np.abs(np.log(ratios / ratio))
    if not 1 / COMPUTE_RATIO < ratio < COMPUTE_RATIO:
        return [f"C is {ratio:.3g} times 6 N D in the middle run: are the units FLOPs and tokens?"]
    if off.max() > np.log(COMPUTE_RATIO):
        worst = runs.iloc[int(off.argmax())]
        return [
            f"C is {ratios.min():.3g} to {ratios.max():.3g} times 6 N D, farthest from the others in "
            f"{worst.get('run', 'one row')}: are N, D and C of the same run?"
        ]
    return []


def _rows_along_runs(runs: pd.DataFrame) -> str:
    """A sentence, where the rows of a run look like its learning curve: one size, ever more tokens."""
    if not {"run", "N", "D"} <= {*runs.columns} or "after_cooldown" in runs:
        return ""
    of_run = runs.groupby("run").agg(rows=("D", "size"), sizes=("N", "nunique"), tokens=("D", "nunique"))
    along = of_run[(of_run["rows"] >= FEWEST_ROWS_ALONG) & (of_run["sizes"] == 1)]
    along = along[along["tokens"] == along["rows"]]
    if not len(along) or len(along) < len(of_run) / 2:
        return ""
    return (
        f"{len(along)} runs have {int(along['rows'].median())} rows each, of one N and ever more tokens: if "
        "these are points along a training, keep its end with --keep last."
    )


def _to_nats(unit: LossUnit, bytes_per_token: float | None) -> Any:
    """A loss in this unit -> nats per token."""
    if unit not in LOSS_UNITS:
        raise InputError(f"no unit of loss {unit!r}; there are {', '.join(LOSS_UNITS)}")
    if (unit == "bits/byte") != (bytes_per_token is not None):
        raise InputError("bytes per token (--bytes-per-token) go with a loss in bits/byte, and only with it")
    if unit == "perplexity":
        return lambda value: math.log(value) if value > 1 else math.nan
    factor = {"nats": 1.0, "bits": math.log(2)}.get(unit, math.log(2) * (bytes_per_token or 0.0))
    if not 0 < factor < math.inf:
        raise InputError(f"bytes per token is {bytes_per_token}: give a positive number, as 4.2")
    return lambda value: value * factor


def _of_loss_unit(column: str, unit: LossUnit) -> list[str]:
    """What was done to the loss, or what its name says against nats per token."""
    if unit != "nats":
        return [f"The loss was read in {unit} and is in nats per token here."]
    name = normal(column)
    for sign, of in (("bpb", "bits/byte"), ("bitsperbyte", "bits/byte"), ("bits", "bits"), ("bpt", "bits")):
        if sign in name:
            return [f"The column {column} sounds like a loss in {of}: if so, give --loss-unit {of}."]
    if "ppl" in name or "perplexity" in name:
        return [f"The column {column} sounds like a perplexity: if so, give --loss-unit perplexity."]
    return []


def _with_a_loss(
    name: str,
    cells: pd.DataFrame,
    names: pd.Series[str],
    loss: str,
    order: pd.Series[float] | None,
    with_unfinished: bool,
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The rows that can be fitted, and run and reason of the others.

    Args:
        order: of the rows of a run, where the last alone counts: a run that ended without a number is no run
            of its last number.
    """
    reasons = {}
    state = next((column for column in STATE_COLUMNS if column in cells), None)
    if state is not None and not with_unfinished and set(cells[state].str.lower()) <= STATES:
        for line, cell in cells[state].items():
            if cell.lower() != "finished":
                reasons[line] = f"its {state} is {cell}"
    if not reasons and all_positive(cells[loss]):
        return cells, []
    measured = cells[[not is_missing(cell) for cell in cells[loss]]]
    if order is not None and len(measured):
        for line in order[measured.index].groupby(names).idxmax():
            if not is_finite(cell := measured[loss][line]):
                reasons |= {
                    other: f"its last loss is {cell}"
                    for other in names.index[names == names[line]]
                    if other not in reasons
                }
    for line, cell in cells[loss].items():
        if not is_finite(cell):
            reasons.setdefault(line, "no finite loss")
    kept = cells[[line not in reasons for line in cells.index]]
    if kept.empty:
        line, reason = next(iter(reasons.items()))
        raise InputError(f"{name}: no row is left: {reason} in {place(line)}, column {loss!r}")
    of_line = dict(names.items())
    return kept, [(str(of_line[line]), reason) for line, reason in reasons.items()]


def _left_out_note(left_out: Sequence[tuple[str, str]], keep: Keep) -> list[str]:
    if not left_out:
        return []
    shown = "; ".join(f"{short(run, quote=False)}: {reason}" for run, reason in left_out[:SHOWN_CELLS])
    what = "row" if keep == "all" else "run"
    rows = f"1 {what} was" if len(left_out) == 1 else f"{len(left_out)} {what}s were"
    note = f"{rows} left out ({shown}{'; ...' if len(left_out) > SHOWN_CELLS else ''})."
    unfinished = any(re.match(rf"its ({'|'.join(STATE_COLUMNS)}) is ", reason) for _, reason in left_out)
    return [note, "--with-unfinished keeps those that did not finish."] if unfinished else [note]


def _kept(cells: pd.DataFrame, names: pd.Series[str], by: pd.Series[float]) -> pd.DataFrame:
    """One row per run.

    Args:
        by: what the row that is kept has most of.
    """
    chosen = set(by[cells.index].groupby(names[cells.index]).idxmax())
    return cells[[line in chosen for line in cells.index]]


def _worth(losses: pd.Series[str]) -> pd.Series[float]:
    """The lower a loss, the more; what is no number is kept, so that a message can name it."""
    return losses.map(lambda cell: -float(cell) if NUMBER.fullmatch(cell) else math.inf)


def _order(cells: pd.DataFrame, d: str | None) -> pd.Series[float]:
    """Where each row stands in its run: by steps or tokens, or as the table has them."""
    import pandas as pd

    for column in (*STEPS, d):
        if column in cells and plain_numbers(cells[column]):
            return cells[column].astype(float)
    counts = [counted(cell) for cell in cells[d]] if d in cells else [None]
    if None not in counts:
        return pd.Series(counts, index=cells.index, dtype=float)
    return pd.Series(range(len(cells)), index=cells.index, dtype=float)


def _who(name: str, cells: pd.DataFrame, run: str | None) -> pd.DataFrame:
    """The columns run, trunk and family."""
    cells = cells.copy(deep=False)
    for column in (run, "trunk", "family"):
        if column not in cells:
            continue
        if (empty := cells.index[cells[column] == ""]).size:
            raise InputError(f"{name}, row {empty[0]}, column {column!r}: empty")
        cells[column] = cells[column].map(one_line)  # they are printed
    table = cells[[]].assign(run=cells[run] if run else [f"row {line}" for line in cells.index])
    table["trunk"] = cells["trunk"] if "trunk" in cells else table["run"]
    return table.assign(family=cells.get("family", "all"))


def _add_missing(name: str, table: pd.DataFrame, from_batches: bool) -> None:
    """D and C where the file has none and they follow; both are checked."""
    if from_batches:
        table["D"] = table["batch_tokens"] * table["steps"]
    if "N" in table:
        if "D" not in table and "C" in table:
            table["D"] = table["C"] / (FLOPS_PER_PARAMETER_TOKEN * table["N"])
        if "C" not in table and "D" in table:
            table["C"] = table["D"] * (FLOPS_PER_PARAMETER_TOKEN * table["N"])
    for role, formula in (("D", "D = B S" if from_batches else "D = C/(6 N)"), ("C", "C = 6 N D")):
        if role not in table or table[role].between(0, math.inf, inclusive="neither").all():
            continue
        for line, value in table[role].items():
            if not 0 < value < math.inf:
                raise InputError(
                    f"{name}, {place(line)}: {formula} is {value:g}; check the units of its columns"
                )


def _add_endings(name: str, table: pd.DataFrame, cells: pd.DataFrame, of_unique_tokens: bool) -> None:
    """The columns after_cooldown and stopped_early.

    Where D is the unique tokens, early stopping makes the loss a final one of the tokens that limited it
    (Kaplan 2020, section 4).
    """
    for column in ("after_cooldown", "stopped_early"):
        if column in cells:
            table[column] = [truth(name, line, column, cell) for line, cell in cells[column].items()]
    if of_unique_tokens and {"after_cooldown", "stopped_early"} <= set(table):
        table["after_cooldown"] |= table.pop("stopped_early")


def _check_columns(name: str, header: list[str], columns: Mapping[str, str | None], *, python: bool) -> None:
    """Every column that was asked for is there, is no other's twin, and has one role alone."""
    roles: dict[str, str] = {}
    for role, column in columns.items():
        if column is None:
            continue
        what = ROLES.get(role, role)
        twins = [each for each in header if each != column and each.lower() == column.lower()]
        if column not in header:
            hint = f"; is it {twins[0]!r}? name it on the command line" if twins else ""
            open_roles = [each for each, named in columns.items() if named not in header]
            suggestion = "" if hint else _suggestion(header, open_roles, python)
            raise InputError(
                f"{name}: no column {column!r} for {what}; it has {_names(header)}{hint}{suggestion}"
            )
        if twins:
            raise InputError(f"{name}: columns {column!r} and {twins[0]!r} differ in case alone; rename one")
        if role != "run" and column in roles:
            raise InputError(f"{name}: the column {column!r} cannot be both {roles[column]} and {what}")
        roles[column] = what


def _suggestion(header: Sequence[str], roles: Iterable[str], python: bool = False) -> str:
    """The options to type, or Python's arguments, where the names of the columns are obvious."""
    found: dict[str, str] = {}
    for role in [role for role in roles if role in WORDS]:
        column = likely_column([name for name in header if name not in found.values()], role)
        if column is not None and column != role and role not in header:
            found[role] = column
    if "D" in {*header, *found}:
        found.pop("C", None)  # it follows from N and D
    unit = next((unit for word, unit in UNIT_WORDS.items() if word in words_of(found.get("loss", ""))), None)
    if python:
        named = [f"{role}={column!r}" for role, column in found.items()]
        named += [f"loss_unit={unit!r}"] if unit else []
    else:
        named = [f"--{role.lower()} {_quoted(column)}" for role, column in found.items()]
        named += [f"--loss-unit {unit}"] if unit else []
    return f"; try {(', ' if python else ' ').join(named)}" if named else ""


def _quoted(column: str) -> str:
    return f'"{column}"' if re.search(r"[^\w./-]", column) else column


def _names(header: Sequence[str]) -> str:
    """The columns for a message of one line."""
    shown = ", ".join(" ".join(column.split())[:SHOWN_CHARACTERS] for column in header[:SHOWN_COLUMNS])
    return shown + (f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else "")

"""A study's runs as tables, with N and C by every convention: what the analysis reads."""

from __future__ import annotations

import html
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from scaling_laws.study.artefacts import (
    check_number_columns,
    read_json_or_none,
    read_table,
    table_rows,
    typed,
)
from scaling_laws.study.conventions import (
    C_CONVENTIONS,
    N_CONVENTIONS,
    compute_flops,
    parameter_counts,
    times_reused,
)
from scaling_laws.study.errors import InputError
from scaling_laws.study.names import one_line, printable
from scaling_laws.study.own_files import link_in
from scaling_laws.study.recipe import OWN_SHAPE
from scaling_laws.study.records import (
    CURVE,
    CURVE_COLUMNS,
    FAILURE_FILE,
    LOSS_SUFFIX,
    MAIN_CORPUS,
    POSITION_COLUMNS,
    SEARCH_TAG,
    TASK_SCORE_COLUMNS,
    TASK_SCORE_FILE,
    TOKEN_CLASS_COLUMNS,
    TOKEN_CLASS_FILE,
    RunRecord,
    check_file,
    read_failure,
    read_planned_experiments,
    read_question,
    read_record,
)
from scaling_laws.study.stages import Stage

if TYPE_CHECKING:
    import pandas as pd

EXPORTED_RUNS, EXPORTED_CURVES, EXPORTED_LAWS = "runs.csv", "curves.csv.gz", "laws.json"
EXPORTED_CLASSES, EXPORTED_TASKS = "token_classes.csv.gz", "task_scores.csv.gz"
"""Files of a folder that `report --export` wrote."""
EXPORTED_TEXT = ("run", "trunk", "experiments", "family", "manifest")
EXPORTED_NUMBERS = (
    *("D", *C_CONVENTIONS, *N_CONVENTIONS, "loss", "unique_tokens", "train_halvings", "noise_suffix_tokens"),
    *("batch_tokens", "steps", "seed", "n_layer", "d_model", "n_ctx", "n_reuse", "dropout", "learning_rate"),
    *("summed_learning_rate", "cooldown_share", "warmup_tokens", "train_loss", "elapsed_s", "trained_tokens"),
)
NOT_EXPORTED = (
    "These runs are read from an export: learning curves are thinned; losses by position "
    "and token, spending and networks' parts are in the runs' own folders only."
)
OF_A_SEARCH = "a trial of a shape study: chosen by its loss, it enters no law; shape.md has the result"
NAMES_AND_MACHINE = {"schema", "run_id", "study", "status", "reason", "files", "tags", "host", "git_revision"}
RENAMED = {"name", "trunk", "family", "parameters", "flops_per_token", "tokens", "losses", "train_loss_nats"}
NOT_SETTINGS = NAMES_AND_MACHINE | RENAMED | {"versions", "best_losses", "active_parameters", "evaluation_s"}
"""Fields of a record that are in the run table under another name, or are no column of it."""
KNOWN_SHAPE = {"n_layer", "d_model", "n_ctx", "n_reuse", "dropout", "n_vocab", "n_heads", "d_ff", "d_attn"}
KNOWN_SHAPE |= {"tied", "bias"}
"""Arguments of the built-in networks (`models/families.py`)."""


@dataclass(frozen=True, repr=False)
class Study:
    """A study's runs as tables.

    Attributes:
        name: the study's name (its folder's).
        question: what the study is to find out, from its sweep file; empty where nobody said.
        records: every readable record, in order of name; none of an export.
        runs: one row a *complete* run: run, trunk, experiments (that ask for it, by commas), family, seed,
            n_layer, d_model, n_ctx, n_reuse, dropout, N and C (FLOPs) by every convention
            (`conventions.py`), D, unique_tokens, train_halvings, noise_suffix_tokens, batch_tokens, steps,
            learning_rate, summed_learning_rate, decay, cooldown_share, warmup_tokens, after_cooldown,
            stopped_early, loss (test corpus, nats per token), loss_<corpus>, bits_per_byte_<corpus>,
            train_loss, elapsed_s, trained_tokens, tokens_per_s; N_active where a network says of how many
            parameters a token makes use; and whatever else the records say of how the
            runs were trained (`settings_of`).
        left_out: run, status, reason: runs that no fit may use, and why.
        exported: whether the folder is what `report --export` wrote, which holds `NOT_EXPORTED` no more.
    """

    name: str
    question: str
    folder: Path
    records: tuple[RunRecord, ...]
    runs: pd.DataFrame
    left_out: pd.DataFrame
    exported: bool = False

    def __repr__(self) -> str:
        families = sorted(set(self.runs["family"])) if "family" in self.runs else []
        counts = f"{len(self.runs)} runs{' of ' + ', '.join(families) if families else ''}"
        lines = [f"{self.name}: {counts}, {len(self.left_out)} left out, in {self.folder}"]
        return "\n".join([*lines, self.question] if self.question else lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def curves(self) -> pd.DataFrame:
        """Every run's `curve.csv` below one another, with a first column `run`.

        Columns that a curve lacks are empty there, but for those that `records.CURVE` requires.
        """
        if self.exported and (self.folder / EXPORTED_CURVES).exists():
            return self._exported_curves()
        required = tuple(column.name for column in CURVE if column.required)
        curves = self._tables("curve.csv", CURVE_COLUMNS, required)
        losses = [column for column in curves.columns if column.endswith(LOSS_SUFFIX)]
        if len(curves) and not set(losses) - set(CURVE_COLUMNS):  # the training's loss is no measurement
            raise InputError(f"{self.folder}: no curve has a column of losses, `<corpus>{LOSS_SUFFIX}`")
        return curves

    def _exported_curves(self) -> pd.DataFrame:
        """The same columns as those of curves: FLOPs are in proportion to tokens, the others empty."""
        path = self.folder / EXPORTED_CURVES
        curves = read_table(path, text_columns=EXPORTED_TEXT)
        if missing := [column for column in ("run", "step", "tokens") if column not in curves]:
            raise InputError(f"{path}: lacks the column {missing[0]!r}")
        check_number_columns(path, curves, curves.columns.difference(["run"]))
        for name in C_CONVENTIONS:
            of_run = dict(zip(self.runs["run"], self.runs[name] / self.runs["D"], strict=True))
            curves[name] = curves["tokens"] * curves["run"].map(of_run)
        known = ["run", *CURVE_COLUMNS]
        return curves.reindex(columns=known + [column for column in curves.columns if column not in known])

    def positions(self, final_only: bool = True) -> pd.DataFrame:
        """Every run's `position_losses.csv`, with a first column `run`; by default the final evaluations.

        Positions that hold noise are left out.
        """
        table = self._tables("position_losses.csv", POSITION_COLUMNS, POSITION_COLUMNS, final_only)
        last_text = {
            record.name: record.shape["n_ctx"] - record.corpus["noise_suffix_tokens"]
            for record in self.records
            if record.corpus.get("noise_suffix_tokens") and record.shape.get("n_ctx")
        }
        if not last_text:
            return table
        return table[table["position"] <= table["run"].map(last_text).fillna(float("inf"))]

    def token_classes(self, final_only: bool = True) -> pd.DataFrame:
        """Every run's `token_classes.csv`, with a first column `run`; without rows where older runs lack it.

        Columns step, corpus, fold, token_class (`records.TOKEN_CLASSES`), loss_sum_nats, count. An export has
        its folds as one, and evaluations before the last of the main corpus alone.
        """
        if self.exported and (path := self.folder / EXPORTED_CLASSES).exists():
            return _exported_table(path, TOKEN_CLASS_COLUMNS, ("corpus", "token_class"), final_only)
        return self._tables(TOKEN_CLASS_FILE, TOKEN_CLASS_COLUMNS, TOKEN_CLASS_COLUMNS, final_only)

    def task_scores(self, final_only: bool = True) -> pd.DataFrame:
        """Every run's `task_scores.csv`, with a first column `run`; without rows where runs have none.

        Columns `records.TASK_SCORE_COLUMNS`.
        """
        if self.exported and (path := self.folder / EXPORTED_TASKS).exists():
            return _exported_table(path, TASK_SCORE_COLUMNS, ("task",), final_only)
        return self._tables(TASK_SCORE_FILE, TASK_SCORE_COLUMNS, TASK_SCORE_COLUMNS, final_only)

    def _tables(
        self,
        file_name: str,
        columns: tuple[str, ...],
        required: tuple[str, ...],
        final_only: bool = False,
    ) -> pd.DataFrame:
        """The tables of all runs below one another: those of the same columns are parsed as one text.

        A thousand small files take pandas two milliseconds each, and a tenth of that together.
        """
        import pandas as pd

        records = {record.name: record for record in self.records}
        bodies: dict[str, dict[str, str]] = {}
        for run in self.runs.get("run", ()):
            path = self.folder / run / file_name
            if not path.exists():
                continue
            check_file(path, records[run])
            header, body = table_rows(path)
            if missing := [column for column in required if column not in header.split(",")]:
                raise InputError(f"{path}: lacks the column {missing[0]!r}")
            bodies.setdefault(header, {})[run] = body
        if not bodies:
            return pd.DataFrame(columns=["run", *columns])
        parts = [_parsed(header, of_runs) for header, of_runs in bodies.items()]
        for part in parts:
            _check_numbers(part, required, self.folder, file_name)
        table = pd.concat(parts, ignore_index=True)
        if final_only:
            table = table[table["step"] == table.groupby("run")["step"].transform("max")]
        if len(bodies) > 1:
            place = {run: number for number, run in enumerate(self.runs["run"])}
            table = table.sort_values("run", key=lambda runs: runs.map(place), kind="stable")
        return table.reset_index(drop=True)


def _exported_table(
    path: Path, columns: tuple[str, ...], text: tuple[str, ...], final_only: bool
) -> pd.DataFrame:
    """A table of an export: `run`, and columns that hold numbers but for those of `text`."""
    table = read_table(path, text_columns=("run", *text))
    if missing := [column for column in ("run", *columns) if column not in table]:
        raise InputError(f"{path}: lacks the column {missing[0]!r}")
    check_number_columns(path, table, [column for column in columns if column not in text])
    last = table["step"] == table.groupby("run")["step"].transform("max")
    return table[last].reset_index(drop=True) if final_only else table


def _parsed(header: str, bodies: Mapping[str, str]) -> pd.DataFrame:
    """One table with a first column `run` of the CSV rows of several runs."""
    import pandas as pd

    whole = {run: body if body.endswith("\n") or not body else body + "\n" for run, body in bodies.items()}
    table = pd.read_csv(io.StringIO("".join([header, "\n", *whole.values()])))
    table.insert(0, "run", [run for run, body in whole.items() for _ in body.splitlines()])
    return table


def _check_numbers(table: pd.DataFrame, required: Collection[str], folder: Path, file_name: str) -> None:
    """Raises InputError where a cell is no finite number; where it is not required it may be empty."""
    import numpy as np
    import pandas as pd

    for column in table.columns.difference(["run", "corpus", "token_class", "task"]):
        cells = table[column]
        numbers = pd.to_numeric(cells, errors="coerce")
        missing = numbers.isna() if column in required else numbers.isna() & cells.notna()
        bad = np.flatnonzero(missing | np.isinf(numbers))
        if len(bad):
            path = folder / str(table["run"].iloc[bad[0]]) / file_name
            raise InputError(
                f"{path}: column {column!r} has {cells.iloc[bad[0]]!r}, which is not a finite number"
            )
        table[column] = numbers


def runs_table(
    records: Iterable[RunRecord], experiments: Mapping[str, tuple[str, ...]] | None = None
) -> pd.DataFrame:
    """One row a record, with N and C by every convention (columns: see `Study.runs`).

    Args:
        experiments: that ask for each run, by its name; by default those that asked when it was trained.
    """
    import pandas as pd

    rows = []
    for record in records:
        n_reuse = times_reused(record.shape)
        row: dict[str, Any] = {
            "run": record.name,
            "trunk": record.trunk,
            "experiments": ", ".join((experiments or {}).get(record.name, record.tags)),
            "family": one_line(record.family),
            "seed": record.seed,
            "n_layer": record.shape.get("n_layer"),
            "d_model": record.shape.get("d_model"),
            "n_ctx": record.shape.get("n_ctx"),
            "n_reuse": n_reuse,
            "dropout": record.shape.get("dropout", 0.0),
            **parameter_counts(record.parameters, record.flops_per_token, n_reuse),
            "D": record.tokens,
            "unique_tokens": record.unique_tokens,
            "train_halvings": record.corpus.get("train_halvings", 0),
            "noise_suffix_tokens": record.corpus.get("noise_suffix_tokens", 0),
            "batch_tokens": record.batch_tokens,
            "steps": record.steps,
            "learning_rate": record.optimizer.get("learning_rate"),
            "summed_learning_rate": record.summed_learning_rate,
            "decay": record.schedule.get("decay", "cooldown"),
            "cooldown_share": record.schedule.get("cooldown_share", 0.0),
            "warmup_tokens": record.schedule.get("warmup_steps", 0) * record.batch_tokens,
            "after_cooldown": record.after_cooldown,
            "stopped_early": record.stopped_early,
            **compute_flops(record.parameters, record.flops_per_token, record.tokens, n_reuse),
            "loss": record.losses.get(MAIN_CORPUS, {}).get("loss_nats"),
        }
        for corpus, values in record.losses.items():
            row[f"loss_{corpus}"] = values["loss_nats"]
            row[f"bits_per_byte_{corpus}"] = values.get("bits_per_byte")
        row |= {
            "train_loss": record.train_loss_nats,
            "elapsed_s": record.elapsed_s,
            "trained_tokens": record.trained_tokens,
            "tokens_per_s": record.tokens_per_s,
        }
        if record.active_parameters is not None:
            row["N_active"] = record.active_parameters
        rows.append(row | {key: value for key, value in settings_of(record).items() if key not in row})
    table = pd.DataFrame(rows)
    if "N_active" in table:
        table["N_active"] = table["N_active"].fillna(table["N"]).astype(int)
    return table


def settings_of(record: RunRecord) -> dict[str, Any]:
    """How a run was trained, by column: everything that its record says, but for names, parts and losses.

    A setting that is new in the record is a column here, and part of the recipe (`recipe.py`). Sections are
    laid out flat: `shape.<argument>` are those of a user's network, `optimizer`, `corpus` and so on the names
    of theirs. A setting that was left out on purpose is "none"; one that nobody recorded is no entry.
    """
    settings: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in NOT_SETTINGS:
            continue
        if not isinstance(value, dict):
            settings[field.name] = value
            continue
        for key, part in value.items():
            column = field.name if key == "name" else key
            if field.name == "shape" and key not in KNOWN_SHAPE:
                column = f"{OWN_SHAPE}{key}"
            part = "none" if part is None else part
            settings[column] = str(part) if isinstance(part, list | dict) else part
    return settings


def study_of_table(name: str, runs: pd.DataFrame) -> Study:
    """A table of runs as a study that has no folder: without records, curves and losses by position.

    Args:
        runs: run, trunk, family, those of N, D and C that are known, loss, and whatever other columns of
            `Study.runs` there are.
    """
    import pandas as pd

    runs = runs.copy()
    if "experiments" not in runs:
        runs["experiments"] = ""
    if "unique_tokens" not in runs and "D" in runs:
        runs["unique_tokens"] = runs["D"]
    left_out = pd.DataFrame(columns=["run", "status", "reason"])
    return Study(name=name, question="", folder=Path(name), records=(), runs=runs, left_out=left_out)


def nothing(name: str) -> Study:
    """A study without a run: of a paper that is a simulation."""
    import pandas as pd

    empty = pd.DataFrame()
    return Study(name=name, question="", folder=Path(name), records=(), runs=empty, left_out=empty)


def load_study(folder: Path) -> Study:
    """Read every `record.json`, and every `failure.json` without one, one level below `folder`.

    A damaged record is left out with its reason, so that one bad file does not hide the others; so is one in
    a folder of another name, a copy, and one whose folder holds symbolic links. A folder
    without runs' folders that holds what `report --export` wrote is read from its tables.

    Raises:
        InputError: the folder is missing, or holds neither a record nor an export.
    """
    import pandas as pd

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a study's folder is lightning_logs/<study>")
    if is_export(folder):
        return _load_export(folder)
    records: list[RunRecord] = []
    left_out: list[dict[str, str]] = []
    for path in _with_stage(sorted(folder.glob("*/record.json"))):
        try:
            record = _own_record(path)
        except InputError as error:
            left_out.append({"run": path.parent.name, "status": "failed", "reason": str(error)})
            continue
        records.append(record)
        if record.status != "complete":
            left_out.append({"run": record.name, "status": record.status, "reason": record.reason})
        elif SEARCH_TAG in record.tags:
            left_out.append({"run": record.name, "status": record.status, "reason": OF_A_SEARCH})
        elif MAIN_CORPUS not in record.losses:
            left_out.append({"run": record.name, "status": "failed", "reason": f"no loss on {MAIN_CORPUS!r}"})
    for path in sorted(folder.glob(f"*/{FAILURE_FILE}")):
        if not (path.parent / "record.json").exists():
            reason = read_failure(path.parent) or "its failure.json is not readable"
            left_out.append({"run": path.parent.name, "status": "failed", "reason": reason})
    if not records and not left_out:
        raise InputError(f"{folder}: no record.json in any run's folder; has the sweep finished a run?")
    bad = {row["run"] for row in left_out}
    return Study(
        name=folder.resolve().name,
        question=read_question(folder),
        folder=folder,
        records=tuple(records),
        runs=runs_table(
            (record for record in records if record.name not in bad), read_planned_experiments(folder)
        ),
        left_out=pd.DataFrame(left_out, columns=["run", "status", "reason"]),
    )


def _with_stage(paths: list[Path]) -> Iterator[Path]:
    with Stage(f"reading {len(paths):,} records", len(paths)) as reading:
        for path in paths:
            yield path
            reading.done()


def _own_record(path: Path) -> RunRecord:
    """The record of the run whose folder it lies in.

    Raises:
        InputError: it cannot be read, is another run's, or the folder's files lie elsewhere.
    """
    if (link := link_in(path.parent)) is not None:
        raise InputError(f"{link}: is a symbolic link; a run whose files lie elsewhere is not read")
    if not path.is_file():
        raise InputError(f"{path}: is not a file")
    record = read_record(path)
    if record.name != path.parent.name:
        raise InputError(
            f"{path}: is the record of the run {printable(record.name)!r}; a copied or renamed folder "
            "does not count as another run"
        )
    return record


def is_export(folder: Path) -> bool:
    """Whether a folder holds what `report --export` wrote, and no run's own folder."""
    return (folder / EXPORTED_RUNS).is_file() and next(folder.glob("*/record.json"), None) is None


def _load_export(folder: Path) -> Study:
    """The study of `runs.csv` and `curves.csv.gz`; runs that are not there, as its `laws.json` names them.

    Raises:
        InputError: a file cannot be read, or `runs.csv` is not a study's.
    """
    import pandas as pd

    runs = read_table(folder / EXPORTED_RUNS, text_columns=EXPORTED_TEXT)
    if missing := [
        column
        for column in ("run", "trunk", "experiments", "family", "D", *C_CONVENTIONS)
        if column not in runs
    ]:
        raise InputError(
            f"{folder / EXPORTED_RUNS}: lacks the column {missing[0]!r} of an exported study; "
            f"for any table of runs: scaling-laws laws {folder / EXPORTED_RUNS}"
        )
    runs["experiments"] = runs["experiments"].fillna("")
    runs["family"] = runs["family"].map(one_line)
    check_number_columns(
        folder / EXPORTED_RUNS, runs, [column for column in EXPORTED_NUMBERS if column in runs]
    )
    left_out = pd.DataFrame(columns=["run", "status", "reason"])
    path = folder / EXPORTED_LAWS
    laws = read_json_or_none(path, kind="laws.json", remedy="make it again with: scaling-laws laws")
    if laws is not None:
        entries = typed(laws.get("left_out"), list[_LeftOut], path, "left_out")
        left_out = pd.DataFrame(entries, columns=left_out.columns)
    return Study(
        name=folder.resolve().name,
        question=read_question(folder),
        folder=folder,
        records=(),
        runs=runs,
        left_out=left_out[~left_out["run"].isin(runs["run"])].reset_index(drop=True),
        exported=True,
    )


class _LeftOut(TypedDict):
    """What is read here of a run that `laws.json` leaves out."""

    run: str
    status: str
    reason: str

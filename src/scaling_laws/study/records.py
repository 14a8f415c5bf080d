"""The one schema of what a run leaves behind.

A run's folder is the truth (`lightning_logs/<study>/<run>/`):

    config.yaml           reproduces the run: `scaling-laws fit --config config.yaml`
    curve.csv             one row a logged step (`CURVE`, then `<corpus>_loss_nats` a corpus)
    token_classes.csv     one row a class of token (`TOKEN_CLASSES`), by evaluation, corpus and fold: sums
    position_losses.csv   one row a position (`POSITION_COLUMNS`): sums, so that rows pool exactly
    task_scores.csv       one row a task (`TASK_SCORE_COLUMNS`), by evaluation: sums, where there are tasks
    probe_losses.npz      the loss of every token of one text at each evaluation (`training/probe.py`)
    snapshots.json        histograms and sampled text (`training/snapshots.py`), for loggers alone
    checkpoints/          for resume
    record.json           written last, by atomic rename: a run is done when this file exists
    failure.json          instead of a record, where a process failed: {"reason": ...}

A run stores *parts* (parameters by group, FLOPs by row). Which parts make up N or C is chosen by the analysis
(`conventions.py`) and never by the run: the literature counts both in several ways.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.bounds import Amount, Bounds, NotNegative, Seed, Tokens, check_bounds
from scaling_laws.study.conventions import C_CONVENTIONS
from scaling_laws.study.errors import InputError
from scaling_laws.study.stages import Stage

SCHEMA = 1
HASHED_AT_A_TIME = 2**18
STATUSES = ("complete", "diverged", "pruned", "failed")
MAIN_CORPUS = "test"
"""The corpus whose loss the laws describe: held-out files of the training distribution."""
EVERY_CORPUS = "all"
"""Stands for every held-out corpus."""


@dataclass(frozen=True, kw_only=True)
class CurveColumn:
    """One column of `curve.csv`; another metric a step is one more entry of `CURVE`.

    Attributes:
        meaning: with its unit.
        required: whether a curve without it is refused; a study recorded before the others came is read.
        drawn: whether TensorBoard shows it, under its name.
        exported: whether it is among the few that `report --export` keeps.
    """

    name: str
    meaning: str
    required: bool = False
    drawn: bool = False
    exported: bool = False


CURVE = (
    CurveColumn(name="step", meaning="optimiser steps taken", required=True, exported=True),
    CurveColumn(name="tokens", meaning="training tokens seen", required=True, exported=True),
    *(
        CurveColumn(name=name, meaning=f"training FLOPs so far, {name} of `conventions.C_CONVENTIONS`")
        for name in C_CONVENTIONS
    ),
    *(
        CurveColumn(name=f"{name}_pf_days", meaning=f"{name} in petaflop/s-days of 8.64e19 FLOPs")
        for name in C_CONVENTIONS
    ),
    CurveColumn(name="learning_rate", meaning="of the step just taken", drawn=True, exported=True),
    CurveColumn(name="summed_learning_rate", meaning="sum over all steps so far"),
    CurveColumn(name="train_loss_nats", meaning="mean per token since the row before", exported=True),
    CurveColumn(name="gradient_norm", meaning="of the last step, before clipping", drawn=True),
    CurveColumn(
        name="noise_scale_tokens",
        meaning="gradient noise scale, tokens; empty before a measurement",
        drawn=True,
        exported=True,
    ),
    CurveColumn(name="tokens_per_s", meaning="training tokens per second since the row before", drawn=True),
    CurveColumn(
        name="model_flops_utilisation", meaning="share of the device's measured matrix peak", drawn=True
    ),
    CurveColumn(name="elapsed_s", meaning="wall seconds so far"),
)
"""The columns of `curve.csv`, in order; then come the held-out losses, `loss_column` of each corpus."""
CURVE_COLUMNS = tuple(column.name for column in CURVE)
LOSS_SUFFIX = "_loss_nats"
SEARCH_TAG = "shape-search"
"""Of the runs of a shape study: chosen by their loss, or stopped because of it, they are data of no law."""
FAILURE_FILE = "failure.json"
QUESTION_FILE = "study.json"
PLAN_FILE = "plan.json"
"""In a study's folder: what was planned (`sweeps/plan/planning.py`)."""
TASK_SCORE_FILE = "task_scores.csv"
TASK_SCORE_COLUMNS = ("step", "task", "n_items", "n_correct", "chance_sum", "answer_log_p_sum_nats")
"""Sums over items: right answers, 1/choices, and the log-probability of the right answer's tokens."""
RUN_TABLES = ("curve.csv", "position_losses.csv", "token_classes.csv", TASK_SCORE_FILE)
VOUCHED_FILES = ("config.yaml", *RUN_TABLES, "probe_losses.npz")
"""Files of a run whose SHA-256 its record holds."""
CHECKSUM = "checksum"
"""Key of `record.json`: the SHA-256 of all its other keys."""
POSITION_COLUMNS = ("step", "corpus", "fold", "position", "loss_sum_nats", "count")
TOKEN_CLASSES = ("novel", "trigram", "bigram", "other")
"""Of a target, by what stood earlier in its window: not even the token before it; the last three tokens; only
the last two; the token before it, followed by something else."""
TOKEN_CLASS_FILE = "token_classes.csv"
TOKEN_CLASS_COLUMNS = ("step", "corpus", "fold", "token_class", "loss_sum_nats", "count")
EARLY_POSITIONS, LEAST_CONTEXT = range(9, 17), 32
"""Positions that an in-context score compares with the second half of the window, from this n_ctx on."""
TRAIN_AGAIN = "delete it to have the run trained again"


class RecordedLosses(TypedDict):
    """One corpus's `RunRecord.losses`."""

    loss_nats: NotNegative
    bits_per_byte: NotRequired[NotNegative]


class RecordedShape(TypedDict, total=False):
    """What the analysis reads of `RunRecord.shape`."""

    n_layer: int | None
    d_model: int | None
    n_ctx: int | None
    n_reuse: int | None
    n_heads: int | None
    dropout: float | None


class RecordedSchedule(TypedDict, total=False):
    """The same of `RunRecord.schedule`."""

    decay: str
    warmup_steps: Amount
    cooldown_share: float
    final_share: float


class RecordedOptimizer(TypedDict, total=False):
    """The same of `RunRecord.optimizer`."""

    name: str
    learning_rate: NotNegative | None


class RecordedCorpus(TypedDict, total=False):
    """The same of `RunRecord.corpus`."""

    name: str
    manifest_hash: str
    train_halvings: Amount
    noise_suffix_tokens: Amount


SECTIONS = {
    "shape": RecordedShape,
    "schedule": RecordedSchedule,
    "optimizer": RecordedOptimizer,
    "corpus": RecordedCorpus,
    "losses": dict[str, RecordedLosses],
}
"""Types within a record's mappings; other keys may have any."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything one run says about itself. Field units are in their names."""

    schema: int = SCHEMA
    run_id: str
    """Hash of the run's canonical configuration."""
    name: str
    """Name of the run's folder."""
    study: str
    trunk: str
    """Name of the training this run shares its constant-rate phase with: one cluster of the bootstrap."""
    status: str
    """One of `STATUSES`."""
    reason: str = ""
    """Why the run is not complete; empty when it is."""

    family: str
    """`transformer`, `lstm`, or the class name of a user's own network."""
    shape: dict[str, Any]
    """The network's constructor arguments: n_layer, d_model, n_ctx, n_vocab, ..."""
    parameters: dict[str, Amount]
    """Trainable parameters by group; the groups sum to the total."""
    flops_per_token: dict[str, NotNegative]
    """Forward FLOPs per token by row of Kaplan's Table 1 (training costs three times as much)."""

    tokens: Amount
    """D: training tokens processed."""
    unique_tokens: Amount
    """Distinct training tokens among them; equal to `tokens` in one pass."""
    batch_tokens: Tokens
    steps: Amount
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    after_cooldown: bool
    """Whether the final loss was taken after the learning rate had been brought down."""
    seed: Seed

    losses: dict[str, dict[str, NotNegative]]
    """By corpus: `loss_nats` (mean per token), `bits_per_byte`, `tokens` evaluated; of the weights after
    `evaluated_step`."""
    best_losses: dict[str, NotNegative]
    """By corpus: the lowest `loss_nats` of any evaluation of the run."""
    train_loss_nats: NotNegative | None
    """Mean training loss over the last logged interval; None when the run diverged before one."""

    corpus: dict[str, Any]
    """Name and manifest hash of the token shards; which part was trained on, and with what noise."""
    elapsed_s: NotNegative
    """Wall seconds of the steps this run trained itself (a branch does not count its trunk's)."""
    evaluation_s: NotNegative | None = None
    """Of these, on held-out text."""
    trained_tokens: Amount
    """Tokens this run trained itself: what the ledger counts."""
    tokens_per_s: NotNegative
    peak_memory_bytes: Amount
    git_revision: str
    versions: dict[str, str]
    host: str
    tags: tuple[str, ...] = ()
    """Experiments that asked for this run."""
    evaluated_step: Annotated[int, Bounds(-1, 10**18)] | None = None
    """Step after which the weights stood that `losses` were measured with: earlier than `steps` where the
    training was stopped early; -1 where it diverged before."""
    stopped_early: bool = False
    """Whether the held-out loss had stopped falling before the horizon."""
    summed_learning_rate: NotNegative | None = None
    """Sum of the learning rate over all steps."""
    devices: Amount = 1
    model_flops_utilisation: NotNegative | None = None
    """Training FLOPs per second (all rows of `flops_per_token`) over the devices' measured matrix peak."""
    active_parameters: Amount | None = None
    """Non-embedding parameters that one token uses, where the network says so; else all of them."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the run's other files by name (`VOUCHED_FILES`)."""

    def __post_init__(self) -> None:
        """Raises InputError: a number is not finite, or outside its bounds."""
        check_bounds(self)


def in_context_score(losses_nats: Mapping[int, float]) -> float | None:
    """How much a network gains by a longer context: its mean loss at positions 9 to 16 less that of the
    second half of its window, nats per token. It grows by some tenths where networks learn to copy
    (Olsson et al. 2022, arXiv 2209.11895, compare the tokens 50 and 500).

    Args:
        losses_nats: by position, from 1 to n_ctx.

    Returns:
        None for windows of fewer than 32 tokens.
    """
    n_ctx = max(losses_nats, default=0)
    if n_ctx < LEAST_CONTEXT or not all(T in losses_nats for T in EARLY_POSITIONS):
        return None
    late = [loss for T, loss in losses_nats.items() if n_ctx // 2 < T]
    return sum(losses_nats[T] for T in EARLY_POSITIONS) / len(EARLY_POSITIONS) - sum(late) / len(late)


def loss_column(corpus: str) -> str:
    """The column of `curve.csv` with the loss on a held-out corpus, nats per token."""
    return f"{corpus}{LOSS_SUFFIX}"


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write `content` (text as UTF-8) so that `path` holds either what it held before or all of the new.

    The temporary file lies beside the target: a rename is atomic on one file system only.

    Raises:
        InputError: the disk is full, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise not_written(path, error) from error


DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Of an OSError: the disk is full, or gone."""


def not_written(path: Path, error: OSError) -> InputError:
    """What to tell a user whose disk is full or whose folder cannot be written to."""
    return InputError(
        f"{path}: could not be written ({error.strerror or error}); fix that and run the same command again"
    )


def write_record(folder: Path, record: RunRecord) -> Path:
    """Write `record.json` into a run's folder; its presence says that the run is done.

    It vouches for the run's other files, and for itself.
    """
    path = folder / "record.json"
    files = {name: sha256_of(folder / name) for name in VOUCHED_FILES if (folder / name).exists()}
    content = json.loads(json.dumps(asdict(replace(record, files=files)), allow_nan=False))
    write_atomically(path, _record_text(content))
    return path


def check_file(path: Path, record: RunRecord) -> None:
    """Compare a file of a finished run with what the run's record says of it; old records say nothing.

    Raises:
        InputError: the file has changed since the run ended.
    """
    expected = record.files.get(path.name)
    if expected is not None and sha256_of(path) != expected:
        raise InputError(
            f"{path}: is not what the run wrote (its SHA-256 differs); restore it, "
            f"or delete {path.parent / 'record.json'} to have the run trained again"
        )


def sha256_of(path: Path, progress: Stage | None = None) -> str:
    """SHA-256 of a file's content; `progress` counts its bytes."""
    with open(path, "rb") as file:
        if progress is None:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        while part := file.read(HASHED_AT_A_TIME):
            digest.update(part)
            progress.done(len(part))
        return digest.hexdigest()


def _record_text(content: dict[str, Any]) -> str:
    """The file's text: the content, and last the hash of the content."""
    checksum = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, CHECKSUM: checksum}, indent=2) + "\n"


def write_failure(folder: Path, reason: str) -> None:
    """Say in a run's folder why it has no record."""
    write_atomically(folder / FAILURE_FILE, json.dumps({"reason": reason}) + "\n")


def read_failure(folder: Path) -> str | None:
    """Why a run's folder has no record, if its process could say so."""
    return _read_text(folder / FAILURE_FILE, "reason") or None


def write_question(folder: Path, question: str) -> None:
    """Say in a study's folder what it is to find out."""
    write_atomically(folder / QUESTION_FILE, json.dumps({"question": question}) + "\n")


def read_question(folder: Path) -> str:
    """What a study is to find out; empty where nobody said."""
    return _read_text(folder / QUESTION_FILE, "question")


def read_planned_experiments(folder: Path) -> dict[str, tuple[str, ...]]:
    """By run, the experiments of a study that ask for it; empty where no plan can be read.

    A run's record knows who asked when it was trained; the plan, also who came later.
    """
    try:
        content = read_json(folder / PLAN_FILE, kind="plan", remedy="")
        runs = typed(content.get("runs"), list[_PlannedExperiments], PLAN_FILE, "runs")
    except InputError:
        return {}
    return {run["name"]: run["experiments"] for run in runs}


class _PlannedExperiments(TypedDict):
    """What is read here of a run of `plan.json`."""

    name: str
    experiments: tuple[str, ...]


def _read_text(path: Path, key: str) -> str:
    """One text of a small JSON file; empty where it cannot be read: nothing depends on it."""
    try:
        text = read_json(path, kind="", remedy="").get(key)
    except InputError:
        return ""
    return text if isinstance(text, str) else ""


def read_record(path: Path) -> RunRecord:
    """Read one `record.json`.

    Raises:
        InputError: the file is not JSON, of another schema, lacks or adds fields, or a field has a value of
            another type or outside its bounds. One line that names the file and the field.
    """
    content = read_json(path, kind="record", remedy=TRAIN_AGAIN)
    if content.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a record of schema {SCHEMA}; {TRAIN_AGAIN}")
    checksum = content.pop(CHECKSUM, None)
    known = {item.name for item in fields(RunRecord)}
    required = {item.name for item in fields(RunRecord) if item.default is item.default_factory is MISSING}
    if missing := sorted(required - content.keys()):
        raise InputError(f"{path}: lacks {', '.join(missing)}; {TRAIN_AGAIN}")
    if unknown := sorted(content.keys() - known):
        raise InputError(
            f"{path}: has unknown fields {', '.join(unknown)}; was it written by a newer version?"
        )
    if checksum is not None and path.read_bytes() != _record_text(content).encode():
        raise InputError(f"{path}: is damaged (its checksum differs); {TRAIN_AGAIN}")
    for name, of in SECTIONS.items():
        typed(content[name], of, path, name, remedy=TRAIN_AGAIN)
    record = typed(content, RunRecord, path, remedy=TRAIN_AGAIN)
    if record.status not in STATUSES:
        raise InputError(f"{path}: status {record.status!r} is not one of {', '.join(STATUSES)}")
    return record


def finished_record(folder: Path, run_id: str) -> RunRecord | None:
    """The record of the run that was planned as `run_id`; None where the run is not done.

    Raises:
        InputError: the record is damaged, or of another configuration: two studies of one name, or an
            edited sweep file.
    """
    path = folder / "record.json"
    if not path.exists():
        return None
    record = read_record(path)
    if record.run_id != run_id:
        raise InputError(
            f"{path}: was trained from another configuration; "
            "give the study another name, or move its folder away"
        )
    return record

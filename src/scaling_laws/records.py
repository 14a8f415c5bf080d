"""The one schema of what a run leaves behind, and the tables that the analysis reads.

A run's folder is the truth (`lightning_logs/<study>/<run>/`):

    config.yaml           reproduces the run: `scaling-laws fit --config config.yaml`
    curve.csv             one row a logged step (`CURVE_COLUMNS`, then `<corpus>_loss_nats` a corpus)
    position_losses.csv   one row a position (`POSITION_COLUMNS`): sums, so that rows pool exactly
    checkpoints/          for resume
    record.json           written last, by atomic rename: a run is done when this file exists
    failure.json          instead of a record, where a process failed: {"reason": ...}

A run stores *parts* (parameters by group, FLOPs by row). Which parts make up N or C is chosen here,
by the analysis, and never by the run: the literature counts N in three ways and C in three ways.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
STATUSES = ("complete", "diverged", "pruned", "failed")
MAIN_CORPUS = "test"
"""The corpus whose loss the laws describe: held-out files of the training distribution."""

CURVE_COLUMNS = ("step", "tokens", "learning_rate", "train_loss_nats", "tokens_per_s", "elapsed_s")
FAILURE_FILE = "failure.json"
POSITION_COLUMNS = ("step", "corpus", "fold", "position", "loss_sum_nats", "count")

EMBEDDING_GROUPS = ("token_embedding", "position_embedding")
HEAD_GROUP = "head"


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
    parameters: dict[str, int]
    """Trainable parameters by group; the groups sum to the total."""
    flops_per_token: dict[str, float]
    """Forward FLOPs per token by row of Kaplan's Table 1 (training costs three times as much)."""

    tokens: int
    """D: training tokens processed."""
    unique_tokens: int
    """Distinct training tokens among them; equal to `tokens` in one pass."""
    batch_tokens: int
    steps: int
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    after_cooldown: bool
    """Whether the final loss was taken after the learning rate had been brought down."""
    seed: int

    losses: dict[str, dict[str, float]]
    """By corpus: `loss_nats` (mean per token), `bits_per_byte`, `tokens` evaluated. Final weights."""
    best_losses: dict[str, float]
    """By corpus: the lowest `loss_nats` of any evaluation of the run."""
    train_loss_nats: float | None
    """Mean training loss over the last logged interval; None when the run diverged before one."""

    corpus: dict[str, Any]
    """Name and manifest hash of the token shards."""
    elapsed_s: float
    """Wall seconds of the steps this run trained itself (a branch does not count its trunk's)."""
    trained_tokens: int
    """Tokens this run trained itself: what the ledger counts."""
    tokens_per_s: float
    peak_memory_bytes: int
    git_revision: str
    versions: dict[str, str]
    host: str
    tags: tuple[str, ...] = field(default=())
    """Experiments that asked for this run."""


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either the old content or all of the new.

    The temporary file lies beside the target: a rename is atomic on one file system only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_record(folder: Path, record: RunRecord) -> Path:
    """Write `record.json` into a run's folder; its presence says that the run is done."""
    path = folder / "record.json"
    write_atomically(path, json.dumps(asdict(record), indent=2, allow_nan=False) + "\n")
    return path


def write_failure(folder: Path, reason: str) -> None:
    """Say in a run's folder why it has no record."""
    write_atomically(folder / FAILURE_FILE, json.dumps({"reason": reason}) + "\n")


def read_failure(folder: Path) -> str | None:
    """Why a run's folder has no record, if its process could say so."""
    try:
        return str(json.loads((folder / FAILURE_FILE).read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_record(path: Path) -> RunRecord:
    """Read one `record.json`.

    Raises:
        InputError: the file is not JSON, of another schema, or lacks or adds fields.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not a readable record ({error}); delete it to have the run trained again"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a record of schema {SCHEMA}; delete it to have the run trained again")
    known = {item.name for item in fields(RunRecord)}
    required = known - {"schema", "reason", "tags"}
    if missing := sorted(required - content.keys()):
        raise InputError(f"{path}: lacks {', '.join(missing)}; delete it to have the run trained again")
    if unknown := sorted(content.keys() - known):
        raise InputError(
            f"{path}: has unknown fields {', '.join(unknown)}; was it written by a newer version?"
        )
    if content["status"] not in STATUSES:
        raise InputError(f"{path}: status {content['status']!r} is none of {', '.join(STATUSES)}")
    content["tags"] = tuple(content.get("tags", ()))
    return RunRecord(**content)


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


# --- conventions of N and C: chosen by the analysis ---------------------------------------------


def parameter_counts(record: RunRecord) -> dict[str, int]:
    """N by each convention.

    `N`            non-embedding (Kaplan 2020): without token and position embeddings and without the head
    `N_with_head`  N plus the d_model x n_vocab head, tied or not (Porian 2024)
    `N_total`      every trainable parameter (Hoffmann 2022)
    """
    total = sum(record.parameters.values())
    embedding = sum(record.parameters.get(group, 0) for group in EMBEDDING_GROUPS)
    head = record.parameters.get(HEAD_GROUP, 0)
    non_embedding = total - embedding - head
    head_matrix = round(record.flops_per_token.get("de_embed", 2 * head) / 2)
    return {"N": non_embedding, "N_with_head": non_embedding + head_matrix, "N_total": total}


def compute_flops(record: RunRecord) -> dict[str, float]:
    """Training FLOPs of the run by each convention, with backward = 2 x forward.

    `C`            6 N D, N non-embedding (Kaplan's C = 6NBS)
    `C_attention`  6 N D plus the context-dependent attention row
    `C_exact`      every row of Table 1, with the head and the context
    """
    rows = record.flops_per_token
    six_nd = 6.0 * parameter_counts(record)["N"] * record.tokens
    return {
        "C": six_nd,
        "C_attention": six_nd + 3.0 * rows.get("attention_mask", 0.0) * record.tokens,
        "C_exact": 3.0 * sum(rows.values()) * record.tokens,
    }


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """A study's runs as tables.

    Attributes:
        name: the study's name (its folder's).
        records: every readable record, in order of name.
        runs: one row a *complete* run: run, trunk, family, seed, n_layer, d_model, n_ctx, N, N_with_head,
            N_total, D, unique_tokens, batch_tokens, steps, learning_rate, after_cooldown, C, C_attention,
            C_exact (FLOPs), loss (test corpus, nats per token), loss_<corpus>, bits_per_byte_<corpus>,
            train_loss, elapsed_s, trained_tokens, tokens_per_s.
        left_out: run, status, reason: runs that no fit may use, and why.
    """

    name: str
    folder: Path
    records: tuple[RunRecord, ...]
    runs: pd.DataFrame
    left_out: pd.DataFrame

    def curves(self) -> pd.DataFrame:
        """Every run's `curve.csv` below one another, with a first column `run`."""
        return self._tables("curve.csv", CURVE_COLUMNS)

    def positions(self, final_only: bool = True) -> pd.DataFrame:
        """Every run's `position_losses.csv`, with a first column `run`; by default the final evaluations."""
        return self._tables("position_losses.csv", POSITION_COLUMNS, final_only)

    def _tables(self, file_name: str, columns: tuple[str, ...], final_only: bool = False) -> pd.DataFrame:
        import pandas as pd

        tables = []
        for run in self.runs.get("run", ()):
            path = self.folder / run / file_name
            if not path.exists():
                continue
            table = pd.read_csv(path)
            if missing := [column for column in columns if column not in table.columns]:
                raise InputError(f"{path}: lacks the column {missing[0]!r}")
            if final_only:
                table = table[table["step"] == table["step"].max()]
            table.insert(0, "run", run)
            tables.append(table)
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["run", *columns])


def runs_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row a record, with N and C by every convention (columns: see `Study.runs`)."""
    import pandas as pd

    rows = []
    for record in records:
        row: dict[str, Any] = {
            "run": record.name,
            "trunk": record.trunk,
            "family": record.family,
            "seed": record.seed,
            "n_layer": record.shape.get("n_layer"),
            "d_model": record.shape.get("d_model"),
            "n_ctx": record.shape.get("n_ctx"),
            **parameter_counts(record),
            "D": record.tokens,
            "unique_tokens": record.unique_tokens,
            "batch_tokens": record.batch_tokens,
            "steps": record.steps,
            "learning_rate": record.optimizer.get("learning_rate"),
            "after_cooldown": record.after_cooldown,
            **compute_flops(record),
            "loss": record.losses.get(MAIN_CORPUS, {}).get("loss_nats"),
        }
        for corpus, values in record.losses.items():
            row[f"loss_{corpus}"] = values["loss_nats"]
            row[f"bits_per_byte_{corpus}"] = values["bits_per_byte"]
        row |= {
            "train_loss": record.train_loss_nats,
            "elapsed_s": record.elapsed_s,
            "trained_tokens": record.trained_tokens,
            "tokens_per_s": record.tokens_per_s,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def load_study(folder: Path) -> Study:
    """Read every `record.json`, and every `failure.json` without one, one level below `folder`.

    A damaged record is left out with its reason, so that one bad file does not hide the others.

    Raises:
        InputError: the folder is missing, or holds no record.
    """
    import pandas as pd

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a study's folder is lightning_logs/<study>")
    records: list[RunRecord] = []
    left_out: list[dict[str, str]] = []
    for path in sorted(folder.glob("*/record.json")):
        try:
            record = read_record(path)
        except InputError as error:
            left_out.append({"run": path.parent.name, "status": "failed", "reason": str(error)})
            continue
        records.append(record)
        if record.status != "complete":
            left_out.append({"run": record.name, "status": record.status, "reason": record.reason})
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
        folder=folder,
        records=tuple(records),
        runs=runs_table(record for record in records if record.name not in bad),
        left_out=pd.DataFrame(left_out, columns=["run", "status", "reason"]),
    )

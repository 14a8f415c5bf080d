"""Tables that Weights & Biases, MLflow and TensorBoard export: which hold runs, and which a chart alone."""

from __future__ import annotations

from collections.abc import Collection

OF_RUNS = (
    ({"Name", "State"}, "Name"),  # the table of runs of Weights & Biases
    ({"Run ID", "Name", "Status"}, "Name"),  # of MLflow's page
    ({"Run ID", "Status"}, "Run ID"),
    ({"run_id", "status", "tags.mlflow.runName"}, "tags.mlflow.runName"),  # mlflow.search_runs()
    ({"run_id", "status", "experiment_id"}, "run_id"),
)
"""Columns that show what exported it, and the column that names the run."""
LOW, HIGH = "__MIN", "__MAX"
OF_TENSORBOARD = {"Wall time", "Step", "Value"}
OF_MLFLOW = {"key", "value", "step", "timestamp"}


def run_column(columns: Collection[str]) -> str | None:
    """The column that names the run, where a tracker exported a table with a row per run; else None."""
    return next((name for signs, name in OF_RUNS if signs <= set(columns)), None)


def why_no_runs(columns: Collection[str]) -> str:
    """What to export instead, where the table is that of a chart; empty where it is not."""
    charted = sorted(name.removesuffix(LOW) for name in columns if name.endswith(LOW))
    if charted and charted[0] + HIGH in columns:
        return (
            f"this is a chart of Weights & Biases ({charted[0]}), which does not say N and D: export the "
            "table of runs instead (Runs, the arrow above the table, CSV)"
        )
    if set(columns) == OF_TENSORBOARD:
        return (
            "this is a chart of one run from TensorBoard, which does not say N and D: give the folder of the "
            "event files instead (scaling-laws laws LOGDIR --tag val/loss)"
        )
    if set(columns) >= OF_MLFLOW and set(columns) - OF_MLFLOW <= {"run_id", "Run", "run_name", "Run ID"}:
        return (
            "this is a chart of MLflow, which does not say N and D: export the table of runs instead "
            "(Download CSV above the runs, or mlflow.search_runs().to_csv()), or give the folder mlruns"
        )
    return ""

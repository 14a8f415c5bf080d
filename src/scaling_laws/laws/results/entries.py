"""Results as entries of `laws.json`: the keys and their meaning are in docs/laws-json.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.fit.fit import Fit
from scaling_laws.laws.fit.intervals import bootstrap, parameter_intervals
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.profile import profile_intervals
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.positions import PositionLosses, fit_positions, late_pairs
from scaling_laws.laws.selection import longest_of_each_size

if TYPE_CHECKING:
    import pandas as pd

POSITION_CORPUS = "test"
KEPT_RESAMPLES = 200

Entry = dict[str, Any]


def fit_entry(
    fit: Fit[Any], sentence: str, n_runs: int, noise: SeedNoise, resamples: int, seed: int
) -> Entry:
    described = describe(fit)
    entry: Entry = {
        **described,
        "rows": sentence,
        "objective": fit.objective,
        "delta": fit.delta,
        "n_left_out": n_runs - fit.rows.n,
        "ranges": {
            name: [values.min(), values.max()]
            for name, values in {**fit.rows.values, "loss": fit.rows.loss}.items()
            if len(values)
        },
        "intervals": {},
        "interval_method": "",
        "row_sd": None,
        "derived": {},
        "resamples": {},
    }
    if not fit.identified:
        return entry
    if not all(_is_number(name, value) for name, value in described["parameters"].items()):
        reason = "an exponent is so near 0 that its scale is no number"
        return entry | {"identified": False, "reason": reason}
    if isinstance(fit.law, JointLaw):
        entry["derived"] = {"a_opt": fit.law.a_opt, "b_opt": fit.law.b_opt}
    entry["certificate"]["profile"] = profile_intervals(fit)
    result = bootstrap(fit, noise=noise, resamples=resamples, seed=seed)
    draws = {name: np.asarray(values) for name, values in vars(result.draws).items()}
    finite = np.all([_is_number(name, values) for name, values in draws.items()], axis=0)
    entry["intervals"] = parameter_intervals(result)
    entry["interval_method"] = result.method
    entry["row_sd"] = result.row_sd
    entry["resamples"] = {name: values[finite][:KEPT_RESAMPLES] for name, values in draws.items()}
    return entry


def describe(fit: Fit[Any]) -> Entry:
    """What a fit says of itself, without intervals."""
    return {
        "form": fit.form.form,
        "formula": fit.form.formula,
        "parameters": vars(fit.law) if fit.law is not None else dict.fromkeys(fit.form.units),
        "units": fit.form.units,
        "n_rows": fit.rows.n,
        "n_clusters": fit.rows.n_clusters,
        "identified": fit.identified,
        "reason": fit.reason,
        "certificate": asdict(fit.certificate) if fit.certificate else None,
    }


def _is_number(name: str, values: Any) -> Any:
    """Whether a parameter has not over- or underflowed: all are positive, but E may have gone to zero."""
    return np.isfinite(values) & ((np.asarray(values) > 0) | (name == "E"))


def learning_rate_entries(runs: pd.DataFrame) -> list[Entry]:
    """The learning rate and batch that each size was trained with, the best where there were several."""
    if "learning_rate" not in runs.columns or runs["learning_rate"].isna().all():
        return []
    columns = [name for name in ("N", "D", "learning_rate", "batch_tokens") if name in runs.columns]
    rates = runs[columns].drop_duplicates().sort_values(["N", "D"])
    return [{str(name): value for name, value in row.items()} for row in rates.to_dict("records")]


def position_entries(
    runs: pd.DataFrame, losses: Mapping[str, PositionLosses], delta: float, seed: int
) -> list[Entry]:
    entries = []
    for _, run in longest_of_each_size(runs).sort_values(["family", "N"]).iterrows():
        if run["run"] not in losses:
            continue
        law = fit_positions(losses[run["run"]], delta=delta, seed=seed)
        entries.append(
            {
                "family": run["family"],
                "run": run["run"],
                "N": run["N"],
                "corpus": POSITION_CORPUS,
                "parameters": vars(law.fit.law) if law.fit.law else dict.fromkeys("abc"),
                "intervals": law.intervals,
                "identified": law.fit.identified,
                "reason": law.fit.reason,
                "interval_method": law.interval_method,
            }
        )
    return entries


def late_positions_entry(runs: pd.DataFrame, losses: dict[str, PositionLosses], seed: int) -> Entry:
    position_from, pairs, reason = late_pairs(runs, losses, seed=seed)
    return {"position_from": position_from, "pairs": [asdict(pair) for pair in pairs], "reason": reason}


def plain_json(value: Any) -> Any:
    """The value in JSON's own types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

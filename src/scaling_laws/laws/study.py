"""From a study's tables to the content of `laws.json` (docs/laws-json.md): every law of every family."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.fit import DEFAULT_DELTA, Fit, fit_law, make_rows
from scaling_laws.laws.forms import (
    Chinchilla,
    KaplanC,
    KaplanD,
    KaplanN,
    KaplanND,
    Law,
    PowerC,
    PowerD,
    PowerN,
)
from scaling_laws.laws.frontier import (
    FrontierPoint,
    Slice,
    envelope,
    envelope_optima,
    fit_allocation,
    isoflop_optima,
    isoflop_slice,
    size_curves,
    slice_computes,
)
from scaling_laws.laws.holdout import hold_out_largest
from scaling_laws.laws.intervals import (
    DEFAULT_RESAMPLES,
    SeedNoise,
    bootstrap,
    parameter_intervals,
    residual_sd,
    seed_noise,
)
from scaling_laws.laws.positions import PositionLosses, fit_positions, late_pairs, position_losses
from scaling_laws.laws.selection import (
    at_common_horizon,
    longest_of_each_size,
    of_largest_size,
    on_envelope,
    usable_runs,
)
from scaling_laws.laws.sensitivity import sensitivity

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
POSITION_CORPUS = "test"
KEPT_RESAMPLES = 200
FORMS_OF_ONE_VARIABLE: dict[str, tuple[type[Law], ...]] = {
    "N": (KaplanN, PowerN),
    "D": (KaplanD, PowerD),
    "C": (KaplanC, PowerC),
}
JOINT_FORMS = (KaplanND, Chinchilla)

Entry = dict[str, Any]


def fit_study(
    name: str,
    runs: pd.DataFrame,
    positions: pd.DataFrame | None = None,
    left_out: pd.DataFrame | None = None,
    *,
    n: str = "N",
    c: str = "C",
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Entry:
    """Fit every law of `docs/laws-json.md`, family by family.

    Args:
        name: of the study or of the CSV file.
        runs: columns run, trunk, family, D (tokens), loss (nats per token), `n` (parameters) and `c` (FLOPs);
            those of `records.Study.runs` are used where they are there.
        positions: columns run, corpus, fold, position, loss_sum_nats, count: the final evaluations.
        left_out: columns run, status, reason: runs that are not in `runs`, and why.
        n, c: which columns count as N and C.
        delta: of Huber's loss, in ln L.
        resamples: of each bootstrap.
        seed: of the bootstraps.

    Returns:
        Plain JSON values: no NaN, no infinity; `null` for what is not known.

    Raises:
        InputError: a column is missing, or a value is not a finite positive number.
    """
    usable, not_cooled = usable_runs(runs, n=n, c=c)
    make_rows({"N": usable["N"], "D": usable["D"], "C": usable["C"]}, usable["loss"])  # checks the numbers
    noise = seed_noise(usable)
    losses = _losses_by_run(usable, positions)
    entry: Entry = {
        "schema": SCHEMA,
        "study": name,
        "conventions": {"N": n, "C": c, "loss": "loss"},
        "fits": [],
        "frontier": [],
        "isoflop": [],
        "allocation": [],
        "positions": _positions(usable, losses, delta, seed),
        "noise": asdict(noise),
        "holdout": [],
        "sensitivity": [],
        "late_positions": _late_positions(usable, losses, seed),
        "left_out": ([] if left_out is None else left_out.to_dict("records")) + not_cooled,
        "warnings": [],
        "manifest": {},
    }
    for family in sorted(usable["family"].unique()):
        _fit_family(entry, family, usable[usable["family"] == family], runs, noise, delta, resamples, seed)
    entry["warnings"] = _warnings(entry, usable)
    entry["manifest"] = _manifest(entry, runs, positions, delta, resamples, seed)
    plain: Entry = json.loads(json.dumps(_plain(entry), allow_nan=False))
    return plain


def _fit_family(
    entry: Entry,
    family: str,
    of_family: pd.DataFrame,
    runs: pd.DataFrame,
    noise: SeedNoise,
    delta: float,
    resamples: int,
    seed: int,
) -> None:
    """Append one family's laws to the lists of `entry`."""
    curves = size_curves(of_family)
    points = envelope(curves)
    rows_of = {
        "N": at_common_horizon(of_family),
        "D": of_largest_size(of_family),
        "C": on_envelope(of_family, points),
    }
    n_runs = int((runs["family"] == family).sum())
    fits: list[tuple[Fit[Any], str]] = []
    for variable, forms in FORMS_OF_ONE_VARIABLE.items():
        table, sentence = rows_of[variable]
        rows = make_rows({variable: table[variable]}, table["loss"], table["trunk"])
        fits += [(fit_law(form, rows, delta=delta), sentence) for form in forms]
    rows = make_rows({"N": of_family["N"], "D": of_family["D"]}, of_family["loss"], of_family["trunk"])
    joint = {form: fit_law(form, rows, delta=delta) for form in JOINT_FORMS}
    fits += [(fit, "all runs") for fit in joint.values()]
    entry["fits"] += [
        _fit_entry(fit, family, sentence, n_runs, noise, resamples, seed) for fit, sentence in fits
    ]

    # The noise of one run: between seeds, or about the better joint law, whichever is larger.
    known = [noise.sd_log_loss] if noise.sd_log_loss is not None else []
    known += sorted(residual_sd(fit) for fit in joint.values() if fit.identified)[:1]
    noise_sd = max(known, default=None)
    slices = [
        isoflop_slice(curves, C, noise_sd=noise_sd, resamples=resamples, seed=seed)
        for C in slice_computes(curves)
    ]
    entry["frontier"].append(_frontier_entry(family, points, len(curves)))
    entry["isoflop"] += [_slice_entry(family, slice_) for slice_ in slices]
    for method, optima in (("envelope", envelope_optima), ("isoflop", isoflop_optima)):
        allocation = fit_allocation(curves, optima, noise_sd=noise_sd, seed=seed)
        entry["allocation"].append({"family": family, "method": method, **asdict(allocation)})
    entry["holdout"] += [_holdout_entry(family, form, of_family, delta) for form in JOINT_FORMS]
    n, c = entry["conventions"]["N"], entry["conventions"]["C"]
    entry["sensitivity"] += [
        {"family": family, **asdict(row)} for row in sensitivity(of_family, n=n, c=c, delta=delta)
    ]


def _fit_entry(
    fit: Fit[Any], family: str, sentence: str, n_runs: int, noise: SeedNoise, resamples: int, seed: int
) -> Entry:
    names = [name for term in fit.form.terms for name in (term.coefficient, term.exponent) if name]
    parameters = vars(fit.law) if fit.law is not None else dict.fromkeys(fit.form.units)
    assert set(names) <= set(parameters)
    entry: Entry = {
        "form": fit.form.form,
        "family": family,
        "formula": fit.form.formula,
        "parameters": parameters,
        "units": fit.form.units,
        "rows": sentence,
        "objective": fit.objective,
        "delta": fit.delta,
        "n_rows": fit.rows.n,
        "n_clusters": fit.rows.n_clusters,
        "n_left_out": n_runs - fit.rows.n,
        "ranges": {
            name: [values.min(), values.max()]
            for name, values in {**fit.rows.values, "loss": fit.rows.loss}.items()
            if len(values)
        },
        "identified": fit.identified,
        "reason": fit.reason,
        "certificate": asdict(fit.certificate) if fit.certificate else None,
        "intervals": {},
        "interval_method": "",
        "row_sd": None,
        "derived": {},
        "resamples": {},
    }
    if not fit.identified:
        return entry
    if isinstance(fit.law, KaplanND | Chinchilla):
        entry["derived"] = {"a_opt": fit.law.a_opt, "b_opt": fit.law.b_opt}
    result = bootstrap(fit, noise=noise, resamples=resamples, seed=seed)
    draws = {name: np.asarray(values) for name, values in vars(result.draws).items()}
    finite = np.all([np.isfinite(values) for values in draws.values()], axis=0)
    entry["intervals"] = parameter_intervals(result)
    entry["interval_method"] = result.method
    entry["row_sd"] = result.row_sd
    entry["resamples"] = {name: values[finite][:KEPT_RESAMPLES] for name, values in draws.items()}
    return entry


def _frontier_entry(family: str, points: Sequence[FrontierPoint], n_sizes: int) -> Entry:
    reason = ""
    if not points:
        reason = "one size" if n_sizes < 2 else "no two sizes were trained with overlapping compute"
    return {"family": family, "points": [asdict(point) for point in points], "reason": reason}


def _slice_entry(family: str, slice_: Slice) -> Entry:
    points = [
        {"N": N, "D": D, "loss": loss} for N, D, loss in zip(slice_.N, slice_.D, slice_.loss, strict=True)
    ]
    content = {key: value for key, value in asdict(slice_).items() if key not in ("N", "D", "loss")}
    return {"family": family, "points": points, **content}


def _holdout_entry(
    family: str, form: type[KaplanND] | type[Chinchilla], runs: pd.DataFrame, delta: float
) -> Entry:
    result = hold_out_largest(form, runs, delta=delta)
    return {
        "family": family,
        "form": result.form,
        "held_out": [run.run for run in result.runs],
        "predicted": [run.predicted for run in result.runs],
        "actual": [run.actual for run in result.runs],
        "relative_error": [run.relative_error for run in result.runs],
        "baseline": result.baseline,
        "baseline_relative_error": [run.baseline_relative_error for run in result.runs],
        "mean_absolute_error": result.mean_absolute_error,
        "baseline_mean_absolute_error": result.baseline_mean_absolute_error,
        "reason": result.reason,
    }


def _losses_by_run(runs: pd.DataFrame, positions: pd.DataFrame | None) -> dict[str, PositionLosses]:
    if positions is None or positions.empty:
        return {}
    found = {str(run): position_losses(positions, run, POSITION_CORPUS) for run in runs["run"]}
    return {run: losses for run, losses in found.items() if losses is not None}


def _positions(
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


def _late_positions(runs: pd.DataFrame, losses: dict[str, PositionLosses], seed: int) -> Entry:
    position_from, pairs, reason = late_pairs(runs, losses, seed=seed)
    return {"position_from": position_from, "pairs": [asdict(pair) for pair in pairs], "reason": reason}


def _warnings(entry: Entry, runs: pd.DataFrame) -> list[str]:
    """What a reader should know before believing the numbers, a sentence each."""
    sentences = []
    if runs.empty:
        sentences.append("No run has a loss that a law may use.")
    if entry["noise"]["reason"]:
        sentences.append(f"The noise between seeds is not known: {entry['noise']['reason']}.")
    if "unique_tokens" in runs.columns and (repeats := int((runs["unique_tokens"] < runs["D"]).sum())):
        sentences.append(f"{repeats} runs saw some tokens more than once; the laws take every token as new.")
    for fit in entry["fits"]:
        who = f"{fit['family']}, {fit['form']}"
        if not fit["identified"]:
            sentences.append(f"{who}: not identified: {fit['reason']}.")
        elif fit["certificate"]["share_at_best"] < 0.5:
            share = fit["certificate"]["share_at_best"]
            sentences.append(f"{who}: only {100 * share:.0f} % of the starts reached the best objective.")
        elif "a_opt" in fit["intervals"]:
            sentences += _disagreements(entry, fit, who)
    for family in sorted({slice_["family"] for slice_ in entry["isoflop"]}):
        slices = [slice_ for slice_ in entry["isoflop"] if slice_["family"] == family]
        flagged = sum(bool(slice_["warning"]) for slice_ in slices)
        if flagged:
            sentences.append(
                f"{family}: {flagged} of {len(slices)} isoFLOP slices do not bracket N_opt well."
            )
    return sentences


def _disagreements(entry: Entry, fit: Entry, who: str) -> list[str]:
    """Where the interval of a_opt and that of a measured allocation do not touch."""
    low, high = fit["intervals"]["a_opt"]
    sentences = []
    for allocation in entry["allocation"]:
        interval = allocation["exponent_interval"]
        if allocation["family"] != fit["family"] or interval is None or None in (low, high, *interval):
            continue
        if interval[0] > high or interval[1] < low:
            sentences.append(
                f"{who}: a_opt ({low:.2f} to {high:.2f}) and the {allocation['method']} exponent"
                f" ({interval[0]:.2f} to {interval[1]:.2f}) disagree."
            )
    return sentences


def _manifest(
    entry: Entry,
    runs: pd.DataFrame,
    positions: pd.DataFrame | None,
    delta: float,
    resamples: int,
    seed: int,
) -> Entry:
    import pandas as pd

    digest = hashlib.sha256(runs.to_csv(index=False).encode())
    if positions is not None:
        digest.update(pd.util.hash_pandas_object(positions, index=False).to_numpy().tobytes())
    return {
        "forms": {fit["form"]: fit["formula"] for fit in entry["fits"]},
        "objective": "sum over rows of Huber_delta(ln L_hat - ln L)",
        "loss": "nats per token",
        "delta": delta,
        "optimiser": "damped Newton with exact derivatives, from starts by variable projection",
        "starts": {fit["form"]: fit["certificate"]["starts"] for fit in entry["fits"] if fit["certificate"]},
        "seed": seed,
        "resamples": resamples,
        "rows": {f"{fit['family']}, {fit['form']}": fit["rows"] for fit in entry["fits"]},
        "n_left_out": len(entry["left_out"]),
        "conventions": entry["conventions"],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pandas": pd.__version__,
        },
        "input_sha256": digest.hexdigest(),
    }


def _plain(value: Any) -> Any:
    """The value in JSON's own types; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

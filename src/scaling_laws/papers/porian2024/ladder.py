"""From Kaplan's exponent to Chinchilla's on one set of runs: one correction after another (Porian 2024).

Each correction keeps those before it. The first change what N and C count, which any run table with those
columns shows; the later ones change which runs are used, and need runs trained both ways. The table therefore
comes in *before* a selection: with losses before the cooldown, other warm-ups and rates.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.allocation.frontier import FEWEST_SIZES, size_curves
from scaling_laws.laws.allocation.optimal_path import optimal_path, slopes
from scaling_laws.laws.allocation.power_lines import Optima, akima_optima, fit_allocation, isoflop_optima
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.intervals import Interval, bootstrap, checked, percentile_interval, run_noise_sd
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, JointLaw, KaplanND
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray, in_columns
from scaling_laws.laws.selection import usable_runs
from scaling_laws.papers.porian2024.published_exponents import (
    KAPLAN_SETUP,
    LAST_LAYER,
    MATCHED_DECAY,
    SHORT_WARMUP,
    TUNED,
    PublishedExponent,
    published,
    published_with_attention,
)
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

N_PATH = 200
"""Sizes, evenly in ln N, that the joint law's optimal path is traced at."""


@dataclass(frozen=True, kw_only=True)
class MeasuredExponent:
    """Exponent a of N_opt ~ C^a by one method; 90 % interval; `reason` says why there is no exponent."""

    a: float | None
    interval: Interval | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class LadderStep:
    """One correction, on top of those before it.

    Attributes:
        name: kaplan, last_layer, attention, total, warmup, decay, learning_rate.
        change: what this correction changes, in words.
        N, C: what they count.
        n_runs: runs that it uses; 0 where it cannot be shown.
        parabola, akima: from the isoFLOP slices.
        parametric: from Chinchilla's law fitted in this N, at this C; over the range of the sizes.
        published: Porian's exponents of the like correction (theirs are cumulative in their own order).
        reason: which runs or columns the correction needs; empty where it is shown.
    """

    name: str
    change: str
    N: str
    C: str
    n_runs: int
    parabola: MeasuredExponent
    akima: MeasuredExponent
    parametric: MeasuredExponent
    published: tuple[PublishedExponent, ...]
    reason: str


def ladder(
    runs: pd.DataFrame,
    *,
    delta: float = DEFAULT_DELTA,
    resamples: int = 100,
    seed: int = 0,
) -> list[LadderStep]:
    """The exponent of N_opt after each correction, on one family's runs before any selection.

    The intervals rest on the noise between seeds, or about the joint law, whichever is larger.

    Args:
        runs: columns run, trunk, family, N (non-embedding), D, loss; for the other corrections N_with_head,
            N_total, C_exact (FLOPs), after_cooldown, warmup_tokens, learning_rate, seed.
        delta: of the parametric fits.
        resamples: of each bootstrap.
        seed: of the bootstraps.

    Raises:
        InputError: there are no runs, a column is missing, a value is not positive, or several families.
    """
    if "family" in runs.columns and runs["family"].nunique() > 1:
        families = ", ".join(sorted(runs["family"].unique()))
        raise InputError(f"the ladder is of one family; the table has {families}: choose one")
    exact = "C_exact" if "C_exact" in runs.columns else None
    countings = (
        ("kaplan", "Kaplan's counting: neither embeddings nor head, C = 6 N D", "N", None),
        ("last_layer", "+ parameters and FLOPs of the last layer", "N_with_head", None),
        ("attention", "+ FLOPs of attention", "N_with_head", "C_exact"),
        ("total", "+ parameters of the embeddings", "N_total", exact),
    )
    of_counting = {
        "kaplan": published(KAPLAN_SETUP),
        "last_layer": published(LAST_LAYER),
        "attention": published_with_attention(LAST_LAYER),
        "total": (),
    }
    selections = (
        ("warmup", "+ the shortest warm-up of each size and horizon", SHORT_WARMUP, _why_no_warmups(runs)),
        ("decay", "+ losses after the learning rate came down", MATCHED_DECAY, _why_no_decay(runs)),
        ("learning_rate", "+ the best learning rate of each size and horizon", TUNED, _why_no_rates(runs)),
    )
    uncorrected = {name for name, _, _, reason in selections if not reason}
    first = _selected(runs, uncorrected)
    missing = {
        name: [column for column in (n, c) if column is not None and column not in runs.columns]
        for name, _, n, c in countings
    }
    counted = {name: _count(first, n, c, delta) for name, _, n, c in countings if not missing[name]}
    noise_sd = _noise_sd(list(counted.values()), delta)
    corrections: list[LadderStep] = []
    last: tuple[str, str | None] = ("N", None)
    for name, change, n, c in countings:
        last = last if missing[name] else (n, c)
        found = None if missing[name] else _measure(counted[name], noise_sd, resamples, seed)
        reason = f"needs {' and '.join(missing[name])} in the run table" if missing[name] else ""
        corrections.append(_correction(name, change, n, c, found, of_counting[name], reason))
    for name, change, setup, reason in selections:
        uncorrected.discard(name)
        found = None
        if not reason:
            these = _count(_selected(runs, uncorrected), *last, delta)
            found = _measure(these, _noise_sd([these], delta), resamples, seed)
        corrections.append(_correction(name, change, *last, found, published(setup), reason))
    return corrections


def ladder_table(corrections: list[LadderStep]) -> list[dict[str, Any]]:
    """The corrections as rows of plain values, one dictionary a correction, nested as the dataclasses are."""
    return [asdict(correction) for correction in corrections]


_Measured = tuple[int, MeasuredExponent, MeasuredExponent, MeasuredExponent]
"""Runs, and the exponent by the parabola, by Akima's interpolation and by the joint law."""

_Counted = tuple["pd.DataFrame", Fit[Chinchilla]]
"""Usable runs with N and C of one counting, and the law fitted to them."""


def _correction(
    name: str,
    change: str,
    n: str,
    c: str | None,
    found: _Measured | None,
    of: tuple[PublishedExponent, ...],
    reason: str,
) -> LadderStep:
    nothing = MeasuredExponent(a=None, interval=None, reason=reason)
    n_runs, parabola, akima, parametric = found or (0, nothing, nothing, nothing)
    return LadderStep(
        name=name,
        change=change,
        N=n,
        C=c or f"6 {n} D",
        n_runs=n_runs,
        parabola=parabola,
        akima=akima,
        parametric=parametric,
        published=of,
        reason=reason,
    )


def _selected(runs: pd.DataFrame, uncorrected: set[str]) -> pd.DataFrame:
    """The runs as they are before the corrections named, and after every other one.

    The learning rate is the exception: after its correction all rates stay, of which the best is taken later.
    """
    table = runs
    if "after_cooldown" in table.columns:
        cooled = table["after_cooldown"].astype(bool)
        if "decay" in uncorrected:
            table = table[~cooled]
        elif cooled.any():
            table = table[cooled]
        table = table.drop(columns="after_cooldown")
    if "warmup_tokens" in table.columns:
        of_recipe = table.groupby(["N", "D"])["warmup_tokens"]
        table = table[
            table["warmup_tokens"] == of_recipe.transform("max" if "warmup" in uncorrected else "min")
        ]
    if "learning_rate" in uncorrected:
        table = table[table["learning_rate"] == _common_rate(runs)]
    return table


def _why_no_warmups(runs: pd.DataFrame) -> str:
    if "warmup_tokens" in runs.columns and _sizes_with_several(runs, "warmup_tokens") >= FEWEST_SIZES:
        return ""
    return (
        "needs runs of at least three sizes trained with two warm-ups each at the same horizon"
        " (column warmup_tokens)"
    )


def _why_no_decay(runs: pd.DataFrame) -> str:
    if "after_cooldown" in runs.columns:
        cooled = runs["after_cooldown"].astype(bool)
        if min(runs.loc[which, "N"].nunique() for which in (cooled, ~cooled)) >= FEWEST_SIZES:
            return ""
    return (
        "needs losses of at least three sizes both before and after the learning rate came down"
        " (rows with after_cooldown False and True)"
    )


def _why_no_rates(runs: pd.DataFrame) -> str:
    rate = _common_rate(runs)
    if rate is not None:
        sizes = runs.loc[runs["learning_rate"] == rate, "N"].unique()
        if _sizes_with_several(runs[runs["N"].isin(sizes)], "learning_rate") >= FEWEST_SIZES:
            return ""
    return (
        "needs one learning rate that at least three sizes were trained with, and other rates of those sizes"
        " at the same horizons"
    )


def _sizes_with_several(runs: pd.DataFrame, column: str) -> int:
    """Sizes that were trained with several values of `column` at one horizon."""
    several = runs.groupby(["N", "D"])[column].nunique() > 1
    return int(several[several].index.get_level_values("N").nunique())


def _common_rate(runs: pd.DataFrame) -> float | None:
    """The learning rate that most sizes share, at least three; the rate of an analysis that tunes none."""
    if "learning_rate" not in runs.columns:
        return None
    sizes = runs.groupby("learning_rate")["N"].nunique()
    if sizes.empty or sizes.max() < FEWEST_SIZES:
        return None
    return float(sizes.idxmax())  # type: ignore[arg-type]


def _count(runs: pd.DataFrame, n: str, c: str | None, delta: float) -> _Counted:
    """The usable runs with N and C of one counting, and Chinchilla's law in this N."""
    if c is None:
        c = "C"
        runs = runs.assign(C=FLOPS_PER_PARAMETER_TOKEN * runs[n] * runs["D"])
    table, _ = usable_runs(runs, n=n, c=c)
    rows = make_rows({"N": table["N"], "D": table["D"]}, table["loss"], table["trunk"])
    return table, fit_law(Chinchilla, rows, delta=delta)


def _noise_sd(counted: list[_Counted], delta: float) -> float | None:
    """The noise of one run: between seeds, or about the law in the best counting, whichever is larger.

    Noise does not depend on what an analysis counts: what a law in another counting cannot follow is none.
    """
    fits: list[Fit[Any]] = [fit for _, fit in counted if fit.identified]
    if not fits:
        fits = [fit_law(KaplanND, fit.rows, delta=delta) for _, fit in counted]
    return run_noise_sd(fits, seed_noise(counted[0][0]) if counted else None)


def _measure(counted: _Counted, noise_sd: float | None, resamples: int, seed: int) -> _Measured:
    """The exponents of one correction, by the slices and by the law."""
    table, fit = counted
    noise = seed_noise(table)
    fit = checked(fit, noise=noise)
    curves = size_curves(table)

    def of_slices(optima: Optima) -> MeasuredExponent:
        found = fit_allocation(curves, optima, noise_sd=noise_sd, resamples=resamples, seed=seed)
        return MeasuredExponent(a=found.exponent, interval=found.exponent_interval, reason=found.reason)

    if fit.identified and fit.law is not None:
        cost = (table["C"] / table["D"]).groupby(table["N"]).mean()
        log_N = np.log(cost.index.to_numpy(dtype=np.float64))
        log_cost = np.log(cost.to_numpy(dtype=np.float64))
        draws = bootstrap(fit, noise=noise, resamples=resamples, seed=seed).draws
        drawn = in_columns(draws)
        with np.errstate(all="ignore"):  # a draw may have no optimum: NaN
            a, interval = _path_exponent(fit.law, log_N, log_cost), _path_exponent(drawn, log_N, log_cost)
        parametric = MeasuredExponent(a=float(a), interval=percentile_interval(interval), reason="")
        if not np.isfinite(a):
            reason = "FLOPs per token do not grow with N"
            parametric = MeasuredExponent(a=None, interval=None, reason=reason)
    else:
        parametric = MeasuredExponent(a=None, interval=None, reason=fit.reason)
    return len(table), of_slices(isoflop_optima), of_slices(akima_optima), parametric


def _path_exponent(law: JointLaw, log_N: FloatArray, log_cost: FloatArray) -> FloatArray:
    """a of N_opt ~ C^a over the range of the sizes, (k,), from the law and the FLOPs per token of each size.

    At C = 6 N D this is the law's a_opt. FLOPs per token are a parabola of ln N between the sizes.
    """
    middle = log_N.mean()
    curve = np.polyfit(log_N - middle, log_cost, 2)
    path = np.linspace(log_N[0], log_N[-1], N_PATH)
    slope = np.polyval(np.polyder(curve), path - middle)
    log_C, _ = optimal_path(law, path, 1.0, np.polyval(curve, path - middle), slope)
    return slopes(log_C, path)

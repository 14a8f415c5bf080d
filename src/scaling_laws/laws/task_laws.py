"""Do tasks follow the loss? Accuracy by two laws, and how well each predicts the largest size.

    two steps   L(N, D) by Chinchilla's law, or Kaplan's where the runs do not identify that, then
                accuracy = g + (1 - g) / (1 + exp(slope (L - L_half)))
    direct      accuracy = g + (1 - g) / (1 + exp(-(a + b ln C))), and so of N, and of N and D

g is the accuracy of guessing, 1/choices on average, which is not fitted. All sigmoids are fitted by the
likelihood of right and wrong answers where the number of items is known, else by least squares. A prediction
is out of sample: all are fitted without the largest size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling_laws.laws.fit.fit import Fit, fit_law
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla, KaplanND
from scaling_laws.laws.selection import usable_runs

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.study.runs import Study

FloatArray = NDArray[np.float64]

FEWEST_RUNS, FEWEST_SIZES = 6, 3
"""Below which no law is fitted: runs without the largest size, and sizes in all."""
SMALL = 1e-9
FAR = 2.0
"""Times the losses measured: half-known beyond it is a guess of the sigmoid's."""
MOST_SLOPE = 200.0
"""Of a sigmoid of ln N, ln D or the loss: beyond it is a step."""
ONE_TASK = "accuracy"
"""Name of the task of a table's column."""


@dataclass(frozen=True, kw_only=True)
class TaskLaw:
    """One task of one family; errors are out of sample, in points of accuracy from 0 to 1.

    Attributes:
        n_runs, n_sizes: that were scored.
        chance: accuracy of guessing.
        lowest, highest: accuracy of any run.
        loss_half, slope: of the sigmoid of the loss, over all runs; below zero a lower loss is worse.
            loss_half is None where it lies far from all losses.
        of_C, of_N, of_D: exponents of the direct laws, over all runs: of that in C, and of that in N and D.
        largest: N of the size that is predicted.
        accuracy: mean of its runs.
        noise: standard error of that mean, by its number of items; None where that is not known.
        loss_form: of the law of the loss in two steps.
        two_steps, direct_C, direct_N, direct, nearest: mean error of its runs, predicted by each law (the
            last is in N and D), and by the accuracy of the next smaller size at the same or nearest tokens.
        reason: why there is no law; else empty.
    """

    family: str
    task: str
    n_runs: int
    n_sizes: int
    chance: float
    lowest: float
    highest: float
    loss_half: float | None = None
    slope: float | None = None
    of_C: float | None = None
    of_N: float | None = None
    of_D: float | None = None
    largest: float | None = None
    accuracy: float | None = None
    noise: float | None = None
    loss_form: str = ""
    two_steps: float | None = None
    direct_C: float | None = None
    direct_N: float | None = None
    direct: float | None = None
    nearest: float | None = None
    reason: str = ""


def scored_of(study: Study) -> pd.DataFrame | None:
    """`scored_rows` of a study's runs, of one recipe, as in the laws (`selection.usable_runs`)."""
    if study.runs.empty or not {"N", "D"} <= {*study.runs}:
        return None
    in_a_folder = bool(study.records) or study.exported
    return scored_rows(usable_runs(study.runs)[0], study.task_scores() if in_a_folder else None)


def scored_rows(runs: pd.DataFrame, scores: pd.DataFrame | None) -> pd.DataFrame | None:
    """What `fit_tasks` reads: the scores of runs, or a table's column of accuracy; None without.

    Args:
        runs: as `Study.runs`; with a column `accuracy` where there are no scores.
        scores: the final ones, as `Study.task_scores`.
    """
    if scores is not None and not scores.empty:
        scored = scored_runs(runs, scores)
    elif "accuracy" in runs:
        scored = runs.dropna(subset=["accuracy"])
    else:
        return None
    return None if scored.empty else scored


def scored_runs(runs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Per run and task: family, trunk, task, N, D, C, loss, accuracy, answer_log_p_nats, chance, n_items.

    Args:
        runs: as `Study.runs`.
        scores: the final ones, as `Study.task_scores`.
    """
    known = [name for name in ("run", "family", "trunk", "N", "D", "C", "loss") if name in runs]
    table = scores.merge(runs[known], on="run")
    return table.assign(
        accuracy=table["n_correct"] / table["n_items"],
        chance=table["chance_sum"] / table["n_items"],
        answer_log_p_nats=table["answer_log_p_sum_nats"] / table["n_items"],
    )


def fit_tasks(scored: pd.DataFrame) -> tuple[TaskLaw, ...]:
    """A law for each family and task.

    Args:
        scored: columns family, trunk, N, D, loss (nats), accuracy; C (else 6 N D), task, chance and n_items
            where known: else one task, no guessing, and errors of equal weight.
    """
    table = scored
    for name, usual in (("task", ONE_TASK), ("chance", 0.0), ("C", 6 * table["N"] * table["D"])):
        table = table if name in table else table.assign(**{name: usual})
    laws: list[TaskLaw] = []
    for family, of_family in table.groupby("family"):
        of_loss: dict[bytes, Fit[Chinchilla] | Fit[KaplanND]] = {}  # tasks of the same runs share one
        laws += [_fit_task(str(family), str(task), rows, of_loss) for task, rows in of_family.groupby("task")]
    return tuple(laws)


def _fit_task(
    family: str, task: str, rows: pd.DataFrame, of_loss: dict[bytes, Fit[Chinchilla] | Fit[KaplanND]]
) -> TaskLaw:
    accuracy = rows["accuracy"]
    about = TaskLaw(
        family=family,
        task=task,
        n_runs=len(rows),
        n_sizes=rows["N"].nunique(),
        chance=float(rows["chance"].mean()),
        lowest=float(accuracy.min()),
        highest=float(accuracy.max()),
    )
    largest = rows["N"].max()
    seen, late = rows[rows["N"] < largest], rows[rows["N"] == largest]
    if about.n_sizes < FEWEST_SIZES or len(seen) < FEWEST_RUNS:
        reason = (
            f"{about.n_sizes} sizes and {len(seen)} runs below the largest; a law needs {FEWEST_SIZES} sizes "
            f"and {FEWEST_RUNS} such runs"
        )
        return replace(about, reason=reason)
    known = _sigmoid(rows, [rows["loss"]])
    of_C, of_both = (_sigmoid(rows, _logs(rows, axes)) for axes in (("C",), ("N", "D")))
    about = replace(
        about,
        loss_half=_within(rows["loss"], -known[0] / known[1]) if abs(known[1]) > SMALL else None,
        slope=float(-known[1]),
        of_C=float(of_C[1]),
        of_N=float(of_both[1]),
        of_D=float(of_both[2]),
        largest=float(largest),
        accuracy=float(late["accuracy"].mean()),
        noise=_noise(late),
        direct_C=_direct_error(seen, late, ("C",)),
        direct_N=_direct_error(seen, late, ("N",)),
        direct=_direct_error(seen, late, ("N", "D")),
        nearest=_error(late, _nearest(seen, late)),
    )
    key = seen[["N", "D", "loss"]].to_numpy().tobytes()
    if (fit := of_loss.get(key)) is None:
        fit = of_loss[key] = _law_of_loss(seen)
    if fit.law is None or not fit.identified:
        return replace(about, reason=f"two steps: no law of the loss is identified: {fit.reason}")
    predicted = np.asarray(fit.law.loss(late["N"].to_numpy(), late["D"].to_numpy()))
    through = _predicted(_sigmoid(seen, [seen["loss"]]), [predicted], late["chance"])
    return replace(about, loss_form=fit.form.form, two_steps=_error(late, through))


def _law_of_loss(seen: pd.DataFrame) -> Fit[Chinchilla] | Fit[KaplanND]:
    """Chinchilla's law; Kaplan's where the runs do not identify that."""
    rows = make_rows({"N": seen["N"], "D": seen["D"]}, seen["loss"], seen["trunk"])
    first = fit_law(Chinchilla, rows)
    return first if first.law is not None and first.identified else fit_law(KaplanND, rows)


def _logs(rows: pd.DataFrame, axes: Sequence[str]) -> list[pd.Series]:
    return [np.log(rows[axis]) for axis in axes]


def _direct_error(seen: pd.DataFrame, late: pd.DataFrame, axes: Sequence[str]) -> float:
    """Of the largest size, by a sigmoid of the logarithms of these columns, fitted without it."""
    return _error(late, _predicted(_sigmoid(seen, _logs(seen, axes)), _logs(late, axes), late["chance"]))


def _within(losses: pd.Series, half: float) -> float | None:
    """A loss that is not far outside what was measured."""
    return float(half) if losses.min() / FAR < half < FAR * losses.max() else None


def _design(axes: Sequence[FloatArray | pd.Series]) -> FloatArray:
    return np.column_stack([np.ones(len(axes[0])), *(np.asarray(axis, dtype=np.float64) for axis in axes)])


def _sigmoid(rows: pd.DataFrame, axes: Sequence[FloatArray | pd.Series]) -> FloatArray:
    """Coefficients of accuracy = g + (1 - g) sigmoid(design @ coefficients): the likeliest."""
    from scipy.optimize import minimize

    design, guess = _design(axes), rows["chance"].to_numpy(dtype=np.float64)
    accuracy = rows["accuracy"].to_numpy(dtype=np.float64)
    counted = rows["n_items"].to_numpy(dtype=np.float64) if "n_items" in rows else None
    middle, spread = design[:, 1:].mean(axis=0), np.maximum(design[:, 1:].std(axis=0), SMALL)
    scaled = np.column_stack([design[:, 0], (design[:, 1:] - middle) / spread])

    def cost(coefficients: FloatArray) -> tuple[float, FloatArray]:
        share = 1 / (1 + np.exp(-np.clip(scaled @ coefficients, -40, 40)))
        p = np.clip(guess + (1 - guess) * share, SMALL, 1 - SMALL)
        by_p = (1 - guess) * share * (1 - share)
        if counted is None:
            return float(((p - accuracy) ** 2).sum()), scaled.T @ (2 * (p - accuracy) * by_p)
        likelihood = counted * (accuracy * np.log(p) + (1 - accuracy) * np.log1p(-p))
        slope = counted * (accuracy / p - (1 - accuracy) / (1 - p)) * by_p
        return float(-likelihood.sum()), -scaled.T @ slope

    starts = [np.zeros(scaled.shape[1])] + [
        np.array([level, *([sign] * (scaled.shape[1] - 1))]) for level in (-1.5, 1.5) for sign in (-1.0, 1.0)
    ]
    bounds = [(-MOST_SLOPE, MOST_SLOPE)] * scaled.shape[1]
    found = [minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = np.asarray(min(found, key=lambda each: each.fun).x)
    return np.array([best[0] - (best[1:] / spread) @ middle, *(best[1:] / spread)])


def _predicted(
    coefficients: FloatArray, axes: Sequence[FloatArray | pd.Series], chance: pd.Series
) -> FloatArray:
    share = 1 / (1 + np.exp(-np.clip(_design(axes) @ coefficients, -40, 40)))
    guess = chance.to_numpy(dtype=np.float64)
    return np.asarray(guess + (1 - guess) * share)


def _error(late: pd.DataFrame, predicted: FloatArray) -> float:
    return float(np.abs(predicted - late["accuracy"].to_numpy()).mean())


def _nearest(seen: pd.DataFrame, late: pd.DataFrame) -> FloatArray:
    """Accuracy of the next smaller size at the nearest D."""
    below = seen[seen["N"] == seen["N"].max()]
    apart = np.abs(np.subtract.outer(np.log(late["D"].to_numpy()), np.log(below["D"].to_numpy())))
    return np.asarray(below["accuracy"].to_numpy()[apart.argmin(axis=1)])


def _noise(late: pd.DataFrame) -> float | None:
    if "n_items" not in late:
        return None
    variance = late["accuracy"] * (1 - late["accuracy"]) / late["n_items"]
    return float(np.sqrt(variance.mean()))  # the runs answer the same items: their errors go together

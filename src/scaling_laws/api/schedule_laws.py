"""Laws of the learning rate in Python: `fit_schedule`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.readers.study_reader import StudyReader
from scaling_laws.laws.readers.table_files import cells_of, read_cells
from scaling_laws.laws.row_conditions import satisfying
from scaling_laws.laws.schedules.best import BestSchedule, best_schedule
from scaling_laws.laws.schedules.curves import (
    ScheduleCurve,
    curves_of_study,
    curves_of_table,
    filled_words,
    make_curve,
)
from scaling_laws.laws.schedules.fitting import (
    DEFAULT_SCHEDULE_RESAMPLES,
    FittedSchedule,
    ScheduleLoss,
    after_warm_up,
    fit_schedule_laws,
)
from scaling_laws.laws.schedules.own_branches import BranchPrediction, predict_branches
from scaling_laws.report import style as st
from scaling_laws.report.text import Table, interval_text, number, percent, with_interval
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import Study, load_study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA = 1
CURVES_A_ROW = 3
MOST_DRAWN = 9


@dataclass(frozen=True, kw_only=True, repr=False)
class ScheduleFit:
    """Laws of the schedule fitted to the same curves, the one of the lowest objective first.

    Attributes:
        name: of the table.
        laws: what was fitted.
        held_out: curves that were not, with their measured losses.
        notes: what was filled or left out, in sentences.

    Examples:
        >>> from scaling_laws.laws.schedules.annealing import Tissue
        >>> from scaling_laws.laws.schedules.falls import falls_of
        >>> steps = np.arange(20, 2001, 20)
        >>> rate = np.where(steps < 1500, 1e-3, 1e-3 * (2000 - steps) / 500 + 1e-5)
        >>> law = Tissue(L0=3.0, A=0.5, alpha=0.5, B=100.0, memory_steps=80.0)
        >>> loss = law.losses(falls_of([make_curve("a", steps, rate, np.ones(100))], warm_up=False))
        >>> rows = pd.DataFrame({"step": steps, "learning_rate": rate, "loss": loss})
        >>> found = fit_schedule(rows, "tissue", resamples=0)
        >>> found.predict(learning_rate=np.full(3000, 1e-3), step=[1000, 3000]).predicted.shape
        (2,)
    """

    name: str
    laws: tuple[FittedSchedule, ...]
    held_out: tuple[ScheduleCurve, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> FittedSchedule:
        """The law that predictions are made with: of the lowest objective among those identified."""
        return next((law for law in self.laws if law.fit.identified), self.laws[0])

    @property
    def identified(self) -> bool:
        return self.best.fit.identified

    @property
    def reason(self) -> str:
        return self.best.fit.reason

    @property
    def others(self) -> tuple[FittedSchedule, ...]:
        """The other identified laws: what they say elsewhere widens the intervals."""
        return tuple(law for law in self.laws if law is not self.best and law.fit.identified)

    @cached_property
    def predictions(self) -> tuple[ScheduleLoss, ...]:
        """Of the held-out curves, then of the fitted ones."""
        return tuple(
            self.best.predict(curve, others=self.others) for curve in (*self.held_out, *self.best.curves)
        )

    def interval(self, name: str) -> Interval:
        """Of a parameter of the best law.

        Raises:
            InputError: it has no such parameter, or no intervals.
        """
        intervals = self.best.intervals
        if name not in intervals:
            known = ", ".join(intervals) or "no intervals"
            raise InputError(f"{self.best.form.form} has no interval of {name!r}; it has {known}")
        return intervals[name]

    def predict(self, *, learning_rate: ArrayLike, step: ArrayLike | None = None) -> ScheduleLoss:
        """The losses under another schedule, with the interval of a new run.

        Args:
            learning_rate: (T,): of every step from 1 on.
            step: after which losses are wanted; by default 100, spread over the schedule.

        Raises:
            InputError: the law is not identified; rates or steps that make no sense.
        """
        if not self.identified:
            raise InputError(f"{self.best.form.form} is not identified: {self.reason}")
        rates = np.asarray(learning_rate, dtype=np.float64)
        whole = make_curve("new schedule", np.arange(1, len(rates) + 1), rates)
        if step is None:
            step = np.unique(np.linspace(whole.peak_step, len(rates), 100).round())
        return self.best.predict(whole.at(step), others=self.others)

    def best_schedule(
        self, steps: int, *, peak: float | None = None, warmup_steps: int | None = None
    ) -> BestSchedule:
        """The schedule of the lowest last loss after so many steps: see `laws.schedules.best`."""
        return best_schedule(self.best, steps=steps, peak=peak, warmup_steps=warmup_steps, others=self.others)

    def table(self) -> pd.DataFrame:
        """A row a curve: run, fitted, points, mean and last relative error, share covered, beyond, reason."""
        return pd.DataFrame(
            [
                {
                    "run": found.run,
                    "fitted": found.fitted,
                    "points": len(found.step),
                    "mean_error": float(np.nanmean(np.abs(found.relative_error))),
                    "last_error": float(found.relative_error[-1]),
                    "covered": found.covered,
                    "beyond": found.beyond,
                    "reason": found.reason,
                }
                for found in self.predictions
            ]
        )

    def summary(self) -> str:
        """Laws with intervals and certificates, and every curve predicted and measured."""
        parts = [_law_text(law, self.name) for law in self.laws]
        rows = tuple(
            (
                row["run"],
                "fitted" if row["fitted"] else "held out",
                str(row["points"]),
                percent(row["mean_error"]),
                f"{100 * row['last_error']:+.2f} %",
                "–" if np.isnan(row["covered"]) else f"{100 * row['covered']:.0f} %",
                f"{row['beyond']:.2g} x" if row["beyond"] > 1 else "",
            )
            for row in self.table().to_dict("records")
        )
        level = f"in {100 * self.best.level:g} % interval"
        columns = ("curve", "", "points", "mean error", "last error", level, "beyond")
        parts.append(f"Predicted by {self.best.form.form}:\n" + Table(columns=columns, rows=rows).text())
        doubts = {found.reason for found in self.predictions if found.reason}
        parts += [f"Not identified beyond the fitted curves: {reason}." for reason in sorted(doubts)]
        return "\n\n".join([*parts, *self.notes])

    def plot(self) -> Figure:
        """Predicted and measured curves, those that were held out first, at most nine."""
        figure: Figure = st.styled(_drawn)(self)
        return figure

    def to_json(self) -> dict[str, Any]:
        """What `laws --schedule` writes: docs/laws-json.md."""
        return {
            "schema": SCHEMA,
            "kind": "schedules",
            "name": self.name,
            "laws": [_law_json(law) for law in self.laws],
            "predictions": [_prediction_json(found) for found in self.predictions],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


def fit_schedule(
    curves: pd.DataFrame | Study | str | Path,
    form: str | Sequence[str] = (),
    *,
    held_out: Sequence[str] = (),
    where: str | Sequence[str] = (),
    columns: dict[str, str] | None = None,
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_SCHEDULE_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> ScheduleFit:
    """Fit laws of the learning rate to whole curves of one network: the loss after any schedule.

    Args:
        curves: columns run, step, learning_rate and loss, a row a measured loss (or a rate alone, its loss
            empty); a file of these; or one training of a study, chosen by `where`. Rates between rows are
            filled linearly.
        form: "tissue", "multi_power", or both, which is the default.
        held_out: runs that are predicted and not fitted.
        where: keep only some rows, as "size == '25M'".
        columns: other names: `{"loss": "val/loss"}`.
        delta, resamples, seed: as `fit`.
        level: of the intervals.

    Raises:
        InputError: whatever is wrong with the curves, in one line.

    Examples:
        >>> longest = "transformer-2x16h2-s1-8.39M"  # of a clone of scaling_laws
        >>> which = f"trunk == '{longest}'"
        >>> found = fit_schedule("results/quick", "tissue", where=which, held_out=[longest], resamples=20)
        >>> bool(abs(found.predictions[0].relative_error[-1]) < 0.01)
        True
    """
    conditions = [where] if isinstance(where, str) else list(where)
    if isinstance(curves, str | Path) and StudyReader().recognises(Path(curves)):
        curves = load_study(Path(curves))
    if isinstance(curves, Study):
        name, read = curves.name, _of_study(curves, conditions)
    else:
        name = (
            curves.name if isinstance(curves, Path) else curves if isinstance(curves, str) else "the curves"
        )
        read = _of_table(curves, str(name), conditions, columns or {})
    names = {curve.run for curve in read}
    if unknown := [run for run in held_out if run not in names]:
        raise InputError(f"no curve is called {unknown[0]!r}; there are {', '.join(sorted(names))}")
    fitted = [curve for curve in read if curve.run not in held_out]
    if not fitted:
        raise InputError("every curve is held out: none is left to fit")
    if not 0 < level < 1:
        raise InputError(f"the level is {level}: give a share between 0 and 1, as 0.9")
    forms = [form] if isinstance(form, str) else list(form)
    laws = fit_schedule_laws(fitted, forms, delta=delta, resamples=resamples, seed=seed, level=level)
    used = {curve.run for curve in laws[0].curves}
    notes = [words[0].upper() + words[1:] + "." for words in [filled_words(read)] if words]
    if short := [curve.run for curve in fitted if curve.run not in used]:
        notes.append(f"Left out, too few losses after the warm-up: {', '.join(short)}.")
    held = [after_warm_up(curve) for curve in read if curve.run in held_out]
    kept = tuple(curve for curve in held if len(curve.step))
    return ScheduleFit(name=name, laws=laws, held_out=kept, notes=tuple(notes))


def predicted_branches(study: Study) -> tuple[BranchPrediction, ...]:
    """The longest branch of each training of a study, predicted from its trunk and shorter branches."""
    curves = {curve.run: curve for curve in curves_of_study(study)}
    runs = study.runs[study.runs["decay"].isin(["cooldown", "linear_cooldown"])]
    trunks = [[curves[run] for run in of["run"] if run in curves] for _, of in runs.groupby("trunk")]
    return predict_branches(trunks)


def branches_text(found: Sequence[BranchPrediction]) -> str:
    """A line a training, and what all say together."""
    if not found:
        return "No training has two horizons: no cooled loss can be predicted and compared."
    rows = tuple(
        (
            each.run,
            f"{each.steps:,}",
            number(each.measured, 4),
            number(each.predicted, 4),
            "–" if each.relative_error is None else f"{100 * each.relative_error:+.2f} %",
            f"{100 * (each.before_cooldown / each.measured - 1):+.2f} %",
            each.reason,
        )
        for each in found
    )
    columns = ("held-out branch", "steps", "measured", "predicted", "error", "trunk's last loss", "")
    errors = [abs(each.relative_error) for each in found if each.relative_error is not None]
    lines = [Table(columns=columns, rows=rows).text()]
    if errors:
        lines.append(
            f"{len(errors)} of {len(found)} longest branches predicted from trunk and shorter branches: "
            f"median error {percent(float(np.median(errors)))}, largest {percent(max(errors))}."
        )
    return "\n\n".join(lines)


def best_text(found: BestSchedule) -> str:
    """The best schedule in words, with its gains."""
    head = (
        f"The best schedule of {len(found.schedule.rates):,} steps: constant for the first "
        f"{100 * found.decay_from:.0f} %, then down to {_share(found.final_share)}; "
        f"last loss {number(found.loss, 4)} {interval_text(found.interval, 4)}"
    )
    rows = tuple(
        (gain.name, number(gain.loss, 4), with_interval(gain.gain, gain.interval)) for gain in found.gains
    )
    table = Table(columns=("instead of", "its loss", "gain"), rows=rows).text()
    doubt = [f"Not identified {found.reason}."] if found.reason else []
    return "\n\n".join([head.rstrip(), table, *doubt])


def _share(final: float) -> str:
    return "0" if final < 1e-3 else f"{100 * final:.2g} % of the peak"


def _of_study(study: Study, conditions: Sequence[str]) -> list[ScheduleCurve]:
    """The curves of the runs that satisfy the conditions.

    Raises:
        InputError: they are of several networks.
    """
    cells = cells_of(study.runs)
    for condition in conditions:
        cells = satisfying(study.name, cells, condition, _number)
    runs = set(cells["run"])
    chosen = study.runs[study.runs["run"].isin(runs)]
    if chosen["N"].nunique() > 1 or chosen["family"].nunique() > 1:
        raise InputError(
            f"{study.name}: a law of the schedule is of one network; choose one, as "
            f"--where \"trunk == '{chosen['trunk'].iloc[0]}'\""
        )
    return [curve for curve in curves_of_study(study) if curve.run in runs]


def _of_table(
    table: pd.DataFrame | str | Path, name: str, conditions: Sequence[str], columns: dict[str, str]
) -> list[ScheduleCurve]:
    """The curves of a table under the columns' own names."""
    cells = cells_of(table) if isinstance(table, pd.DataFrame) else read_cells(Path(table))
    for condition in conditions:
        cells = satisfying(name, cells, condition, _number)
    for column in columns.values():
        if column not in cells:
            raise InputError(f"{name} has no column {column!r}; it has {', '.join(map(str, cells.columns))}")
    ours = pd.DataFrame({meaning: cells[column] for meaning, column in columns.items()})
    for meaning in ("run", "step", "learning_rate", "loss"):
        if meaning not in ours and meaning in cells:
            ours[meaning] = cells[meaning]
    for meaning in ("step", "learning_rate", "loss"):
        if meaning in ours:
            column = columns.get(meaning, meaning)
            empty = meaning == "loss"  # a row may give the rate alone
            ours[meaning] = [
                float("nan") if empty and not cell else _number(row, column, cell)
                for row, cell in ours[meaning].items()
            ]
    return list(curves_of_table(ours))


def _number(row: Any, column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"row {row}: {column} is {cell!r}, which is not a number") from None


def _law_text(law: FittedSchedule, name: str) -> str:
    fit = law.fit
    units = law.form.units
    rows = tuple(
        (parameter, with_interval(float(value), law.intervals.get(parameter)), units[parameter])
        for parameter, value in vars(law.law).items()
    )
    value = f"value and {100 * law.level:g} % interval" if law.intervals else "value"
    certificate = fit.certificate
    assert certificate is not None
    runs = f"{len(law.curves)} curve" + "s" * (len(law.curves) != 1)
    lines = [
        f"{law.form.formula}, fitted to {fit.rows.n} losses of {runs} of {name}",
        Table(columns=("parameter", value, "unit"), rows=rows).text(),
        f"{percent(certificate.rms_log_residual)} rms of ln L about the law; objective {fit.objective:.4g}; "
        f"{100 * certificate.share_at_best:.0f} % of {certificate.starts} starts ended at this optimum; "
        f"gradient {certificate.gradient_norm:.0e}, condition {certificate.condition_number:.0f}.",
    ]
    if not fit.identified:
        lines.append(f"Not identified: {fit.reason}.")
    elif law.draws is not None:
        lines.append(f"Intervals: {law.method}.")
    if law.curve_sd:
        lines.append(
            f"A curve that the law was not fitted to it misses by {percent(law.curve_sd)}, root mean square."
        )
    return "\n".join(lines)


def _law_json(law: FittedSchedule) -> dict[str, Any]:
    fit = law.fit
    certificate = fit.certificate
    assert certificate is not None
    return {
        "form": law.form.form,
        "formula": law.form.formula,
        "parameters": {name: float(value) for name, value in vars(law.law).items()},
        "units": law.form.units,
        "intervals": {name: list(interval) for name, interval in law.intervals.items()},
        "level": law.level,
        "interval_method": law.method,
        "profile": {name: list(interval) for name, interval in law.profile.items()},
        "identified": fit.identified,
        "reason": fit.reason,
        "objective": fit.objective,
        "delta": fit.delta,
        "n_rows": fit.rows.n,
        "curves": [curve.run for curve in law.curves],
        "certificate": {
            "starts": certificate.starts,
            "share_at_best": certificate.share_at_best,
            "gradient_norm": certificate.gradient_norm,
            "condition_number": _finite(certificate.condition_number),
            "on_bound": list(certificate.on_bound),
            "rms_log_residual": certificate.rms_log_residual,
        },
        "row_sd": law.row_sd,
        "curve_sd": law.curve_sd,
    }


def _prediction_json(found: ScheduleLoss) -> dict[str, Any]:
    return {
        "run": found.run,
        "fitted": found.fitted,
        "beyond": found.beyond,
        "rolled_out": _finite(found.rolled_out),
        "reason": found.reason,
        **{
            name: [_finite(value) for value in getattr(found, name)]
            for name in ("step", "predicted", "low", "high", "measured")
        },
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _drawn(found: ScheduleFit) -> Figure:
    shown = found.predictions[:MOST_DRAWN]
    columns = min(len(shown), CURVES_A_ROW)
    rows = -(-len(shown) // columns)
    figure, axes = st.panels(columns, rows, width=3.7 * columns, height=2.9 * rows)
    for at, prediction in zip(axes, shown, strict=False):
        _curve(at, prediction, found.best.form.label)
    for empty in axes[len(shown) :]:
        empty.set_visible(False)
    return figure


def _curve(axes: Axes, found: ScheduleLoss, label: str) -> None:
    measured = np.isfinite(found.measured)
    axes.plot(
        found.step[measured], found.measured[measured], ".", color=st.INK, markersize=3, label="measured"
    )
    axes.plot(found.step, found.predicted, color=st.FIT, linewidth=1.2, label=f"{label} law")
    if np.isfinite(found.low).all():
        axes.fill_between(found.step, found.low, found.high, color=st.FIT, alpha=st.BAND_ALPHA, linewidth=0)
    longer = f", {found.beyond:.2g} x as long" if found.beyond > 1 else ""
    title = f"{found.run} ({'fitted' if found.fitted else 'held out'}{longer})"
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("step")
    axes.set_ylabel(st.LOSS_LABEL)
    axes.legend(loc="upper right")

"""A budget spent in rounds: what to screen, what to learn from it, what to keep for the last run.

Round 1 screens learning rates at three cheap points of N and D. The rounds between learn the best size:
slices of equal compute about the best guess so far, at the rates that round 1 showed. The last run takes all
that is left, at the size that the slices' minima point to, or else at the law's; the law says its loss. What
a round needs, the ledger of the rounds before says; a round is extended while the best rate of a point is
the lowest or the highest that was tried.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling_laws.laws.allocation.frontier import FEWEST_SIZES
from scaling_laws.laws.allocation.isoflop import minimum
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import TWO_SIDED_90
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN, FloatArray
from scaling_laws.laws.plan.budget_ledger import (
    SETTINGS,
    RoundRun,
    checked_ledger,
    empty_ledger,
    with_runs,
)
from scaling_laws.laws.plan.choice import best_joint_fit, joint_draws
from scaling_laws.laws.plan.question import Question, TrainingPlan
from scaling_laws.laws.plan.solve import answer
from scaling_laws.laws.plan.valleys import (
    RatePlane,
    SettingAnswer,
    Valley,
    coordinate,
    from_coordinate,
    posterior,
    rate_plane,
    setting_answer,
    valleys,
)
from scaling_laws.laws.results.chosen_forms import fit_forms
from scaling_laws.laws.results.fitted import Settings
from scaling_laws.laws.results.types import FittedLaw
from scaling_laws.study.errors import InputError
from scaling_laws.study.stages import silent_stages

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.05, 0.15, 0.80)
"""Of the budget: to screen, to learn, and for the last run, which also gets what the others leave."""
FEWEST_ROUNDS, MOST_ROUNDS = 3, 6
TOKENS_PER_PARAMETER = 20.0
"""Of the first guess (Hoffmann et al. 2022)."""
FIRST_RATE = 3e-3
RATE_FACTOR, N_RATES = 4.0, 5
POINT_FACTOR = 4.0
"""Of the three points of the screen, one has so many times the N, one so many times the D of the first."""
CHECK_FACTOR = 3.0
"""Rates on either side at the middle of the dearest slice."""
FACTORS: Mapping[str, float] = {"batch_tokens": 2.0, "beta2": 4.0, "epsilon": 100.0}
"""Values on either side of a setting that is screened; of beta2 the factor is of 1 - beta2."""
EXTENSION = 1.5
"""A round is extended up to so many times its share."""
SLICES, SLICE_FACTOR = 3, 3.0
"""Slices of equal compute of the first learning round, and between their computes."""
SIZES, SIZE_FACTOR = 5, 2.0
GUESSED_EXPONENT = 0.35
"""Of N and of D, for what the screen says of which of them is short."""
MOST_TILT = 8.0
GROWTH = 3.0
"""Of the shares of learning rounds, from one to the next."""
RESAMPLES = 200
FORMS = ("chinchilla", "chinchilla_tied", "kaplan_nd")
SQUARE_ROOT, PRIOR_SD = 0.5, 0.15
"""Of b in N_opt ~ C^b, before any slice: its mean and deviation. Kaplan has 0.73, Hoffmann 0.46 to 0.5."""
MINIMUM_SD = 0.35
"""Of ln N at a slice's minimum: half a step between its sizes."""
FEWEST_MINIMA = 2


@dataclass(frozen=True, kw_only=True)
class RoundCost:
    """A line of the ledger.

    Attributes:
        round: from 1.
        purpose: screen, learn or last run.
        share: FLOPs that the budget had for it at the start.
        n_runs, n_trained: in the ledger.
        spent: 6 N D of those that were trained, diverged ones too.
        waiting: 6 N D of those that have no loss yet.
    """

    round: int
    purpose: str
    share: float
    n_runs: int
    n_trained: int
    spent: float
    waiting: float


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What all that is left is for; None where the runs do not determine it.

    Attributes:
        N, D, C: parameters, tokens, FLOPs.
        N_interval: 90 %.
        learning_rate, learning_rate_interval: peak, 90 %.
        settings: batch, beta2 and epsilon, each with where it comes from.
        loss_nats, loss_interval: to be expected, of one new run.
        source: the law, or what stood in for one.
        notes: a sentence each.
    """

    N: float
    D: float
    C: float
    N_interval: Interval
    learning_rate: float
    learning_rate_interval: Interval
    settings: tuple[SettingAnswer, ...]
    loss_nats: float | None
    loss_interval: Interval
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class RoundsPlan:
    """Where a campaign stands, and what to train now.

    Attributes:
        compute: the budget, FLOPs.
        rounds: of them.
        round: the one that is on.
        purpose: screen, learn or last run.
        to_train: runs without a loss, new ones included; empty when all is done.
        new: how many of them this call added.
        ledger: the table, new runs included.
        costs: a line a round, planned ones too.
        left: FLOPs that are neither spent nor waiting.
        learned: what the runs so far say, a sentence each.
        last: the last run, from when it is known.
        actual_loss: of the last run, once it is in the ledger.
        file: of the ledger; empty where there is none.
    """

    compute: float
    rounds: int
    round: int
    purpose: str
    to_train: tuple[RoundRun, ...]
    new: int
    ledger: pd.DataFrame
    costs: tuple[RoundCost, ...]
    left: float
    learned: tuple[str, ...] = ()
    last: LastRun | None = None
    actual_loss: float | None = None
    file: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the ledger itself is a file of its own."""
        last = None
        if self.last is not None:
            last = asdict(self.last)
            for name in ("N_interval", "learning_rate_interval", "loss_interval"):
                last[name] = list(last[name])
        return {
            "compute": self.compute,
            "rounds": self.rounds,
            "round": self.round,
            "purpose": self.purpose,
            "to_train": [run.to_json() for run in self.to_train],
            "new": self.new,
            "costs": [asdict(cost) for cost in self.costs],
            "left": self.left,
            "learned": list(self.learned),
            "last": last,
            "actual_loss": self.actual_loss,
            "file": self.file,
        }

    def __str__(self) -> str:
        from scaling_laws.laws.plan.rounds_text import rounds_text

        return rounds_text(self.to_json())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What is fixed before the first run.

    Attributes:
        compute: FLOPs in all.
        rounds: one to screen, one or more to learn, one for the last run.
        shares: of the budget, for screening, learning and the last run.
        learning_rate: the middle of the first screen.
        settings: batch_tokens, beta2, epsilon, where they are known.
        screened: those of them that are varied, too, in the first learning round.
        smallest_N: of a network that can be built.

    Raises:
        InputError: a number is out of its range, or a setting is to be screened that has no value.
    """

    compute: float
    rounds: int = 3
    shares: tuple[float, float, float] = SHARES
    learning_rate: float = FIRST_RATE
    settings: Mapping[str, float] = field(default_factory=dict)
    screened: tuple[str, ...] = ()
    smallest_N: float = 1.0

    def __post_init__(self) -> None:
        if not FEWEST_ROUNDS <= self.rounds <= MOST_ROUNDS:
            raise InputError(
                f"--rounds is {self.rounds}: give {FEWEST_ROUNDS} to {MOST_ROUNDS}; one to screen, one or "
                "more to learn, one for the last run"
            )
        numbers = {"the budget": self.compute, "the learning rate": self.learning_rate}
        for what, value in {**numbers, "the smallest N": self.smallest_N, **self.settings}.items():
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{what} is {value}: give a positive number")
        if not self.settings.get("beta2", 0.5) < 1:
            raise InputError(f"beta2 is {self.settings['beta2']}: it lies between 0 and 1")
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise InputError(f"shares are {self.shares}: give three positive numbers that add up to 1")
        for name in self.screened:
            if name not in SETTINGS:
                raise InputError(f"{name!r} cannot be screened; there are {', '.join(SETTINGS)}")
            if name not in self.settings:
                raise InputError(f"{name} is to be screened: give the value to begin with")

    def share_of(self, number: int) -> float:
        """FLOPs of a round."""
        screen, learn, last = self.shares
        if number == 1:
            return screen * self.compute
        if number == self.rounds:
            return last * self.compute
        growth = GROWTH ** np.arange(self.rounds - 2)
        return float(learn * self.compute * growth[number - 2] / growth.sum())

    def purpose_of(self, number: int) -> str:
        return "screen" if number == 1 else "last run" if number == self.rounds else "learn"


def plan_rounds(campaign: Campaign, ledger: pd.DataFrame | None = None) -> RoundsPlan:
    """What to train now: the runs of the next round, or those of this one that still lack a loss.

    Args:
        campaign: budget and rounds; the same in every call.
        ledger: `RoundsPlan.ledger` of the call before, with losses; None before the first round.

    Raises:
        InputError: the ledger is none, or has spent more than the budget, or no run of a round has ended.
    """
    table = empty_ledger() if ledger is None else checked_ledger(ledger, "the ledger")
    ended = table["loss"].notna()
    spent = float(table.loc[ended, "C"].sum())
    if spent > campaign.compute * (1 + 1e-9):
        raise InputError(
            f"the ledger has spent {spent:.3g} FLOPs of {campaign.compute:.3g}: give a larger budget"
        )
    now = int(table["round"].max()) if len(table) else 0
    if now > campaign.rounds:
        raise InputError(f"the ledger has a round {now} of {campaign.rounds}: give --rounds {now}")
    new: list[RoundRun] = []
    last: LastRun | None = None
    learned: tuple[str, ...] = ()
    if len(table) == 0:
        now, new = 1, _screen(campaign)
    elif ended.all():
        if not np.isfinite(table["loss"]).any():
            raise InputError("every run of the ledger diverged: begin again with a lower --learning-rate")
        if now < campaign.rounds:
            new = _extension(campaign, table, now)
        learned = _learned(campaign, table)
        if not new and now < campaign.rounds:
            now += 1
            if now == campaign.rounds:
                last = _last_run(campaign, table)
                new = [_as_planned(last, now)]
            else:
                new = _slices(campaign, table, now)
    elif ended.any():
        learned = _learned(campaign, table[ended])
    if now == campaign.rounds and last is None:
        before = table[(table["round"] < now) & ended]
        if np.isfinite(before["loss"]).any():
            last = _as_written(_last_run(campaign, before), table[table["round"] == now].iloc[-1])
    table = with_runs(table, new)
    of_last = table[(table["round"] == campaign.rounds) & np.isfinite(table["loss"])]
    costs = _costs(campaign, table)
    return RoundsPlan(
        compute=campaign.compute,
        rounds=campaign.rounds,
        round=now,
        purpose=campaign.purpose_of(now),
        to_train=tuple(_planned(row) for _, row in table[table["loss"].isna()].iterrows()),
        new=len(new),
        ledger=table,
        costs=costs,
        left=campaign.compute - sum(cost.spent + cost.waiting for cost in costs),
        learned=learned,
        last=last,
        actual_loss=float(of_last["loss"].min()) if len(of_last) else None,
    )


def _screen(campaign: Campaign) -> list[RoundRun]:
    """`N_RATES` rates at (N, D), at more N and at more D."""
    unit = campaign.share_of(1) / (N_RATES * (1 + 2 * POINT_FACTOR))
    N = max(np.sqrt(unit / FLOPS_PER_PARAMETER_TOKEN / TOKENS_PER_PARAMETER), campaign.smallest_N)
    D = unit / FLOPS_PER_PARAMETER_TOKEN / N
    rates = campaign.learning_rate * RATE_FACTOR ** (np.arange(N_RATES) - N_RATES // 2)
    points = {
        "screen": (N, D),
        "screen, more N": (POINT_FACTOR * N, D),
        "screen, more D": (N, POINT_FACTOR * D),
    }
    return [
        _run(campaign, 1, 5 * i + j + 1, point, at, rate)
        for i, (point, at) in enumerate(points.items())
        for j, rate in enumerate(rates.tolist())
    ]


def _run(
    campaign: Campaign,
    round_: int,
    number: int,
    point: str,
    at: tuple[float, float],
    rate: float,
    **changed: float,
) -> RoundRun:
    return RoundRun(
        run=f"{round_}-{number:02d}",
        round=round_,
        point=point,
        N=float(at[0]),
        D=float(at[1]),
        learning_rate=float(rate),
        **{name: value for name, value in {**campaign.settings, **changed}.items() if name in SETTINGS},
    )


def _extension(campaign: Campaign, table: pd.DataFrame, now: int) -> list[RoundRun]:
    """One more value beyond each end at which a best one lies, cheapest points first, within the limit."""
    of_round = table[table["round"] == now]
    room = min(EXTENSION * campaign.share_of(now), campaign.compute) - float(of_round["C"].sum())
    runs: list[RoundRun] = []
    for name in ("learning_rate", *campaign.screened):
        factor = (RATE_FACTOR if now == 1 else CHECK_FACTOR) if name == "learning_rate" else FACTORS[name]
        found = [each for each in valleys(of_round, name) if each.n_values >= 3 and each.edge]
        for each in sorted(found, key=lambda valley: valley.N * valley.D):
            log_value = each.log_best + np.log(factor) * (1 if each.edge == "high" else -1)
            first = of_round[of_round["point"] == each.point].iloc[0]
            at = (float(first["N"]), float(first["D"]))
            changed = {other: float(first[other]) for other in SETTINGS if not np.isnan(first[other])}
            rate = float(first["learning_rate"])
            if name == "learning_rate":
                rate = float(np.exp(log_value))
            else:
                changed[name] = from_coordinate(name, log_value)
                if changed[name] <= 0:
                    continue
            run = _run(campaign, now, len(of_round) + len(runs) + 1, each.point, at, rate, **changed)
            if run.cost <= room:
                room -= run.cost
                runs.append(run)
    return runs


def _slices(campaign: Campaign, table: pd.DataFrame, now: int) -> list[RoundRun]:
    """Sizes about the best at equal compute; more rates and settings at the middle of the dearest slice."""
    plane = rate_plane(valleys(table, "learning_rate"))
    n_slices = SLICES if now == 2 else 1
    n_more = 2 + (2 * len(campaign.screened) if now == 2 else 0)
    in_slices = SIZES * float(np.sum(SLICE_FACTOR ** -np.arange(n_slices, dtype=float)))
    top = campaign.share_of(now) / (in_slices + n_more)
    runs: list[RoundRun] = []
    for k in range(n_slices):
        C = top / SLICE_FACTOR**k
        centre = _centre(campaign, table, C, now)
        half = SIZES // 2
        lowest = np.log(campaign.smallest_N / centre) / np.log(SIZE_FACTOR)
        steps = np.arange(SIZES) + max(-half, int(np.ceil(lowest - 1e-9)))
        for step in steps.tolist():
            N = centre * SIZE_FACTOR**step
            at = (N, C / FLOPS_PER_PARAMETER_TOKEN / N)
            rate = _rate(campaign, plane, at)
            point = f"round {now}, C = {C:.3g}, N = {N:.3g}"
            runs.append(_run(campaign, now, len(runs) + 1, point, at, rate))
            if k == 0 and step == steps[half]:
                for factor in (1 / CHECK_FACTOR, CHECK_FACTOR):
                    runs.append(_run(campaign, now, len(runs) + 1, point, at, factor * rate))
                for name in campaign.screened if now == 2 else ():
                    log_value = float(coordinate(name, np.array([campaign.settings[name]]))[0])
                    for factor in (1 / FACTORS[name], FACTORS[name]):
                        changed = {name: from_coordinate(name, log_value + float(np.log(factor)))}
                        if changed[name] > 0:
                            runs.append(_run(campaign, now, len(runs) + 1, point, at, rate, **changed))
    return runs


def _rate(campaign: Campaign, plane: RatePlane | None, at: tuple[float, float]) -> float:
    return campaign.learning_rate if plane is None else plane.at(*at)


def _centre(campaign: Campaign, table: pd.DataFrame, C: float, now: int) -> float:
    """The size about which a slice lies: by the screen, later by the law."""
    if now > 2:
        return max(_best_size(campaign, table, C)[0], campaign.smallest_N)
    guess = float(np.sqrt(C / FLOPS_PER_PARAMETER_TOKEN / TOKENS_PER_PARAMETER))
    return max(guess * _tilt(table), campaign.smallest_N)


def _tilt(table: pd.DataFrame) -> float:
    """How many times the guessed size the screen speaks for: what more N gains against what more D does.

    With A/N^a + B/D^a, a = `GUESSED_EXPONENT`, the gains are in the ratio of the two terms, and the best size
    at equal compute is that ratio to the power 1/(2 a) times N.
    """
    best = {each.point: each.loss for each in valleys(table, "learning_rate")}
    names = ("screen", "screen, more N", "screen, more D")
    if any(name not in best for name in names):
        return 1.0
    first, more_N, more_D = (best[name] for name in names)
    least = 1e-3 * first
    ratio = max(first - more_N, least) / max(first - more_D, least)
    return float(np.clip(ratio ** (1 / (2 * GUESSED_EXPONENT)), 1 / MOST_TILT, MOST_TILT))


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    """One row a point with the loss at its best rate and settings, as runs that a law is fitted to."""
    import pandas as pd

    by_rate = {each.point: each for each in valleys(table, "learning_rate")}
    rows = []
    for point, runs in table[np.isfinite(table["loss"])].groupby("point", sort=False):
        loss, valley = float(runs["loss"].min()), by_rate.get(str(point))
        if valley is not None and valley.bracketed:
            loss = min(loss, valley.loss)
        elif valley is not None and valley.n_values >= 3:
            continue  # its best rate was not found
        rows.append((str(point), float(runs["N"].median()), float(runs["D"].median()), loss))
    found = pd.DataFrame(rows, columns=["run", "N", "D", "loss"])
    C = FLOPS_PER_PARAMETER_TOKEN * found["N"] * found["D"]
    return found.assign(trunk=found["run"], family="all", C=C)


def _best_size(
    campaign: Campaign, table: pd.DataFrame, C: float
) -> tuple[float, Interval, TrainingPlan | None, tuple[str, ...]]:
    """N for C FLOPs with its 90 % interval, the plan of the law there, and sentences.

    N is that of the slices' minima where two slices have one: it rests on no form of a law, which on the few
    steps of a cheap run seldom holds. Else it is the law's, held to the tokens per parameter that the runs
    had: beyond them no law was tested. No plan where no law is identified.
    """
    rows = _rows(table)
    minima = _slice_minima(rows)
    fit, why = _joint_fit(rows)
    if len(minima) >= FEWEST_MINIMA or fit is None:
        N, interval, how = _by_slices(rows, minima, C)
        N = max(N, campaign.smallest_N)
        if fit is None:
            return N, interval, None, (f"no law of N and D is identified ({why}): {how}",)
        return N, interval, _plan_at(fit, why, C, N), (how,)
    plan = _plan_at(fit, why, C)
    interval = plan.intervals.get("N", (None, None))
    ratios, product = rows["D"] / rows["N"], C / FLOPS_PER_PARAMETER_TOKEN
    held = float(np.clip(plan.N, np.sqrt(product / ratios.max()), np.sqrt(product / ratios.min())))
    if abs(held / plan.N - 1) <= 1e-6:
        return plan.N, interval, plan, ()
    note = (
        f"the law's own N is {plan.N:.3g}: held to the {ratios.min():.3g} to {ratios.max():.3g} tokens per "
        "parameter that the runs had"
    )
    return held, interval, _plan_at(fit, why, C, held), (note,)


def _joint_fit(rows: pd.DataFrame) -> tuple[FittedLaw | None, str]:
    """The law of N and D that predicts best, and why it or none."""
    if len(rows) < FEWEST_SIZES:
        return None, "too few points"
    settings = Settings(n="N", c="C", delta=DEFAULT_DELTA, resamples=RESAMPLES, seed=0)
    with silent_stages():
        laws = fit_forms("the ledger", rows, FORMS, settings=settings)
    return best_joint_fit(laws.of("all"))


def _plan_at(fit: FittedLaw, why: str, C: float, N: float | None = None) -> TrainingPlan:
    """What a law says of C FLOPs, at its own best size or at N."""
    source = f"{fit.formula}, {fit.n_rows} points ({why})"
    question = Question(C=C, N=N)
    return answer(fit.law, question, draws=joint_draws(fit), source=source, convention="N", notes=())


def _slice_minima(rows: pd.DataFrame) -> FloatArray:
    """ln C and ln N at the minimum of each slice that has one between its sizes, (slices, 2), by C."""
    found = []
    for _, points in rows.assign(slice=np.round(np.log(rows["C"]) * 10)).groupby("slice"):
        points = points.sort_values("N")
        log_N, log_loss = (np.log(points[name].to_numpy(dtype=np.float64)) for name in ("N", "loss"))
        # Akima's curve, as losses rise far more steeply towards few steps than towards small networks.
        vertex, refused = minimum(log_N, log_loss, "akima")
        if vertex is not None and not refused:
            found.append((float(np.log(points["C"].mean())), vertex))
    return np.array(found).reshape(-1, 2)


def _by_slices(rows: pd.DataFrame, minima: FloatArray, C: float) -> tuple[float, Interval, str]:
    """N, its 90 % interval, and how: N ~ C^b through the minima, or by the best point where there is none.

    A linear Gaussian model in ln N, with `MINIMUM_SD` of each minimum, and b taken to be 0.5 +- `PRIOR_SD`
    before: one minimum alone says where the line lies, and nothing of b.
    """
    if len(minima):
        centre = minima[:, 0].mean()
        design = np.column_stack([np.ones(len(minima)), minima[:, 0] - centre])
        weights = np.full(len(minima), MINIMUM_SD**-2)
        mean, covariance = posterior(design, weights, minima[:, 1], (SQUARE_ROOT,), PRIOR_SD)
        at = np.array([1.0, np.log(C) - centre])
        log_N, half = at @ mean, TWO_SIDED_90 * np.sqrt(at @ covariance @ at)
        slices = "the minimum of 1 slice" if len(minima) == 1 else f"the minima of {len(minima)} slices"
        how = f"N by {slices} up to C = {np.exp(minima[-1, 0]):.3g}, taken to grow as C^{mean[1]:.2f}"
        return float(np.exp(log_N)), (float(np.exp(log_N - half)), float(np.exp(log_N + half))), how
    if len(rows):
        best = rows.sort_values("loss").iloc[0]
        how = f"N by the tokens per parameter of the lowest loss, {best['D'] / best['N']:.3g}"
        return float(best["N"] * (C / best["C"]) ** SQUARE_ROOT), (None, None), how
    N = float(np.sqrt(C / FLOPS_PER_PARAMETER_TOKEN / TOKENS_PER_PARAMETER))
    return N, (None, None), f"N by {TOKENS_PER_PARAMETER:g} tokens per parameter"


def _last_run(campaign: Campaign, table: pd.DataFrame) -> LastRun:
    """All that is left, at the best size, with the rate of the plane."""
    left = campaign.compute - float(table["C"].sum())
    N, N_interval, plan, notes = _best_size(campaign, table, left)
    N = max(N, campaign.smallest_N)
    D = left / FLOPS_PER_PARAMETER_TOKEN / N
    plane = rate_plane(valleys(table, "learning_rate"))
    if plane is None:
        notes += ("no point has three rates: the learning rate is the one the screen began with",)
    intervals = {} if plan is None else plan.intervals
    far = left / float(table["C"].max())
    notes += (
        f"extrapolation: the last run has {far:.3g} times the compute of the most expensive one before it",
    )
    settings = tuple(setting_answer(table, name) for name in SETTINGS)
    return LastRun(
        N=N,
        D=D,
        C=left,
        N_interval=N_interval,
        learning_rate=_rate(campaign, plane, (N, D)),
        learning_rate_interval=(None, None) if plane is None else plane.interval(N, D),
        settings=settings,
        loss_nats=None if plan is None else plan.loss_nats,
        loss_interval=intervals.get("loss_nats", (None, None)),
        source="no law" if plan is None else plan.source,
        notes=notes,
    )


def _as_planned(last: LastRun, number: int) -> RoundRun:
    low, high = last.loss_interval
    return RoundRun(
        run="last",
        round=number,
        point="last run",
        N=last.N,
        D=last.D,
        learning_rate=last.learning_rate,
        expected_loss=last.loss_nats,
        expected_low=low,
        expected_high=high,
        **{each.name: each.value for each in last.settings},
    )


def _as_written(last: LastRun, row: pd.Series[Any]) -> LastRun:
    """The last run with what the ledger says of it: the prediction is the one of before it was trained."""

    def end(name: str) -> float | None:
        return None if np.isnan(row[name]) else float(row[name])

    return replace(
        last,
        N=float(row["N"]),
        D=float(row["D"]),
        C=float(row["C"]),
        learning_rate=float(row["learning_rate"]),
        loss_nats=end("expected_loss"),
        loss_interval=(end("expected_low"), end("expected_high")),
    )


def _learned(campaign: Campaign, table: pd.DataFrame) -> tuple[str, ...]:
    """What the runs that have ended say."""
    found = valleys(table, "learning_rate")
    sentences = [_of_rates(found)]
    if (plane := rate_plane(found)) is not None:
        sentences.append(plane.words())
    names = ("screen", "screen, more N", "screen, more D")
    best: dict[str, Valley] = {each.point: each for each in found}
    if all(name in best for name in names):
        first, more_N, more_D = (best[name].loss for name in names)
        sentences.append(
            f"{POINT_FACTOR:g} times the N gains {first - more_N:.4f} nats, {POINT_FACTOR:g} times the D "
            f"{first - more_D:.4f}: slices begin at {_tilt(table):.2g} times the N of "
            f"{TOKENS_PER_PARAMETER:g} tokens per parameter"
        )
    if n_diverged := int(np.isinf(table["loss"]).sum()):
        runs = "1 run" if n_diverged == 1 else f"{n_diverged} runs"
        sentences.append(f"{runs} diverged; what was spent on it counts")
    return tuple(sentences)


def _of_rates(found: Sequence[Valley]) -> str:
    several = [each for each in found if each.n_values >= 3]
    if not several:
        return "no point has three learning rates yet"
    open_ends = [each.point for each in several if each.edge]
    if not open_ends:
        return f"the best learning rate lies between others at all {len(several)} points that have several"
    return f"the best learning rate is the lowest or highest tried at: {'; '.join(open_ends)}"


def _costs(campaign: Campaign, table: pd.DataFrame) -> tuple[RoundCost, ...]:
    lines = []
    for number in range(1, campaign.rounds + 1):
        runs = table[table["round"] == number]
        ended = runs["loss"].notna()
        lines.append(
            RoundCost(
                round=number,
                purpose=campaign.purpose_of(number),
                share=campaign.share_of(number),
                n_runs=len(runs),
                n_trained=int(ended.sum()),
                spent=float(runs.loc[ended, "C"].sum()),
                waiting=float(runs.loc[~ended, "C"].sum()),
            )
        )
    return tuple(lines)


def _planned(row: pd.Series[Any]) -> RoundRun:
    def known(name: str) -> float | None:
        return None if np.isnan(row[name]) else float(row[name])

    return RoundRun(
        run=str(row["run"]),
        round=int(row["round"]),
        point=str(row["point"]),
        N=float(row["N"]),
        D=float(row["D"]),
        learning_rate=float(row["learning_rate"]),
        **{name: known(name) for name in (*SETTINGS, "expected_loss", "expected_low", "expected_high")},
    )

"""Batch and learning rate: rules from papers, and what a study's own runs say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.fit.intervals import Interval, percentile_interval
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.plan.question import TrainingPlan

if TYPE_CHECKING:
    from scaling_laws.laws.results.types import FamilyLaws, UsedRate

PORIAN_RANGE = (25e6, 110e6)
"""N of the sweeps that Porian et al. 2024 fitted their rules to."""
KAPLAN_RATE_FAILS = 1e10
"""Above this N the authors say that (D.1) fails; it is zero at 1.21e10."""
FEWEST_SIZES = 3
EXACT = 1e-6
"""Scatter of ln rate below which the rates are a rule that somebody set, not one that was found."""
FAR_SIZE = 3.0
"""Times the largest size of the runs, beyond which a rule of N is called an extrapolation."""


@dataclass(frozen=True, kw_only=True)
class RateRule:
    """learning rate = coefficient N^exponent, by least squares in logarithms over the sizes.

    Attributes:
        coefficient, exponent: of the rule.
        N: (sizes,), ascending.
        log_sd: standard deviation of ln rate about the rule, for sizes - 2 degrees of freedom.
    """

    coefficient: float
    exponent: float
    N: FloatArray
    log_sd: float

    def at(self, N: float) -> float:
        return float(self.coefficient * N**self.exponent)

    def interval(self, N: float) -> Interval:
        """90 % of the best rate of one further size (Student's t); unknown for a rule without scatter."""
        if self.log_sd < EXACT:
            return None, None
        from scipy.stats import t

        log_N = np.log(self.N)
        centre, spread = log_N.mean(), np.sum((log_N - log_N.mean()) ** 2)
        sd = self.log_sd * np.sqrt(1 + 1 / len(log_N) + (np.log(N) - centre) ** 2 / spread)
        factor = np.exp(sd * t.ppf((1 + LEVEL) / 2, len(log_N) - 2))
        return self.at(N) / float(factor), self.at(N) * float(factor)


def kaplan_learning_rate(N: float) -> tuple[float | None, str]:
    """LR(N) = 0.003239 - 0.0001395 ln N, and where it comes from (Kaplan 2020, equation D.1)."""
    rate = 0.003239 - 0.0001395 * float(np.log(N))
    origin = "Kaplan et al. 2020, equation (D.1)"
    if rate <= 0:
        return None, f"{origin}: the rule has no positive rate at this N; it fails above N = 1e10"
    return rate, origin + ("; the authors say that it fails above N = 1e10" if N > KAPLAN_RATE_FAILS else "")


def porian(N: float) -> tuple[float, float, str]:
    """Batch in tokens and learning rate of Porian et al. 2024 (arXiv 2406.19146), and a label.

    B = 0.7576 N^0.703 tokens, LR = 3.7 N^-0.36, fitted to 25M-110M parameters (the head counted, the input
    embedding not) at a constant learning rate with AdamW.
    """
    low, high = PORIAN_RANGE
    fitted = "fitted to" if low <= N <= high else "extrapolated from"
    label = f"suggestion of Porian et al. 2024, {fitted} {low / 1e6:.0f}M-{high / 1e6:.0f}M parameters"
    return 0.7576 * N**0.703, 3.7 * N**-0.36, label


def with_porian(plan: TrainingPlan) -> TrainingPlan:
    """A published plan whose source has no batch, with Porian's as a labelled suggestion."""
    batch_tokens, rate, label = porian(plan.N)
    return replace(
        plan,
        batch_tokens=batch_tokens,
        steps=plan.D / batch_tokens,
        learning_rate=rate,
        origins={"batch_tokens": label, "learning_rate": label},
    )


def with_recipe(plan: TrainingPlan, laws: FamilyLaws) -> TrainingPlan:
    """A plan with the batch and the learning rate of the study's own runs."""
    batch_tokens, batch_interval, batch_origin = _batch(plan, laws)
    rate, rate_interval, rate_origin = _rate(plan.N, laws.learning_rates)
    intervals = dict(plan.intervals)
    if batch_interval != (None, None):
        intervals["batch_tokens"] = batch_interval
    if rate_interval != (None, None):
        intervals["learning_rate"] = rate_interval
    batch, porian_rate, label = porian(plan.N)
    if batch_tokens is None:
        batch_origin += f"; {label}: {batch:.3g} tokens"
    if rate is None:
        rate_origin += f"; {label}: {porian_rate:.2g}"
    return replace(
        plan,
        batch_tokens=batch_tokens,
        steps=None if batch_tokens is None else plan.D / batch_tokens,
        learning_rate=rate,
        intervals=intervals,
        origins={"batch_tokens": batch_origin, "learning_rate": rate_origin},
    )


def _batch(plan: TrainingPlan, laws: FamilyLaws) -> tuple[float | None, Interval, str]:
    """Tokens a step, its interval and where it comes from."""
    scanned = laws.critical_batch if laws.critical_batch.measured else None
    why_not = ""
    for fit in (laws.fit(CriticalBatch.form), scanned):
        if fit is None:
            continue
        if not fit.identified:
            why_not = f" (the critical batch is not identified: {fit.reason})"
            continue
        batch = float(fit.law.batch_tokens(plan.loss_nats))
        origin = "fitted to these runs: the critical batch at the expected loss, twice the least steps"
        low, high = fit.ranges.get("L", (0.0, np.inf))
        if not low <= plan.loss_nats <= high:
            origin += f"; an extrapolation, it was measured at losses of {low:.3g} to {high:.3g}"
        interval: Interval = (None, None)
        if fit.draws is not None:
            interval = percentile_interval(fit.draws.batch_tokens(plan.loss_nats))
        return batch, interval, origin
    with_batch = [used for used in laws.learning_rates if used.batch_tokens]
    batches = sorted({used.batch_tokens for used in with_batch if used.batch_tokens})
    if not batches:
        return None, (None, None), f"not known to this law{why_not}"
    if len(batches) == 1:
        return batches[0], (None, None), f"the one batch of all runs, no optimum{why_not}"
    nearest = min(with_batch, key=lambda used: abs(np.log(used.N / plan.N)))
    origin = f"the batch of the run nearest in size, N = {nearest.N:.3g}; no optimum{why_not}"
    return nearest.batch_tokens, (None, None), origin


def _rate(N: float, used: Sequence[UsedRate]) -> tuple[float | None, Interval, str]:
    """Learning rate, its interval and where it comes from."""
    known = [each for each in used if each.learning_rate]
    if not known:
        return None, (None, None), "not known to this law"
    rule = fit_rate_rule(known)
    if rule is None:
        nearest = min(known, key=lambda each: abs(np.log(each.N / N)))
        few = f"fewer than {FEWEST_SIZES} sizes: no rule"
        return nearest.learning_rate, (None, None), f"the rate of N = {nearest.N:.3g} ({few})"
    set_or_found = (
        "all rates lie on it: the rule the runs were given, not one they found"
        if rule.log_sd < EXACT
        else f"fitted to the best rates of {len(rule.N)} sizes"
    )
    origin = f"{rule.coefficient:.3g} N^{rule.exponent:.3g}, {set_or_found}"
    if not rule.N[0] / FAR_SIZE <= N <= rule.N[-1] * FAR_SIZE:
        origin += f"; an extrapolation from N of {rule.N[0]:.3g} to {rule.N[-1]:.3g}"
    return rule.at(N), rule.interval(N), origin


def fit_rate_rule(used: Sequence[UsedRate]) -> RateRule | None:
    """The power law through each size's mean ln rate; None below `FEWEST_SIZES` sizes.

    Args:
        used: of each size's best runs, all with a rate.
    """
    by_size: dict[float, list[float]] = {}
    for each in used:
        assert each.learning_rate is not None
        by_size.setdefault(each.N, []).append(float(np.log(each.learning_rate)))
    if len(by_size) < FEWEST_SIZES:
        return None
    N = np.array(sorted(by_size))
    log_N, log_rate = np.log(N), np.array([np.mean(by_size[size]) for size in N])
    exponent, intercept = np.polyfit(log_N, log_rate, 1)
    residual = log_rate - (intercept + exponent * log_N)
    return RateRule(
        coefficient=float(np.exp(intercept)),
        exponent=float(exponent),
        N=N,
        log_sd=float(np.sqrt(np.sum(residual**2) / (len(N) - 2))),
    )

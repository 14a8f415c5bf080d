"""What a study could tell, before a run of it is trained: its runs are simulated, and fitted as runs are.

A rule that no study of its size can decide shows so here: the law is not identified in most of the simulated
studies, or its intervals are wider than what the rule asks for.
"""

from __future__ import annotations

import html
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scaling_laws.laws.allocation.frontier import envelope, size_curves
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.fit.noise import seed_noise
from scaling_laws.laws.forms.joint import ChinchillaTied, JointLaw
from scaling_laws.laws.forms.single import Broken
from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
from scaling_laws.laws.results.family import fits_of_runs
from scaling_laws.laws.results.fitted import Settings, fitted_law
from scaling_laws.laws.results.types import FittedLaw
from scaling_laws.study.errors import InputError
from scaling_laws.study.processes import clean_pool
from scaling_laws.study.stages import Stage

if TYPE_CHECKING:
    import pandas as pd

USUAL_NOISE, USUAL_SHARED = 0.005, 0.7
"""Where nothing is known: standard deviation of ln loss from seed to seed, and the share of its variance that
the runs of one training have in common (the mildest case of `make coverage`)."""
STUDIES, RESAMPLES = 100, 100
SHOWN_UNITS = ("1", "nats/token")
"""Of exponents and irreducible losses: what rules are about. A scale goes with its exponent."""


@dataclass(frozen=True, kw_only=True)
class ParameterPower:
    """How well the simulated studies know one parameter of one law.

    Attributes:
        name: of the parameter, or a_opt, b_opt.
        true: what was put in; None where the law is of another form than the truth.
        median: of the estimates, over the studies in which the law is identified.
        width: median width of the 90 % interval; infinite where most of them are open.
        covered: share of the intervals that hold the truth; None where there is none.
    """

    name: str
    true: float | None
    median: float
    width: float
    covered: float | None


@dataclass(frozen=True, kw_only=True)
class LawPower:
    """What the simulated studies say of one law.

    Attributes:
        form: its name.
        rows: which runs of the first study it was fitted to, a sentence.
        n_rows: how many these were.
        not_identified: share of the studies whose runs do not determine the law.
        reason: the most frequent reason; empty where it always is identified.
        parameters: of the studies in which it is identified; empty where there is none.
    """

    form: str
    rows: str
    n_rows: int
    not_identified: float
    reason: str
    parameters: tuple[ParameterPower, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Power:
    """What a design can tell about the laws.

    Attributes:
        truth: formula and parameters of the law that losses followed.
        noise, shared: standard deviation of ln loss, and the share of its variance that the runs of one
            training have in common.
        n_runs, n_trainings: of the design.
        studies: simulated.
        elapsed_s: that it took.
        laws: in the order of the catalogue.

    Examples:
        >>> import pandas as pd
        >>> from scaling_laws.laws.published import BESIROGLU
        >>> design = pd.DataFrame({"N": [1e8, 1e8, 1e9, 1e9], "D": [2e9, 2e10, 2e9, 2e10]})
        >>> found = power(BESIROGLU, design, studies=1, resamples=5)
        >>> found.of("chinchilla").reason
        'only 2 different N: an irreducible loss needs at least 3'
    """

    truth: str
    noise: float
    shared: float
    n_runs: int
    n_trainings: int
    studies: int
    elapsed_s: float
    laws: tuple[LawPower, ...]

    def of(self, form: str) -> LawPower:
        """What is known of one law.

        Raises:
            InputError: it was not fitted.
        """
        found = next((law for law in self.laws if law.form == form), None)
        if found is None:
            raise InputError(f"no law {form!r} was simulated; there are {', '.join(map(_form, self.laws))}")
        return found

    def summary(self) -> str:
        """A line a parameter, and what the numbers are."""
        head = (
            f"{self.studies} simulated studies of these {self.n_runs} runs in {self.n_trainings} trainings, "
            f"{self.elapsed_s:.0f} s. Losses follow {self.truth}, with {100 * self.noise:.2g} % noise, "
            f"{100 * self.shared:.0f} % of its variance common to a training's runs."
        )
        columns = ("law", "rows", "not identified", "parameter", "true", "found", "90 % interval", "holds it")
        table = [columns, *(row for law in self.laws for row in _rows(law))]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table
        )
        reasons = [f"{law.form}: {law.reason}" for law in self.laws if law.reason]
        return "\n".join(
            [
                head,
                "",
                *(line.rstrip() for line in lines),
                "found: median estimate. 90 % interval: its median width. holds it: share of intervals "
                "around what was put in.",
                *(["Most frequent reasons why a law is not identified:"] if reasons else []),
                *(f"  {reason}" for reason in reasons),
            ]
        )

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        head, _, table = self.summary().partition("\n\n")
        return f"<p>{html.escape(head)}</p><pre>{html.escape(table)}</pre>"


def _form(law: LawPower) -> str:
    return law.form


def _rows(law: LawPower) -> list[tuple[str, ...]]:
    """The law's lines of the table."""
    first = (law.form, str(law.n_rows), f"{100 * law.not_identified:.0f} %")
    lines = [
        (
            each.name,
            "" if each.true is None else f"{each.true:.3g}",
            f"{each.median:.3g}",
            f"{each.width:.2g} wide" if math.isfinite(each.width) else "open",
            "" if each.covered is None else f"{100 * each.covered:.0f} %",
        )
        for each in law.parameters
    ] or [("", "", "", "", "")]
    return [(first if number == 0 else ("", "", "")) + line for number, line in enumerate(lines)]


def simulate(
    law: JointLaw,
    design: pd.DataFrame,
    *,
    noise: float = USUAL_NOISE,
    seeds: int = 1,
    shared: float = USUAL_SHARED,
    seed: int = 0,
) -> pd.DataFrame:
    """The runs of one study whose losses follow a law.

    Args:
        law: of N and D: `sl.fit(...).law`, or one with parameters of your own.
        design: which runs there are: columns N (parameters) and D (tokens). Runs of one `trunk` share part of
            their noise; without that column, those of one N do, as cooldown branches of one training. Other
            columns stay.
        noise: standard deviation of ln loss from seed to seed.
        seeds: trainings of each one in the design.
        shared: share of the noise's variance that the runs of one training have in common.
        seed: of the random numbers.

    Returns:
        The design, `seeds` times, with columns run, trunk, family, seed, C and loss (nats per token).

    Raises:
        InputError: no law of N and D, a column is missing, or a number is out of its range.

    Examples:
        >>> import pandas as pd
        >>> from scaling_laws.laws.published import BESIROGLU
        >>> design = pd.DataFrame({"N": [1e8, 1e8, 1e9, 1e9], "D": [2e9, 2e10, 2e9, 2e10]})
        >>> runs = simulate(BESIROGLU, design, noise=0.01, seeds=3)
        >>> len(runs), runs["trunk"].nunique(), bool((runs["loss"] > 2).all())
        (12, 6, True)
    """
    import pandas as pd

    if not isinstance(law, JointLaw):
        raise InputError("a study is simulated from a law of N and D, as kaplan_nd or chinchilla")
    for column in ("N", "D"):
        if column not in design.columns:
            raise InputError(f"the design has no column {column!r}; it has {', '.join(design.columns)}")
    if not 0 <= noise < 1 or not 0 <= shared <= 1 or seeds < 1:
        raise InputError(
            f"noise is {noise}, shared {shared}, seeds {seeds}: give two shares and a whole number from 1"
        )
    design = design.reset_index(drop=True)
    trunk = design["trunk"] if "trunk" in design else design["N"].map("{:.6g}".format)
    own = design["seed"] if "seed" in design else pd.Series(1, index=design.index)
    parts = [
        design.assign(trunk=trunk if seeds == 1 else trunk + f" seed {number + 1}", seed=own + 1000 * number)
        for number in range(seeds)
    ]
    runs = pd.concat(parts, ignore_index=True)
    random = np.random.default_rng(seed)
    _, training = np.unique(runs["trunk"].astype(str), return_inverse=True)
    common = random.normal(size=int(training.max()) + 1)[training]
    deviation = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.normal(size=len(runs))
    with np.errstate(all="ignore"):
        loss = law.loss(runs["N"].to_numpy(float), runs["D"].to_numpy(float)) * np.exp(noise * deviation)
    if not (np.isfinite(loss) & (loss > 0)).all():
        raise InputError(f"{law.form}: gives no loss at some N and D of the design")
    return runs.assign(
        run=[f"run {number + 1}" for number in range(len(runs))],
        family=runs.get("family", "simulated"),
        C=FLOPS_PER_PARAMETER_TOKEN * runs["N"] * runs["D"],
        loss=loss,
    )


def power(
    law: JointLaw,
    design: pd.DataFrame,
    *,
    noise: float = USUAL_NOISE,
    seeds: int = 1,
    shared: float = USUAL_SHARED,
    studies: int = STUDIES,
    resamples: int = RESAMPLES,
    processes: int = 1,
    seed: int = 0,
) -> Power:
    """Simulate a study many times, fit every law to each as `analyse` does, and say how sure it would be.

    Left out are laws with a break, which take long to fit, and the tied one, which assumes its exponents.

    Args:
        law, design, noise, seeds, shared: as `simulate`.
        studies: how many are simulated; each takes about a second for 50 runs.
        resamples: of the bootstrap behind each interval.
        processes: that share the work out; the result is the same.
        seed: of the random numbers.

    Raises:
        InputError: as `simulate`, or a number is below 1.

    Examples:
        >>> import numpy as np, pandas as pd
        >>> from scaling_laws.laws.published import BESIROGLU
        >>> N, D = np.meshgrid(np.geomspace(1e8, 1e9, 5), np.geomspace(1e9, 1e11, 5))
        >>> design = pd.DataFrame({"N": N.ravel(), "D": D.ravel()})
        >>> found = power(BESIROGLU, design, noise=0.002, seeds=2, studies=2, resamples=20)
        >>> found.of("chinchilla").not_identified
        0.0
    """
    if min(studies, resamples, processes) < 1:
        raise InputError("studies, resamples and processes are whole numbers from 1")
    started = time.perf_counter()
    first = simulate(law, design, noise=noise, seeds=seeds, shared=shared, seed=0)
    numbers = [seed * studies + number for number in range(studies)]
    arguments = list(
        zip(*((law, design, noise, seeds, shared, resamples, number) for number in numbers), strict=True)
    )
    found = []
    with (
        Stage(f"fitting every law to {studies} simulated studies", studies) as stage,
        clean_pool(processes) if processes > 1 else nullcontext() as pool,
    ):
        for fits in pool.map(_one_study, *arguments, chunksize=5) if pool else map(_one_study, *arguments):
            found.append(fits)
            stage.done()
    values = ", ".join(f"{name} = {value:.4g}" for name, value in vars(law).items())
    return Power(
        truth=f"{law.formula} ({values})",
        noise=noise,
        shared=shared,
        n_runs=len(first),
        n_trainings=first["trunk"].nunique(),
        studies=studies,
        elapsed_s=time.perf_counter() - started,
        laws=tuple(_law_power(law, of_form) for of_form in zip(*found, strict=True)),
    )


def _one_study(
    law: JointLaw,
    design: pd.DataFrame,
    noise: float,
    seeds: int,
    shared: float,
    resamples: int,
    number: int,
) -> list[FittedLaw]:
    """Every law of one simulated study."""
    runs = simulate(law, design, noise=noise, seeds=seeds, shared=shared, seed=number)
    runs = runs.drop(columns=runs.columns.intersection(["unique_tokens"]))
    settings = Settings(n="N", c="C", delta=DEFAULT_DELTA, resamples=resamples, seed=number)
    between_seeds = seed_noise(runs[["run", "trunk", "family", "seed", "N", "D", "loss"]])
    fits = fits_of_runs(
        runs, envelope(size_curves(runs)), delta=settings.delta, skip=(Broken, ChinchillaTied)
    )
    return [fitted_law(fit, sentence, len(runs), between_seeds, settings) for fit, sentence in fits]


def _law_power(truth: JointLaw, fits: Sequence[FittedLaw]) -> LawPower:
    """One law over all studies."""
    identified = [fit for fit in fits if fit.identified]
    reasons = Counter(fit.reason for fit in fits if not fit.identified)
    of_form = dict(vars(truth)) if fits[0].form == truth.form else {}
    true = {**of_form, "a_opt": truth.a_opt, "b_opt": truth.b_opt}
    shown = [name for name, unit in fits[0].units.items() if unit in SHOWN_UNITS]
    shown += ["a_opt"] if identified and identified[0].derived else []
    return LawPower(
        form=fits[0].form,
        rows=fits[0].rows,
        n_rows=fits[0].n_rows,
        not_identified=1 - len(identified) / len(fits),
        reason=reasons.most_common(1)[0][0] if reasons else "",
        parameters=tuple(_parameter_power(name, true.get(name), identified) for name in shown)
        if identified
        else (),
    )


def _parameter_power(name: str, true: float | None, fits: Sequence[FittedLaw]) -> ParameterPower:
    values = [float({**fit.parameters, **fit.derived}[name] or 0.0) for fit in fits]
    ends = [
        (-math.inf if low is None else low, math.inf if high is None else high)
        for low, high in (fit.intervals[name] for fit in fits)
    ]
    return ParameterPower(
        name=name,
        true=None if true is None else float(true),
        median=float(np.median(values)),
        width=float(np.median([high - low for low, high in ends])),
        covered=None if true is None else float(np.mean([low <= true <= high for low, high in ends])),
    )

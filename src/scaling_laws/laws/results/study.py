"""From a study's tables to its laws (docs/laws-json.md): every law of every family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from scaling_laws.laws.checks.rollout_scores import Comparison
from scaling_laws.laws.fit import DEFAULT_DELTA, DEFAULT_RESAMPLES
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.level import LEVEL, at_level, use_level
from scaling_laws.laws.fit.noise import SeedNoise, seed_noise
from scaling_laws.laws.fit.rows import LARGE_ROWS
from scaling_laws.laws.fit.shared_exponents import SHARED_FORMS, SharedLaw, fit_families
from scaling_laws.laws.forms.catalogue import FITTED_JOINT_FORMS
from scaling_laws.laws.forms.terms import Law
from scaling_laws.laws.positions import PositionLosses, late_pairs, losses_by_run
from scaling_laws.laws.results.chosen_forms import (
    fit_forms,
    law_called,
    require_columns,
    rows_of,
    timed,
    which_rows,
)
from scaling_laws.laws.results.family import AXES, FamilyTables, checks_of, laws_of, rolled_out
from scaling_laws.laws.results.finished import finished_laws, left_out_of
from scaling_laws.laws.results.fitted import POSITION_CORPUS, Settings, fitted_law, position_fits
from scaling_laws.laws.results.types import (
    Conventions,
    FamilyLaws,
    LatePositions,
    Laws,
    PositionFit,
)
from scaling_laws.laws.selection import usable_runs
from scaling_laws.laws.task_laws import fit_tasks, scored_rows
from scaling_laws.laws.token_classes import novel_laws
from scaling_laws.study.processes import clean_pool, n_cores
from scaling_laws.study.runs import NOT_EXPORTED
from scaling_laws.study.stages import Stage

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.study.runs import Study

CURVE_COLUMNS = ("run", "step", "tokens", "learning_rate", "noise_scale_tokens")
"""What the laws read of learning curves, beside the test loss."""
RUNS_WORTH_PROCESSES = 40
"""From here on fitting takes longer than starting processes that share it."""
COST_OF_A_PART = 1.5
"""Of a family's laws, and of its checks, where the roll-out of one axis costs 1."""
RUNS_OF_A_START = 20
"""A family costs as much as if it had so many runs more."""
TIMED_FORM = "chinchilla"
FITS, INTERVALS = 75.0, 15.0
"""Every law of a table takes so many times what one fit takes, and one form's refits."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def fit_folder(
    study: Study,
    *,
    n: str = "N",
    c: str = "C",
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    forms: Sequence[str | type[Law]] = (),
) -> Laws:
    """Every law of a study: `fit_study` of its tables. One without a complete run has none, and says so."""
    if study.runs.empty:
        return no_laws(study)
    laws = fit_study(
        study.name,
        study.runs,
        study.positions(),
        study.left_out,
        study.curves(),
        study.token_classes(),
        study.task_scores(),
        n=n,
        c=c,
        delta=delta,
        resamples=resamples,
        seed=seed,
        level=level,
        forms=forms,
        processes=processes_for(study.runs),
    )
    return replace(laws, warnings=(NOT_EXPORTED, *laws.warnings)) if study.exported else laws


def processes_for(runs: pd.DataFrame) -> int:
    """How many processes are worth starting."""
    return n_cores() if len(runs) >= RUNS_WORTH_PROCESSES else 1


def no_laws(study: Study, reason: str = "no run is complete") -> Laws:
    """Of a study for which there is nothing to fit, with the reason."""
    unusable = [] if study.runs.empty else usable_runs(study.runs)[1]
    return Laws(
        study=study.name,
        conventions=Conventions(N="N", C="C", loss="loss"),
        noise=SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, shared=None, reason=reason),
        late_positions=LatePositions(reason=reason),
        left_out=left_out_of(study.left_out, unusable),
        warnings=(f"There is no law: {reason}.",),
    )


def fit_study(
    name: str,
    runs: pd.DataFrame,
    positions: pd.DataFrame | None = None,
    left_out: pd.DataFrame | None = None,
    curves: pd.DataFrame | None = None,
    classes: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
    *,
    n: str = "N",
    c: str = "C",
    delta: float = DEFAULT_DELTA,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    forms: Sequence[str | type[Law]] = (),
    processes: int = 1,
) -> Laws:
    """Fit every law of `docs/laws-json.md`, family by family.

    Args:
        name: of the study or of the CSV file.
        runs: columns run, trunk, family, D (tokens), loss (nats per token), `n` (parameters) and `c` (FLOPs);
            the other columns of `runs.Study.runs` are used where they are there.
        positions: columns run, corpus, fold, position, loss_sum_nats, count: the final evaluations.
        left_out: columns run, status, reason: runs that are not in `runs`, and why.
        curves: columns run, step, tokens, learning_rate and test_loss_nats: the runs' learning curves.
        classes: columns run, step, corpus, token_class, loss_sum_nats, count: the final evaluations.
        scores: the final scores of tasks, as `Study.task_scores`; else those of a column `accuracy`.
        n, c: which columns count as N and C.
        delta: of Huber's loss, in ln L.
        resamples: of each bootstrap.
        seed: of the bootstraps.
        level: of every interval; whether a law is identified is judged by `LEVEL`.
        forms: laws of a user's own, which stand beside ours.
        processes: that share the work out (`processes.clean_pool`); the result is the same.

    Raises:
        InputError: there are no runs, a column is missing, or a value is not a finite positive number.
    """
    settings = Settings(n=n, c=c, delta=delta, resamples=resamples, seed=seed, level=level)
    with at_level(level):
        tables = positions, left_out, curves, classes, scores
        return _every_law(name, runs, *tables, settings, forms, processes)


def _every_law(
    name: str,
    runs: pd.DataFrame,
    positions: pd.DataFrame | None,
    left_out: pd.DataFrame | None,
    curves: pd.DataFrame | None,
    classes: pd.DataFrame | None,
    scores: pd.DataFrame | None,
    settings: Settings,
    forms: Sequence[str | type[Law]],
    processes: int,
) -> Laws:
    n, c = settings.n, settings.c
    usable, unusable = usable_runs(runs, n=n, c=c)
    if len(usable) > LARGE_ROWS:
        return _of_large_table(name, runs, left_out, forms, settings)
    own = [law_called(form) for form in forms]
    for kind in own:
        require_columns(kind, usable)
    noise = seed_noise(usable)
    losses = {} if positions is None else losses_by_run(positions, POSITION_CORPUS)
    expected_s = None
    if (one_form := timed(runs, [TIMED_FORM], settings)) is not None:
        expected_s = (FITS * one_form.fit_s + INTERVALS * one_form.refits_s) / processes
    costs = usable["family"].value_counts() + RUNS_OF_A_START
    total = float(costs.sum()) * (len(AXES) + 2 * COST_OF_A_PART)
    with (
        clean_pool(processes, use_level, settings.level) if processes > 1 else nullcontext() as pool,
        Stage(f"fitting every law to {len(usable):,} runs", total, expected_s=expected_s) as fitting,
    ):

        def start(
            cost: float,
            part: Callable[Arguments, Result],
            *arguments: Arguments.args,
            **named: Arguments.kwargs,
        ) -> Callable[[], Result]:
            """The part's result, to be waited for; without processes it is made then."""
            if pool is None:

                def make() -> Result:
                    made = part(*arguments, **named)
                    fitting.done(cost)
                    return made

                return make
            future = pool.submit(part, *arguments, **named)
            future.add_done_callback(lambda _: fitting.done(cost))
            return future.result

        # The largest family first, so that no process is left alone with it at the end.
        started = []
        for family, cost in costs.items():
            complete = runs[runs["family"] == family]
            tables = FamilyTables(
                family=str(family),
                complete=complete,
                runs=usable[usable["family"] == family],
                curves=curves_of_runs(curves, complete),
                noise=noise,
                settings=settings,
            )
            rollouts = [start(cost, rolled_out, tables, axis) for axis in AXES]
            checks = start(COST_OF_A_PART * cost, checks_of, tables)
            started.append((rollouts, checks, start(COST_OF_A_PART * cost, laws_of, tables)))
        novel = {
            str(family): start(0.0, novel_laws, runs_of, of_test, n_runs, settings)
            for family, runs_of, of_test, n_runs in _with_classes(usable, runs, classes)
        }
        shared = start(0.0, _shared_laws, usable, noise, settings)
        by_position = start(0.0, _by_position, usable, losses, settings)
        scored = scored_rows(usable.assign(N=usable[n], C=usable[c]), scores)
        tasks = None if scored is None else start(0.0, fit_tasks, scored)
        by_family = [
            _together([rollout() for rollout in rollouts], checks(), laws())
            for rollouts, checks, laws in started
        ]
        by_family = [
            replace(laws, novel=novel[laws.family]()) if laws.family in novel else laws for laws in by_family
        ]
        if own:  # here: a notebook's class is in no module that another process could import
            by_family = [_with_own(each, own, usable, runs, noise, settings) for each in by_family]
        position_laws, late_positions = by_position()
        laws = Laws(
            study=name,
            conventions=Conventions(N=n, C=c, loss="loss"),
            by_family=tuple(sorted(by_family, key=lambda laws: laws.family)),
            shared=shared(),
            positions=position_laws,
            noise=noise,
            late_positions=late_positions,
            left_out=left_out_of(left_out, unusable),
            tasks=() if tasks is None else tasks(),
        )
    return finished_laws(laws, usable, runs, positions, settings)


def _of_large_table(
    name: str,
    runs: pd.DataFrame,
    left_out: pd.DataFrame | None,
    own: Sequence[str | type[Law]],
    settings: Settings,
) -> Laws:
    """The laws of N and D; what compares runs with one another would take their number squared."""
    forms = [*(form.form for form in FITTED_JOINT_FORMS), *own]
    laws = fit_forms(name, runs, forms, left_out=left_out, settings=settings)
    what = (
        f"A table of more than {LARGE_ROWS:,} runs has laws of N and D alone: slices of equal compute, "
        "roll-outs and checks are made of fewer; keep some with --where."
    )
    return replace(laws, warnings=(what, *laws.warnings))


def _with_own(
    laws: FamilyLaws,
    own: Sequence[type[Law]],
    usable: pd.DataFrame,
    runs: pd.DataFrame,
    noise: SeedNoise,
    settings: Settings,
) -> FamilyLaws:
    """The family's laws with those of the user's own, fitted to all of its runs that a law may use."""
    of_family, n_runs = usable[usable["family"] == laws.family], int((runs["family"] == laws.family).sum())
    fits = []
    for kind in own:
        fit = fit_law(kind, rows_of(kind, of_family), delta=settings.delta)
        fits.append(fitted_law(fit, which_rows(fit), n_runs, noise, settings))
    return replace(laws, fits=(*laws.fits, *fits))


def _together(rollouts: Sequence[tuple[Comparison, ...]], checks: FamilyLaws, laws: FamilyLaws) -> FamilyLaws:
    return replace(
        laws,
        rollout=tuple(comparison for rollout in rollouts for comparison in rollout),
        holdout=checks.holdout,
        learning_curves=checks.learning_curves,
        outliers=checks.outliers,
        bracketing=checks.bracketing,
        sensitivity=checks.sensitivity,
    )


def _with_classes(
    usable: pd.DataFrame, runs: pd.DataFrame, classes: pd.DataFrame | None
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame, int]]:
    """Of each family that left losses by class: its name, its runs, those losses, how many runs it has."""
    if classes is None or classes.empty:
        return
    of_main = classes[classes["corpus"] == POSITION_CORPUS]
    for family, of_family in usable.groupby("family"):
        losses = of_main[of_main["run"].isin(of_family["run"])]
        if len(losses):
            yield str(family), of_family, losses, int((runs["family"] == family).sum())


def _shared_laws(usable: pd.DataFrame, noise: SeedNoise, settings: Settings) -> tuple[SharedLaw, ...]:
    """What one law of all families together says of each."""
    return tuple(
        fit_families(
            form,
            usable,
            noise=noise,
            delta=settings.delta,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for form in SHARED_FORMS
    )


def _by_position(
    usable: pd.DataFrame, losses: dict[str, PositionLosses], settings: Settings
) -> tuple[tuple[PositionFit, ...], LatePositions]:
    position_from, pairs, reason = late_pairs(usable, losses, seed=settings.seed)
    late = LatePositions(position_from=position_from, pairs=tuple(pairs), reason=reason)
    return position_fits(usable, losses, settings), late


def curves_of_runs(curves: pd.DataFrame | None, runs: pd.DataFrame) -> pd.DataFrame | None:
    """The learning curves of some runs, with the test loss as `loss`; None where it was not measured."""
    if curves is None or "test_loss_nats" not in curves.columns:
        return None
    known = [column for column in CURVE_COLUMNS if column in curves.columns]
    of_runs = curves.loc[curves["run"].isin(runs["run"]), known].assign(loss=curves["test_loss_nats"])
    return None if of_runs["loss"].isna().all() else of_runs.dropna(subset=["loss"])

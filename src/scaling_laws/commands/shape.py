"""`scaling-laws sweep` of a sweep file with a section `search:`: a shape study, and its result."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from scaling_laws.study.names import terminal

if TYPE_CHECKING:
    from scaling_laws.sweeps.plan.experiments import Plan
    from scaling_laws.sweeps.run.engines import Engine

    Train = Callable[[Plan, argparse.Namespace], dict[str, str]]


def shape_study(plan: Plan, options: argparse.Namespace, engine: Engine, train: Train) -> dict[str, str]:
    """Preview a search (`--dry-run`), or run it and write its result; returns the jobs that failed.

    Args:
        engine: where the trials run.
        train: what the verb `sweep` trains a plan with.

    Raises:
        InputError: as `run_search`, or no trial came to an end.
        Interrupted: a signal came, and what was running is saved.
    """
    from rich.console import Console

    from scaling_laws.data.tokens import build_corpus
    from scaling_laws.report.shape_result import markdown, write_shape_result
    from scaling_laws.sweeps.run.progress import view
    from scaling_laws.sweeps.search.follow_up import best_of_each_shape, replicates, transferred
    from scaling_laws.sweeps.search.preview import preview
    from scaling_laws.sweeps.search.result import correction_of, shape_result
    from scaling_laws.sweeps.search.search import run_search
    from scaling_laws.sweeps.search.trials import held_out_losses, search_of

    costs = preview(plan)  # an impossible trial is refused before the first
    if options.dry_run:
        print(costs)
        return {}
    settings = search_of(plan)
    correction = correction_of(settings)
    build_corpus(plan.corpus, plan.corpus_folder, file=plan.sweep.corpus)
    with view(Console(quiet=options.quiet, file=terminal()), quiet=options.quiet) as watch:
        search = run_search(
            plan,
            engine,
            storage=options.storage,
            watch=watch,
            retry_failed=options.retry_failed,
            leave_when_idle=options.leave_when_idle,
            stop_at_s=options.stop_at_s,
        )
    failed, finished = dict(search.progress.failed), list(search.finished.values())
    ranked = best_of_each_shape(finished, correction, settings.N)
    more = [run for runs in replicates(plan, ranked) for run in runs]
    more += [run for _, run in transferred(plan, ranked)]
    if more:  # the trials are there already; the study's plan names them, too
        trials = [one.trial for one in finished]
        failed |= train(replace(plan, jobs=tuple(run.job for run in [*trials, *more])), options)
    result = shape_result(plan, finished, search.n_infeasible)
    curves = {trial.run: held_out_losses(plan.folder / trial.run) for trial in result.trials}
    write_shape_result(result, curves, plan.folder)
    print(markdown(result))
    print(f"result: {plan.folder / 'shape.md'}, shape.json, trials.csv, curves.csv, shape.png and shape.svg")
    return failed

"""`scaling-laws sweep` of a sweep file with a section `search:`: a shape study, and its result."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from scaling_laws.sweeps.plan.experiments import Plan
    from scaling_laws.sweeps.search.search_progress import SearchProgress

    Train = Callable[[Plan, argparse.Namespace], dict[str, str]]


def shape_study(plan: Plan, options: argparse.Namespace, train: Train) -> dict[str, str]:
    """Preview a search (`--dry-run`), or run it and write its result; returns the trainings that failed.

    Args:
        train: what the verb `sweep` trains a plan with.

    Raises:
        InputError: as `Search`, or no trial came to an end.
        Interrupted: a signal came, and what was running is saved.
    """
    from rich.console import Console

    from scaling_laws.data.tokens import build_corpus
    from scaling_laws.report.shape_result import markdown, write_shape_result
    from scaling_laws.sweeps.run.devices import default_workers
    from scaling_laws.sweeps.search.follow_up import best_of_each_shape, replicates, transferred
    from scaling_laws.sweeps.search.preview import preview
    from scaling_laws.sweeps.search.result import correction_of, shape_result
    from scaling_laws.sweeps.search.search import Search
    from scaling_laws.sweeps.search.trials import held_out_losses, search_of

    costs = preview(plan)  # an impossible trial is refused before the first
    if options.dry_run:
        print(costs)
        return {}
    console, search = Console(quiet=options.quiet), search_of(plan)
    correction = correction_of(search)
    build_corpus(plan.corpus, plan.corpus_folder)
    workers = options.workers or default_workers(str(plan.sweep.trainer_arguments["accelerator"]))
    progress = Search(plan, storage=options.storage).run(workers=workers, watch=_View(console))
    failed, finished = dict(progress.failed), list(progress.done.values())
    ranked = best_of_each_shape(finished, correction, search.N)
    more = [run for runs in replicates(plan, ranked) for run in runs]
    more += [run for _, run in transferred(plan, ranked)]
    if more:  # the trials are there already; the study's plan names them, too
        trials = [one.trial for one in finished]
        failed |= train(replace(plan, jobs=tuple(run.trunk for run in [*trials, *more])), options)
    result = shape_result(plan, finished, progress.n_infeasible)
    curves = {trial.run: held_out_losses(plan.folder / trial.run) for trial in result.trials}
    write_shape_result(result, curves, plan.folder)
    print(markdown(result))
    print(f"result: {plan.folder / 'shape.md'}, shape.json, trials.csv, curves.csv, shape.png and shape.svg")
    return failed


def with_trials(plan: Plan) -> Plan:
    """The plan of a search, with the trials that its folder holds so far: what `--status` counts."""
    from scaling_laws.sweeps.search.trials import trial_folders, trial_in

    return replace(plan, jobs=tuple(trial_in(plan, folder).trunk for folder in trial_folders(plan)))


class _View:
    """Prints a line for every trial that has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: set[str] | None = None

    def __call__(self, progress: SearchProgress) -> None:
        if self._printed is None:
            self._printed = set(list(progress.done)[: progress.found_done])
            self._console.print(
                f"{progress.n_trials} trials, {progress.found_done} of them done before", highlight=False
            )
        for name, finished in progress.done.items():
            if name in self._printed:
                continue
            self._printed.add(name)
            record, loss = finished.record, finished.loss
            outcome = f"{record.status}: {record.reason}" if loss is None else f"loss {loss:.4f}"
            losses = [one.loss for one in progress.done.values() if one.loss is not None]
            best = f", best {min(losses):.4f}" if losses else ""
            self._console.print(
                f"{name}  {outcome}  ({len(progress.done)} of {progress.n_trials}{best})",
                highlight=False,
                soft_wrap=True,
            )

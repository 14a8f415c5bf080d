"""`laws CURVES --schedule`: laws of the learning rate, fitted to whole curves."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scaling_laws.study.errors import InputError

REFUSED = ("n", "d", "c", "unique", "batch", "weight", "keep", "loss_unit", "bytes_per_token", "compare")
"""Options of tables of runs that say nothing about curves."""


def add_schedule_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that need --schedule."""
    parser.add_argument(
        "--schedule",
        action="store_true",
        help="instead of laws of size: laws of the learning rate, fitted to curves with the columns run,"
        " step, learning_rate and loss (a study has its own); writes RUNS.schedules.json;"
        " --form tissue or multi_power for one of them",
    )
    parser.add_argument(
        "--rate", metavar="COLUMN", help="for --schedule: the learning rate (default: learning_rate)"
    )
    parser.add_argument(
        "--held-out",
        action="append",
        metavar="RUN",
        help="for --schedule: predict this run; repeat for several",
    )
    parser.add_argument(
        "--horizon", type=int, metavar="STEPS", help="for --schedule: the best schedule of so many steps"
    )


def refuse_schedule_options(options: argparse.Namespace) -> None:
    """Raises InputError where an option needs --schedule."""
    for name in ("rate", "held_out", "horizon"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} needs --schedule")


def schedule_laws(options: argparse.Namespace, is_study: bool, output: Path) -> None:
    """Fit, write the JSON file and the figure, and print what was found."""
    from scaling_laws.api.schedule_laws import (
        best_text,
        branches_text,
        fit_schedule,
        predicted_branches,
    )
    from scaling_laws.laws.fit.level import LEVEL
    from scaling_laws.laws.schedules.fitting import DEFAULT_SCHEDULE_RESAMPLES
    from scaling_laws.study.records import write_atomically
    from scaling_laws.study.runs import load_study

    for name in REFUSED:
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} does not go with --schedule")
    _check_own(output)
    if is_study and not options.where:
        if options.held_out or options.horizon or options.form:
            raise InputError("choose one training of the study, as --where \"trunk == 'NAME'\"")
        branches = predicted_branches(load_study(options.runs))
        content = {"schema": 1, "kind": "branches", "branches": [vars(each) for each in branches]}
        write_atomically(output, json.dumps(content, indent=1, allow_nan=False) + "\n")
        if not options.quiet:
            print(f"{branches_text(branches)}\n\nschedules: {output}")
        return
    named = {"run": options.run, "step": options.steps, "learning_rate": options.rate, "loss": options.loss}
    columns = {meaning: column for meaning, column in named.items() if column is not None}
    if is_study and columns:
        raise InputError(
            "a study's curves have their own columns: leave --run, --steps, --rate and --loss out"
        )
    found = fit_schedule(
        options.runs,
        tuple(options.form or ()),
        held_out=tuple(options.held_out or ()),
        where=tuple(options.where or ()),
        columns=columns,
        delta=options.delta,
        resamples=DEFAULT_SCHEDULE_RESAMPLES if options.bootstrap is None else options.bootstrap,
        level=LEVEL if options.level is None else options.level,
    )
    content = found.to_json()
    said = [found.summary()]
    if options.horizon is not None:
        best = found.best_schedule(options.horizon)
        said.append(best_text(best))
        content["best_schedule"] = {
            "steps": options.horizon,
            "loss": best.loss,
            "interval": list(best.interval),
            "decay_from": best.decay_from,
            "final_share": best.final_share,
            "reason": best.reason,
            "gains": [vars(gain) for gain in best.gains],
            "learning_rate": [float(rate) for rate in best.schedule.rates],
        }
    write_atomically(output, json.dumps(content, indent=1, allow_nan=False) + "\n")
    if options.figures is not None:
        from scaling_laws.report.pictures import drawn_files
        from scaling_laws.study.own_files import write_own_files

        files = drawn_files("schedules", found.plot, options.figure_width)
        write_own_files(options.figures, files, writer="schedules", shared=True)
        said.append(f"figures: {len(files)} files in {options.figures}")
    if not options.quiet:
        print("\n\n".join([*said, f"schedules: {output}"]))


def _check_own(output: Path) -> None:
    """Raises InputError where a file of that name is not one of these."""
    if not output.exists():
        return
    try:
        kind = json.loads(output.read_text()).get("kind")
    except (ValueError, AttributeError, OSError):
        kind = None
    if kind not in ("schedules", "branches"):
        raise InputError(f"{output}: already exists and is not a file of --schedule; give another with -o")

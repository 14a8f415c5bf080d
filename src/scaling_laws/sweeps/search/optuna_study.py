"""Optuna's side of a search: where its trials are stored, who suggests them, and who stops them."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.plan.search_section import ShapeSearch
from scaling_laws.sweeps.search.pruner import CONSTANT_RATE, HORIZON
from scaling_laws.sweeps.search.space import distributions
from scaling_laws.sweeps.search.storage import open_storage
from scaling_laws.sweeps.search.trials import search_of

FILE = "shape.sqlite3"
SETTINGS = "search"
LARGEST_STEP = 2**31 - 1
"""Of a report in a storage other than SQLite: its column is a 32-bit integer."""


def open_search(plan: Plan, url: str | None) -> optuna.Study:
    """The study in its storage, an SQLite file in the study's folder where `url` is None.

    Raises:
        InputError: the settings make no search, the storage cannot be opened or holds a search of another
            space, or the sampler or the pruner is none.
    """
    search = search_of(plan)
    search.check()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan.folder.mkdir(parents=True, exist_ok=True)
    # One storage may serve studies of one name in several folders.
    name = f"{plan.sweep.study} search in {plan.folder.resolve()}" if url else plan.sweep.study
    url = url or f"sqlite:///{plan.folder / FILE}"
    if search.tokens > LARGEST_STEP and not url.startswith("sqlite"):
        raise InputError(f"search: tokens is {search.tokens}; a storage other than SQLite counts to 2^31")
    pruner = NopPruner() if search.pruner is None else _made(search.pruner, "pruner", BasePruner)
    study = open_storage(
        url,
        lambda storage: optuna.create_study(
            storage=storage, study_name=name, load_if_exists=True, direction="minimize", pruner=pruner
        ),
    )
    # A seeded sampler would begin with the same suggestions again.
    study.sampler = _sampler(search, n_trials=len(study.get_trials(deepcopy=False)))
    _describe(study, plan)
    return study


def _sampler(search: ShapeSearch, n_trials: int) -> BaseSampler:
    given = {"init_args": {}, **search.sampler}
    arguments = dict(given["init_args"])
    found = _class(given["class_path"], "sampler", BaseSampler)
    if "seed" in inspect.signature(found).parameters:
        seed = arguments.get("seed")
        arguments["seed"] = (search.seed if seed is None else int(seed)) + n_trials
    sampler: BaseSampler = _made({**given, "init_args": arguments}, "sampler", BaseSampler)
    return sampler


def _made(given: dict[str, Any], kind: str, base: type) -> Any:
    """An object of the class that a section names, and of the classes that its arguments name."""
    found = _class(given["class_path"], kind, base)
    arguments = {
        key: _made(value, kind, base) if isinstance(value, dict) and "class_path" in value else value
        for key, value in given.get("init_args", {}).items()
    }
    try:
        return found(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"search: {kind} {given['class_path']}: {error}") from error


def _class(class_path: str, kind: str, base: type) -> Any:
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"search: {kind} {class_path}: there is no such class ({error})") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(
            f"search: {kind} {class_path} is not a {kind} of Optuna; it must be a {base.__name__}"
        )
    return found


def _describe(study: optuna.Study, plan: Plan) -> None:
    """Write into the storage what is searched; what a pruner must know of the schedule comes with it."""
    search = search_of(plan)
    settings = {
        "N": search.N,
        "tokens": search.tokens,
        **{name: str(distribution) for name, distribution in distributions(search).items()},
    }
    earlier = study.user_attrs.get(SETTINGS, settings)
    if changed := [name for name in settings | earlier if settings.get(name) != earlier.get(name)]:
        raise InputError(
            f"study {plan.sweep.study!r}: its storage holds a search with another {changed[0]}; "
            "give the study another name, or move its folder away"
        )
    constant, horizon = constant_rate_tokens(plan)
    for key, value in ((SETTINGS, settings), (CONSTANT_RATE, constant), (HORIZON, horizon)):
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)


def constant_rate_tokens(plan: Plan) -> tuple[list[int], int]:
    """Between which tokens a trial's learning rate is constant, and its tokens in all."""
    batch_tokens = plan.sweep.batch_sequences * plan.sweep.n_ctx
    steps = round(search_of(plan).tokens / batch_tokens)
    schedule = plan.sweep.schedule
    constant = [step * batch_tokens for step in (schedule.warmup_steps, schedule.cooldown_start(steps))]
    return constant, steps * batch_tokens

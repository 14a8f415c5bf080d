"""From a file of `configs/sweeps/` to a `Sweep`: its scale, its budget, and what it varies."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.configurations import config_files, find_config, missing_hint
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.sweep_file import Ladder, Model, Sweep
from scaling_laws.sweeps.plan.sweep_keys import check_keys, wrong_value

SCALES = "configs/scales"
CLASS, HIDDEN_CLASS = "class_path", "class_path of a training"
MANY_MODELS = 100
"""Of a ladder: fewer are parsed in no time."""
Content = dict[str, Any]
OF_A_LADDERS_MODELS = {field.name for field in fields(Model)} - {field.name for field in fields(Ladder)} | {
    "vary"
}
"""Keys of a model that may stand in its ladder."""
MERGED_SECTIONS = ("shape", "schedule")
"""A model's own is laid over its ladder's; other keys are one or the other."""
VARIED_SECTIONS = (*MERGED_SECTIONS, "optimizer")
"""Keys of a model into which a path of `vary` may lead."""
MOST_MODELS = 10_000
"""That one entry stands for by what it varies."""


def load_sweep(path: Path, *, scale: str | None = None, budget: str | None = None) -> Sweep:
    """Read a sweep file.

    Args:
        scale: instead of the file's own: a name in `configs/scales/`, or a file.
        budget: instead of the file's own.

    Raises:
        InputError: a file is missing or not YAML, a key is unknown or lacking, or a value makes no sense.
    """
    content: Content = {}
    try:
        content = _completed(_read(path), scale, budget)
        sweep = _parsed(_without_classes(content))
        for section in (sweep.trainer, *(model.shape for ladder in sweep.ladders for model in ladder.models)):
            given = _renamed(section, HIDDEN_CLASS, CLASS)
            section.clear()
            section.update(given)
        return sweep
    except InputError as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    except (ArgumentError, TypeError, ValueError) as error:
        found = wrong_value(_without_classes(content))
        raise InputError(f"{path}: {found or ' '.join(str(error).split())}") from error


def study_folder_name(sweep: Sweep, path: Path, scale: str | None) -> str:
    """The study's name; at another scale than the file's own, `<study>-<scale>`: it is another study.

    Raises:
        InputError: the file is missing or not YAML.
    """
    try:
        is_own = not scale or scale == str(_read(path).get("scale", ""))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return sweep.study if is_own else f"{sweep.study}-{Path(scale or '').stem}"


def _read(path: Path) -> Content:
    try:
        return read_yaml(find_config(path, "sweeps", "papers"))
    except InputError as error:
        raise InputError(f"{error}{_moved(path) or missing_hint(path, 'sweeps', 'papers')}") from None


def _parsed(content: Content) -> Sweep:
    """The file as a `Sweep`; of many models each value is parsed once, in a hundredth of the time."""
    if isinstance(content.get("ladders"), list) and any(
        isinstance(ladder, dict) and len(ladder.get("models") or ()) > MANY_MODELS
        for ladder in content["ladders"]
    ):
        try:
            return _parsed_by_value(content)
        except (ArgumentError, InputError, TypeError, ValueError, AttributeError, KeyError):
            pass  # below it is said which model is wrong
    return _parsed_whole(content)


def _parsed_whole(content: Content) -> Sweep:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Sweep)
    return Sweep(**vars(parser.instantiate(parser.parse_object(content))))


def _parsed_by_value(content: Content) -> Sweep:
    """The same by few models that hold every value: what a key may hold depends on no other key."""
    ladders = content["ladders"]
    few = [{**ladder, "models": _with_every_value(ladder["models"])} for ladder in ladders]
    sweep = _parsed_whole({**content, "ladders": few})
    whole = []
    for ladder, given, parsed_models in zip(sweep.ladders, ladders, few, strict=True):
        typed = {
            _value_key(key, value): getattr(model, key)
            for model, raw in zip(ladder.models, parsed_models["models"], strict=True)
            for key, value in raw.items()
        }
        models = [
            Model(**{key: copy.deepcopy(typed[_value_key(key, value)]) for key, value in raw.items()})
            for raw in given["models"]
        ]
        whole.append(replace(ladder, models=tuple(models)))
    return replace(sweep, ladders=tuple(whole))


def _with_every_value(models: list[Content]) -> list[Content]:
    """The first models that together hold every value of every key."""
    seen: set[str] = set()
    chosen = []
    for model in models:
        values = {_value_key(key, value) for key, value in model.items()}
        if not values <= seen:
            seen |= values
            chosen.append(model)
    return chosen


def _value_key(key: str, value: Any) -> str:
    return f"{key}: {json.dumps(value)}"


def _without_classes(content: Content) -> Content:
    """The file, its callbacks, loggers and arguments of networks being mappings that name no class.

    Trainings make objects of them; the parser would make them here, whatever they are.
    """
    changed = {**content, "trainer": _renamed(content.get("trainer", {}), CLASS, HIDDEN_CLASS)}
    if isinstance(content.get("ladders"), list):
        changed["ladders"] = _renamed_in_shapes(content["ladders"])
    return changed


def _renamed_in_shapes(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed_in_shapes(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _renamed(each, CLASS, HIDDEN_CLASS) if key == "shape" else _renamed_in_shapes(each)
        for key, each in value.items()
    }


def _renamed(value: Any, old: str, new: str) -> Any:
    """The same with another key instead of one, at any depth."""
    if isinstance(value, list):
        return [_renamed(each, old, new) for each in value]
    if isinstance(value, dict):
        return {new if key == old else key: _renamed(each, old, new) for key, each in value.items()}
    return value


def _moved(path: Path) -> str:
    """Where the study of a sweep file that is gone is now: the papers' have a folder of their own."""
    if not find_config(path, "sweeps", "papers").exists():
        for name, file in config_files().items():
            if name.startswith("papers/") and _read(file).get("study") == path.stem:
                return f"; the study {path.stem!r} is configs/{name}.yaml now"
    return ""


def _completed(content: Content, scale: str | None, budget: str | None) -> Content:
    """The file's keys over those of its scale, with one budget and every model written out."""
    scale = scale or content.get("scale", "")
    if not isinstance(scale, str):
        raise InputError(f"scale is {scale!r}; it is the name of a file in {SCALES}")
    if scale:
        content = _over(_read_scale(scale), content) | {"scale": scale}
    budgets = content.get("budget", "")
    if isinstance(budgets, dict):
        content["budget"] = budgets.get(Path(scale).stem, "")
        if not (content["budget"] or budget):
            raise InputError(
                f"budget: there is none for the scale {scale!r}; it has {', '.join(map(str, budgets))}; "
                "call it with --budget"
            )
    if budget is not None:
        content["budget"] = budget
    check_keys(content)
    ladders = content.get("ladders")
    if isinstance(ladders, list):
        content["ladders"] = [_written_out(ladder, content.get("schedule", {})) for ladder in ladders]
    return content


def _read_scale(scale: str) -> Content:
    path = find_config(scale, "scales")
    if not path.is_file():
        known = ", ".join(name.split("/")[1] for name in config_files() if name.startswith("scales/"))
        raise InputError(f"scale {scale!r}: there is no such file; in {SCALES} there are: {known}")
    try:
        return read_yaml(path)
    except InputError as error:
        raise InputError(f"scale {path}: {error}") from error


def _over(below: Content, above: Content) -> Content:
    """`above` laid over `below`, section by section."""
    merged = below | above
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _over(below[key], above[key])
    return merged


def _written_out(ladder: Any, schedule: Content) -> Any:
    """A ladder with one model for each combination of what its models vary."""
    if not isinstance(ladder, dict) or not isinstance(ladder.get("models"), list):
        return ladder  # the parser says what is wrong with it
    shared = {key: value for key, value in ladder.items() if key in OF_A_LADDERS_MODELS}
    models = [
        each for model in ladder["models"] for each in _combinations(_with_fractions(_shared(shared, model)))
    ]
    for model in models:
        if isinstance(model, dict) and isinstance(model.get("schedule"), dict):
            model["schedule"] = _over(schedule, model["schedule"])
    return {key: value for key, value in ladder.items() if key not in shared} | {"models": models}


def _shared(shared: Content, model: Any) -> Any:
    """A model with what its ladder gives all of them; what it gives itself wins."""
    if not isinstance(model, dict):
        return model
    varied = {key: value for key, value in shared.get("vary", {}).items() if key not in model}
    own = model.get("vary", {})
    fixed = {key: value for key, value in shared.items() if key != "vary" and key not in own}
    whole = {**fixed, **model}
    for section in MERGED_SECTIONS:
        if isinstance(fixed.get(section), dict) and isinstance(model.get(section), dict):
            whole[section] = _over(fixed[section], model[section])
    if isinstance(own, dict) and (varied or own):
        whole["vary"] = {**varied, **own}
    return copy.deepcopy(whole)


def _combinations(model: Any) -> Iterator[Any]:
    if not isinstance(model, dict) or "vary" not in model:
        yield model
        return
    varied = model["vary"]
    if not isinstance(varied, dict) or not all(isinstance(values, list) for values in varied.values()):
        raise InputError(f"vary: {varied!r} is not a mapping of names to lists of values")
    fixed = {key: value for key, value in model.items() if key != "vary"}
    if twice := sorted(fixed.keys() & varied.keys()):
        raise InputError(f"vary: {twice[0]} is given beside it, too; leave one of them out")
    n_combinations = math.prod(len(values) for values in varied.values())
    if n_combinations > MOST_MODELS:
        raise InputError(f"vary: {n_combinations:.3g} combinations are more than {MOST_MODELS}; vary less")
    for values in itertools.product(*varied.values()):
        yield _with(fixed, dict(zip(varied, values, strict=True)))


def _with(model: Content, choices: Mapping[str, Any]) -> Content:
    """One model: `shape.n_layer` is set in the shape, a single horizon is a list of one."""
    changed = copy.deepcopy(model) | {"shape": dict(model.get("shape", {}))}
    # Whole keys first: `optimizer.init_args.momentum` is one of the optimiser that another key may name.
    for name, value in sorted(choices.items(), key=lambda choice: "." in choice[0]):
        section, *path = name.split(".")
        if not path:
            is_list = name in ("horizons_tokens", "horizons", "compute", "exact_compute", "seeds")
            changed[name] = [value] if is_list and not isinstance(value, list) else value
        elif section in VARIED_SECTIONS:
            place = changed.setdefault(section, {})
            for key in path[:-1]:
                place = place.setdefault(key, {}) if isinstance(place, dict) else None
            if not isinstance(place, dict):
                raise InputError(f"vary: {name!r} is not a path into {section}: {changed[section]!r}")
            place[path[-1]] = value
        else:
            raise InputError(
                f"vary: {name!r} is not a key of a model, nor "
                f"{', '.join(f'{each}.<name>' for each in VARIED_SECTIONS)}"
            )
    return changed


def _with_fractions(value: Any) -> Any:
    """`1/8` in a model as a number."""
    if isinstance(value, dict):
        return {key: _with_fractions(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_fractions(each) for each in value]
    if isinstance(value, str) and re.fullmatch(r"\d+/[1-9]\d*", value):
        return float(Fraction(value))
    return value

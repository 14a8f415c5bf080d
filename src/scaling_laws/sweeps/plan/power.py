"""What a planned study could tell about its laws: `sweep FILE --dry-run --power`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.forms.catalogue import JOINT_FORMS
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.plan.choice import LABELS, best_joint_fit, family_to_plan
from scaling_laws.laws.plan.simulated import STUDIES, USUAL_NOISE, USUAL_SHARED, power
from scaling_laws.laws.published import BESIROGLU, KAPLAN_TABLE_2
from scaling_laws.laws.results.types import Laws, read_laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.errors import InputError
from scaling_laws.study.processes import n_cores
from scaling_laws.study.runs import EXPORTED_LAWS
from scaling_laws.study.schedule import Schedule
from scaling_laws.sweeps.plan.experiments import Plan, PlannedRun

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED: dict[str, tuple[JointLaw, str]] = {
    "kaplan_nd": (KAPLAN_TABLE_2, "Kaplan et al. 2020, Table 2"),
    "chinchilla": (BESIROGLU, "Besiroglu et al. 2024"),
}
"""The truth where no study has measured one."""
FEWEST_RUNS = 4
"""Of a family: with fewer no law has a chance."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What simulated losses follow.

    Attributes:
        law: of N and D.
        noise: the noise between seeds.
        source: whose they are, in words.
    """

    law: JointLaw
    noise: SeedNoise
    source: str


def power_lines(plan: Plan, truth: str | None) -> Iterator[str]:
    """What the plan can tell of each family's laws, line by line.

    Args:
        truth: the law that losses follow: a form (`kaplan_nd`, `chinchilla`, ...), or a laws.json, or
            `FILE:FORM`. A form is the one that the study's own laws.json holds, or else a published one.

    Raises:
        InputError: there is no such law, or no family has enough runs.
    """
    design = design_of(plan)
    families = [str(name) for name, runs in design.groupby("family") if len(runs) >= FEWEST_RUNS]
    if not families:
        raise InputError(
            f"{plan.sweep.study}: no family has {FEWEST_RUNS} runs of one recipe; a law needs more than that"
        )
    for family in families:
        runs = design[design["family"] == family]
        chosen = truth_of(truth, plan.folder, family)
        noise = chosen.noise.sd_log_loss or USUAL_NOISE
        shared = USUAL_SHARED if chosen.noise.shared is None else chosen.noise.shared
        yield ""
        yield f"Power of {family}'s runs, truth: {chosen.source}; the noise of {_source_of(chosen.noise)}."
        simulated = partial(power, chosen.law, runs, noise=noise, shared=shared)
        expected_s = STUDIES * simulated(studies=1).elapsed_s / n_cores()
        yield f"{STUDIES} simulated studies of this plan, every law fitted to each: about {expected_s:.0f} s."
        yield simulated(processes=n_cores()).summary()


def _source_of(noise: SeedNoise) -> str:
    if noise.sd_log_loss is None:
        return f"small studies: nothing is measured ({noise.reason})"
    return f"the {noise.n_runs} runs there that differ in their seed alone"


def design_of(plan: Plan) -> pd.DataFrame:
    """The planned runs that a family's laws may use: of one recipe, cooled down, at one learning rate.

    Columns run, trunk, family, seed, N, D, and what says in what runs differ.
    """
    import pandas as pd

    table = pd.DataFrame([_row(run, job.name) for job in plan.jobs for run in job.runs])
    usable, _ = usable_runs(table)
    # A scan of rates has one winner at each size and horizon: the middle one, here.
    middle = usable.groupby(["family", "N", "D"])["learning_rate"].transform(
        lambda rates: sorted(set(rates))[(rates.nunique() - 1) // 2]
    )
    return usable[usable["learning_rate"] == middle].reset_index(drop=True)


def _row(run: PlannedRun, trunk: str) -> dict[str, Any]:
    """One run with the settings that its record will have, as far as runs of one plan differ in them."""
    model, data = run.config["model"], run.config["data"]
    schedule = Schedule(**model["schedule"])
    shape = model["network"]["init_args"]
    names = ("n_layer", "d_model", "dropout", "n_reuse", "bias", "tied")
    settings = {name: value for name, value in model.items() if not isinstance(value, dict | list | tuple)}
    return {
        **settings,
        **{name: shape[name] for name in names if name in shape},
        "n_layer": shape.get("n_layer"),
        "d_model": shape.get("d_model"),
        "n_ctx": data["n_ctx"],
        "train_halvings": data["train_halvings"],
        "noise_suffix_tokens": data["noise_suffix_tokens"],
        "batch_tokens": run.batch_tokens,
        "decay": schedule.decay,
        "cooldown_share": schedule.cooldown_share,
        "warmup_steps": schedule.warmup_steps,
        "final_share": schedule.final_share,
        "after_cooldown": schedule.brings_down(run.steps),
        "run": run.name,
        "trunk": trunk,
        "family": run.family,
        "seed": run.seed,
        "N": run.N,
        "D": run.D,
        "C": run.C,
        "loss": 1.0,  # not known yet
    }


def truth_of(wanted: str | None, folder: Path, family: str) -> Truth:
    """The law and the noise that simulated losses follow; see `power_lines`.

    Raises:
        InputError: there is no such law.
    """
    unknown = SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, reason="the truth is a published law")
    path, form = folder / EXPORTED_LAWS, wanted
    if wanted is not None and ".json" in wanted:
        name, found, form = wanted.partition(".json:")
        path = Path(f"{name}.json") if found else Path(wanted)
        return _measured(read_laws(path), form or None, family, str(path))
    if form is not None and form not in LABELS:
        raise InputError(f"--truth is {form!r}; it is a laws.json, or one of {', '.join(LABELS)}")
    if path.exists():
        return _measured(read_laws(path), form, family, str(path))
    if (form or "kaplan_nd") not in PUBLISHED:
        raise InputError(
            f"--truth {form}: nobody published its numbers, and {path} does not exist; "
            f"give a laws.json that holds it: --truth FILE:{form}"
        )
    law, source = PUBLISHED[form or "kaplan_nd"]
    return Truth(law=law, noise=unknown, source=source)


def _measured(laws: Laws, form: str | None, family: str, path: str) -> Truth:
    """A law of a laws.json: of this family, or of the only one there is."""
    families = [each.family for each in laws.by_family]
    of_family = laws.of(family_to_plan(laws, family if family in families else None))
    fit, why = best_joint_fit(of_family)
    if form is not None:
        fit = next((each for each in of_family.fits if each.form == form and each.parameters), None)
        why = f"it holds no law {form}"
    kinds = {kind.form: kind for kind in JOINT_FORMS}
    if fit is None or any(value is None for value in fit.parameters.values()):
        raise InputError(f"{path}: {why}; name another with --truth FILE:FORM")
    doubt = "" if fit.identified else ", which its runs do not determine"
    return Truth(
        law=kinds[fit.form](**fit.parameters),
        noise=replace(laws.noise, reason=laws.noise.reason or "no seed was repeated"),
        source=f"{fit.form} of {of_family.family} in {path}{doubt}",
    )

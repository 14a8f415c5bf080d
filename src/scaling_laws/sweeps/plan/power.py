"""What a planned study could tell about its laws: `sl.sweep_power(FILE)`, `sweep FILE --dry-run --power`."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.forms.catalogue import JOINT_FORMS
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.plan.choice import LABELS, best_joint_fit, family_to_plan
from scaling_laws.laws.plan.simulated import RESAMPLES, STUDIES, USUAL_NOISE, USUAL_SHARED, Power, power
from scaling_laws.laws.published import BESIROGLU, KAPLAN_TABLE_2
from scaling_laws.laws.results.types import Laws, read_laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.errors import InputError
from scaling_laws.study.processes import n_cores
from scaling_laws.study.runs import EXPORTED_LAWS
from scaling_laws.study.schedule import Schedule

if TYPE_CHECKING:
    import pandas as pd

    from scaling_laws.sweeps.plan.experiments import Plan, PlannedRun

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


@dataclass(frozen=True, kw_only=True)
class FamilyPower:
    """What a plan can tell of one family's laws.

    Attributes:
        family: whose runs were simulated.
        truth: what their losses follow.
        power: what 100 such studies say of each law.
    """

    family: str
    truth: Truth
    power: Power

    def summary(self) -> str:
        """Whose law was simulated, with whose noise, and what came out: a line a parameter."""
        head = f"Power of {self.family}'s runs, truth: {self.truth.source}; {_source_of(self.truth.noise)}."
        return f"{head}\n{self.power.summary()}"


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepPower:
    """What the runs of a sweep file can tell about the laws, family by family.

    Attributes:
        study: the sweep's name.
        families: those with enough runs of one recipe, by name.

    Examples:
        >>> found = sweep_power("tiny", studies=1, resamples=5, processes=1)
        >>> [each.family for each in found.families]
        ['lstm', 'transformer']
        >>> found.of("transformer").n_runs
        9
    """

    study: str
    families: tuple[FamilyPower, ...]

    def of(self, family: str) -> Power:
        """What is known of one family's laws.

        Raises:
            InputError: the sweep has no such family, or too few runs of it.
        """
        found = next((each.power for each in self.families if each.family == family), None)
        if found is None:
            names = ", ".join(each.family for each in self.families)
            raise InputError(f"{self.study}: no runs of {family!r} were simulated; there are {names}")
        return found

    def summary(self) -> str:
        """`FamilyPower.summary` of each family."""
        return "\n\n".join(each.summary() for each in self.families)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


def sweep_power(
    file: str | Path,
    *,
    truth: JointLaw | str | Path | None = None,
    noise: float | None = None,
    scale: str | None = None,
    budget: str | None = None,
    logs: str | Path = "lightning_logs",
    data: str | Path = "data",
    studies: int = STUDIES,
    resamples: int = RESAMPLES,
    processes: int | None = None,
) -> SweepPower:
    """How sure the laws of a planned study would be, before anything is trained.

    The runs of a sweep file are planned as by `scaling-laws sweep FILE --dry-run --power`, and simulated by
    `power`. Nothing is trained; where a budget of time is planned on a machine that was never timed, some
    small networks are timed first, for seconds a family.

    Args:
        file: a sweep file, or a name in `configs/sweeps/` or `configs/papers/`.
        truth: what losses follow: a law with its numbers (`sl.fit(...).law`), a laws.json, "FILE:FORM", or a
            form: that of the study's own laws.json, or else a published one. By default the best law of N
            and D of the study's own laws.json, or else Kaplan's.
        noise: standard deviation of ln loss from seed to seed; by default that of the truth's runs, or 0.005.
        scale, budget: instead of the file's own.
        logs, data: folders of all studies and of all corpora.
        studies: how many are simulated of each family; each takes about a second for 50 runs.
        resamples: of the bootstrap behind each interval.
        processes: that share the work; by default as many as there are cores. The result is the same.

    Raises:
        InputError: the file makes no plan, there is no such law, no family has enough runs, a number is out
            of its range, or a package that plans need is not installed.

    Examples:
        >>> found = sweep_power("tiny", truth="chinchilla", studies=1, resamples=5, processes=1)
        >>> found.of("transformer").of("chinchilla").n_rows
        9
    """
    try:
        from scaling_laws.sweeps.plan.planning import plan_study
        from scaling_laws.sweeps.plan.reading import load_sweep, study_folder_name
    except ModuleNotFoundError as missing:
        raise InputError(
            f"{file}: plans need {missing.name}, which is not here; in a clone of scaling_laws on Linux or "
            "macOS `pip install .` installs it"
        ) from None

    path = Path(file)
    sweep = load_sweep(path, scale=scale, budget=budget)
    plan = plan_study(
        sweep,
        logs=Path(logs),
        data=Path(data),
        timed=False,
        folder_name=study_folder_name(sweep, path, scale),
    )
    found = family_powers(
        plan, truth, noise=noise, studies=studies, resamples=resamples, processes=processes or n_cores()
    )
    return SweepPower(study=plan.sweep.study, families=tuple(found))


def family_powers(
    plan: Plan,
    truth: JointLaw | str | Path | None,
    *,
    noise: float | None = None,
    studies: int = STUDIES,
    resamples: int = RESAMPLES,
    processes: int = 1,
) -> Iterator[FamilyPower]:
    """What the plan can tell of each family's laws, one family after the other; see `sweep_power`.

    Raises:
        InputError: there is no such law, or no family has enough runs.
    """
    if not plan.jobs:
        raise InputError(f"{plan.sweep.study}: is a search, whose runs feed no law")
    design = design_of(plan)
    families = [str(name) for name, runs in design.groupby("family") if len(runs) >= FEWEST_RUNS]
    if not families:
        raise InputError(
            f"{plan.sweep.study}: no family has {FEWEST_RUNS} runs of one recipe; a law needs more than that"
        )
    for family in families:
        chosen = truth_of(truth, plan.folder, family)
        if noise is not None:
            chosen = replace(chosen, noise=replace(chosen.noise, sd_log_loss=noise, n_runs=0))
        shared = USUAL_SHARED if chosen.noise.shared is None else chosen.noise.shared
        found = power(
            chosen.law,
            design[design["family"] == family],
            noise=USUAL_NOISE if chosen.noise.sd_log_loss is None else chosen.noise.sd_log_loss,
            shared=shared,
            studies=studies,
            resamples=resamples,
            processes=processes,
        )
        yield FamilyPower(family=family, truth=chosen, power=found)


def _source_of(noise: SeedNoise) -> str:
    if noise.sd_log_loss is None:
        return f"noise: that of most small studies, for nothing was measured ({noise.reason})"
    if noise.n_runs == 0:
        return "noise: as asked for"
    return f"noise: of the {noise.n_runs} runs there that differ in their seed alone"


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


def truth_of(wanted: JointLaw | str | Path | None, folder: Path, family: str) -> Truth:
    """The law and the noise that simulated losses follow; see `sweep_power`.

    Raises:
        InputError: there is no such law.
    """
    unknown = SeedNoise(sd_log_loss=None, n_groups=0, n_runs=0, reason="the truth is a published law")
    if isinstance(wanted, JointLaw):
        return Truth(
            law=wanted,
            noise=replace(unknown, reason="the truth is a law without runs"),
            source=f"{wanted.form}, as given",
        )
    path, form = folder / EXPORTED_LAWS, None if wanted is None else str(wanted)
    if form is not None and ".json" in form:
        name, found, of_file = form.partition(".json:")
        path = Path(f"{name}.json") if found else Path(form)
        return _measured(read_laws(path), of_file or None, family, str(path))
    if form is not None and form not in LABELS:
        raise InputError(f"the truth is {form!r}; it must be a laws.json, or one of {', '.join(LABELS)}")
    if path.exists():
        return _measured(read_laws(path), form, family, str(path))
    if (form or "kaplan_nd") not in PUBLISHED:
        raise InputError(
            f"the truth is {form!r}: its numbers were never published, and {path} does not exist; "
            f"give a laws.json that holds it, as FILE:{form}"
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
        raise InputError(f"{path}: {why}; name another, as FILE:FORM")
    doubt = "" if fit.identified else ", which its runs do not determine"
    return Truth(
        law=kinds[fit.form](**fit.parameters),
        noise=replace(laws.noise, reason=laws.noise.reason or "no seed was repeated"),
        source=f"{fit.form} of {of_family.family} in {path}{doubt}",
    )

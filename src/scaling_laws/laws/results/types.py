"""What the laws of a study are: the content of `laws.json`, family by family (docs/laws-json.md).

An entry of the file has the fields of the dataclass here that it becomes, and, in the lists that belong to
families, `family` besides. What is not known is None; no number is NaN or infinite. All intervals are 90 %,
but those of a fit that gives another `level`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from scaling_laws.laws.allocation.approaches import Approaches
from scaling_laws.laws.allocation.frontier import FrontierPoint
from scaling_laws.laws.allocation.isoflop import Slice
from scaling_laws.laws.allocation.power_lines import Allocation, AllocationBias
from scaling_laws.laws.batch.batch_scan import BatchLevel
from scaling_laws.laws.batch.critical_batch import NoiseScaleComparison, SizeDependence
from scaling_laws.laws.checks.bracketing import Bracketing
from scaling_laws.laws.checks.holdout import Holdout
from scaling_laws.laws.checks.learning_curve import ShareScore, UnusedCurve
from scaling_laws.laws.checks.outliers import Outliers
from scaling_laws.laws.checks.rollout_scores import Comparison
from scaling_laws.laws.checks.sensitivity import Sensitivity
from scaling_laws.laws.checks.token_cut import TokenCut
from scaling_laws.laws.fit.intervals import Interval
from scaling_laws.laws.fit.level import LEVEL
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.noise_growth import NoiseGrowth
from scaling_laws.laws.fit.shared_exponents import SharedLaw
from scaling_laws.laws.fit.shared_floor import SharedFloor
from scaling_laws.laws.forms.catalogue import FORMS, JOINT_FORMS
from scaling_laws.laws.forms.declared import Declaration
from scaling_laws.laws.forms.steps import CriticalBatch
from scaling_laws.laws.forms.terms import FloatArray
from scaling_laws.laws.positions import LatePair
from scaling_laws.laws.results.written_decisions import HeldOutChoices, WrittenDecision
from scaling_laws.laws.task_laws import TaskLaw
from scaling_laws.study.artefacts import read_json, typed
from scaling_laws.study.bounds import Bounds, NotNegative, check_bounds
from scaling_laws.study.errors import InputError

SCHEMA = 1
NOT_MEASURED = "it was not measured"
TABLES = (".csv", ".tsv", ".gz", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xls", ".txt")
"""How the names of tables end."""
REMEDY = "make it again with: scaling-laws laws"

Sensible = Annotated[float, Bounds(1e-30, 1e30)]
Parameters = Mapping[str, float | None]
Draws = Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """The columns of the run table that count as parameters, FLOPs and loss."""

    N: str
    C: str
    loss: str


@dataclass(frozen=True, kw_only=True)
class LawCertificate:
    """How far a fit can be believed to be the optimum: `fit.Certificate`, None where that is not finite.

    Attributes:
        profile: profile intervals of the parameters that are coordinates of the fit, None for an end that is
            open; empty where the law is not identified.
    """

    starts: int
    share_at_best: float
    gradient_norm: float | None
    condition_number: float | None
    on_bound: tuple[str, ...]
    rms_log_residual: float | None
    profile: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PredictedRun:
    """The loss of a new run by one law.

    Attributes:
        at: the law's variables there.
        loss_nats: nats per token.
        interval: of one new run, by the bootstrap.
        profile_interval: the same by a profile (`fit.predictive`); None for an end that it does not reach.
        no_profile: why there is none; empty where there is.
    """

    at: Mapping[str, float]
    loss_nats: float
    interval: Interval
    profile_interval: Interval
    no_profile: str


@dataclass(frozen=True, kw_only=True)
class FittedLaw:
    """One form fitted to some runs of one family.

    Attributes:
        form, formula: `chinchilla`, and what it says: `L(N,D) = E + A/N^alpha + B/D^beta`.
        parameters: by the names of the formula; None each without rows.
        units: of the parameters.
        n_rows, n_clusters, n_left_out: rows, trainings, rows of the family that were left out.
        identified: whether the data determine the parameters.
        reason: why they do not, in words; empty where they do.
        certificate: None without rows.
        rows: which runs, a sentence.
        objective: sum of Huber_delta over ln L_hat - ln L; None without rows.
        delta: of Huber's loss.
        ranges: lowest and highest of each variable and of the loss: beyond them the law extrapolates.
        intervals: of parameters and derived quantities; empty where not identified.
        interval_method: what was resampled, in words.
        row_sd: standard deviation of ln loss that a new run is given in a prediction.
        noise_growth: how the noise between seeds depends on N and D; predictions use it where it is larger.
        derived: what follows from the parameters: of laws of N and D a_opt, b_opt.
        resamples: the bootstrap's draws of the parameters, 200 at most.
        level: of the intervals.
        declared: of a law of a user's own, what it says; None of ours.
        predictions: of new runs that were asked for; empty where the law is not identified.
        token_cut: which rows were left out for their few tokens; None where that was not asked.
    """

    form: str
    formula: str
    parameters: Parameters
    units: Mapping[str, str]
    n_rows: int
    n_clusters: int
    identified: bool
    reason: str
    certificate: LawCertificate | None
    rows: str
    objective: float | None
    delta: float
    n_left_out: int
    ranges: Mapping[str, tuple[float, float]]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    interval_method: str = ""
    row_sd: float | None = None
    noise_growth: NoiseGrowth | None = None
    derived: Parameters = field(default_factory=dict)
    resamples: Draws = field(default_factory=dict)
    level: float = LEVEL
    declared: Declaration | None = None
    predictions: tuple[PredictedRun, ...] = ()
    token_cut: TokenCut | None = None

    def __post_init__(self) -> None:
        """Raises InputError: read from a file, a spread is negative or the level no share."""
        bounds = {"row_sd": NotNegative | None, "level": Annotated[float, Bounds(1e-6, 1 - 1e-6)]}
        check_bounds(bounds, {"row_sd": self.row_sd, "level": self.level})

    @cached_property
    def law(self) -> Any:
        """An instance of the form at the optimum; None without parameters."""
        if None in self.parameters.values():
            return None
        return make_law(self.form, self.parameters, self.declared)

    @cached_property
    def draws(self) -> Any:
        """The form with an array of draws, (resamples,), for each parameter; None where there are none."""
        return make_law(self.form, self.resamples, self.declared) if self.resamples else None

    @property
    def is_joint(self) -> bool:
        """Whether it is a law of N and D."""
        return self.declared.is_joint if self.declared else self.form in {law.form for law in JOINT_FORMS}

    def value(self, name: str) -> float | None:
        """Of a parameter or of a derived quantity; None where it is not known."""
        return self.parameters.get(name, self.derived.get(name))

    def interval(self, name: str) -> Interval | None:
        return self.intervals.get(name)


@dataclass(frozen=True, kw_only=True)
class UsedRate:
    """The learning rate and batch of one size and horizon: the best where there were several."""

    N: Sensible
    D: Sensible
    learning_rate: Sensible | None
    batch_tokens: Sensible | None = None

    def __post_init__(self) -> None:
        """Raises InputError: a number that no run has."""
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The runs that no other size beats at their compute, by compute, or why there are none."""

    points: tuple[FrontierPoint, ...] = ()
    reason: str


@dataclass(frozen=True, kw_only=True)
class CriticalBatchLaw:
    """B_crit(L) of one family: `batch.critical_batch.BatchLaw` without its fits.

    Attributes:
        levels: every model and loss of the scan.
        parameters: alpha_B, B_star; None each unless identified.
        ranges: L: losses of the levels that were fitted.
        size_dependence: whether B_crit depends on N beyond the loss.
        noise_scale: the comparison with the gradient noise scale.
        resamples: of the parameters; None in alpha_B is infinite: a draw in which B_crit does not grow as
            the loss falls.
    """

    levels: tuple[BatchLevel, ...] = ()
    form: str = CriticalBatch.form
    formula: str = CriticalBatch.formula
    parameters: Parameters = field(default_factory=lambda: dict.fromkeys(CriticalBatch.units))
    units: Mapping[str, str] = field(default_factory=lambda: CriticalBatch.units)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    interval_method: str = ""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    size_dependence: SizeDependence = field(
        default=SizeDependence(exponent=None, interval=None, by_model=(), sentence="")
    )
    noise_scale: NoiseScaleComparison = field(
        default=NoiseScaleComparison(n_points=0, ratio=None, rank_correlation=None, sentence="")
    )
    warnings: tuple[str, ...] = ()
    identified: bool = False
    reason: str
    resamples: Draws = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether anybody looked for it in these runs."""
        return self.reason != NOT_MEASURED

    @cached_property
    def law(self) -> Any:
        """The law at the optimum; None unless identified."""
        return make_law(self.form, self.parameters) if self.identified else None

    @cached_property
    def draws(self) -> Any:
        """The law with an array of draws, (resamples,), for each parameter; None where there are none."""
        return make_law(self.form, self.resamples) if self.resamples else None


@dataclass(frozen=True, kw_only=True)
class LearningCurves:
    """The ends of runs predicted from the first parts of their curves."""

    scores: tuple[ShareScore, ...] = ()
    left_out: tuple[UnusedCurve, ...] = ()
    sentence: str = ""
    reason: str


@dataclass(frozen=True, kw_only=True)
class FamilyLaws:
    """What is known of one family; the fields are the keys of `laws.json`.

    What was not measured says so, and has no entry in the file. `novel` are laws of the loss on novel tokens
    alone, `asked` the fits with predictions or with a cut by tokens that somebody asked of the same runs;
    files of before 0.2 lack both.
    """

    family: str
    fits: tuple[FittedLaw, ...] = ()
    novel: tuple[FittedLaw, ...] = ()
    asked: tuple[FittedLaw, ...] = ()
    learning_rates: tuple[UsedRate, ...] = ()
    frontier: Frontier = Frontier(reason=NOT_MEASURED)
    isoflop: tuple[Slice, ...] = ()
    isoflop_akima: tuple[Slice, ...] = ()
    allocation: tuple[Allocation, ...] = ()
    allocation_bias: tuple[AllocationBias, ...] = ()
    approaches: Approaches = field(default=Approaches(notes=(NOT_MEASURED,)))
    critical_batch: CriticalBatchLaw = CriticalBatchLaw(reason=NOT_MEASURED)
    holdout: tuple[Holdout, ...] = ()
    rollout: tuple[Comparison, ...] = ()
    learning_curves: LearningCurves = LearningCurves(reason=NOT_MEASURED)
    outliers: Outliers = field(default=Outliers(not_applied={"all": NOT_MEASURED}))
    bracketing: Bracketing = field(default=Bracketing(warning=NOT_MEASURED))
    sensitivity: tuple[Sensitivity, ...] = ()

    def fit(self, form: str) -> FittedLaw | None:
        """The fit of a form, whether or not it is identified; None where there is none."""
        return next((fit for fit in self.fits if fit.form == form), None)

    def allocation_by(self, method: str) -> Allocation:
        """N_opt = coefficient C^exponent by the `envelope`, or by the slices: `isoflop`, `akima`."""
        found = (one for one in self.allocation if one.method == method)
        return next(found, Allocation(method=method, reason="not measured"))


@dataclass(frozen=True, kw_only=True)
class PositionFit:
    """Loss at position T (1-based) = a + b T^-c, of a run that was the longest of its size."""

    family: str
    run: str
    N: float
    corpus: str
    parameters: Parameters
    intervals: Mapping[str, Interval]
    identified: bool
    reason: str
    interval_method: str


@dataclass(frozen=True, kw_only=True)
class LatePositions:
    """LSTM and Transformer over the late positions of the context, or why they are not compared."""

    position_from: int | None = None
    pairs: tuple[LatePair, ...] = ()
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A run that no fit used."""

    run: str
    status: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a reader needs to reproduce the fits.

    Attributes:
        forms: formula by form.
        starts: by form.
        rows: which runs, by `family, form`.
        n_left_out: runs that no fit used.
        input_sha256: of the run table and the positions.
        columns: of a CSV, what the options named.
        weights: of fits of chosen forms, the column of weights.
    """

    forms: Mapping[str, str] = field(default_factory=dict)
    objective: str = ""
    loss: str = ""
    delta: float | None = None
    optimiser: str = ""
    starts: Mapping[str, int] = field(default_factory=dict)
    seed: int | None = None
    resamples: int | None = None
    rows: Mapping[str, str] = field(default_factory=dict)
    n_left_out: int = 0
    conventions: Conventions | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    input_sha256: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class Laws:
    """The laws of one study or table.

    Attributes:
        study: name of the study, or of the CSV file.
        by_family: by name.
        shared: one law of all families, a form each (`families` in the file).
        shared_floors: whether data sets may share an irreducible loss, a form each, where that was asked.
        decisions: which of two settings to take at a compute, where that was asked.
        held_out_choices: how such choices did at scales that were held out, a column each.
        positions: loss by position in the context, a run each.
        noise: between seeds.
        left_out: runs that no fit used.
        warnings: a sentence each.
        tasks: accuracy by family and task, where runs were scored; files of before 0.2 lack them.
    """

    schema: int = SCHEMA
    study: str
    conventions: Conventions
    by_family: tuple[FamilyLaws, ...] = ()
    shared: tuple[SharedLaw, ...] = ()
    shared_floors: tuple[SharedFloor, ...] = ()
    decisions: tuple[WrittenDecision, ...] = ()
    held_out_choices: tuple[HeldOutChoices, ...] = ()
    positions: tuple[PositionFit, ...] = ()
    noise: SeedNoise
    late_positions: LatePositions
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    manifest: Manifest = Manifest()
    tasks: tuple[TaskLaw, ...] = ()

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(one.family for one in self.by_family)

    @property
    def level(self) -> float:
        """Of the intervals."""
        return next((fit.level for of in self.by_family for fit in of.fits), LEVEL)

    def of(self, family: str | None) -> FamilyLaws:
        """One family's; of a family that has none, and of None, an empty one with reasons."""
        found = (one for one in self.by_family if one.family == family)
        return next(found, FamilyLaws(family=family or ""))

    def to_json(self) -> dict[str, Any]:
        """The content of `laws.json`: plain JSON values, null for what is not known."""
        content = {KEYS.get(item.name, item.name): getattr(self, item.name) for item in fields(self)}
        del content["by_family"]
        start = {key: content.pop(key) for key in ("schema", "study", "conventions")}
        plain: dict[str, Any] = plain_json(start | self._family_lists() | content)
        return plain

    def _family_lists(self) -> dict[str, list[dict[str, Any]]]:
        """The lists of the file, each entry with its family."""
        blank = FamilyLaws(family="")
        lists: dict[str, list[dict[str, Any]]] = {key: [] for key in family_keys()}
        for laws in self.by_family:
            for key in lists:
                value = getattr(laws, key)
                entries = value if isinstance(value, tuple) else [value] * (value != getattr(blank, key))
                lists[key] += [{"family": laws.family, **_shallow(entry)} for entry in entries]
        return lists

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], source: str | Path) -> Laws:
        """The laws in the content of a `laws.json`.

        Args:
            plain: JSON's own types; keys that no type here has are passed over.
            source: named in errors.

        Raises:
            InputError: another schema; a key is missing or has a value of a wrong type. One line that names
                the source and the field.
        """
        if plain.get("schema") != SCHEMA:
            raise InputError(
                f"{source}: not a laws.json of schema {SCHEMA}; make one with: scaling-laws laws"
            )
        hints = get_type_hints(cls)
        del hints["by_family"]
        names = {KEYS.get(name, name): name for name in hints}
        if missing := [key for key in (*names, *family_keys()) if key not in plain and key not in OPTIONAL]:
            raise InputError(f"{source}: lacks {', '.join(missing)}; {REMEDY}")
        content = {
            name: _read(plain[key], hints[name], source, key) for key, name in names.items() if key in plain
        }
        families: dict[str, dict[str, Any]] = {}
        for key, (of, many) in family_keys().items():
            for i, entry in enumerate(_read(plain.get(key, []), list[dict[str, Any]], source, key)):
                at = f"{key}[{i}]"
                laws = families.setdefault(_read(entry.get("family"), str, source, f"{at}.family"), {})
                value = _read(entry, of, source, at)
                if not many and key in laws:
                    raise InputError(f"{source}: {at}: a second entry of one family; {REMEDY}")
                laws[key] = (*laws.get(key, ()), value) if many else value
        by_family = tuple(FamilyLaws(family=family, **families[family]) for family in sorted(families))
        return cls(by_family=by_family, **content)


def read_laws(path: Path) -> Laws:
    """The laws in a `laws.json`.

    Raises:
        InputError: a table of runs, not readable, no JSON object, or as `Laws.from_json`.
    """
    if path.name.endswith(TABLES) and path.is_file():
        found = path.with_suffix(".laws.json")
        raise InputError(
            f"{path}: is a table of runs, not a laws.json; fit its laws with: scaling-laws laws {path}, "
            f"and give {found}"
        )
    return Laws.from_json(read_json(path, kind="laws.json", remedy=REMEDY), path)


def with_asked(laws: Laws, earlier: Path) -> Laws:
    """The laws with what somebody asked of the same runs before.

    That is: decisions, shared irreducible losses, and fits with predictions or with a cut by tokens.

    Args:
        earlier: a laws.json; where there is none, or none that can be read, nothing is added.
    """
    if not earlier.is_file():
        return laws
    try:
        before = read_laws(earlier)
    except InputError:
        return laws
    return replace(
        laws,
        by_family=tuple(replace(one, asked=_asked(before.of(one.family))) for one in laws.by_family),
        decisions=laws.decisions or before.decisions,
        held_out_choices=laws.held_out_choices or before.held_out_choices,
        shared_floors=laws.shared_floors or before.shared_floors,
    )


def _asked(earlier: FamilyLaws) -> tuple[FittedLaw, ...]:
    """The newest fits of a family with predictions or a cut: fits of chosen forms, or those kept of them."""
    return tuple(fit for fit in earlier.fits if fit.predictions or fit.token_cut) or earlier.asked


OPTIONAL = {
    "noise_growth",
    "growth",
    "level",
    "declared",
    "formula",
    "signed",
    "profile",
    "batch_tokens",
    "columns",
    "weights",
    "novel",
    "asked",
    "tasks",
    "shared_floors",
    "decisions",
    "held_out_choices",
    "predictions",
    "token_cut",
}
"""Keys that older files leave out where there is nothing to say."""
KEYS = {"shared": "families"}
"""Fields of `Laws` that the file calls otherwise."""


@cache
def family_keys() -> dict[str, tuple[Any, bool]]:
    """Keys whose entries belong to families: the entry's type, and whether a family may have several."""
    hints = get_type_hints(FamilyLaws)
    del hints["family"]
    return {
        key: (get_args(hint)[0], True) if get_origin(hint) is tuple else (hint, False)
        for key, hint in hints.items()
    }


def make_law(form: str, parameters: Mapping[str, Any], declared: Declaration | None = None) -> Any:
    """A law from its name and its parameters; sequences become arrays of draws, None in them infinite.

    Raises:
        InputError: the parameters are not the form's.
    """
    lengths = {len(value) for value in parameters.values() if isinstance(value, list | tuple)}
    if len(lengths) > 1:
        raise InputError(f"{form}: the parameters do not all have the same number of draws; {REMEDY}")
    try:
        kind = FORMS[form] if declared is None else declared.law(form)
        return kind(**{name: _numbers(value) for name, value in parameters.items()})
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{form}: the parameters {', '.join(parameters)} are not those of the form"
        ) from None


def _numbers(value: Any) -> float | FloatArray:
    if not isinstance(value, list | tuple):
        return float(value)
    return np.array([np.inf if number is None else number for number in value], dtype=np.float64)


def plain_json(value: Any) -> Any:
    """The value in JSON's own types; numbers that are not finite become None."""
    if is_dataclass(value):
        return plain_json(_shallow(value))
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _shallow(value: Any) -> dict[str, Any]:
    return {item.name: getattr(value, item.name) for item in fields(value)}


def _read(value: Any, of: Any, source: str | Path, at: str) -> Any:
    """The value as the type, or an InputError that says where it is not."""
    result = typed(value, of, source, at, remedy=REMEDY)
    if missing := next(_missing(result, value, at), None):
        raise InputError(f"{source}: lacks {missing}; {REMEDY}")
    return result


def _missing(value: Any, plain: Any, at: str) -> Iterator[str]:
    """Fields that the file should have: the defaults of the types are for those who make laws."""
    if is_dataclass(value):
        if plain.keys() <= {"family", "reason"}:  # all that older files say of what was not measured
            return
        for item in fields(value):
            if item.name in plain:
                yield from _missing(getattr(value, item.name), plain[item.name], f"{at}.{item.name}")
            elif item.name not in OPTIONAL:
                yield f"{at}.{item.name}"
    elif isinstance(value, tuple) and value and is_dataclass(value[0]):
        for i, (item, part) in enumerate(zip(value, plain, strict=True)):
            yield from _missing(item, part, f"{at}[{i}]")

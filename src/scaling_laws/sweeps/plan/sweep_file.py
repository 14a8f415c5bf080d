"""What a file in `configs/sweeps/` holds: the dataclasses are its documentation.

`reading.py` makes them of YAML. Sizes and horizons are given outright, or as shares of the *reference*: the
network of N parameters and the horizon of D tokens that the budget pays for (`reference.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from scaling_laws.models.families import family_named
from scaling_laws.models.optimizers import (
    SHORT_NAMES_SETTINGS,
    OptimizerSetting,
    Parametrization,
    optimizer_settings,
    require_own_settings,
)
from scaling_laws.models.precision import PRECISIONS
from scaling_laws.study.artefacts import read_yaml
from scaling_laws.study.bounds import (
    Amount,
    Count,
    Halvings,
    NotNegative,
    PositiveCount,
    PositiveLayers,
    PositiveNumber,
    Rate,
    Seed,
    ShareBelowOne,
    Tokens,
    Width,
    Windows,
    check_bounds,
)
from scaling_laws.study.configurations import find_config
from scaling_laws.study.errors import InputError
from scaling_laws.study.names import require_folder_name
from scaling_laws.study.records import EVERY_CORPUS, MAIN_CORPUS
from scaling_laws.study.schedule import Schedule
from scaling_laws.sweeps.plan.learning_rates import LearningRateRule
from scaling_laws.sweeps.plan.search_section import OBJECTIVE_CORPUS, ShapeSearch

Keep = Literal["trunk", "weights", "nothing"]
BASE = ("parametrization", "base_width", "base_depth", "base_head_width")
INSTEAD_OF_THE_SWEEPS = (
    "optimizer",
    *SHORT_NAMES_SETTINGS,
    "gradient_clip",
    "noise_suffix_tokens",
    "precision",
    *BASE,
    "corpus",
)
"""Keys of a model that stand for the sweep's, beside n_ctx, batch_sequences, devices and schedule."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One size, and how long it is trained.

    In a file, `vary: {name: [values]}` beside these keys stands for one model for each combination; a name is
    one of the keys below, or a path into one: `shape.<argument>`, `schedule.cooldown_share`,
    `optimizer.init_args.momentum`. A ladder may also hold keys of a model, `vary` among them: they then hold
    for each of its models that does not set its own.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    """Constructor arguments of the network, without n_vocab and n_ctx.

    A built-in family takes a size instead: `N`, the non-embedding parameters (met within 2 %), and, if
    wanted, `n_layer` or `aspect_ratio` (d_model / n_layer), `head_width` and `d_ff_ratio` (d_ff / d_model);
    of an LSTM `n_layer` (2). `dropout`, `n_reuse`, `tied` and `bias` may be added. `N_about` takes the
    nearest network that exists, `N_reused` counts a recurrent Transformer's blocks as often as they are used.
    """
    size: PositiveNumber | None = None
    """N as a share of the reference's; the nearest network that exists is taken."""
    reused_size: PositiveNumber | None = None
    """The same, with each parameter counted as often as it is used: equal FLOPs per token."""
    of_optimum: PositiveNumber | None = None
    """N as a multiple of the best size for `compute` by the last fit or by Hoffmann's rule."""
    horizons_tokens: tuple[Tokens, ...] = ()
    """D of each run. The longest run is the trunk and the others its cooldown branches, if the schedule and
    the learning rate allow it; otherwise each is a training of its own."""
    horizons: tuple[PositiveNumber, ...] = ()
    """The same as shares of the reference's D."""
    compute: tuple[PositiveNumber, ...] = ()
    """The same as shares of the reference's C = 6 N D: each D is the number of tokens that this compute buys
    for this network."""
    exact_compute: tuple[PositiveNumber, ...] = ()
    """The same, counting all FLOPs, head and context included: equal FLOPs between families."""
    seeds: tuple[Seed, ...] = (1,)
    n_ctx: Width | None = None
    """Replaces the sweep's; the number of held-out windows changes with it."""
    batch_sequences: PositiveCount | None = None
    """Replaces the sweep's; by default a model with another n_ctx gets as many tokens per step."""
    devices: PositiveCount | None = None
    """Replaces the trainer's: how many devices train this network together."""
    train_halvings: Halvings = 0
    """How often the training split is halved before the model sees it."""
    schedule: Schedule | None = None
    """Replaces the sweep's. In a file, keys that are left out keep the sweep's values."""
    learning_rate: LearningRateRule | Rate | None = None
    """Replaces the ladder's: a rule, or one rate."""
    optimizer: OptimizerSetting | None = None
    """Replaces the sweep's, as do the keys that follow."""
    beta1: ShareBelowOne | None = None
    beta2: ShareBelowOne | None = None
    weight_decay: NotNegative | None = None
    gradient_clip: NotNegative | None = None
    noise_suffix_tokens: Amount | None = None
    parametrization: Parametrization | None = None
    base_width: Width | None = None
    base_depth: PositiveLayers | None = None
    base_head_width: Width | None = None
    precision: str | None = None
    """Replaces the trainer's: `32-true`, `bf16-mixed`, ..."""
    corpus: str | None = None
    """Replaces the sweep's: a file of `configs/data/`, with its own text or vocabulary. Losses per token of
    different vocabularies are compared in bits per byte (`laws --compare corpus`)."""

    def __post_init__(self) -> None:
        check_bounds(self)
        asked = dict(self.shape) or "a model"
        if len(self.horizon_kinds) != 1:
            raise InputError(
                f"{asked}: how long is it trained? Give one of horizons_tokens (tokens), horizons, compute "
                "and exact_compute (shares of the budget's reference)"
            )
        if len(self.size_kinds) > 1:
            raise InputError(f"{asked}: {' and '.join(self.size_kinds)} are two sizes; leave one of them out")
        if self.of_optimum is not None and len(self.compute) != 1:
            raise InputError(f"{asked}: of_optimum is of one compute; vary it with compute: [[...], [...]]")
        if not self.seeds:
            raise InputError(f"{asked}: seeds is empty; leave it out for seed 1")
        if self.precision not in (None, *PRECISIONS):
            raise InputError(
                f"{asked}: precision is {self.precision!r}; of a model it is one of {', '.join(PRECISIONS)}"
            )

    @property
    def horizon_kinds(self) -> list[str]:
        """Which of the four ways to give horizons are used."""
        names = ("horizons_tokens", "horizons", "compute", "exact_compute")
        return [name for name in names if getattr(self, name)]

    @property
    def size_kinds(self) -> list[str]:
        """Which sizes are given, beside the shape."""
        return [name for name in ("size", "reused_size", "of_optimum") if getattr(self, name) is not None]

    @property
    def needs_reference(self) -> bool:
        """Whether the budget decides its size or its horizons."""
        return bool(self.size_kinds) or "horizons_tokens" not in self.horizon_kinds


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Sizes of one family that share a learning-rate rule. It names `family` or `class_path`."""

    family: str | None = None
    """A built-in network."""
    class_path: str | None = None
    """Your own network, module.Class, importable from the working directory; it is a family of its own."""
    learning_rate: LearningRateRule | Rate
    """A rule, or one rate for all."""
    models: tuple[Model, ...]
    learning_rate_factors: tuple[PositiveNumber, ...] = (1.0,)
    """Every model is trained with each of these multiples of the rate: for a sweep that looks for the
    rule."""

    def __post_init__(self) -> None:
        if (self.family is None) == (self.class_path is None):
            raise InputError("a ladder names either its family (transformer, lstm) or a class_path")
        if self.family is not None:
            family_named(self.family)
        if isinstance(self.learning_rate, LearningRateRule):
            self.learning_rate.check()
        check_bounds(self)
        if not self.learning_rate_factors:
            raise InputError("learning_rate_factors must be one positive number or more")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One study.

    Raises:
        InputError: a value makes no sense.
    """

    study: str
    """Name of the study and of its folder."""
    corpus: str
    """A file of `configs/data/`; the tokens are built into `data/<its name>` when they are not there."""
    question: str = ""
    """What the study should find out: the report begins with it."""
    ladders: tuple[Ladder, ...] = ()
    include: tuple[str, ...] = ()
    """Instead of ladders: sweep files whose experiments make up this study. A run that several of them need
    is trained once and carries the tag of each."""
    search: ShapeSearch | None = None
    """Instead of ladders: a search by Optuna for the best shape of one size."""
    scale: str = ""
    """A file of `configs/scales/` by its name, with defaults for all of these keys, for a laptop or a GPU.
    `--scale` takes another."""
    budget: str = ""
    """`30 core-minutes`, `2 GPU-hours`, `1e18 FLOPs`: the reference network and horizon are the largest that
    it pays for. In a file, a mapping gives one for each scale. `--budget` takes another."""
    tokens_per_parameter: PositiveNumber = 20.0
    """D / N of the reference (N non-embedding)."""
    most_tokens: Tokens | None = None
    """Upper limit of the reference's D: one pass over the corpus."""
    laws: str = ""
    """laws.json of an earlier study: if it exists, `of_optimum` is relative to its N_opt(C)."""
    n_ctx: Width = 128
    batch_sequences: PositiveCount = 16
    """Windows per optimiser step, over all devices and accumulated micro-batches."""
    noise_suffix_tokens: Amount = 0
    """How many positions at the end of each window are random tokens (`data.noise_suffix_tokens`)."""
    schedule: Schedule = field(default_factory=Schedule)
    """The learning-rate schedule of every run, up to the run's own horizon."""
    optimizer: OptimizerSetting = "adamw"
    """`adamw`, `adafactor`; any other by its class, `{class_path: torch.optim.SGD, init_args: {...}}`; or a
    list of these, each for a part of the weights (docs/own-optimizer.md)."""
    beta1: ShareBelowOne = 0.9
    """adamw's decay of the mean gradient."""
    beta2: ShareBelowOne = 0.95
    """adamw's decay of the mean squared gradient."""
    weight_decay: NotNegative = 0.1
    """Weight decay of adamw and adafactor, on matrices only."""
    parametrization: Parametrization = "standard"
    """How settings follow from width and depth: `standard`, or from a base shape `mup` or `completep`
    (`models/parametrization.py`), with Adam or AdamW."""
    base_width: Width | None = None
    """Width of the base shape, at which the rate was tuned; `standard` has none."""
    base_depth: PositiveLayers | None = None
    """Number of layers of the base shape; `completep` alone has it."""
    base_head_width: Width | None = None
    """Width of a head of the base shape; by default it has as many heads as each network."""
    gradient_clip: NotNegative = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    log_every_n_steps: PositiveCount = 20
    evaluations_per_doubling: Count = 2
    """Held-out evaluations each time the tokens double."""
    evaluation_every_n_steps: Count = 0
    """Also evaluate after every n-th step; 0: do not."""
    evaluation_corpora: tuple[str, ...] = (MAIN_CORPUS,)
    """Held-out corpora that are measured at each evaluation; the others are measured only after the last
    step. `[all]` stands for every one. The corpus that patience or a search looks at is added."""
    evaluation_windows: PositiveCount = 64
    """Windows of each of these corpora at each evaluation."""
    final_windows: Windows = 512
    """Windows of each of these corpora after the last step; `all` reads every window
    (docs/performance.md)."""
    other_windows: Windows = 96
    """Windows of each other held-out corpus after the last step."""
    probe_windows: Count = 8
    """Windows for which the loss of every token is kept at each evaluation."""
    noise_scale_every_n_steps: Count = 64
    """Steps between two measurements of the gradient noise scale; 0 for none."""
    patience: Count = 0
    """Early stopping, for data-limited runs: a run ends after this many evaluations without a new lowest
    loss."""
    patience_corpus: str = "val"
    """The held-out corpus that decides; Kaplan 2020 lets `test` decide."""
    keep: Keep = "weights"
    """What stays of each network on disk: its final `weights`; the weights and the state before the longest
    cooldown, so that a longer horizon can go on from there (`trunk`); or `nothing`. The value in included
    files is ignored."""
    overlays: tuple[str, ...] = ()
    """Files of `configs/trainer/`, as `fit --config` takes them: later ones win."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Lightning Trainer arguments of every run; they win over those of the overlays. Without either: one
    CPU."""
    compile: bool = False
    """Whether to compile networks with torch.compile."""
    shape_rule: Literal[1, 2] = 2
    """The rule by which a Transformer's width and heads follow from N: 2, with at least four heads; or 1, the
    rule before version 0.2, which studies begun then keep."""
    cluster: str = ""
    """A file with options of `--engine`, as `configs/cluster/slurm.yaml`: how your site wants its jobs."""

    def __post_init__(self) -> None:
        require_folder_name("study", self.study)
        check_bounds(self)
        shortest = min(
            [self.n_ctx, *(model.n_ctx or self.n_ctx for each in self.ladders for model in each.models)]
        )
        if self.noise_suffix_tokens >= shortest:
            raise InputError(
                f"noise_suffix_tokens is {self.noise_suffix_tokens}; it must leave some of "
                f"n_ctx = {shortest} to the text"
            )
        self._check_kind()
        changed = {name: getattr(self, name) != getattr(type(self), name) for name in SHORT_NAMES_SETTINGS}
        require_own_settings(self.optimizer, changed)
        if self.trainer_arguments.keys() & {"max_steps", "default_root_dir"}:
            raise InputError("trainer: max_steps and default_root_dir are given by the plan; leave them out")

    def _check_kind(self) -> None:
        kinds = [name for name in ("ladders", "include", "search") if getattr(self, name)]
        if not kinds:
            raise InputError(
                f"study {self.study!r}: plans no run; give it ladders with models, a search, "
                "or files to include"
            )
        if len(kinds) > 1:
            raise InputError(f"study {self.study!r}: has {' and '.join(kinds)}; leave one of them out")

    @property
    def needs_reference(self) -> bool:
        """Whether the budget decides anything."""
        return any(model.needs_reference for ladder in self.ladders for model in ladder.models)

    @property
    def corpora_on_the_way(self) -> tuple[str, ...]:
        """`evaluation_corpora`, and what a search looks at; `EVERY_CORPUS` stands alone."""
        wanted = dict.fromkeys((*self.evaluation_corpora, *((OBJECTIVE_CORPUS,) if self.search else ())))
        return (EVERY_CORPUS,) if EVERY_CORPUS in wanted else tuple(wanted)

    def for_model(self, ladder: Ladder, model: Model) -> Self:
        """The sweep as this model is trained: with what the model has instead of the sweep's.

        Raises:
            InputError: the two do not go together.
        """
        changes = {
            name: value for name in INSTEAD_OF_THE_SWEEPS if (value := getattr(model, name)) is not None
        }
        if not changes:
            return self
        if "optimizer" in changes:  # what the sweep says of its own optimiser is not said of this one
            own = optimizer_settings(changes["optimizer"])
            changes |= {
                name: getattr(type(self), name)
                for name in SHORT_NAMES_SETTINGS
                if name not in own and name not in changes
            }
        if "precision" in changes:
            changes["trainer"] = {**self.trainer, "precision": changes.pop("precision")}
        return replace(self, ladders=(replace(ladder, models=(model,)),), **changes)

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Of every run, overlays and defaults filled in."""
        return {"accelerator": "cpu", "devices": 1} | self._overlaid["trainer"] | self.trainer

    @property
    def noise_scale(self) -> dict[str, Any]:
        """The configuration's section of that name: sharded strategies cannot measure it."""
        return {"every_n_steps": self.noise_scale_every_n_steps} | self._overlaid["noise_scale"]

    @cached_property
    def _overlaid(self) -> dict[str, dict[str, Any]]:
        merged: dict[str, dict[str, Any]] = {"trainer": {}, "noise_scale": {}}
        for name in self.overlays:
            for section, values in _read_overlay(Path(name)).items():
                if section not in merged or not isinstance(values, dict):
                    raise InputError(
                        f"{name}: has {section!r}; a sweep's overlay may hold {', '.join(merged)}"
                    )
                merged[section] |= values
        return merged


def _read_overlay(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(find_config(path, "trainer"))
    except InputError as error:
        raise InputError(f"overlay {path}: {error}; configs/trainer/ has examples") from None

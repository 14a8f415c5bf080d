"""The verb `scaling-laws plan`: its arguments, and what it puts together from laws, shapes and budgets."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.laws.forms.joint import JointLaw
    from scaling_laws.laws.plan.compute_budget import Device
    from scaling_laws.laws.plan.question import Question, TrainingPlan
    from scaling_laws.laws.results.types import Laws
    from scaling_laws.models.solver import Shape

T = TypeVar("T")
SHAPE_FLAGS = ("n_vocab", "n_ctx", "aspect_ratio", "head_width", "d_ff_ratio")
CHINCHILLA_TOKENIZER = {"n_vocab": 32_000, "n_ctx": 2048}
"""Hoffmann et al. 2022: a 32,000-token vocabulary, contexts of 2048."""
GPT2_TOKENIZER = {"n_vocab": 50_257, "n_ctx": 1024}
NEEDS = (
    ("family", ("laws",), "--family chooses a family of a laws.json; a published law has no families"),
    ("run", ("score",), "--run belongs to --score FILE"),
    ("loss", ("score",), "--loss belongs to --score FILE"),
    ("cost", ("next_rung",), "--cost belongs to --next-rung"),
    ("target", ("next_rung",), "--target belongs to --next-rung"),
    *(
        (name, ("rounds",), f"--{name.replace('_', '-')} belongs to --rounds R")
        for name in ("ledger", "learning_rate", "batch", "beta2", "epsilon", "screen", "smallest_n")
    ),
    ("next_rung", ("laws",), "--next-rung needs --laws FILE: a published law has no draws to narrow"),
    ("mfu", ("device", "peak_tflops"), "--mfu is a share of a peak; give --device NAME or --peak-tflops P"),
    (
        "price",
        ("device", "peak_tflops", "gpu_hours"),
        "--price is of a device-hour; give --device NAME, --peak-tflops P or --gpu-hours H",
    ),
    ("tokens_per_second", ("gpu_hours",), "--tokens-per-second belongs to --gpu-hours H"),
    ("tokens_per_second", ("n",), "--tokens-per-second needs --n: the size that it was measured at"),
    (
        "gpu_hours",
        ("device", "peak_tflops", "tokens_per_second"),
        "--gpu-hours of what? give --device NAME, --peak-tflops P or --tokens-per-second T",
    ),
)
"""An option, those of which it needs one, and what to say without."""


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of the verb."""
    question = parser.add_argument_group(
        "question",
        "compute, target loss, --n or --d alone; the first two with --n; compute with --d; --n with --d",
    )
    budget = question.add_mutually_exclusive_group()
    budget.add_argument(
        "--compute",
        metavar="C",
        type=_compute,
        help="budget: FLOPs, as in 1e21, or petaFLOP/s-days, as in 3PFd",
    )
    _add_number(budget, "--gpu-hours", "H", "budget: device-hours of --device")
    _add_number(question, "--target-loss", "L", "the loss to reach, nats per token")
    _add_number(question, "--n", "N", "parameters, as in 7B; alone: the compute at which it is the best size")
    _add_number(
        question,
        "--d",
        "D",
        "training tokens, as in 1.4T; alone: the compute at which they are the best number",
    )
    device = parser.add_argument_group("device")
    peak = device.add_mutually_exclusive_group()
    peak.add_argument(
        "--device", metavar="NAME", type=_device, help="h100, h200, a100, ...: its peak, dense bf16"
    )
    _add_number(peak, "--peak-tflops", "P", "peak of any other device, TFLOP/s")
    _add_number(
        peak, "--tokens-per-second", "T", "measured tokens per second at --n on one device, instead of a peak"
    )
    device.add_argument(
        "--mfu",
        metavar="SHARE",
        type=_utilisation,
        help="share of the peak that 6 N D uses (default: 0.4)",
    )
    _add_number(device, "--price", "P", "price of one device-hour, as in 2.5: adds the cost of the plan")
    law = parser.add_argument_group("law")
    source = law.add_mutually_exclusive_group()
    source.add_argument("--laws", type=Path, metavar="FILE", help="a laws.json")
    source.add_argument("--published", metavar="NAME", type=_source, help="kaplan, chinchilla or besiroglu")
    law.add_argument("--family", help="the family whose law to use; needed if laws.json holds several")
    shape = parser.add_argument_group("shape")
    _add_number(shape, "--n-vocab", "V", "vocabulary size; matters where N includes embeddings", whole=True)
    _add_number(shape, "--n-ctx", "T", "context, tokens", whole=True)
    _add_number(shape, "--aspect-ratio", "R", "d_model / n_layer (default: 64, 128 from 10B)")
    _add_number(shape, "--head-width", "W", "d_model / n_heads", whole=True)
    _add_number(shape, "--d-ff-ratio", "R", "d_ff / d_model (default: 4)")
    more = parser.add_argument_group("further answers")
    _add_number(more, "--served-tokens", "T", "tokens to serve: minimise training plus inference compute")
    _add_number(more, "--unique-tokens", "U", "unique tokens available: how large a network, how many epochs")
    more.add_argument(
        "--next-rung", action="store_true", help="find the one further run that would narrow the answer most"
    )
    more.add_argument("--target", metavar="WHAT", help="for --next-rung: loss (default) or a_opt")
    _add_number(more, "--cost", "FLOPS", "for --next-rung: the most that the run may cost")
    later = parser.add_argument_group("predictions")
    later.add_argument("--freeze", type=Path, metavar="FILE", help="write the prediction, dated, to a file")
    later.add_argument("--score", type=Path, metavar="FILE", help="score a frozen prediction")
    truth = later.add_mutually_exclusive_group()
    truth.add_argument(
        "--run", type=Path, metavar="RUN", help="for --score: a run's folder, with record.json"
    )
    _add_number(truth, "--loss", "L", "for --score: the loss; of another N or D: --n, --d")
    rounds = parser.add_argument_group("rounds")
    rounds.add_argument(
        "--rounds",
        metavar="R",
        type=int,
        help="spend --compute in this many rounds (screen, learn, last run); needs no law",
    )
    rounds.add_argument(
        "--ledger", type=Path, metavar="FILE", help="a CSV of all runs: fill in each loss, and call again"
    )
    _add_number(rounds, "--learning-rate", "R", "the middle of the first screen (default: 0.003)")
    _add_number(rounds, "--batch", "B", "tokens per step, if known")
    _add_number(rounds, "--beta2", "B", "of Adam, if known")
    _add_number(rounds, "--epsilon", "E", "of Adam, if known")
    rounds.add_argument(
        "--screen", metavar="WHAT", help="also vary these: batch, beta2, epsilon, separated by commas"
    )
    _add_number(rounds, "--smallest-n", "N", "the smallest network that can be built")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def _add_number(group: Any, flag: str, metavar: str, meaning: str, *, whole: bool = False) -> None:
    """An option that is a positive number, as `parse_count` reads it."""
    group.add_argument(flag, metavar=metavar, type=_whole_number if whole else _number, help=meaning)


def _in_one_line(read: Callable[[str], T]) -> Callable[[str], T]:
    """A type of argparse, which would say of an InputError only that the value is invalid."""

    @functools.wraps(read)
    def typed(text: str) -> T:
        try:
            return read(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


@_in_one_line
def _number(text: str) -> float:
    from scaling_laws.laws.plan.compute_budget import parse_count

    return parse_count(text, "the value")


@_in_one_line
def _whole_number(text: str) -> int:
    value = _number(text)
    if value != int(value):
        raise InputError(f"the value is {text}: give a whole number")
    return int(value)


@_in_one_line
def _compute(text: str) -> float:
    from scaling_laws.laws.plan.compute_budget import parse_compute

    return parse_compute(text)


@_in_one_line
def _device(name: str) -> Device:
    from scaling_laws.laws.plan.compute_budget import device_peak

    return device_peak(name)


@_in_one_line
def _utilisation(text: str) -> float:
    from scaling_laws.laws.plan.compute_budget import checked_mfu

    try:
        return checked_mfu(float(text))
    except ValueError:
        raise InputError(f"{text!r} is not a share: give a number above 0 and at most 1, as in 0.4") from None


@_in_one_line
def _source(name: str) -> str:
    from scaling_laws.laws.plan.planner import SOURCES

    if name not in SOURCES:
        raise InputError(f"no published law {name!r}; there are {', '.join(SOURCES)}")
    return name


def plan(options: argparse.Namespace) -> None:
    """Answer, or score, and print.

    Raises:
        InputError: whatever is wrong with the question, the law or a file.
    """
    from scaling_laws.commands import plan_text
    from scaling_laws.commands.screen import show

    if options.score:
        from scaling_laws.commands.plan_predictions import score

        scored, prediction = score(options)
        content = {**scored.to_json(), "prediction": str(options.score), "written": prediction["written"]}
        print(_dumped(content)) if options.json else show(plan_text.score_text(scored, prediction))
        return
    if options.rounds is not None:
        from scaling_laws.commands.plan_rounds import rounds

        found = rounds(options)
        print(_dumped(found.to_json())) if options.json else show(str(found))
        return
    content = answer_options(options)
    print(_dumped(content)) if options.json else show(*plan_text.answer_text(content))


def answer_options(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is asked for, as plain JSON values.

    Raises:
        InputError: as `plan`.
    """
    from scaling_laws.laws.plan.planner import answer_from_laws, answer_published, published_rows

    if options.laws is None and options.published is None:
        raise InputError("give a law: --laws FILE or --published NAME")
    for flag, needed, sentence in NEEDS:
        if getattr(options, flag) and not any(getattr(options, other) for other in needed):
            raise InputError(sentence)
    question, budget = _question(options)
    laws = family = None
    if options.laws:
        from scaling_laws.laws.plan.choice import family_to_plan
        from scaling_laws.laws.results.types import read_laws

        laws = read_laws(options.laws)
        family = family_to_plan(laws, options.family)
        found = answer_from_laws(laws, question, family=family)
    else:
        found = answer_published(options.published, question)
    content: dict[str, Any] = {
        **found.to_json(),
        "question": question.words(),
        "family": family,
        "budget": _priced(budget | _hours(options, found), options.price),
        "shape": _shape(options, found, family, laws),
        "published": [row.to_json() for row in published_rows(question)],
    }
    if options.served_tokens:
        from scaling_laws.laws.plan.inference import plan_served

        law = _joint_law(options, laws, family, "--served-tokens")
        content["served"] = asdict(plan_served(law, found.loss_nats, options.served_tokens))
    if options.unique_tokens:
        content["repeated"] = _repeated(options, question, found, laws, family)
    if options.next_rung:
        content["next_rung"] = _next_rung(options, found, laws, family)
    if options.freeze:
        from scaling_laws.commands.plan_predictions import freeze

        freeze(options, found, question, laws, family)
        content["frozen"] = str(options.freeze)
    return content


def _question(options: argparse.Namespace) -> tuple[Question, dict[str, Any]]:
    """The question, and the device-hours, where those are the budget."""
    from scaling_laws.laws.plan.compute_budget import compute_of_hours, compute_of_throughput
    from scaling_laws.laws.plan.question import Question

    C, budget = options.compute, {}
    if options.gpu_hours:
        budget = {"gpu_hours": options.gpu_hours}
        if options.tokens_per_second:
            C = compute_of_throughput(options.gpu_hours, options.n, options.tokens_per_second)
        else:
            peak, mfu, _ = _peak(options)
            C = compute_of_hours(options.gpu_hours, peak, mfu)
    return Question(C=C, N=options.n, D=options.d, loss_nats=options.target_loss), budget


def _peak(options: argparse.Namespace) -> tuple[float, float, str]:
    """FLOP/s, utilisation, and where the peak comes from."""
    from scaling_laws.laws.plan.compute_budget import DEFAULT_MFU

    mfu = options.mfu or DEFAULT_MFU
    if options.peak_tflops:
        return options.peak_tflops * 1e12, mfu, "--peak-tflops"
    return options.device.peak_flops_per_s, mfu, options.device.source


def _hours(options: argparse.Namespace, found: TrainingPlan) -> dict[str, Any]:
    """The device-hours of the plan, where a device is named."""
    from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
    from scaling_laws.laws.plan.compute_budget import hours_of_compute

    if not (options.device or options.peak_tflops):
        return {}
    peak, mfu, source = _peak(options)
    # Kaplan's C_min is half of what training at the critical batch takes; elsewhere C is 6 N D.
    spent = FLOPS_PER_PARAMETER_TOKEN * found.N * found.D
    hours = options.gpu_hours or hours_of_compute(spent, peak, mfu)
    return {"gpu_hours": hours, "peak_flops_per_s": peak, "mfu": mfu, "peak_source": source}


def _priced(budget: dict[str, Any], price: float | None) -> dict[str, Any]:
    return budget if price is None else {**budget, "price": price, "cost": price * budget["gpu_hours"]}


def _shape(
    options: argparse.Namespace, found: TrainingPlan, family: str | None, laws: Laws | None
) -> dict[str, Any]:
    """A Transformer of the plan's N, or why there is none."""
    from scaling_laws.models.solver import solve_shape
    from scaling_laws.study.conventions import COUNT_ONCE, NConvention

    asked = [f"--{flag.replace('_', '-')}" for flag in SHAPE_FLAGS if getattr(options, flag)]
    if family not in (None, "all", "transformer"):
        if asked:
            raise InputError(f"{asked[0]}: shapes are solved for Transformers, not for {family}")
        return {"reason": f"shapes are solved for Transformers, not for {family}"}
    convention: NConvention = next((name for name in COUNT_ONCE if name == found.convention), "N")
    tokenizer = CHINCHILLA_TOKENIZER if options.laws is None and convention == "N_total" else GPT2_TOKENIZER
    if options.laws and convention != "N" and not options.n_vocab:
        return {"reason": f"N is {convention}, which counts the vocabulary: give --n-vocab"}
    sizes = {name: getattr(options, name) or default for name, default in tokenizer.items()}
    try:
        shape = solve_shape(
            found.N,
            n_vocab=sizes["n_vocab"],
            n_ctx=sizes["n_ctx"],
            convention=convention,
            aspect_ratio=options.aspect_ratio,
            head_width=options.head_width,
            d_ff_ratio=options.d_ff_ratio or 4.0,
        )
    except InputError as error:
        if asked:
            raise
        return {"reason": str(error)}
    content = _shape_json(shape, convention)
    return content | {"N_assumed": True} if laws is not None and _is_of_table(laws) else content


def _is_of_table(laws: Laws) -> bool:
    """Whether the laws are of a table, which does not say what its N counts."""
    from scaling_laws.study.conventions import C_CONVENTIONS, N_CONVENTIONS

    known = laws.conventions.N in N_CONVENTIONS and laws.conventions.C in C_CONVENTIONS
    return not known or bool(laws.manifest.columns) or bool(Path(laws.study).suffix)


def _shape_json(shape: Shape, convention: str) -> dict[str, Any]:
    config = shape.config
    return {
        "n_layer": config.n_layer,
        "d_model": config.d_model,
        "n_heads": config.n_heads,
        "d_ff": config.feed_forward_width,
        "n_vocab": config.n_vocab,
        "n_ctx": config.n_ctx,
        "N": shape.N,
        "N_counts": convention,
        "relative_error": shape.relative_error,
    }


def _joint_law(options: argparse.Namespace, laws: Laws | None, family: str | None, flag: str) -> JointLaw:
    """The law of N and D that the plan came from."""
    from scaling_laws.laws.plan.choice import chosen_fit
    from scaling_laws.laws.plan.planner import PUBLISHED_LAWS

    if laws is not None and family is not None:
        law: JointLaw = chosen_fit(laws, family)[0].law
        return law
    if options.published not in PUBLISHED_LAWS:
        others = " or ".join(PUBLISHED_LAWS)
        raise InputError(f"{flag} needs a law of one pass over N and D: --laws FILE, or --published {others}")
    return PUBLISHED_LAWS[options.published][0]


def _repeated(
    options: argparse.Namespace,
    question: Question,
    found: TrainingPlan,
    laws: Laws | None,
    family: str | None,
) -> list[dict[str, Any]]:
    """With this law and borrowed R's, and with Muennighoff's own constants."""
    from scaling_laws.laws.plan.planner import PUBLISHED_LAWS
    from scaling_laws.laws.plan.unique_tokens import borrowed, plan_repeated, repeated_law
    from scaling_laws.laws.published import MUENNIGHOFF

    if question.given not in ({"C"}, {"loss_nats"}):
        raise InputError("--unique-tokens looks for N and D: leave --n and --d out")
    if laws is not None and family is not None:
        law, source = repeated_law(laws, family)
    else:
        _joint_law(options, laws, family, "--unique-tokens")
        published, citation, _ = PUBLISHED_LAWS[options.published]
        law = borrowed(published)
        source = f"{citation}; how fast repeats lose their worth is borrowed from Muennighoff et al. 2023"
    own = "Muennighoff et al. 2023, all constants their own"
    return [
        asdict(plan_repeated(law, found.C, options.unique_tokens, source=source)),
        asdict(plan_repeated(MUENNIGHOFF, found.C, options.unique_tokens, source=own)),
    ]


def _next_rung(
    options: argparse.Namespace, found: TrainingPlan, laws: Laws | None, family: str | None
) -> dict[str, Any]:
    from scaling_laws.laws.plan.next_rung import TARGETS, next_rung_from_laws

    assert laws is not None  # `NEEDS`
    wanted = options.target or "loss"
    target = next((name for name in TARGETS if name == wanted), None)
    if target is None:
        raise InputError(f"--target is {wanted!r}; there are {', '.join(TARGETS)}")
    at = (found.N, found.D)
    return next_rung_from_laws(laws, family=family, target=target, at=at, cost=options.cost).to_json()


def _dumped(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, allow_nan=False)

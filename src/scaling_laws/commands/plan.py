"""The verb `scaling-laws plan`: its arguments, and what it puts together from laws, shapes and budgets.

Numbers arrive as text and are read here, so that whatever is wrong with one is told in one line. No torch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.commands.plan_options import (
    check_flags,
    count,
    optional,
    read_laws,
    read_peak,
    read_question,
    whole,
)
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    from scaling_laws.laws.forms.joint import JointLaw
    from scaling_laws.laws.plan.planner import Plan, Question
    from scaling_laws.models.solver import Shape

SHAPE_FLAGS = ("n_vocab", "n_ctx", "aspect_ratio", "head_width", "d_ff_ratio")
CHINCHILLA_TOKENIZER = {"n_vocab": 32_000, "n_ctx": 2048}
"""Hoffmann et al. 2022: a 32,000-token vocabulary, contexts of 2048."""
GPT2_TOKENIZER = {"n_vocab": 50_257, "n_ctx": 1024}


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of the verb; every number is read in `plan`."""
    question = parser.add_argument_group(
        "question", "compute or a target loss, alone or with --n; compute with --d; or --n with --d"
    )
    question.add_argument(
        "--compute", metavar="C", help="budget: FLOPs, as in 1e21, or petaFLOP/s-days, as in 3PFd"
    )
    question.add_argument("--gpu-hours", metavar="H", help="budget: device-hours of --device")
    question.add_argument("--target-loss", metavar="L", help="the loss to reach, nats per token")
    question.add_argument("--n", metavar="N", help="fixed parameters, as in 7B")
    question.add_argument("--d", metavar="D", help="fixed training tokens, as in 1.4T")
    device = parser.add_argument_group("device")
    device.add_argument("--device", metavar="NAME", help="h100, h200, a100, ...: its peak, dense bf16")
    device.add_argument("--peak-tflops", metavar="P", help="peak of any other device, TFLOP/s")
    device.add_argument(
        "--mfu", metavar="SHARE", help="share of the peak that 6 N D makes use of (default: 0.4)"
    )
    device.add_argument("--tokens-per-second", metavar="T", help="measured at --n on one device, instead")
    law = parser.add_argument_group("law")
    law.add_argument("--laws", type=Path, metavar="FILE", help="a laws.json")
    law.add_argument("--published", metavar="NAME", help="kaplan, chinchilla or besiroglu")
    law.add_argument("--family", help="whose law of the laws.json; needed where it holds several")
    shape = parser.add_argument_group("shape")
    shape.add_argument("--n-vocab", metavar="V", help="vocabulary; it counts where N holds embeddings")
    shape.add_argument("--n-ctx", metavar="T", help="context, tokens")
    shape.add_argument("--aspect-ratio", metavar="R", help="d_model / n_layer (default: 64, 128 from 10B)")
    shape.add_argument("--head-width", metavar="W", help="d_model / n_heads")
    shape.add_argument("--d-ff-ratio", metavar="R", help="d_ff / d_model (default: 4)")
    more = parser.add_argument_group("further answers")
    more.add_argument("--served-tokens", metavar="T", help="tokens to serve: least compute in all")
    more.add_argument("--unique-tokens", metavar="U", help="data there is: how large, how many epochs")
    more.add_argument("--next-rung", action="store_true", help="which one further run would tell most")
    more.add_argument("--target", metavar="WHAT", help="of --next-rung: loss (default) or a_opt")
    more.add_argument("--cost", metavar="FLOPS", help="of --next-rung: the most that run may cost")
    later = parser.add_argument_group("predictions")
    later.add_argument("--freeze", type=Path, metavar="FILE", help="write the prediction down, dated")
    later.add_argument("--score", type=Path, metavar="FILE", help="score a frozen prediction")
    later.add_argument("--run", type=Path, metavar="RUN", help="of --score: a run's folder, with record.json")
    later.add_argument("--loss", metavar="L", help="of --score: the loss; of another N or D: --n, --d")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def plan(options: argparse.Namespace) -> None:
    """Answer, or score, and print.

    Raises:
        InputError: whatever is wrong with the question, the law or a file.
    """
    from scaling_laws.commands import plan_text

    if options.score:
        from scaling_laws.commands.plan_predictions import score

        scored, prediction = score(options)
        content = {**scored.to_json(), "prediction": str(options.score), "written": prediction["written"]}
        print(_dumped(content) if options.json else plan_text.score_text(scored, prediction))
        return
    content = answer_options(options)
    print(_dumped(content) if options.json else plan_text.answer_text(content))


def answer_options(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is asked for, as plain JSON values.

    Raises:
        InputError: as `plan`.
    """
    from scaling_laws.laws.plan.planner import answer_from_laws, answer_published, published_rows

    check_flags(options)
    question, budget = read_question(options)
    laws = family = None
    if options.laws:
        from scaling_laws.laws.plan.choice import family_to_plan

        laws = read_laws(options.laws)
        family = family_to_plan(laws, options.family)
        found = answer_from_laws(laws, question, family=family)
    else:
        found = answer_published(options.published, question)
    content: dict[str, Any] = {
        **found.to_json(),
        "question": question.words(),
        "family": family,
        "budget": budget | _hours(options, found),
        "shape": _shape(options, found, family),
        "published": [row.to_json() for row in published_rows(question)],
    }
    if options.served_tokens:
        from scaling_laws.laws.plan.inference import plan_served

        served_tokens = count(options, "served_tokens")
        law = _joint_law(options, laws, family, "--served-tokens")
        content["served"] = asdict(plan_served(law, found.loss_nats, served_tokens))
    if options.unique_tokens:
        content["repeated"] = _repeated(options, question, found, laws, family)
    if options.next_rung:
        content["next_rung"] = _next_rung(options, found, laws, family)
    if options.freeze:
        from scaling_laws.commands.plan_predictions import freeze

        freeze(options, found, question, laws, family)
        content["frozen"] = str(options.freeze)
    return content


def _hours(options: argparse.Namespace, found: Plan) -> dict[str, Any]:
    """The device-hours of the plan, where a device is named."""
    from scaling_laws.laws.forms.terms import FLOPS_PER_PARAMETER_TOKEN
    from scaling_laws.laws.plan.compute_budget import hours_of_compute

    if not (options.device or options.peak_tflops):
        return {}
    peak, mfu, source = read_peak(options)
    # Kaplan's C_min is half of what training at the critical batch takes; elsewhere C is 6 N D.
    spent = FLOPS_PER_PARAMETER_TOKEN * found.N * found.D
    hours = count(options, "gpu_hours") if options.gpu_hours else hours_of_compute(spent, peak, mfu)
    return {"gpu_hours": hours, "peak_flops_per_s": peak, "mfu": mfu, "peak_source": source}


def _shape(options: argparse.Namespace, found: Plan, family: str | None) -> dict[str, Any]:
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
    sizes = {name: whole(options, name) or default for name, default in tokenizer.items()}
    try:
        shape = solve_shape(
            found.N,
            n_vocab=sizes["n_vocab"],
            n_ctx=sizes["n_ctx"],
            convention=convention,
            aspect_ratio=optional(options, "aspect_ratio"),
            head_width=whole(options, "head_width"),
            d_ff_ratio=optional(options, "d_ff_ratio") or 4.0,
        )
    except InputError as error:
        if asked:
            raise
        return {"reason": str(error)}
    return _shape_json(shape, convention)


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


def _joint_law(
    options: argparse.Namespace, laws: Mapping[str, Any] | None, family: str | None, flag: str
) -> JointLaw:
    """The law of N and D that the plan came from."""
    from scaling_laws.laws.plan.choice import chosen_fit, joint_law
    from scaling_laws.laws.plan.planner import PUBLISHED_LAWS

    if laws is not None and family is not None:
        fit, _ = chosen_fit(laws, family)
        return joint_law(fit["form"], fit["parameters"])
    if options.published not in PUBLISHED_LAWS:
        others = " or ".join(PUBLISHED_LAWS)
        raise InputError(f"{flag} needs a law of one pass over N and D: --laws FILE, or --published {others}")
    return PUBLISHED_LAWS[options.published][0]


def _repeated(
    options: argparse.Namespace,
    question: Question,
    found: Plan,
    laws: Mapping[str, Any] | None,
    family: str | None,
) -> list[dict[str, Any]]:
    """With this law and borrowed R's, and with Muennighoff's own constants."""
    from scaling_laws.laws.plan.planner import PUBLISHED_LAWS
    from scaling_laws.laws.plan.unique_tokens import borrowed, plan_repeated, repeated_law
    from scaling_laws.laws.published import MUENNIGHOFF

    unique_tokens = count(options, "unique_tokens")
    if question.given not in ({"C"}, {"loss_nats"}):
        raise InputError("--unique-tokens asks for N and D: leave --n and --d out")
    if laws is not None and family is not None:
        law, source = repeated_law(laws, family)
    else:
        _joint_law(options, laws, family, "--unique-tokens")
        published, citation, _ = PUBLISHED_LAWS[options.published]
        law = borrowed(published)
        source = f"{citation}; how fast repeats lose their worth is borrowed from Muennighoff et al. 2023"
    own = "Muennighoff et al. 2023, all constants their own"
    return [
        asdict(plan_repeated(law, found.C, unique_tokens, source=source)),
        asdict(plan_repeated(MUENNIGHOFF, found.C, unique_tokens, source=own)),
    ]


def _next_rung(
    options: argparse.Namespace, found: Plan, laws: Mapping[str, Any] | None, family: str | None
) -> dict[str, Any]:
    from scaling_laws.laws.plan.next_rung import TARGETS, next_rung_from_laws

    assert laws is not None  # `_check_flags`
    wanted = options.target or "loss"
    target = next((name for name in TARGETS if name == wanted), None)
    if target is None:
        raise InputError(f"--target is {wanted!r}; there are {', '.join(TARGETS)}")
    cost = optional(options, "cost")
    at = (found.N, found.D)
    return next_rung_from_laws(laws, family=family, target=target, at=at, cost=cost).to_json()


def _dumped(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, allow_nan=False)

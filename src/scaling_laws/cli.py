"""The command `scaling-laws`: each verb is one function, and imports what it needs when it is called.

`plan`, `laws`, `report` and `--help` never import torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from scaling_laws import __version__
from scaling_laws.commands.check_scaling import add_check_scaling_arguments
from scaling_laws.commands.config import add_config_arguments
from scaling_laws.commands.laws import add_laws_arguments
from scaling_laws.commands.paper import add_paper_arguments
from scaling_laws.commands.plan import add_plan_arguments
from scaling_laws.commands.report import add_report_arguments
from scaling_laws.commands.sweep import add_study_arguments, add_sweep_arguments
from scaling_laws.commands.use import add_export_arguments, add_generate_arguments
from scaling_laws.study.configurations import SHIPPED
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted
from scaling_laws.study.names import plain_output, spell_out_what_cannot_be_printed
from scaling_laws.study.records import DISK_ERRORS, not_written

LIGHTNING_VERBS = {
    "fit": "train one network (LightningCLI): configs/train/transformer.yaml",
    "validate": "measure its loss on the validation split: RUN/config.yaml [--ckpt_path ...]",
    "test": "measure its loss on the test split and the foreign corpora",
    "predict": "measure the loss of every token of a text: --data.predict_file FILE",
}
A_RUN = "lightning_logs/tiny/transformer-1x16h1-s1-0.262M"
EXAMPLES = {
    "study": "study tiny",
    "sweep": "sweep tiny --dry-run",
    "laws": "laws lightning_logs/tiny --form kaplan_d",
    "plan": "plan --compute 1e22 --published besiroglu",
    "report": "report lightning_logs/tiny --export kept",
    "paper": "paper pearce_song2024",
    "check-scaling": "check-scaling mup --steps 2",
    "config": "config sweeps/quick",
    "data": "data show data/tiny",
    "data build": "data build tiny",
    "data show": "data show data/tiny",
    "generate": f'generate {A_RUN} "def main" --n 50',
    "export": f"export {A_RUN} -o network",
    "fit": "fit transformer --data.corpus data/tiny --trainer.max_steps 50",
    "validate": f"validate {A_RUN}/config.yaml",
    "test": f"test {A_RUN}/config.yaml",
    "predict": f"predict {A_RUN}/config.yaml --data.predict_file README.md",
}
"""What `--help` of each verb ends with."""
LEFT_AT_ONCE = 130
FOR_TRAINING = {
    *("torch", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "torchmetrics"),
    *("jsonargparse", "optuna", "sqlalchemy", "tensorboard", "tokenizers"),
}
"""Packages that an installation for laws, plans and reports may lack."""
OF_UNIX = ("fcntl", "resource")
"""Modules that Python does not have on Windows."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the exit status is 0, 2 after one line of error, or that of a signal."""
    arguments = sys.argv[1:] if arguments is None else arguments
    spell_out_what_cannot_be_printed()
    # A `class_path` may name a file here, and a console script does not look here by itself. Last, so that no
    # file hides an installed module. The processes of a sweep inherit the path.
    # Then come the examples that configurations of the package name.
    sys.path += [folder for folder in (os.getcwd(), str(SHIPPED)) if folder not in sys.path]
    try:
        if arguments and arguments[0] in LIGHTNING_VERBS:
            from scaling_laws.training.verbs import main as lightning

            lightning(arguments, ending=_example(arguments[0]))
            return
        options = parser().parse_args(_joined(arguments))
        with plain_output():
            options.verb(options)
    except InputError as error:
        _show_error(str(error))
        raise SystemExit(2) from None
    except ModuleNotFoundError as missing:
        if (why := _not_here(missing.name or "", arguments)) is None:
            raise
        _show_error(why)
        raise SystemExit(2) from None
    except Interrupted as interrupted:
        print(interrupted.message, file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        raise SystemExit(LEFT_AT_ONCE) from None
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _show_error(str(not_written(Path(error.filename or "the output"), error)))
        raise SystemExit(2) from None


def _show_error(sentence: str) -> None:
    from scaling_laws.commands.screen import show_error

    show_error(sentence)


def _not_here(module: str, arguments: list[str]) -> str | None:
    """Why a verb that trains cannot run here, if the module that it lacks is one of those for training."""
    words = [word for word in arguments[:2] if not word.startswith("-")]
    verb = " ".join(words if words[0] == "data" else words[:1]) if words else "this"
    package = module.partition(".")[0]
    trains = package in FOR_TRAINING and verb not in ("laws", "report", "data build")
    if package in OF_UNIX or (trains and importlib.util.find_spec("fcntl") is None):
        return f"{verb}: training needs Linux or macOS; laws, plan, report and Python work here, too"
    if package in FOR_TRAINING:
        return (
            f"{verb}: needs {package}, which is not installed; in a clone of scaling_laws `pip install .` "
            "installs all that training needs (or pip install of its wheel, without --no-deps)"
        )
    return None


def _example(verb: str) -> str:
    """The end of a verb's help: a command that can be pasted."""
    example = EXAMPLES[verb]
    first = ", after `scaling-laws study tiny`" if "/tiny" in example else ""
    return f"example{first}:\n  scaling-laws {example}"


def _joined(arguments: list[str]) -> list[str]:
    """`--sbatch --time=8:00` as `--sbatch=--time=8:00`: argparse takes the value for an option."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1] == "--sbatch":
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage; takes no option for the beginning of another."""

    def __init__(self, **settings: Any) -> None:
        as_written = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"allow_abbrev": False, "formatter_class": as_written, **settings})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    """Every verb with its arguments."""
    whole = _OneLineParser(
        prog="scaling-laws",
        description="Measure how language models scale, and decide what to train next.",
        epilog="Begin with: scaling-laws study tiny",
    )
    whole.add_argument("--version", action="version", version=f"scaling-laws {__version__}")
    verbs = whole.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(verb: str, explanation: str, to: Any = verbs) -> argparse.ArgumentParser:
        name = verb.rpartition(" ")[2]
        found: argparse.ArgumentParser = to.add_parser(name, help=explanation, epilog=_example(verb))
        return found

    study = add("study", "the whole path: corpus, sweep, laws, report")
    add_study_arguments(study)
    study.set_defaults(verb=_study)

    sweep = add("sweep", "train every network that a sweep file plans; run it again to resume")
    add_sweep_arguments(sweep)
    sweep.set_defaults(verb=_sweep)

    laws = add("laws", "fit the laws to a study, a table, or runs that others logged")
    add_laws_arguments(laws)
    laws.set_defaults(verb=_laws)

    plan = add("plan", "plan what to train with a compute budget, or for a target loss")
    add_plan_arguments(plan)
    plan.set_defaults(verb=_plan)

    report = add("report", "figures and one self-contained report.html of a study")
    add_report_arguments(report)
    report.set_defaults(verb=_report)

    paper = add("paper", "list the papers, or reproduce one")
    add_paper_arguments(paper)
    paper.set_defaults(verb=_paper)

    scaling = add("check-scaling", "check whether activations grow with the width")
    add_check_scaling_arguments(scaling)
    scaling.set_defaults(verb=_check_scaling)

    config = add("config", "list the configurations, or print one: quick > mine.yaml")
    add_config_arguments(config)
    config.set_defaults(verb=_config)

    data = add("data", "build or inspect a corpus")
    data_verbs = data.add_subparsers(metavar="VERB", required=True)
    build = add("data build", "turn texts into token shards with a manifest", data_verbs)
    build.add_argument("config", type=Path, help="a file, or a name in configs/data/")
    build.add_argument("-o", "--output", type=Path, help="folder (default: data/<name>)")
    build.add_argument(
        "--force",
        action="store_true",
        help="replace what is there: another corpus, or files that no build wrote",
    )
    build.set_defaults(verb=_data_build)
    show = add("data show", "show what a corpus holds", data_verbs)
    show.add_argument("folder", type=Path)
    show.add_argument("--verify", action="store_true", help="hash every file, though it has not changed")
    show.set_defaults(verb=_data_show)

    generate = add("generate", "write text with a trained network")
    add_generate_arguments(generate)
    generate.set_defaults(verb=_generate)

    export = add("export", "save a trained network: weights, config, tokenizer")
    add_export_arguments(export)
    export.set_defaults(verb=_export)

    for verb, explanation in LIGHTNING_VERBS.items():
        verbs.add_parser(verb, help=explanation)  # listed here; dispatched in `main`
    return whole


def _study(options: argparse.Namespace) -> None:
    from scaling_laws.commands.report import write_and_say
    from scaling_laws.commands.sweep import TimeSpent, plan_of, refuse, train
    from scaling_laws.laws.results.study import fit_folder
    from scaling_laws.study.runs import load_study

    spent = TimeSpent()
    with spent.on("plan"):
        plan = plan_of(options)
    failed = train(plan, options, spent)
    with spent.on("laws"):
        study = load_study(plan.folder)
        laws = fit_folder(study)
    with spent.on("page"):
        write_and_say(study, plan.folder, laws=laws)
    print(spent.text(study.records))
    refuse(failed)


def _sweep(options: argparse.Namespace) -> None:
    from scaling_laws.commands.sweep import sweep

    sweep(options)


def _laws(options: argparse.Namespace) -> None:
    from scaling_laws.commands.laws import laws

    laws(options)


def _plan(options: argparse.Namespace) -> None:
    from scaling_laws.commands.plan import plan

    plan(options)


def _report(options: argparse.Namespace) -> None:
    from scaling_laws.commands.report import report

    report(options)


def _paper(options: argparse.Namespace) -> None:
    from scaling_laws.commands.paper import paper

    paper(options)


def _generate(options: argparse.Namespace) -> None:
    from scaling_laws.commands.use import generate

    generate(options)


def _export(options: argparse.Namespace) -> None:
    from scaling_laws.commands.use import export

    export(options)


def _check_scaling(options: argparse.Namespace) -> None:
    from scaling_laws.commands.check_scaling import check_scaling

    check_scaling(options)


def _config(options: argparse.Namespace) -> None:
    from scaling_laws.commands.config import config

    config(options)


def _data_build(options: argparse.Namespace) -> None:
    from scaling_laws.data.corpus_file import load_config
    from scaling_laws.data.tokens import build_corpus, describe

    config = load_config(options.config)
    folder = options.output or Path("data") / config.name
    print(describe(build_corpus(config, folder, file=options.config, force=options.force)))


def _data_show(options: argparse.Namespace) -> None:
    from scaling_laws.data.tokens import describe, open_corpus

    print(describe(open_corpus(options.folder, verify=options.verify)))

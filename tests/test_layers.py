"""The layout of CONTRIBUTING.md, enforced: which layer may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "scaling_laws"
STANDARD_LIBRARY = set(sys.stdlib_module_names)

# Layer -> (what it may import of this project, which third-party packages); the longest prefix counts.
LAYERS: dict[str, tuple[set[str], set[str]]] = {
    "study": ({"study"}, {"msgspec", "numpy", "pandas", "yaml"}),
    "study.file_keys": ({"study.errors"}, {"jsonargparse"}),
    "laws": ({"laws", "study"}, {"numpy", "pandas", "scipy", "msgspec"}),
    "laws.readers.tensorboard_reader": ({"laws.readers", "study"}, {"numpy", "pandas", "tensorboard"}),
    "models.precision": (set(), set()),
    "models.optimizers": ({"study", "models.precision"}, set()),
    "models.transformer_config": ({"study", "models.precision"}, set()),
    "models.lstm_config": ({"study", "models.precision"}, set()),
    "models.solver": ({"study", "models.transformer_config", "models.lstm_config"}, set()),
    "models.families": (
        {"models.transformer_config", "models.lstm_config", "models.precision", "models.solver", "study"},
        set(),
    ),
    "models.memory": ({"models.families", "models.optimizers", "models.precision"}, set()),
    "models": ({"models", "study"}, {"torch"}),
    "data": ({"data", "study"}, {"numpy", "tokenizers", "jsonargparse", "datasets", "huggingface_hub"}),
    "training": (
        {"training", "models", "data", "study"},
        {"torch", "pytorch_lightning", "lightning_fabric", "torchmetrics", "jsonargparse", "numpy", "yaml"},
    ),
    "training.event_log": (
        {"training", "study"},
        {"pytorch_lightning", "tensorboard"},
    ),
    "training.position_figure": (set(), {"numpy", "matplotlib"}),
    "training.logged_media": (set(), {"pytorch_lightning", "torch", "numpy", "matplotlib", "wandb"}),
    "sweeps.plan.networks": (
        {"sweeps.plan.sweep_file", "models.families", "models.memory", "models.precision", "models.own"}
        | {"models.optimizers", "models.optimizer_parts", "models.parametrization", "study"},
        set(),
    ),
    "sweeps.plan.reference": (
        {"sweeps.plan.networks", "sweeps.plan.sweep_file", "data", "models.solver", "study"},
        set(),
    ),
    "sweeps.plan.timings": (
        {"sweeps.plan.networks", "sweeps.run.forks", "training.step_time", "training.run", "study"}
        | {"models.optimizers"},
        set(),
    ),
    "sweeps.plan": (
        {
            "sweeps.plan",
            "sweeps.run.lease",
            "models.families",
            "models.memory",
            "models.optimizers",
            "models.precision",
            "laws",
            "data",
            "study",
        },
        {"jsonargparse", "yaml", "numpy", "scipy", "pandas"},
    ),
    "sweeps.run.job_process": (
        {"sweeps.run.lease", "sweeps.run.attempts", "sweeps.run.curve_tail", "sweeps.run.ranks"}
        | {"training", "study"},
        set(),
    ),
    "sweeps.run.ranks": ({"sweeps.run.lease", "training", "study"}, {"lightning_fabric"}),
    "sweeps.run.engines": ({"sweeps.run", "sweeps.plan", "study"}, {"yaml", "ray"}),
    "sweeps.run": ({"sweeps.run", "sweeps.plan", "study"}, {"rich"}),
    "sweeps.search": (
        {"sweeps", "laws", "data", "models.solver", "models.optimizers", "study"},
        {"optuna", "sqlalchemy", "numpy", "scipy"},
    ),
    "sweeps": (set(), set()),
    "report": (
        {"report", "laws", "models.families", "study"},
        {"numpy", "pandas", "matplotlib", "PIL", "jinja2", "markupsafe", "tensorboard"},
    ),
    "api": ({"api", "report", "laws", "study"}, {"numpy", "pandas", "matplotlib"}),
    "papers": (
        {"papers", "report", "laws", "training", "models", "data", "study"},
        {"numpy", "scipy", "pandas", "matplotlib", "torch"},
    ),
    "commands.sweep": (
        {"commands.shape", "commands.screen", "report.text", "sweeps", "data", "study"},
        {"rich"},
    ),
    "commands.check_scaling": (
        {"report.coordinate_figure", "sweeps.plan", "training.coordinate_check", "study"},
        set(),
    ),
    "commands.paper": ({"commands", "report", "laws", "sweeps", "study"}, set()),
    "commands.use": ({"training", "study"}, set()),
    "commands.shape": ({"sweeps", "data", "report", "study"}, {"rich"}),
    "commands": (
        {"commands", "api", "report", "laws", "models.solver", "study"},
        {"pandas", "rich"},
    ),
    "cli": ({""}, {"rich"}),
    "__main__": ({"cli"}, set()),
    "": ({"api", "laws", "study", "sweeps.plan.power"}, set()),
}
NO_TORCH = ("--help", "plan", "laws", "report", "paper", "sweep")


def table() -> str:
    """`LAYERS` as CONTRIBUTING.md shows it: `PYTHONPATH=. python -m tests.test_layers` prints it."""
    rows = ["| layer | may import of this project | third party |", "|---|---|---|"]
    for layer, (own, third_party) in LAYERS.items():
        if layer:
            cells = (
                ", ".join(f"`{name}`" for name in sorted(names)) if names - {""} else none
                for names, none in ((own, "everything" if "" in own else "nothing"), (third_party, "–"))
            )
            rows.append(f"| `{layer}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def layer_of(module: str) -> str:
    """The longest name in `LAYERS` that `module` (relative to the package) is or lies in."""
    return max((name for name in LAYERS if within(module, name)), key=len)


def within(module: str, name: str) -> bool:
    return name == "" or module == name or module.startswith(name + ".")


def imports(path: Path) -> list[str]:
    """Every module that a file imports, late and type-checking imports included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_point_down(path: Path) -> None:
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").rstrip(".")
    own, third_party = LAYERS[layer_of(module)]
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "scaling_laws":
            version = rest == "__version__"
            assert version or any(within(rest, allowed) for allowed in own), (
                f"{module or 'package'} imports {name}"
            )
        elif package not in STANDARD_LIBRARY:
            assert package in third_party, f"{module} imports {name}"


def test_contributing_shows_this_table() -> None:
    assert table() in (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_rules_can_fail() -> None:
    own, third_party = LAYERS[layer_of("laws.fit")]
    assert not any(within("runs.load_study", allowed) for allowed in own)
    assert "torch" not in third_party
    assert (
        layer_of("sweeps.run.job_process") == "sweeps.run.job_process"
        and layer_of("models.solver") == "models.solver"
    )


def test_no_drawer_for_everything() -> None:
    names = {path.stem for path in modules()}
    assert not names & {"utils", "common", "helpers", "misc"}


def test_a_file_and_a_class_have_a_name_of_their_own() -> None:
    files = Counter(path.stem for path in modules() if path.stem != "__init__")
    classes = Counter(
        node.name
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for counted in (files, classes) for name, n in counted.items() if n > 1] == []


@pytest.mark.parametrize("verb", NO_TORCH)
def test_verbs_that_must_be_fast_do_not_import_torch(verb: str) -> None:
    command = [verb] if verb == "--help" else [verb, "--help"]
    code = (
        "import sys; from scaling_laws.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True)


if __name__ == "__main__":
    print(table())

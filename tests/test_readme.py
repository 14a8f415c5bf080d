"""What README and manual say is true: commands, links, tables of results, the example of a network."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from scaling_laws.cli import EXAMPLES, LIGHTNING_VERBS, main, parser
from scaling_laws.models.optimizer_parts import require_resumable
from scaling_laws.report.pictures import LARGEST_KEPT_BYTES
from scaling_laws.report.text import with_interval
from scaling_laws.study.configurations import config_files
from scaling_laws.sweeps.plan.experiments import plan
from scaling_laws.sweeps.plan.reading import load_sweep
from scaling_laws.training.module import LanguageModel

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(document: str) -> list[tuple[str, str]]:
    """Language and content of its code blocks."""
    return re.findall(r"^```(\S*)\n(.*?)^```", document, flags=re.DOTALL | re.MULTILINE)


def command_lines(program: str, document: str = README) -> list[str]:
    """Lines of the code blocks of a document, the README, that call a program, comments cut off."""
    lines = [line for language, block in blocks(document) if not language for line in block.splitlines()]
    return [re.split(r"\s+#", line)[0] for line in lines if line.startswith(f"{program} ")]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 110


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split()[1] for line in command_lines("make")} | set(re.findall(r"`make (\w+)", README))
    assert {"study", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def commands_of_configurations() -> list[str]:
    """What the comments of configs/ say to call: a line of its own, or what follows a colon."""
    files = [path for path in config_files().values() if path.suffix == ".yaml"]
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    found = (re.search(r"(?:^#\s+|#.*: )scaling-laws ((?:(?!   ).)+)", line) for line in lines)
    return [match[1] for match in found if match]


def test_commands_of_configurations_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    commands = commands_of_configurations()
    assert len(commands) >= 8 and {line.split()[0] for line in commands} >= {"fit", "data", "sweep", "laws"}
    for line in commands:
        assert_understood(shlex.split(line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_the_manual_are_understood(page: Path) -> None:
    """Those of the README run, in test_wheel.py."""
    for line in command_lines("scaling-laws", page.read_text(encoding="utf-8")):
        words = shlex.split(line)[1:]
        if words[0] not in LIGHTNING_VERBS:
            assert_understood(words[: words.index(">")] if ">" in words else words)


@pytest.mark.parametrize("verb", EXAMPLES)
def test_help_ends_with_an_example_that_is_understood(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They run, in test_wheel.py."""
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help"])
    example = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert example == f"  scaling-laws {EXAMPLES[verb]}"
    words = shlex.split(example)[1:]
    assert words[: len(verb.split())] == verb.split()
    if verb in LIGHTNING_VERBS:  # their configurations are of a run that is not here
        assert words[1] == "transformer" or "/config.yaml" in words[1]
    else:
        assert_understood(words)


def test_every_verb_has_an_example() -> None:
    (verbs,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    assert set(verbs) == {verb for verb in EXAMPLES if " " not in verb}


def assert_understood(words: list[str]) -> None:
    """Only read: Lightning's verbs print their configuration, ours have their arguments."""
    if words[0] in LIGHTNING_VERBS:
        with pytest.raises(SystemExit) as printed:
            main([*words, "--print_config"])
        assert printed.value.code == 0
    else:
        assert parser().parse_args(words).verb


def test_ones_own_text_is_built_as_its_configuration_says(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["config", "my_text"])
    (tmp_path / "my_text.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "my_text_sources").symlink_to(text_folder)
    (command,) = (line for line in commands_of_configurations() if "my_text.yaml" in line)
    main(shlex.split(command))
    main(["data", "show", "data/my_text"])
    assert "vocabulary 4096" in capsys.readouterr().out


def test_the_example_network_is_one() -> None:
    namespace: dict[str, object] = {"torch": torch}
    page = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
    exec(next(block for language, block in blocks(page) if language == "python"), namespace)
    network = namespace["Bigram"](n_vocab=11, n_ctx=4)  # type: ignore[operator]
    module = LanguageModel(network)
    assert module(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 4, 11)


def test_the_example_optimizer_trains_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "own-optimizer.md").read_text(encoding="utf-8")
    (module,) = (block for language, block in blocks(page) if language == "python")
    sweep, parts = (block for language, block in blocks(page) if language == "yaml")
    (tmp_path / "my_optimizers.py").write_text(module, encoding="utf-8")
    (tmp_path / "my_optimizers.yaml").write_text(sweep, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    planned = plan(load_sweep(Path("my_optimizers.yaml")))
    settings = {
        str(run.config["model"]["optimizer"]): run.config["model"]["optimizer"] for run in planned.runs
    }
    assert len(planned.runs) == 2 * 3 * 3 * 3 and "adamw" in settings
    for setting in (*settings.values(), yaml.safe_load(parts)["optimizer"]):
        require_resumable(setting)


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (document.parent / target).exists(), (
                f"{document}: {target}"
            )


def test_recorded_results_are_small() -> None:
    """At every commit: a repository's history keeps each version of them."""
    listed = subprocess.run(["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True).stdout
    sizes = {name: (ROOT / name).stat().st_size for name in listed.splitlines() if (ROOT / name).exists()}
    assert 0 < sum(sizes.values()) <= 8_000_000
    assert not [name for name, size in sizes.items() if name.endswith(".png") and size > LARGEST_KEPT_BYTES]
    assert not [name for name in sizes if name.endswith(".svg")]


def test_the_headline_table_is_that_of_the_recorded_study() -> None:
    recorded = (ROOT / "results" / "quick" / "headline.md").read_text(encoding="utf-8").strip()
    assert recorded in (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")


def test_the_claims_are_those_of_the_recorded_papers() -> None:
    """Every row of the tables of claims, and what the text counts, by the rules' own files.

    Papers that train networks are in docs/results.md, others in docs/papers.md; each links to its rules.
    """
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "papers.md")]
    trained = []
    for path in sorted((ROOT / "results" / "papers").glob("*/claims.json")):
        (page,) = [page for page in pages if f"results/papers/{path.parent.name}/claims.md" in page]
        claims = json.loads(path.read_text(encoding="utf-8"))
        trained += claims if page == pages[0] else []
        for claim in claims:
            value = with_interval(claim["value"], (claim["low"], claim["high"]))
            words = f"{claim['claim']}: {claim['quantity']}"
            cells = (f"`{claim['slug']}`", words, value, claim["paper"] or "–", claim["verdict"])
            assert f"| {' | '.join(cells)} |" in page
    counts = Counter(claim["verdict"] for claim in trained)
    said = f"{counts['confirmed']} claims are confirmed, {counts['inconclusive']} are inconclusive, "
    assert f"{said}{counts['contradicted']} are contradicted" in " ".join(pages[0].split())


def test_no_document_installs_a_name_that_is_not_ours() -> None:
    """The project has no name in a public index: installs are of the clone, or of a wheel."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "configs").rglob("*.yaml")]
    documents += [*(ROOT / "src").rglob("*.py"), *(ROOT / "examples").iterdir()]
    wrong = re.compile(r"pip install[^\n`]*?[ '\"]scaling[-_]laws(?:\[|['\"`\s]|$)", re.MULTILINE)
    assert wrong.search("pip install 'scaling_laws[ray]'")
    assert not wrong.search("`pip install .` in scaling_laws")
    for path in documents:
        assert not (path.is_file() and wrong.search(path.read_text(encoding="utf-8"))), path

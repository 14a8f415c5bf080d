"""What the README says is true: its commands run, the list of files is the repository, its example trains."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch

from scaling_laws.cli import main
from scaling_laws.report.pictures import LARGEST_KEPT_BYTES
from scaling_laws.report.text import with_interval
from scaling_laws.study.records import read_record
from scaling_laws.training.module import LanguageModel

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def command_lines(program: str) -> list[str]:
    """Lines of the README's code blocks that call a program, comments cut off."""
    lines = [line for language, block in BLOCKS if not language for line in block.splitlines()]
    return [line.partition("  #")[0] for line in lines if line.startswith(f"{program} ")]


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split()[1] for line in command_lines("make")} | set(re.findall(r"`make (\w+)", README))
    assert {"study", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.systems
def test_commands_run_in_the_order_given(
    tiny_study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny_study)
    lines = command_lines("scaling-laws")
    assert len(lines) >= 3
    for line in lines:
        main(shlex.split(line)[1:])
    again = read_record(tiny_study / "lightning_logs" / "again" / "record.json")
    first = read_record(tiny_study / "lightning_logs" / "tiny" / again.name / "record.json")
    assert again.losses == first.losses  # its config.yaml reproduces a run, to the same loss
    printed = capsys.readouterr().out
    assert "test/loss_nats" in printed and "tokens, mean loss" in printed


def test_the_example_network_is_one() -> None:
    namespace: dict[str, object] = {"torch": torch}
    exec(
        next(block for language, block in BLOCKS if language == "python" and "torch.nn.Module" in block),
        namespace,
    )
    network = namespace["Bigram"](n_vocab=11, n_ctx=4)  # type: ignore[operator]
    module = LanguageModel(network)
    assert module(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 4, 11)


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
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
    assert recorded in README


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
    assert f"{said}{counts['contradicted']} are contradicted" in " ".join(README.split())

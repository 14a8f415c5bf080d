"""The page: complete, self-contained, escaped, the same bytes for the same study, and honest about gaps."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from scaling_laws.errors import InputError
from scaling_laws.laws.results.study import fit_study
from scaling_laws.records import read_record, write_record
from scaling_laws.reports.evidence import no_laws
from scaling_laws.reports.html import QUESTIONS, write_report
from scaling_laws.runs import load_study
from synthetic_study import write_synthetic_study

VOID = {"meta", "link", "img", "br", "hr"}


class Page(HTMLParser):
    """Elements with their attributes; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(synthetic: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(synthetic.study, synthetic.laws, tmp_path_factory.mktemp("page") / "report.html")


def test_the_page_is_whole_and_loads_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    images = [attributes for tag, attributes in parsed.elements if tag == "img"]
    assert len(images) == len(QUESTIONS)
    for image in images:
        assert (image["src"] or "").startswith("data:image/svg+xml;base64,")
        assert len(image["alt"] or "") > 40
    assert not {tag for tag, _ in parsed.elements} & {"script", "iframe", "object", "embed"}
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, (tag, value)
    assert not re.search(r"url\(|@import", text)
    targets = {attributes.get("id") for _, attributes in parsed.elements}
    links = {(attributes.get("href") or "#")[1:] for tag, attributes in parsed.elements if tag == "a"}
    assert links <= targets


def test_embedded_figures_are_the_files_beside_it(page: Path) -> None:
    embedded = re.findall(r"base64,([A-Za-z0-9+/=]+)", page.read_text(encoding="utf-8"))
    files = [page.parent / "figures" / f"{module.__name__.rpartition('.')[2]}.svg" for _, module in QUESTIONS]
    assert [base64.b64decode(content) for content in embedded] == [file.read_bytes() for file in files]
    for file in files:
        assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert b"<script" not in file.read_bytes()


def test_the_page_says_what_was_found(page: Path, synthetic: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert "the loss was not finite at step 31" in text
    assert synthetic.laws["manifest"]["input_sha256"] in text
    assert "What to train next?" in text
    for warning in synthetic.laws["warnings"]:
        assert warning.replace("'", "&#39;") in text


def test_same_study_same_bytes(page: Path, synthetic: Any, tmp_path: Path) -> None:
    again = write_report(synthetic.study, synthetic.laws, tmp_path / "report.html")
    assert again.read_bytes() == page.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_users_text_is_escaped(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>$x_"
    folder = write_synthetic_study(
        tmp_path / "study", families=("transformer",), max_sizes=1, horizons=(1e6,)
    )
    for path in folder.glob("*/record.json"):
        record = read_record(path)
        changed = {
            "family": hostile,
            "host": hostile,
            "reason": hostile if record.reason else "",
            "losses": {(hostile if name == "prose" else name): v for name, v in record.losses.items()},
        }
        write_record(path.parent, replace(record, **changed))
    study = load_study(folder)
    laws = fit_study(hostile, study.runs, study.positions(), study.left_out, resamples=20)
    text = write_report(study, laws).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    Page(text)


GAPS: dict[str, dict[str, Any]] = {
    "one family, no curves": {"families": ("lstm",), "max_sizes": 2, "horizons": (1e6, 2e6), "curves": False},
    "one horizon, no positions": {"horizons": (1e6,), "max_sizes": 2, "positions": False, "diverged": 0},
}


@pytest.mark.parametrize(
    ("gap", "says"),
    [
        ("one family, no curves", "nothing to compare"),
        ("one horizon, no positions", "No run left losses by position."),
    ],
)
def test_gaps_are_said_in_words(gap: str, says: str, fitted: Any, tmp_path: Path) -> None:
    study, laws, _ = fitted(tmp_path / "study", **GAPS[gap])
    text = write_report(study, laws).read_text(encoding="utf-8")
    assert says in text
    Page(text)


def test_one_run_is_a_report_too(one_run: Any, tmp_path: Path) -> None:
    text = write_report(one_run.study, one_run.laws, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No joint law L(N, D) is identified: chinchilla: only one N" in text
    assert "so there is no plan" in text
    Page(text)


def test_a_study_without_a_complete_run(tmp_path: Path) -> None:
    study = load_study(write_synthetic_study(tmp_path / "study", families=(), diverged=2))
    text = write_report(study, no_laws(study)).read_text(encoding="utf-8")
    assert "No run of this study can enter a law" in text
    assert text.count("the loss was not finite at step 31") == 2
    Page(text)


def test_laws_of_another_kind_are_refused(synthetic: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lack conventions, "):
        write_report(synthetic.study, {"study": "x", "fits": []}, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()

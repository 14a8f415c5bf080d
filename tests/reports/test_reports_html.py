"""The page: complete, self-contained, escaped, the same bytes for the same study, and honest about gaps."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shlex
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.cli import main
from scaling_laws.commands.report import next_commands
from scaling_laws.laws.plan.choice import best_joint_fit
from scaling_laws.laws.results.study import fit_study, no_laws
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import figures
from scaling_laws.report.content import Content, content_of
from scaling_laws.report.figure import CHAPTERS, figures_of
from scaling_laws.report.findings import caution, next_runs
from scaling_laws.report.formulas import value_with_interval
from scaling_laws.report.html import notation, page_files, write_content, write_report
from scaling_laws.report.pictures import LARGEST_SVG_BYTES, embedded
from scaling_laws.report.study_report import laws_text
from scaling_laws.report.text import short
from scaling_laws.study.errors import InputError
from scaling_laws.study.own_files import LIST_FILE
from scaling_laws.study.records import read_record, write_question, write_record
from scaling_laws.study.runs import load_study

FIGURES = figures_of(figures)
VOID = {"meta", "link", "img", "br", "hr", "input", "source"}


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

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def without_scripts(text: str) -> str:
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def content(synthetic: Any) -> Content:
    return content_of(synthetic.study, synthetic.laws)


@pytest.fixture(scope="module")
def page(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_content(content, tmp_path_factory.mktemp("page") / "report.html")


def test_the_page_is_whole_and_loads_nothing(page: Path, content: Content) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    images = parsed.all("img")
    assert len(images) == len(content.pictures) + 1  # and the still figure for print
    assert len(parsed.all("source")) == len(content.pictures)  # each again for a phone
    for image in images:
        assert re.match(r"data:image/(svg\+xml|webp);base64,", image["src"] or "")
        assert len(image["alt"] or "") > 40
    assert [script.get("type") for script in parsed.all("script")] == [
        "application/json",
        "application/octet-stream",
        None,
    ]
    assert not {tag for tag, _ in parsed.elements} & {"iframe", "object", "embed"}
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, (tag, value)
    assert not re.search(r"url\(|@import", without_scripts(text))
    assert "default-src 'none'" in text  # what tried to load something would not get it
    targets = {attributes.get("id") for _, attributes in parsed.elements}
    links = {(attributes.get("href") or "#")[1:] for attributes in parsed.all("a")}
    assert links <= targets
    assert page.stat().st_size < 8e6


def test_embedded_figures_are_the_files_beside_it(page: Path, content: Content) -> None:
    urls = [image["src"] or "" for image in Page(page.read_text(encoding="utf-8")).all("img")][1:]
    for picture, url in zip(content.pictures, urls, strict=True):
        file = page.parent / "figures" / f"{picture.name}.svg"
        if url.startswith("data:image/svg"):
            assert base64.b64decode(url.partition(",")[2]) == file.read_bytes()
        assert b"<script" not in file.read_bytes()
        assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_figures_that_could_not_be_drawn_are_one_list_at_the_end(page: Path, content: Content) -> None:
    text = page.read_text(encoding="utf-8")
    assert content.missing  # this study ran no scan of batches
    listed = text[text.index('<section id="missing">') : text.index('<section id="manifest">')]
    for each in content.missing:
        assert f"{notation(each.said)}</li>" in listed and "?:" not in each.said
        assert f'<figure id="{each.name}"' not in text
        assert not list((page.parent / "figures").glob(f"{each.name}.*"))
        assert "configs/sweeps/" in each.reason or "Needs" in each.reason
    assert {each.name for each in (*content.pictures, *content.missing)} == {one.name for one in FIGURES}
    assert notation("`a <b>` N_opt") == "<code>a &lt;b&gt;</code> N<sub>opt</sub>"


def test_the_largest_drawings_become_pixels_until_all_fit(content: Content) -> None:
    def sizes(limit: int) -> dict[str, tuple[bool, int]]:
        return {
            name: ("webp" in url[:20], len(base64.b64decode(url.partition(",")[2])))
            for name, url in embedded(content.pictures, limit).items()
        }

    drawn = sizes(10**9)
    small = [picture for picture in content.pictures if len(picture.svg) <= LARGEST_SVG_BYTES]
    assert small and not any(drawn[picture.name][0] for picture in small)
    limit = sum(size for _, size in drawn.values()) - 1
    fitting = sizes(limit)
    assert sum(size for _, size in fitting.values()) <= limit
    (turned,) = {name for name, (pixels, _) in fitting.items() if pixels != drawn[name][0]}
    assert fitting[turned][1] < drawn[turned][1]


def test_chapters_are_the_questions_in_order(page: Path, content: Content) -> None:
    text = without_scripts(page.read_text(encoding="utf-8"))
    at = [text.find(f">{escape(question)}</h2>") for question in CHAPTERS.values()]
    assert [place for place in at if place > 0] == sorted(place for place in at if place > 0)
    names = {chapter.name for chapter in content.chapters}
    assert [place > 0 for place in at] == [name in names for name in CHAPTERS]
    assert {"scale", "compute", "trust", "next"} <= names
    for picture in content.pictures:
        assert text.index(f'id="{picture.chapter}"') < text.index(f'<figure id="{picture.name}"')


def test_no_two_figures_have_a_name() -> None:
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names)


def test_the_page_says_what_was_found(page: Path, synthetic: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert "the loss was not finite at step 31" in text
    assert synthetic.laws.manifest.input_sha256 in text
    for warning in synthetic.laws.warnings:
        assert notation(warning) in text
    for family in ("transformer", "lstm"):
        fit, _ = best_joint_fit(synthetic.laws.of(family))
        assert fit is not None
        assert f"a = {value_with_interval(fit, 'a_opt')}" in text


def test_the_answer_is_three_sentences_by_the_tables_measures(content: Content, synthetic: Any) -> None:
    measured, law, then = re.split(r"(?<=[.]) (?=[A-Z])", content.answer[0])
    runs = synthetic.tables.of("transformer")
    assert measured.startswith(f"{len(runs)} Transformer runs with {short(runs['N'].min())} to ")
    fit, _ = best_joint_fit(synthetic.laws.of("transformer"))
    assert fit is not None and f"a = {value_with_interval(fit, 'a_opt')}" in law
    rows = [row for row in next_runs(content.tables, content.laws).table.rows if row[0] == "Transformer"]
    _, _, N, D, loss, *_ = rows[1]  # ten times the largest run
    assert f"train {N.split()[0]} parameters on {D.split()[0]} tokens and expect {loss} nats" in then
    of_table = {row[0]: row[1] for row in content.headline.rows}
    error, guess = (of_table[f"held-out error, {name}"] for name in ("Chinchilla's form", "no fit"))
    assert f"the law was {error} off there on average (a guess without a fit: {guess})" in then
    assert not content.caution


def test_runs_that_conclude_nothing_say_so_first(
    synthetic: Any, one_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaling_laws.report.content.draw_pictures", lambda *_: ((), ()))  # words alone
    assert caution(one_run.tables, one_run.laws).startswith("Too few runs to conclude anything: no law")
    no_better = synthetic.laws.to_json()
    for entry in no_better["holdout"]:
        entry["baseline_mean_absolute_error"] = (entry["mean_absolute_error"] or 0) / 2
    laws = Laws.from_json(no_better, "no better")
    assert "no better than a guess" in caution(synthetic.tables, laws)
    page = Page(_page_text(content_of(synthetic.study, laws)))
    classes = [attributes.get("class") for tag, attributes in page.elements if tag in ("p", "div")]
    assert classes.index("caution") < classes.index("answer")


def test_the_next_commands_can_be_pasted(
    content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the environment is not on the PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "laws.json").write_text(laws_text(content.laws), encoding="utf-8")
    lines = next_commands(content, tmp_path / "a folder")
    assert lines[0] == "next:"
    program, *arguments = shlex.split(lines[1])
    assert Path(program).is_file() or program == sys.executable
    main(arguments[2:] if arguments[0] == "-m" else arguments)
    assert "parameters" in capsys.readouterr().out
    assert lines[2] == f"{lines[1]} --next-rung" and "report" in lines[3] and len(lines) == 4


def _page_text(content: Content) -> str:
    text = page_files(replace(content, chapters=()), "page")["page.html"]
    assert isinstance(text, str)
    return text


def test_same_study_same_bytes(page: Path, synthetic: Any, tmp_path: Path) -> None:
    again = write_report(synthetic.study, synthetic.laws, tmp_path / "report.html")
    assert again.read_bytes() == page.read_bytes()
    assert again.with_suffix(".md").read_bytes() == page.with_suffix(".md").read_bytes()
    assert {path.name for path in tmp_path.glob(".*")} == {LIST_FILE}


def test_users_text_is_escaped(tmp_path: Path) -> None:
    steering = "\u202e\u2066\x1b]0;owned\x07"
    hostile = "</script><script>alert(1)</script><!-- \"'>&amp; $x_$ %{x}"
    folder = write_synthetic_study(
        tmp_path / "study", families=("transformer",), max_sizes=1, horizons=(1e6,)
    )
    write_question(folder, hostile + steering)
    for number, path in enumerate(sorted(folder.glob("*/record.json"))):
        record = read_record(path)
        changed: dict[str, Any] = {
            "name": f"<img src=x onerror=alert({number})>",
            "family": hostile + "\r\n| x |" + steering,
            "host": hostile + steering,
            "tags": (hostile + steering, "size"),
            "reason": hostile if record.reason else "",
            "losses": {(hostile if name == "prose" else name): v for name, v in record.losses.items()},
        }
        new = path.parent.rename(folder / changed["name"])
        write_record(new, replace(record, **changed))
    study = load_study(folder)
    laws = fit_study(hostile, study.runs, study.positions(), study.left_out, resamples=20)
    text = write_report(study, laws).read_text(encoding="utf-8")
    parsed = Page(text)
    assert len(parsed.all("script")) == 3
    assert all((image["src"] or "").startswith("data:") for image in parsed.all("img"))
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in without_scripts(text)
    (embedded_json,) = re.findall(r'id="study-data">(.*?)</script>', text, flags=re.DOTALL)
    data = json.loads(embedded_json)
    assert data["families"] == [hostile + " | x |" + "��" + "�]0;owned�"]
    assert data["experiments"] == sorted([hostile + "��" + "�]0;owned�", "size"])
    assert sorted(data["runs"]["run"]) == sorted(study.runs["run"])
    marked = (folder / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"<(script|img|!--)", marked)
    for shown in (text, marked, *(path.read_text("utf-8") for path in (folder / "figures").glob("*.svg"))):
        assert not set(steering[:3] + "\x07") & set(shown)


def test_the_page_runs_its_own_scripts_and_no_others(page: Path) -> None:
    """The policy names them by their hashes; what a stranger's text might smuggle in has another."""
    text = page.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    (allowed,) = re.findall(r"script-src ([^;]+);", policy)
    (own,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (packed,) = re.findall(r'id="plotly-packed">(.*?)</script>', text, flags=re.DOTALL)
    scripts = (own.encode(), gzip.decompress(base64.b64decode(packed)))
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    assert allowed.split() == [f"'sha256-{each}'" for each in hashes]


GAPS: dict[str, dict[str, Any]] = {
    "one family, no curves": {"families": ("lstm",), "max_sizes": 2, "horizons": (1e6, 2e6), "curves": False},
    "one horizon, no positions": {"horizons": (1e6,), "max_sizes": 2, "positions": False, "diverged": 0},
}


@pytest.mark.parametrize(
    ("gap", "says"),
    [
        ("one family, no curves", "nothing to compare"),
        ("one horizon, no positions", "Needs losses by position, position_losses.csv"),
    ],
)
def test_gaps_are_said_in_words(gap: str, says: str, fitted: Any, tmp_path: Path) -> None:
    study, laws, _ = fitted(tmp_path / "study", **GAPS[gap])
    text = write_report(study, laws).read_text(encoding="utf-8")
    assert says in text
    Page(text)


def test_one_run_is_a_report_too(one_run: Any, tmp_path: Path) -> None:
    text = write_report(one_run.study, one_run.laws, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Too few runs to conclude anything: no law of N and D is identified." in text
    assert "so there is no plan" in text
    Page(text)


def test_a_study_without_a_complete_run(tmp_path: Path) -> None:
    study = load_study(write_synthetic_study(tmp_path / "study", families=(), diverged=2))
    text = write_report(study, no_laws(study)).read_text(encoding="utf-8")
    assert "No run can enter a law" in text
    assert text.count("the loss was not finite at step 31") == 2
    Page(text)


def test_laws_of_another_kind_are_refused(synthetic: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a laws"):
        write_report(
            synthetic.study, Laws.from_json({"study": "x", "fits": []}, "x"), tmp_path / "report.html"
        )
    assert not (tmp_path / "report.html").exists()

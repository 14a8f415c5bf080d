"""The page in a real browser: it draws, answers mouse and switches, prints, and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import CHROMIUM, Browser

from scaling_laws.laws.plan.compute_budget import parse_count
from scaling_laws.laws.plan.planner import plan_from_laws
from scaling_laws.report.content import Content, content_of
from scaling_laws.report.html import write_content

pytestmark = [
    pytest.mark.systems,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]

KEYS = {"ArrowRight": 39, "Home": 36, "End": 35}
HOSTILE = "<b>x</b></script>%{y}&amp;"
DRAWN = "document.getElementById('explore').dataset.drawn === 'yes'"
POINT = """(() => {
  const plot = document.getElementById("runs-plot");
  plot.scrollIntoView({ block: "center" });
  const { left, top } = plot.getBoundingClientRect();
  const { xaxis, yaxis } = plot._fullLayout;
  const trace = plot.data[%d];
  const place = trace.x.length - 1;
  return [left + xaxis._offset + xaxis.d2p(trace.x[place]), top + yaxis._offset + yaxis.d2p(trace.y[place])];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def content(synthetic: Any) -> Content:
    """Two families; one run has a name that wants to be HTML, another is of two experiments."""
    tables = synthetic.tables
    last = tables.complete.sort_values(["family", "N", "D", "run"])["run"].iloc[-1]
    complete = tables.complete.assign(
        experiments=["size, data" if run == last else "size" for run in tables.complete["run"]],
        run=tables.complete["run"].replace(last, HOSTILE),
    )
    curves = tables.curves.assign(run=tables.curves["run"].replace(last, HOSTILE))
    whole = content_of(synthetic.study, synthetic.laws)
    return replace(whole, tables=replace(tables, complete=complete, curves=curves))


@pytest.fixture(scope="module")
def page(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_content(content, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def opened(browser: Browser, page: Path) -> Iterator[Browser]:
    """The page, drawn; afterwards nothing was complained of and nothing but the file was asked for."""
    browser.errors.clear()
    browser.requested.clear()
    browser.size(1280, 900)
    browser.open(page)
    browser.wait_for(DRAWN)
    yield browser
    assert browser.errors == []
    assert {url for url in browser.requested if not url.startswith(("data:", "blob:"))} == {page.as_uri()}


def choose(browser: Browser, name: str, value: str) -> None:
    browser.value(
        f"""(() => {{ const select = document.getElementById({name!r}); select.value = {value!r};
        select.dispatchEvent(new Event("change", {{ bubbles: true }})); }})()"""
    )


def trace(browser: Browser, number: int, axis: str = "x") -> list[float]:
    values: list[float] = browser.value(
        f"Array.from(document.getElementById('runs-plot').data[{number}].{axis})"
    )
    return values


def column(content: Content, name: str, family: str) -> list[float]:
    runs = content.tables.complete
    return sorted(float(value) for value in runs[runs["family"] == family][name])


def test_every_run_is_drawn_by_the_conventions_chosen(opened: Browser, content: Content) -> None:
    for number, family in enumerate(("transformer", "lstm")):
        assert sorted(trace(opened, number)) == pytest.approx(column(content, "C", family), rel=1e-5)
        assert sorted(trace(opened, number, "y")) == pytest.approx(column(content, "loss", family), rel=1e-5)
    choose(opened, "runs-x", "N")
    for convention in ("N_total", "N_with_head", "N_reused", "N"):
        choose(opened, "convention-n", convention)
        assert sorted(trace(opened, 0)) == column(content, convention, "transformer")
        shown = opened.value("document.getElementById('runs-plot').layout.xaxis.title.text")
        assert shown == opened.value(
            f"JSON.parse(document.getElementById('study-data').textContent).labels.{convention}"
        )
    choose(opened, "runs-x", "C")
    choose(opened, "convention-c", "C_exact")
    assert sorted(trace(opened, 0)) == pytest.approx(column(content, "C_exact", "transformer"), rel=1e-5)
    choose(opened, "runs-x", "D")
    assert sorted(trace(opened, 0)) == column(content, "D", "transformer")


def test_hovering_tells_the_run_and_its_name_stays_text(opened: Browser, content: Content) -> None:
    x, y = opened.value(
        POINT % 0
    )  # the last by name of the largest Transformer: the one with the hostile name
    opened.move_mouse(x - 3, y)
    opened.move_mouse(x, y)
    opened.wait_for("document.querySelector('#runs-plot .hoverlayer').textContent.includes('nats per token')")
    said = opened.value("document.querySelector('#runs-plot .hoverlayer').textContent")
    run = content.tables.complete.query("run == @HOSTILE").iloc[0]
    assert said.startswith(HOSTILE)
    assert f"loss = {run['loss']:.4f} nats per token" in said
    assert "experiments: size, data" in said


def test_axes_families_and_experiments_can_be_switched(opened: Browser) -> None:
    kinds = "['xaxis', 'yaxis'].map((axis) => document.getElementById('runs-plot').layout[axis].type)"
    assert opened.value(kinds) == ["log", "log"]
    choose(opened, "runs-x-scale", "linear")
    choose(opened, "runs-y-scale", "linear")
    assert opened.value(kinds) == ["linear", "linear"]
    n_lstm = len(trace(opened, 1))
    opened.value("document.querySelector('#families input').click()")
    assert trace(opened, 0) == [] and len(trace(opened, 1)) == n_lstm
    assert opened.value("document.getElementById('runs-count').textContent").startswith(f"{n_lstm} of ")
    curves = "document.getElementById('curves-plot').data.map((trace) => trace.name)"
    assert set(opened.value(curves)) == {"LSTM"}
    opened.value("document.querySelector('#families input').click()")
    choose(opened, "experiment", "0")  # `data`, of one run alone
    assert (len(trace(opened, 0)), len(trace(opened, 1))) == (1, 0)
    choose(opened, "experiment", "")
    assert len(trace(opened, 1)) == n_lstm


def test_curves_end_where_the_runs_do(opened: Browser, content: Content) -> None:
    furthest = (
        "Math.max(...document.getElementById('curves-plot').data"
        ".flatMap((trace) => Array.from(trace.x)).filter(Number.isFinite))"
    )
    assert opened.value(furthest) == content.tables.complete["D"].max()
    choose(opened, "curves-x", "C")
    assert opened.value(furthest) == pytest.approx(content.tables.complete["C"].max(), rel=1e-5)


WORDS = (
    "[...document.querySelectorAll('#budget-words, #budget dd, #budget-reach')].map((one) => one.textContent)"
)


def press(browser: Browser, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key])


def test_a_budget_is_chosen_by_mouse_or_keys(opened: Browser, content: Content) -> None:
    runs = content.tables.of("transformer")
    C = 10 * float((6 * runs["N"] * runs["D"]).max())
    plan = plan_from_laws(content.laws, C, family="transformer")
    budget, N, D, loss, reach = opened.value(WORDS)
    assert float(budget.split()[0]) == pytest.approx(C, rel=0.02)
    assert counted(N) == pytest.approx(plan.N, rel=0.03)
    assert counted(D) == pytest.approx(plan.D, rel=0.03)
    assert float(loss.split()[0]) == pytest.approx(plan.loss_nats, rel=0.002)
    low, high = (float(end) for end in loss.partition("[")[2].partition("]")[0].split(", "))
    assert low < float(loss.split()[0]) < high
    assert "C is 10 times the largest" in reach or "C is 9.9" in reach or "C is 10.1" in reach
    opened.value("document.getElementById('budget-slider').focus()")
    for _ in range(5):
        press(opened, "ArrowRight")
    assert counted(opened.value(WORDS)[1]) > counted(N)
    press(opened, "Home")
    assert opened.value(WORDS)[4] in ("Inside the runs in N, D and C.",) or "below" in opened.value(WORDS)[4]
    choose(opened, "budget-family", "1")
    assert counted(opened.value(WORDS)[1]) != counted(N)


def test_hours_and_served_tokens_are_budgets_too(opened: Browser) -> None:
    choose(opened, "budget-kind", "hours")
    opened.value("document.getElementById('budget-speed').value = 1")
    opened.value("document.getElementById('budget-speed').dispatchEvent(new Event('input'))")
    hours, flops = opened.value(WORDS)[0].partition(" device-hours (")[::2]
    assert counted(hours) == pytest.approx(float(flops.split()[0]) / 3600e12, rel=0.01)
    for wrong in ("", "0", "-3"):
        opened.value(f"document.getElementById('budget-speed').value = {wrong!r}")
        opened.value("document.getElementById('budget-speed').dispatchEvent(new Event('input'))")
        assert opened.value(WORDS)[0] == "give a speed above 0"
    choose(opened, "budget-kind", "served")
    few = opened.value(WORDS)
    opened.value("document.getElementById('budget-slider').focus()")
    press(opened, "End")
    many = opened.value(WORDS)
    assert "tokens to serve" in many[0] and counted(many[0]) > counted(few[0])
    assert counted(many[1]) < counted(few[1]) and counted(many[2]) > counted(few[2])  # smaller, longer
    assert many[3].split()[0] == few[3].split()[0]
    assert not any("NaN" in word or "Infinity" in word or "null" in word for word in (*few, *many))


def counted(text: str) -> float:
    return parse_count(text.split()[0], "it")


def test_a_phone_scrolls_one_way(opened: Browser, content: Content) -> None:
    opened.size(375, 844, mobile=True)
    opened.wait_for("document.getElementById('runs-plot').offsetWidth < 375")
    opened.wait_for("document.querySelector('.modebar') === null")
    assert opened.value("document.documentElement.scrollWidth") == 375
    assert opened.value("document.getElementById('runs-plot')._fullLayout.width") <= 375
    headline = "document.querySelector('.headline').parentElement"
    assert opened.value(f"{headline}.scrollWidth <= {headline}.clientWidth")
    first = "[...document.querySelectorAll('.wide tbody th:first-child')]"
    assert opened.value(f"{first}.every((one) => getComputedStyle(one).position === 'sticky')")


def test_on_a_phone_panels_stand_below_one_another(opened: Browser, content: Content) -> None:
    ratios = (
        "[...document.querySelectorAll('figure picture img')]"
        ".map((one) => [one.offsetWidth, one.naturalHeight / one.naturalWidth])"
    )
    wide = opened.value(ratios)
    opened.size(375, 844, mobile=True)
    opened.wait_for(f"{ratios}.every(([width]) => width > 0 && width <= 375)")
    three_panels = [picture.name for picture in content.pictures].index("power_laws")
    opened.wait_for(f"{ratios}[{three_panels}][1] > 1")
    narrow = opened.value(ratios)
    assert len(narrow) == len(content.pictures)
    assert all(width == narrow[0][0] > 320 for width, _ in narrow)
    assert narrow[three_panels][1] > 4 * wide[three_panels][1]


def test_print_shows_still_figures(opened: Browser) -> None:
    shown = "[...document.querySelectorAll('.plot, .still')].map((one) => one.offsetHeight > 0)"
    assert opened.value(shown) == [False, True, True]
    opened.ask("Emulation.setEmulatedMedia", media="print")
    assert opened.value(shown) == [True, False, False]
    opened.ask("Emulation.setEmulatedMedia", media="")
    assert opened.pdf().startswith(b"%PDF")


def test_a_script_that_got_into_the_page_does_not_run(browser: Browser, page: Path, tmp_path: Path) -> None:
    """As if an escape were missing: the policy of the page allows its own scripts alone."""
    smuggled = (
        "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
        "<svg onload=\"document.title = 'owned'\"></svg>"
        "<a id=trap href=\"javascript:document.title='owned'\">x</a>"
    )
    text = page.read_text(encoding="utf-8")
    hostile = tmp_path / "hostile.html"
    hostile.write_text(text.replace("</header>", smuggled + "</header>", 1), encoding="utf-8")
    browser.open(hostile)
    browser.wait_for(DRAWN)
    browser.value("document.getElementById('trap').click()")
    assert browser.value("document.title") != "owned"
    assert any("Content Security Policy" in error for error in browser.errors)
    browser.errors.clear()


def test_nothing_can_be_sent_away(opened: Browser) -> None:
    buttons = opened.value("[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)")
    assert buttons
    assert not [title for title in buttons if "hare" in title or "loud" in title]
    refused = opened.value("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    opened.errors.clear()  # the refusal itself is one

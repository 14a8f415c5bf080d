"""A study in TensorBoard as a browser sees it: its server's answers, and a page that Chromium has drawn."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from scaling_laws.study.runs import Study, load_study

pytestmark = pytest.mark.systems
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ORANGE = (0.96, 0.49, 0.0)
"""Of TensorBoard's bar."""


@pytest.fixture(scope="module")
def study(tiny_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A copy, alone in its folder: README's commands leave other studies beside it."""
    folder = tmp_path_factory.mktemp("logs") / "tiny"
    shutil.copytree(tiny_study / "lightning_logs" / "tiny", folder)
    return load_study(folder)


@pytest.fixture(scope="module")
def url(study: Study) -> Iterator[str]:
    """Where TensorBoard serves the study, once it has said so."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(study.folder.parent)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        said = (re.search(r"TensorBoard \S+ at (http://\S+)", line) for line in server.stderr)
        yield next(found[1] for found in said if found)
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.fixture(scope="module")
def get(url: str, study: Study) -> Callable[..., Any]:
    """Ask TensorBoard's HTTP API, after it has read every run."""

    def ask(path: str, **query: str) -> Any:
        address = f"{url}data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return json.load(answer)

    for _ in range(600):
        if len(ask("plugin/scalars/tags")) == len(study.runs):
            return ask
    raise AssertionError("TensorBoard has not read the runs")


def test_every_tab_has_something_to_show(get: Callable[..., Any]) -> None:
    active = {name for name, plugin in get("plugins_listing").items() if plugin["enabled"]}
    assert {"scalars", "custom_scalars", "images", "histograms", "distributions", "text", "hparams"} <= active


def test_charts_show_every_run(get: Callable[..., Any], study: Study) -> None:
    layout = get("plugin/custom_scalars/layout")
    charts = [chart for category in layout["category"] for chart in category["chart"]]
    assert len(charts) > 4
    curves = study.curves()
    for run in study.runs["run"]:
        for chart in charts[:2]:
            (expression,) = chart["multiline"]["tag"]
            answer = get("plugin/custom_scalars/scalars", run=f"{study.folder.name}/{run}", tag=expression)
            ((tag, points),) = answer["tag_to_events"].items()
            column = f"{tag.rpartition('/')[2]}_loss_nats"
            rows = curves[(curves["run"] == run) & curves[column].notna()]
            assert [step for _, step, _ in points] == rows["tokens"].tolist()
            assert [value for *_, value in points] == pytest.approx(rows[column].tolist())


def test_images_text_and_hyperparameters(get: Callable[..., Any], study: Study) -> None:
    summary = f"{study.folder.name}/summary"
    images = get("plugin/images/tags")[summary]
    drawn = {path.stem for path in (study.folder / "figures").glob("*.png")}
    assert {tag.removeprefix("figures/") for tag in images} == drawn and drawn
    headline = get("plugin/text/text", run=summary, tag="headline/text_summary")[0]["text"]
    assert "<table>" in headline and "Kaplan 2020" in headline
    run = f"{study.folder.name}/{study.runs['run'].iloc[0]}"
    sample = get("plugin/text/text", run=run, tag="sample/text_summary")[-1]["text"]
    assert "<code>" in sample and "most likely tokens" in sample
    table = get("plugin/hparams/experiment", request=json.dumps({"experimentName": ""}))
    assert {"N", "D", "C", "family"} <= {column["name"] for column in table["hparamInfos"]}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("tab", ["custom_scalars", "images", "histograms"])
def test_a_browser_draws_it(
    get: Callable[..., Any], url: str, study: Study, tmp_path: Path, tab: str
) -> None:
    picture = tmp_path / "page.png"
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--window-size=1500,1100", "--virtual-time-budget=30000", f"--user-data-dir={tmp_path}"]
    subprocess.run([*command, f"--screenshot={picture}", f"{url}#{tab}"], capture_output=True, timeout=120)
    pixels = imread(picture)[..., :3]
    bar, content = pixels[4, 700:720].mean(axis=0), pixels[150:, 380:]
    assert bar == pytest.approx(ORANGE, abs=0.05)
    # An empty page is one grey; charts without a line have 0.02.
    assert (abs(content - content[-1, -1]).max(axis=-1) > 0.1).mean() > 0.04

"""Intervals of another level: those of the whole analysis, wherever it shows them."""

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.fit.level import interval_level, interval_percentiles, interval_words


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    random = np.random.default_rng(0)
    N, D = np.meshgrid(np.geomspace(1e6, 1e9, 4), np.geomspace(1e8, 1e11, 4))
    loss = (1.8 + 400 / N**0.34 + 1800 / D**0.36) * np.exp(random.normal(scale=0.003, size=N.shape))
    path = tmp_path_factory.mktemp("level") / "runs.csv"
    pd.DataFrame({"N": N.ravel(), "D": D.ravel(), "loss": loss.ravel()}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def found(table):
    return {level: sl.analyse(table, resamples=20, level=level) for level in (0.9, 0.5)}


def test_every_interval_of_an_analysis_is_of_its_level(found):
    wide, narrow = (found[level].fit("chinchilla") for level in (0.9, 0.5))
    assert wide.parameters == narrow.parameters and narrow.identified
    for name, (low, high) in narrow.intervals.items():
        assert wide.intervals[name][0] <= low <= high <= wide.intervals[name][1], name
        assert high - low < wide.intervals[name][1] - wide.intervals[name][0], name
    judged = [found[level].fit("kaplan_nd").reason for level in (0.9, 0.5)]
    assert "the 90 % interval of" in judged[0] and judged[0] == judged[1]
    slices = [
        [each.N_opt_interval for each in found[level].laws.of("all").isoflop if each.N_opt_interval]
        for level in (0.9, 0.5)
    ]
    assert len(slices[1]) == len(slices[0]) > 0
    assert all(narrow[0] >= wide[0] for wide, narrow in zip(*slices, strict=True))
    assert found[0.5].laws.level == 0.5 and interval_level() == 0.9


def test_what_is_shown_says_its_level(found, tmp_path):
    assert "scaling laws with 50 % intervals" in found[0.5].summary()
    figure = found[0.5].figure("isoflop_slices")
    assert any(
        "50 % interval" in text.get_text() for text in figure.findobj(lambda each: hasattr(each, "get_text"))
    )
    assert interval_percentiles() == (5.0, 95.0) and interval_words() == "90 %"


def test_the_command_has_it_for_all_laws(table, monkeypatch, capsys):
    asked = {}

    def fit_study(*_, **settings):
        asked.update(settings)
        raise sl.InputError("stopped here")

    monkeypatch.setattr("scaling_laws.laws.results.study.fit_study", fit_study)
    with pytest.raises(SystemExit):
        main(["laws", str(table), "--level", "0.5"])
    assert asked["level"] == 0.5 and "stopped here" in capsys.readouterr().err


def test_a_level_is_a_share(table):
    with pytest.raises(sl.InputError, match="the level is 95"):
        sl.analyse(table, level=95)

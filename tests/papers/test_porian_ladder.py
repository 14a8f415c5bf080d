"""The ladder on runs made so that each correction has a known effect."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.allocation.frontier import size_curves, slice_computes
from scaling_laws.laws.allocation.power_lines import fit_allocation, isoflop_optima
from scaling_laws.laws.published import BESIROGLU
from scaling_laws.papers.pearce_song2024.closed_account import PearceSong, vocabulary_weight
from scaling_laws.papers.porian2024.ladder import ladder, ladder_table
from scaling_laws.papers.porian2024.published_exponents import KAPLAN_SETUP, PUBLISHED, TUNED, published
from scaling_laws.study.errors import InputError

WEIGHT = vocabulary_weight(n_vocab=32_000, aspect_ratio=39.2)
ACCOUNT = PearceSong(law=BESIROGLU, weight=WEIGHT)
SIZES = np.geomspace(3e6, 3e8, 15)


def synthetic(noise=0.0):
    """Losses of Chinchilla's law in all parameters, about each size's optimum; C_exact is 6 N_total D."""
    horizons = np.geomspace(0.02, 50, 21)
    N = np.repeat(SIZES, len(horizons))
    D = np.concatenate([float(ACCOUNT.tokens(size)) * horizons for size in SIZES])
    N_total = ACCOUNT.total(N)
    loss = BESIROGLU.loss(N_total, D) * np.exp(noise * np.random.default_rng(0).normal(size=len(N)))
    runs = [f"run-{i}" for i in range(len(N))]
    return pd.DataFrame(
        {
            "run": runs,
            "trunk": runs,
            "family": "transformer",
            "N": N,
            "N_with_head": N_total,
            "N_total": N_total,
            "D": D,
            "C": 6 * N * D,
            "C_exact": 6 * N_total * D,
            "loss": loss,
        }
    )


def by_name(rungs):
    return {rung.name: rung for rung in rungs}


def test_the_first_rung_shows_pearce_and_song_and_the_last_the_truth():
    runs = synthetic(noise=1e-4)
    rungs = by_name(ladder(runs, resamples=40))
    kaplan, total = rungs["kaplan"], rungs["total"]
    # Pearce & Song's optimum at the computes of the slices.
    log_C = np.log(slice_computes(size_curves(runs)))
    size = np.geomspace(SIZES[0], SIZES[-1], 2000)
    optimum = np.interp(log_C, np.log(ACCOUNT.compute(size)), np.log(size))
    expected = np.polyfit(log_C, optimum, 1)[0]
    assert expected > BESIROGLU.a_opt + 0.15
    for found in (kaplan.parabola, kaplan.akima):
        assert found.a == pytest.approx(expected, abs=0.03)
        assert found.a > BESIROGLU.a_opt + 0.15
    for found in (total.parabola, total.akima, total.parametric):
        assert found.a == pytest.approx(BESIROGLU.a_opt, abs=0.01)
        low, high = found.interval
        assert low - 0.01 < BESIROGLU.a_opt < high + 0.01
    # The same law fitted to the non-embedding N leans the same way.
    assert kaplan.parametric.a is None or kaplan.parametric.a > total.parametric.a + 0.1
    assert (kaplan.N, kaplan.C) == ("N", "6 N D")
    assert (rungs["last_layer"].C, total.C) == ("6 N_with_head D", "C_exact")
    assert kaplan.n_runs == total.n_runs == len(runs)


def test_the_parametric_exponent_follows_the_flops_a_token():
    """C = c(N) D with c ~ N^(3/2): at the optimum a = beta/(alpha + 1.5 beta)... of the same law."""
    runs = synthetic().assign(C_exact=lambda table: 6 * table["N_total"] ** 1.5 * table["D"])
    found = by_name(ladder(runs, resamples=10))["total"].parametric.a
    assert found == pytest.approx(BESIROGLU.beta / (BESIROGLU.alpha + 1.5 * BESIROGLU.beta), abs=1e-3)


def test_rungs_that_the_runs_cannot_show_say_what_they_need():
    runs = synthetic().drop(columns=["N_with_head", "C_exact"])
    rungs = by_name(ladder(runs, resamples=5))
    assert list(rungs) == ["kaplan", "last_layer", "attention", "total", "warmup", "decay", "learning_rate"]
    for name, words in {
        "last_layer": "N_with_head",
        "attention": "N_with_head and C_exact",
        "warmup": "two warm-ups",
        "decay": "before and after",
        "learning_rate": "one learning rate",
    }.items():
        assert words in rungs[name].reason
        assert (rungs[name].n_runs, rungs[name].parabola.a) == (0, None)
        assert rungs[name].parabola.reason == rungs[name].reason
    assert rungs["total"].C == "6 N_total D"
    assert rungs["total"].akima.a == pytest.approx(BESIROGLU.a_opt, abs=0.01)


def test_corrections_of_the_training_are_taken_one_at_a_time():
    """Each wrong way to train costs small networks more than large ones, by a known power of N."""
    right = synthetic().drop(columns="N_with_head").assign(after_cooldown=True, warmup_tokens=1e6)
    right["learning_rate"] = 1e-2 * (right["N"] / SIZES[0]) ** -0.3
    harm = (right["N"] / (2 * SIZES[-1])) ** -0.01
    ways = {
        "learning_rate": {"learning_rate": 1e-3},
        "warmup": {"warmup_tokens": 1e8},
        "decay": {"after_cooldown": False},
    }
    tables = []
    for mask in range(8):
        wrong = [way for i, way in enumerate(ways) if mask >> i & 1]
        table = right.assign(
            loss=right["loss"] * harm ** len(wrong), run=[f"{mask}-{i}" for i in right.index]
        )
        for way in wrong:
            table = table.assign(**ways[way])
        tables.append(table.assign(trunk=table["run"]))
    rungs = ladder(pd.concat(tables, ignore_index=True), resamples=5)
    parabola = {rung.name: rung.parabola.a for rung in rungs}
    n_wrong = {"total": 3, "warmup": 2, "decay": 1, "learning_rate": 0}
    for name, count in n_wrong.items():
        alone = right.assign(loss=right["loss"] * harm**count, N=right["N_total"], C=right["C_exact"])
        expected = fit_allocation(size_curves(alone), isoflop_optima).exponent
        assert parabola[name] == pytest.approx(expected, abs=1e-9), name
    assert np.all(np.abs(np.diff([parabola[name] for name in n_wrong])) > 1e-3)
    assert parabola["learning_rate"] == pytest.approx(BESIROGLU.a_opt, abs=0.01)
    assert all(rung.n_runs == len(right) for rung in rungs if not rung.reason)


def test_one_family_at_a_time():
    runs = synthetic()
    with pytest.raises(InputError, match="lstm, transformer: choose one"):
        ladder(pd.concat([runs, runs.assign(family="lstm")]))
    with pytest.raises(InputError, match="no column 'trunk'"):
        ladder(runs.drop(columns="trunk"))


def test_published_numbers_stand_beside_the_rungs():
    rungs = by_name(ladder(synthetic(), resamples=5))
    beside = {name: {of.data: of.a for of in rung.published} for name, rung in rungs.items()}
    assert beside["kaplan"] == {"RefinedWeb": 0.835, "OpenWebText2": 0.864}
    assert beside["last_layer"] == {"RefinedWeb": 0.706, "OpenWebText2": 0.699}
    assert beside["attention"] == {"RefinedWeb": 0.717}
    assert beside["total"] == {}
    assert beside["warmup"] == {"RefinedWeb": 0.602, "OpenWebText2": 0.603}
    assert beside["decay"] == {"RefinedWeb": 0.571, "OpenWebText2": 0.574}
    assert beside["learning_rate"] == {"RefinedWeb": 0.497, "OpenWebText2": 0.518}
    assert published(TUNED)[1].interval == (0.49, 0.54)
    assert published(KAPLAN_SETUP)[0].interval == (0.82, 0.85)
    assert all(of.interval[0] <= of.a <= of.interval[1] for of in PUBLISHED)
    row = ladder_table(list(rungs.values()))[0]
    assert row["parabola"]["a"] == rungs["kaplan"].parabola.a
    assert row["published"][0]["data"] == "RefinedWeb"


def test_runs_of_one_recipe_all_count():
    """What the ladder adds to a study's table is no setting of its runs."""
    of_a_study = synthetic().assign(train_halvings=0, n_layer=2, d_model=64)
    assert [rung.n_runs for rung in ladder(of_a_study)] == [rung.n_runs for rung in ladder(synthetic())]

"""Which of two settings to take at a compute, against truths in which the answer is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.results.decision import decide
from scaling_laws.laws.results.types import Laws, read_laws, with_asked
from scaling_laws.report.content import _decisions
from scaling_laws.study.errors import InputError

PLAIN = Chinchilla(E=1.7, A=40.0, B=60.0, alpha=0.3, beta=0.28)
STEEP = Chinchilla(E=1.7, A=70.0, B=110.0, alpha=0.34, beta=0.32)
"""Worse below some compute, better above."""
BETTER = Chinchilla(E=1.7, A=40.0 * 0.9, B=60.0 * 0.9, alpha=0.3, beta=0.28)


def runs(other: Chinchilla, noise: float = 0.002, seed: int = 0, largest: float = 1e9) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    rows = []
    for name, law in (("plain", PLAIN), ("other", other)):
        for N in np.geomspace(1e5, largest / 100, 6).round():
            for D in np.geomspace(1e6, largest, 5).round():
                loss = float(law.loss(N, D)) * np.exp(noise * random.normal())
                rows.append({"run": f"r{len(rows)}", "recipe": name, "N": N, "D": D, "loss": loss})
    return _read(pd.DataFrame(rows))


def _read(table: pd.DataFrame) -> pd.DataFrame:
    from scaling_laws.laws.run_tables import read_runs

    return read_runs(table, labels=("recipe",))


def true_crossing() -> float:
    C = np.geomspace(1e12, 1e24, 2000)
    apart = PLAIN.loss(*PLAIN.optimum(C)) - STEEP.loss(*STEEP.optimum(C))
    return float(C[np.flatnonzero(np.diff(np.sign(apart)))[-1]])


def test_a_crossing_is_found_and_the_better_one_taken_on_either_side():
    at = true_crossing()
    assert 1e13 < at < 1e20
    table = runs(STEEP)
    for C, better in ((at / 300, "plain"), (at * 300, "other")):
        (found,), score = decide(table, "recipe", C, reference="plain", resamples=80)
        assert found.better == better and not found.shared and found.sharing_p < 0.05
        assert (found.chance > 0.5) == (better == "other")
        low, high = found.worth.crossing_interval
        assert found.worth.crossing == pytest.approx(at, rel=2.0) and low < at < high
    assert score.n >= 2 and score.laws_right >= score.ranking_right


def test_equal_exponents_are_shared_and_the_difference_is_settled():
    (found,), score = decide(runs(BETTER), "recipe", 1e22, reference="plain", resamples=60)
    assert found.shared and found.sharing_p > 0.05
    assert found.better == "other" and found.chance > 0.95 and found.settled and found.regret < 1e-4
    assert np.all(found.worth.worth > 1) and found.worth.crossing is None
    assert score.laws_right == score.n


def test_nothing_apart_is_undecided_and_seeds_follow_from_the_noise():
    (found,), _ = decide(runs(PLAIN, seed=3), "recipe", 1e20, reference="plain", resamples=60, percent=0.2)
    assert 0.1 < found.chance < 0.9 and not (found.settled and found.chance in (0.0, 1.0))
    wanted = 2 * (2.4865 * found.run_sd / np.log(1.002)) ** 2
    assert found.seeds == np.ceil(wanted)


def test_the_test_of_shared_exponents_keeps_its_size():
    """Of tables whose exponents are equal, about 5 % are rejected."""
    rejected = 0
    for seed in range(5):
        (found,), _ = decide(runs(BETTER, seed=seed), "recipe", 1e20, reference="plain", resamples=10)
        rejected += found.sharing_p is not None and found.sharing_p < 0.05
    assert rejected <= 2


def test_a_decision_is_put_into_laws_json(tmp_path, capsys):
    table, output = tmp_path / "runs.csv", tmp_path / "runs.laws.json"
    runs(STEEP)[["run", "recipe", "N", "D", "loss"]].to_csv(table, index=False)
    command = ["laws", str(table), "--bootstrap", "20", "-o", str(output)]
    compare = [*command, "--compare", "recipe", "--reference", "plain"]
    main([*command, "--form", "chinchilla"])
    for C in ("1e24", "1e16", "1e24"):
        main([*compare, "--at", C])
    laws = read_laws(output)
    assert sorted(each.C for each in laws.decisions) == [1e16, 1e24]  # asked again, it takes its place
    (first,) = (each for each in laws.decisions if each.C == 1e24)
    assert (first.value, first.reference, first.better) == ("other", "plain", "other")
    assert first.worth.points[-1].worth > 1 and first.seeds >= 1
    (choices,) = laws.held_out_choices
    assert choices.by == "recipe" and choices.n >= choices.laws_right
    assert laws.of("all").fits  # what the file held stays
    assert Laws.from_json(json.loads(json.dumps(laws.to_json())), "again") == laws
    fresh = with_asked(replace(laws, decisions=(), held_out_choices=()), output)
    assert fresh.decisions == laws.decisions  # a new fit of the same runs keeps what was asked
    (first_table, second) = _decisions(fresh)
    assert first_table.heading == "Which recipe to take" and "judged at the largest" in second.table.caption
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(compare)
    assert "needs --at" in capsys.readouterr().err
    alone = tmp_path / "alone.json"
    main([*compare, "--at", "1e24", "-o", str(alone)])
    assert read_laws(alone).decisions[0].key == first.key and read_laws(alone).by_family == ()


def test_a_decision_is_printed_and_drawn(tmp_path, capsys):
    table = tmp_path / "runs.csv"
    frame = runs(STEEP)[["run", "recipe", "N", "D", "loss"]]
    frame.to_csv(table, index=False)
    figures = tmp_path / "figures"
    main(
        [
            "laws",
            str(table),
            "--compare",
            "recipe",
            "--reference",
            "plain",
            "--at",
            "1e24",
            "--bootstrap",
            "20",
        ]
        + ["--percent", "0.5", "--figures", str(figures)]
    )
    said = capsys.readouterr().out
    assert (
        "seeds to see 0.5 %" in said
        and "both are worth the same at" in said
        and "have different exponents" in said
    )
    assert "judged at the largest" in said and (figures / "worth_at_compute.svg").exists()
    for arguments, why in (
        (["--at", "1e20"], "--at needs --compare COLUMN"),
        (["--compare", "recipe", "--at", "much"], "much"),
        (["--compare", "recipe", "--figures", "f"], "needs --at"),
    ):
        with pytest.raises(SystemExit):
            main(["laws", str(table), *arguments])
        assert why in capsys.readouterr().err
    with pytest.raises(InputError, match="give compare"):
        sl.compare(
            frame.assign(C=6 * frame["N"] * frame["D"], family="all", trunk=frame["run"]), "recipe"
        ).plot()

"""What a shape study says: numbers that are known beforehand, and a figure of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student_t
from tests.support.shape_stub import N, StubTrainings, finished_search, shape_plan

from scaling_laws.laws.shapes import ShapeTrial, envelope, noise_between_shapes, read_shape_result
from scaling_laws.models.transformer_config import TransformerConfig
from scaling_laws.report.figures.shape_search import shape_search
from scaling_laws.report.shape_result import markdown, write_shape_result
from scaling_laws.report.style import rendered
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.search_section import ShapeSearch
from scaling_laws.sweeps.search.importance import FEWEST_FOR_IMPORTANCE, importance
from scaling_laws.sweeps.search.result import correction_of, shape_result
from scaling_laws.sweeps.search.trials import write_point

ROOT = Path(__file__).parents[2]


def test_the_result_is_that_of_the_formula(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(
        tmp_path,
        text_folder,
        trials=24,
        replicates=3,
        transfer={"N": 80_000, "tokens": 6400, "shapes": 3},
    )
    finished = finished_search(plan, StubTrainings())
    result = shape_result(plan, finished, n_infeasible=2)
    assert result.counts == {"complete": 24, "infeasible": 2}
    # L(N) takes out exactly what the formula's factor (N/N_target)^-alpha put in.
    increases = []
    for row in result.trials:
        cost = 0.03 * math.log(row.d_ff / row.d_model / 4) ** 2
        cost += 0.02 * math.log(row.n_layer / 2) ** 2
        cost += 0.02 * math.log(row.learning_rate / 0.012) ** 2
        assert row.corrected_loss == pytest.approx(3 * math.exp(cost), rel=1e-9)
        increases.append(100 * math.expm1(cost))
    lowest = 1 + min(increases) / 100
    assert result.trials[0].increase_percent == 0
    for row, increase in zip(result.trials, increases, strict=True):
        assert row.increase_percent == pytest.approx(100 * ((1 + increase / 100) / lowest - 1), abs=1e-6)
    # Seeds 1, 2, 3 differ by 0.1 % from one to the next: a standard deviation of 0.001.
    noise = result.noise
    assert noise.sd_log_loss == pytest.approx(0.001, rel=1e-6)
    assert noise.sd_by_shape == pytest.approx([0.001, 0.001], rel=1e-6)
    assert (noise.n_shapes, noise.n_runs) == (2, 6)
    assert noise.band_percent == pytest.approx(
        100 * math.expm1(student_t.ppf(0.95, 4) * math.sqrt(2) * 0.001), rel=1e-6
    )
    # The ratios keep their order at four times the N, as in the formula.
    transfer = result.transfer
    assert transfer.N == 80_000 and transfer.best_stays_best
    assert (transfer.n_pairs_kept, transfer.n_pairs) == (3, 3)
    for one in transfer.shapes:
        assert one.large.head_width == one.small.head_width
        assert abs(one.large.N / 80_000 - 1) < 0.1
    shares = result.importance.shares
    assert sum(shares.values()) == pytest.approx(1) and shares["head_width"] < max(shares.values())
    write_shape_result(result, {trial.run: [(64, 3.0)] for trial in result.trials}, tmp_path)
    assert read_shape_result(tmp_path / "shape.json") == result
    text = markdown(result)
    assert "within 2 %. 2 suggestions fit no network" in text and "The best stays the best" in text
    assert rendered(shape_search.draw(result), "svg", metadata={"Date": None}).startswith(b"<?xml")


def test_without_seeds_transfer_or_enough_trials_it_says_so(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder, trials=4)
    result = shape_result(plan, finished_search(plan, StubTrainings()), n_infeasible=0)
    assert result.noise is None and result.transfer is None
    text = markdown(result)
    assert "was not measured" in text and "Not trained" in text
    assert f"4 complete trials are too few for it; {FEWEST_FOR_IMPORTANCE} are needed" in text
    shape_search.draw(result)


def test_a_transfer_that_turns_the_order_round_is_told(tmp_path: Path, text_folder: Path) -> None:
    def contrary(network: TransformerConfig, rate: float, seed: int) -> float:
        """Small networks are best at d_ff / d_model = 4, large ones worst."""
        off = abs(math.log(network.feed_forward_width / network.d_model / 4))
        n_weights = network.n_layer * network.d_model * (4 * network.d_model + 2 * network.feed_forward_width)
        return 3 + 0.1 * (off if n_weights < 40_000 else -off)

    plan = shape_plan(tmp_path, text_folder, trials=6, transfer={"N": 80_000, "tokens": 6400, "shapes": 2})
    result = shape_result(plan, finished_search(plan, StubTrainings(contrary)), n_infeasible=0)
    transfer = result.transfer
    assert not transfer.best_stays_best and (transfer.n_pairs_kept, transfer.n_pairs) == (0, 1)
    assert "does not stay the best" in markdown(result)


def trial(run: str = "", **ratios: float) -> ShapeTrial:
    """A complete trial; what is not given does not matter."""
    fields = {"d_ff_ratio": 4.0, "aspect_ratio": 8.0, "head_width": 8, "n_layer": 2, "N": N, "d_model": 16}
    fields |= {"n_heads": 2, "d_ff": 64, "tokens": 6400, "learning_rate": 0.01, "learning_rate_factor": 1.0}
    fields |= {"loss": 3.0, "test_loss": None, "tokens_per_s": None} | ratios
    return ShapeTrial(run=run, status="complete", **fields)


def test_the_envelope_is_the_lowest_of_each_bin() -> None:
    ratios = [1.0, 1.3, 1.5, 3.9, 4.0, 4.2, 7.9, 8.0]
    trials = [
        trial(f"run{k}", d_ff_ratio=ratio, increase_percent=float(k % 4)) for k, ratio in enumerate(ratios)
    ]
    ranked = sorted(trials, key=lambda each: each.increase_percent or 0.0)
    bins = envelope(ranked, "d_ff_ratio")
    assert [(each.n_trials, each.increase_percent, each.run) for each in bins] == [
        (2, 0.0, "run0"),
        (1, 2.0, "run2"),
        (3, 0.0, "run4"),
        (2, 2.0, "run6"),
    ]
    assert [each.low for each in bins] == [2**-0.5, 2**0.5, 2**1.5, 2**2.5]
    layers = [trial("a", n_layer=2), trial("b", n_layer=2), trial("c", n_layer=3)]
    assert [(each.low, each.high, each.run) for each in envelope(layers, "n_layer")] == [
        (2, 2, "a"),
        (3, 3, "c"),
    ]


def test_the_noise_band_holds_nineteen_times_in_twenty() -> None:
    """Two runs of one shape, a noise of 0.5 %, measured anew each time with three seeds of two shapes."""
    random = np.random.default_rng(0)
    n_above = 0
    for _ in range(2000):
        losses = np.exp(random.normal(0, 0.005, size=(2, 3)))
        noise = noise_between_shapes(losses.tolist())
        assert noise is not None
        first, second = np.exp(random.normal(0, 0.005, size=2))
        n_above += 100 * (second / first - 1) > noise.band_percent
    assert 0.035 < n_above / 2000 < 0.065
    assert noise_between_shapes([[1.0], [2.0]]) is None


def test_importance_finds_what_matters() -> None:
    random = np.random.default_rng(0)
    factors = random.uniform(0.5, 2, size=60)
    trials = [
        trial(
            d_ff_ratio=float(random.uniform(1, 16)),
            aspect_ratio=float(random.uniform(2, 64)),
            head_width=int(random.choice([8, 16, 32])),
            n_layer=int(random.integers(1, 8)),
            learning_rate_factor=float(factor),
            corrected_loss=3 + abs(math.log(factor)),
        )
        for factor in factors
    ]
    shares = importance(trials, tunes_learning_rate=True).shares
    assert shares is not None
    assert (
        max(shares, key=shares.__getitem__) == "learning_rate_factor" and shares["learning_rate_factor"] > 0.5
    )
    assert "learning_rate_factor" not in (importance(trials, tunes_learning_rate=False).shares or {})


def test_the_exponent_of_a_laws_file_corrects(tmp_path: Path) -> None:
    settings = {"N": 1e5, "tokens": 1000, "learning_rate": 0.01}
    assert correction_of(ShapeSearch(**settings)).alpha_N == 0.076
    recorded = json.loads((ROOT / "results" / "quick" / "laws.json").read_text(encoding="utf-8"))
    (fit,) = [fit for fit in recorded["fits"] if (fit["family"], fit["form"]) == ("transformer", "kaplan_n")]
    path = tmp_path / "laws.json"
    path.write_text(json.dumps(recorded), encoding="utf-8")
    assert correction_of(ShapeSearch(**settings, laws=str(path))).alpha_N == fit["parameters"]["alpha_N"]
    unidentified = recorded | {"fits": [fit | {"identified": False}]}
    for content in (json.dumps(unidentified), json.dumps(recorded | {"fits": []}), "{}", "nonsense"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"laws\.json"):
            correction_of(ShapeSearch(**settings, laws=str(path)))


def test_a_folder_that_names_no_trial_is_refused(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder, trials=2)
    finished = finished_search(plan, StubTrainings())
    folder = plan.folder / finished[0].trial.run.name
    write_point(folder, finished[1].trial.point)
    with pytest.raises(InputError, match="searched with other settings"):
        finished_search(plan, StubTrainings())
    (folder / "trial.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not a readable point of a trial"):
        finished_search(plan, StubTrainings())

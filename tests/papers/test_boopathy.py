"""Size for time: networks of many widths, and claims in worlds in which they hold and do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.boopathy2024 import PAPER, extent, slopes_table, small_networks
from scaling_laws.papers.boopathy2024.equivalence import best_exponents, peak_along, slopes
from scaling_laws.papers.boopathy2024.small_networks import (
    Curves,
    Training,
    WidthExperiment,
    kept_width,
    parameters_of,
    train_width,
)
from scaling_laws.report.reproduction import ExperimentSettings
from scaling_laws.study.runs import nothing

CLAIMS = {claim.slug: claim for claim in PAPER.claims}
STEPS = np.unique(np.geomspace(1, 4000, 60).round())
WIDTHS = (16, 32, 64, 128, 256)


def curves(q: float) -> tuple[Curves, ...]:
    """Losses that are a function of P^q t, each seed a little faster or slower."""
    random, found = np.random.default_rng(0), []
    for width in WIDTHS:
        speed = np.exp(0.02 * random.normal(size=(4, 1)))
        loss = 0.2 + 0.8 * np.exp(-speed * (parameters_of(width) / 1000.0) ** q * STEPS / 500)
        both = np.concatenate([np.full((4, 1), 1.0), loss], axis=1)
        steps = np.concatenate([[0.0], STEPS])
        found.append(Curves(width=width, P=parameters_of(width), steps=steps, train=both, test=both + 0.1))
    return tuple(found)


def noisy(peak: float) -> tuple[Curves, ...]:
    """A test loss that falls with width and time, with a peak of some height in the middle of both."""
    random, found = np.random.default_rng(1), []
    steps = np.concatenate([[0.0], STEPS])
    in_time = np.exp(-((np.log(steps + 1) - 5) ** 2))
    for place, width in enumerate((2, 4, 8, 16, 32, 64, 128)):
        base = 1 - 0.03 * place - 0.03 * np.log(steps + 1)
        bump = peak * (in_time + np.exp(-((place - 3.0) ** 2)))
        test = (base + bump) * np.exp(0.005 * random.normal(size=(6, 1)))
        found.append(Curves(width=width, P=parameters_of(width), steps=steps, train=test, test=test))
    return tuple(found)


def world(*, sgd: float = 1 / 3, adamw: float = 0.0, peak: float = 0.5) -> WidthExperiment:
    return WidthExperiment(
        by_optimizer={"sgd": curves(sgd), "adamw": curves(adamw)}, noisy=noisy(peak), scale="made"
    )


def verdict(slug: str, experiment: WidthExperiment) -> str:
    return CLAIMS[slug].finding(experiment, no_laws(nothing("none"))).verdict


def test_slopes_and_exponents_are_those_that_were_made() -> None:
    assert slopes(curves(0.5), 0.5) == pytest.approx(-0.5, abs=0.05)
    assert best_exponents(curves(0.5)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "slug", ["time-falls-as-the-cube-root-of-size", "late-losses-follow-the-cube-root-too"]
)
def test_time_to_a_loss(slug: str) -> None:
    assert verdict(slug, world()) == "confirmed"
    assert verdict(slug, world(sgd=0.7)) == "contradicted"


def test_adamw() -> None:
    assert verdict("adamw-breaks-the-cube-root", world()) == "confirmed"
    assert verdict("adamw-breaks-the-cube-root", world(adamw=1 / 3)) == "contradicted"


def test_one_curve_in_the_product() -> None:
    assert verdict("size-and-time-are-one-product", world()) == "confirmed"
    assert verdict("size-and-time-are-one-product", world(sgd=-0.3)) == "contradicted"
    assert verdict("the-product-has-the-cube-root", world()) == "confirmed"
    assert verdict("the-product-has-the-cube-root", world(sgd=0.0)) == "contradicted"


@pytest.mark.parametrize("slug", ["double-descent-in-width", "double-descent-in-time"])
def test_peaks(slug: str) -> None:
    assert verdict(slug, world()) == "confirmed"
    assert verdict(slug, world(peak=0.0)) == "contradicted"


def test_a_peak_is_measured_on_other_seeds_than_it_was_chosen_by() -> None:
    log_loss = np.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    assert peak_along(log_loss).height.tolist() == [-1.0, -1.0]


def test_a_width_learns_and_counts_its_parameters() -> None:
    training = Training(
        optimizer="sgd", rate=0.05, steps=20, n_train=50, batch=50, n_seeds=2, n_evaluations=3
    )
    found = train_width(8, training)
    assert found.train.shape == (2, len(found.steps))
    assert parameters_of(8) == found.P
    assert (found.train[:, -1] < found.train[:, 0]).all()
    again = train_width(8, training)
    assert (again.test == found.test).all()
    layers = torch.nn.Sequential(
        torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)
    )
    assert sum(each.numel() for each in layers.parameters()) == found.P


def test_a_width_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(optimizer="sgd", rate=0.05, steps=5, n_train=50, batch=10, n_seeds=2, n_evaluations=3)
    first = kept_width(4, training, tmp_path)
    trained: list[int] = []

    def again(width: int, training: Training) -> Curves:
        trained.append(training.steps)
        return train_width(width, training)

    monkeypatch.setattr(small_networks, "train_width", again)
    assert (kept_width(4, training, tmp_path).test == first.test).all()
    assert not trained
    kept_width(4, replace(training, steps=6), tmp_path)  # another training of this width
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])  # and a file that is not whole
    kept_width(4, replace(training, steps=6), tmp_path)
    assert trained == [6, 6]


def test_the_table_has_every_level() -> None:
    assert len(slopes_table(world(), no_laws(nothing("none"))).rows) == 6


def test_the_extent_is_scale_widths_steps_and_seeds() -> None:
    assert extent(world()) == (
        "Scale made: 5 widths by 2 optimisers for 4,000 steps, 7 widths with label noise for 4,000, "
        "4 seeds of each."
    )


def test_trainings_go_where_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(small_networks.STEPS, "smoke", (3, 3, 2))
    settings = ExperimentSettings(scale="smoke", logs=tmp_path / "elsewhere", data=tmp_path)
    found = small_networks.train_all(settings, widths=(4,), noisy=(2,))
    assert found.scale == "smoke"
    assert len(list((tmp_path / "elsewhere" / "boopathy2024-smoke").iterdir())) >= 3

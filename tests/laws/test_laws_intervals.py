"""Bootstraps: what they resample, and whether their intervals cover a known truth."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.fit import intervals
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import (
    bootstrap,
    loss_interval,
    optimum_interval,
    parameter_intervals,
    percentile_interval,
)
from scaling_laws.laws.fit.noise import SeedNoise, noise_at_horizon, noise_by_size_and_horizon, seed_noise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.fit.straight_line import clustered_slope, line_through, mean_interval
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.single import PowerN
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=2.0, A=60.0, B=300.0, alpha=0.34, beta=0.38)
SD = 0.004


def study(seed, sizes, shared, horizons=6):
    """Rows of `sizes` trainings with `horizons` branches each; `shared` of the noise is the training's."""
    random = np.random.default_rng(seed)
    N = np.repeat(np.geomspace(1e4, 1e6, sizes), horizons)
    D = np.tile(np.geomspace(1e6, 3e7, horizons), sizes)
    cluster = np.repeat(np.arange(sizes), horizons)
    noise = np.sqrt(shared) * random.normal(size=sizes)[cluster]
    noise = noise + np.sqrt(1 - shared) * random.normal(size=len(N))
    return make_rows({"N": N, "D": D}, TRUTH.loss(N, D) * np.exp(SD * noise), cluster)


def test_a_large_table_is_resampled_in_parts(monkeypatch):
    """With the same numbers: only how many weights are held at a time is different."""
    fit = fit_law(Chinchilla, study(0, 12, 0.5))
    whole = bootstrap(fit, resamples=20, seed=1)
    monkeypatch.setattr(intervals, "LARGEST_WEIGHTS", 3 * fit.rows.n + 1)
    parts = bootstrap(fit, resamples=20, seed=1)
    assert np.asarray(parts.draws.alpha).shape == (20,)
    for name in ("E", "A", "B", "alpha", "beta"):
        np.testing.assert_allclose(getattr(parts.draws, name), getattr(whole.draws, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "shared", "replicated", "least"),
    [(6, 0.1, True, 30), (6, 0.7, True, 30), (14, 0.7, True, 30), (6, 0.7, False, 24)],
    ids=["row noise", "training noise", "clusters", "no replicated seeds"],
)
def test_intervals_cover_the_truth(sizes, shared, replicated, least):
    """90 % intervals of 40 studies should hit 36 times; 30 is three standard errors below.

    Without replicated seeds the noise of a training hides in the fit: those intervals are known to be narrow.
    """
    noise = SeedNoise(sd_log_loss=SD, n_groups=4, n_runs=12, shared=shared, reason="") if replicated else None
    names = {"a_opt": TRUTH.a_opt, "beta": TRUTH.beta, "alpha": TRUTH.alpha, "E": TRUTH.E}
    hits = dict.fromkeys([*names, "loss", "N_opt"], 0)
    for seed in range(40):
        result = bootstrap(
            fit_law(Chinchilla, study(seed, sizes, shared)), noise=noise, resamples=80, seed=seed
        )
        intervals = parameter_intervals(result)
        for name, value in names.items():
            hits[name] += intervals[name][0] <= value <= intervals[name][1]
        new_run = float(TRUTH.loss(1e6, 1e7)) * np.exp(SD * np.random.default_rng(1000 + seed).normal())
        low, high = loss_interval(result, N=1e6, D=1e7)
        hits["loss"] += low <= new_run <= high
        (low, high), _ = optimum_interval(result.draws, 1e15)
        hits["N_opt"] += low <= float(TRUTH.optimum(1e15)[0]) <= high
    assert min(hits.values()) >= least, hits


def test_the_method_is_said():
    few, many = fit_law(Chinchilla, study(0, 6, 0.5)), fit_law(Chinchilla, study(0, 14, 0.5))
    assert bootstrap(many, resamples=20).method == "bootstrap over 14 trainings (20 resamples)"
    method = bootstrap(few, resamples=20).method
    assert method == "parametric bootstrap with the residual noise (6 trainings; 20 resamples)"
    loud = SeedNoise(sd_log_loss=0.05, n_groups=1, n_runs=3, shared=None, reason="")
    result = bootstrap(few, noise=loud, resamples=20)
    assert result.method == "parametric bootstrap with the seed noise (6 trainings; 20 resamples)"
    assert result.row_sd == 0.05
    quiet = SeedNoise(sd_log_loss=1e-5, n_groups=1, n_runs=3, shared=None, reason="")
    assert "residual noise" in bootstrap(few, noise=quiet, resamples=20).method


def test_branches_of_one_training_are_one_cluster():
    """With all noise shared, clustering the rows widens the interval of what differs between trainings."""
    rows = study(1, 14, 0.95)
    clustered = parameter_intervals(bootstrap(fit_law(Chinchilla, rows)))
    independent = make_rows(rows.values, rows.loss)
    alone = parameter_intervals(bootstrap(fit_law(Chinchilla, independent)))
    assert np.diff(clustered["alpha"]) > 1.3 * np.diff(alone["alpha"])


def test_a_bootstrap_is_a_function_of_its_seed():
    fit = fit_law(Chinchilla, study(0, 14, 0.5))
    first, again, other = (bootstrap(fit, resamples=20, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.draws.E, again.draws.E)
    assert not np.array_equal(first.draws.E, other.draws.E)


def test_what_is_not_identified_has_no_intervals():
    fit = fit_law(PowerN, make_rows({"N": [1e4, 1e5, 1e6]}, [4.0, 3.0, 2.5]))
    with pytest.raises(InputError, match="power_n has no intervals"):
        bootstrap(fit)


def test_an_end_that_is_not_finite_is_not_known():
    assert percentile_interval([1.0, 2.0, np.inf, np.inf]) == (1.0, None)
    assert percentile_interval([np.nan]) == (None, None)


def seeded_runs(shared, seeds=4, sizes=30):
    random = np.random.default_rng(0)
    rows = []
    for size in range(sizes):
        for seed in range(seeds):
            common = random.normal()
            for D in (1e6, 2e6, 4e6):
                noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.normal()
                loss = float(TRUTH.loss(1e4 * (1 + size), D)) * np.exp(SD * noise)
                rows.append(
                    {"family": "a", "trunk": f"{size}-{seed}", "seed": seed, "N": size, "D": D, "loss": loss}
                )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("shared", [0.2, 0.8])
def test_seed_noise_is_what_was_put_in(shared):
    noise = seed_noise(seeded_runs(shared))
    assert noise.sd_log_loss == pytest.approx(SD, rel=0.15)
    assert noise.shared == pytest.approx(shared, abs=0.12)
    assert (noise.n_groups, noise.n_runs) == (90, 360)


def test_noise_is_known_by_size_and_horizon():
    runs = pd.DataFrame(
        [
            {"run": f"{N}-{seed}", "trunk": f"{N}-{seed}", "family": "transformer", "seed": seed}
            | {"N": N, "D": 1e6, "loss": 3.0 * np.exp(sd * (-1) ** seed)}
            for N, sd in ((1e4, 0.01), (1e5, 0.05))
            for seed in (1, 2)
        ]
    )
    found = noise_by_size_and_horizon(runs)
    assert found["N"].tolist() == [1e4, 1e5] and found["n_runs"].tolist() == [2, 2]
    assert found["sd_log_loss"].tolist() == pytest.approx([0.01 * 2**0.5, 0.05 * 2**0.5])
    assert noise_by_size_and_horizon(runs[runs["seed"] == 1]).empty
    longer = runs.assign(D=4e6, loss=3.0 * np.exp(0.1 * (-1) ** runs["seed"]), trunk=runs["trunk"] + "-4M")
    both = pd.concat([runs, longer])
    assert noise_at_horizon(both, 3.6e6).sd_log_loss == pytest.approx(0.1 * 2**0.5)
    assert noise_at_horizon(both, 1e6).sd_log_loss == pytest.approx((0.01**2 + 0.05**2) ** 0.5)
    assert noise_at_horizon(both, 2e6).sd_log_loss is None


def replicated(seed, of_N, of_D, shared=0.6, seeds=3, horizons=(1e6, 2e6, 4e6)):
    """Runs of 5 sizes and 3 horizons, three seeds, whose noise is SD (N / 1e5)^of_N (D / 2e6)^of_D."""
    random = np.random.default_rng(seed)
    rows = []
    for N in np.geomspace(1e4, 1e6, 5):
        for replicate in range(seeds):
            common = random.normal()
            for D in horizons:
                sd = SD * (N / 1e5) ** of_N * (D / 2e6) ** of_D
                noise = sd * (np.sqrt(shared) * common + np.sqrt(1 - shared) * random.normal())
                loss = float(TRUTH.loss(N, D)) * np.exp(noise)
                name = f"{N:.0f}-{replicate}"
                rows.append({"family": "a", "trunk": name, "seed": replicate, "N": N, "D": D, "loss": loss})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_one_noise_everywhere_is_seldom_taken_for_several(shared):
    alarms = sum(seed_noise(replicated(seed, 0.0, 0.0, shared)).growth is not None for seed in range(200))
    assert 2 <= alarms <= 20  # 5 % of 200 are 10, give or take three standard errors


def test_noise_that_grows_is_known_where_it_was_seen():
    found = [seed_noise(replicated(seed, 0.5, 1.0, seeds=5)).growth for seed in range(20)]
    assert None not in found
    assert np.mean([growth.of_N for growth in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([growth.of_D for growth in found]) == pytest.approx(1.0, abs=0.15)
    assert np.median([growth.at(1e5, 2e6) for growth in found]) == pytest.approx(SD, rel=0.15)
    growth = found[0]
    assert growth.at(1e9, 1e12) == growth.at(1e6, 4e6)  # not beyond what was replicated
    assert growth.at(1.0, 1.0) == growth.at(1e4, 1e6)


def test_a_table_of_one_horizon_knows_its_noise_by_size():
    runs = replicated(1, 0.8, 0.0, seeds=6)
    growth = seed_noise(runs[runs["D"] == 2e6]).growth
    assert growth is not None and growth.of_D == 0 and growth.of_N == pytest.approx(0.8, abs=0.4)


def test_an_interval_of_a_new_run_has_the_noise_of_its_place():
    """The noise is 16 times as large at one end of the table as at the other."""
    noise = seed_noise(replicated(3, 0.5, 0.3, seeds=5))
    assert noise.growth is not None
    widths = {}
    for sizes in (6, 14):
        fit = fit_law(Chinchilla, study(2, sizes, 0.5))
        result = bootstrap(fit, noise=noise, resamples=200)
        assert result.row_sd == bootstrap(fit, resamples=20).row_sd  # a quiet place has no noise of loud ones
        for N, D in ((1e4, 1e6), (1e6, 4e6)):
            low, high = loss_interval(result, N=N, D=D)
            widths[sizes, N] = np.log(high / low)
    assert widths[14, 1e6] == pytest.approx(2 * 1.645 * noise.growth.at(1e6, 4e6), rel=0.25)
    assert widths[14, 1e4] < widths[14, 1e6] / 3
    assert widths[6, 1e4] < widths[6, 1e6] / 2


def test_noise_that_grows_is_drawn_so_in_a_small_study():
    """Coverage of 90 % intervals of 40 studies of six trainings, whose large networks are noisy."""
    hits = dict.fromkeys(["alpha", "a_opt", "loss"], 0)
    for seed in range(40):
        runs = replicated(seed, 0.6, 0.0, horizons=(1e6, 3e6, 1e7, 3e7))
        noise = seed_noise(runs)
        first = runs[runs["seed"] == 0]
        rows = make_rows({"N": first["N"], "D": first["D"]}, first["loss"], first["trunk"])
        result = bootstrap(fit_law(Chinchilla, rows), noise=noise, resamples=80, seed=seed)
        intervals = parameter_intervals(result)
        for name, value in (("alpha", TRUTH.alpha), ("a_opt", TRUTH.a_opt)):
            low, high = intervals[name]
            hits[name] += low <= value <= high
        sd = SD * 10**0.6
        new_run = float(TRUTH.loss(1e6, 1e7)) * np.exp(sd * np.random.default_rng(seed + 500).normal())
        low, high = loss_interval(result, N=1e6, D=1e7)
        hits["loss"] += low <= new_run <= high
    assert min(hits.values()) >= 30, hits


def test_seed_noise_says_why_it_is_not_known():
    runs = seeded_runs(0.5)
    assert seed_noise(runs.drop(columns="seed")).reason == "the table has no column seed"
    noise = seed_noise(runs[runs["seed"] == 0])
    assert (noise.sd_log_loss, noise.n_groups) == (None, 0)
    assert noise.reason == "no runs differ in their seed alone"


def test_lines_and_means_cover_what_they_estimate():
    random = np.random.default_rng(0)
    x, groups = np.tile(np.arange(4.0), 2), np.repeat(["a", "b"], 4)
    hits = [0, 0]
    for _ in range(400):
        y = 2 * x + np.where(groups == "a", 5.0, -5.0) + random.normal(size=8)
        low, high = line_through(x, y, groups).interval
        hits[0] += low < 2 < high
        low, high = mean_interval(random.normal(loc=3, size=5))[1]
        hits[1] += low < 3 < high
    assert all(0.86 < hit / 400 < 0.94 for hit in hits)
    exact = line_through(x, 2 * x + np.where(groups == "a", 5.0, -5.0), groups)
    assert (exact.slope, exact.intercept, exact.rms) == pytest.approx((2, 5, 0), abs=1e-12)


def test_rows_of_one_cluster_are_no_new_evidence() -> None:
    random = np.random.default_rng(3)
    sizes = np.repeat(np.arange(8.0), 20)
    y = 2 * sizes + random.normal(size=8)[sizes.astype(int)]  # what the rows of a size have in common
    slope, (low, high) = clustered_slope(sizes, y, sizes)
    once, ends = clustered_slope(np.arange(8.0), y[::20], np.arange(8))
    assert slope == pytest.approx(once) and (low, high) == pytest.approx(ends)
    naive = line_through(sizes, y).interval
    assert high - low > 3 * (naive[1] - naive[0])
    assert clustered_slope([0.0, 1.0], [0.0, 1.0], ["a", "b"])[1] == (None, None)


def test_intervals_over_clusters_cover() -> None:
    random = np.random.default_rng(4)
    x, held = np.repeat(np.linspace(0, 1, 7), 3), 0
    for _ in range(300):
        y = 3 * x + random.normal(size=7).repeat(3) + 0.2 * random.normal(size=21)
        low, high = clustered_slope(x, y, x)[1]
        held += low <= 3 <= high
    assert 0.85 <= held / 300 <= 0.98

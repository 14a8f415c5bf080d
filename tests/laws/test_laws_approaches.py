"""Three approaches on runs of a law whose optimum is known in closed form."""

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.allocation.approaches import compare_approaches
from scaling_laws.laws.allocation.curve_envelope import curve_allocation
from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.noise import SeedNoise
from scaling_laws.laws.fit.rows import make_rows
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.study.errors import InputError

TRUTH = Chinchilla(E=1.7, A=60.0, B=300.0, alpha=0.34, beta=0.38)
SIZES = np.geomspace(1e4, 3e6, 9)
NOISE = 1e-3
SEEDS = SeedNoise(sd_log_loss=NOISE, n_groups=3, n_runs=6, shared=None, reason="")


def trained(law=TRUTH, noise=NOISE):
    N = np.repeat(SIZES, 12)
    D = np.concatenate([law.optimum(6 * size**2 * 30)[1] * np.geomspace(0.1, 10, 12) for size in SIZES])
    names = [f"{n:.3g}-{d:.3g}" for n, d in zip(N, D, strict=True)]
    loss = law.loss(N, D) * np.exp(noise * np.random.default_rng(3).normal(size=len(N)))
    return pd.DataFrame({"run": names, "trunk": names, "N": N, "D": D, "C": 6 * N * D, "loss": loss})


def curves_of(runs, points=60):
    """Each size's longest run, evaluated along the way at what the law gives for the tokens so far."""
    longest = runs.sort_values("D").drop_duplicates("N", keep="last")
    tables = []
    for _, run in longest.iterrows():
        tokens = np.geomspace(run["D"] / 1000, run["D"], points)
        loss = TRUTH.loss(run["N"], tokens)
        tables.append(
            pd.DataFrame({"run": run["run"], "tokens": tokens, "loss": loss, "learning_rate": 1e-3})
        )
    return pd.concat(tables, ignore_index=True)


def fitted(runs):
    return fit_law(Chinchilla, make_rows({"N": runs["N"], "D": runs["D"]}, runs["loss"], runs["trunk"]))


@pytest.fixture(scope="module")
def comparison():
    runs = trained()
    return compare_approaches(
        runs, [fitted(runs)], learning_curves=curves_of(runs), noise=SEEDS, resamples=100
    )


def test_every_approach_finds_the_exponents(comparison):
    methods = [(found.approach, found.method) for found in comparison.approaches]
    assert methods == [
        (1, "envelope"),
        (1, "learning_curves"),
        (2, "parabola"),
        (2, "akima"),
        (3, "chinchilla"),
    ]
    for found in comparison.approaches:
        assert found.reason == ""
        assert found.a == pytest.approx(TRUTH.a_opt, abs=0.03), found.name
        assert found.a + found.b == pytest.approx(1.0, abs=1e-3)
        assert found.a_interval[0] - 0.02 < TRUTH.a_opt < found.a_interval[1] + 0.02
        assert found.b_interval[0] < found.b < found.b_interval[1]


def test_the_optima_inside_and_ten_times_beyond(comparison):
    runs = trained()
    high = runs["C"].max()
    for found in comparison.approaches:
        assert [at.C for at in found.optima] == pytest.approx(
            [np.sqrt(runs["C"].min() * high), high, 10 * high]
        )
        assert [at.extrapolated for at in found.optima] == [False, False, True]
        widths = []
        for at in found.optima:
            N_opt, D_opt = (float(value) for value in TRUTH.optimum(at.C))
            assert at.N_opt == pytest.approx(N_opt, rel=0.4 if at.extrapolated else 0.2)
            assert at.D_opt == pytest.approx(D_opt, rel=0.4 if at.extrapolated else 0.2)
            assert at.N_opt_interval[0] < at.N_opt < at.N_opt_interval[1]
            widths.append(np.log(at.N_opt_interval[1] / at.N_opt_interval[0]))
        assert widths[2] > widths[0]
    three = comparison.approaches[-1].optima[-1]
    law = fitted(runs).law
    assert (three.N_opt, three.D_opt) == pytest.approx(tuple(float(x) for x in law.optimum(10 * high)))


def test_approaches_that_contradict_each_other_are_named():
    runs = trained()
    other = fitted(trained(Chinchilla(E=1.7, A=60.0, B=300.0, alpha=0.5, beta=0.3)))
    found = compare_approaches(runs, [fitted(runs), other], noise=SEEDS, resamples=60)
    about_a = [sentence for sentence in found.disagreements if "exponent a" in sentence]
    assert any("approach 2 (parabola) and approach 3 (chinchilla)" in sentence for sentence in about_a)
    truth, wrong = found.approaches[-2:]
    assert wrong.a_interval[1] < truth.a_interval[0]
    low, high = wrong.a_interval
    assert any(f"{low:.3g} to {high:.3g}" in sentence for sentence in about_a)
    assert any("beyond the runs" in sentence for sentence in found.disagreements)


def test_what_cannot_be_said_is_said_so():
    runs = trained()
    few = runs[runs["N"].isin(SIZES[:2])]
    found = compare_approaches(few, [fitted(few)], computes=[1e12])
    assert all(
        approach.a is None and approach.reason and not approach.optima for approach in found.approaches
    )
    assert found.disagreements == ()
    assert "no intervals" in found.notes[0]
    silent = compare_approaches(runs)
    assert silent.approaches[0].a_interval is None
    assert silent.approaches[0].optima[0].N_opt_interval is None
    tripled = compare_approaches(runs.assign(C=3 * runs["C"]), [fitted(runs)], noise=SEEDS, resamples=20)
    assert any("not 6 N D" in note for note in tripled.notes)


def test_learning_curves_leave_the_warm_up_out():
    runs = trained()
    curves = curves_of(runs)
    exact, _, _ = curve_allocation(runs, curves)
    assert exact.exponent == pytest.approx(TRUTH.a_opt, abs=0.02)
    assert exact.exponent_interval is None
    # A warm-up in which the largest networks look best: without the column it would be believed.
    early = curves["tokens"] < 0.02 * curves.groupby("run")["tokens"].transform("max")
    size = curves["run"].map(runs.set_index("run")["N"])
    misleading = curves.assign(
        loss=curves["loss"].where(~early, 2.5 - 0.05 * np.log(size)),
        learning_rate=curves["learning_rate"].where(~early, 1e-5),
    )
    assert curve_allocation(runs, misleading)[0].exponent == pytest.approx(TRUTH.a_opt, abs=0.02)
    believed, _, _ = curve_allocation(runs, misleading.drop(columns="learning_rate"))
    assert believed.exponent is None or abs(believed.exponent - TRUTH.a_opt) > 0.02
    unmeasured = curves.assign(loss=curves["loss"].where(np.arange(len(curves)) % 2 == 0))
    assert curve_allocation(runs, unmeasured)[0].exponent == pytest.approx(TRUTH.a_opt, abs=0.02)


def test_learning_curves_of_other_runs_or_without_a_column():
    runs = trained()
    curves = curves_of(runs)
    nothing, N_lines, _ = curve_allocation(runs, curves.assign(run="another"), noise_sd=0.01)
    assert (nothing.exponent, nothing.n_points) == (None, 0)
    assert not np.isfinite(N_lines.exponent).any()
    with pytest.raises(InputError, match="no column 'loss'"):
        curve_allocation(runs, curves.drop(columns="loss"))

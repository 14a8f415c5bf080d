"""Fits of synthetic tables against their truth and another optimiser, and, where ../shared/data is, of public
run tables against the optima in its README.md."""

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from scaling_laws.laws.fit.fit import fit_law
from scaling_laws.laws.fit.intervals import bootstrap, parameter_intervals
from scaling_laws.laws.fit.rows import Rows, make_rows
from scaling_laws.laws.forms.joint import Chinchilla, Droppo, JointLaw
from scaling_laws.laws.published import BESIROGLU, HOFFMANN, KAPLAN_TABLE_2
from scaling_laws.laws.run_tables import read_runs

DATA = Path(os.environ.get("SCALING_LAWS_DATA", Path(__file__).parents[3] / "shared" / "data"))

of_public_tables = pytest.mark.skipif(not DATA.is_dir(), reason=f"no public run tables in {DATA}")


TRUTHS = {
    "Hoffmann": HOFFMANN,
    "Besiroglu": BESIROGLU,
    "Kaplan": KAPLAN_TABLE_2,
    "Droppo": Droppo(L_inf=1.5, N_c=3e9, D_c=2e12, alpha_N=0.15, alpha_D=0.2, a=0.4),
}
NOISE = 0.003
DELTA = 1e-2
"""Above the noise: the objective is smooth enough for an optimiser without our derivatives."""


def golden_csv(law: JointLaw, path: Path, seed: int = 0) -> Path:
    """A table of 8 sizes at 12 budgets, in columns of other names, its losses those of the law with noise."""
    random = np.random.default_rng(seed)
    C, N = (
        values.ravel() for values in np.meshgrid(np.geomspace(1e18, 3e21, 12), np.geomspace(5e7, 1e10, 8))
    )
    loss = law.loss(N, C / (6 * N)) * np.exp(random.normal(scale=NOISE, size=N.size))
    pd.DataFrame({"Model Size": N, "Training FLOP": C, "loss": loss}).to_csv(path, index=False)
    return path


def huber_sum(law: JointLaw, rows: Rows) -> float:
    """Hoffmann's objective, written anew."""
    size = np.abs(np.log(law.loss(rows.values["N"], rows.values["D"]) / rows.loss))
    return float(np.sum(np.where(size <= DELTA, size**2 / 2, DELTA * (size - DELTA / 2))))


@pytest.mark.parametrize("law", TRUTHS.values(), ids=TRUTHS.keys())
def test_a_synthetic_table_gives_its_law_back(law, tmp_path):
    """No optimiser that starts at the truth gets lower, and the truth lies in the 99 % intervals."""
    path = golden_csv(law, tmp_path / "runs.csv")
    rows = rows_of(read_runs(path, n="Model Size", c="Training FLOP"))
    fit = fit_law(type(law), rows, delta=DELTA)
    assert fit.identified, fit.reason
    assert fit.rows.n == 96
    assert fit.objective == pytest.approx(huber_sum(fit.law, rows), rel=1e-9)
    truth = np.log(list(vars(law).values()))
    names = list(vars(law))
    other = minimize(
        lambda theta: huber_sum(type(law)(**dict(zip(names, np.exp(theta), strict=True))), rows),
        truth,
        method="Nelder-Mead",
        options={"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-7, "fatol": 1e-12, "adaptive": True},
    )
    assert fit.objective <= other.fun * (1 + 1e-9) < huber_sum(law, rows)
    assert other.fun == pytest.approx(fit.objective, rel=0.01)
    intervals = parameter_intervals(bootstrap(fit, resamples=200), level=0.99)
    for name, value in {**vars(law), "a_opt": law.a_opt}.items():
        low, high = intervals[name]
        assert low <= value <= high, name


def test_the_constants_of_another_law_are_rejected(tmp_path):
    path = golden_csv(BESIROGLU, tmp_path / "runs.csv")
    rows = rows_of(read_runs(path, n="Model Size", c="Training FLOP"))
    fit = fit_law(Chinchilla, rows, delta=DELTA)
    assert huber_sum(HOFFMANN, rows) > 3 * fit.objective
    low, high = parameter_intervals(bootstrap(fit), level=0.99)["beta"]
    assert not low <= HOFFMANN.beta <= high


def rows_of(table: pd.DataFrame) -> Rows:
    return make_rows({"N": table["N"], "D": table["D"]}, table["loss"], table["trunk"])


def epoch(where: str | None = "loss < 3.44") -> Rows:
    path = DATA / "chinchilla_epoch.csv"
    return rows_of(read_runs(path, n="Model Size", c="Training FLOP", where=where))


def gemstones() -> Rows:
    path = DATA / "gemstones_hot.csv"
    return rows_of(read_runs(path, n="params_active_precise", d="tokens", loss="final_loss"))


def kyo_takano() -> Rows:
    return rows_of(read_runs(DATA / "kyo_takano.csv"))


@of_public_tables
@pytest.mark.parametrize(
    ("rows", "n", "delta", "objective", "parameters"),
    [
        (
            epoch,
            240,
            1e-3,
            0.001018274,
            {"A": 477.826, "B": 2143.417, "E": 1.817218, "alpha": 0.3473105, "beta": 0.3671724},
        ),
        (lambda: epoch(None), 245, 1e-3, 0.00182601, {"beta": 0.45305}),
        (
            gemstones,
            220,
            1e-4,
            0.0002075052,
            {
                "E": 2.149427,
                "alpha": 0.2927931,
                "beta": 0.7288991,
                "A": np.exp(5.35817),
                "B": np.exp(15.7720),
            },
        ),
        (gemstones, 220, 1e-3, 0.001981613, {"alpha": 0.2928918, "beta": 0.7129786}),
        (
            kyo_takano,
            234,
            1e-3,
            0.0008400931,
            {"A": 442.164, "B": 1271.81, "E": 1.783894, "alpha": 0.342626, "beta": 0.342002},
        ),
    ],
    ids=["epoch 240", "epoch 245", "gemstones 1e-4", "gemstones 1e-3", "kyo-takano"],
)
def test_reaches_the_stated_optimum(rows, n, delta, objective, parameters):
    fit = fit_law(Chinchilla, rows(), delta=delta)
    assert fit.rows.n == n
    assert fit.identified, fit.reason
    assert fit.objective == pytest.approx(objective, rel=1e-6)
    for name, value in parameters.items():
        assert getattr(fit.law, name) == pytest.approx(value, rel=5e-5)
    assert fit.certificate.share_at_best >= 0.9
    assert fit.certificate.gradient_norm < 1e-9


@of_public_tables
def test_a_certified_fit_takes_less_than_a_second():
    rows = epoch()
    started = time.process_time()
    fit_law(Chinchilla, rows)
    assert time.process_time() - started < 1.0


@of_public_tables
def test_bootstrap_has_the_published_standard_errors():
    """Of 1000 resamples: E .0261, alpha .0147, beta .0208, a_opt .019, 95 % (.481, .557)."""
    result = bootstrap(fit_law(Chinchilla, epoch()), resamples=400)
    for name, value in {"E": 0.0261, "alpha": 0.0147, "beta": 0.0208}.items():
        assert np.std(getattr(result.draws, name)) == pytest.approx(value, rel=0.2)
    assert np.std(result.draws.a_opt) == pytest.approx(0.019, rel=0.2)
    low, high = parameter_intervals(result, level=0.95)["a_opt"]
    assert (low, high) == pytest.approx((0.481, 0.557), abs=0.01)


@of_public_tables
def test_hoffmanns_own_constants_are_rejected():
    rows = epoch()
    fit = fit_law(Chinchilla, rows)
    residual = np.log(HOFFMANN.loss(rows.values["N"], rows.values["D"]) / rows.loss)
    clipped = np.clip(residual, -1e-3, 1e-3)
    objective = np.sum(clipped**2 / 2 + 1e-3 * (np.abs(residual) - np.abs(clipped)))
    assert objective > 3 * fit.objective
    intervals = parameter_intervals(bootstrap(fit), level=0.99)
    assert not intervals["beta"][0] <= HOFFMANN.beta <= intervals["beta"][1]
    assert not intervals["E"][0] <= HOFFMANN.E <= intervals["E"][1]


def last_evaluations() -> pd.DataFrame:
    """One row per run of the OLMo ladder: the mean of its last five evaluations."""
    curves = pd.read_csv(DATA / "olmo_ladder_c4_curves.csv").sort_values("step")
    runs = curves.groupby("run").agg(
        size=("size", "first"),
        N=("N", "first"),
        D=("tokens", "max"),
        loss=("c4_loss", lambda loss: loss.tail(5).mean()),
    )
    return runs[~runs.index.str.endswith("-rerun") & ~runs.index.str.contains("0.5xC")]


@of_public_tables
@pytest.mark.parametrize(
    ("sizes", "parameters", "error_13B"),
    [
        (("190M", "370M", "760M", "1B"), {"E": 0.934375, "alpha": 0.103603, "beta": 0.161969}, -0.0383),
        # The README's alpha .2367 and beta .1499 are 1 % off the optimum, which every start here reaches.
        (("190M", "370M", "760M", "1B", "3B"), {"E": 1.765}, -0.0096),
    ],
    ids=["below 3B", "with 3B"],
)
def test_olmo_ladder_predicts_its_13B_target_as_stated(sizes, parameters, error_13B):
    runs = last_evaluations()
    ladder = runs[runs["size"].isin(sizes)]
    fit = fit_law(Chinchilla, make_rows({"N": ladder["N"], "D": ladder["D"]}, ladder["loss"]))
    for name, value in parameters.items():
        assert getattr(fit.law, name) == pytest.approx(value, rel=1e-3)
    target = runs.loc["peteish13_eval_final"]
    predicted = float(fit.law.loss(target["N"], target["D"]))
    assert predicted / target["loss"] - 1 == pytest.approx(error_13B, abs=1e-4)

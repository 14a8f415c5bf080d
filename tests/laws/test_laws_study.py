"""The whole of laws.json from a synthetic study of two families whose laws are known."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.laws.test_laws_critical_batch import TRUTH, batch_scan, sweep

from scaling_laws.laws.forms.catalogue import FITTED_JOINT_FORMS, FORMS_OF_ONE_VARIABLE
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.plan.planner import plan_from_laws
from scaling_laws.laws.results.study import fit_study
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.errors import InputError

TRUTHS = {
    "transformer": Chinchilla(E=2.0, A=60.0, B=300.0, alpha=0.34, beta=0.38),
    "lstm": Chinchilla(E=2.2, A=50.0, B=250.0, alpha=0.30, beta=0.36),
}
SIZES = {"transformer": np.geomspace(3e3, 1e6, 6), "lstm": np.geomspace(5e3, 4e5, 4)}
HORIZONS = 5e5 * 2.0 ** np.arange(7)
SD = 0.002
LATE_GAP = 0.5


@pytest.fixture(scope="module")
def tables():
    random = np.random.default_rng(0)
    runs, positions = [], []
    T = np.arange(1, 65)
    for family, truth in TRUTHS.items():
        for i, N in enumerate(SIZES[family]):
            for seed in (1, 2, 3) if i == 1 else (1,):
                for D in HORIZONS:
                    name = f"{family}-{N:.0f}-s{seed}-{D:.0f}"
                    loss = float(truth.loss(N, D)) * np.exp(SD * random.normal())
                    runs.append(
                        {
                            "run": name,
                            "trunk": f"{family}-{N:.0f}-s{seed}",
                            "family": family,
                            "seed": seed,
                            "N": N,
                            "N_total": N + 2e4,
                            "D": D,
                            "unique_tokens": D,
                            "learning_rate": 1e-3,
                            "after_cooldown": True,
                            "C": 6 * N * D,
                            "C_exact": 6 * (N + 1e4) * D,
                            "loss": loss,
                        }
                    )
                    if HORIZONS[-1] == D:
                        base = 3.0 if family == "transformer" else 3.0 + LATE_GAP
                        losses = base + 2 * T**-0.6 + 0.02 * random.normal(size=(16, len(T)))
                        positions += [
                            (name, 100, "test", fold, position, 32 * losses[fold, position - 1], 32)
                            for fold in range(16)
                            for position in T
                        ]
    columns = ["run", "step", "corpus", "fold", "position", "loss_sum_nats", "count"]
    return pd.DataFrame(runs), pd.DataFrame(positions, columns=columns)


@pytest.fixture(scope="module")
def laws(tables):
    left_out = pd.DataFrame([{"run": "x", "status": "diverged", "reason": "NaN"}])
    return fit_study("toy", *tables, left_out, resamples=100).to_json()


def find(entries, **keys):
    (entry,) = [entry for entry in entries if all(entry[key] == value for key, value in keys.items())]
    return entry


def test_it_is_json_as_documented(laws):
    assert json.loads(json.dumps(laws, allow_nan=False)) == laws
    document = (Path(__file__).parents[2] / "docs" / "laws-json.md").read_text(encoding="utf-8")
    table = document.split("A fit:")[0]
    assert set(laws) == set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
    fit_keys = (
        "form family formula parameters units rows objective delta n_rows n_clusters n_left_out identified "
        "reason certificate intervals interval_method derived resamples"
    )
    for fit in laws["fits"]:
        assert set(fit_keys.split()) <= set(fit)
        assert set(fit["parameters"]) == set(fit["units"])
    of_one = [form for of_variable in FORMS_OF_ONE_VARIABLE.values() for form in of_variable]
    forms = [form.form for form in (*of_one, *FITTED_JOINT_FORMS, Muennighoff)]
    assert [(fit["family"], fit["form"]) for fit in laws["fits"]] == [
        (family, form) for family in ("lstm", "transformer") for form in forms
    ]


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_the_joint_law_is_recovered(laws, family):
    fit = find(laws["fits"], family=family, form="chinchilla")
    truth = TRUTHS[family]
    assert fit["identified"]
    for name in ("E", "alpha", "beta"):
        assert fit["parameters"][name] == pytest.approx(getattr(truth, name), rel=0.1)
        low, high = fit["intervals"][name]
        assert low - 0.02 <= getattr(truth, name) <= high + 0.02
    assert fit["derived"]["a_opt"] == pytest.approx(truth.a_opt, abs=0.03)
    assert fit["n_rows"] == len(HORIZONS) * (len(SIZES[family]) + 2)
    assert fit["n_clusters"] == len(SIZES[family]) + 2
    assert len(fit["resamples"]["E"]) == 100


def test_each_law_has_its_rows(laws):
    of_N = find(laws["fits"], family="transformer", form="power_n")
    assert of_N["rows"].startswith("all 6 sizes at the largest horizon common to them")
    assert (of_N["n_rows"], of_N["n_left_out"]) == (8, 48)
    assert of_N["ranges"]["N"] == pytest.approx([3e3, 1e6])
    of_D = find(laws["fits"], family="transformer", form="power_d")
    assert of_D["rows"] == "the largest size, N = 1e+06, at its 7 horizons"
    assert of_D["n_clusters"] == 1
    assert of_D["parameters"]["beta"] == pytest.approx(0.38, abs=0.08)
    of_C = find(laws["fits"], family="transformer", form="kaplan_c")
    assert "no other size beats" in of_C["rows"]


def test_noise_holdout_and_allocation(laws):
    assert laws["noise"]["sd_log_loss"] == pytest.approx(SD, rel=0.3)
    assert laws["noise"]["n_runs"] == 2 * 3 * len(HORIZONS)
    held_out = find(laws["holdout"], family="transformer", form="chinchilla")
    assert len(held_out["held_out"]) == len(held_out["predicted"]) == len(HORIZONS)
    assert held_out["mean_absolute_error"] < 0.01 < held_out["baseline_mean_absolute_error"]
    found = find(laws["allocation"], family="transformer", method="isoflop")
    assert found["exponent"] == pytest.approx(TRUTHS["transformer"].a_opt, abs=0.1)
    changes = {row["change"] for row in laws["sensitivity"]}
    assert {"as fitted", "N counted as N_total", "C counted as C_exact"} <= changes


def test_every_form_is_tested_on_held_out_runs(laws):
    """The runs follow Chinchilla's law: no other form may win by more than the noise."""
    for axis in ("N", "D", "C"):
        found = find(laws["rollout"], family="transformer", axis=axis, kind="joint")
        errors = {score["form"]: score["error"] for score in found["scores"]}
        assert errors["chinchilla"] < 3 * SD
        assert errors["chinchilla"] < errors["kaplan_nd"] / 2
        assert errors[found["winner"]] > errors["chinchilla"] - 2 * SD
        assert found["winner"] != "lowest loss seen"


def test_allocation_by_every_approach(laws):
    (found,) = [entry for entry in laws["approaches"] if entry["family"] == "transformer"]
    ways = {one["method"]: one["a"] for one in found["approaches"]}
    assert {"envelope", "parabola", "akima", "chinchilla"} <= set(ways)
    assert ways["chinchilla"] == pytest.approx(TRUTHS["transformer"].a_opt, abs=0.03)


def test_families_are_compared_in_compute(laws):
    for entry in laws["families"]:
        assert entry["reference"] == "transformer"
        assert entry["reason"] or [one["family"] for one in entry["efficiencies"]] == ["lstm"]


def test_outliers_and_rates(tables, laws):
    assert [entry["flags"] for entry in laws["outliers"]] == [[], []]
    assert all("one rate only" in entry["warning"] for entry in laws["bracketing"])
    runs = tables[0][tables[0]["family"] == "transformer"].reset_index(drop=True)
    bad = runs["loss"].where(runs.index != 10, 1.1 * runs["loss"])
    (entry,) = fit_study("toy", runs.assign(loss=bad), resamples=20).to_json()["outliers"]
    assert runs["run"][10] in {flag["run"] for flag in entry["flags"]}


def test_profiles_are_in_the_certificate(laws):
    fit = find(laws["fits"], family="transformer", form="chinchilla")
    low, high = fit["certificate"]["profile"]["alpha"]
    assert low < fit["parameters"]["alpha"] < high


def test_a_batch_scan_gives_the_critical_batch_and_the_planner_uses_it():
    curves = pd.concat([batch_scan(), sweep()], ignore_index=True)
    last = curves.sort_values("step").groupby("run").last().reset_index()
    C = 6 * last["N"] * last["tokens"]
    runs = last.assign(family="transformer", trunk=last["run"], D=last["tokens"], C=C)
    fitted = fit_study("scan", runs, curves=curves.rename(columns={"loss": "test_loss_nats"}), resamples=40)
    laws = fitted.to_json()
    (batch,) = laws["critical_batch"]
    assert batch["identified"], batch["reason"]
    assert batch["parameters"]["alpha_B"] == pytest.approx(TRUTH["alpha_B"], rel=0.05)
    plan = plan_from_laws(fitted, float(runs["C"].max()))
    expected = TRUTH["B_star"] / plan.loss_nats ** (1 / TRUTH["alpha_B"])
    assert plan.batch_tokens == pytest.approx(expected, rel=0.1)


def test_positions(laws):
    assert len(laws["positions"]) == 10
    for entry in laws["positions"]:
        assert entry["identified"]
        assert entry["parameters"]["c"] == pytest.approx(0.6, abs=0.05)
        low, high = entry["intervals"]["c"]
        assert low < entry["parameters"]["c"] < high
        assert entry["interval_method"] == "bootstrap over 16 folds of documents (200 resamples)"


def test_late_positions(laws):
    late = laws["late_positions"]
    assert late["position_from"] == 33
    assert late["reason"] == ""
    assert len(late["pairs"]) >= 2
    for pair in late["pairs"]:
        assert abs(np.log(pair["N_lstm"] / pair["N_transformer"])) <= np.log(1.6)
        assert pair["difference_nats"] == pytest.approx(LATE_GAP, abs=0.01)
        low, high = pair["interval"]
        assert low < pair["difference_nats"] < high
        assert high - low < 0.02


def test_left_out_and_manifest(laws, tables):
    assert laws["left_out"] == [{"run": "x", "status": "diverged", "reason": "NaN"}]
    assert len(laws["manifest"]["input_sha256"]) == 64
    runs = tables[0][(tables[0]["family"] == "lstm") & (tables[0]["seed"] == 1)].iloc[::3]
    one, same, other = (
        fit_study("toy", table, resamples=10).to_json() for table in (runs, runs, runs.iloc[:2])
    )
    assert one == same
    assert one["manifest"]["input_sha256"] != other["manifest"]["input_sha256"]


def test_runs_stopped_early_are_left_out_with_the_way_to_fit_them() -> None:
    rows = {
        "run": ["cooled", "early", "hot"],
        "trunk": ["cooled", "early", "hot"],
        "family": "transformer",
        "N": 1e5,
        "D": 1e6,
        "C": 6e11,
        "loss": 3.0,
        "after_cooldown": [True, False, False],
        "stopped_early": [False, True, False],
    }
    usable, left_out = usable_runs(pd.DataFrame(rows))
    assert usable["run"].tolist() == ["cooled"]
    reasons = {row["run"]: row["reason"] for row in left_out}
    assert "before the learning rate came down" in reasons["hot"]
    assert "--d unique_tokens" in reasons["early"]


def test_losses_before_the_cooldown_and_bad_learning_rates_are_left_out(tables):
    runs = tables[0][tables[0]["family"] == "lstm"].reset_index(drop=True)
    hot = runs.iloc[[0]].assign(run="hot", after_cooldown=False, loss=9.0)
    untuned = runs[runs["seed"] == 1].iloc[[1]].assign(run="untuned", learning_rate=1e-1, loss=9.0)
    laws = fit_study("toy", pd.concat([runs, hot, untuned], ignore_index=True), resamples=20).to_json()
    assert {row["run"]: row["reason"] for row in laws["left_out"]} == {
        "hot": "its loss was taken before the learning rate came down",
        "untuned": "another learning rate did better at its size and horizon",
    }
    assert find(laws["fits"], form="chinchilla")["n_rows"] == len(runs)
    assert find(laws["fits"], form="chinchilla")["n_left_out"] == 2


def test_a_small_table_says_what_it_cannot_know():
    runs = pd.DataFrame(
        {
            "run": ["a", "b"],
            "trunk": ["a", "b"],
            "family": "all",
            "N": [1e4, 1e5],
            "D": 1e6,
            "C": [6e10, 6e11],
        }
    ).assign(loss=[4.0, 3.5])
    of_runs = fit_study("small", runs.assign(n_heads=[1, 4]))
    laws = of_runs.to_json()
    assert "all: The table does not say which learning rates were tried." in laws["warnings"]
    assert any("mix networks of 1 and 4 heads; one head may do worse" in each for each in laws["warnings"])
    assert not any(fit["identified"] for fit in laws["fits"])
    assert all(fit["reason"] for fit in laws["fits"])
    assert laws["frontier"][0]["points"] == []
    assert laws["frontier"][0]["reason"]
    assert laws["isoflop"] == []
    assert all(entry["predicted"] == [] and entry["reason"] for entry in laws["holdout"])
    assert laws["late_positions"]["pairs"] == []
    with pytest.raises(InputError, match="no law of N and D is identified"):
        plan_from_laws(of_runs, 1e12)


def test_bad_run_tables_are_refused(tables):
    runs = tables[0]
    with pytest.raises(InputError, match="no column 'N_none'"):
        fit_study("toy", runs, n="N_none")
    with pytest.raises(InputError, match="no run is complete"):
        fit_study("toy", runs.iloc[:0])
    with pytest.raises(InputError, match=f"run {runs['run'][3]}: loss is nan"):
        fit_study("toy", runs.assign(loss=runs["loss"].where(runs.index != 3)))

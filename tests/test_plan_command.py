"""`scaling-laws plan` from its arguments to what it prints."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.support.by_hand import laws_of

from scaling_laws.cli import main
from scaling_laws.laws.forms.joint import Chinchilla
from scaling_laws.laws.published import BESIROGLU, HOFFMANN, KAPLAN_TABLE_6
from scaling_laws.study.records import RunRecord, write_record
from scaling_laws.study.units import PF_DAY_FLOPS

TRUTH = Chinchilla(E=2.0, A=60.0, B=300.0, alpha=0.34, beta=0.38)


def laws(**changes):
    random = np.random.default_rng(0)
    draws = {
        name: (value * (1 + 0.01 * random.normal(size=200))).tolist() for name, value in vars(TRUTH).items()
    }
    fit = {
        "form": "chinchilla",
        "family": "transformer",
        "formula": Chinchilla.formula,
        "parameters": dict(vars(TRUTH)),
        "ranges": {"N": [1e4, 1e6], "D": [1e6, 1e8], "loss": [3, 5]},
        "identified": True,
        "reason": "",
        "interval_method": "bootstrap over 14 trainings (200 resamples)",
        "row_sd": 0.003,
        "resamples": draws,
    }
    rates = [
        {"family": "transformer", "N": N, "D": 20 * N, "learning_rate": rate, "batch_tokens": 2048}
        for N, rate in ((1e4, 0.02), (1e5, 0.008), (1e6, 0.004))
    ]
    content = {"study": "toy", "fits": [fit], "learning_rates": rates}
    return laws_of(content).to_json() | changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a laws.json and damaged ones."""
    monkeypatch.chdir(tmp_path)
    two = laws()
    two["fits"] = two["fits"] + [two["fits"][0] | {"family": "lstm"}]
    lacking = laws()
    del lacking["fits"][0]["parameters"]
    not_identified = laws()
    not_identified["fits"][0] |= {"identified": False, "reason": "only one N"}
    contents = {
        "laws.json": laws(),
        "two.json": two,
        "newer.json": laws(schema=99),
        "lacking.json": lacking,
        "no-fits.json": {"schema": 1, "conventions": {"N": "N"}},
        "list.json": [1],
        "not-identified.json": not_identified,
        "no-law.json": laws(fits=[]),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "text.json").write_text("no JSON")
    (tmp_path / "runs.csv").write_text("N,D,loss\n1e6,1e8,3\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


def as_json(capsys, arguments):
    main(["plan", *arguments.split(), "--json"])
    return json.loads(capsys.readouterr().out)


def test_published_plan_as_json(capsys):
    content = as_json(capsys, "--compute 1e21 --published chinchilla")
    needed = {"N", "D", "C", "batch_tokens", "steps", "loss_nats", "intervals", "learning_rate", "published"}
    assert needed <= content.keys()
    N, D = HOFFMANN.optimum(1e21)
    assert (content["N"], content["D"]) == pytest.approx((float(N), float(D)))
    assert content["loss_nats"] == pytest.approx(float(HOFFMANN.loss(N, D)))
    rows = {row["source"]: row for row in content["published"]}
    assert set(rows) == {"kaplan", "chinchilla", "besiroglu"}
    assert rows["besiroglu"]["N"] == pytest.approx(float(BESIROGLU.optimum(1e21)[0]))
    assert content["shape"]["n_vocab"] == 32_000 and abs(content["shape"]["relative_error"]) <= 0.02


@pytest.mark.parametrize(
    ("arguments", "C"),
    [
        ("--compute 3PFd", 3 * PF_DAY_FLOPS),
        ("--gpu-hours 1000 --device a100 --mfu 0.5", 1000 * 3600 * 312e12 * 0.5),
        ("--gpu-hours 10 --device H100", 10 * 3600 * 989.5e12 * 0.4),
        ("--gpu-hours 10 --peak-tflops 100 --mfu 1", 10 * 3600 * 1e14),
        ("--gpu-hours 10 --tokens-per-second 50k --n 1B", 6e9 * 5e4 * 36000),
    ],
)
def test_budgets(capsys, arguments, C):
    assert as_json(capsys, f"{arguments} --published chinchilla")["C"] == pytest.approx(C)


def test_device_hours_of_a_plan_are_those_that_buy_it(capsys):
    content = as_json(capsys, "--compute 1e21 --published chinchilla --device a100 --mfu 0.5")
    hours = content["budget"]["gpu_hours"]
    assert hours == pytest.approx(1e21 / (3600 * 312e12 * 0.5))
    again = as_json(capsys, f"--gpu-hours {hours!r} --published chinchilla --device a100 --mfu 0.5")
    assert again["N"] == pytest.approx(content["N"])


def test_a_size_alone_asks_for_the_compute_at_which_it_is_the_best(capsys):
    content = as_json(capsys, "--n 7B --published besiroglu")
    assert (content["D"], content["C"]) == pytest.approx((1.4e11, 6.1e21), rel=0.05)
    assert float(BESIROGLU.optimum(content["C"])[0]) == pytest.approx(7e9)
    assert content["compute_over_optimal"] == pytest.approx(1)
    back = as_json(capsys, f"--d {content['D']!r} --published besiroglu")
    assert back["N"] == pytest.approx(7e9) and back["loss_nats"] == pytest.approx(content["loss_nats"])
    kaplan = as_json(capsys, "--n 1B --published kaplan")
    assert kaplan["D"] == pytest.approx(float(KAPLAN_TABLE_6.D.at(kaplan["C"])))
    assert as_json(capsys, f"--compute {kaplan['C']!r} --published kaplan")["N"] == pytest.approx(1e9)


def test_a_size_alone_of_ones_own_law_has_intervals(folder, capsys):
    content = as_json(capsys, "--n 1M --laws laws.json")
    assert float(TRUTH.optimum(content["C"])[0]) == pytest.approx(1e6)
    for name in ("D", "C", "loss_nats"):
        low, high = content["intervals"][name]
        assert low < content[name] < high
    assert "N" not in content["intervals"]


def test_how_far_beyond_the_runs_is_always_said(folder, capsys):
    def reach(arguments):
        return as_json(capsys, f"{arguments} --laws laws.json")["notes"][-1]

    inside = reach("--n 1e5 --d 1e7")
    assert inside == "inside the fitted runs: N (1e+04 to 1e+06), D (1e+06 to 1e+08), C (6e+10 to 6e+14)"
    beyond = reach("--n 3e6 --d 1e7")  # three times the largest N is said, too
    assert beyond.startswith("extrapolation: of the fitted runs, N = 3e+06 is 3 times the largest (1e+06); ")
    assert "D (1e+06 to 1e+08)" in beyond
    assert "C = 6e+16 is at least 100 times the largest" in reach("--n 1e8 --d 1e8")
    below = reach("--n 1e3 --d 1e7")
    assert "N = 1e+03 is below the smallest (1e+04) by 10 times" in below


def test_the_price_of_a_plan(folder, capsys):
    content = as_json(capsys, "--compute 1e21 --published chinchilla --device h100 --price 2.5")
    assert content["budget"]["cost"] == pytest.approx(2.5 * 1e21 / (3600 * 989.5e12 * 0.4))
    main(["plan", "--gpu-hours", "100", "--device", "h100", "--price", "2", *["--published", "kaplan"]])
    assert "200.00 at 2 a device-hour" in capsys.readouterr().out


def test_a_table_given_as_laws_is_named_as_one(folder, capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--compute", "1e14", "--laws", "runs.csv"])
    error = capsys.readouterr().err
    assert "is a table of runs, not a laws.json; fit its laws with: scaling-laws laws runs.csv" in error
    assert "runs.laws.json" in error


def test_own_law(folder, capsys):
    content = as_json(capsys, "--target-loss 2.8 --laws laws.json")
    assert content["C"] == pytest.approx(float(TRUTH.compute_to_reach(2.8)))
    assert content["family"] == "transformer" and content["batch_tokens"] == 2048
    assert content["shape"]["N"] == pytest.approx(content["N"], rel=0.02)
    assert as_json(capsys, "--compute 1e14 --laws two.json --family lstm")["shape"].keys() == {"reason"}
    fixed = as_json(capsys, "--n 100K --target-loss 3.5 --laws laws.json")
    assert fixed["N"] == 1e5 and fixed["compute_over_optimal"] > 1


def test_serving_repeats_and_next_rung(folder, capsys):
    content = as_json(
        capsys,
        "--compute 1e15 --laws laws.json --served-tokens 1e10 --unique-tokens 3M --next-rung --cost 1e13",
    )
    served = content["served"]
    assert served["total"] == pytest.approx(served["training"] + served["inference"])
    assert served["N"] < content["N"] and served["loss_nats"] == pytest.approx(content["loss_nats"])
    own, muennighoff = content["repeated"]
    assert own["unlimited_N"] == pytest.approx(content["N"]) and "borrowed" in own["source"]
    assert "their own" in muennighoff["source"]
    assert all(rung["cost"] <= 1.001e13 for rung in content["next_rung"]["best"])
    exponent = as_json(capsys, "--compute 1e15 --laws laws.json --next-rung --target a_opt")
    assert "a_opt" in exponent["next_rung"]["target"]


def test_text(folder, capsys):
    main(
        [
            "plan",
            "--compute",
            "1e14",
            "--laws",
            "laws.json",
            "--served-tokens",
            "1e9",
            "--unique-tokens",
            "1e6",
            "--next-rung",
            "--device",
            "a100",
        ]
    )
    text = capsys.readouterr().out
    for part in (
        "90 %",
        "n_layer",
        "device-hours",
        "kaplan",
        "besiroglu",
        "epochs",
        "narrows",
        "saving",
        "learning",
    ):
        assert part in text
    main(["plan", "--compute", "1e20", "--published", "kaplan"])
    assert "C_min" in capsys.readouterr().out
    main(["plan", "--n", "1e6", "--d", "1e8", "--laws", "laws.json"])
    assert "extrapolation" not in capsys.readouterr().out.partition("What the published")[0]


def test_freeze_and_score(folder, capsys):
    content = as_json(capsys, "--n 92512 --d 2097152 --laws laws.json --freeze prediction.json")
    frozen = json.loads((folder / "prediction.json").read_text())
    assert frozen["loss_nats"] == content["loss_nats"] and len(frozen["laws_sha256"]) == 64
    score = as_json(capsys, f"--score prediction.json --loss {content['loss_nats']}")
    assert score["inside"] and score["as_frozen"] and score["relative_error"] == pytest.approx(0)
    main(["plan", "--score", "prediction.json", "--loss", "9"])
    assert "OUTSIDE" in capsys.readouterr().out

    record_of(folder / "run")
    score = as_json(capsys, "--score prediction.json --run run")
    assert (score["N"], score["D"], score["actual"]) == (92_000, 2_097_152, 3.5)
    assert not score["as_frozen"] and score["days"] >= -0.01
    assert score["predicted"] == pytest.approx(float(TRUTH.loss(92_000, 2_097_152)))
    main(["plan", "--score", "prediction.json", "--run", "run"])
    assert "other than predicted" in capsys.readouterr().out


def record_of(folder, status="complete"):
    folder.mkdir()
    record = RunRecord(
        run_id="x",
        name=folder.name,
        study="toy",
        trunk="t",
        status=status,
        family="transformer",
        shape={},
        parameters={"token_embedding": 1000, "attention": 40_000, "feed_forward": 52_000, "head": 0},
        flops_per_token={"de_embed": 2000.0},
        tokens=2_097_152,
        unique_tokens=2_097_152,
        batch_tokens=2048,
        steps=1024,
        optimizer={},
        schedule={},
        after_cooldown=True,
        seed=1,
        losses={"test": {"loss_nats": 3.5, "bits_per_byte": 1.0, "tokens": 1000.0}},
        best_losses={},
        train_loss_nats=3.4,
        corpus={},
        elapsed_s=1.0,
        trained_tokens=2_097_152,
        tokens_per_s=1.0,
        peak_memory_bytes=1,
        git_revision="",
        versions={},
        host="",
    )
    write_record(folder, record)


BAD = [
    "",
    "--compute 1e21",
    "--published chinchilla",
    "--compute 1e21 --published gpt",
    "--compute 1e21 --published chinchilla --laws laws.json",
    "--compute 1e21 --target-loss 2.5 --published chinchilla",
    "--compute 1e21 --gpu-hours 3 --published chinchilla",
    "--compute -1 --published chinchilla",
    "--compute -1e3 --published chinchilla",
    "--compute 0 --published chinchilla",
    "--compute nan --published chinchilla",
    "--compute lots --published chinchilla",
    "--compute 1e21 --n 1e9 --d 1e9 --published chinchilla",
    "--d 1e9 --target-loss 2.5 --published chinchilla",
    "--comp 1e21 --published chinchilla",
    "--compute 1e21 --tokens 1e9 --published chinchilla",
    "--compute 1e21 --price 2 --published chinchilla",
    "--compute 1e14 --laws runs.csv",
    "--n -5 --compute 1e21 --published chinchilla",
    "--compute 1e-3 --published kaplan",
    "--gpu-hours 5 --published chinchilla",
    "--gpu-hours 5 --device abacus --published chinchilla",
    "--gpu-hours 5 --device h100 --mfu 1.5 --published chinchilla",
    "--gpu-hours 5 --device h100 --mfu 0 --published chinchilla",
    "--gpu-hours 5 --device h100 --mfu much --published chinchilla",
    "--gpu-hours -5 --device h100 --published chinchilla",
    "--gpu-hours 5 --device h100 --peak-tflops 3 --published chinchilla",
    "--gpu-hours 5 --tokens-per-second 1000 --published chinchilla",
    "--compute 1e21 --tokens-per-second 1000 --published chinchilla",
    "--compute 1e21 --mfu 0.5 --published chinchilla",
    "--target-loss 1.5 --published chinchilla",
    "--target-loss 2 --n 1M --published chinchilla",
    "--target-loss 1.9 --laws laws.json",
    "--compute 1e14 --laws missing.json",
    "--compute 1e14 --laws text.json",
    "--compute 1e14 --laws list.json",
    "--compute 1e14 --laws folder",
    "--compute 1e14 --laws newer.json",
    "--compute 1e14 --laws lacking.json",
    "--compute 1e14 --laws no-fits.json",
    "--compute 1e14 --laws no-law.json",
    "--compute 1e14 --laws not-identified.json",
    "--compute 1e14 --laws two.json",
    "--compute 1e14 --laws two.json --family gru",
    "--compute 1e14 --laws two.json --family lstm --n-vocab 100",
    "--compute 1e21 --published chinchilla --family transformer",
    "--compute 1e21 --published chinchilla --next-rung",
    "--compute 1e14 --laws laws.json --next-rung --cost 1",
    "--compute 1e14 --laws laws.json --next-rung --target E",
    "--compute 1e14 --laws laws.json --cost 1e12",
    "--compute 1e20 --published kaplan --served-tokens 1e9",
    "--compute 1e20 --published kaplan --unique-tokens 1e9",
    "--compute 1e14 --laws laws.json --served-tokens -1",
    "--compute 1e14 --n 1e5 --laws laws.json --unique-tokens 1e6",
    "--compute 1e14 --laws laws.json --aspect-ratio 1e5",
    "--compute 1e14 --laws laws.json --head-width 1.5",
    "--compute 1e14 --laws laws.json --run run",
    "--compute 1e14 --laws laws.json --loss 3",
    "--compute 1e14 --laws laws.json --freeze laws.json",
    "--compute 1e14 --laws laws.json --freeze nowhere/p.json",
    "--score missing.json --loss 3",
    "--score laws.json --loss 3",
    "--score text.json --loss 3",
    "--score laws.json",
    "--score laws.json --loss 3 --run run",
    "--score laws.json --loss 3 --compute 1e20",
    "--score laws.json --run missing",
    "--compute",
]


@pytest.mark.parametrize("arguments", BAD, ids=lambda text: text or "nothing")
def test_bad_calls_end_in_one_line(folder, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["plan", *arguments.split()])
    out, err = capsys.readouterr()
    assert stopped.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err


def test_some_errors_name_what_to_do(folder, capsys):
    for arguments, words in (
        ("--gpu-hours 5 --device abacus --published chinchilla", ("h100", "a100", "--peak-tflops")),
        ("--target-loss 1.5 --published chinchilla", ("E = 1.69",)),
        ("--compute 1e14 --laws two.json", ("lstm, transformer",)),
        ("--compute 1e14 --laws laws.json --freeze laws.json", ("never overwritten",)),
    ):
        with pytest.raises(SystemExit):
            main(["plan", *arguments.split()])
        error = capsys.readouterr().err
        assert all(word in error for word in words)
    assert json.loads((folder / "laws.json").read_text())["schema"] == 1


def test_an_unfinished_run_is_not_scored(folder, capsys):
    main(["plan", "--compute", "1e14", "--laws", "laws.json", "--freeze", "p.json"])
    record_of(folder / "bad", status="diverged")
    with pytest.raises(SystemExit):
        main(["plan", "--score", "p.json", "--run", "bad"])
    assert "diverged" in capsys.readouterr().err


def test_a_published_plan_starts_fast_without_torch_and_pandas():
    code = (
        "import sys; from scaling_laws.cli import main; main(sys.argv[1:])\n"
        "assert not {'torch', 'pandas', 'scipy.stats', 'jsonargparse'} & set(sys.modules)"
    )
    begin = time.perf_counter()
    arguments = ["plan", "--compute", "1e21", "--published", "chinchilla"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    assert time.perf_counter() - begin < 5  # 0.6 s alone; a busy machine must not fail it

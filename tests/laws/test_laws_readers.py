"""Folders of runs as other programs log them, and readers that another package brings."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import scaling_laws as sl
from scaling_laws.cli import main
from scaling_laws.laws.readers.hugging_face_reader import _of_config
from scaling_laws.laws.readers.run_folders import counts_in
from scaling_laws.laws.readers.tracker_exports import why_no_runs
from scaling_laws.laws.run_tables import read_runs

SIZES = {"a": 1e6, "b": 2e6, "c": 4e6}
TRUE = [("a", 1e6, 1e8, 3.5), ("b", 2e6, 1e8, 3.4), ("c", 4e6, 1e8, 3.3)]
"""Run, N, D and last loss of the folders below; every loss was 0.5 higher halfway."""


def final(name: str) -> float:
    return next(loss for run, _, _, loss in TRUE if run == name)


def found(path: Path, **arguments: Any) -> list[tuple[str, float, float, float]]:
    runs = sl.read_runs(path, **arguments).sort_values("run")
    return list(runs[["run", "N", "D", "loss"]].itertuples(index=False, name=None))


def write_events(
    folder: Path, scalars: dict[str, dict[int, float]], hparams: dict[str, Any] | None = None
) -> None:
    """An event file as `SummaryWriter` writes it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    writer = EventFileWriter(str(folder))
    for tag, values in scalars.items():
        for step, value in values.items():
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=step, summary=summary))
    if hparams:
        writer.add_event(Event(step=0, wall_time=0, summary=hparams_pb(hparams)))
    writer.close()


def tensorboard(root: Path, names: dict[str, str], hparams: bool = False, tokens: bool = True) -> Path:
    """Three runs under other names."""
    for run, name in names.items():
        scalars = {
            "val/loss": {50: final(run) + 0.5, 100: final(run)},
            "train/loss": {i: 5 - i / 100 for i in range(0, 101, 20)},
        }
        if tokens:
            scalars["tokens"] = {0: 1.0, 49: 5e7, 99: 1e8}
        write_events(root / name, scalars)
        if hparams:  # where `add_hparams` puts them
            write_events(root / name / "1796040894.5364", {"hp": {0: 1.0}}, {"n_params": SIZES[run]})
    return root


def lightning(root: Path) -> Path:
    for run, N in SIZES.items():
        folder = root / run / "version_0"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(
            "epoch,step,tokens,train_loss,val_loss\n"
            f"0,49,5e7,6.0,\n0,49,,,{final(run) + 0.5}\n1,99,1e8,5.0,\n1,99,,,{final(run)}\n"
        )
        (folder / "hparams.yaml").write_text(f"model:\n  n_params: {N}\nlr: 1e-3\nbetas: [0.9, 0.95]\n")
    return root


def hugging_face(root: Path, tokens_in_log: bool = False) -> Path:
    for run, N in SIZES.items():
        folder = root / run / "checkpoint-100"
        folder.mkdir(parents=True)
        earlier = root / run / "checkpoint-50"
        earlier.mkdir()
        log: list[dict[str, Any]] = [
            {"step": 50, "loss": 6.0, "eval_loss": final(run) + 0.5},
            {"step": 100, "loss": 5.0},
            {"step": 100, "eval_loss": final(run), "eval_runtime": 1.0},
        ]
        state = {"global_step": 100, "max_steps": 100, "log_history": log, "num_input_tokens_seen": 1e8}
        if tokens_in_log:
            log[0]["num_input_tokens_seen"], log[1]["num_input_tokens_seen"] = 5e7, 1e8
        (folder / "trainer_state.json").write_text(json.dumps(state))
        state |= {"global_step": 50, "log_history": log[:1], "num_input_tokens_seen": 5e7}
        (earlier / "trainer_state.json").write_text(json.dumps(state))
        header = {"__metadata__": {"format": "pt"}, "w.weight": {"shape": [1000, int(N // 1000)]}}
        data = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    return root


def mlruns(root: Path) -> Path:
    """As MLflow 3 writes it; one run failed, one is deleted."""
    for i, (run, N) in enumerate({**SIZES, "dead": 9e6, "gone": 9e6}.items()):
        folder = root / "399395789987450700" / f"{i}4f57df2ccd34836bd78dbdcb6a448ec"
        for part in ("metrics/val", "params", "tags", "artifacts"):
            (folder / part).mkdir(parents=True)
        state, stage = {"dead": (4, "active"), "gone": (3, "deleted")}.get(run, (3, "active"))
        (folder / "meta.yaml").write_text(
            f"end_time: 1796040892473\nlifecycle_stage: {stage}\nrun_id: {folder.name}\nrun_name: {run}\n"
            f"status: {state}\ntags: []\n"
        )
        loss = final(run) if run in "abc" else 9.0
        (folder / "metrics/val/loss").write_text(f"1796040892471 {loss + 0.5} 50\n1796040892472 {loss} 100\n")
        (folder / "metrics/tokens").write_text("1796040892470 5e7 40\n1796040892470 100000000.0 90\n")
        (folder / "params/n_params").write_text(str(int(N)))
        (folder / "params/lr").write_text("0.001")
    (root / "399395789987450700" / "meta.yaml").write_text("name: scaling\nlifecycle_stage: active\n")
    return root


def test_tensorboard_by_hyperparameters(tmp_path: Path) -> None:
    root = tensorboard(tmp_path / "logs", {"a": "a", "b": "b", "c": "c"}, hparams=True)
    assert found(root) == TRUE
    assert found(root, loss="val/loss", N="n_params", D="tokens") == TRUE
    assert len(sl.read_runs(root, keep="all")) == 6
    assert sl.read_runs(root).attrs["notes"] == (
        "By their usual names, N is n_params, D is tokens, the loss is val/loss; others by --n, --d, --loss.",
    )


def test_tensorboard_by_names_and_by_a_table_beside(tmp_path: Path) -> None:
    names = {"a": "n=1e6_d=1e8", "b": "n=2M_d=100M", "c": "n=4e6_d=1e8"}
    root = tensorboard(tmp_path / "named", names, tokens=False)
    expected = [(names[run], *numbers) for run, *numbers in TRUE]
    assert found(root) == sorted(expected)
    assert "N and D as the runs' names say: n=1e6_d=1e8 has N 1e+06" in sl.read_runs(root).attrs["notes"][0]
    bare = tensorboard(tmp_path / "bare", {"a": "x", "b": "y", "c": "z"})
    (bare / "sizes.csv").write_text("run,N\nx,1e6\ny,2M\nz,4e6\n")
    assert [row[1:] for row in found(bare)] == [row[1:] for row in TRUE]


def test_tokens_of_a_step_and_parts_of_a_run(tmp_path: Path) -> None:
    for split, tag in (("train", 6.0), ("validation", 3.5)):
        write_events(tmp_path / "run" / split, {"epoch_loss": {0: tag + 1, 10: tag}})
    (tmp_path / "run" / "hparams.yaml").write_text("n_params: 1000000\ntokens_per_step: 1e7\n")
    assert found(tmp_path) == [("run", 1e6, 1e8, 3.5)]
    assert found(tmp_path, loss="train/epoch_loss") == [("run", 1e6, 1e8, 6.0)]


def test_lightnings_csv_logger(tmp_path: Path) -> None:
    expected = [(f"{run}/version_0", *numbers) for run, *numbers in TRUE]
    assert found(lightning(tmp_path), N="model.n_params") == expected
    assert found(tmp_path / "a" / "version_0", N="model.n_params") == [("version_0", *TRUE[0][1:])]


@pytest.mark.parametrize("tokens_in_log", [False, True])
def test_hugging_faces_trainer(tmp_path: Path, tokens_in_log: bool) -> None:
    root = hugging_face(tmp_path, tokens_in_log)
    assert found(root) == TRUE
    halfway = sl.read_runs(root, keep="all")
    assert sorted(halfway["D"]) == [5e7] * 3 + [1e8] * 3


def test_unfinished_and_diverged_runs_of_the_trainer_are_left_out(tmp_path: Path) -> None:
    root = hugging_face(tmp_path)
    path = root / "a" / "checkpoint-100" / "trainer_state.json"
    path.write_text(path.read_text().replace('"max_steps": 100', '"max_steps": 1000'))
    path = root / "b" / "checkpoint-100" / "trainer_state.json"
    path.write_text(path.read_text().replace(f'"eval_loss": {final("b")},', '"eval_loss": NaN,'))
    runs = sl.read_runs(root)
    assert runs["run"].tolist() == ["c"]
    assert runs.attrs["left_out"] == (("a", "its State is unfinished"), ("b", "its last loss is nan"))
    assert any(
        "2 runs were left out (a: its State is unfinished; b: " in each for each in runs.attrs["notes"]
    )
    assert "--with-unfinished keeps those that did not finish." in runs.attrs["notes"]
    kept = sl.read_runs(root, with_unfinished=True)
    assert kept["run"].tolist() == ["a", "c"]


@pytest.mark.parametrize(
    ("config", "n_params"),
    [
        (
            {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "vocab_size": 50257, "n_positions": 1024},
            124439808,
        ),
        (
            {"model_type": "gpt_neox", "hidden_size": 512, "num_hidden_layers": 6, "vocab_size": 50304}
            | {"intermediate_size": 2048},
            70426624,
        ),
        (
            {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 32000}
            | {"intermediate_size": 11008, "num_attention_heads": 32},
            6738415616,
        ),
        (
            {"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "vocab_size": 151936}
            | {"intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
            | {"tie_word_embeddings": True},
            494032768,
        ),
    ],
    ids=lambda value: value.get("model_type") if isinstance(value, dict) else "",
)
def test_parameters_from_a_configuration(tmp_path: Path, config: dict[str, Any], n_params: int) -> None:
    """The counts that these models are published with."""
    counts = _of_config(config)
    assert counts is not None and counts[0] == n_params
    root = hugging_face(tmp_path)
    for path in root.rglob("model.safetensors"):
        path.unlink()
        (path.parent.parent / "config.json").write_text(json.dumps(config))
    assert sl.read_runs(root)["N"].unique().tolist() == [n_params]


def test_mlflows_folder(tmp_path: Path) -> None:
    root = mlruns(tmp_path / "mlruns")
    runs = sl.read_runs(root)
    assert found(root) == TRUE == found(root / "399395789987450700")
    assert runs.attrs["left_out"] == (("dead", "its State is failed"),)


def mlflow_database(path: Path) -> Path:
    """As MLflow 3 makes it at `sqlite:///mlflow.db`: the columns that are read."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE runs (run_uuid, name, status, lifecycle_stage, start_time);"
            "CREATE TABLE metrics (key, value FLOAT, timestamp, run_uuid, step, is_nan);"
            "CREATE TABLE params (key, value, run_uuid);"
        )
        for i, (run, N) in enumerate({**SIZES, "dead": 9e6, "gone": 9e6, "nan": 9e6}.items()):
            state, stage = {"dead": ("FAILED", "active"), "gone": ("FINISHED", "deleted")}.get(
                run, ("FINISHED", "active")
            )
            loss = final(run) if run in "abc" else 9.0
            database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", (f"id{i}", run, state, stage, i))
            database.execute("INSERT INTO params VALUES ('n_params', ?, ?)", (str(int(N)), f"id{i}"))
            for step, tokens, value in ((50, 5e7, loss + 0.5), (100, 1e8, loss)):
                point = [("tokens", tokens, 1, f"id{i}", step, 0)]
                point += [("val/loss", value, 1, f"id{i}", step, run == "nan" and step == 100)]
                database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", point)
        database.commit()
    return path


def test_mlflows_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mlflow_database(tmp_path / "mlflow.db")
    before = path.read_bytes()
    runs = sl.read_runs(path)
    assert found(path) == TRUE
    assert runs.attrs["left_out"] == (("dead", "its State is failed"), ("nan", "its last loss is nan"))
    assert len(sl.read_runs(f"sqlite:///{path}")) == 3
    monkeypatch.chdir(tmp_path)
    assert len(sl.read_runs("sqlite:///mlflow.db")) == 3
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["mlflow.db"]


def test_a_database_that_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(sl.InputError, match=r"mlflow experiments csv -x ID -o runs\.csv"):
        sl.read_runs("postgresql://user@host/mlflow")
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE runs (x)")
        database.commit()
    with pytest.raises(sl.InputError, match="is not a database of MLflow's runs"):
        sl.read_runs(tmp_path / "other.db")


TRACKER = {
    "W&B": "Name,State,Created,params,config.tokens,val/loss\n"
    "a,finished,x,1e6,1e8,3.5\nb,crashed,x,2e6,1e8,9\n",
    "MLflow's page": "Start Time,Run ID,Name,Status,n_params,tokens,val_loss\n"
    "x,11,a,FINISHED,1e6,1e8,3.5\nx,12,b,FAILED,1e6,1e8,9\n",
    "search_runs": "run_id,experiment_id,status,metrics.val_loss,metrics.tokens,params.n_params,"
    "tags.mlflow.runName\n1,0,FINISHED,3.5,1e8,1000000,a\n2,0,RUNNING,9,1e8,1000000,b\n",
}


@pytest.mark.parametrize("name", TRACKER)
def test_exports_of_trackers(tmp_path: Path, name: str) -> None:
    path = tmp_path / "export.csv"
    path.write_text(TRACKER[name])
    assert found(path) == TRUE[:1]
    ((run, reason),) = sl.read_runs(path).attrs["left_out"]
    assert run == "b" and reason.startswith("its ")


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (
            ["Step", "run - val/loss", "run - val/loss__MIN", "run - val/loss__MAX"],
            "chart of Weights & Biases",
        ),
        (["Wall time", "Step", "Value"], "give the folder of the event files instead"),
        (["run_id", "key", "value", "timestamp", "step"], "or give the folder mlruns"),
        (["key", "value", "step", "timestamp"], "or give the folder mlruns"),
        (["N", "D", "loss", "loss__MIN"], ""),
        (["Step", "Value"], ""),
        (["key", "value", "step", "timestamp", "N"], ""),
    ],
)
def test_charts_are_explained(tmp_path: Path, header: list[str], what: str) -> None:
    assert what in why_no_runs(header) if what else not why_no_runs(header)
    path = tmp_path / "chart.csv"
    path.write_text(",".join(f'"{name}"' for name in header) + "\n" + ",".join("1" for _ in header) + "\n")
    if what:
        with pytest.raises(sl.InputError, match=what) as caught:
            read_runs(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("n=1.2e6_d=1e8", {"N": 1.2e6, "D": 1e8}),
        ("gpt-125m", {"N": 1.25e8}),
        ("gpt-125m/version_0", {"N": 1.25e8}),
        ("pythia-1.3B-20Btok", {"N": 1.3e9, "D": 2e10}),
        ("lr=1e-3_N=5M_D=2B", {"N": 5e6, "D": 2e9}),
        ("125m-2.5b", {}),  # which is which?
        ("run-100k", {}),  # steps, as likely as not
        ("width256", {}),
        ("350M_tokens", {"D": 3.5e8}),
    ],
)
def test_counts_in_names(name: str, counts: dict[str, float]) -> None:
    assert counts_in(name) == pytest.approx(counts)


def refusal(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as status:
        main(["laws", str(path), *options])
    captured = capsys.readouterr()
    assert status.value.code == 2 and captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_what_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tensorboard(tmp_path / "logs", {"a": "x", "b": "y", "c": "z"})
    line = refusal(root, capsys)
    assert "nothing says what N is: log it as a hyperparameter (--n NAME), in the runs' names" in line
    assert f"{root / 'sizes.csv'} with the columns run,N (run: x, y, z)" in line
    assert "no column 'accuracy' for the loss; it has run, step, val/loss" in refusal(
        root, capsys, "--tag", "accuracy", "--n", "tokens"
    )
    (root / "sizes.csv").write_text("run,N\nx,1e6\nz,4e6\n")
    assert "nothing says what N is of y: log it" in refusal(root, capsys)
    (root / "sizes.csv").write_text("run,N\nw,1e6\n")
    assert "there is no run 'w'; the runs are x, y, z" in refusal(root, capsys)
    (root / "sizes.csv").write_text("name,N\nx,1e6\n")
    assert "no column 'run'" in refusal(root, capsys)
    without = tensorboard(tmp_path / "n", {"a": "n=1e6"}, tokens=False)
    assert "nothing says what D is: log the tokens seen (--d TAG)" in refusal(without, capsys)
    (tmp_path / "broken" / "checkpoint-1").mkdir(parents=True)
    (tmp_path / "broken" / "checkpoint-1" / "trainer_state.json").write_text("{")
    assert "trainer_state.json: cannot be read as JSON" in refusal(tmp_path / "broken", capsys)
    (tmp_path / "empty").mkdir()
    assert "neither a study (no record.json" in refusal(tmp_path / "empty", capsys)


def test_a_folder_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tensorboard(tmp_path / "logs.v1", {"a": "a", "b": "b", "c": "c"}, hparams=True)
    main(["laws", str(root), "--tag", "val/loss", "--form", "log_n", "--bootstrap", "5"])
    written = json.loads((tmp_path / "logs.v1.laws.json").read_text())
    assert written["fits"][0]["n_rows"] == 3 and written["conventions"]["N"] == "n_params"
    assert "laws: " in capsys.readouterr().out


def test_a_diverged_run_is_no_run_of_its_last_number(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("run,step,N,D,loss\na,1,1e9,1e9,4\na,2,1e9,2e9,nan\nb,1,1e9,1e9,4\nb,2,1e9,2e9,\n")
    runs = read_runs(path, keep="last")
    assert runs[["run", "loss"]].values.tolist() == [["b", 4.0]]
    assert runs.attrs["left_out"] == (("a", "its last loss is nan"),)
    assert read_runs(path, keep="best")["loss"].tolist() == [4.0, 4.0]


THEIRS = """
import json
import pandas as pd

class Reader:
    def recognises(self, path):
        return path.suffix == ".mine"

    def read(self, path):
        return pd.DataFrame(json.loads(path.read_text()))
"""


def test_another_package_brings_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_reader.py").write_text(THEIRS)
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[scaling_laws.readers]\nmine = their_reader:Reader\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "runs.mine"
    path.write_text(json.dumps({"run": ["a"], "N": [1000000], "D": [1e8], "loss": [3.5]}))
    assert found(path) == TRUE[:1]
    (about / "entry_points.txt").write_text("[scaling_laws.readers]\nmine = no_such_module:Reader\n")
    with pytest.raises(sl.InputError, match="reader mine: no_such_module:Reader cannot be loaded"):
        sl.read_runs(path)


def test_a_study_is_a_table_of_runs() -> None:
    folder = Path(__file__).parents[2] / "results" / "quick"
    runs, study = sl.read_runs(folder), sl.load_study(folder)
    assert runs["run"].tolist() == study.runs["run"].tolist()
    pd.testing.assert_series_equal(runs["N"], study.runs["N"].astype(float))
    assert not math.isnan(runs["loss"].sum())


@pytest.mark.parametrize(
    ("columns", "form"),
    [("C,loss", "power_c"), ("D,loss", "log_d"), ("N,loss", "power_n"), ("N,C,loss", "power_c")],
)
def test_a_form_needs_its_own_variables_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: str, form: str
) -> None:
    """In both ways; another form, and the whole analysis, say what is missing."""
    path = tmp_path / "runs.csv"
    cells = [",".join([""] * (columns.count(",") - 1) + [f"1e{i}", f"{2 + 0.8**i}"]) for i in range(6, 14)]
    path.write_text("\n".join([columns, *cells]) + "\n")
    options = ("--form", form, "--bootstrap", "5", "--quiet")
    if columns == "N,C,loss":
        with pytest.raises(SystemExit):  # in Python nobody said that N is not asked for
            main(["laws", str(path), "--bootstrap", "5"])
        assert "column 'N': empty" in capsys.readouterr().err
    else:
        fitted = sl.fit(sl.read_runs(path), form, resamples=5)
        assert fitted.identified, fitted.reason
        with pytest.raises(sl.InputError, match="the form chinchilla needs "):
            sl.fit(sl.read_runs(path))
        with pytest.raises(sl.InputError, match="no column"):
            sl.analyse(sl.read_runs(path))
        assert "no column" in refusal(path, capsys) or "neither a column" in refusal(path, capsys)
    main(["laws", str(path), *options])
    (fit,) = json.loads((tmp_path / "runs.laws.json").read_text())["fits"]
    assert fit["identified"] and fit["n_rows"] == 8

"""The loop of a shape study, with trainings that are a formula (`shape_stub.py`)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState
from tests.support.shape_stub import StubTrainings, bowl, shape_plan, stored_study

from scaling_laws.data.tokens import build_corpus
from scaling_laws.study.errors import InputError
from scaling_laws.study.interrupts import Interrupted, TimeIsUp
from scaling_laws.study.records import read_record
from scaling_laws.study.runs import load_study
from scaling_laws.sweeps.plan.experiments import Plan
from scaling_laws.sweeps.run import attempts, loop
from scaling_laws.sweeps.run.progress import Progress
from scaling_laws.sweeps.search import search
from scaling_laws.sweeps.search.search import Search, run_search

RANDOM = {"class_path": "optuna.samplers.RandomSampler"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ASK_S", 0.0)
    monkeypatch.setattr(loop, "ASK_S", 0.0)


def searched(plan: Plan, trainings: StubTrainings | None = None, **more: Any) -> Search:
    more = {"watch": lambda _: None} | more
    return run_search(plan, trainings or StubTrainings(), storage=None, **more)


def stored(plan: Plan) -> list[FrozenTrial]:
    return stored_study(plan.folder).get_trials()


def told_runs(plan: Plan) -> list[str]:
    """Runs of the trials that were told a result, sorted."""
    told = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = [trial for trial in stored(plan) if trial.state in told]
    return sorted(trial.user_attrs["run"] for trial in trials if "run" in trial.user_attrs)


def test_the_search_finds_the_known_best(tmp_path: Path, text_folder: Path) -> None:
    """The bowl's bottom is 3 nats, its rim 25 % above."""
    plan = shape_plan(tmp_path, text_folder, trials=24, sampler={"class_path": "optuna.samplers.TPESampler"})
    found = searched(plan)
    losses = sorted(finished.loss for finished in found.finished.values())
    assert len(losses) == 24 and not found.progress.failed
    assert losses[0] < 3 * 1.01 and losses[-1] > 3 * 1.04
    best = min(found.finished.values(), key=lambda finished: finished.loss).trial
    assert best.shape.config.n_layer in (2, 3) and 2 < best.shape.d_ff_ratio < 8


def test_infeasible_trials_are_not_trained_and_carry_their_constraint(
    tmp_path: Path, text_folder: Path
) -> None:
    plan = shape_plan(tmp_path, text_folder, sampler=RANDOM, n_layer=[1, 16], head_width=[4, 32])
    trainings = StubTrainings()
    found = searched(plan, trainings)
    infeasible = [trial for trial in stored(plan) if max(trial.constraints.values()) > 0]
    assert infeasible and found.n_infeasible == len(infeasible)
    assert all(trial.state == TrialState.PRUNED and not trial.intermediate_values for trial in infeasible)
    assert len(trainings.started) == 12 == len(list(plan.folder.glob("*/record.json")))
    for path in plan.folder.glob("*/record.json"):
        counted = read_record(path).parameters
        assert abs(counted["attention"] + counted["feed_forward"] + counted["norm"] - 20_000) <= 400
    assert max(stored_study(plan.folder).best_trial.constraints.values()) <= 0


def test_trials_say_what_was_trained(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder, trials=3)
    searched(plan)
    complete = [trial for trial in stored(plan) if trial.state == TrialState.COMPLETE]
    assert len(complete) == 3
    for trial in complete:
        record = read_record(plan.folder / trial.user_attrs["run"] / "record.json")
        assert trial.value == record.losses["val"]["loss_nats"]
        assert list(trial.intermediate_values) == [1600, 3200, 4800]  # tokens, but for the result
        assert record.shape["n_layer"] == trial.params["n_layer"]
        assert f"{record.shape['n_layer']}x{record.shape['d_model']}" in trial.user_attrs["shape"]


def test_one_network_is_trained_once(
    tmp_path: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a factor of the learning rate few networks are left; the sampler comes back to them."""
    monkeypatch.setattr(search, "MOST_FRUITLESS", 12)
    plan = shape_plan(
        tmp_path,
        text_folder,
        sampler=RANDOM,
        learning_rate_factor=[1, 1],
        n_layer=[1, 2],
        head_width=[16],
        trials=30,
    )
    trainings = StubTrainings()
    found = searched(plan, trainings)
    assert found.is_exhausted and len(found.finished) < 30
    assert len(trainings.started) == len(set(trainings.started)) == len(found.finished)
    by_run: dict[str, set[Any]] = {}
    for trial in stored(plan):
        if trial.state == TrialState.COMPLETE:
            by_run.setdefault(trial.user_attrs["run"], set()).add(trial.value)
    assert any(told_runs(plan).count(run) > 1 for run in by_run)
    assert all(len(values) == 1 for values in by_run.values())  # told the known loss


def test_the_first_networks_are_spread_over_the_space(tmp_path: Path, text_folder: Path) -> None:
    """Ten different networks, at every depth and width of heads; an interruption changes nothing of it."""
    plan = shape_plan(tmp_path, text_folder, trials=12, spread=10)
    trainings = StubTrainings()
    with pytest.raises(Interrupted):
        searched(plan, trainings, watch=interrupted_after(4, signal.SIGTERM))
    searched(plan, trainings)
    first = [trial.user_attrs["run"] for trial in stored(plan) if trial.state == TrialState.COMPLETE][:10]
    records = [read_record(plan.folder / run / "record.json") for run in first]
    networks = {tuple(sorted(record.shape.items())) for record in records}
    assert len(networks) == 10
    assert {record.shape["n_layer"] for record in records} == {1, 2, 3, 4}
    assert {record.shape["d_model"] // record.shape["n_heads"] for record in records} == {4, 8, 16}
    assert {record.optimizer["learning_rate"] for record in records} == {0.01}
    assert len(load_study(plan.folder).records) == 12


# --- interruptions --------------------------------------------------------------------------------


def interrupted_after(n_done: int, number: int) -> Any:
    """A view that sends this process a signal once so many trials are done."""

    def watch(progress: Progress) -> None:
        if len(progress.done) >= n_done and progress.running:
            os.kill(os.getpid(), number)

    return watch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, text_folder: Path, number: int
) -> None:
    plan = shape_plan(tmp_path, text_folder)
    first = StubTrainings()
    with pytest.raises(Interrupted) as stopped:
        searched(plan, first, watch=interrupted_after(4, number))
    assert stopped.value.code == 128 + number
    done_before = {path.parent.name for path in plan.folder.glob("*/record.json")}
    unfinished = set(first.started) - done_before
    assert unfinished
    again = StubTrainings()
    found = searched(plan, again)
    assert found.progress.n_found_done == len(done_before) and len(found.finished) == 12
    assert unfinished <= set(again.started) and not done_before & set(again.started)
    assert told_runs(plan) == sorted(found.finished)  # each once
    assert not [trial for trial in stored(plan) if trial.state == TrialState.RUNNING]


def test_a_kill_between_any_two_writes_loses_nothing(
    tmp_path: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor dies at its n-th write to the storage, for growing n, until one search survives."""

    class Killed(BaseException):
        pass

    plan = shape_plan(tmp_path, text_folder, trials=5, sampler=RANDOM)
    n_left = 0
    storage_class = optuna.storages.RDBStorage
    writes = (
        "_create_new_trial",
        "_set_trial_param",
        "set_trial_user_attr",
        "set_trial_system_attr",
        "set_trial_state_values",
    )
    for name in writes:
        original = getattr(storage_class, name)

        def dying(*arguments: Any, _original: Any = original, **keywords: Any) -> Any:
            nonlocal n_left
            n_left -= 1
            if n_left == 0:
                raise Killed
            return _original(*arguments, **keywords)

        monkeypatch.setattr(storage_class, name, dying)
    began: set[str] = set()
    n_deaths = 0
    while True:
        n_left, trainings = 12 + 3 * n_deaths, StubTrainings()
        try:
            found = searched(plan, trainings)
            break
        except Killed:
            n_deaths += 1
        finally:
            began |= {path.parent.name for path in plan.folder.glob("*/trial.json")}
    assert n_deaths > 3
    assert len(found.finished) == 5 and not found.progress.failed
    assert began == set(found.finished)  # whatever was begun was finished
    assert told_runs(plan) == sorted(found.finished)


def test_a_lost_storage_is_filled_again_from_the_folders(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder)
    searched(plan)
    before = {trial.user_attrs["run"]: trial for trial in stored(plan) if trial.state == TrialState.COMPLETE}
    (plan.folder / "shape.sqlite3").unlink()
    trainings = StubTrainings()
    searched(plan, trainings)
    assert not trainings.started
    after = {trial.user_attrs["run"]: trial for trial in stored(plan)}
    assert after.keys() == before.keys()
    for run, trial in after.items():
        assert trial.value == before[run].value and trial.params == before[run].params
        assert trial.intermediate_values == before[run].intermediate_values
        assert trial.constraints == before[run].constraints


def test_a_trial_that_fails_is_set_aside(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder)
    trainings = StubTrainings(fails=lambda name: name.startswith("transformer-1x"))
    found = searched(plan, trainings)
    assert len(found.finished) + len(found.progress.failed) == 12
    assert found.progress.failed and all(name.startswith("transformer-1x") for name in found.progress.failed)
    assert all(trainings.started.count(name) == attempts.MAX_FAILURES for name in found.progress.failed)
    assert "failed 3 times" in next(iter(found.progress.failed.values()))
    assert searched(plan).progress.failed == found.progress.failed
    again = StubTrainings()
    retried = searched(plan, again, retry_failed=True)
    assert not retried.progress.failed and set(again.started) == set(found.progress.failed)
    assert len(retried.finished) == 12


def test_a_search_ends_when_its_time_is_over_and_goes_on(
    tmp_path: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = shape_plan(tmp_path, text_folder)
    later_s = 0.0
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later_s))

    def an_hour_later(progress: Progress) -> None:
        nonlocal later_s
        later_s = 3600.0 * (len(progress.done) >= 3)

    with pytest.raises(TimeIsUp) as over:
        searched(plan, watch=an_hour_later, stop_at_s=time.monotonic() + 1800)
    assert over.value.code == 0 and "of 12 runs are done" in over.value.message
    assert 3 <= len(list(plan.folder.glob("*/record.json"))) < 12
    found = searched(plan)
    assert len(found.finished) == 12 and found.progress.n_found_done >= 3


def test_an_engine_that_leaves_its_jobs_runs_no_search(tmp_path: Path, text_folder: Path) -> None:
    """It could not stop what the pruner has given up."""
    trainings = StubTrainings()
    trainings.stays = False
    with pytest.raises(InputError, match="give it --engine local or ray"):
        searched(shape_plan(tmp_path, text_folder), trainings)


# --- pruning --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["optuna.pruners.MedianPruner", "scaling_laws.sweeps.search.pruner.CurvePruner"]
)
def test_a_pruned_run_is_stopped_recorded_and_never_trained_again(
    tmp_path: Path, text_folder: Path, name: str
) -> None:
    plan = shape_plan(tmp_path, text_folder, trials=18, sampler=RANDOM, pruner={"class_path": name})
    build_corpus(plan.corpus, plan.corpus_folder)
    found = searched(plan, StubTrainings(every=640))
    pruned = {run: one for run, one in found.finished.items() if one.record.status == "pruned"}
    assert len(found.finished) == 18 and 3 < len(pruned) < 15
    true_losses = {
        run: bowl(one.trial.shape.config, one.trial.run.learning_rate) for run, one in found.finished.items()
    }
    assert min(true_losses, key=lambda run: true_losses[run]) not in pruned
    for run, one in pruned.items():
        record = read_record(plan.folder / run / "record.json")
        assert record.losses == {} and "stopped by the pruner" in record.reason
        assert record.tokens == record.trained_tokens < 6400
        assert one.loss is None
    states = {trial.user_attrs.get("run"): trial.state for trial in stored(plan)}
    assert all(states[run] == TrialState.PRUNED for run in pruned)
    again = StubTrainings()
    assert len(searched(plan, again).finished) == 18 and not again.started


def test_runs_of_a_search_are_data_of_no_law(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder, trials=3)
    searched(plan)
    study = load_study(plan.folder)
    assert study.runs.empty and len(study.records) == 3
    assert study.left_out["reason"].str.contains("shape study").all() and len(study.left_out) == 3


# --- refusals -------------------------------------------------------------------------------------


def refusal(tmp_path: Path, text_folder: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        searched(shape_plan(tmp_path, text_folder, **changes))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": {"class_path": "optuna.samplers.Nonsense"}}, "there is no such class"),
        ({"sampler": {"class_path": "optuna.pruners.MedianPruner"}}, "must be a BaseSampler"),
        ({"sampler": {"class_path": "optuna.samplers.TPESampler", "init_args": {"x": 1}}}, "argument 'x'"),
        ({"sampler": {"class": "x"}}, "it takes class_path and init_args"),
        ({"pruner": {"class_path": "optuna.samplers.TPESampler"}}, "must be a BasePruner"),
        ({"n_layer": [4, 1]}, "n_layer is 4 to 1"),
        ({"learning_rate_factor": [0, 1]}, "learning_rate_factor is 0"),
        ({"N": -1}, "N is -1"),
        ({"transfer": {"N": 10}}, "transfer.N is 10"),
        ({"head_width": []}, "head_width must be"),
    ],
)
def test_what_makes_no_search_gets_one_line(
    tmp_path: Path, text_folder: Path, changes: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, text_folder, **changes)


def test_a_storage_that_stops_answering_ends_the_search_in_one_line(
    tmp_path: Path, text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = shape_plan(tmp_path, text_folder)
    trainings = StubTrainings()

    def gone(*_: Any, **__: Any) -> None:
        raise sqlalchemy.exc.OperationalError("SELECT", {}, Exception("server closed the connection"))

    def watch(progress: Progress) -> None:
        if len(progress.done) >= 3:
            monkeypatch.setattr(optuna.storages.RDBStorage, "_create_new_trial", gone)

    with pytest.raises(InputError, match="server closed the connection") as refused:
        searched(plan, trainings, watch=watch)
    assert "\n" not in str(refused.value)
    monkeypatch.undo()
    assert len(searched(plan).finished) == 12
    assert told_runs(plan) == sorted(path.parent.name for path in plan.folder.glob("*/record.json"))


def test_a_search_of_another_space_is_refused(tmp_path: Path, text_folder: Path) -> None:
    plan = shape_plan(tmp_path, text_folder, trials=2)
    searched(plan)
    assert "another head_width" in refusal(tmp_path, text_folder, head_width=[4])
    (plan.folder / "shape.sqlite3").unlink()
    assert "was searched with other settings" in refusal(tmp_path, text_folder, learning_rate=0.02)


def test_an_unusable_storage_gets_one_line_without_the_password(tmp_path: Path, text_folder: Path) -> None:
    for url, says in (
        ("nonsense", "Could not parse"),
        ("mongodb://me:secret@127.0.0.1:1/x", "unknown scheme"),
        ("postgresql://me:sec/ret@127.0.0.1:x/x", ""),
        ("postgresql://me:secret@127.0.0.1:1/x", "refused"),
        ("postgresql://me:s%65cret@127.0.0.1:1/x?password=secret", "refused"),
        ("postgresql://me:secret@nowhere.invalid/x", "nowhere.invalid"),
        (f"sqlite:///{tmp_path}/no/such/folder/shape.sqlite3", "unable to open"),
    ):
        with pytest.raises(InputError) as refused:
            Search(shape_plan(tmp_path, text_folder), storage=url)
        error = str(refused.value)
        assert "storage cannot be opened" in error and "\n" not in error and says in error
        assert not any(secret in error for secret in ("secret", "s%65cret", "sec/ret"))

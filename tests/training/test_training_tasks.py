"""Scores of tasks during a training: by hand, exact under resume, alike on two ranks, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.support.ranks import on_ranks
from tests.support.tiny_runs import assert_equal, assert_same_run, config, fail_in_step, weights

from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tasks import EVALUATION_ITEMS, MADE, expected_tokens
from scaling_laws.data.tokens import TokenCorpus, build_corpus
from scaling_laws.study.records import read_record
from scaling_laws.study.runs import load_study
from scaling_laws.training.datamodule import TokenDataModule
from scaling_laws.training.module import LanguageModel
from scaling_laws.training.run import train_trunk
from scaling_laws.training.task_scores import TaskQuestions
from scaling_laws.training.trained import read_trained

CODE = """def total(values, start):
    result = [start]
    for value in values:
        if value in {1: 2}:
            result.append(compute(value)[0])
            break
    return dict(result=result)

The river bends where the bridge stands, and behind the bridge the river runs wide again.
"""
FILE = "task_scores.csv"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenCorpus]:
    """The same text with questions, and without."""
    folder = tmp_path_factory.mktemp("corpora")
    (folder / "texts").mkdir()
    for number in range(60):
        (folder / "texts" / f"{number}.txt").write_text(
            CODE.replace("total", f"total{number}") * 2, encoding="utf-8"
        )
    return {
        name: build_corpus(
            CorpusConfig(
                name="code",
                source="text",
                paths=(str(folder / "texts"),),
                tokenizer="bytes",
                n_vocab=256,
                test_share=0.2,
                tasks=tasks,
            ),
            folder / name,
        )
        for name, tasks in (("asked", tuple(MADE)), ("plain", ()))
    }


@pytest.fixture(scope="module")
def seen() -> dict[str, int]:
    """Target tokens that were evaluated, by corpus."""
    return {}


@pytest.fixture(scope="module")
def runs(
    corpora: dict[str, TokenCorpus], seen: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run of each corpus, whose evaluated tokens are counted."""
    study = tmp_path_factory.mktemp("logs") / "study"
    original = LanguageModel.token_losses
    for name, corpus in corpora.items():

        def counted(self: LanguageModel, windows: torch.Tensor, name: str = name) -> Any:
            seen[name] = seen.get(name, 0) + windows[:, 1:].numel()
            return original(self, windows)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LanguageModel, "token_losses", counted)
            train_trunk([config(corpus, study / name)])
    return {name: study / name for name in corpora}


def test_scores_are_those_worked_out_by_hand(corpora: dict[str, TokenCorpus], runs: dict[str, Path]) -> None:
    table = pd.read_csv(runs["asked"] / FILE)
    final = table[table["step"] == table["step"].max()].set_index("task")
    trained, items = read_trained(runs["asked"]), corpora["asked"].tasks()
    for task in ("brackets", "agreement"):
        right, of_answers, asked = 0, 0.0, [item for item in items if item.task == task]
        for item in asked:
            scores = []
            for choice in item.choices:
                ids = [255, *item.context.encode(), *choice.encode()][-(trained.n_ctx + 1) :]
                with torch.no_grad():
                    log_p = trained.network(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
                last = range(len(ids) - 1 - len(choice.encode()), len(ids) - 1)
                scores.append(float(sum(log_p[place, ids[place + 1]] for place in last)))
            right += scores.index(max(scores)) == item.answer
            of_answers += scores[item.answer]
        row = final.loc[task]
        assert (row["n_items"], row["n_correct"]) == (len(asked), right)
        assert row["answer_log_p_sum_nats"] == pytest.approx(of_answers, rel=1e-4)
        assert row["chance_sum"] == pytest.approx(sum(1 / len(item.choices) for item in asked))


def test_each_evaluation_has_a_row_a_task(runs: dict[str, Path]) -> None:
    table = pd.read_csv(runs["asked"] / FILE)
    curve = pd.read_csv(runs["asked"] / "curve.csv").dropna(subset=["test_loss_nats"])
    assert table["step"].unique().tolist() == curve["step"].tolist()
    assert (table.groupby("step")["task"].apply(set) == {*MADE}).all()
    early = table[table["step"] < table["step"].max()]
    assert early["n_items"].max() <= EVALUATION_ITEMS < table["n_items"].max()
    assert FILE in read_record(runs["asked"] / "record.json").files
    scores = load_study(runs["asked"].parent).task_scores()
    assert set(scores["run"]) == {"asked"} and set(scores["step"]) == {table["step"].max()}


def test_off_by_default_and_nothing_is_changed_by_measuring(runs: dict[str, Path]) -> None:
    assert not (runs["plain"] / FILE).exists()
    assert_equal(weights(runs["asked"]), weights(runs["plain"]), "weights")


def test_what_it_costs_in_tokens(
    corpora: dict[str, TokenCorpus], runs: dict[str, Path], seen: dict[str, int]
) -> None:
    questions = TaskQuestions(TokenDataModule(corpora["asked"].folder, n_ctx=32))
    n_early = pd.read_csv(runs["asked"] / FILE)["step"].nunique() - 1
    cost = n_early * questions.tokens(final=False) + questions.tokens(final=True)
    assert seen["asked"] - seen["plain"] == cost
    n_choices = [len(task.items[0].choices) for task in questions.tasks]
    assert questions.tokens(final=False) <= 32 * EVALUATION_ITEMS * sum(n_choices)
    for final in (False, True):  # what a plan expects before the items are made
        assert expected_tokens(MADE, 32, 1.0, final=final) == pytest.approx(
            questions.tokens(final=final), rel=0.35
        )


def test_an_interrupted_run_has_the_scores_of_an_undisturbed_one(
    corpora: dict[str, TokenCorpus], runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    fail_in_step(config(corpora["asked"], folder), step=17)
    train_trunk([config(corpora["asked"], folder)])
    assert (folder / FILE).read_bytes() == (runs["asked"] / FILE).read_bytes()
    assert_same_run(folder, runs["asked"])


def test_loggers_have_scores_as_metrics(runs: dict[str, Path]) -> None:
    events = EventAccumulator(str(runs["asked"]))
    events.Reload()
    table = pd.read_csv(runs["asked"] / FILE)
    for task in MADE:
        of_task = table[table["task"] == task]
        points = events.Scalars(f"task_accuracy/{task}")
        assert [point.step for point in points] == of_task["step"].tolist()
        accuracy = of_task["n_correct"] / of_task["n_items"]
        assert [point.value for point in points] == pytest.approx(accuracy.tolist())
        log_p = of_task["answer_log_p_sum_nats"] / of_task["n_items"]
        points = events.Scalars(f"task_answer_log_p_nats/{task}")
        assert [point.value for point in points] == pytest.approx(log_p.tolist())


@pytest.mark.systems
def test_two_ranks_write_what_one_does(corpora: dict[str, TokenCorpus], tmp_path: Path) -> None:
    plans = []
    for devices in (1, 2):
        plan = config(corpora["asked"], tmp_path / str(devices), steps=12)
        plan["model"]["network"]["init_args"]["dropout"] = 0.0
        plan["noise_scale"] = {"every_n_steps": 0}
        plan["trainer"] |= {"devices": devices} | ({"strategy": "ddp"} if devices == 2 else {})
        plans.append(plan)
    train_trunk([plans[0]])
    assert on_ranks(lambda: train_trunk([plans[1]])) == [0, 0]
    one, two = (pd.read_csv(tmp_path / str(devices) / FILE) for devices in (1, 2))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)

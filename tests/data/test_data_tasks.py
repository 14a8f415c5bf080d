"""Questions of a corpus: made of its text, balanced, the same each time; files of one's own; bad ones."""

import json
from collections import Counter

import pytest

from scaling_laws.data.corpus_file import CorpusConfig
from scaling_laws.data.tasks import MADE, TaskItem, build_items, items_text, read_items
from scaling_laws.data.tokens import build_corpus, describe, open_corpus
from scaling_laws.study.errors import InputError

CODE = """def total(values, start):
    result = [start]
    for value in values:
        if value in {1: 2}:
            result.append(compute(value)[0])
            break
        result = result + [value]
    return dict(result=result)
"""
PROSE = "The river bends where the bridge stands, and behind the bridge the river runs wide again. "


@pytest.fixture(scope="module")
def texts():
    return [CODE.replace("total", f"total{number}") + PROSE * 4 for number in range(30)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "texts").mkdir()
    for number, text in enumerate(texts):
        (folder / "texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    own = folder / "own.jsonl"
    own.write_text(json.dumps({"task": "sums", "context": "2 + 2 =", "choices": [" 4", " 5"], "answer": 0}))
    config = CorpusConfig(
        name="asked", source="text", paths=(str(folder / "texts"),), tokenizer="bytes", n_vocab=256,
        test_share=0.3, tasks=(*MADE, str(own)),
    )  # fmt: skip
    return build_corpus(config, folder / "built"), config


@pytest.mark.parametrize("task", MADE)
def test_items_have_a_right_answer_that_guessing_finds_by_chance(texts, task):
    items = build_items([task], texts, seed=0)
    assert len(items) >= 8 and items == build_items([task], texts, seed=0)
    assert items != build_items([task], texts, seed=1)
    assert all(len(set(item.choices)) == len(item.choices) > item.answer >= 0 for item in items)
    if task in ("brackets", "agreement"):  # as many of each kind, so that a favourite gains nothing
        answers = Counter(item.choices[item.answer] for item in items)
        assert max(answers.values()) - min(answers.values()) <= 1 and len(answers) > 1


def test_answers_are_what_the_text_has(texts):
    whole = "\n".join(texts)
    for item in build_items(["last_word", "brackets", "indentation"], texts, seed=0):
        assert item.context + item.choices[item.answer] in whole
    for item in build_items(["copying"], texts, seed=0):
        words = item.context.split()
        assert words[words.index(words[-1]) + 1] == item.choices[item.answer].strip()
    for item in build_items(["agreement"], texts, seed=0):
        noun = item.context.split()[1]
        assert (item.choices[item.answer] == " are") == noun.endswith("s")


def test_indentation_is_deeper_the_same_and_less(texts):
    kinds = Counter()
    for item in build_items(["indentation"], texts, seed=0):
        before = item.context.splitlines()[-1]
        after = item.choices[item.answer][1:]
        kinds[(len(after) - len(after.lstrip())) - (len(before) - len(before.lstrip()))] += 1
    assert set(kinds) == {-4, 0, 4} and max(kinds.values()) - min(kinds.values()) <= 1


def test_a_corpus_keeps_them_and_one_without_is_as_before(corpus, tmp_path):
    built, config = corpus
    assert {item.task for item in built.tasks()} == {*MADE, "sums"}
    assert "tasks: last_word" in describe(built) and "tasks.jsonl" in built.manifest["files"]
    assert "tasks" not in CorpusConfig(name="a", source="embedded", n_vocab=300).decisive()
    again = build_corpus(config, built.folder)
    assert again.manifest_hash == built.manifest_hash
    (built.folder / "tasks.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"tasks\.jsonl: damaged"):
        open_corpus(built.folder)


def test_a_file_is_read_as_it_was_written(tmp_path):
    items = [TaskItem(task="mine", context="Ä b", choices=(" c", " d"), answer=1)]
    (tmp_path / "tasks.jsonl").write_text(items_text(items), encoding="utf-8")
    assert read_items(tmp_path / "tasks.jsonl") == items


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "line 1: is not an item"),
        ('{"task": "a"}', "line 1: is not an item"),
        ('{"task": "a b", "context": "", "choices": ["x", "y"], "answer": 0}', "cannot name a task"),
        ('{"task": "a", "context": "", "choices": ["x", "x"], "answer": 0}', "two or more that differ"),
        ('{"task": "a", "context": "", "choices": ["x", "y"], "answer": 2}', "answer: is 2"),
        ('{"task": "a", "context": 3, "choices": ["x", "y"], "answer": 0}', "context: Expected"),
        ("", "holds no item"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, line, said):
    (tmp_path / "mine.jsonl").write_text(line)
    with pytest.raises(InputError, match=said):
        read_items(tmp_path / "mine.jsonl")


def test_unknown_tasks_and_texts_without_any(texts):
    with pytest.raises(InputError, match="there is no 'sums'; give last_word"):
        CorpusConfig(name="a", source="embedded", n_vocab=300, tasks=("sums",))
    with pytest.raises(InputError, match="tasks: brackets: the test split has no text for it"):
        build_items(["brackets"], ["no bracket at all"], seed=0)

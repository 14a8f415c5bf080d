"""Questions with several answers, made of a corpus's test text or read from a file: `tasks.jsonl`.

One line an item: {"task": ..., "context": ..., "choices": [...], "answer": index of the right one}. A network
answers by likelihood: the choice that is likeliest after the context (`training/task_scores.py`).

    last_word    which of four words of a passage ends it (LAMBADA's form, Paperno et al. 2016)
    brackets     which bracket closes here: as many of each kind as the text has
    indentation  whether the next line is indented further, as far, or less; as many of each
    copying      which of four words follows, in a list of words that begins again
    agreement    is or are, after a noun that is not the last word ("The keys near the door")

The first three are passages of the test split, copying is words of it in random order, and agreement is
English sentences of a template: they are the same in every corpus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling_laws.study.artefacts import typed
from scaling_laws.study.errors import InputError

TASKS_FILE = "tasks.jsonl"
ITEMS = 100
"""Of a task that is made here, at most."""
EVALUATION_ITEMS = 16
"""Of each task at an evaluation within the training; all of them after the last step."""
SIZES = {
    "last_word": (4, 250),
    "brackets": (3, 240),
    "indentation": (3, 270),
    "copying": (4, 90),
    "agreement": (2, 35),
}
"""Of each task that is made here: choices of an item, and characters of a long one with its choice."""
ITEMS_A_DOCUMENT = 40
CONTEXT_CHARACTERS = 240
N_WORDS = 4
"""Choices of last_word and of copying."""
BRACKETS = {"(": ")", "[": "]", "{": "}"}
STEP = 4
"""Columns of one indentation."""
LISTED = 8
"""Words of a list that begins again."""
NOUNS = (
    *("key", "door", "author", "book", "teacher", "picture", "engine", "wheel", "friend", "letter"),
    *("farmer", "field", "doctor", "report", "machine", "cable", "player", "game", "river", "bridge"),
)
BETWEEN = ("near", "behind", "beside", "with", "above")


@dataclass(frozen=True, kw_only=True)
class TaskItem:
    """One question.

    Attributes:
        task: its name.
        context, choices: texts; a choice goes on where the context ends.
        answer: which choice is right, from 0.
    """

    task: str
    context: str
    choices: tuple[str, ...]
    answer: int


def is_own_file(task: str) -> bool:
    """Whether an entry of `tasks` names a file of the user's."""
    return task.endswith(".jsonl")


def build_items(tasks: Sequence[str], texts: Sequence[str], seed: int) -> list[TaskItem]:
    """Items of each task, in the order of `tasks`; the same texts and seed give the same.

    Args:
        tasks: names of `MADE`, or files of one's own.
        texts: documents of the test split.

    Raises:
        InputError: a file is damaged, or the texts hold nothing for a task.
    """
    items: list[TaskItem] = []
    for task in tasks:
        if is_own_file(task):
            items += read_items(Path(task))
            continue
        random = np.random.default_rng([seed, *task.encode()])
        made = _balanced(MADE[task](texts, random))
        if len({item.answer for item in made}) < 2:
            raise InputError(
                f"tasks: {task}: the test split has no text for it ({len(texts):,} documents); leave it out"
            )
        items += made
    return items


def expected_tokens(tasks: Sequence[str], n_ctx: int, characters_a_token: float, *, final: bool) -> float:
    """Target tokens that one evaluation sends through the network, padding included, before items are made.

    Args:
        tasks: as for `build_items`.

    Raises:
        InputError: a file of the user's is damaged or missing.
    """
    sizes = [(ITEMS, ITEMS * SIZES[task][0], SIZES[task][1]) for task in tasks if not is_own_file(task)]
    for task in filter(is_own_file, tasks):
        by_name: dict[str, list[TaskItem]] = {}
        for item in read_items(Path(task)):
            by_name.setdefault(item.task, []).append(item)
        for items in by_name.values():
            longest = max(len(item.context) + max(map(len, item.choices)) for item in items)
            sizes.append((len(items), sum(len(item.choices) for item in items), longest))
    return sum(
        (1.0 if final else min(1.0, EVALUATION_ITEMS / n_items))
        * n_rows
        * min(n_ctx, longest / characters_a_token)
        for n_items, n_rows, longest in sizes
    )


def items_text(items: Sequence[TaskItem]) -> str:
    """The file's text."""
    return "".join(
        json.dumps(
            {"task": item.task, "context": item.context, "choices": item.choices, "answer": item.answer}
        )
        + "\n"
        for item in items
    )


def read_items(path: Path) -> list[TaskItem]:
    """The items of a file.

    Raises:
        InputError: it is missing or empty, or a line is no item; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tasks: {path}: cannot be read ({error})") from None
    items = [_item(path, place, line) for place, line in enumerate(lines, start=1) if line.strip()]
    if not items:
        raise InputError(f"tasks: {path}: holds no item")
    return items


def _item(path: Path, place: int, line: str) -> TaskItem:
    example = '{"task": "mine", "context": "2 + 2 =", "choices": [" 4", " 5"], "answer": 0}'
    where = f"{path}, line {place}"
    try:
        plain: Any = json.loads(line)
    except ValueError:
        plain = None
    if not isinstance(plain, dict) or plain.keys() != {"task", "context", "choices", "answer"}:
        raise InputError(f"{where}: is not an item; one is {example}")
    item = typed(plain, TaskItem, where, remedy=f"an item is {example}")
    if not re.fullmatch(r"\w[\w-]*", item.task, re.ASCII):
        raise InputError(f"{where}: task: {item.task!r} cannot name a task; use letters, digits, '_' and '-'")
    if len(item.choices) < 2 or "" in item.choices or len(set(item.choices)) < len(item.choices):
        raise InputError(f"{where}: choices: give two or more that differ, none of them empty")
    if not 0 <= item.answer < len(item.choices):
        raise InputError(f"{where}: answer: is {item.answer}; give the place of a choice, from 0")
    return item


# --- each task: (texts, random) -> (kind, item), any number of them; kinds become equally many -----------

Made = Iterator[tuple[str, TaskItem]]


def _balanced(made: Made) -> list[TaskItem]:
    """`ITEMS` at most, as many of each kind, kinds by turns: a first part of them is balanced, too."""
    kinds: dict[str, list[TaskItem]] = {}
    for kind, item in made:
        kinds.setdefault(kind, []).append(item)
    n_each = min((min(map(len, kinds.values())), -(-ITEMS // len(kinds)))) if kinds else 0
    turns = [items[place] for place in range(n_each) for _, items in sorted(kinds.items())]
    return turns[:ITEMS]


def _shuffled(
    task: str, context: str, right: str, others: Sequence[str], random: np.random.Generator
) -> TaskItem:
    choices = [right, *others]
    order = random.permutation(len(choices))
    return TaskItem(
        task=task,
        context=context,
        choices=tuple(choices[place] for place in order),
        answer=int(np.flatnonzero(order == 0)[0]),
    )


def _cut(text: str, end: int) -> str:
    """The context that ends before `end`, from the beginning of a word or line."""
    start = max(0, end - CONTEXT_CHARACTERS)
    if start and (blank := re.search(r"\s", text[start:end])):
        start += blank.end()
    return text[start:end]


def _last_word(texts: Sequence[str], random: np.random.Generator) -> Made:
    """The word stands in the context already, as the other choices do."""
    for text in texts:
        words = list(re.finditer(r"(?<= )[A-Za-z]{4,}\b", text))
        for place in random.permutation(len(words))[:ITEMS_A_DOCUMENT]:
            word = words[place]
            context = _cut(text, word.start() - 1)
            seen = sorted(set(re.findall(r"\b[A-Za-z]{4,}\b", context)))
            others = [each for each in seen if each != word.group()]
            if word.group() in seen and len(others) >= N_WORDS - 1:
                chosen = random.choice(others, N_WORDS - 1, replace=False)
                wrong = [f" {each}" for each in chosen]
                yield "word", _shuffled("last_word", context, f" {word.group()}", wrong, random)


def _brackets(texts: Sequence[str], random: np.random.Generator) -> Made:
    opens = {closing: opening for opening, closing in BRACKETS.items()}
    for text in texts:
        stack: list[str] = []
        places = []
        for found in re.finditer(r"[()\[\]{}]", text):
            bracket = found.group()
            if bracket in BRACKETS:
                stack.append(bracket)
            elif stack and stack[-1] == opens[bracket]:
                stack.pop()
                places.append(found.start())
            else:
                stack = []  # quoted, or prose: what stood before says nothing
        for place in random.permutation(np.array(places, dtype=int))[:ITEMS_A_DOCUMENT]:
            context, right = _cut(text, int(place)), text[place]
            if opens[right] in context:
                wrong = [bracket for bracket in opens if bracket != right]
                yield right, _shuffled("brackets", context, right, wrong, random)


def _indentation(texts: Sequence[str], random: np.random.Generator) -> Made:
    """The same first word after three depths."""
    for text in texts:
        lines = list(re.finditer(r"^( *)(\w+)[^\n]*$", text, re.MULTILINE))
        places = random.permutation(np.arange(1, max(len(lines), 1)))[:ITEMS_A_DOCUMENT]
        for place in places:
            before, line = lines[place - 1], lines[place]
            depth, after = len(before.group(1)), len(line.group(1))
            kind = {STEP: "deeper", 0: "same", -STEP: "less"}.get(after - depth)
            if before.end() + 1 != line.start() or depth < STEP or kind is None:
                continue
            answers = {each: f"\n{' ' * each}{line.group(2)}" for each in (depth - STEP, depth, depth + STEP)}
            right = answers.pop(after)
            context = _cut(text, before.end())
            yield kind, _shuffled("indentation", context, right, list(answers.values()), random)


def _copying(texts: Sequence[str], random: np.random.Generator) -> Made:
    words = sorted({word for text in texts for word in re.findall(r"\b[a-z]{3,8}\b", text)})
    for _ in range(ITEMS if len(words) >= LISTED else 0):
        listed = [str(each) for each in random.choice(words, LISTED, replace=False)]
        place = int(random.integers(2, LISTED))
        context = " ".join([*listed, *listed[:place]])
        others = [f" {each}" for each in listed if each != listed[place]]
        wrong = [str(each) for each in random.choice(others, N_WORDS - 1, replace=False)]
        yield "list", _shuffled("copying", context, f" {listed[place]}", wrong, random)


def _agreement(texts: Sequence[str], random: np.random.Generator) -> Made:
    """The noun between is of the other number."""
    for number in range(2 * ITEMS):
        subject, other = (str(each) for each in random.choice(NOUNS, 2, replace=False))
        plural = number % 2 == 1
        first, second = (subject + "s", other) if plural else (subject, other + "s")
        right, wrong = (" are", " is") if plural else (" is", " are")
        context = f"The {first} {random.choice(BETWEEN)} the {second}"
        yield right, _shuffled("agreement", context, right, [wrong], random)


MADE: Mapping[str, Callable[[Sequence[str], np.random.Generator], Made]] = {
    "last_word": _last_word,
    "brackets": _brackets,
    "indentation": _indentation,
    "copying": _copying,
    "agreement": _agreement,
}

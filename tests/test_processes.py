"""Processes that share out a computation."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from scaling_laws.study.errors import InputError
from scaling_laws.study.processes import clean_pool, n_cores


def test_each_begins_as_it_was_told_and_answers(tmp_path: Path) -> None:
    with clean_pool(2, os.chdir, tmp_path) as pool:
        folders = [pool.submit(os.getcwd) for _ in range(5)]
        assert {Path(folder.result()) for folder in folders} == {tmp_path}
        numbers = [pool.submit(partial(divmod, number, 2)) for number in range(5)]
        assert [number.result() for number in numbers] == [divmod(number, 2) for number in range(5)]
    assert n_cores() >= 1


def test_a_killed_process_is_one_line() -> None:
    with pytest.raises(InputError, match="was killed, perhaps for its memory"), clean_pool(1) as pool:
        pool.submit(os._exit, 1).result()

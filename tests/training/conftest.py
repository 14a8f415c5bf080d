"""Runs that several files compare theirs with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.tiny_runs import FAMILIES, config

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.training.run import train_trunk


@pytest.fixture(scope="session", autouse=True)
def early_evaluations() -> Iterator[None]:
    """Evaluations after steps 4, 8 and 16 of the tiny runs, too: rows by position before the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling_laws.study.schedule.FIRST_EVALUATION_TOKENS", 512)
        yield


@pytest.fixture(scope="session")
def undisturbed(
    early_evaluations: None, byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A run of each family from the start to its end."""
    folders = {}
    for family in FAMILIES:
        folders[family] = tmp_path_factory.mktemp(family) / "whole"
        train_trunk([config(byte_corpus, folders[family], family)])
    return folders

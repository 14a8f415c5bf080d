"""Runs that several files compare theirs with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import FAMILIES, config

from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.training.run import train_trunk


@pytest.fixture(scope="session")
def undisturbed(byte_corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each family from the start to its end."""
    folders = {}
    for family in FAMILIES:
        folders[family] = tmp_path_factory.mktemp(family) / "whole"
        train_trunk([config(byte_corpus, folders[family], family)])
    return folders

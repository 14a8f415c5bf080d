"""Synthetic studies, fitted once, for all tests of the reports."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.fitted_studies import FittedStudy, fitted_paper, fitted_study


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> FittedStudy:
    """Both families, all sizes and horizons, one diverged run."""
    return fitted_study(tmp_path_factory.mktemp("reports") / "synthetic")


@pytest.fixture(scope="session")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> FittedStudy:
    """One transformer and nothing that a law needs."""
    folder = tmp_path_factory.mktemp("reports") / "one_run"
    return fitted_study(
        folder, families=("transformer",), max_sizes=1, horizons=(1e6,), seeds_of_small_sizes=1, diverged=0
    )


@pytest.fixture(scope="session")
def fitted() -> Callable[..., FittedStudy]:
    """Write a synthetic study with given options into a folder, read it back, fit it with few resamples."""
    return fitted_study


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """Every run of `configs/papers/kaplan2020.yaml`, losses by the paper's laws."""
    return fitted_paper("kaplan", tmp_path_factory.mktemp("paper") / "paper", pytestconfig)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> FittedStudy:
    """The same runs in a world in which nothing scales; to save time, the laws of two families."""
    folder = tmp_path_factory.mktemp("flat") / "flat"
    return fitted_paper("flat", folder, pytestconfig, ("transformer", "lstm"))

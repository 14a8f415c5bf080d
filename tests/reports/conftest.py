"""The page of one run, drawn once."""

from __future__ import annotations

import pytest
from tests.support.fitted_studies import FittedStudy

from scaling_laws.report.content import Content, content_of


@pytest.fixture(scope="session")
def content(one_run: FittedStudy) -> Content:
    return content_of(one_run.study, one_run.laws)

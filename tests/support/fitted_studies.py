"""Synthetic studies with their laws."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.synthetic_study import write_synthetic_study

from scaling_laws.laws.results.study import fit_study
from scaling_laws.laws.results.types import Laws
from scaling_laws.report.study_tables import StudyTables
from scaling_laws.study.runs import Study, load_study

ROOT = Path(__file__).parents[2]


class FittedStudy(NamedTuple):
    study: Study
    laws: Laws
    tables: StudyTables


def fitted_study(folder: Path, **options: Any) -> FittedStudy:
    study = load_study(write_synthetic_study(folder, **options))
    laws = fit_study(study.name, study.runs, study.positions(), study.left_out, resamples=40)
    return FittedStudy(study, laws, StudyTables.read(study, laws))


def fitted_paper(
    law: str, folder: Path, config: pytest.Config, families: tuple[str, ...] = ()
) -> FittedStudy:
    """The study, with laws that pytest's cache keeps for as long as what they follow from is the same."""
    from tests.support.synthetic_paper import write_synthetic_paper  # plans, as training does

    with pytest.MonkeyPatch.context() as patch:
        # The tests of training evaluate earlier, and a worker of pytest-xdist may have had some of them.
        patch.setattr("scaling_laws.study.schedule.FIRST_EVALUATION_TOKENS", 2**15)
        study = load_study(write_synthetic_paper(folder, law=law))
    key = f"scaling_laws/{law}-{_fingerprint()}"
    kept = None if config.cache is None else config.cache.get(key, None)
    if kept is None:
        runs = study.runs
        of_laws = runs[runs["family"].isin(families)] if families else runs
        laws = fit_study(study.name, of_laws, study.positions(), study.left_out, study.curves(), resamples=20)
        kept = json.dumps(laws.to_json())
        if config.cache is not None:
            config.cache.set(key, kept)
    laws = Laws.from_json(json.loads(kept), study.name)
    return FittedStudy(study, laws, StudyTables.read(study, laws))


PLANNING = ["run_specs", "experiments", "learning_rates", "networks", "reading", "reference", "sweep_file"]


def _fingerprint() -> str:
    """Of all that decides the laws of a synthetic paper."""
    package = ROOT / "src/scaling_laws"
    sources = [
        *sorted(package.glob("laws/**/*.py")),
        *sorted(package.glob("models/*.py")),
        *(package / f"sweeps/plan/{name}.py" for name in PLANNING),
        package / "study/runs.py",
        package / "study/schedule.py",
        ROOT / "examples/modern_decoder.py",
        ROOT / "tests/support/synthetic_paper.py",
        ROOT / "tests/support/paper_truth.py",
        *sorted(ROOT.glob("configs/[sp]*/*.yaml")),
    ]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]

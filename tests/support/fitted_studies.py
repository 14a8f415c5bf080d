"""Synthetic studies with their laws."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable
from functools import cache
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


def fitted_study(folder: Path, config: pytest.Config, **options: Any) -> FittedStudy:
    study = load_study(write_synthetic_study(folder, **options))
    laws = _kept_laws(
        f"synthetic-{hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:16]}",
        config,
        study.name,
        lambda: fit_study(study.name, study.runs, study.positions(), study.left_out, resamples=40),
    )
    return FittedStudy(study, laws, StudyTables.read(study, laws))


def fitted_paper(
    law: str, folder: Path, config: pytest.Config, families: tuple[str, ...] = ()
) -> FittedStudy:
    from tests.support.synthetic_paper import write_synthetic_paper  # plans, as training does

    with pytest.MonkeyPatch.context() as patch:
        # The tests of training evaluate earlier, and a worker of pytest-xdist may have had some of them.
        patch.setattr("scaling_laws.study.schedule.FIRST_EVALUATION_TOKENS", 2**15)
        study = load_study(write_synthetic_paper(folder, law=law))

    def fit() -> Laws:
        runs = study.runs
        of_laws = runs[runs["family"].isin(families)] if families else runs
        with pytest.MonkeyPatch.context() as patch:
            # Half the time goes into roll-outs; no figure or claim of the paper reads those along D and C.
            patch.setattr("scaling_laws.laws.results.study.AXES", ("N",))
            return fit_study(
                study.name, of_laws, study.positions(), study.left_out, study.curves(), resamples=20
            )

    laws = _kept_laws(law, config, study.name, fit)
    return FittedStudy(study, laws, StudyTables.read(study, laws))


def _kept_laws(name: str, config: pytest.Config, study: str, fit: Callable[[], Laws]) -> Laws:
    """Laws that pytest's cache keeps for as long as what they follow from is the same.

    Of several workers one fits and the others wait for it. With `-p no:cacheprovider` nothing is kept.
    """
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None:
        return Laws.from_json(json.loads(json.dumps(fit().to_json())), study)
    key = f"scaling_laws/{name}-{_fingerprint()}"
    with open(cache.mkdir("scaling_laws") / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = cache.get(key, None)
        if kept is None:
            kept = json.dumps(fit().to_json())
            cache.set(key, kept)
    return Laws.from_json(json.loads(kept), study)


PLANNING = ["run_specs", "experiments", "learning_rates", "networks", "reading", "reference", "sweep_file"]


@cache
def _fingerprint() -> str:
    """Of all that decides the laws of a synthetic study or paper."""
    package = ROOT / "src/scaling_laws"
    sources = [
        *sorted(package.glob("laws/**/*.py")),
        *sorted(package.glob("models/*.py")),
        *(package / f"sweeps/plan/{name}.py" for name in PLANNING),
        *sorted(package.glob("study/*.py")),
        ROOT / "examples/modern_decoder.py",
        ROOT / "tests/support/synthetic_paper.py",
        ROOT / "tests/support/synthetic_study.py",
        Path(__file__),
        ROOT / "tests/support/paper_truth.py",
        *sorted(ROOT.glob("configs/[sp]*/*.yaml")),
    ]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]

"""Our own studies as tables of runs: a study's folder, or what `report --export` made of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scaling_laws.study.records import FAILURE_FILE, PLAN_FILE, QUESTION_FILE
from scaling_laws.study.runs import is_export, load_study

if TYPE_CHECKING:
    import pandas as pd

SIGNS = (PLAN_FILE, QUESTION_FILE, "record.json", "*/record.json", f"*/{FAILURE_FILE}")


class StudyReader:
    """Reads `Study.runs`; whoever wants its curves as well calls `load_study`."""

    def recognises(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        return is_export(path) or any(next(path.glob(sign), None) is not None for sign in SIGNS)

    def read(self, path: Path) -> pd.DataFrame:
        study = load_study(path)
        runs = study.runs.copy()
        left_out = zip(study.left_out["run"], study.left_out["reason"], strict=True)
        runs.attrs = {"left_out": tuple((str(run), str(reason)) for run, reason in left_out)}
        return runs

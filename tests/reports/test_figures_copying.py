"""When networks learn to copy: a figure of a world in which larger networks do, from some tokens on."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.by_hand import study_of
from tests.support.drawn import prepared, said, shown

from scaling_laws.laws.forms.joint import KaplanND
from scaling_laws.laws.token_classes import class_losses
from scaling_laws.report.export import pooled_classes
from scaling_laws.report.figures.copying import NEEDS_CLASSES, copying
from scaling_laws.study.runs import EXPORTED_CLASSES

NOVEL = KaplanND(alpha_N=0.08, alpha_D=0.2, N_c=2e10, D_c=6e8)
SIZES, HORIZONS, STEPS = np.geomspace(1e4, 4e5, 5), np.geomspace(5e5, 8e6, 4), 64


def tables(copies_from: float) -> Any:
    """20 runs; those of N D above `copies_from` copy: they lose 1.5 nats less on repeated trigrams."""
    runs, classes = [], []
    for N in SIZES:
        for D in HORIZONS:
            run = f"{N:.0f}-{D:.0f}"
            for step in (STEPS // 2, STEPS):
                tokens = D * step / STEPS
                novel = float(NOVEL.loss(N, tokens))
                trigram = novel - (1.5 if N * tokens > copies_from else 0.3)
                for fold in range(2):
                    for name, loss, count in (("novel", novel, 540), ("trigram", trigram, 100 + fold)):
                        classes.append([run, step, "test", fold, name, loss * count, count])
            loss = (540 * novel + 100 * trigram) / 640
            runs.append({"run": run, "trunk": run, "N": N, "D": D, "steps": STEPS, "loss": loss})
    columns = ["run", "step", "corpus", "fold", "token_class", "loss_sum_nats", "count"]
    table = pd.DataFrame(classes, columns=columns)
    study = SimpleNamespace(token_classes=lambda final_only: table)
    of_family = pd.DataFrame(runs)
    return SimpleNamespace(
        main_family="transformer", of=lambda family: of_family, study=study, counted_here=True
    )


LAWS = SimpleNamespace(conventions=SimpleNamespace(N="N", C="C"))


def test_runs_on_both_sides_of_the_transition_are_said_to_be() -> None:
    data = prepared(copying, tables(2e11), LAWS)
    expected = {f"{N:.0f}-{D:.0f}": N * D > 2e11 for N in SIZES for D in HORIZONS}
    assert dict(zip(data.runs["run"], data.runs["copies"], strict=True)) == expected
    assert data.of_novel.law.alpha_N == pytest.approx(NOVEL.alpha_N, rel=0.02)
    assert data.of_all.law.alpha_N > 1.05 * NOVEL.alpha_N  # copying looks like size
    text = said(copying, tables(2e11), LAWS)
    assert f"{sum(expected.values())} of 20 runs" in text and "both sides of that transition" in text
    assert len(shown(copying, tables(2e11), LAWS).axes) >= 2


def test_where_nobody_copies_there_is_no_transition() -> None:
    text = said(copying, tables(1e99), LAWS)
    assert text.startswith("0 of 20 runs") and "both sides" not in text


def test_studies_of_before_say_what_they_lack() -> None:
    before = tables(1e99)
    before.study = SimpleNamespace(token_classes=lambda final_only: pd.DataFrame(columns=["run", "corpus"]))
    assert prepared(copying, before, LAWS) == NEEDS_CLASSES
    assert class_losses(pd.DataFrame()).empty


def test_an_export_keeps_the_losses_by_class(tmp_path: Path) -> None:
    rows = [
        (run, step, corpus, fold, name, 2.5 * (fold + 1), 10)
        for run in ("a", "b")
        for step in (10, 20)
        for corpus in ("test", "val")
        for fold in (0, 1)
        for name in ("novel", "trigram")
    ]
    columns = ["run", "step", "corpus", "fold", "token_class", "loss_sum_nats", "count"]
    text = pooled_classes(pd.DataFrame(rows, columns=columns))
    (tmp_path / EXPORTED_CLASSES).write_bytes(gzip.compress(text.encode()))
    study = replace(study_of([{"run": "a"}, {"run": "b"}], folder=tmp_path), exported=True)
    read = study.token_classes(final_only=False)
    assert set(read["step"]) == {10, 20} and set(read.loc[read["step"] == 10, "corpus"]) == {"test"}
    assert set(study.token_classes()["step"]) == {20}
    means = class_losses(study.token_classes())
    assert means["novel"].tolist() == pytest.approx([0.375, 0.375])
    assert pooled_classes(pd.DataFrame(columns=columns)) == ""

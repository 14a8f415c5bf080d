"""What results/ holds of a study is what the laws say of its runs today."""

from pathlib import Path

import pytest

from scaling_laws.laws.allocation.frontier import envelope, size_curves
from scaling_laws.laws.fit import DEFAULT_DELTA
from scaling_laws.laws.forms.joint import ChinchillaGamma, Droppo
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import Broken
from scaling_laws.laws.results.family import fits_of_runs
from scaling_laws.laws.results.types import read_laws
from scaling_laws.laws.selection import usable_runs
from scaling_laws.report.tables import headline
from scaling_laws.study.runs import load_study

SLOW = (ChinchillaGamma, Muennighoff, Broken, Droppo)


@pytest.mark.parametrize("name", ["cpu", "quick"])
def test_recorded_laws_are_those_of_the_recorded_runs(name):
    folder = Path("results") / name
    laws, n_compared = read_laws(folder / "laws.json"), 0
    usable, _ = usable_runs(load_study(folder).runs)
    for family, runs in usable.groupby("family"):
        points = envelope(size_curves(runs))
        for fit, _ in fits_of_runs(runs, points, delta=DEFAULT_DELTA, skip=SLOW):
            kept = laws.of(family).fit(fit.form.form)
            if kept is None or not kept.identified:
                continue
            assert fit.objective == pytest.approx(kept.objective, rel=1e-6), (family, kept.form)
            assert vars(fit.law) == pytest.approx(dict(kept.parameters), rel=1e-4), (family, kept.form)
            n_compared += 1
    assert n_compared >= 8
    assert (folder / "headline.md").read_text(encoding="utf-8") == headline(laws).markdown() + "\n"

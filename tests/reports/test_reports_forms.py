"""Whichever law of N and D is the one to believe, the report can draw it and say it."""

import pytest
from tests.support.drawn import said, shown

from scaling_laws.laws.forms.catalogue import FITTED_JOINT_FORMS
from scaling_laws.laws.plan.choice import best_joint_fit
from scaling_laws.laws.results.types import Laws
from scaling_laws.report import findings
from scaling_laws.report.figures import compared_families, three_approaches
from scaling_laws.report.formulas import form_name

OTHERS = {form.form for form in FITTED_JOINT_FORMS} - {"kaplan_nd", "chinchilla"}


@pytest.mark.parametrize("form", sorted(OTHERS))
def test_another_form_is_drawn_and_said(synthetic, form):
    changed = synthetic.laws.to_json()
    for fit in changed["fits"]:
        if "a_opt" in fit["derived"] or fit["form"] in OTHERS:
            fit["identified"] = fit["form"] == form
    laws = Laws.from_json(changed, "changed")
    believed, _ = best_joint_fit(laws.of("transformer"))
    assert believed.form == form
    for figure in (three_approaches.three_approaches, compared_families.compared_families):
        shown(figure, synthetic.tables, laws)
        assert said(figure, synthetic.tables, laws)
    answer = findings.answer(synthetic.tables, laws)[0]
    assert f"By {form_name(form)}, " in answer

"""Every law by its name in `laws.json` and on the command line: all that the modules below declare."""

from __future__ import annotations

from typing import Any

from scaling_laws.laws.forms import joint, repeated, single, steps
from scaling_laws.laws.forms.joint import JointLaw, PowerMean
from scaling_laws.laws.forms.terms import Law

FORMS: dict[str, type[Any]] = {
    law.form: law
    for module in (single, joint, repeated, steps)
    for law in vars(module).values()
    if isinstance(law, type)
    and issubclass(law, Law)
    and hasattr(law, "form")
    and law.__module__ == module.__name__
}
JOINT_FORMS: tuple[type[JointLaw], ...] = tuple(law for law in FORMS.values() if issubclass(law, JointLaw))
"""Laws of N and D."""
FITTED_JOINT_FORMS = tuple(form for form in JOINT_FORMS if form is not PowerMean)
"""Those that an analysis fits: the power mean is Droppo's law in other words, and predicts the same."""
FORMS_OF_ONE_VARIABLE: dict[str, tuple[type[Any], ...]] = {
    variable: tuple(law for law in FORMS.values() if law.variables == (variable,))
    for variable in ("N", "D", "C")
}

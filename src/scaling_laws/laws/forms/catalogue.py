"""Every law by its name in `laws.json` and on the command line."""

from __future__ import annotations

from typing import Any

from scaling_laws.laws.forms.joint import (
    Chinchilla,
    ChinchillaGamma,
    ChinchillaTied,
    Droppo,
    KaplanND,
    PowerMean,
)
from scaling_laws.laws.forms.repeated import Muennighoff
from scaling_laws.laws.forms.single import (
    BrokenC,
    BrokenD,
    BrokenN,
    KaplanC,
    KaplanCMin,
    KaplanD,
    KaplanN,
    LogC,
    LogD,
    LogN,
    Position,
    PowerC,
    PowerCMin,
    PowerD,
    PowerN,
)
from scaling_laws.laws.forms.steps import CriticalBatch, KaplanNS, TimeData

FORMS_OF_N = (KaplanN, PowerN, LogN, BrokenN)
FORMS_OF_D = (KaplanD, PowerD, LogD, BrokenD)
FORMS_OF_C = (KaplanC, PowerC, LogC, BrokenC)
FORMS_OF_C_MIN = (KaplanCMin, PowerCMin)
JOINT_FORMS = (KaplanND, Chinchilla, ChinchillaTied, ChinchillaGamma, Droppo, PowerMean)
FITTED_JOINT_FORMS = tuple(form for form in JOINT_FORMS if form is not PowerMean)
"""Those that an analysis fits: the power mean is Droppo's law in other words, and predicts the same."""
FORMS_OF_ONE_VARIABLE: dict[str, tuple[type[Any], ...]] = {"N": FORMS_OF_N, "D": FORMS_OF_D, "C": FORMS_OF_C}
TIME_FORMS = (TimeData, CriticalBatch, KaplanNS)

FORMS: dict[str, type[Any]] = {
    law.form: law
    for law in (
        *FORMS_OF_N,
        *FORMS_OF_D,
        *FORMS_OF_C,
        *FORMS_OF_C_MIN,
        *JOINT_FORMS,
        Muennighoff,
        *TIME_FORMS,
        Position,
    )
}

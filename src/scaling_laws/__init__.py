"""Measure how language models scale, and decide what to train next.

    import scaling_laws as sl

    runs = sl.read_runs("runs.csv", N="params", D="tokens", loss="val/loss")
    fit = sl.fit(runs, "chinchilla")
    print(fit.summary())
    print(fit.plan(compute="1e22 FLOPs"))
    sl.analyse(runs).report("page.html")

A name is imported when it is first used: the import takes no time, and nothing here needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling_laws.api.analysis import Analysis, analyse, load_study, plot_isoflops
    from scaling_laws.api.column_comparison import ColumnComparison, compare, shared_floor
    from scaling_laws.api.one_law import LawFit, fit, plot_fit, read_runs
    from scaling_laws.api.planned import plan, plan_rounds
    from scaling_laws.api.schedule_laws import ScheduleFit, fit_schedule
    from scaling_laws.laws.forms.formula_law import FormulaLaw
    from scaling_laws.laws.forms.joint import JointLaw
    from scaling_laws.laws.forms.terms import SumOfPowers, Term
    from scaling_laws.laws.plan.simulated import Power, power, simulate
    from scaling_laws.study.errors import InputError
    from scaling_laws.sweeps.plan.power import SweepPower, sweep_power

__version__ = "0.2.0"
_OWNERS = {
    "Analysis": "scaling_laws.api.analysis",
    "ColumnComparison": "scaling_laws.api.column_comparison",
    "FormulaLaw": "scaling_laws.laws.forms.formula_law",
    "InputError": "scaling_laws.study.errors",
    "JointLaw": "scaling_laws.laws.forms.joint",
    "LawFit": "scaling_laws.api.one_law",
    "Power": "scaling_laws.laws.plan.simulated",
    "ScheduleFit": "scaling_laws.api.schedule_laws",
    "SumOfPowers": "scaling_laws.laws.forms.terms",
    "SweepPower": "scaling_laws.sweeps.plan.power",
    "Term": "scaling_laws.laws.forms.terms",
    "analyse": "scaling_laws.api.analysis",
    "compare": "scaling_laws.api.column_comparison",
    "fit": "scaling_laws.api.one_law",
    "fit_schedule": "scaling_laws.api.schedule_laws",
    "load_study": "scaling_laws.api.analysis",
    "plan": "scaling_laws.api.planned",
    "plan_rounds": "scaling_laws.api.planned",
    "plot_fit": "scaling_laws.api.one_law",
    "plot_isoflops": "scaling_laws.api.analysis",
    "power": "scaling_laws.laws.plan.simulated",
    "read_runs": "scaling_laws.api.one_law",
    "shared_floor": "scaling_laws.api.column_comparison",
    "simulate": "scaling_laws.laws.plan.simulated",
    "sweep_power": "scaling_laws.sweeps.plan.power",
}
__all__ = [
    "Analysis",
    "ColumnComparison",
    "FormulaLaw",
    "InputError",
    "JointLaw",
    "LawFit",
    "Power",
    "ScheduleFit",
    "SumOfPowers",
    "SweepPower",
    "Term",
    "analyse",
    "compare",
    "fit",
    "fit_schedule",
    "load_study",
    "plan",
    "plan_rounds",
    "plot_fit",
    "plot_isoflops",
    "power",
    "read_runs",
    "shared_floor",
    "simulate",
    "sweep_power",
]


def __getattr__(name: str) -> Any:
    if name not in _OWNERS:
        raise AttributeError(f"module 'scaling_laws' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_OWNERS[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_OWNERS})

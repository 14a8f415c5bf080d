"""Laws that a user declares: found by `my_module.MyLaw`, and kept in laws.json as what they declare."""

from __future__ import annotations

import importlib
import keyword
import types
from dataclasses import dataclass, fields
from typing import Any

from scaling_laws.laws.forms.catalogue import FORMS
from scaling_laws.laws.forms.formula_law import VARIABLES, FormulaLaw, names_in, parsed
from scaling_laws.laws.forms.joint import JointLaw
from scaling_laws.laws.forms.terms import UNITS, Law, Notation, SumOfPowers, Term
from scaling_laws.study.errors import InputError

HOW = (
    "a law of your own is a scaling_laws.JointLaw or SumOfPowers with form=... and of=(Term(...), ...), "
    "or a FormulaLaw with form=... and formula=..."
)
FROM_TERMS = ("at", "outer", "inverse", "bracket", "optimum", "constant", "power", "log_power")
"""What the fitter works out of the terms; a class that says otherwise would be fitted as if it did not."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a law says of itself: enough to make it again, and no code.

    Attributes:
        of: variable, coefficient, exponent and fixed exponent of each term (`terms.Term`).
        notation, raised: as `terms.SumOfPowers`.
        formula, signed: of a law that is no sum of powers, as `formula_law.FormulaLaw`.
    """

    of: tuple[tuple[str | None, str, str | None, float | None], ...]
    notation: Notation = "coefficient"
    raised: str | None = None
    formula: str = ""
    signed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises InputError: it declares no law."""
        if self.formula:
            names = names_in(parsed(self.formula))
            if self.of or not {*names} & {*VARIABLES}:
                raise InputError(f"the formula {self.formula!r} contains none of the variables N, D and C")
            _check_names(names)
            if unknown := [name for name in self.signed if name not in names]:
                raise InputError(f"the formula {self.formula!r} has no parameter {unknown[0]!r}")
            return
        names = [name for term in self.of for name in term[1:3] if name is not None]
        names += [self.raised.removeprefix("1/")] if self.raised else []
        variables = [term[0] for term in self.of if term[0] is not None]
        if not variables:
            raise InputError(f"the law has no term that varies; {HOW}")
        if unknown := [name for name in variables if name not in UNITS]:
            raise InputError(f"the law has the variable {unknown[0]!r}; there are {', '.join(UNITS)}")
        if len(set(variables)) < len(variables):
            raise InputError("the law has two terms of one variable, which no run could tell apart")
        if bad := [name for name in names if not name.isidentifier() or keyword.iskeyword(name)]:
            raise InputError(f"the law has a parameter {bad[0]!r}; write letters, digits and _")
        _check_names(names)
        if len({term[1] for term in self.of}) < len(self.of) or {*names} & {*variables}:
            raise InputError("each term needs a coefficient of its own, and not a variable's name")
        for variable, coefficient, exponent, gamma in self.of:
            if variable is not None and exponent is None and gamma is None:
                raise InputError(f"the law's term of {coefficient} and {variable} has no exponent")

    @property
    def is_joint(self) -> bool:
        """Whether it is a law of N and D."""
        if self.formula:
            return {*names_in(parsed(self.formula))} & {*VARIABLES} == {"N", "D"}
        return [term[0] for term in self.of if term[0] is not None] == ["N", "D"]

    def law(self, form: str) -> type[Law]:
        """The class that says so."""
        if self.formula:
            return self._of_formula(form)
        terms = tuple(Term(*term) for term in self.of)
        names = [name for term in terms for name in (term.coefficient, term.exponent) if name]
        names += [self.raised.removeprefix("1/")] if self.raised else []
        annotations = dict.fromkeys(names, "float")

        def body(namespace: dict[str, Any]) -> None:
            namespace["__annotations__"] = annotations

        declared = {"form": form, "of": terms, "notation": self.notation, "raised": self.raised}
        base = JointLaw if self.is_joint else SumOfPowers
        made: type[Law] = types.new_class("DeclaredLaw", (base,), declared, body)
        return made

    def _of_formula(self, form: str) -> type[Law]:
        names = [name for name in names_in(parsed(self.formula)) if name not in VARIABLES]

        def body(namespace: dict[str, Any]) -> None:
            namespace["__annotations__"] = dict.fromkeys(names, "float")

        declared = {"form": form, "formula": self.formula, "signed": self.signed}
        made: type[Law] = types.new_class("DeclaredLaw", (FormulaLaw,), declared, body)
        return made


def _check_names(names: list[str]) -> None:
    """Raises InputError: a parameter would hide what a law does."""
    if hidden := [name for name in names if hasattr(JointLaw, name) or hasattr(FormulaLaw, name)]:
        raise InputError(f"the law has a parameter {hidden[0]!r}, a name that laws use; give it another")


def declaration_of(kind: type[Any]) -> Declaration | None:
    """What a law of a user's own declares; None of ours.

    Raises:
        InputError: it is none that can be fitted.
    """
    if kind in FORMS.values():
        return None
    name = kind.__name__ if isinstance(kind, type) else repr(kind)
    if isinstance(kind, type) and issubclass(kind, FormulaLaw) and kind is not FormulaLaw:
        return _of_formula_law(kind)
    if not (isinstance(kind, type) and issubclass(kind, SumOfPowers) and hasattr(kind, "form")):
        raise InputError(f"{name}: {HOW}")
    if kind.form in FORMS:
        raise InputError(f"{name}: form={kind.form!r} is the name of a law of ours; give it another")
    ours = (JointLaw, *SumOfPowers.__mro__)
    for base in [base for base in kind.__mro__ if base not in ours]:
        if own := [method for method in FROM_TERMS if method in vars(base)]:
            raise InputError(f"{name}: it defines {own[0]}, but a law is what its terms say; {HOW}")
    of = tuple((term.variable, term.coefficient, term.exponent, term.gamma) for term in kind.terms)
    declared = Declaration(of=of, notation=kind.notation, raised=kind.raised)
    expected = {field.name for field in fields(declared.law(kind.form))}
    if (given := {field.name for field in fields(kind)}) != expected:
        odd = sorted(given ^ expected)[0]
        raise InputError(f"{name}: the field {odd!r} and the names in its terms do not agree")
    if issubclass(kind, JointLaw) and not declared.is_joint:
        raise InputError(f"{name}: a JointLaw has one term of N and then one of D; else take SumOfPowers")
    return declared


def _of_formula_law(kind: type[FormulaLaw]) -> Declaration:
    if kind.form in FORMS:
        raise InputError(f"{kind.__name__}: form={kind.form!r} is the name of a law of ours; give it another")
    if "at" in vars(kind):
        raise InputError(f"{kind.__name__}: it defines at, but a law is what its formula says")
    return Declaration(of=(), formula=kind.written_formula, signed=kind.signed)


def own_law(class_path: str) -> type[Law]:
    """The law that `module.Class` names; its module is run.

    Raises:
        InputError: there is no such module or class, or it is no law.
    """
    module_name, _, name = class_path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"--form {class_path}: the module {module_name} cannot be run ({reason})") from error
    kind = getattr(module, name, None)
    if kind is None:
        raise InputError(f"--form {class_path}: {module_name} has no class {name!r}")
    declaration_of(kind)
    found: type[Law] = kind
    return found

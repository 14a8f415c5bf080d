"""What a law is: one declaration, from which its formula, units, LaTeX, loss and inverse follow.

Units throughout: loss L in nats per token, N in parameters, D in tokens, C in FLOPs, B in tokens per step, S
in steps, T a 1-based position. A parameter may also be an array of bootstrap draws: every method broadcasts,
so that the interval of anything a law can compute is a percentile of the same method called on the draws.

Most laws are sums of powers, and say no more than their terms:

    y = (sum_k A_k / x_k^gamma_k)^m,

with the power m = 1 unless `raised` names it: "a" where it is the parameter a, "1/p" where p is its inverse.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, dataclass_transform

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Numbers = float | FloatArray
FLOPS_PER_PARAMETER_TOKEN = 6.0
"""C = 6 N D: two FLOPs per parameter and token forward, twice that backward (Kaplan 2020, section 2.1)."""

UNITS = {
    "L": "nats/token",
    "N": "parameters",
    "D": "tokens",
    "C": "FLOPs",
    "C_min": "FLOPs",
    "S": "steps",
    "S_min": "steps",
    "B": "tokens",
    "B_crit": "tokens",
    "T": "1",
}
"""Of the variables, and of what a law gives."""
LATEX = {"ln": r"\ln", "min": r"\min", "crit": r"\mathrm{crit}", "star": r"*", "inf": r"\infty"}
"""Words within names; Greek letters go by their own names."""
GREEK = {"alpha", "beta", "gamma"}

Notation = Literal["coefficient", "scale", "inverse"]
"""How a term's parameters are written: A/x^alpha; (x_c/x)^alpha; or A/x^(1/alpha)."""


class Term(NamedTuple):
    """One summand of a law.

    Attributes:
        variable: N, D, C, C_min, S_min, B, L or T; None for the irreducible constant.
        coefficient: name of the parameter that scales the summand.
        exponent: name of its exponent; None for the constant, and where `gamma` is given and no name needs
            it. Two terms of one name share their exponent.
        gamma: the exponent inside the bracket, where it is not fitted.

    Examples:
        >>> Term("N", "A", "alpha")  # A/N^alpha
        Term(variable='N', coefficient='A', exponent='alpha', gamma=None)
    """

    variable: str | None
    coefficient: str
    exponent: str | None = None
    gamma: float | None = None


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Law:
    """A law; its parameters are the fields of the frozen dataclass that every subclass is.

    A subclass that declares a `form` is one law, the others are bases. `form` is its name in `laws.json` and
    on the command line; `label` whose it is, in words ("Kaplan's"); `response` what it gives, L by default;
    `units` are those of the parameters.
    """

    form: ClassVar[str]
    label: ClassVar[str]
    formula: ClassVar[str]
    latex: ClassVar[str]
    units: ClassVar[dict[str, str]]
    variables: ClassVar[tuple[str, ...]]
    response: ClassVar[str] = "L"

    def __init_subclass__(
        cls,
        *,
        form: str = "",
        label: str = "",
        variables: tuple[str, ...] = (),
        formula: str = "",
        units: dict[str, str] | None = None,
        response: str = "",
    ) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)
        cls.variables = variables or getattr(cls, "variables", ())
        cls.response = response or cls.response
        if form:
            cls.form, cls.label = form, label or form
            cls.formula = f"{cls.response}({','.join(cls.variables)}) = {formula or cls.written()}"
            cls.latex = latex(cls.formula)
            known = cls.derived_units() | (units or {})
            cls.units = {field.name: known.get(field.name, "1") for field in fields(cls)}

    @classmethod
    def written(cls) -> str:
        """The right side of the formula, of laws that do not give it."""
        raise TypeError(f"{cls.__name__}: give its formula")

    @classmethod
    def derived_units(cls) -> dict[str, str]:
        """Units that the formula implies."""
        return {}

    @abstractmethod
    def at(self, *args: Any, **kwargs: Any) -> FloatArray:
        """The response at the variables, arrays in order."""

    def loss(self, *values: ArrayLike, **named: ArrayLike) -> FloatArray:
        """The response at values of the variables, in their order or by name: of most laws the loss."""
        given = dict(zip(self.variables, values, strict=False)) | named
        if set(given) != set(self.variables) or len(given) != len(values) + len(named):
            raise TypeError(f"{self.form} is a law of {', '.join(self.variables)}")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of a draw
            return np.asarray(self.at(*(array(given[name]) for name in self.variables)))


class SumOfPowers(Law):
    """y = (sum of terms)^m. A subclass says which terms, and in what notation; the rest follows.

    The keywords of a subclass are `form`, its name; `of`, its terms; `notation`, how they are written; and
    `raised`, the name of m. Its fields are the parameters. `loss(...)` takes arrays of one shape, in the
    units of the variables, and gives nats per token in that shape.

    Raises:
        TypeError: of `loss`, other variables are given.

    Examples:
        >>> terms = (Term(None, "E"), Term("C", "A", "alpha"))
        >>> class OfCompute(SumOfPowers, form="of_compute", of=terms):
        ...     E: float
        ...     A: float
        ...     alpha: float
        >>> OfCompute.formula
        'L(C) = E + A/C^alpha'
        >>> OfCompute(E=1.7, A=1000.0, alpha=0.15).loss([1e18, 1e21]).round(3).tolist()
        [3.695, 2.408]
    """

    terms: ClassVar[tuple[Term, ...]]
    notation: ClassVar[Notation]
    raised: ClassVar[str | None]

    def __init_subclass__(
        cls,
        *,
        of: tuple[Term, ...] = (),
        notation: Notation = "coefficient",
        raised: str | None = None,
        **declared: Any,
    ) -> None:
        cls.terms, cls.notation, cls.raised = of, notation, raised
        declared.setdefault("variables", tuple(term.variable for term in of if term.variable))
        super().__init_subclass__(**declared)

    @classmethod
    def written(cls) -> str:
        summands = " + ".join(cls._written(term) for term in cls.terms)
        return f"[{summands}]^{_exponent(cls.raised)}" if cls.raised else summands

    @classmethod
    def _written(cls, term: Term) -> str:
        x, A, raised = term.variable, term.coefficient, cls.raised or ""
        if term.gamma is not None:
            return f"{A}/{x}"
        if raised.startswith("1/"):  # a term of the loss to the power p, which the law writes as one
            return f"{A if x is None else f'({A}/{x}^{term.exponent})'}^{raised[2:]}"
        if x is None:
            return f"{A}^(1/{raised})" if raised else A
        exponent = f"{term.exponent}/{raised}" if raised else str(term.exponent)
        if cls.notation == "scale":
            return f"({A}/{x})^{_exponent(exponent)}"
        return f"{A}/{x}^{_exponent(f'1/{exponent}' if cls.notation == 'inverse' else exponent)}"

    @classmethod
    def derived_units(cls) -> dict[str, str]:
        of_response = UNITS[cls.response]
        units = {}
        for term in cls.terms:
            of_x = UNITS[term.variable] if term.variable else "1"
            if term.variable and cls.notation == "scale":
                units[term.coefficient] = of_x
            elif of_x == "1":
                units[term.coefficient] = of_response
            else:
                exponent = f"1/{term.exponent}" if cls.notation == "inverse" else str(term.exponent)
                units[term.coefficient] = f"{of_response} * {of_x}^{_exponent(exponent)}"
        return units

    @property
    def power(self) -> Numbers:
        """m, that the sum is raised to."""
        if self.raised is None:
            return 1.0
        named: Numbers = getattr(self, self.raised.removeprefix("1/"))
        return 1 / named if self.raised.startswith("1/") else named

    def log_power(self, term: Term) -> tuple[Numbers, Numbers]:
        """(ln A, gamma) of the summand A/x^gamma as it stands inside the bracket."""
        coefficient = getattr(self, term.coefficient)
        if term.gamma is not None:
            gamma: Numbers = term.gamma
        else:
            exponent = getattr(self, str(term.exponent))
            gamma = 1 / exponent if self.notation == "inverse" else exponent / self.power
        log_coefficient = np.log(coefficient)
        return gamma * log_coefficient if self.notation == "scale" else log_coefficient / self.power, gamma

    def at(self, *x: FloatArray) -> FloatArray:
        logs = (self.log_power(term) for term in self.terms if term.variable)
        powers = [np.exp(log_A - gamma * np.log(of)) for (log_A, gamma), of in zip(logs, x, strict=True)]
        return self.outer(np.asarray(sum(powers)))

    @property
    def constant(self) -> FloatArray:
        """The irreducible loss as it stands inside the bracket; 0 without one."""
        names = [term.coefficient for term in self.terms if term.variable is None]
        return array(getattr(self, names[0])) ** (1 / self.power) if names else np.zeros(())

    def outer(self, bracket: FloatArray) -> FloatArray:
        """The response, from the sum of the terms that vary."""
        return np.asarray((self.constant + bracket) ** np.asarray(self.power))

    def inverse(self, response: FloatArray) -> FloatArray:
        """The sum of the terms that vary, from the response; NaN or not positive below the constant."""
        return np.asarray(response ** (1 / np.asarray(self.power)) - self.constant)


def latex(formula: str) -> str:
    r"""A formula in LaTeX: names become symbols, powers stand high.

    `L(N) = E + A/N^alpha` is `L(N) = E + A/N^{\alpha}`.
    """
    text = re.sub(r"\^\(([^()]*)\)", r"^{\1}", formula)
    text = re.sub(r"\^(-?[\w.]+)", r"^{\1}", text)
    return re.sub(r"[A-Za-z]\w*", lambda match: symbol(match[0]), text)


def symbol(name: str) -> str:
    r"""A parameter or variable in LaTeX: `alpha_N` is `\alpha_{N}`, `R_D_star` is `R_{D}^{*}`."""
    head, *subscripts = [f"\\{word}" if word in GREEK else LATEX.get(word, word) for word in name.split("_")]
    high = "^{*}" if "*" in subscripts else ""
    low = ",".join(word for word in subscripts if word != "*")
    return head + (f"_{{{low}}}" if low else "") + high


def array(value: ArrayLike) -> FloatArray:
    return np.asarray(value, dtype=np.float64)


def in_columns(law: Any) -> Any:
    """A law whose draws, (R,), or whose numbers are rows of their own: at an array of points it gives
    (R, points)."""
    return type(law)(**{name: np.atleast_1d(values)[:, None] for name, values in vars(law).items()})


def power(scale: Numbers, x: ArrayLike, exponent: Numbers) -> FloatArray:
    """(scale/x)^exponent."""
    return np.asarray((scale / array(x)) ** np.asarray(exponent))


def _exponent(text: str | None) -> str:
    return f"({text})" if text and "/" in text else str(text)

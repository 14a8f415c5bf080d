"""A law of any formula: read, differentiated and evaluated as data; none of it is run as code.

    class Bent(FormulaLaw, form="bent", formula="E + (A/N^alpha + B/D^beta)^gamma"): ...

What a formula is made of: numbers, variables, parameters, + - * / ^ and brackets, exp, log, sqrt.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from scaling_laws.laws.forms.terms import (
    FLOPS_PER_PARAMETER_TOKEN,
    UNITS,
    FloatArray,
    Law,
    array,
)
from scaling_laws.study.errors import InputError

LONGEST_FORMULA = 400
IRREDUCIBLE = ("E", "L_inf")
"""Names of parameters that are a loss."""
VARIABLES = ("N", "D", "C")
UNLIMITED = 1e60
"""What stands for infinitely many parameters or tokens: a formula may have no value at infinity."""
ZOOMS, POINTS_OF_A_ZOOM = 7, 25
BISECTIONS = 80
Value = FloatArray
Slopes = dict[str, FloatArray]
Dual = tuple[Value, Slopes]
"""A value, and its derivative by each parameter that it depends on."""


def parsed(formula: str) -> ast.expr:
    """The formula's tree, every node of which `evaluate` knows.

    Raises:
        InputError: it is no formula, or holds something else.
    """
    how = "write numbers, names, + - * / ^ and brackets, exp, log, sqrt"
    if len(formula) > LONGEST_FORMULA:
        raise InputError(f"the formula has {len(formula)} signs; {LONGEST_FORMULA} are read")
    try:
        tree = ast.parse(formula.replace("^", "**"), mode="eval").body
        unknown = next(_unknown(tree), None)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise InputError(f"{formula!r} is not a formula; {how}") from None
    if unknown is not None:
        raise InputError(f"{formula!r}: {unknown} is not part of a formula; {how}")
    return tree


def _unknown(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield from _unknown(node.left)
        yield from _unknown(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        yield from _unknown(node.operand)
    elif isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            yield ast.unparse(node.func)
        yield from _unknown(node.args[0])
    elif not (
        isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in (int, float))
    ):
        yield ast.unparse(node)


def names_in(node: ast.AST) -> list[str]:
    """Variables and parameters, in order."""
    called = {id(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
    names = [each for each in ast.walk(node) if isinstance(each, ast.Name) and id(each) not in called]
    names.sort(key=lambda each: (each.lineno, each.col_offset))
    return list(dict.fromkeys(each.id for each in names))


def exponents_in(node: ast.AST) -> set[str]:
    """Names that stand in an exponent."""
    powers = [each for each in ast.walk(node) if isinstance(each, ast.BinOp) and isinstance(each.op, ast.Pow)]
    return {name for each in powers for name in names_in(each.right)}


def evaluate(node: ast.expr, values: Mapping[str, Value], by: frozenset[str] = frozenset()) -> Dual:
    """The value, and its exact derivatives by the names in `by`."""
    if isinstance(node, ast.Constant):
        return np.asarray(float(str(node.value))), {}
    if isinstance(node, ast.Name):
        return values[node.id], {node.id: np.asarray(1.0)} if node.id in by else {}
    if isinstance(node, ast.UnaryOp):
        value, slopes = evaluate(node.operand, values, by)
        if isinstance(node.op, ast.UAdd):
            return value, slopes
        return -value, {name: -slope for name, slope in slopes.items()}
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        value, slopes = evaluate(node.args[0], values, by)
        of_value, slope_of_value = FUNCTIONS[node.func.id](value)
        return of_value, {name: slope_of_value * slope for name, slope in slopes.items()}
    assert isinstance(node, ast.BinOp)
    left, right = evaluate(node.left, values, by), evaluate(node.right, values, by)
    return OPERATORS[type(node.op)](left, right)


def _sum_of(left: Slopes, right: Slopes, by_left: Any, by_right: Any) -> Slopes:
    return {
        name: sum(
            (slopes[name] * by for slopes, by in ((left, by_left), (right, by_right)) if name in slopes),
            np.asarray(0.0),
        )
        for name in left | right
    }


def _power(left: Dual, right: Dual) -> Dual:
    (base, of_base), (exponent, of_exponent) = left, right
    value = base**exponent
    by_exponent = value * np.log(base) if of_exponent else 0.0
    by_base = exponent * base ** (exponent - 1) if of_base else 0.0
    return value, _sum_of(of_base, of_exponent, by_base, by_exponent)


OPERATORS: dict[type[ast.operator], Callable[[Dual, Dual], Dual]] = {
    ast.Add: lambda a, b: (a[0] + b[0], _sum_of(a[1], b[1], 1.0, 1.0)),
    ast.Sub: lambda a, b: (a[0] - b[0], _sum_of(a[1], b[1], 1.0, -1.0)),
    ast.Mult: lambda a, b: (a[0] * b[0], _sum_of(a[1], b[1], b[0], a[0])),
    ast.Div: lambda a, b: (a[0] / b[0], _sum_of(a[1], b[1], 1 / b[0], -a[0] / b[0] ** 2)),
    ast.Pow: _power,
}
FUNCTIONS: dict[str, Callable[[Value], tuple[Value, Value]]] = {
    "exp": lambda x: (np.exp(x), np.exp(x)),
    "log": lambda x: (np.log(x), 1 / x),
    "sqrt": lambda x: (np.sqrt(x), 0.5 / np.sqrt(x)),
}


class FormulaLaw(Law):
    """A law of N, D or C that is written as a formula; what is not one of these is a parameter.

    The keywords of a subclass are `form`, its name; `formula`; `signed`, the parameters that may be
    negative (all others are positive); and `starts`, lowest and highest value of a parameter between which
    the fit starts, where the usual ranges do not do (0.03 to 2 for exponents, 1e-3 to 1e5 for others). Its
    fields are the parameters. A law of N and D is planned with: its optimum is looked for along C = 6 N D.

    Units: N in parameters, D in tokens, C in FLOPs, L in nats per token; arrays broadcast.

    Raises:
        InputError: the formula holds something else, or the fields are not its parameters.

    Examples:
        >>> class Bent(FormulaLaw, form="bent", formula="E + (A/N^alpha + B/D^beta)^gamma"):
        ...     E: float
        ...     A: float
        ...     B: float
        ...     alpha: float
        ...     beta: float
        ...     gamma: float
        >>> law = Bent(E=1.8, A=400.0, B=1800.0, alpha=0.34, beta=0.36, gamma=1.0)
        >>> float(law.loss(N=7e9, D=1.4e11).round(3))
        2.155
        >>> [f"{float(each):.2e}" for each in law.optimum(1e22)]
        ['8.82e+09', '1.89e+11']
    """

    tree: ClassVar[ast.expr]
    signed: ClassVar[tuple[str, ...]]
    starts: ClassVar[Mapping[str, tuple[float, float]]]
    written_formula: ClassVar[str]

    def __init_subclass__(
        cls,
        *,
        form: str = "",
        formula: str = "",
        signed: tuple[str, ...] = (),
        starts: Mapping[str, tuple[float, float]] | None = None,
        **declared: Any,
    ) -> None:
        cls.tree, cls.signed, cls.starts, cls.written_formula = parsed(formula), signed, starts or {}, formula
        names = names_in(cls.tree)
        variables = tuple(name for name in VARIABLES if name in names)
        if not variables:
            raise InputError(f"{formula!r} has no variable; there are {', '.join(VARIABLES)}")
        units = {name: UNITS["L"] for name in IRREDUCIBLE} | (declared.pop("units", None) or {})
        super().__init_subclass__(form=form, formula=formula, variables=variables, units=units, **declared)
        odd = sorted({*cls.units} ^ {*names} - {*variables})
        if odd:
            raise InputError(f"{form}: the field {odd[0]!r} and the names in its formula do not agree")
        if hidden := [name for name in cls.units if hasattr(FormulaLaw, name)]:
            raise InputError(f"{form}: the parameter {hidden[0]!r} is a name that laws use; give it another")
        if wrong := [name for name in (*signed, *cls.starts) if name not in cls.units]:
            raise InputError(f"{form}: {wrong[0]!r} is not one of its parameters {', '.join(cls.units)}")

    def at(self, *x: FloatArray) -> FloatArray:
        values = dict(zip(self.variables, (np.minimum(each, UNLIMITED) for each in x), strict=True))
        with np.errstate(all="ignore"):
            return np.asarray(
                evaluate(self.tree, {**values, **{n: array(v) for n, v in vars(self).items()}})[0]
            )

    def _with_a_point(self) -> FormulaLaw:
        """The same, whose draws broadcast against points in a further axis."""
        return type(self)(**{name: array(value)[..., None] for name, value in vars(self).items()})

    def optimum(self, C: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(N_opt, D_opt) that minimise the loss at C = 6 N D; NaN where no size between 1 and C/6 does."""
        law = self._with_a_point()
        shape = np.broadcast_shapes(np.shape(C), *(np.shape(value) for value in vars(self).values()))
        log_ND = np.broadcast_to(np.log(array(C) / FLOPS_PER_PARAMETER_TOKEN), shape)[..., None]
        low, high = np.zeros_like(log_ND), np.maximum(log_ND, 0.0)
        share = np.linspace(0, 1, POINTS_OF_A_ZOOM)
        at_edge = np.zeros(shape, bool)
        for zoom in range(ZOOMS):
            log_N = low + (high - low) * (np.linspace(0, 1, 201) if zoom == 0 else share)
            losses = np.nan_to_num(law.loss(np.exp(log_N), np.exp(log_ND - log_N)), nan=np.inf)
            best = losses.argmin(axis=-1, keepdims=True)
            last = log_N.shape[-1] - 1
            if zoom == 0:
                at_edge = ((best == 0) | (best == last))[..., 0]
            low = np.take_along_axis(log_N, np.maximum(best - 1, 0), axis=-1)
            high = np.take_along_axis(log_N, np.minimum(best + 1, last), axis=-1)
        N = np.where(at_edge, np.nan, np.exp((low + high)[..., 0] / 2))
        return N, np.exp(log_ND[..., 0]) / N

    def tokens_to_reach(self, loss: ArrayLike, N: ArrayLike) -> FloatArray:
        """D at which a model of N parameters reaches `loss`; infinite where it never does."""
        return self._first(lambda D: self.loss(N, D) - array(loss), loss, N)

    def compute_to_reach(self, loss: ArrayLike) -> FloatArray:
        """The least C = 6 N D that reaches `loss`; infinite where none does."""
        return self._first(lambda C: self.loss(*self.optimum(C)) - array(loss), loss)

    def log_smallest_size(self, loss: ArrayLike) -> FloatArray:
        """ln N of the smallest model that reaches `loss` with unlimited tokens."""
        return np.asarray(np.log(self._first(lambda N: self.loss(N, UNLIMITED) - array(loss), loss)))

    def tokens_of_best_size(self, N: ArrayLike) -> FloatArray:
        """D at whose compute N is the best size."""
        return self._first(
            lambda D: self.optimum(FLOPS_PER_PARAMETER_TOKEN * array(N) * D)[0] - array(N), N, rising=True
        )

    def size_of_best_tokens(self, D: ArrayLike) -> FloatArray:
        """N at whose compute D are the best tokens."""
        return self._first(
            lambda N: self.optimum(FLOPS_PER_PARAMETER_TOKEN * N * array(D))[1] - array(D), D, rising=True
        )

    def _first(
        self, excess: Callable[[FloatArray], FloatArray], *like: ArrayLike, rising: bool = False
    ) -> FloatArray:
        """Where a function that falls (or rises) with x comes to zero, x from 1 to 1e40; else infinite."""
        parameters = [np.shape(value) for value in vars(self).values()]
        shape = np.broadcast_shapes(*parameters, *(np.shape(each) for each in like))
        low, high = np.zeros(shape), np.full(shape, np.log(1e40))
        sign = -1.0 if rising else 1.0
        never = ~(sign * excess(np.exp(high)) <= 0)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = ~(sign * excess(np.exp(middle)) <= 0)
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray(np.where(never, np.inf, np.exp(high)))

"""Which rows of a table to keep: `loss < 3.44`, `State == finished and (family in [gpt, llama] or N > 1e8)`.

A condition is parsed as Python's grammar has it, and nothing of it is run.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
HOW = (
    "write `column < value` (or <= > >= == !=), `column in [one, two]` or `column is finite`, "
    "joined by and, or, not and parentheses; a column of several words stands in backticks"
)
MOST_CHARACTERS = 2000
ReadNumber = Callable[[Any, str, str], float]


def satisfying(name: str, cells: pd.DataFrame, condition: str, read: ReadNumber) -> pd.DataFrame:
    """The rows of a table of text that satisfy a condition.

    An empty cell is no number: it satisfies no comparison but !=. Text is compared with ==, != and `in`.

    Args:
        name: of the table, for messages.
        read: (row, column, cell) -> number.

    Raises:
        InputError: not such a condition, no such column, a cell that is no number, or no row is left.
    """
    quoted: list[str] = []

    def placeholder(match: re.Match[str]) -> str:
        quoted.append(match[1])
        return f"_quoted_{len(quoted) - 1}_"

    source = re.sub(r"`([^`]+)`", placeholder, condition.strip())
    try:
        if len(source) > MOST_CHARACTERS:
            raise SyntaxError
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"where {condition!r}: this cannot be read; {HOW}") from None
    reader = _Condition(name, cells, condition, source, quoted, read)
    kept = cells[reader.truth(tree)]
    if kept.empty:
        raise InputError(f"{name}: no row satisfies {condition!r}")
    return kept


class _Condition:
    """One condition on one table."""

    def __init__(
        self,
        name: str,
        cells: pd.DataFrame,
        condition: str,
        source: str,
        quoted: list[str],
        read: ReadNumber,
    ) -> None:
        self._name, self._cells, self._condition = name, cells, condition
        self._source, self._quoted, self._read = source, quoted, read

    def truth(self, node: ast.expr) -> NDArray[np.bool_]:
        """Whether each row satisfies it."""
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(join.reduce([self.truth(value) for value in node.values]))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.truth(node.operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._compared(node.left, node.ops[0], node.comparators[0])
        raise self._error(f"{self._text(node)!r} is not a comparison; {HOW}")

    def _compared(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> NDArray[np.bool_]:
        column = self._text(left)
        if column not in self._cells:
            names = ", ".join(str(name) for name in list(self._cells.columns)[:12])
            raise self._error(f"{self._name} has no column {column!r}; it has {names}")
        if isinstance(sign, ast.Is | ast.IsNot):
            if self._text(right) != "finite":
                raise self._error(f"`is {self._text(right)}` has no meaning; {HOW}")
            finite = np.array([_is_finite(cell) for cell in self._cells[column]], dtype=bool)
            return finite if isinstance(sign, ast.Is) else ~finite
        if isinstance(sign, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._error(f"{self._text(right)!r} is not a list; write `{column} in [one, two]`")
            each = [self._compared(left, ast.Eq(), value) for value in right.elts]
            inside = np.logical_or.reduce([*each, np.zeros(len(self._cells), dtype=bool)])
            return np.asarray(inside if isinstance(sign, ast.In) else ~inside)
        wanted = self._value(right)
        values: list[Any] = self._cells[column].tolist()
        if isinstance(wanted, float):
            values = [
                self._read(line, column, cell) if cell else math.nan
                for line, cell in self._cells[column].items()
            ]
        elif isinstance(sign, ORDERS):
            raise self._error(f"{wanted!r} is not a number; compare text with == or !=")
        return np.array([COMPARE[type(sign)](value, wanted) for value in values], dtype=bool)

    def _value(self, node: ast.expr) -> float | str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        text = self._text(node)
        if text in ("True", "False", "None"):
            return text
        try:
            return float(ast.literal_eval(node))
        except (ValueError, TypeError, OverflowError, SyntaxError):
            return text

    def _text(self, node: ast.expr) -> str:
        """The source of a node: `val/loss` is a name to us, whatever Python takes it for."""
        text = ast.get_source_segment(self._source, node) or ""
        return re.sub(r"_quoted_(\d+)_", lambda match: self._quoted[int(match[1])], text)

    def _error(self, what: str) -> InputError:
        return InputError(f"where {self._condition!r}: {what}")


def _is_finite(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False

"""A file of rows as a table of text: CSV or similar, JSON lines, Parquet, Excel; gzip around any text.

Nothing is guessed in a cell: what it means is for `cells` to say. Row numbers are line numbers of the
file where it has lines; the header is line 1.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling_laws.study.artefacts import table_bytes
from scaling_laws.study.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

NAMED_SEPARATOR = re.compile(r"sep=([,;\t|])[ ]*\n")
"""A first line that spreadsheets write for one another."""
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
WITH_A_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]*([eE][+-]?[0-9]+)?")
"""No number of a table that is separated by semicolons has one: its decimal sign is the comma."""
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
ENDS_IN_A_POINT = re.compile(r"[+-]?[0-9]+\.")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
BINARY = {b"PAR1": "parquet", b"PK\x03\x04": "excel"}
"""First bytes of formats that hold no text."""
PACKAGES = {"parquet": "pyarrow", "excel": "openpyxl"}
SHOWN_CHARACTERS = 40


class TableReader:
    """Reads any file as a table; the index is the line."""

    def recognises(self, path: Path) -> bool:
        return not path.is_dir()

    def read(self, path: Path) -> pd.DataFrame:
        cells = read_cells(path)
        cells.attrs = {"lines": True}
        return cells


def read_cells(path: Path) -> pd.DataFrame:
    """The rows that are not blank, as text stripped of surrounding spaces; the index is the line.

    CSV, or separated by tabs, semicolons or bars; JSON, a list of objects or one a line (an object within
    one becomes `outer.inner`); Parquet and Excel's first sheet (with pyarrow, openpyxl). Text is UTF-8, or
    UTF-16 with its mark, and may be gzipped. A first column without a name, as pandas writes its index, is
    dropped.

    Raises:
        InputError: the file cannot be read, holds something else, or is torn.
    """
    try:
        content = table_bytes(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not whole as gzip ({error}); is it cut off?") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if kind := BINARY.get(content[:4]):
        return _of_pandas(path, content, kind)
    text = _text(path, content)
    if re.match(r"\s*(\[\s*)?\{", text):
        return _of_json(path, text)
    return _of_csv(path, text)


def cells_of(table: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame's cells as text, its rows numbered from 1; numbers read from it again are the same."""
    import pandas as pd

    columns = {str(name): [_cell(value) for value in table[name]] for name in table.columns}
    return pd.DataFrame(columns, index=range(1, len(table) + 1), dtype=object)


def _cell(value: Any) -> str:
    if value is None or value != value or str(value) == "<NA>":
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value).strip()


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, row {line}: not UTF-8 text; save the table as CSV (UTF-8)") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path}, row {line}: a NUL byte; this is no CSV, or not UTF-8 text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _of_csv(path: Path, text: str) -> pd.DataFrame:
    import pandas as pd

    named = NAMED_SEPARATOR.match(text)
    first = next((line for line in text.split("\n") if line.strip()), "")
    separator = named[1] if named else max(SEPARATORS, key=lambda each: (first.count(each), each == ","))
    lines = text.split("\n", 1)[1] if named else text
    reader = csv.reader(io.StringIO(lines), strict=True, delimiter=separator)
    header: list[str] = []
    rows: dict[int, list[str]] = {}
    before = 1 if named else 0
    line = 1 + before  # where the row begins: a quoted cell may hold several lines
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                pass
            elif not header:
                header = cells
                _check_header(path, line, header)
            elif len(cells) != len(header):
                raise InputError(
                    f"{path}, row {line}: {len(cells)} cells under {len(header)} columns"
                    " (a row cut off, or a decimal comma?)"
                )
            else:
                rows[line] = cells
            line = reader.line_num + before + 1
    except csv.Error as error:
        raise InputError(f"{path}, row {line}: not CSV ({error})") from error
    if not header:
        raise InputError(f"{path}: empty")
    if not rows:
        raise InputError(f"{path}: a header and no rows")
    last = next(reversed(rows))
    if text.endswith(".") and ENDS_IN_A_POINT.fullmatch(rows[last][-1]):  # "3.51" cut to "3."; "3.5" passes
        raise InputError(f"{path}, row {last}: the file ends within a number; is it cut off?")
    table = pd.DataFrame(rows.values(), index=list(rows), columns=header, dtype=object)
    if separator == ";" and not table.map(lambda cell: bool(WITH_A_POINT.fullmatch(cell))).to_numpy().any():
        table = table.map(lambda cell: cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell)
    return table if header[0] else table.iloc[:, 1:]


def _check_header(path: Path, line: int, header: list[str]) -> None:
    for i, column in enumerate(header, start=1):
        if not column and (i > 1 or len(header) == 1):
            raise InputError(f"{path}, row {line}: column {i} has no name")
    if duplicates := sorted({column for column in header if header.count(column) > 1}):
        shown = repr(duplicates[0][:SHOWN_CHARACTERS])
        raise InputError(f"{path}, row {line}: the column {shown} occurs twice; rename one")


def _of_json(path: Path, text: str) -> pd.DataFrame:
    import pandas as pd

    rows: dict[int, dict[str, str]] = {}
    try:
        if text.lstrip()[0] == "[":
            entries: Iterable[tuple[int, Any]] = enumerate(json.loads(text), start=1)
        else:
            entries = [(i, json.loads(each)) for i, each in enumerate(text.split("\n"), 1) if each.strip()]
        for line, entry in entries:
            if not isinstance(entry, Mapping):
                raise InputError(f"{path}, row {line}: not an object, as every row must be")
            rows[line] = dict(_flat("", entry))
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a table of runs") from None
    except ValueError as error:
        raise InputError(f"{path}: neither a list of JSON objects nor one a line ({error})") from error
    if not any(rows.values()):
        raise InputError(f"{path}: empty")
    return pd.DataFrame(rows.values(), index=list(rows), dtype=object).fillna("")


def _flat(prefix: str, entry: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        elif not isinstance(value, list):
            yield f"{prefix}{key}", _cell(value)


def _of_pandas(path: Path, content: bytes, kind: str) -> pd.DataFrame:
    import pandas as pd

    try:
        read = pd.read_parquet if kind == "parquet" else pd.read_excel
        table = read(io.BytesIO(content))
    except ImportError:
        raise InputError(
            f"{path}: a file of {kind.capitalize()} needs the package {PACKAGES[kind]}: "
            f"pip install {PACKAGES[kind]}, or save the table as CSV"
        ) from None
    except Exception as error:  # each engine has its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: cannot be read as {kind.capitalize()} ({reason})") from error
    if table.empty:
        raise InputError(f"{path}: empty")
    cells = cells_of(table)
    return cells.set_axis(range(2, len(cells) + 2), axis=0) if kind == "excel" else cells

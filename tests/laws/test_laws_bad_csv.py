"""Bad tables through the real command line: status 2 and one line that says where, never a traceback.

pandas would guess, mend or drop most of these in silence.
"""

import json

import numpy as np
import pytest

from scaling_laws.cli import main

HEADER = "run,N,D,C,loss\n"
ROW = "a,1e6,1e8,6e14,3.5\n"
GOOD = HEADER + ROW + "b,1e7,1e8,6e15,3.2\n"
CUT = GOOD + "c,1e8,1e8,6e16,3.0"
NUMBERS = ("N", "D", "C", "loss")


def with_cell(column: str, cell: str) -> str:
    """The good table with one cell of row 3 replaced, quoted as a spreadsheet would."""
    cells = dict(zip(HEADER.strip().split(","), ["b", "1e7", "1e8", "6e15", "3.2"], strict=True))
    cells[column] = '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n') else cell
    return HEADER + ROW + ",".join(cells.values()) + "\n"


NOT_NUMBERS = {
    "word": ("many", "'many' is not a number"),
    "excel error": ("#N/A", "'#N/A' is not a number"),
    "formula": ("=1+2", "'=1+2' is not a number"),
    "dash": ("-", "'-' is not a number"),
    "underflow": ("1e-999", "1e-999 is not a finite positive number"),
    "hex": ("0x1F", "'0x1F' is not a number"),
    "underscore": ("1_000", "'1_000' is not a number"),
    "fraction": ("7/2", "'7/2' is not a number"),
    "percent": ("35%", "'35%' has a unit"),
    "millions": ("125M", "'125M' has a unit"),
    "FLOPs": ("3e9 FLOPs", "'3e9 FLOPs' has a unit"),
    "date": ("2024-01-31", "'2024-01-31' is not a number"),
    "boolean": ("True", "'True' is not a number"),
    "two points": ("1.2.3", "'1.2.3' is not a number"),
    "torn exponent": ("3e", "'3e' is not a number"),
    "product": ("6*1e7", "'6*1e7' is not a number"),
    "power": ("10^7", "'10^7' is not a number"),
    "interval": ("3.2±0.1", "is not a number"),
    "other digits": ("３.２", "is not a number"),
    "decimal comma": ("3,25", "'3,25' has a decimal comma"),
    "thousands, comma": ("1,000,000", "'1,000,000' has thousands separators"),
    "thousands, comma and point": ("1,234.5", "'1,234.5' has thousands separators"),
    "thousands or decimal": ("3,250", "'3,250' has thousands separators or a decimal comma"),
    "thousands, space": ("1 000 000", "'1 000 000' has thousands separators"),
    "thousands, apostrophe": ("1'000'000", "has thousands separators"),
    "two numbers": ("3.2 3.3", "'3.2 3.3' is not a number"),
    "line end": ("3\n2", "'3\\n2' is not a number"),
    "long": ("x" * 100_000, "xxx...' is not a number"),
    "zero": ("0", "0 is not a finite positive number"),
    "negative": ("-3.2", "-3.2 is not a finite positive number"),
}
FILES = {
    "N not there": (with_cell("N", ""), [], ["row 3, column 'N': empty"]),
    "N not finite": (with_cell("N", "nan"), [], ["row 3, column 'N': nan is not a finite positive number"]),
    "all losses lost": ("N,D,loss\n1e6,1e8,nan\n1e6,1e9,\n", [], ["no row is left: no finite loss in row 2"]),
    "several bad cells": (
        "N,D,loss\nmany,1e8,3\n1e6,few,-3\n",
        [],
        ["row 2, column 'N': 'many'", "row 3, column 'D': 'few'", "row 3, column 'loss': -3 is not"],
    ),
    "names that are obvious": (
        "n_params,train_tokens,val/loss\n1e6,1e8,3\n",
        [],
        ["no column 'N' for N", "try --n n_params --d train_tokens --loss val/loss"],
    ),
    "JSON lines, torn": ('{"N": 1, "D": 1, "loss": 2}\n{"N": 1', [], ["neither a list of JSON objects"]),
    "JSON lines, deep": ('{"N": ' + "[" * 100_000, [], ["nested too deeply"]),
    "where: is what": (GOOD, ["--where", "loss is small"], ["`is small` has no meaning"]),
    "where: in what": (GOOD, ["--where", "run in a"], ["'a' is not a list"]),
    "where: twice, one too many": (GOOD, ["--where", "N > 1", "--where", "loss > 9"], ["no row satisfies"]),
    "bits a byte": (GOOD, ["--loss-unit", "bits/byte"], ["go with a loss in bits/byte"]),
    "empty": ("", [], ["empty"]),
    "blank lines": ("\n\n  \n", [], ["empty"]),
    "commas alone": (",,,,\n,,,,\n", [], ["empty"]),
    "byte-order mark alone": (b"\xef\xbb\xbf", [], ["empty"]),
    "header alone": (HEADER, [], ["a header and no rows"]),
    "header and blank lines": (HEADER + "\n\n", [], ["a header and no rows"]),
    "no N": ("run,D,loss\na,1,1\n", [], ["no column 'N' for N", "it has run, D, loss"]),
    "no loss": ("run,N,D\na,1,1\n", [], ["no column 'loss' for the loss"]),
    "no D, no C": ("run,N,loss\na,1,1\n", [], ["neither a column of D nor of C"]),
    "no header": (ROW + ROW.replace("a", "b"), [], ["no column 'N' for N"]),
    "loss of another case": (GOOD.replace("loss", "Loss"), [], ["no column 'loss'", "is it 'Loss'?"]),
    "twice": ("N,D,loss,loss\n1,1,1,1\n", [], ["row 1: the column 'loss' occurs twice"]),
    "twice but for spaces": ("N,D,loss, loss \n1,1,1,1\n", [], ["row 1: the column 'loss' occurs twice"]),
    "twice but for case": ("N,n,D,loss\n1,1,1,1\n", [], ["columns 'N' and 'n' differ in case alone"]),
    "no name": ("N,D,,loss\n1,1,1,1\n", [], ["row 1: column 3 has no name"]),
    "semicolons in the rows": (HEADER + ROW.replace(",", ";"), [], ["row 2: 1 cells under 5 columns"]),
    "short row": (GOOD + "c,1e8,1e8,6e16\n", [], ["row 4: 4 cells under 5 columns"]),
    "long row": (GOOD + "c,1e8,1e8,6e16,3.0,1\n", [], ["row 4: 6 cells under 5 columns"]),
    "bare decimal comma": (GOOD + "c,1e8,1e8,6e16,3,0\n", [], ["row 4: 6 cells under 5 columns"]),
    "cut in a name": (CUT[:-17], [], ["row 4: 1 cells under 5 columns"]),
    "cut in N": (CUT[:-15], [], ["row 4: 2 cells under 5 columns"]),
    "cut in C": (CUT[:-6], [], ["row 4: 4 cells under 5 columns"]),
    "cut at the point": (CUT[:-1], [], ["row 4: the file ends within a number"]),
    "quote not closed": (HEADER + ROW + '"b,1e7,1e8,6e15,3.2\n' + ROW, [], ["row 3: not CSV"]),
    "quote within": (HEADER + ROW + 'b,"1e7"x,1e8,6e15,3.2\n', [], ["row 3: not CSV"]),
    "second header": (GOOD + HEADER + ROW, [], ["row 4, column 'N': 'N' is not a number"]),
    "comment": ("# runs of June\n" + GOOD, [], ["row 2: 5 cells under 1 columns"]),
    "footer": (GOOD + "mean of two runs\n", [], ["row 4: 1 cells under 5 columns"]),
    "JSON": ('[{"N": 1, "loss": 2}]\n', [], ["neither a column of D nor of C"]),
    "UTF-16 without mark": (GOOD.encode("utf-16-le"), [], ["row 1: a NUL byte"]),
    "latin-1": (GOOD.replace("b,", "bé,").encode("latin-1"), [], ["row 3: not UTF-8"]),
    "NUL": (GOOD.replace("3.2", "3\0.2"), [], ["row 3: a NUL byte"]),
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", [], ["row 1: not UTF-8"]),
    "gzip": (b"\x1f\x8b\x08\x08\x00", [], ["not whole as gzip"]),
    "spreadsheet": (b"PK\x03\x04\x14\x00\x06\x00", [], ["Excel"]),
    "no name of the run": (HEADER + ROW + ROW.replace("a,", ","), [], ["row 3, column 'run': empty"]),
    "no family": ("family,N,D,loss\nx,1,1,1\n,1,1,1\n", [], ["row 3, column 'family': empty"]),
    "cooldown": ("N,D,loss,after_cooldown\n1,1,1,maybe\n", [], ["row 2, column 'after_cooldown': 'maybe'"]),
    "C too large": ("N,D,loss\n1e8,1e9,3\n1e200,1e200,3\n", [], ["row 3: C = 6 N D is inf"]),
    "C too small": ("N,D,loss\n1e-200,1e-200,3\n", [], ["row 2: C = 6 N D is 0"]),
    "D too small": ("N,C,loss\n1e308,1e-308,3\n", [], ["row 2: D = C/(6 N) is 0"]),
    "loss too large": (with_cell("loss", "1e308"), [], ["row 3, column 'loss': 1e308 is neither a loss"]),
    "loss too small": (with_cell("loss", "1e-308"), [], ["row 3, column 'loss': 1e-308 is neither a loss"]),
    "500 columns": (",".join(f"c{i}" for i in range(500)) + "\n", [], ["a header and no rows"]),
    "wide and wrong": (
        ",".join(f"c{i}" for i in range(500)) + "\n" + "1," * 499 + "1\n",
        [],
        ["no column 'N' for N", "and 488 more"],
    ),
    "header with a line end": ('"N\nx",D,loss\n1,1,1\n', [], ["no column 'N' for N; it has N x, D, loss"]),
    "where: no such column": (GOOD, ["--where", "size < 3"], ["no column 'size'"]),
    "where: no sign": (GOOD, ["--where", "loss"], ["'loss' is not a comparison"]),
    "where: empty": (GOOD, ["--where", ""], ["this cannot be read"]),
    "where: one equals sign": (GOOD, ["--where", "loss = 3"], ["this cannot be read"]),
    "where: torn": (GOOD, ["--where", "loss < 3 and"], ["this cannot be read"]),
    "where: text with <": (GOOD, ["--where", "run < b"], ["'b' is not a number"]),
    "where: column of text": (GOOD, ["--where", "run < 3"], ["row 2, column 'run': 'a' is not a number"]),
    "where: no row": (GOOD, ["--where", "loss > 100"], ["no row satisfies 'loss > 100'"]),
    "where: code": (GOOD, ["--where", "__import__('os').getcwd() < 1"], ["has no column"]),
    "--n": (GOOD, ["--n", "size"], ["no column 'size' for N"]),
    "--d": (GOOD, ["--d", "tokens"], ["no column 'tokens' for D"]),
    "--c": (GOOD, ["--c", "flops"], ["no column 'flops' for C"]),
    "--loss": (GOOD, ["--loss", "final"], ["no column 'final' for the loss"]),
    "--run": (GOOD, ["--run", "name"], ["no column 'name' for the run"]),
    "--n, no name": (GOOD, ["--n", ""], ["no column '' for N"]),
    "--n and --d": (GOOD, ["--n", "D", "--d", "D"], ["'D' cannot be both N and D"]),
    "--n and the loss": (GOOD, ["--n", "loss"], ["'loss' cannot be both N and the loss"]),
    "--c and D": (GOOD, ["--c", "D"], ["'D' cannot be both D and C"]),
    "--n of text": (GOOD, ["--n", "run"], ["row 2, column 'run': 'a' is not a number"]),
    "--unique": (GOOD, ["--unique", "U"], ["no column 'U' for U"]),
    "--batch": (GOOD, ["--batch", "B"], ["no column 'B' for B"]),
    "--weight": (GOOD, ["--weight", "w", "--form", "chinchilla"], ["no column 'w' for the weight"]),
    "weight of zero": (
        "N,D,loss,w\n1e6,1e8,3,1\n1e6,1e8,3,0\n",
        ["--weight", "w", "--form", "chinchilla"],
        ["row 3, column 'w': 0 is not a finite positive number"],
    ),
}
CASES = {
    f"{column}: {name}": (with_cell(column, cell), [], [f"row 3, column '{column}': ", message])
    for name, (cell, message) in NOT_NUMBERS.items()
    for column in (NUMBERS if name in ("word", "zero", "negative", "decimal comma") else ("loss",))
} | FILES


def refusal(arguments, capsys) -> str:
    """The one line of error."""
    with pytest.raises(SystemExit) as status:
        main(["laws", *arguments])
    captured = capsys.readouterr()
    assert status.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.endswith("\n")
    assert captured.err.count("\n") == 1 and len(captured.err) < 1000
    assert "Traceback" not in captured.err
    return captured.err


def test_there_are_enough_cases():
    assert len(CASES) >= 100


@pytest.mark.parametrize("name", CASES)
def test_a_bad_table_is_refused_in_one_line(tmp_path, capsys, name):
    content, arguments, fragments = CASES[name]
    path = tmp_path / "runs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal([str(path), *arguments], capsys)
    assert str(path) in line or name.startswith(("where", "bits"))
    for fragment in fragments:
        assert fragment in line
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was written


def test_no_table_at_all(tmp_path, capsys):
    assert "cannot be read (No such file or directory)" in refusal([str(tmp_path / "absent.csv")], capsys)
    assert "no record.json" in refusal([str(tmp_path)], capsys)


def grid(loss, sizes=4, horizons=4) -> str:
    """Sizes by horizons, with loss(i, j)."""
    rows = [
        f"{N:.6g},{D:.6g},{float(loss(i, j))!r}\n"
        for i, N in enumerate(np.geomspace(1e6, 1e9, sizes))
        for j, D in enumerate(np.geomspace(1e8, 1e10, horizons))
    ]
    return "N,D,loss\n" + "".join(rows)


def falling(i, j):
    return 2 + 1.5**-i + 1.3**-j


USABLE = {
    "byte-order mark": (b"\xef\xbb\xbf" + grid(falling).encode(), ""),
    "Windows line ends": (grid(falling).replace("\n", "\r\n").encode(), ""),
    "old Macintosh line ends": (grid(falling).replace("\n", "\r").encode(), ""),
    "no last line end": (grid(falling).rstrip("\n").encode(), ""),
    "blank lines": (grid(falling).replace("\n", "\n\n").encode(), ""),
    "quotes": (('"' + grid(falling).replace(",", '","').replace("\n", '"\n"'))[:-1].encode(), ""),
    "spaces": (grid(falling).replace(",", "  ,\t").encode(), ""),
    "other line ends in a name": (("run," + grid(falling).replace("\n", "\na\x0c\x85b,"))[:-5].encode(), ""),
    "one row": (grid(falling, 1, 1).encode(), ""),
    "two rows": (grid(falling, 1, 2).encode(), ""),
    "one row, copied": (("N,D,loss\n" + "1e6,1e8,3\n" * 20).encode(), "19 rows repeat the N, D, C and loss"),
    "one N": (grid(falling, 1, 8).encode(), ""),
    "one loss": (grid(lambda i, j: 3).encode(), ""),
    "names again": (("run," + grid(falling).replace("\n", "\nx,"))[:-2].encode(), ""),
    "huge N": (grid(falling).replace("e+", "e+1").encode(), ""),
    "accuracies": (grid(lambda i, j: 0.2 + 0.05 * i + 0.04 * j).encode(), "is it an accuracy"),
    "error rates": (grid(lambda i, j: falling(i, j) / 10).encode(), "are these error rates"),
    "perplexities": (grid(lambda i, j: np.exp(3 * falling(i, j))).encode(), "if these are perplexities"),
    "N in billions": (grid(falling).replace("1e+06", "0.001").encode(), "is it counted in parameters?"),
    "C in another unit": (
        ("C," + grid(falling).replace("\n", "\n3.5,")[:-4]).encode(),
        "are the units FLOPs and tokens?",
    ),
}


@pytest.mark.parametrize("name", USABLE)
def test_what_can_be_read_is_read_and_doubted(tmp_path, capsys, name):
    """Exit 0, a laws.json, and for every law its parameters or a reason."""
    content, doubt = USABLE[name]
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    main(["laws", str(path), "--form", "chinchilla", "--form", "power_n", "--bootstrap", "5"])
    laws = json.loads((tmp_path / "runs.laws.json").read_text())
    for fit in laws["fits"]:
        assert fit["identified"] or fit["reason"]
    usual = ("The noise between seeds", "all, chinchilla: ", "all, power_n: ")
    doubts = [sentence for sentence in laws["warnings"] if not sentence.startswith(usual)]
    assert any(doubt in sentence for sentence in doubts) if doubt else not doubts
    assert all(sentence in capsys.readouterr().out for sentence in doubts[:1])

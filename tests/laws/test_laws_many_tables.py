"""Tables as people have them, good and bad: the right values, or one line that says what is wrong."""

from __future__ import annotations

import gzip
import io
import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scaling_laws.laws.run_tables import doubts, read_runs
from scaling_laws.study.errors import InputError

TRUE = [(1e9, 2e10, 3.0), (2e9, 2e10, 2.8)]
PLAIN = "N,D,loss\n1e9,2e10,3.0\n2e9,2e10,2.8\n"
Case = tuple[str | bytes, dict[str, Any], list[tuple[float, ...]]]


def with_N(cell: str) -> str:
    return f'N,D,loss\n"{cell}",2e10,3.0\n2e9,2e10,2.8\n'


def with_D(cell: str) -> str:
    return f'N,D,loss\n1e9,"{cell}",3.0\n2e9,2e10,2.8\n'


def with_loss(cell: str) -> str:
    return f'N,D,loss\n1e9,2e10,"{cell}"\n2e9,2e10,2.8\n'


def renamed(header: str) -> str:
    return PLAIN.replace("N,D,loss", header, 1)


def excel() -> bytes:
    content = io.BytesIO()
    pd.DataFrame(TRUE, columns=["N", "D", "loss"]).to_excel(content, index=False)
    return content.getvalue()


def parquet() -> bytes:
    content = io.BytesIO()
    pd.DataFrame(TRUE, columns=["N", "D", "loss"]).to_parquet(content)
    return content.getvalue()


ROWS = [{"N": 10**9, "D": 2e10, "loss": 3.0}, {"N": 2e9, "D": 2e10, "loss": 2.8}]
FORMATS: dict[str, Case] = {
    f"{name}, {end!r}, {encoding}": (
        PLAIN.replace(",", separator).replace("\n", end).encode(encoding),
        {},
        TRUE,
    )
    for (name, separator), end, encoding in product(
        {"commas": ",", "tabs": "\t", "semicolons": ";", "bars": "|"}.items(),
        ("\n", "\r\n", "\r"),
        ("utf-8", "utf-8-sig", "utf-16"),
    )
}
FORMATS |= {
    "gzip": (gzip.compress(PLAIN.encode()), {}, TRUE),
    "gzip of tabs in UTF-16": (gzip.compress(PLAIN.replace(",", "\t").encode("utf-16")), {}, TRUE),
    "gzip in two members": (
        gzip.compress(PLAIN[:20].encode()) + gzip.compress(PLAIN[20:].encode()),
        {},
        TRUE,
    ),
    "semicolons and decimal commas": ("N;D;loss\n1e9;2e10;3,0\n2e9;2e10;2,8\n", {}, TRUE),
    "a spreadsheet's first line": ("sep=;\nN;D;loss\n1e9;2e10;3,0\n2e9;2e10;2,8\n", {}, TRUE),
    "a spreadsheet's first line, commas": ("sep=,\n" + PLAIN, {}, TRUE),
    "blank lines": (PLAIN.replace("\n", "\n\n"), {}, TRUE),
    "blank lines first": ("\n\n" + PLAIN, {}, TRUE),
    "lines of commas alone": (PLAIN + ",,\n,,\n", {}, TRUE),
    "no last line end": (PLAIN[:-1], {}, TRUE),
    "quotes": ('"' + PLAIN.replace(",", '","').replace("\n", '"\n"')[:-1], {}, TRUE),
    "spaces": (PLAIN.replace(",", " , "), {}, TRUE),
    "tabs beside commas": (PLAIN.replace(",", ",\t"), {}, TRUE),
    "JSON, a list": (json.dumps(ROWS), {}, TRUE),
    "JSON, a list over lines": (json.dumps(ROWS, indent=2), {}, TRUE),
    "JSON lines": ("\n".join(map(json.dumps, ROWS)), {}, TRUE),
    "JSON lines, blank ones": ("\n\n".join(map(json.dumps, ROWS)) + "\n\n", {}, TRUE),
    "JSON lines, gzip": (gzip.compress("\n".join(map(json.dumps, ROWS)).encode()), {}, TRUE),
    "JSON, NaN as Python writes it": (json.dumps([*ROWS, ROWS[0] | {"loss": math.nan}]), {}, TRUE),
    "JSON, null": (json.dumps([*ROWS, ROWS[0] | {"loss": None}]), {}, TRUE),
    "JSON, numbers as text": (json.dumps([{key: str(row[key]) for key in row} for row in ROWS]), {}, TRUE),
    "JSON, nested": (
        json.dumps([{"config": {"N": row["N"], "D": row["D"]}, "loss": row["loss"]} for row in ROWS]),
        {"n": "config.N", "d": "config.D"},
        TRUE,
    ),
    "JSON, lists within": (json.dumps([row | {"betas": [0.9, 0.95]} for row in ROWS]), {}, TRUE),
    "the index of pandas": (pd.DataFrame(ROWS).to_csv(), {}, TRUE),
    "the index of pandas, tabs": (pd.DataFrame(ROWS).to_csv(sep="\t"), {}, TRUE),
    "parquet": (parquet, {}, TRUE),
    "Excel": (excel, {}, TRUE),
}
COUNTS: dict[str, Case] = {
    **{
        f"N {cell}": (with_N(cell), {}, TRUE)
        for cell in (
            *(
                "1B",
                "1.0B",
                "1b",
                "1 B",
                "1.00B",
                "1000M",
                "1000m",
                "1000 M",
                "1_000_000_000",
                "1,000,000,000",
            ),
            *(
                "1'000'000'000",
                "1 000 000 000",
                "1\u00a0000\u00a0000\u00a0000",
                "1\u202f000\u202f000\u202f000",
            ),
            *(
                "1\u2019000\u2019000\u2019000",
                "1E+09",
                "1e9",
                "+1e9",
                "1000000000.0",
                "1000000000.",
                "0.001T",
            ),
            *("1B params", "1B parameters", "1 b param", "1000000k", "1G", "10_000_000_00"),
        )
    },
    **{
        f"D {cell}": (with_D(cell), {}, TRUE)
        for cell in (
            "20B",
            "20B tokens",
            "20b toks",
            "0.02T",
            "20G",
            "2e10 tokens",
            "20,000,000,000",
            "20.0B",
        )
    },
    **{
        f"C {cell}": (f'N,C,loss\n1e9,"{cell}",3.0\n2e9,2.4e20,2.8\n', {}, TRUE)
        for cell in ("1.2e20", "1.2e20 FLOPs", "1.2E+20 flop", "120000000T")
    },
    "N as a fraction": ("N,D,loss\n.5e9,2e10,3\n", {}, [(5e8, 2e10, 3.0)]),
}
LOSSES: dict[str, Case] = {
    "nats": (with_loss("3"), {"loss_unit": "nats"}, TRUE),
    "with a sign": (with_loss("+3.0"), {}, TRUE),
    "with an exponent": (with_loss("30e-1"), {}, TRUE),
    "without a zero": (with_loss("3."), {}, TRUE),
    "bits": ("N,D,loss\n1e9,2e10,2\n", {"loss_unit": "bits"}, [(1e9, 2e10, 2 * math.log(2))]),
    "bits per byte": (
        "N,D,loss\n1e9,2e10,1\n",
        {"loss_unit": "bits/byte", "bytes_per_token": 4.0},
        [(1e9, 2e10, 4 * math.log(2))],
    ),
    "perplexity": ("N,D,loss\n1e9,2e10,20\n", {"loss_unit": "perplexity"}, [(1e9, 2e10, math.log(20))]),
    **{
        f"left out: {cell or 'empty'}": (PLAIN + f"3e9,2e10,{cell}\n", {}, TRUE)
        for cell in (
            "",
            "nan",
            "NaN",
            "NAN",
            "inf",
            "-inf",
            "Infinity",
            "NA",
            "N/A",
            "None",
            "null",
            "<NA>",
            "1e999",
        )
    },
    **{
        f"left out: {column} {state}": (
            f"{column},N,D,loss\nfinished,1e9,2e10,3\n{state},4e9,2e10,3\nfinished,2e9,2e10,2.8\n",
            {},
            TRUE,
        )
        for column, state in (
            *(("State", "crashed"), ("State", "running"), ("State", "failed"), ("State", "killed")),
            *(("state", "preempted"), ("status", "FAILED"), ("Status", "RUNNING"), ("status", "SCHEDULED")),
        )
    },
    "a State that means something else": (
        "State,N,D,loss\nOhio,1e9,2e10,3\nUtah,2e9,2e10,2.8\n",
        {},
        TRUE,
    ),
}
NAMED = {"n": "size", "d": "tokens", "loss": "val/loss"}
COLUMNS: dict[str, Case] = {
    "names": (renamed("size,tokens,val/loss"), NAMED, TRUE),
    "names with spaces": (
        renamed("Model Size,Tokens seen,loss"),
        {"n": "Model Size", "d": "Tokens seen"},
        TRUE,
    ),
    "names with quotes": (renamed('"the ""size""",D,loss'), {"n": 'the "size"'}, TRUE),
    "names in Greek": (renamed("Ν,Δ,λ"), {"n": "Ν", "d": "Δ", "loss": "λ"}, TRUE),
    "others besides": ("lr,N,D,loss,note\n1e-3,1e9,2e10,3,x\n,2e9,2e10,2.8,\n", {}, TRUE),
    "C alone": ("N,C,loss\n1e9,1.2e20,3\n2e9,2.4e20,2.8\n", {}, TRUE),
    "C under another name": ("N,F,loss\n1e9,1.2e20,3\n2e9,2.4e20,2.8\n", {"c": "F"}, TRUE),
    "C and D": ("N,D,C,loss\n1e9,2e10,1e20,3\n2e9,2e10,2e20,2.8\n", {}, TRUE),
    "batch and steps": (
        "N,b,s,loss\n1e9,1e6,2e4,3\n2e9,1e6,20k,2.8\n",
        {"more": {"batch_tokens": "b", "steps": "s"}},
        TRUE,
    ),
    "W&B": (
        "Name,State,params,tokens,eval/loss,train/loss\na,finished,1e9,2e10,3,1\nb,finished,2e9,2e10,2.8,1\n",
        {},
        TRUE,
    ),
    "W&B, groups": (
        "Name,State,config.model_params,summary.tokens_seen,val_loss\n"
        "a,finished,1B,20B,3\nb,crashed,1B,20B,\nc,finished,2B,20B,2.8\n",
        {},
        TRUE,
    ),
    "W&B, tokens of a step": (
        "Name,State,_step,tokens_per_step,n_params,val_loss\n"
        "a,finished,20000,1e6,1e9,3\nb,finished,20000,1e6,2e9,2.8\n",
        {},
        TRUE,
    ),
    "W&B, its own N": (
        renamed("N,D,loss").replace("N,D", "Name,State,N,D").replace("\n", "\na,finished,")[:-11],
        {},
        TRUE,
    ),
    "MLflow": (
        "run_id,experiment_id,status,metrics.val_loss,params.num_params,metrics.total_tokens\n"
        "x,0,FINISHED,3,1000000000,2e10\ny,0,FINISHED,2.8,2000000000,2e10\n",
        {},
        TRUE,
    ),
    "D alone": ("D,loss\n2e10,3\n3e10,2.8\n", {"needs": ("D",)}, [(2e10, 3.0), (3e10, 2.8)]),
    "N alone": ("N,loss\n2e10,3\n3e10,2.8\n", {"needs": ("N",)}, [(2e10, 3.0), (3e10, 2.8)]),
    "C alone, no N": ("C,loss\n2e20,3\n3e20,2.8\n", {"needs": ("C",)}, [(2e20, 3.0), (3e20, 2.8)]),
    "what there is": ("C,loss\n2e20,3\n", {"needs": None}, [(2e20, 3.0)]),
    "N is empty and not asked for": ("N,D,loss\n,2e10,3\n", {"needs": ("D",)}, [(2e10, 3.0)]),
}
MANY = "run,step,N,D,loss\na,1,1e9,1e10,4\na,2,1e9,2e10,3\nb,2,2e9,2e10,2.8\nb,1,2e9,1e10,2.7\n"
ROWS_CHOSEN: dict[str, Case] = {
    "last, by step": (MANY, {"keep": "last"}, TRUE),
    "last, by tokens": (MANY.replace("step", "note"), {"keep": "last"}, TRUE),
    "last, by tokens with units": (
        "run,N,D,loss\na,1B,20B,3\na,1B,9000M,4\nb,2B,20B,2.8\n",
        {"keep": "last"},
        TRUE,
    ),
    "best": (MANY, {"keep": "best"}, [(1e9, 2e10, 3.0), (2e9, 1e10, 2.7)]),
    "all": (MANY, {"keep": "all", "where": "step == 2"}, TRUE),
    "last of those that where leaves": (MANY, {"keep": "last", "where": "D >= 2e10"}, TRUE),
    "an end without a number": (MANY + "c,1,3e9,1e10,4\nc,2,3e9,2e10,nan\n", {"keep": "last"}, TRUE),
    "an end that was not measured": (MANY + "b,3,2e9,3e10,\n", {"keep": "last"}, TRUE),
    **{
        f"where {condition}": (PLAIN + "4e9,1e10,9\n", {"where": condition}, TRUE)
        for condition in (
            *(
                "loss < 9",
                "loss <= 3.0",
                "N < 4e9",
                "N <= 2e9",
                "D > 1e10",
                "D == 2e10",
            ),
            *("D != 1e10", "not loss > 5", "loss in [3.0, 2.8]", "loss not in [9]", "N > 0 and loss < 5"),
            *("loss == 3.0 or loss == 2.8", "(N == 1e9 or N == 2e9) and not D < 2e10", "`loss` < 5"),
            *(["loss < 9", "D > 1e10"], "loss is finite and loss < 5"),
        )
    },
    "where: text": (
        "family,N,D,loss\ngpt,1e9,2e10,3\nrnn,1e9,2e10,4\ngpt,2e9,2e10,2.8\n",
        {"where": "family == gpt"},
        TRUE,
    ),
    "where: a column of several words": (
        "my size,D,loss\n1e9,2e10,3\n2e9,2e10,2.8\n9e9,2e10,2\n",
        {"n": "my size", "where": "`my size` < 5e9"},
        TRUE,
    ),
    "where: units in the cells": (
        "N,D,loss\n1B,2e10,3\n2B,2e10,2.8\n9B,2e10,2\n",
        {"where": "N < 5e9"},
        TRUE,
    ),
    "where: empty cells": (
        "note,N,D,loss\nx,1e9,2e10,3\nx,2e9,2e10,2.8\n,9e9,2e10,2\n",
        {"where": "note != ''"},
        TRUE,
    ),
}
GOOD = FORMATS | COUNTS | LOSSES | COLUMNS | ROWS_CHOSEN


@pytest.mark.parametrize("name", GOOD)
def test_good_tables_have_the_right_values(tmp_path: Path, name: str) -> None:
    content, arguments, expected = GOOD[name]
    if callable(content):
        pytest.importorskip("pyarrow" if content is parquet else "openpyxl")
        content = content()
    path = tmp_path / "runs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    runs = read_runs(path, **arguments)
    width = len(expected[0])
    axes = ["N", "D"] if width == 3 else [next(name for name in ("C", "D", "N") if name in runs)]
    found = list(runs[[*axes, "loss"]].itertuples(index=False, name=None))
    assert found == [pytest.approx(row, rel=1e-15) for row in expected]
    if width == 3:
        assert all(value > 0 for value in runs["C"])


BAD: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "empty": ("", {}, "empty"),
    "a mark alone": (b"\xef\xbb\xbf", {}, "empty"),
    "a header alone": ("N,D,loss\n", {}, "a header and no rows"),
    "an empty list": ("[]", {}, "column|empty|rows|lacks"),
    "no N": ("size,D,loss\n1,1,1\n", {}, "no column 'N' for N; it has size, D, loss"),
    "no N, and the option for it": ("params,D,loss\n1,1,1\n", {}, "; try --n params"),
    "no names of ours": ("params,tokens,val/loss\n1,1,1\n", {}, "try --n params --d tokens --loss val/loss"),
    "a name to be quoted": ("Model Size,D,loss\n1,1,1\n", {}, 'try --n "Model Size"'),
    "N in lower case": ("n,D,loss\n1,1,1\n", {}, "is it 'n'"),
    "no loss": ("N,D,acc\n1,1,1\n", {}, "no column 'loss' for the loss"),
    "no D": ("N,loss\n1,1\n", {}, "neither a column of D nor of C"),
    "no D, and the option for it": ("N,tokens,loss\n1,1,1\n", {}, "try --d tokens"),
    "no variable at all": ("loss\n3\n2\n", {"needs": None}, "neither a column of D nor of C"),
    "likely names": (
        "params_active_precise,num_token,train_loss,final_ppl\n1,1,1,1\n",
        {},
        "try --n params_active_precise --d num_token --loss final_ppl --loss-unit perplexity$",
    ),
    "unlikely names": (
        "batch_size,tokens_per_s,train_loss\n1,1,1\n",
        {},
        "no column 'N' for N; it has batch_size, tokens_per_s, train_loss$",
    ),
    "the same in Python": (
        "params,tokens,val/loss\n1,1,1\n",
        {"needs": None},
        "try N='params', D='tokens', loss='val/loss'$",
    ),
    "an obvious N is no table without N": ("params,D,loss\n1,1,1\n", {"needs": None}, "try N='params'$"),
    "a law of C without C": ("D,loss\n1,1\n", {"needs": ("C",)}, "no column of C"),
    "a law of D without D": ("C,loss\n1,1\n", {"needs": ("D",)}, "no column of D"),
    "a column twice": ("N,D,D,loss\n1,1,1,1\n", {}, "row 1: the column 'D' occurs twice"),
    "a column without a name": ("N,D,,loss\n1,1,1,1\n", {}, "row 1: column 3 has no name"),
    "names that differ in case": ("N,D,d,loss\n1,1,1,1\n", {}, "'D' and 'd' differ in case alone"),
    "one column twice over": (PLAIN, {"n": "D", "d": "D"}, "'D' cannot be both N and D"),
    "a short row": (PLAIN + "3e9,2e10\n", {}, "row 4: 2 cells under 3 columns"),
    "a long row": (PLAIN + "3e9,2e10,3,5\n", {}, "row 4: 4 cells under 3 columns .*decimal comma"),
    "torn in a number": (PLAIN + "3e9,2e10,3.", {}, "row 4: the file ends within a number"),
    "torn gzip": (gzip.compress(PLAIN.encode())[:-9], {}, "not whole as gzip"),
    "gzip of nothing": (gzip.compress(b""), {}, "empty"),
    "a quote that is not closed": (PLAIN + '"3e9,2e10,3\n', {}, "row 4: not CSV"),
    "Latin-1": ("run,N,D,loss\né,1,1,1\n".encode("latin-1"), {}, "row 2: not UTF-8"),
    "UTF-16 without its mark": (PLAIN.encode("utf-16-le"), {}, "a NUL byte"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", {}, "not UTF-8"),
    "parquet, torn": (b"PAR1\0\0PAR", {}, "Parquet"),
    "Excel, torn": (b"PK\x03\x04\x14", {}, "Excel"),
    "JSON, torn": ('[{"N": 1, "D"', {}, "neither a list of JSON objects nor one a line"),
    "JSON, a list of numbers": ('[{"N": 1}, 2]', {}, "row 2: not an object"),
    "JSON, one object": ('{"N": [1, 2], "D": [1, 2]}', {}, "column|empty"),
    "JSON, deep": ("[" + '{"a":' * 2000 + "1" + "}" * 2000 + "]", {}, "nested too deeply|neither a list"),
    "words for numbers": (with_N("many"), {}, "row 2, column 'N': 'many' is not a number"),
    "a negative N": (with_N("-5M"), {}, "row 2, column 'N'"),
    "N of zero": (with_N("0"), {}, "row 2, column 'N': 0 is not a finite positive number"),
    "N without end": (with_N("inf"), {}, "row 2, column 'N': inf is not"),
    "an empty N": (with_N(""), {}, "row 2, column 'N': empty"),
    "N of another unit": (with_N("5 MB"), {}, "row 2, column 'N': '5 MB' has a unit"),
    "N with a decimal comma": (with_N("1,5"), {}, "row 2, column 'N': '1,5' has a decimal comma"),
    "N with odd separators": (with_N("1,00,000"), {}, "row 2, column 'N'"),
    "N in hexadecimal": (with_N("0x10"), {}, "row 2, column 'N'"),
    "N as a formula": (with_N("=A1"), {}, "row 2, column 'N': '=A1' is not a number"),
    "N in another script": (with_N("١٢٣"), {}, "is not a number"),
    "D of two units": (with_D("20Bk"), {}, "row 2, column 'D'"),
    "D with a range": (with_D("1-2"), {}, "row 2, column 'D'"),
    "a loss with a unit": (with_loss("3 nats"), {}, "row 2, column 'loss': '3 nats' has a unit"),
    "a loss in thousands": (with_loss("3k"), {}, "row 2, column 'loss'"),
    "a loss with an interval": (with_loss("3.0±0.1"), {}, "row 2, column 'loss'"),
    "a loss in per cent": (with_loss("35%"), {}, "has a unit"),
    "a negative loss": (with_loss("-3"), {}, "row 2, column 'loss': -3 is not a finite positive number"),
    "a loss beyond measure": (with_loss("1e300"), {}, "is neither a loss in nats per token nor a perplexity"),
    "all bad cells at once": (
        "N,D,loss\nx,2e10,3\n1e9,y,3\n1e9,2e10,z\n",
        {},
        "row 2, column 'N': 'x' .*; row 3, column 'D': 'y' .*; row 4, column 'loss': 'z'",
    ),
    "too many bad cells": ("N,D,loss\n" + "x,y,3\n" * 9, {}, "and 13 more cells"),
    "no loss at all": ("N,D,loss\n1,1,\n2,2,nan\n", {}, "no row is left: no finite loss in row 2"),
    "no run has finished": (
        "State,N,D,loss\nrunning,1,1,3\n",
        {},
        "no row is left: its State is running in row 2",
    ),
    "an unknown column, the others known": (
        "Name,State,params,tokens,val/loss\na,finished,1,1,1\n",
        {"loss": "acc"},
        "no column 'acc' for the loss; it has Name, State, params, tokens, val/loss; try --loss val/loss$",
    ),
    "an unknown column": (PLAIN, {"n": "size"}, "no column 'size' for N"),
    "an unknown run": (PLAIN, {"run": "name"}, "no column 'name' for the run"),
    "an empty name": ("run,N,D,loss\n,1,1,1\n", {}, "row 2, column 'run': empty"),
    "bits per byte of what?": (PLAIN, {"loss_unit": "bits/byte"}, "bytes per token"),
    "bytes per token of nats": (PLAIN, {"bytes_per_token": 4.0}, "bytes per token"),
    "an unknown unit": (PLAIN, {"loss_unit": "bans"}, "no unit of loss 'bans'; there are nats, bits"),
    "an unknown choice": (PLAIN, {"keep": "first"}, "keep is 'first'; there are all, last, best"),
    "a condition of nothing": (PLAIN, {"where": "size < 3"}, "no column 'size'"),
    "a condition that nothing meets": (
        PLAIN,
        {"where": ["N > 0", "loss > 9"]},
        "no row satisfies 'loss > 9'",
    ),
    "half a condition": (PLAIN, {"where": "loss <"}, "this cannot be read"),
    "a condition that calls": (PLAIN, {"where": "exec('1') < 1"}, "no column"),
    "a chart of W&B": (
        '"Step","a - l","a - l__MIN","a - l__MAX"\n1,1,1,1\n',
        {},
        "chart of Weights & Biases",
    ),
    "a chart of TensorBoard": ("Wall time,Step,Value\n1,1,3\n", {}, "give the folder of the event files"),
    "a chart of MLflow": ("run_id,key,value,timestamp,step\nx,l,3,1,1\n", {}, "mlflow.search_runs"),
    "C beyond numbers": ("N,D,loss\n1e200,1e200,3\n", {}, "row 2: C = 6 N D is inf"),
    "D below numbers": ("N,C,loss\n1e308,1e-308,3\n", {}, "row 2: D = C/\\(6 N\\) is 0"),
    "W&B without a loss": ("Name,State,params,tokens\na,finished,1,1\n", {}, "no column 'loss' for the loss"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, arguments, message = BAD[name]
    path = tmp_path / "runs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_runs(path, **arguments)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1000
    assert str(path) in line or name in (
        *("bits per byte of what?", "bytes per token of nats", "an unknown unit", "an unknown choice"),
        *("half a condition", "a condition of nothing", "a condition that calls"),
    )


DOUBTED = {
    "bits by name": ("N,D,val_bpb\n1e9,2e10,1\n", {"loss": "val_bpb"}, "--loss-unit bits/byte"),
    "perplexity by name": ("N,D,ppl\n1e9,2e10,9\n", {"loss": "ppl"}, "--loss-unit perplexity"),
    "perplexity by size": ("N,D,loss\n1e9,2e10,90\n", {}, "give their logarithms"),
    "error rates": ("N,D,loss\n1e9,2e10,0.3\n", {}, "are these error rates"),
    "millions and billions": ("N,D,loss\n10,2,3\n1300,20,2\n", {}, "D reaches 20 only"),
    "N in billions": ("N,D,loss\n1.3,2e10,3\n", {}, "is N counted in parameters?"),
    "D of a law of D": ("D,loss\n2,3\n20,2\n", {"needs": ("D",)}, "D reaches 20 only"),
    "C in another unit": ("N,D,C,loss\n1e9,2e10,1.2,3\n", {}, "are the units FLOPs and tokens?"),
    "C of other rows": (
        "N,D,C,loss\n1e9,2e10,1.2e20,3\n1e9,2e10,9e21,3\n1e9,2e10,1.2e20,3.1\n",
        {},
        "farthest from the others in row 3",
    ),
    "rows along runs": (
        "run,step,N,D,loss\n" + "".join(f"a,{i},1e9,{i}e9,{5 - i / 9}\n" for i in range(1, 9)),
        {},
        "keep its end with --keep last",
    ),
    "copies": (PLAIN + "1e9,2e10,3.0\n", {}, "1 row repeats the N, D, C and loss of another"),
    "copies in a law of D": (
        "D,loss\n2e10,3\n2e10,3\n",
        {"needs": ("D",)},
        "repeats the D and loss of another",
    ),
    "units": ("N,D,loss\n1B,20B,3\n", {}, "N is written with a unit or separators: 1B is 1e+09."),
    "left out": (PLAIN + "1e9,1e10,\n", {}, "1 row was left out (row 4: no finite loss)"),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_what_was_hardly_meant_is_doubted(tmp_path: Path, name: str) -> None:
    content, arguments, word = DOUBTED[name]
    path = tmp_path / "runs.csv"
    path.write_text(content)
    assert any(word in sentence for sentence in doubts(read_runs(path, **arguments)))


def test_there_are_enough_cases() -> None:
    assert len(GOOD) >= 150 and len(BAD) >= 60

"""Anybody's CSV: what is read, and what is refused in one line that names file, row and column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling_laws.laws.run_tables import doubts, left_out_of_table, read_runs
from scaling_laws.laws.selection import usable_runs
from scaling_laws.study.errors import InputError

GOOD = "run,N,D,loss\na,1e4,1e6,4.0\nb,2e4,1e6,3.5\n"


def write(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "runs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def test_missing_columns_are_derived(tmp_path):
    table = read_runs(write(tmp_path, GOOD))
    assert list(table.columns) == ["run", "trunk", "family", "N", "D", "C", "loss"]
    assert list(table["trunk"]) == ["a", "b"]
    assert list(table["family"]) == ["all", "all"]
    assert table["C"].tolist() == [6e10, 12e10]
    other = read_runs(
        write(tmp_path, "Model Size,FLOPs,final\n1e4,6e10,4.0\n"), n="Model Size", c="FLOPs", loss="final"
    )
    assert other["D"].tolist() == [1e6]
    assert other["run"].tolist() == ["row 2"]


def test_what_else_is_known_is_kept(tmp_path):
    content = (
        "name,trunk,family,seed,after_cooldown,N,D,C,loss\n"
        "a-1,a,lstm,3,True,1e4,1e6,7e10,4\n"
        "a-2,a,lstm,3,0,1e4,2e6,14e10,3.9\n"
    )
    table = read_runs(write(tmp_path, content), run="name")
    assert list(table["run"]) == ["a-1", "a-2"]
    assert list(table["trunk"]) == ["a", "a"]
    assert list(table["family"]) == ["lstm", "lstm"]
    assert list(table["after_cooldown"]) == [True, False]
    assert table["C"].tolist() == [7e10, 14e10]


@pytest.mark.parametrize(
    "content", ["\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), GOOD + "\n\n", '"run",' + GOOD[4:]]
)
def test_harmless_differences_are_read(tmp_path, content):
    assert len(read_runs(write(tmp_path, content))) == 2


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        ("loss < 3.8", ["b"]),
        ("loss<=3.5", ["b"]),
        ("N >= 1e4 and loss > 3.8", ["a"]),
        ("run == a", ["a"]),
        ("run != 'a'", ["b"]),
        ("`D` == 1e6", ["a", "b"]),
        ("run in [b, c]", ["b"]),
        ("run not in ['b']", ["a"]),
        ("N > 1e4 or loss > 3.8", ["a", "b"]),
        ("not (N > 1e4 or loss > 5) and loss is finite", ["a"]),
        (["N >= 1e4", "loss < 3.8"], ["b"]),
    ],
)
def test_where(tmp_path, where, runs):
    assert list(read_runs(write(tmp_path, GOOD), where=where)["run"]) == runs


def test_where_may_leave_out_what_could_not_be_fitted(tmp_path):
    content = GOOD + "c,3e4,1e6,nan\nd,3e4,1e6,inf\ne,3e4,1e6,\nf,3e4,1e6,-1\n"
    assert len(read_runs(write(tmp_path, content), where="loss > 0 and loss < 100")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("run,N,D,loss\n", "a header and no rows"),
        ("run,N,D\na,1,1\n", "no column 'loss' for the loss; it has run, N, D"),
        ("run,N,loss\na,1,1\n", "neither a column of D nor of C"),
        ("run,N,N,D,loss\na,1,1,1,1\n", "row 1: the column 'N' occurs twice"),
        ("run,N,,D,loss\na,1,1,1,1\n", "row 1: column 3 has no name"),
        (GOOD + "c,3e4,1e6\n", "row 4: 3 cells under 4 columns"),
        (GOOD + "c,3e4,1e", "row 4: 3 cells under 4 columns"),
        (GOOD + "c,3e4,1e6,3,5\n", "row 4: 5 cells under 4 columns .*decimal comma"),
        (GOOD + 'c,3e4,1e6,"3,5"\n', "row 4, column 'loss': '3,5' has a decimal comma"),
        (GOOD + 'c,3e4,1e6,"3.5\n', "row 4: not CSV"),
        (GOOD + "c,3e4,many,3.5\n", "row 4, column 'D': 'many' is not a number"),
        (GOOD + "c,3_00x,1e6,3.5\n", "row 4, column 'N': '3_00x' is not a number"),
        (GOOD + "c,3e4,,3\n", "row 4, column 'D': empty"),
        (GOOD + ",3e4,1e6,3\n", "row 4, column 'run': empty"),
        (GOOD + "c,inf,1e6,3\n", "row 4, column 'N': inf is not"),
        (GOOD + "c,1e999,1e6,3\n", "row 4, column 'N': 1e999 is not"),
        (GOOD + "c,3e4,0,3\n", "row 4, column 'D': 0 is not"),
        (GOOD + "c,3e4,1e6,-3\n", "row 4, column 'loss': -3 is not"),
        ("run,N,D,loss,after_cooldown\na,1,1,1,maybe\n", "column 'after_cooldown': 'maybe' is neither"),
        (GOOD.encode("utf-16-le"), "NUL byte"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        read_runs(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": "size"}, "no column 'size' for N"),
        ({"run": "name"}, "no column 'name' for the run"),
        ({"where": "loss"}, "'loss' is not a comparison"),
        ({"where": "__import__('os').system('true') < 1"}, "has no column"),
        ({"where": "size < 3"}, "has no column 'size'"),
        ({"where": "loss < low"}, "'low' is not a number"),
        ({"where": "run < 3"}, "column 'run': 'a' is not a number"),
        ({"where": "loss > 100"}, "no row satisfies"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        read_runs(write(tmp_path, GOOD), **arguments)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_runs(tmp_path / "absent.csv")


def test_numbers_are_read_exactly(tmp_path):
    loss = float(np.nextafter(3, 4))
    table = read_runs(write(tmp_path, f"N,D,loss\n{0.1 + 0.2!r},1e6,{loss!r}\n"))
    assert table["N"].iloc[0] == 0.1 + 0.2
    assert table["loss"].iloc[0] == loss


def test_further_columns_are_kept_under_their_own_name(tmp_path):
    path = write(tmp_path, "N,D,loss,U,w\n1e4,1e6,4.0,5e5,2\n")
    table = read_runs(path, more={"unique_tokens": "U", "weight": "w"})
    assert table["unique_tokens"].tolist() == [5e5]
    assert table["weight"].tolist() == [2.0]


def test_tokens_are_batch_times_steps_where_nothing_else_says(tmp_path):
    path = write(tmp_path, "N,loss,B,S\n1e4,4.0,1e3,500\n")
    table = read_runs(path, more={"batch_tokens": "B", "steps": "S"})
    assert table["D"].tolist() == [5e5]
    assert table["C"].tolist() == [3e10]


def test_rows_are_counted_in_lines_of_the_file(tmp_path):
    """Blank lines and cells of several lines count; U+2028, U+0085 and page breaks are no line ends."""
    content = 'run,N,D,loss\n\n"a\nb",1e4,1e6,4\nc\u2028d\x0ce\x85f,2e4,1e6,many\n'
    with pytest.raises(InputError, match="row 5, column 'loss': 'many'"):
        read_runs(write(tmp_path, content))


def table_of(N, D, loss, C=None):
    columns = {"N": np.asarray(N, float), "D": np.asarray(D, float), "loss": np.asarray(loss, float)}
    table = pd.DataFrame(columns).assign(family="all")
    return table.assign(C=6 * table["N"] * table["D"] if C is None else C)


SIZES = np.geomspace(1e6, 1e9, 12)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (table_of(SIZES, 20 * SIZES, 2 + 50 / SIZES**0.3), None),
        (table_of(SIZES, 20 * SIZES, np.exp(2 + 50 / SIZES**0.3)), "perplexities"),
        (table_of(SIZES, 20 * SIZES, 0.4 - 0.01 * np.arange(12)), "error rates"),
        (table_of(SIZES, 20 * SIZES, 0.6 + 0.02 * np.arange(12)), "accuracy"),
        (table_of(SIZES / 1e9, 20 * SIZES, 3 - 0.1 * np.arange(12)), "counted in parameters"),
        (table_of(SIZES, 20 * SIZES, 3 - 0.1 * np.arange(12), C=SIZES**2 * 120e-15), "FLOPs and tokens"),
        (table_of([1e6, 1e6], [1e7, 1e7], [3, 3]), "1 row repeats"),
    ],
)
def test_doubts(table, word):
    sentences = doubts(table)
    assert any(word in sentence for sentence in sentences) if word else sentences == []


def test_early_stopped_losses_are_final_ones_of_unique_tokens(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(
        "run,N,D,unique_tokens,loss,after_cooldown,stopped_early\n"
        "a,1e5,1e6,1e4,4.0,False,True\n"
        "b,1e5,1e6,1e6,3.5,True,False\n"
        "c,1e5,1e6,1e6,3.6,False,False\n"
    )
    by_unique = read_runs(path, d="unique_tokens")
    assert by_unique["after_cooldown"].tolist() == [True, True, False]
    assert by_unique["D"].tolist() == [1e4, 1e6, 1e6]
    by_tokens = read_runs(path)
    assert by_tokens["stopped_early"].tolist() == [True, False, False]
    assert usable_runs(by_tokens)[0]["run"].tolist() == ["b"]


TRUE = [(1e9, 2e10, 3.0), (2e9, 2e10, 2.8)]
TRACKED = """Name,State,N,D,loss
a,finished,1e9,2e10,3
b,crashed,1e9,1e10,9
c,running,1e9,1e10,4
d,finished,2e9,2e10,2.8
"""


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    runs = read_runs(write(tmp_path, TRACKED), run="Name")
    assert runs.attrs["left_out"] == (("b", "its State is crashed"), ("c", "its State is running"))
    assert any("2 rows were left out (b: its State is crashed;" in each for each in doubts(runs))
    assert left_out_of_table(runs)["run"].tolist() == ["b", "c"]


def test_rows_along_a_run_are_kept_last_or_best(tmp_path: Path) -> None:
    path = write(
        tmp_path, "run,step,N,D,loss\na,1,1e9,1e9,4\na,2,1e9,2e9,3\na,3,1e9,3e9,3.1\nb,1,2e9,1e9,5\n"
    )
    assert read_runs(path, keep="last")["loss"].tolist() == [3.1, 5]
    assert read_runs(path, keep="best")["loss"].tolist() == [3, 5]
    assert len(read_runs(path)) == 4


def test_a_dataframe_is_read_to_the_last_digit() -> None:
    table = pd.DataFrame({"N": [0.1 + 0.2, 7], "D": [10**12, 2], "loss": [np.nextafter(3, 4), None]})
    runs = read_runs(table)
    assert runs[["N", "D", "loss"]].values.tolist() == [[0.1 + 0.2, 1e12, np.nextafter(3, 4)]]
    assert runs.attrs["left_out"] == (("row 2", "no finite loss"),)


def test_parquet_and_what_is_missing_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "runs.parquet"
    pd.DataFrame(TRUE, columns=["N", "D", "loss"]).to_parquet(path)
    assert list(read_runs(path)[["N", "D", "loss"]].itertuples(index=False, name=None)) == TRUE

    def missing(*_: object) -> None:
        raise ImportError

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(InputError, match="needs the package pyarrow: pip install pyarrow"):
        read_runs(path)

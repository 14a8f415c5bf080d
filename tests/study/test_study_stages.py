"""What takes long says so: once, or in a terminal again and again; what does not says nothing."""

import io
import time

import pytest

from scaling_laws.study.stages import CLEARED, Stage, silent_stages


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def work(clock, parts=10, each_s=4.0, **stage):
    with Stage("counting sheep", parts, **stage) as counting:
        for _ in range(parts):
            clock[0] += each_s
            counting.done()


def test_what_is_quick_says_nothing(clock, capsys):
    work(clock, each_s=0.3)
    work(clock, each_s=0.3, expected_s=3.0)
    assert capsys.readouterr() == ("", "")


def test_it_is_said_once_how_long_the_rest_takes(clock, capsys):
    work(clock)  # after two of ten parts, 8 s
    assert capsys.readouterr() == ("", "counting sheep: about 0:00:32 more\n")


def test_what_is_known_before_is_said_at_once(clock, capsys):
    with Stage("counting sheep", 1, expected_s=3700):
        assert capsys.readouterr().err == "counting sheep: about 1:01:40\n"
    work(clock, expected_s=40.0)
    assert capsys.readouterr().err == "counting sheep: about 0:00:40\n"


def test_a_terminal_shows_one_line_that_is_renewed_and_cleared(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    work(clock)
    lines = terminal.getvalue().split(CLEARED)
    assert lines[0] == "" and lines[-1] == ""
    assert lines[1] == "counting sheep: about 0:00:32 more"
    assert lines[-2] == "counting sheep: about 0:00:04 more" and len(lines) == 10
    assert "\n" not in terminal.getvalue()


def test_where_nobody_knows_how_much_there_is_nothing_is_said(clock, capsys):
    for total in (0, 1):
        with Stage("counting sheep", total) as counting:
            clock[0] += 6
            counting.done(3)
    assert capsys.readouterr().err == ""


def test_nothing_is_said_where_nobody_wants_to_hear(clock, monkeypatch):
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr("sys.stderr", stream)
        with silent_stages():
            with silent_stages():
                pass
            work(clock)
        assert stream.getvalue() == ""

"""Names with escape sequences, newlines and other marks never reach a terminal or a log as they are."""

import errno
import logging
import os
import pickle

import pytest

from ddim_jax.runtime import errors
from ddim_jax.runtime.errors import DataError, report_input_errors
from ddim_jax.runtime.printable import Formatter, Parser, printable, printable_lines, spreadsheet_cell

BAD = "a\x1b[31m\n\r\x07b\u202e\u2028\x9b\x7f.png"
SHOWN = r"a\x1b[31m\n\r\x07b\u202e\u2028\x9b\x7f.png"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (BAD, SHOWN),
        (SHOWN, SHOWN),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("héllo wörld 肺\u3000é.png", "héllo wörld 肺\u3000é.png"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        (r"C:\new", r"C:\new"),
        ("", ""),
    ],
)
def test_what_is_shown(text, shown):
    assert printable(text) == shown


def test_lines_that_are_meant_stay_lines():
    assert printable_lines("a\x1bb\nc\td") == "a\\x1bb\nc\\td"


def test_an_error_shows_the_names_in_it_and_keeps_its_own_lines(capsys):
    with pytest.raises(SystemExit), report_input_errors():
        raise DataError(f"{BAD}: empty", f"  {BAD}")
    assert capsys.readouterr().err == f"error: {SHOWN}: empty\n  {SHOWN}\n"
    assert str(pickle.loads(pickle.dumps(DataError(BAD, BAD)))) == f"{SHOWN}\n{SHOWN}"


def test_a_refusal_of_the_file_system_shows_the_name(capsys):
    with pytest.raises(SystemExit), report_input_errors():
        raise OSError(errno.ENOSPC, "No space left on device", BAD)
    assert capsys.readouterr().err.startswith(f"error: {SHOWN}: No space left on device")


def test_an_argument_that_is_not_known(capsys):
    with pytest.raises(SystemExit):
        Parser(prog="sample").parse_args([BAD])
    assert capsys.readouterr().err == f"sample: error: unrecognized arguments: {SHOWN}; see sample --help\n"


def test_an_option_is_not_abbreviated(capsys):
    parser = Parser(prog="sample")
    parser.add_argument("--steps", type=int)
    assert parser.parse_args(["--steps", "2"]).steps == 2
    for given in (["--step", "2"], ["--step=2"]):
        with pytest.raises(SystemExit):
            parser.parse_args(given)
        assert capsys.readouterr().err.startswith("sample: error: unrecognized arguments: --step")


def test_a_value_may_begin_with_a_minus():
    parser = Parser()
    for name in ("--window", "--config.data.ignore"):
        parser.add_argument(name)
    parser.add_argument("--invert", action="store_true")
    given = vars(parser.parse_args(["--window", "-600,1500", "--config.data.ignore", "-.5,2", "--invert"]))
    assert given == {"window": "-600,1500", "config.data.ignore": "-.5,2", "invert": True}


def test_a_logged_message_is_one_line_where_it_is_ours():
    shown = Formatter("%(levelname)s: %(message)s")
    for pathname, text in (
        (errors.__file__, SHOWN),
        (logging.__file__, r"a\x1b[31m" + "\n" + SHOWN.partition(r"\n")[2]),
    ):
        record = logging.LogRecord("absl", logging.WARNING, pathname, 1, "%s: gone", (BAD,), None)
        assert shown.format(record) == f"WARNING: {text}: gone"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("scan-01/a=b", "scan-01/a=b"),
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("\t=1", r"\t=1"),
        ("a; =1;b", r"a\x3b =1;b"),
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("\udcff", r"\xff"),
    ],
)
def test_a_spreadsheet_computes_nothing(text, cell):
    assert spreadsheet_cell(text) == cell

"""Names and texts from outside, made safe to show: a file's name may hold escape sequences and newlines."""

import argparse
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_PACKAGE = str(Path(__file__).parents[1])
_SIGNS = "-=+@\uff0d\uff1d\uff0b\uff20"  # begin a formula; the last four are the wide ones of East Asia
_JOINERS = "\u200c\u200d"  # of ordinary words in Persian and in languages of India


def printable(text: str | os.PathLike) -> str:
    r"""`text` in one line that leaves a terminal and a log as they are.

    Escape sequences, newlines, marks that turn the direction of writing and all else that is not shown come as Python
    writes them: `\x1b`, `\n`, `\u202e`; bytes of a name that are no UTF-8 as `\xff`. Done twice it changes nothing.

    Args:
      text: a path, a name, or a message with some in it.
    """
    return "".join(map(_shown, os.fspath(text)))


def printable_lines(text: str) -> str:
    """`text` of several lines, each as `printable` has it."""
    return "\n".join(map(printable, text.split("\n")))


def spreadsheet_cell(text: str | os.PathLike) -> str:
    """`printable` text for a table in CSV, with an apostrophe in front where a spreadsheet would compute it.

    Some take a semicolon for the end of a cell whatever the file uses: one before a sign is written `\\x3b`.
    """
    text = re.sub(rf";(?=\s*[{_SIGNS}])", r"\\x3b", printable(text))
    return f"'{text}" if text.lstrip()[:1] in tuple(_SIGNS) else text


def _shown(character: str) -> str:
    if character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs":
        return character
    if "\udc80" <= character <= "\udcff":  # as `os.fsdecode` keeps a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with what was given as `printable` has it; it takes values as -600,1500.

    Options have to be written out: an abbreviation may be what another option was called.
    """

    def __init__(self, **given: Any):
        super().__init__(**given, allow_abbrev=False)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parses as argparse does, but takes -600,1500 behind an option for its value, not for an option."""
        joined: list[str] = []
        for argument in sys.argv[1:] if args is None else args:
            if joined and re.fullmatch(r"--[\w.-]+", joined[-1]) and re.match(r"-\.?\d", argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        return super().parse_known_args(joined, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {printable(message)}; see {self.prog} --help\n")


class Formatter(logging.Formatter):
    """Shows each record of this package in one line; those of others, who may mean several, line by line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return printable(text) if record.pathname.startswith(_PACKAGE) else printable_lines(text)

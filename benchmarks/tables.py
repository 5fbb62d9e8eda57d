"""Markdown tables of rows of result files, and how their cells say numbers."""

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Columns = Mapping[str, str | Callable[[Row], str]]
"""Heading -> how a cell is made of a row: a format of its fields ("{median_s:.3g} s"), or a function of it."""


INPUT = "input size / stem"
"""The heading of `input_of`."""


def images_of(row: Row) -> str:
    """The data set of a row and its split; images from elsewhere are called external."""
    return f"{row['dataset']}, {row['source'].replace('elsewhere', 'external')}"


def input_of(row: Row) -> str:
    """The side of a network's images, and of the patches of pixels that it folds into channels first."""
    return f"{row['size']} / {row['stem']}"


def with_augmentation(row: Mapping[str, Any]) -> str:
    """The network of a row of a table, with its augmentation unless that is plain "strong"."""
    return ", ".join([f"`{row['system']}`", *(part for part in row["augmentation"].split(", ") if part != "strong")])


def table(columns: Columns, rows: Iterable[Row]) -> str:
    """A Markdown table; a cell whose field a row does not have, or has as None, is empty."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[_cell(how, row) for how in columns.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(how: str | Callable[[Row], str], row: Row) -> str:
    try:
        return how.format_map(row) if isinstance(how, str) else how(row)
    except (KeyError, TypeError):  # None in a format of a number
        return ""


def distinct(values: Iterable[Hashable]) -> list:
    """Each value once, in the order in which they come."""
    return list(dict.fromkeys(values))


def groups_of(rows: Iterable[Row], fields: Iterable[str]) -> list[list[Row]]:
    """The rows that have the same values of some fields, in the order in which they come."""
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in fields), []).append(row)
    return list(found.values())


def over_seeds(rows: Sequence[Row], field: str, digits: int = 3) -> str:
    """The mean of a field, with the lowest and the highest where rows have it differently; "" where none has it."""
    values = [row[field] for row in rows if row[field] is not None]
    mean, low, high = (f"{f(values):.{digits}f}" if values else "" for f in (statistics.fmean, min, max))
    return f"{mean} ({low} to {high})" if high != low else mean


def seeds_of(line: Row) -> str:
    return ", ".join(str(row["seed"]) for row in line["rows"])


def dice_of(line: Row) -> str:
    """The Dice of a line's rows: of one seed with its interval over the images, of several as `over_seeds`."""
    rows = line["rows"]
    if len(rows) > 1:
        return over_seeds(rows, "dice_mean")
    return "{:.3f} [{:.3f}, {:.3f}]".format(rows[0]["dice_mean"], *rows[0]["dice_ci"])


def plain(value: float, digits: int) -> str:
    """A number with so many digits, or all that stand before the point; never with an exponent for its size."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def seconds(value: float) -> str:
    return f"{1e3 * value:.3g} ms" if value < 1.0 else f"{value:.3g} s"


def mebibytes(value: int) -> str:
    return f"{value / 2**20:,.0f} MiB"


def met(good: bool) -> str:
    return "met" if good else "**missed**"


def of_commit(about: Row) -> str:
    """The state of the code and the vectors of the processor, as far as a result file says them."""
    names = (("package_version", "version {}"), ("isa", "{}"))
    code = f"commit {about['commit']}" if about.get("commit") else "commit not recorded"
    return ", ".join([code, *(form.format(about[name]) for name, form in names if about.get(name))])


def measured_at(rows: Iterable[Row], done: str = "Measured") -> str:
    """The paragraph below a table that says of which code its rows are, each state once; empty without rows."""
    code = distinct(of_commit(row) for row in rows)
    return f"\n{done} at {'; '.join(code)}.\n" if code else ""

"""Tables and verdicts for the pages that are made of result files."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a newline at its end."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(good: bool) -> str:
    """Whether a bar was met, in the same words on every page."""
    return "met" if good else "**missed**"

"""Whether the tables show what a campaign of faults counts."""

from collections.abc import Mapping
from typing import Any

from benchmarks.fault_limits import PARTS

_DESCRIBED = {"seconds", "period_s", "restarts_checked", "steps", "longest_seconds", "largest_bytes"}
"""Numbers that say what was done; every other one is a count that a reader has to see."""


def on_page(name: str, found: Mapping[str, Any]) -> bool:
    """Whether the page shows each count of a part's result, and the result has each that ought to have a value."""
    shown = {key for key, *_ in PARTS[name].counts}
    ideal = {key for key, _, value in PARTS[name].counts if value is not None}
    numbers = {key for key, value in found.items() if isinstance(value, bool | int | float)}
    return ideal <= numbers <= shown | _DESCRIBED

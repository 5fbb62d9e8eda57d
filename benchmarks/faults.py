"""The counts of the fault trials (docs/results/faults.json), the limit of each, and their tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.result_file import read_result
from benchmarks.tables import Row, of_commit, table


class Limit(NamedTuple):
    """A bound on a count: ">=" for a number of trials that shows something, "<=" for a time, "==" otherwise."""

    sign: str
    value: Any

    def holds(self, found: Any) -> bool:
        return {">=": found >= self.value, "<=": found <= self.value, "==": found == self.value}[self.sign]


class Count(NamedTuple):
    """One count of a part: its field, its words, and its limit if it has one."""

    field: str
    words: str
    limit: Limit | None = None


def _none(field: str, words: str) -> Count:
    return Count(field, words, Limit("==", 0))


def _enough(field: str, words: str, least: float) -> Count:
    return Count(field, words, Limit(">=", least))


_DAMAGE = (
    Count("named", "told with the name of the file"),
    Count("fell_back", "of these read on from another checkpoint, equal to the bit to what was saved"),
    _none("silent", "not noticed, not named, or wrong weights"),
)
_AT_A_CHECKPOINT = _enough("while_saving", "of them while a checkpoint was due: in a validation or a save", 1)
PARTS = {
    "kills": (
        _enough("n", "kills", 100),
        _enough("saves_in_flight", "of them with a checkpoint half written", 20),
        Count("removals_in_flight", "of them with an old checkpoint half removed"),
        Count("starts_in_flight", "of them before the first step after a start"),
        _none("failed_restarts", "starts after a kill that did not go on"),
        _none("lost_beyond_checkpoint", "restarts that went back behind a checkpoint once complete"),
        Count(
            "bitwise_equal", "weights, average and optimiser's state equal in the end, to the bit", Limit("==", True)
        ),
    ),
    "troubles": (
        _enough("n", "kills and disks taken away", 30),
        Count("killed", "of them killed, checkpoints/ a link"),
        Count("archived", "of them killed with an older step behind a link to an archive"),
        Count("suspended", "of them killed while suspended, or after it"),
        Count("vanished", "of them with the disk of the checkpoints taken away"),
        Count("moved", "of them with the folder of the run moved away"),
        _none("unclear", "without a line that names the folder, with a traceback, or with a file written meanwhile"),
        _none("failed_restarts", "starts that did not go on once all was back in its place"),
        _none("lost_beyond_checkpoint", "restarts that went back behind a checkpoint once complete"),
        _none("archives_harmed", "archived steps that are not as they were"),
        Count(
            "bitwise_equal", "weights, average and optimiser's state equal in the end, to the bit", Limit("==", True)
        ),
    ),
    "flips": (_enough("n", "bytes changed", 1000), *_DAMAGE),
    "truncations": (_enough("n", "files cut short", 100), *_DAMAGE),
    "disk_full": (
        Count("n", "disks filled"),
        _enough("in_a_save", "of them with the checkpoints named by the error: while one was saved", 4),
        _enough("in_results", "of them with a result or the index named: while results were written", 4),
        Count("before", "of them with another file: before"),
        _none("lost", "with a loss: of the last checkpoint, of a finished result, or of the same end later"),
        _none("unclear", "without a clear line that names the disk's path"),
    ),
    "peer_death": (
        Count("n", "deaths"),
        _enough("before_first_step", "of them before the first step, the processes joined", 1),
        _AT_A_CHECKPOINT,
        Count("seconds", "seconds until the other process had ended, the longest", Limit("<=", 60)),
        _none("unnamed", "without a message that says that a process is lost and what to do"),
        _none("not_continued", "that did not go on from the last checkpoint when started again"),
    ),
    "sigterm": (
        Count("n", "stops"),
        _enough("before_first_step", "of them before the first step after a start, nothing compiled", 1),
        _AT_A_CHECKPOINT,
        Count("seconds", "seconds from the signal to the end of the program, the longest", Limit("<=", 10)),
        Count("median_seconds", "the median of them"),
        _none("unsaved", "without a checkpoint of the step that was said to be saved, or another status than 75"),
        _none("not_continued", "starts after it that did not go on from that step"),
    ),
}
"""By part, what it counts; the first says how much was done."""


def short_of_limits(part: str, found: Mapping[str, Any], *, long: bool = True) -> list[str]:
    """The counts of a part that miss their limits, in words; one that is not there was not measured.

    Args:
      part: of `PARTS`.
      found: what was counted.
      long: whether so much was to be done that the limits from below hold as well.
    """
    missed = []
    for field, words, limit in PARTS[part]:
        if limit is None or (limit.sign == ">=" and not long):
            continue
        if field not in found:
            missed.append(f"not measured: {words}")
        elif not limit.holds(found[field]):
            missed.append(f"{in_words(found[field])} {words} ({limit_in_words(limit)} expected)")
    return missed


def limit_in_words(limit: Limit | None) -> str:
    """A limit as tables have it; "" for none."""
    if limit is None:
        return ""
    return {">=": "at least ", "<=": "at most ", "==": ""}[limit.sign] + in_words(limit.value)


def in_words(value: Any) -> str:
    """A count as tables have it."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def faults(root: Path) -> str:
    """A line for each part of docs/results/faults.json."""
    measured = read_result(root / "docs" / "results" / "faults.json")

    def survived(row: Row) -> str:
        if "failed" in row["found"]:
            return f"could not be measured: {row['found']['failed']}"
        return "; ".join(short_of_limits(row["part"], row["found"])) or "all"

    columns = {
        "fault": "{part}",
        "done": lambda row: f"{row['found'][row['first'].field]:,} {row['first'].words}",
        "survived": survived,
        "code": lambda row: of_commit(row["found"]),
    }
    return table(columns, [{"part": p, "first": PARTS[p][0], "found": measured[p]} for p in PARTS if p in measured])


def faults_of(root: Path, part: str) -> str:
    """All counts of one part, what went wrong one by one, and how it was measured."""
    found = read_result(root / "docs" / "results" / "faults.json").get(part)
    if found is None or "failed" in found:
        return "Not measured.\n" if found is None else f"Could not be measured: {found['failed']}\n"
    rows = [{"words": words, "found": found, "field": field, "limit": limit} for field, words, limit in PARTS[part]]
    columns = {
        "what": "{words}",
        "count": lambda row: in_words(row["found"][row["field"]]),
        "expected": lambda row: limit_in_words(row["limit"]),
    }
    text = [table(columns, rows)]
    for kind, ones in found.get("offenders", {}).items():
        text += [f"- `{kind}: {one}`\n" for one in ones]
    where = ", ".join(str(found[name]) for name in ("device", "cpu", "system") if name in found)
    text.append(
        f"Measured on {where}, in {found['measured_in_s']:,.0f} s; {of_commit(found)}. "
        f"`python -m tests.slow.trials {part}` measures it again.\n"
    )
    return "\n".join(text)

"""docs/reliability.md from docs/results/faults.json alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.markdown import table
from ddim_jax.runtime.atomic import write_text

_INTRODUCTION = """\
# What goes wrong, and what is left then

Written by `python -m benchmarks.report` from `results/faults.json`, which `python -m benchmarks.faults` measures; do
not edit. Faults are done to the programs on purpose, at random moments and places, and what they lose is counted. The
network is a tiny one, for the arithmetic does not matter here; the programs are those that a user starts.

"""


class AtMost(NamedTuple):
    """A number that ought not to be above `limit`."""

    limit: float

    def holds(self, value: float) -> bool:
        return value <= self.limit

    def __str__(self) -> str:
        return f"at most {_text(self.limit)}"


class AtLeast(NamedTuple):
    """A number that ought not to be below `limit`: fewer would show nothing."""

    limit: float

    def holds(self, value: float) -> bool:
        return value >= self.limit

    def __str__(self) -> str:
        return f"at least {_text(self.limit)}"


class Part(NamedTuple):
    """One kind of fault: its section of the page.

    Attributes:
      title: of the section.
      done: what was done, in words.
      counts: for each number of the result that the page shows, what it is; (key, words, what it ought to be or None).
        The first says how much was done.
      after: what a user does after such a fault.
    """

    title: str
    done: str
    counts: tuple[tuple[str, str, AtMost | AtLeast | int | bool | None], ...]
    after: str


PARTS = {
    "kills": Part(
        "A training that is killed",
        "One training with a checkpoint every other step was killed with SIGKILL at random moments, while it started, "
        "trained, validated, saved and removed old checkpoints, and was started again with the same command each time. "
        "Its end was compared with that of a training that was left alone.",
        (
            ("n", "kills", AtLeast(100)),
            ("saves_in_flight", "of them with a checkpoint half written", AtLeast(20)),
            ("removals_in_flight", "of them with an old checkpoint half removed", None),
            ("starts_in_flight", "of them before the first step after a start", None),
            ("failed_restarts", "starts after a kill that did not go on", 0),
            ("lost_beyond_checkpoint", "restarts that went back behind a checkpoint once complete", 0),
            ("bitwise_equal", "weights, their average and the optimiser's state equal in the end, to the bit", True),
        ),
        "Start the same command again. It goes on from the last complete checkpoint; what comes after that is computed "
        "again. `train.checkpoint_every` says how much that can be.",
    ),
    "flips": Part(
        "A checkpoint of which a byte changed",
        "One byte of one file of a checkpoint was changed, any file and any byte, and the checkpoint was read as "
        "training and sampling read it. Then the byte was put back, and the next one changed.",
        (
            ("n", "bytes changed", AtLeast(1000)),
            ("named", "told with the name of the file", None),
            ("fell_back", "of these read on from another checkpoint, equal to the bit to what was saved", None),
            ("silent", "not noticed, not named, or wrong weights", 0),
        ),
        "The message names the file. Training goes on from the newest intact checkpoint by itself and moves the "
        "damaged one aside, to `<step>.damaged`; where a step was asked for by number, put the file back from a copy "
        "or ask for another. Look at the disk.",
    ),
    "truncations": Part(
        "A checkpoint of which a file was cut short",
        "The same with files that end too early, as an interrupted copy leaves them.",
        (
            ("n", "files cut short", AtLeast(100)),
            ("named", "told with the name of the file", None),
            ("fell_back", "of these read on from another checkpoint, equal to the bit to what was saved", None),
            ("silent", "not noticed, not named, or wrong weights", 0),
        ),
        "As above; copy the checkpoint again.",
    ),
    "disk_full": Part(
        "A disk that is full",
        "Training and segmenting were started on a small disk that had room for a share of what they were about to "
        "write, from none of it to nearly all; afterwards room was made and the same command started again.",
        (
            ("n", "disks filled", None),
            ("in_a_save", "of them with the checkpoints named by the error: while one was saved", AtLeast(4)),
            (
                "in_results",
                "of them with a result or the index named: while results were written",
                AtLeast(4),
            ),
            ("before", "of them with another file: before", None),
            ("lost", "with a loss: of the last checkpoint, of a finished result, or of the same end later", 0),
            ("unclear", "without a clear line that names the disk's path", 0),
        ),
        "Make room on the disk that the message names and start the same command again. What was left of a checkpoint "
        "that was not finished is removed by the next save.",
    ),
    "peer_death": Part(
        "One of several processes that train together dies",
        "Two processes trained one network; one was killed, in turn the one that coordinates and the other: after a "
        "random step, before the first step, and while a checkpoint was due.",
        (
            ("n", "deaths", None),
            ("before_first_step", "of them before the first step, the processes joined", AtLeast(1)),
            ("while_saving", "of them while a checkpoint was due: in a validation or a save", AtLeast(1)),
            ("seconds", "seconds until the other process had ended, the longest", AtMost(60)),
            ("unnamed", "without a message that says which process is lost and what to do", 0),
            ("not_continued", "that did not go on from the last checkpoint when started again", 0),
        ),
        "Start the same command again on all processes, or on another number of them. The exit status is 75, for "
        "schedulers that start a job again by themselves.",
    ),
    "sigterm": Part(
        "A training that is asked to stop",
        "The training of the demo got SIGTERM at random moments, some of them before its first step or while a "
        "checkpoint was due, as schedulers send it before they take a machine away, and was started again each time.",
        (
            ("n", "stops", None),
            ("before_first_step", "of them before the first step after a start, nothing compiled", AtLeast(1)),
            ("while_saving", "of them while a checkpoint was due: in a validation or a save", AtLeast(1)),
            ("seconds", "seconds from the signal to the end of the program, the longest", AtMost(10)),
            ("median_seconds", "the median of them", None),
            ("unsaved", "without a checkpoint of the step that was said to be saved, or another status than 75", 0),
            ("not_continued", "starts after it that did not go on from that step", 0),
        ),
        "Start the same command again. The exit status is 75, before training begins too, for schedulers that start a "
        "job again by themselves. Give a job longer than this between its warning and its end.",
    ),
    "bad_inputs": Part(
        "Inputs that cannot be used",
        "The programs were given files, folders and arguments that are broken or cannot be meant.",
        (
            ("n", "inputs", AtLeast(40)),
            ("starts", "programs started with them, some with many", None),
            ("tracebacks", "starts that ended in a traceback", 0),
            ("partial_outputs", "files left unfinished, or that claim success", 0),
            ("unclear", "inputs without a line that names them and what is wrong, or with another exit status", 0),
        ),
        "The message names the file, the field or the argument, and says what was expected. Where `sample.py` has many "
        "pictures, those that cannot be read are named at the end and the others are segmented.",
    ),
    "fuzz": Part(
        "Inputs made at random",
        "What reads files was fed with damaged and invented ones, made at random, for as long as given.",
        (
            ("executions", "inputs tried", AtLeast(10_000)),
            ("read", "of them read", None),
            ("refused", "of them refused with a message", None),
            ("one_sided", "readers that read nothing, or refused nothing: they show nothing", 0),
            ("seconds", "seconds of trying", AtLeast(600)),
            ("unexpected", "errors other than the ones that are meant for users", 0),
        ),
        "As above. Anything else than a message of one line is a mistake of this package; please report it.",
    ),
}


def write(root: Path) -> Path | None:
    """Writes `root`/docs/reliability.md; None where there is no faults.json, and then nothing is written."""
    measured = root / "docs" / "results" / "faults.json"
    if not measured.exists():
        return None
    page = root / "docs" / "reliability.md"
    write_text(page, faults_page(json.loads(measured.read_text(encoding="utf-8"))))
    return page


def faults_page(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The page for the contents of faults.json; a part that is not there was not measured."""
    sections = [_INTRODUCTION + _summary(measured)]
    for name, part in PARTS.items():
        found = measured.get(name)
        if found is None:
            counts = "Not measured.\n"
        elif "failed" in found:
            counts = f"Could not be measured: {found['failed']}\n"
        else:
            counts = _counts(part, found) + _readers(found) + _offenders(found)
        sections.append(f"## {part.title}\n\n{part.done}\n\n{counts}\nWhat to do: {part.after}\n")
        if found is not None:
            sections.append(_how(name, found))
    return "\n".join(sections)


def short_of_ideal(name: str, found: Mapping[str, Any]) -> list[str]:
    """The counts of a part that are not what they ought to be, in words; one that is not there was not measured."""
    return [
        f"{_text(found[key])} {words} ({_text(ideal)} expected)" if key in found else f"not measured: {words}"
        for key, words, ideal in PARTS[name].counts
        if ideal is not None and not (key in found and _is_met(ideal, found[key]))
    ]


def _is_met(ideal: AtMost | AtLeast | int | bool, value: Any) -> bool:
    return ideal.holds(value) if isinstance(ideal, AtMost | AtLeast) else value == ideal


def _summary(measured: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [("fault", "done", "survived")]
    for name, part in PARTS.items():
        found = measured.get(name)
        if found is None or "failed" in found:
            rows.append((part.title, "not measured" if found is None else "could not be measured", ""))
            continue
        key, words, _ = part.counts[0]
        done = f"{found[key]:,} {words}" if key in found else f"not measured: {words}"
        rows.append((part.title, done, "; ".join(short_of_ideal(name, found)) or "all"))
    return table(rows[0], rows[1:]) + "\n"


def _offenders(found: Mapping[str, Any]) -> str:
    """What went wrong, one by one: a list for each kind of it, or a word on each."""
    lines = []
    for kind, ones in found.get("offenders", {}).items():
        lines += [f"{kind}: {one}" for one in ([ones] if isinstance(ones, str) else ones)]
    return "".join(["\nNamely:\n\n", *(f"- `{line.replace('`', chr(39))}`\n" for line in lines)]) if lines else ""


def _counts(part: Part, found: Mapping[str, Any]) -> str:
    rows = [
        (words, _text(found[key]) if key in found else "not measured", "" if ideal is None else _text(ideal))
        for key, words, ideal in part.counts
    ]
    return table(("what", "", "expected"), rows) + "\n"


def _readers(found: Mapping[str, Any]) -> str:
    """The counts of each reader, where they were counted apart."""
    if "readers" not in found:
        return ""
    head = ("reader", "tried", "read (at least 1 expected)", "refused (at least 1 expected)", "unexpected (0 expected)")
    keys = ("executions", "read", "refused", "unexpected")
    rows = [(name, *(_text(counts[key]) for key in keys)) for name, counts in found["readers"].items()]
    return f"\n{table(head, rows)}\n"


def _how(name: str, found: Mapping[str, Any]) -> str:
    """Command, machine and rules."""
    where = [str(found[key]) for key in ("device", "cpu", "system") if key in found]
    lines = [f"`python -m benchmarks.faults --only {name}`"]
    if where:
        lines.append(f"on {', '.join(where)}")
    if "measured_in_s" in found:
        lines.append(f"in {found['measured_in_s']:,.0f} s")
    if "package_version" in found:
        lines.append(f"version {found['package_version']}")
    rules = [f"- {term}: {rule}" for term, rule in found.get("rules", {}).items()] + (
        [f"- filled: {found['how']}"] if "how" in found else []
    )
    return "\n".join([f"Measured by {'; '.join(lines)}.\n", *rules, *([""] if rules else [])])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, AtMost | AtLeast):
        return str(value)
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"

"""A disk that is full in the middle of saving a checkpoint, and of writing results; then there is room again."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.slow.trials.programs import (
    FaultRunFailed,
    Program,
    checkpoints,
    newest_complete,
    same_checkpoint,
    start_training,
    trained,
)

HOW = "a tmpfs of 16 MiB, filled up by a file beside what the program writes"
CHECKPOINT_SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
RESULT_SHARES = (0.0, 0.1, 0.35, 0.6, 0.9)
"""Free space when the program starts, as a share of the bytes that it is about to write."""
_STEPS, _MORE_STEPS = 12, 15
_PICTURES, _SIDE = 8, 96
_KINDS = "mask,probability,uncertainty,overlay"
_FULL = "No space left on device"
RULES = {
    "n": "starts of train.py and of sample.py on a disk with room for a share of what they write, "
    f"{list(CHECKPOINT_SHARES)} of a checkpoint and {list(RESULT_SHARES)} of the results",
    "in_a_save": "of these: the path that the error names lies below the folder of checkpoints",
    "in_results": "of these: it is among the results, an image or the index, and not their settings",
    "before": "of these: it is another, or there was no such error",
    "lost": "of these: the last checkpoint or a result that the index lists is gone or changed, or an image is among "
    "the results that is not whole, or the same command with room again does not end as if nothing had been",
    "unclear": "of these: the program did not end with status 2 and one line that names the disk's path and says that "
    "it is full, or a traceback is in what it said",
}


class SmallDisk:
    """A tmpfs of 16 MiB at `folder`, which is made; a context manager.

    Raises:
      FaultRunFailed: it cannot be mounted.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={16 * 2**20}", "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise FaultRunFailed(
                f"no small file system can be mounted ({done.stderr.strip()}); this part needs root, or the command "
                "below `unshare --user --map-root-user --mount`"
            )
        return self

    def __exit__(self, *_: Any) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self, leave: int) -> None:
        """Leaves `leave` bytes, rounded to whole pages."""
        about = os.statvfs(self.folder)
        (self.folder / "ballast").write_bytes(bytes(max(0, about.f_bavail * about.f_frsize - leave)))

    def make_room(self) -> None:
        """Takes away what `fill` wrote."""
        (self.folder / "ballast").unlink()


class Outcome(NamedTuple):
    """One filled disk: whether anything was lost, whether the program said clearly what it was, and what was being
    written, by the path that the error names: "save", "results" or "before"."""

    lost: bool
    clear: bool
    where: str


def measure(
    workdir: Path,
    say: Callable[[str], None],
    checkpoint_shares: Sequence[float] = CHECKPOINT_SHARES,
    result_shares: Sequence[float] = RESULT_SHARES,
) -> dict[str, Any]:
    """Fills the disk at each share, for both programs.

    Raises:
      FaultRunFailed: no small disk can be had, or a program fails on a large one.
    """
    run, expected, results = trained(workdir), workdir / "expected", workdir / "results"
    shutil.copytree(run, expected)
    with start_training(expected, workdir / "logs" / "expected.log", steps=_MORE_STEPS) as program:
        program.finish()
    write_pictures(workdir / "pictures")
    with _sampling(workdir, run, results, "results") as program:
        program.finish()
    outcomes = []
    for share in checkpoint_shares:
        outcomes.append(during_a_save(workdir, run, expected, share))
        say(f"checkpoint, room for {share:.0%}: {outcomes[-1]}")
    for share in result_shares:
        outcomes.append(during_results(workdir, run, results, share))
        say(f"results, room for {share:.0%}: {outcomes[-1]}")
    where = [outcome.where for outcome in outcomes]
    return {
        "n": len(outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
        "unclear": sum(not outcome.clear for outcome in outcomes),
        "in_a_save": where.count("save"),
        "in_results": where.count("results"),
        "before": where.count("before"),
        "how": HOW,
        "rules": RULES,
    }


def during_a_save(workdir: Path, run: Path, expected: Path, share: float) -> Outcome:
    """`run` goes on from step 12 to 15 where there is room for `share` of the checkpoint, and then with room."""
    with SmallDisk(workdir / "disk") as disk:
        own, logs = disk.folder / "run", workdir / "logs"
        shutil.copytree(run, own)
        disk.fill(int(share * _size(checkpoints(run) / str(_STEPS))))
        with start_training(own, logs / f"full_save_{share}.log", steps=_MORE_STEPS) as program:
            clear, where = is_clear(program.wait(), program.said, own), named(program.said, checkpoints(own))
        kept = newest_complete(checkpoints(own)) == _STEPS and same_checkpoint(own, run, _STEPS)
        disk.make_room()
        with start_training(own, logs / f"room_save_{share}.log", steps=_MORE_STEPS) as program:
            went_on = program.wait() == 0 and same_checkpoint(own, expected, _MORE_STEPS)
        return Outcome(not (kept and went_on), clear, "save" if where else "before")


def during_results(workdir: Path, run: Path, expected: Path, share: float) -> Outcome:
    """The images segmented where there is room for `share` of the results, and then with room."""
    with SmallDisk(workdir / "disk") as disk:
        own = disk.folder / "results"
        disk.fill(int(share * _size(expected)))
        with _sampling(workdir, run, own, f"full_results_{share}") as program:
            clear, path = is_clear(program.wait(), program.said, own), named(program.said, own)
        where = "results" if path.endswith((".png", "index.jsonl")) else "before"
        listed, written = finished(own), _pictures(own)
        kept = written.items() <= _pictures(expected).items() and set(listed) <= written.keys()
        disk.make_room()
        with _sampling(workdir, run, own, f"room_results_{share}") as program:
            went_on = program.wait() == 0 and _pictures(own) == _pictures(expected)
        went_on = went_on and sorted(finished(own)) == sorted(finished(expected))
        done_before = re.search(r"(\d+) (?:images? )?done before", program.said)
        went_on &= int(done_before[1] if done_before else 0) == len(listed) // len(_KINDS.split(","))
        return Outcome(not (kept and went_on), clear, where)


def is_clear(status: int | None, said: str, folder: Path) -> bool:
    """True if a program ended with status 2 and one `error: ` line with a path below `folder` and a full disk."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    one = len(errors) == 1 and errors[0].startswith(f"error: {folder}") and _FULL in errors[0]
    return status == 2 and "Traceback" not in said and one


def named(said: str, folder: Path) -> str:
    """The path below `folder`, or `folder` itself, that the error of a full disk names; "" where it names another."""
    found = re.search(rf"^error: ({re.escape(str(folder))}(?:/.*?)?): {_FULL}", said, re.MULTILINE)
    return found[1] if found else ""


def finished(results: Path) -> list[str]:
    """The files of the images that the index lists as segmented; a last line that is not whole is not counted."""
    index = results / "index.jsonl"
    text = index.read_text(encoding="utf-8") if index.exists() else ""
    records = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    done = [record for record in records if record["status"] == "ok"]
    return [f"{record['name']}_{kind}.png" for record in done for kind in record["outputs"]]


def write_pictures(folder: Path) -> None:
    """Images of noise, which no format makes smaller."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(_PICTURES):
        Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)).save(folder / f"{number}.png")


def _sampling(workdir: Path, run: Path, results: Path, log: str) -> Program:
    given = ["--ckpt", run, "--input", workdir / "pictures", "--output", results, "--save", _KINDS, "--prefetch", "1"]
    return Program(["sample.py", *given], workdir / "logs" / f"{log}.log")


def _pictures(folder: Path) -> dict[str, bytes]:
    """The images among the results, byte for byte; hidden files do not count."""
    found = [path for path in folder.rglob("*.png") if not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _size(folder: Path) -> int:
    """Bytes of the whole pages that the files of a folder fill."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())

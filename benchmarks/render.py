"""Puts the tables of the committed result files into the pages: python -m benchmarks.render [--check]

A page below docs/ has `<!-- table: NAME -->` and `<!-- end -->` on lines of their own; what stands between is written
from benchmarks/results/*.json and docs/results/*.json by the entry NAME of `TABLES`. With --check nothing is written,
and the exit status is 1 where a page is not as it would be written.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.faults import PARTS, faults, faults_of
from benchmarks.machine import ROOT
from benchmarks.quality.ablation import ablations
from benchmarks.quality.accuracy import accuracy, choices
from benchmarks.quality.costs import costs
from benchmarks.quality.hypotheses import hypotheses
from benchmarks.quality.missed import missed
from benchmarks.quality.robustness_tables import robustness, robustness_adversarial, robustness_attacks
from benchmarks.quality.tables import bounds, doubts, table1, table2
from benchmarks.quality.transfer import paired, transfer
from benchmarks.quality.trunk import trunks
from benchmarks.quality.unlabelled import unlabelled
from benchmarks.quality.unlike import unlike
from benchmarks.speed.tables import archive, exported, processes, startup, step_profile, suite, tiles
from ddim_jax.runtime.atomic import write_text

_MARKED = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
TABLES: dict[str, Callable[[Path], str]] = {
    "cpu": lambda root: suite(root, "cpu"),
    "gpu": lambda root: suite(root, "gpu"),
    "small": lambda root: suite(root, "small"),
    "cpu-avx512": lambda root: suite(root, "cpu_avx512"),
    "small-avx512": lambda root: suite(root, "small_avx512"),
    "table1": table1,
    "table2": table2,
    "doubts": doubts,
    "bounds": bounds,
    "transfer": transfer,
    "paired": paired,
    "hypotheses": hypotheses,
    "accuracy": accuracy,
    "choices": choices,
    "costs": costs,
    "ablations": ablations,
    "trunk": trunks,
    "missed": missed,
    "unlabelled": unlabelled,
    "unlike": unlike,
    "robustness": robustness,
    "robustness-attacks": robustness_attacks,
    "robustness-adversarial": robustness_adversarial,
    "startup": startup,
    "archive": archive,
    "processes": processes,
    "exported": exported,
    "step-profile": step_profile,
    "step-profile-light": lambda root: step_profile(root, "lightweight_ddim"),
    "tiles": tiles,
    "faults": faults,
    **{f"faults-{part}": lambda root, part=part: faults_of(root, part) for part in PARTS},
}


def rendered(page: str, root: Path = ROOT) -> str:
    """A page with its tables as the result files have them.

    Raises:
      ValueError: it asks for a table that is not in `TABLES`, or a table of it has no end.
    """

    def write(found: re.Match) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"there is no table {found[2]}; expected one of {', '.join(TABLES)}")
        return f"{found[1]}{TABLES[found[2]](root)}{found[4]}"

    text = _MARKED.sub(write, page)
    if text.count("<!-- table: ") != len(_MARKED.findall(text)):
        raise ValueError("a table has no <!-- end -->")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a page would change")
    given = parser.parse_args(arguments)
    stale = []
    for path in sorted((ROOT / "docs").rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(path.relative_to(ROOT))
            if not given.check:
                write_text(path, after)
    print("\n".join(map(str, stale)) or "every page is as its result files say")
    return 1 if stale and given.check else 0


if __name__ == "__main__":
    sys.exit(main())

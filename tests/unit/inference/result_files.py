"""The files that a run has left in its output folder."""

import json

NAMES = ["a", "b", "c", "d", "sub/e"]
"""The names of the images in the fixture `folder`, as the index has them."""
ALL = ("mask", "overlay", "probability", "uncertainty")


def contents(out):
    """Every result file with its bytes."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def records(out):
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert len({record["name"] for record in lines}) == len(lines)
    return {record["name"]: record for record in lines}

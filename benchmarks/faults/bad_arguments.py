"""Arguments that cannot be meant, for evaluate.py and the generator of phantoms."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.judge import Input, Make, Start


def evaluated(run: Path) -> Iterator[tuple[str, Make]]:
    """evaluate.py with arguments and paths that cannot be."""

    def case(arguments: tuple[str, ...], *told: str) -> Make:
        def make(folder: Path) -> Start:
            (folder / "file").write_text("mine")
            (folder / "none").mkdir()
            return Start("evaluate.py", ("--ckpt", str(run), "--output", "out", *arguments), (Input("", told),))

        return make

    yield "output-is-a-file", case(("--output", "file"), "file: the folder for the results cannot be made")
    yield "output-below-a-file", case(("--output", "file/out"), "file/out", "cannot be made")
    yield "limit", case(("--limit", "0"), "limit is 0")
    yield "steps", case(("--sampling-steps", "0"), "steps is 0")
    yield "samples", case(("--samples", "-2"), "samples is -2")
    yield "seed", case(("--seed", "-1"), "seed is -1")
    yield "seed-text", case(("--seed", "one"), "--seed", "'one'")
    yield "split", case(("--split", "holdout"), "--split", "'holdout'")


def exported() -> Iterator[tuple[str, Make]]:
    """The generator of phantoms with arguments that cannot be."""

    def case(arguments: tuple[str, ...], *told: str) -> Make:
        def make(folder: Path) -> Start:
            (folder / "file").write_text("mine")
            return Start("-m ddim_jax.data.export", ("--output", "out", *arguments), (Input("", told),))

        return make

    yield "output-is-a-file", case(("--output", "file"), "file: the folder for the results cannot be made")
    yield "count", case(("--count", "0"), "{'test': 0}", "at least 1")
    yield "size", case(("--size", "0"), "size", "is 0")
    yield "seed", case(("--seed", "-1"), "seed", "-1")

"""Files that may not be read and places that may not be written."""

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults.bad_folders import Arguments, put_stray
from benchmarks.faults.bad_pictures import put_pair
from benchmarks.faults.judge import Input, Make, Start


def forbidden(run: Path, arguments: Arguments) -> Iterator[tuple[str, Make]]:
    """Files that may not be read and folders that may not be written, for a process without root's capabilities."""

    def unreadable_picture(folder: Path) -> Start:
        put_stray(folder / "in")
        (folder / "in/stray.png").chmod(0)
        given = ("--ckpt", str(run), "--input", "in", "--output", "out")
        told = Input("stray.png", ("failed: ", "in/stray.png", "Permission denied"))
        kept = ("out", "out/settings.json", "out/index.jsonl", "out/.index.lock")
        return Start("sample.py", given, (told,), status=1, kept=kept, powerless=True)

    def unreadable_folder(folder: Path) -> Start:
        put_stray(folder / "in")
        put_stray(folder / "in/locked")
        (folder / "in/locked").chmod(0)
        given = ("--ckpt", str(run), "--input", "in", "--output", "out")
        return Start("sample.py", given, (Input("", ("in/locked", "Permission denied")),), powerless=True)

    def looping_link(folder: Path) -> Start:
        put_stray(folder / "in")
        (folder / "in/loop.png").symlink_to("loop.png")
        return beside_a_good_one(Input("loop.png", ("failed: ", "in/loop.png", "Too many levels of symbolic links")))

    def listed_folder(folder: Path) -> Start:
        put_stray(folder / "in")
        put_stray(folder / "in/listed")
        (folder / "in/listed/stray.png").rename(folder / "in/listed/inner.png")
        (folder / "in/listed").chmod(0o444)  # its files have names, and nothing else
        return beside_a_good_one(Input("inner.png", ("failed: ", "in/listed/inner.png", "Permission denied")))

    def beside_a_good_one(bad: Input) -> Start:
        given = ("--ckpt", str(run), "--input", "in", "--output", "out")
        kept = ("out", "out/settings.json", "out/index.jsonl", "out/.index.lock", "out/stray_mask.png")
        return Start("sample.py", given, (bad,), status=1, kept=kept, powerless=True)

    def closed(program: str, *given: str, told: str = "Permission denied") -> Make:
        def make(folder: Path) -> Start:
            put_stray(folder / "in")
            folder.chmod(0o555)
            return Start(program, given, (Input("", ("out", told)),), powerless=True)

        return make

    def training(change: Callable[[Path], object], *told: str) -> Make:
        def make(folder: Path) -> Start:
            for stem in "abc":
                put_pair(folder, stem)
            (folder / "splits.csv").write_text("stem,split\na,train\nb,val\nc,test\n")
            change(folder)
            return Start("train.py", arguments(folder), (Input("", told),), powerless=True)

        return make

    yield "picture", unreadable_picture
    yield "folder-of-pictures", unreadable_folder
    yield "looping-link", looping_link
    yield "folder-that-is-only-listed", listed_folder
    yield "output", closed("sample.py", "--ckpt", str(run), "--input", "in", "--output", "out")
    yield "evaluation", closed("evaluate.py", "--ckpt", str(run), "--output", "out", told="may not be written to")
    yield "export", closed("-m ddim_jax.data.export", "--output", "out")
    yield "workdir", training(lambda folder: folder.chmod(0o555), "run", "may not be written to")
    yield "mask", training(lambda folder: (folder / "masks/b.png").chmod(0), "masks/b.png", "Permission denied")
    yield "images", training(lambda folder: (folder / "images").chmod(0), "images", "Permission denied")
    yield "splits", training(lambda folder: (folder / "splits.csv").chmod(0), "splits.csv", "Permission denied")

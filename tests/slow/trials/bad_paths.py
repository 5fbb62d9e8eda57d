"""Folders, tables, paths, permissions and arguments that cannot be used."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.slow.trials.bad_pictures import SPLITS, put_data
from tests.slow.trials.judge import Input, Make, Start
from tests.slow.trials.seeds import encoded, pixels

Arguments = Callable[[Path], tuple[str, ...]]
"""Paths given to train.py, from the folder with the data, which is also the working directory."""


def training(
    arguments: Arguments, change: Callable[[Path], object], told: tuple[str, ...], *, powerless: bool = False
) -> Make:
    """train.py on three pairs after a change of their folder."""

    def make(folder: Path) -> Start:
        put_data(folder)
        change(folder)
        return Start("train.py", arguments(folder), (Input("", told),), powerless=powerless)

    return make


def trained(arguments: Arguments) -> Iterator[tuple[str, Make]]:
    """train.py on folders of three pairs a, b, c of which something is wrong."""

    def case(change: Callable[[Path], object], *told: str) -> Make:
        return training(arguments, change, told)

    def table(content: bytes | str) -> Callable[[Path], object]:
        data = content.encode() if isinstance(content, str) else content
        return lambda folder: (folder / "splits.csv").write_bytes(data)

    def double(folder: Path) -> None:
        (folder / "images/a.jpg").write_bytes(encoded(pixels(), "JPEG"))

    def emptied(folder: Path) -> None:
        shutil.rmtree(folder / "images")
        (folder / "images").mkdir()

    def dicom(folder: Path) -> None:
        for path in (folder / "images").iterdir():
            path.rename(path.with_suffix(".dcm"))

    def elsewhere(folder: Path) -> None:
        for path in list(folder.iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def not_text(folder: Path) -> None:
        (folder / "splits.csv").unlink()
        (folder / "images/gr\udce4u.png").write_bytes(encoded(pixels(), "PNG"))
        (folder / "masks/gr\udce4u.png").write_bytes((folder / "masks/a.png").read_bytes())

    yield "mask-missing", case(lambda folder: (folder / "masks/b.png").unlink(), "images/b.png has no mask")
    yield "picture-missing", case(lambda folder: (folder / "images/b.png").unlink(), "masks/b.png has no image")
    yield "two-of-a-stem", case(double, "images/a.jpg", "images/a.png")
    yield "stray-picture", case(lambda folder: put_stray(folder / "images"), "images/stray.png has no mask")
    yield "no-pictures", case(emptied, "images holds no images")
    yield "dicom-in-name", case(dicom, "images/a.dcm: is no DICOM file")
    yield "no-masks-folder", case(lambda folder: shutil.rmtree(folder / "masks"), "no folder masks")
    yield "empty-folder", case(elsewhere, "no folder images")
    yield "name-is-not-text", case(not_text, "gr", "UTF-8")
    yield "splits-unknown-stem", case(table(SPLITS + "zebra,train\n"), "zebra has a line")
    yield "splits-lacks-a-stem", case(table(SPLITS.replace("b,val\n", "")), "no pair belongs to the split val")
    yield "splits-unknown-split", case(table(SPLITS.replace("val", "dev")), "line 3", "'dev'")
    yield "splits-no-column", case(table(SPLITS.replace("stem", "name")), "splits.csv: the first line is name, split")
    yield "splits-empty", case(table(""), "splits.csv: the first line is empty")
    yield "splits-twice", case(table(SPLITS + "a,val\n"), "line 5: a appears a second time")
    yield "splits-no-validation", case(table(SPLITS.replace("val", "test")), "no pair belongs to the split val")
    yield "splits-not-utf-8", case(table(b"stem,split\n\xe4,train\n"), "splits.csv", "UTF-8")
    yield "splits-utf-16-cut", case(table(SPLITS.encode("utf-16")[:-1]), "splits.csv")
    yield "splits-open-quote", case(table('stem,split\n"' + "a" * 200_000), "splits.csv", "field")
    yield "splits-picture", case(table(encoded(pixels(), "PNG")), "splits.csv")


def sampled(run: Path) -> Iterator[tuple[str, Make]]:
    """sample.py with inputs and outputs that are not what it takes them for."""

    def case(prepare: Callable[[Path], tuple[str, str]], *told: str) -> Make:
        def make(folder: Path) -> Start:
            put_stray(folder / "in")
            given, output = prepare(folder)
            arguments = ("--ckpt", str(run), "--input", given, "--output", output)
            # What keeps two runs apart is no result; it lies in every output folder that was looked into.
            return Start("sample.py", arguments, (Input("", told),), kept=("out/.index.lock",))

        return make

    def with_file(folder: Path, name: str, content: bytes) -> tuple[str, str]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return "in", "out"

    def nothing(folder: Path) -> tuple[str, str]:
        (folder / "none").mkdir()
        return "none", "out"

    def below_a_file(folder: Path) -> tuple[str, str]:
        with_file(folder, "file", b"mine")
        return "in", "file/out"

    def clash(folder: Path) -> tuple[str, str]:
        (folder / "in/STRAY.png").write_bytes(encoded(pixels(), "PNG"))
        (folder / "in/stray.jpg").write_bytes(encoded(pixels(), "JPEG"))
        (folder / "in/stray.png.png").write_bytes(encoded(pixels(), "PNG"))
        return "in", "out"

    yield "input-missing", case(lambda folder: ("nowhere", "out"), "nowhere", "no such file")
    yield "input-empty", case(nothing, "none holds no images")
    yield "input-glob", case(lambda folder: ("in/*.tif", "out"), "in/*.tif matches no images")
    yield "output-is-input", case(lambda folder: ("in", "in"), "in is both input and output")
    yield "output-is-a-file", case(lambda folder: ("in", "in/stray.png"), "stray.png is a file")
    yield "output-below-a-file", case(below_a_file, "file/out", "Not a directory")
    yield "output-name-too-long", case(lambda folder: ("in", "o" * 300), "ooo", "too long")
    yield "output-remote", case(lambda folder: ("in", "gs://bucket/out"), "output is gs://bucket/out")
    yield "names-clash", case(clash, "stray.png", "segment them separately")
    yield "index-alone", case(lambda folder: with_file(folder, "out/index.jsonl", b"{}\n"), "index.jsonl")
    yield "settings-damaged", case(lambda folder: with_file(folder, "out/settings.json", b"{"), "settings.json")
    yield "settings-a-list", case(lambda folder: with_file(folder, "out/settings.json", b"[]"), "settings.json")
    yield (
        "settings-other",
        case(lambda folder: with_file(folder, "out/settings.json", b'{"seed": 9}'), "seed is 9"),
    )


def put_stray(folder: Path) -> None:
    """A good image, stray.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stray.png").write_bytes(encoded(pixels(), "PNG"))


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

    def trained_on(change: Callable[[Path], object], *told: str) -> Make:
        return training(arguments, change, told, powerless=True)

    yield "picture", unreadable_picture
    yield "folder-of-pictures", unreadable_folder
    yield "looping-link", looping_link
    yield "folder-that-is-only-listed", listed_folder
    yield "output", closed("sample.py", "--ckpt", str(run), "--input", "in", "--output", "out")
    yield "evaluation", closed("evaluate.py", "--ckpt", str(run), "--output", "out", told="may not be written to")
    yield "export", closed("-m ddim_jax.data.export", "--output", "out")
    yield "workdir", trained_on(lambda folder: folder.chmod(0o555), "run", "may not be written to")
    yield "mask", trained_on(lambda folder: (folder / "masks/b.png").chmod(0), "masks/b.png", "Permission denied")
    yield "images", trained_on(lambda folder: (folder / "images").chmod(0), "images", "Permission denied")
    yield "splits", trained_on(lambda folder: (folder / "splits.csv").chmod(0), "splits.csv", "Permission denied")


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
    yield "count", case(("--count", "0"), "{'test': 0}", "expected 1 to")
    yield "size", case(("--size", "0"), "size", "is 0")
    yield "seed", case(("--seed", "-1"), "seed", "-1")

"""Inputs that cannot be used, given to each program; and files and folders that a user may not read or write."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segmenters import picture
from tiny_runs import config_file, unet_config

from ddim_jax.data.generated import COUNTS
from tests.slow.trials.judge import Input, Start, try_start

KEPT = ("out", "out/settings.json", "out/index.jsonl", "out/.index.lock", "out/stray_mask.png")
GOOD = "import sys\nprint('error: b.png: empty', file=sys.stderr)\nsys.exit(2)\n"
FAKES = {
    "good": (GOOD, False, (), ()),
    "traceback": ("raise KeyError('b.png: empty')\n", True, (), ("b.png (status 1, expected 2)",)),
    "signal": ("import os\nos.abort()\n", True, (), ("b.png (status -6, expected 2)",)),
    "partial": ("open('.x.partial.png', 'w')\n" + GOOD, False, (".x.partial.png",), ()),
    "changed": ("open('mine.txt', 'w').write('theirs')\n" + GOOD, False, ("mine.txt",), ()),
    "removed": ("import os\nos.unlink('mine.txt')\n" + GOOD, False, ("mine.txt",), ()),
    "silent": ("import sys\nsys.exit(2)\n", False, (), ("b.png",)),
    "vague": ("import sys\nprint('error: b.png: no', file=sys.stderr)\nsys.exit(2)\n", False, (), ("b.png",)),
    "success": ("", False, (), ("b.png (status 0, expected 2)",)),
}


def put_data(folder):
    """Three pairs a, b and c, one for each split, and a config of a training on them."""
    config = unet_config(steps=2, warmup_steps=0, batch_size=2)
    config["data"] |= {"name": "folder", "root": ".", "counts": COUNTS}
    (folder / "tiny.py").write_text(config_file(config))
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    for name in "abc":
        for kind, pixels in (("images", picture(ord(name), 16, 16)), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{kind}/{name}.png")
    (folder / "splits.csv").write_text("stem,split\na,train\nb,val\nc,test\n")


def put_stray(folder):
    """A good image, stray.png."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(0)).save(folder / "stray.png")


def trained(change, *told, flags=(), **how):
    """train.py on the three pairs after a change of their folder."""

    def make(folder, run):
        put_data(folder)
        change(folder)
        return Start("train.py", ("--config", "tiny.py", "--workdir", "run", *flags), (Input("", told),), **how)

    return make


def sampled(change, name, *told, status=1, **how):
    """sample.py on a good image beside a bad input of that name."""

    def make(folder, run):
        put_stray(folder / "in")
        change(folder / "in")
        given = ("--ckpt", str(run), "--input", "in", "--output", "out")
        return Start("sample.py", given, (Input(name, told),), status, KEPT if status < 2 else (), **how)

    return make


def started(program, *given, told, change=put_stray, **how):
    """A program in a folder that was changed; `RUN` among its arguments is a run."""

    def make(folder, run):
        change(folder)
        return Start(program, tuple(str(run) if one == "RUN" else one for one in given), (Input("", told),), **how)

    return make


def unused(folder):
    """Leaves the folder as it is."""


def unreadable(name):
    return lambda folder: (folder / name).chmod(0)


def looping_link(folder):
    (folder / "loop.png").symlink_to("loop.png")


def locked_folder(folder):
    put_stray(folder / "locked")
    (folder / "locked").chmod(0)


def listed_folder(folder):
    put_stray(folder / "listed")
    (folder / "listed/stray.png").rename(folder / "listed/inner.png")
    (folder / "listed").chmod(0o444)  # its files have names, and nothing else


def closed(folder):
    put_stray(folder / "in")
    folder.chmod(0o555)


def one_pixel(folder):
    (folder / "stray.png").unlink()
    Image.fromarray(picture(0, 1, 1)).save(folder / "stray.png")


def cut_table(folder):
    (folder / "splits.csv").write_bytes((folder / "splits.csv").read_text().encode("utf-16")[:-1])


SAMPLE = ("--ckpt", "RUN", "--input", "in", "--output", "out")
POWERLESS = {"powerless": True}
DENIED = "Permission denied"
CASES = {
    "misspelt field": trained(unused, "'train.stepz'", "steps", flags=("--config.train.stepz=3",)),
    "no data": trained(unused, "nowhere: no such folder", flags=("--config.data.root=nowhere",)),
    "empty mask": trained(lambda folder: (folder / "masks/a.png").write_bytes(b""), "masks/a.png", "0 bytes"),
    "cut table": trained(cut_table, "splits.csv"),
    "cut image": sampled(
        lambda folder: (folder / "cut.png").write_bytes(b"\x89PNG\r\n"), "cut.png", "failed: ", "cut.png"
    ),
    "no run": started("sample.py", "--ckpt", "none", *SAMPLE[2:], told=("none", "no such folder")),
    "one pixel": sampled(one_pixel, "stray.png", "1 image segmented", "0 failed", status=0),
    "evaluation": started("evaluate.py", "--ckpt", "RUN", "--output", "out", "--limit", "0", told=("limit is 0",)),
    "export": started("-m ddim_jax.data.export", "--output", "out", "--count", "0", told=("expected 1 to",)),
    # For a process without root's capabilities
    "unreadable image": sampled(unreadable("stray.png"), "stray.png", "failed: ", "in/stray.png", DENIED, **POWERLESS),
    "unreadable folder": sampled(locked_folder, "", "in/locked", DENIED, status=2, **POWERLESS),
    "looping link": sampled(looping_link, "loop.png", "failed: ", "in/loop.png", "Too many levels of", **POWERLESS),
    "listed folder": sampled(listed_folder, "inner.png", "failed: ", "in/listed/inner.png", DENIED, **POWERLESS),
    "closed output": started("sample.py", *SAMPLE, told=("out", DENIED), change=closed, **POWERLESS),
    "closed evaluation": started(
        "evaluate.py",
        "--ckpt",
        "RUN",
        "--output",
        "out",
        told=("out", "may not be written to"),
        change=closed,
        **POWERLESS,
    ),
    "closed export": started(
        "-m ddim_jax.data.export", "--output", "out", told=("out", DENIED), change=closed, **POWERLESS
    ),
    "closed workdir": trained(lambda folder: folder.chmod(0o555), "run", "may not be written to", **POWERLESS),
    "unreadable mask": trained(unreadable("masks/b.png"), "masks/b.png", DENIED, **POWERLESS),
    "unreadable images": trained(unreadable("images"), "images", DENIED, **POWERLESS),
    "unreadable table": trained(unreadable("splits.csv"), "splits.csv", DENIED, **POWERLESS),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_line_that_names_it_and_nothing_is_left(name, plain, tmp_path, warm):
    _, verdict = try_start(lambda folder: CASES[name](folder, plain), tmp_path / "case", warm)
    for path in (Path(tmp_path, "case"), *tmp_path.glob("case/*"), *tmp_path.glob("case/in/*")):
        if path.is_dir():
            path.chmod(0o700)  # or it could not be removed
    assert (verdict.traceback, tuple(verdict.partial), tuple(verdict.unclear)) == ("", (), ())


@pytest.mark.parametrize("name", FAKES)
def test_a_program_that_fails_badly_is_counted(name, tmp_path, warm):
    source, raises, partial, unclear = FAKES[name]
    (tmp_path / "program.py").write_text(source)

    def make(folder):
        (folder / "mine.txt").write_text("mine")
        return Start(str(tmp_path / "program.py"), (), (Input("b.png", ("b.png", "empty")),))

    _, verdict = try_start(make, tmp_path / "case", warm)
    assert (bool(verdict.traceback), tuple(verdict.partial), tuple(verdict.unclear)) == (raises, partial, unclear)

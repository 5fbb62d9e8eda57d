"""An archive of many small images segmented by one process: its memory, its speed and how long the device waits.

python -m benchmarks.speed.archive                                                   (20,000 images, a tiny network)
python -m benchmarks.speed.archive --network fast --count 400 --size 256             (that of configs/fast.py)
python -m benchmarks.speed.archive --network recommended --count 3000 --size 256     (that of configs/folder.py)

Generates the images in a temporary folder, segments all of them and a tenth of them as sample.py does, each in a
process of its own, and adds a row to docs/results/archive.json, in the place of one of the same network, images and
device. What the larger run held more memory at its end, by the images it had more, is what memory grows by. The
networks have random weights; tiny and fast work at the images' size, the recommended one at its own. With the tiny one
files, and not arithmetic, are most of the work. Linux alone tells what is measured.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.machine import ROOT, describe_host, device_in_words, provenance
from benchmarks.memory import Held, high_water_bytes, reset_high_water
from benchmarks.result_file import add_row
from benchmarks.speed.startup import save_untrained
from benchmarks.speed.tables import growth
from benchmarks.worker import Worker
from ddim_jax import Segmenter, __version__
from ddim_jax.inference import segment_files
from ddim_jax.inference.parts import INDEX
from ddim_jax.runtime import allocator
from ddim_jax.runtime.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "archive.json"
RULES = {
    "seconds": "of the whole run, from listing the files to the merged index, without compiling",
    "waited_share": "of these seconds, the share in which no image could be started because the next was not read "
    "yet: the device was idle for want of input no longer than this",
    "peak_bytes": "the most memory that was resident while all images were segmented, from listing the files to the "
    "merged index; all threads share one arena of malloc",
    "held_bytes_of_a_tenth": "resident memory while a fresh process segmented a tenth of the images: the median of "
    "the last fifth of the time, every five seconds after malloc_trim had given back what was free",
    "held_bytes": "the same of a fresh process that segmented all of them",
    "bytes_per_picture": "the difference of the two, by the images that the second had more",
    "result_bytes": "the sizes of all files that were written, the index included; masks of random weights are noise, "
    "which packs badly",
    "result_disk_bytes": "the blocks that the file system gave these files, 512 bytes times st_blocks",
}
IDENTITY = ("network", "pictures", "picture_size", "device", "prefetch")
"""Fields that tell one row from another."""
NETWORKS = {"tiny": "tiny", "fast": "small", "recommended": "recommended"}
"""The networks of `benchmarks.speed.startup`, by their names here: two levels, configs/fast.py, configs/folder.py."""
_WARM = 64  # images that are segmented before memory is measured
# With an arena for each thread, the peak is a matter of which threads meet, and jumps by 9 MB at a time.
_ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}


def write_pictures(folder: Path, count: int, size: int) -> None:
    """Writes `count` different images of noise as PNG, [size, size] in colour, a thousand a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(path)


def untrained(network: str, size: int) -> Segmenter:
    """One of `NETWORKS` with random weights, for images of `size` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        save_untrained(Path(folder), NETWORKS[network], size)
        return Segmenter.load(folder)


def link_some(pictures: Path, folder: Path, count: int) -> None:
    """Makes `folder` hold the first `count` of the images, without copying them."""
    for path in sorted(pictures.rglob("*.png"))[:count]:
        link = folder / path.relative_to(pictures)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)


class Run:
    """One run; lives in a worker, so that nothing before it has raised the memory of its process.

    Args:
      network: of `NETWORKS`.
      size: of the images' sides.
    """

    def __init__(self, network: str, size: int):
        allocator.keep_freed_memory()  # as sample.py does
        self._segmenter = untrained(network, size)
        self._segmenter.segment(np.zeros((size, size, 3), np.uint8))  # compiles

    def about(self) -> dict[str, Any]:
        """The network and the device, for the row."""
        threads = len(os.sched_getaffinity(0))
        return {
            "image_size": self._segmenter.image_size,
            "steps": self._segmenter.options().steps,
            "samples": self._segmenter.options().samples,
            "device": device_in_words(jax.devices()[0], threads),
            **describe_host(threads),
            **provenance(),
        }

    def segment(self, warm: str, pictures: str, output: str, prefetch: int) -> dict[str, Any]:
        """Segments a folder: images done, seconds, of these those that were waited for input, and memory.

        Before, unmeasured, it segments the folder `warm`: what the first images make threads and allocators keep is
        then there in a short run as in a long one.
        """
        segment_files(self._segmenter, warm, f"{output}_warm", prefetch=prefetch)
        reset_high_water()
        with Held() as held:
            summary = segment_files(self._segmenter, pictures, output, prefetch=prefetch)
        return {
            "done": summary.done,
            "seconds": summary.seconds,
            "waited": summary.waited,
            "peak_bytes": high_water_bytes(),
            "held_bytes": held.at_the_end(),
        }


def measure(network: str, count: int, size: int, prefetch: int) -> dict[str, Any]:
    """The row of a run with `count` images and one with a tenth of them.

    Raises:
      RuntimeError: an image could not be read.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "pictures", count, size)
        link_some(folder / "pictures", folder / "tenth", count // 10)
        link_some(folder / "pictures", folder / "warm", _WARM)

        def run(name: str, expected: int) -> tuple[dict[str, Any], dict[str, Any]]:
            own = {"cpus": os.sched_getaffinity(0), "environment": _ONE_ARENA}
            with Worker("benchmarks.speed.archive:Run", network, size, **own) as worker:
                about = worker.call("about")
                places = [str(folder / place) for place in ("warm", name, f"{name}_results")]
                found = worker.call("segment", *places, prefetch)
            if found["done"] != expected:
                raise RuntimeError(f"{found['done']} of {expected} images segmented")
            return about, found

        about, whole = run("pictures", count)
        _, tenth = run("tenth", count // 10)
        results = folder / "pictures_results"
        written = [path.stat() for path in results.rglob("*") if path.is_file()]
        index_bytes = (results / INDEX).stat().st_size
    return {
        "network": network,
        "pictures": count,
        "picture_size": size,
        "prefetch": prefetch,
        **about,
        "package_version": __version__,
        "seconds": round(whole["seconds"], 2),
        "images_per_second": round(count / whole["seconds"], 2),
        "waited_share": round(whole["waited"] / whole["seconds"], 4),
        "peak_bytes": whole["peak_bytes"],
        "held_bytes_of_a_tenth": tenth["held_bytes"],
        "held_bytes": whole["held_bytes"],
        "bytes_per_picture": round((whole["held_bytes"] - tenth["held_bytes"]) / (count - count // 10), 1),
        "index_bytes": index_bytes,
        "result_bytes": sum(stat.st_size for stat in written),
        "result_disk_bytes": sum(512 * stat.st_blocks for stat in written),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, metavar="N", help="images, at least 10 (default: 20000)")
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS", help="of the images' sides (default: 64)")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="tiny", help="default: tiny")
    parser.add_argument("--prefetch", type=int, default=4, metavar="N", help="as sample.py (default: 4)")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/archive.json")
    given = parser.parse_args(arguments)
    if given.count < 10:
        parser.error(f"--count is {given.count}, expected at least 10")
    with report_input_errors():
        row = measure(given.network, given.count, given.size, given.prefetch)
    add_row(given.output, RULES, row, IDENTITY)
    print(
        f"{row['pictures']} images, {row['images_per_second']} a second; the device waited {row['waited_share']:.1%} "
        f"of the time; memory held {row['held_bytes_of_a_tenth'] / 2**20:.0f} MiB for a tenth of them, "
        f"{row['held_bytes'] / 2**20:.0f} MiB for all, growth: {growth(row)}; {given.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

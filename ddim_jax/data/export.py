"""Generated phantoms as image files in the folder layout: images to try the commands on.

python -m ddim_jax.data.export --output DIR [--dataset phantom] [--split test] [--count 8] [--size 64] [--seed 0]
"""

import argparse
import io
import os

import numpy as np
from PIL import Image

from ddim_jax.data.load import generated_names, load_dataset
from ddim_jax.data.sources import SPLITS, Source, example_of
from ddim_jax.runtime.atomic import atomic_path, make_folder
from ddim_jax.runtime.errors import InputError, report_input_errors
from ddim_jax.runtime.printable import Parser, printable
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.values import quantity


def export_pairs(source: Source, output_dir: str | os.PathLike) -> None:
    """Writes every pair of `source` as output_dir/images/<id>.png and output_dir/masks/<id>.png (0 and 255).

    Of several annotators each has a folder: masks_1, masks_2, ...

    Raises:
      InputError: a file of one of these names is there and is another; it is not replaced.
    """
    output_dir = local_path(output_dir, "output")
    make_folder(output_dir)
    for row in range(len(source)):
        example = example_of(source, row)
        files = {"images": example.image, "masks": example.mask * np.uint8(255)}
        if example.annotators is not None:
            del files["masks"]
            files |= {f"masks_{k}": mask * np.uint8(255) for k, mask in enumerate(example.annotators, start=1)}
        for folder, pixels in files.items():
            path, content = output_dir / folder / f"{example.id}.png", io.BytesIO()
            Image.fromarray(pixels).save(content, format="PNG")
            if path.exists() and path.read_bytes() != content.getvalue():
                raise InputError(
                    f"{path} is there, and is another image; expected none, or the same. Use another folder"
                )
            with atomic_path(path) as temporary:
                temporary.write_bytes(content.getvalue())


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, metavar="DIR", help="where images/ and masks/ go")
    parser.add_argument("--dataset", default="phantom", choices=generated_names())
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--count", type=int, default=8, metavar="N")
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with report_input_errors("stopped; the same command writes all of them"):
        counts = {given.split: given.count}
        source = load_dataset(given.dataset, given.split, seed=given.seed, image_size=given.size, counts=counts)
        export_pairs(source, given.output)
    print(f"{quantity(given.count, 'image')} in {printable(given.output)}")


if __name__ == "__main__":
    main()

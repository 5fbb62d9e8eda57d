"""The whole masks that the samples fall into, as the pages of one TIFF, the heaviest first.

Each page is as the file of the kind mask has it, and says its weight, the share of the samples, in its description.
"""

import numpy as np
from PIL import Image, TiffImagePlugin

from ddim_jax.imageio.class_colours import palette
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.values import quantity

_DESCRIPTION = 270  # the tag ImageDescription


@WRITERS.register("hypotheses")
class Hypotheses:
    suffix = ".tif"
    on_page = False  # the page shows the samples themselves
    needs_hypotheses = True

    def write(self, path, result, image, source, context):
        pages = []
        for number, one in enumerate(result.hypotheses, start=1):
            if context.labels.several:
                page = Image.fromarray(one.mask)
                page.putpalette(palette(context.labels).tobytes())
            else:
                page = Image.fromarray(one.mask * np.uint8(255))
            about = TiffImagePlugin.ImageFileDirectory_v2()
            about[_DESCRIPTION] = (
                f"hypothesis {number} of {len(result.hypotheses)}, weight {one.weight:.4f} "
                f"({quantity(len(one.samples), 'sample')})"
            )
            page.encoderinfo = {"tiffinfo": about}
            pages.append(page)
        first, *others = pages
        first.save(
            path,
            format="TIFF",
            compression="tiff_deflate",
            save_all=True,
            append_images=others,
            tiffinfo=first.encoderinfo["tiffinfo"],
        )

"""python archive_of_fakes.py INPUT OUTPUT INDEX COUNT: segments an archive by a function that needs no network."""

import sys
import time

import numpy as np
from segmenters import SIZE, config

from ddim_jax.inference import Process, segment_files
from ddim_jax.inference.segmentation import fuse
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import prepare
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.sampling_options import SamplingOptions


class RedMasks:
    """Takes the red channel for the mask, and some milliseconds for an image."""

    config, step, checkpoints, image_size = config(), 7, ("run/checkpoints/7",), SIZE
    labels = Labels()
    others = ()
    seconds = 0.01

    def options(self, options=None, **given):
        return SamplingOptions.create(self.config, **({} if options is None else options.as_given()) | given)

    def calibration(self, options):
        return None, None

    def reference(self):
        return None, "not calibrated"

    def result(self, samples, image, options, calibration, hypotheses=False):
        return fuse(samples, image.shape[:2], options, self.labels, calibration, hypotheses)

    def fingerprint(self):
        return "0" * 64

    def prepare(self, image, options):
        return prepare(image, self.image_size, 2)

    def batch_size(self, options, given, count):
        return given or 1

    def start_batch(self, pictures, options, size):
        return [picture.pixels for picture in pictures]

    def fetch(self, pixels):
        time.sleep(self.seconds)
        return np.stack([pixels[..., 0] / np.float32(127.5) - 1] * 3)


if __name__ == "__main__":
    source, output, index, count = sys.argv[1:]
    with report_input_errors():
        summary = segment_files(RedMasks(), source, output, prefetch=2, process=Process(int(index), int(count)))
    for _, reason in summary.failed:
        print(f"failed: {reason}", file=sys.stderr)
    sys.exit(1 if summary.failed else 0)

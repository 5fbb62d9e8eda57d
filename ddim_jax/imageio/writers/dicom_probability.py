"""The probabilities of a DICOM source as DICOM-SEG, FRACTIONAL: one file, values x 255, rounded."""

import numpy as np

from ddim_jax.imageio import dicom_results as results
from ddim_jax.imageio.writers.dicom_seg import write_segmentation
from ddim_jax.registry import WRITERS


@WRITERS.register("dicom-probability")
class DicomProbability:
    suffix = ".dcm"
    media_type = "application/dicom"
    on_page = False  # the probability is there as PNG
    of_dicom = True
    series_number = 9002
    has_segments = True
    needs_probability = True

    @staticmethod
    def check(sources, context):
        results.check_segments("dicom-probability", sources, context)

    def write_stack(self, path, masks, probability, stack, context):
        pixels = probability if probability.ndim == 4 else probability[..., None]
        write_segmentation(path, np.clip(pixels, 0, 1), stack, context, kind="dicom-probability")

"""An image to check a mask with, as DICOM secondary capture in colour: the mask's outline on the image."""

import functools
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.imageio import dicom_results as results
from ddim_jax.imageio.clinic import library
from ddim_jax.imageio.dicom_geometry import pixel_spacing
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.series import DicomStack
from ddim_jax.imageio.stacks import file_state
from ddim_jax.imageio.writers.overlay import draw_overlay
from ddim_jax.registry import WRITERS

_TOLD_AT_MOST = 10  # in a process


@WRITERS.register("dicom-overlay")
class DicomOverlay:
    suffix = ".dcm"
    media_type = "application/dicom"
    on_page = False  # the overlay is there as PNG
    of_dicom = True
    series_number = 9003

    @staticmethod
    def check(sources, context):
        results.check_dicom("dicom-overlay", sources)

    def write(self, path, result, image, source, context):
        drawn = draw_overlay(image, result.mask, context.labels)
        with results.referring_to(source):
            _write(path, drawn, source, context)


def _write(path, drawn, source, context):
    sc = library("highdicom.sc")
    header = _header(source, file_state(source))
    series = results.series_uid("dicom-overlay", header, context)
    spacing = pixel_spacing(header)
    dataset = sc.SCImage.from_ref_dataset(
        header,
        drawn,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=series,
        series_number=results.series_number("dicom-overlay"),
        sop_instance_uid=results.instance_uid(series, str(header.SOPInstanceUID), str(context.slice), drawn),
        instance_number=context.slice + 1,
        manufacturer=results.MAKER,
        pixel_spacing=None if spacing is None else tuple(spacing),
        patient_orientation=("L", "P"),  # replaced below
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    dataset.ManufacturerModelName, dataset.SoftwareVersions = results.MAKER, context.software
    dataset.PatientOrientation = header.get("PatientOrientation")  # empty, where it is not known
    dataset.Laterality = header.get("Laterality")
    dataset.BurnedInAnnotation = "YES"
    results.finish(dataset, path, context, "overlay")


@functools.lru_cache(4)  # the frames of one file are written one after the other, and each would walk through all
def _header(source: Path, state: tuple[int, int]) -> Any:
    """The header that overlays of a file refer to; errors as `sources_of`."""
    stack = DicomStack((source,), ReadOptions())
    known = set(stack.remarks)
    (header,) = results.sources_of(stack)
    for remark in set(stack.remarks) - known:  # of a stack of its own, whose remarks nobody else sees
        logging.log_first_n(logging.WARNING, "%s: %s", _TOLD_AT_MOST, source, remark)
    return header

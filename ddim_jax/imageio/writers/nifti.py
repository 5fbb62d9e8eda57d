"""Masks and probabilities of a NIfTI or DICOM source as NIfTI, with the source's place and spacing."""

import numpy as np

from ddim_jax.imageio.clinic import errors_naming, library
from ddim_jax.imageio.dicom_results import NOT_CLINICAL
from ddim_jax.imageio.series import DicomStack, affine, spatial_order
from ddim_jax.imageio.stacks import refuse_sources_without
from ddim_jax.registry import WRITERS


@WRITERS.register("nifti")
class Nifti:
    """The mask, uint8: 0, and the number of the class or, where classes overlap, its bit."""

    suffix = ".nii.gz"
    title = "NIfTI"

    @staticmethod
    def check(sources, context):
        check_sources("nifti", sources)

    def write_stack(self, path, masks, probability, stack, context):
        save(path, masks, stack, context)


@WRITERS.register("nifti-probability")
class NiftiProbability:
    """The probability, float32; of several classes, one after the other in a fourth dimension."""

    suffix = ".nii.gz"
    on_page = False  # the probability is there as PNG
    needs_probability = True

    @staticmethod
    def check(sources, context):
        check_sources("nifti-probability", sources)

    def write_stack(self, path, masks, probability, stack, context):
        save(path, probability.astype(np.float32), stack, context)


def check_sources(kind, sources):
    """Refuses sources without a place in space.

    Raises:
      InputError: the first of them is named.
    """
    library("nibabel")
    refuse_sources_without("open_stack", kind, sources, "keeps the place of a NIfTI or DICOM file", "have none")


def save(path, slices, stack, context):
    """Writes [n, H, W] or [n, H, W, K] as the source has its values.

    Raises:
      DataError: the slices of a DICOM source are not in even places.
    """
    nibabel = library("nibabel")
    weights = f"{len(context.members)} checkpoints" if context.members else f"step {context.step}"
    about = f"{context.software} {weights}, {NOT_CLINICAL}"
    parts = [slices] if slices.ndim == 3 else list(np.moveaxis(slices, -1, 0))
    with errors_naming(stack.files[0]):
        if isinstance(stack, DicomStack):
            # [column, row, slice], as converters from DICOM have it.
            found, order = affine(stack), spatial_order(stack)
            values = [part[order].transpose(2, 1, 0) for part in parts]
            image = nibabel.Nifti1Image(_joined(values), found)
            # Code 1: the scanner's coordinates. The qform, all that some programs read, has no shear (a tilted gantry).
            image.set_sform(found, code=1)
            image.set_qform(found, code=1)
            if not np.allclose(image.get_qform(), found, atol=1e-4):
                image.set_qform(None, code=0)
            image.header["descrip"] = about.encode()[:79]
            image.header.set_xyzt_units("mm")
            image.header.set_dim_info(slice=2)
        else:
            image = stack.image_of(_joined([stack.as_stored(part) for part in parts]), about)
        nibabel.save(image, path)


def _joined(parts):
    if len(parts) == 1:
        return parts[0]
    shape = (*parts[0].shape, 1)[:3]
    return np.stack([part.reshape(shape) for part in parts], axis=-1)

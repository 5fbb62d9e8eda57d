"""The masks of a DICOM source as DICOM-SEG, BINARY: one file, a segment for each class."""

import numpy as np

from ddim_jax.imageio import dicom_results as results
from ddim_jax.imageio.clinic import library
from ddim_jax.imageio.coded import coded
from ddim_jax.imageio.dicom_places import as_sources, remove_made_up
from ddim_jax.registry import WRITERS


@WRITERS.register("dicom-seg")
class DicomSeg:
    suffix = ".dcm"
    title = "DICOM-SEG"
    media_type = "application/dicom"
    of_dicom = True
    series_number = 9001
    has_segments = True

    @staticmethod
    def check(sources, context):
        results.check_segments("dicom-seg", sources, context)

    def write_stack(self, path, masks, probability, stack, context):
        labels = context.labels
        if labels.multilabel:
            pixels = np.stack([labels.of_class(masks, k + 1) for k in range(labels.count)], axis=-1).astype(np.uint8)
        else:
            pixels = masks
        write_segmentation(path, pixels, stack, context, kind="dicom-seg")


def write_segmentation(path, pixels, stack, context, *, kind):
    """Writes a segmentation of all slices.

    Args:
      path: where to.
      pixels: uint8 [n, H, W] of class numbers or [n, H, W, K] of {0, 1}; or float32 [n, H, W, K], probabilities.
      stack: the source, a `ddim_jax.imageio.series.DicomStack`.
      context: facts of the run.
      kind: name of the writer.

    Raises:
      DataError: the source cannot be referred to.
    """
    with results.referring_to(stack.files[0]):
        _write(path, pixels, stack, context, kind)


def _write(path, pixels, stack, context, kind):
    highdicom, seg = library("highdicom"), library("highdicom.seg")
    cid7162 = library("pydicom.sr.codedict").codes.cid7162
    sources = results.sources_of(stack)
    headers, measures = as_sources(sources, stack)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=results.MAKER,
        family=cid7162.ArtificialIntelligence,
        version=context.software.split()[-1],
        parameters={"checkpoint": results.checkpoint_names(context), "weights": context.weights},
    )
    names = context.labels.class_names
    descriptions = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=name if context.labels.names else kind_of.meaning,
            segmented_property_category=category,
            segmented_property_type=kind_of,
            algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, (name, (category, kind_of)) in enumerate(
            zip(names, coded(context.segments, names), strict=True), start=1
        )
    ]
    fractional = pixels.dtype != np.uint8
    series = results.series_uid(kind, headers[0], context)
    instances = ",".join(str(header.SOPInstanceUID) for header in headers)
    concepts = repr(sorted(context.segments.items()))  # with others it is another file
    dataset = seg.Segmentation(
        source_images=headers,
        pixel_array=pixels,
        segmentation_type="FRACTIONAL" if fractional else "BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=series,
        series_number=results.series_number(kind),
        sop_instance_uid=results.instance_uid(series, instances, concepts, pixels),
        instance_number=1,
        content_label="PROBABILITY" if fractional else "SEGMENTATION",
        content_description=f"{results.NOT_CLINICAL}",
        pixel_measures=measures,
        **results.about(context),
    )
    dimensions = results.made_uid("dimensions", str(dataset.SOPInstanceUID))  # highdicom draws one
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    remove_made_up(dataset, stack, sources[0])
    results.finish(dataset, path, context, "probability" if fractional else "segmentation")

"""DICOM files of results, checked by dciodvfy where it is installed and read back by highdicom."""

import shutil
import subprocess

import highdicom
import numpy as np
import pytest
from dicom_files import bundled, ct_series

from ddim_jax.imageio.stacks import open_stack
from ddim_jax.imageio.writers import Context
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS
from ddim_jax.sampling_options import SamplingOptions

LABELS = Labels.create({"lung": 1, "heart": 2})
CONTEXT = Context(
    "ddim_jax 0.2.0", "/runs/lungs/checkpoints/600", "ab" * 32, 600, SamplingOptions(), LABELS,
    {"lung": "Lung", "heart": "AnatomicalStructure/Heart"},
)  # fmt: skip
NAMES = (
    *("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "examples_ybr_color.dcm"),
    # Of the package pydicom-data; the first four are radiographs of the chest.
    *("RG1_UNCR.dcm", "RG1_UNCI.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm", "RG3_J2KI.dcm", "US1_J2KR.dcm"),
    *("emri_small.dcm", "eCT_Supplemental.dcm", "OBXXXX1A_rle_2frame.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"),
    "series",
)


@pytest.fixture(params=NAMES)
def stack(request, tmp_path):
    if request.param == "series":
        ct_series(tmp_path / "ct")
        return open_stack(sorted((tmp_path / "ct").iterdir()))
    path = bundled(request.param)
    if path is None:
        pytest.skip(f"{request.param} is not installed (pydicom-data)")
    return open_stack([path])


def errors(path):
    told = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, timeout=120)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


def test_results_of_real_files(stack, tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (stack.count, *stack.shape)).astype(np.uint8)
    masks[:, : stack.shape[0] // 2] = 0
    probability = rng.random((*masks.shape, 2)).astype(np.float32)
    expected = {"dicom-seg": np.stack([masks == 1, masks == 2], axis=-1), "dicom-probability": probability}
    uids = [part.header.SOPInstanceUID for part in stack.slices]
    for kind, values in expected.items():
        path = tmp_path / f"{kind}.dcm"
        WRITERS.get(kind)().write_stack(path, masks, probability, stack, CONTEXT)
        seg = highdicom.seg.segread(path)
        if len(stack.files) == stack.count:
            found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
        else:
            frames = [part.frame + 1 for part in stack.slices]
            found = seg.get_pixels_by_source_frame(uids[0], frames, assert_missing_frames_are_empty=True)
        np.testing.assert_allclose(found, values, atol=0 if kind == "dicom-seg" else 0.5 / 255 + 1e-6)
        if shutil.which("dciodvfy"):
            assert errors(path) == []
    path, image = tmp_path / "overlay.dcm", stack.read(0)
    result = Segmentation(masks[0], None, None, 0.0)
    WRITERS.get("dicom-overlay")().write(path, result, image, stack.files[0], CONTEXT)
    if shutil.which("dciodvfy"):
        assert errors(path) == []

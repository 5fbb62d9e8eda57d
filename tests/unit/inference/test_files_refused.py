"""Inputs that are refused before results of two kinds mix, and before anything is written."""

import sys

import numpy as np
import pytest
from PIL import Image
from result_files import contents
from segmenters import picture, red_segmenter

from ddim_jax.imageio.clinic import library
from ddim_jax.inference import FileOptions, segment_files
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import CheckpointError, InputError


def test_other_settings_are_refused_naming_them(folder, out):
    segment_files(red_segmenter(), folder, out)
    before = contents(out)
    with pytest.raises(InputError) as error:
        segment_files(red_segmenter(), folder, out, steps=1, threshold=0.25)
    assert "steps is 2 there and 1 now; threshold is 0.5 there and 0.25 now" in str(error.value)
    assert "seed" not in str(error.value)
    with pytest.raises(InputError, match=r"weights is .* made with run/checkpoints/7, now run/checkpoints/7"):
        segment_files(red_segmenter(gain=0.5), folder, out)
    assert contents(out) == before


def test_native_results_and_resized_ones_do_not_mix(folder, out, tmp_path):
    summary = segment_files(red_segmenter(), folder, out, save=("probability",), size="native")
    assert summary.done == 5
    for seed, name in enumerate(("a", "b", "c", "d", "sub/e")):
        saved = np.asarray(Image.open(out / f"{name}_probability.png"))
        red = picture(seed, 12 + seed, 20)[..., 0]
        np.testing.assert_allclose(saved / 65535, red / 255, atol=1e-5)  # every pixel its own, no resampling
    assert segment_files(red_segmenter(), folder, out, save=("probability",), size="native").kept == 5
    before = contents(out)
    with pytest.raises(InputError, match="other settings: size is native there and model now"):
        segment_files(red_segmenter(), folder, out, save=("probability",))
    assert contents(out) == before
    segment_files(red_segmenter(), folder, tmp_path / "resized")
    with pytest.raises(InputError, match="other settings: size is model there and native now"):
        segment_files(red_segmenter(), folder, tmp_path / "resized", size="native")


def test_the_same_name_from_another_folder_is_refused(folder, out, tmp_path):
    segment_files(red_segmenter(), folder, out)
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(picture(60)).save(other / "a.png")
    before = contents(out)
    with pytest.raises(InputError, match=r"a_mask.png belongs to .*in/a.png, not to .*other/a.png"):
        segment_files(red_segmenter(), other, out)
    assert contents(out) == before


def test_results_beside_their_images_are_not_taken_for_images(folder):
    """The arguments that a shell makes of `--input in/*.png --output in`, run twice."""
    segment_files(red_segmenter(), sorted(folder.glob("*.png")), folder)
    assert (folder / "a_mask.png").exists()
    with pytest.raises(InputError, match=r"a_mask.png is a result of an earlier run"):
        segment_files(red_segmenter(), sorted(folder.glob("*.png")), folder)


def test_values_that_are_not_finite_are_not_written(folder, out):
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        segment_files(red_segmenter(gain=np.nan), folder, out)
    assert contents(out) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save": ("mask", "masks")}, f"save is 'masks'; expected some of {', '.join(WRITERS)}"),
        ({"save": "mask"}, r"save is 'mask'; expected a sequence of names, such as \('mask',\)"),
        ({"save": ()}, "save is empty"),
        ({"prefetch": 0}, "prefetch is 0"),
        ({"steps": 101}, "steps is 101"),
    ],
)
def test_bad_arguments_leave_no_trace(folder, out, options, message):
    with pytest.raises(InputError, match=message):
        segment_files(red_segmenter(), folder, out, **options)
    assert not out.exists()


def test_options_of_another_kind_are_told(folder, out):
    with pytest.raises(TypeError, match="options is a FileOptions; expected SamplingOptions; give others by name"):
        segment_files(red_segmenter(), folder, out, FileOptions(save=("mask",)))
    with pytest.raises(TypeError, match=r"unexpected option 'saves'; expected some of save, .*, steps, "):
        segment_files(red_segmenter(), folder, out, saves=("mask",))


def test_a_file_in_the_place_of_the_output_folder(folder):
    with pytest.raises(InputError, match=r"a.png is a file; expected a folder"):
        segment_files(red_segmenter(), folder, folder / "a.png")


@pytest.mark.parametrize(("name", "package"), [("sub/z.nii.gz", "nibabel"), ("z.dcm", "pydicom")])
def test_a_library_that_a_later_file_needs_is_asked_for_before_any_work(folder, out, monkeypatch, name, package):
    (folder / name).touch()
    files = [folder / "a.png", folder / name]  # given by themselves: of a folder, DICOM files are looked into
    library.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is not installed; pip install '\.\[clinic\]'"):
        segment_files(red_segmenter(), files, out)
    assert not out.exists()

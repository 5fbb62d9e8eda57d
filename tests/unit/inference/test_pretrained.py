"""The weights that travel with the package."""

import numpy as np
import pytest

from ddim_jax import load_dataset, pretrained
from ddim_jax.inference import Segmenter


@pytest.mark.parametrize(
    ("name", "terms", "step"),
    [("lung_xray", "CC BY-NC-SA 4.0", 5000), ("skin_lesion", "CC BY-NC", 7000), ("polyp", "CC BY 4.0", 2000)],
)
def test_packaged_weights_say_their_terms_and_are_calibrated(caplog, name, terms, step):
    segmenter = Segmenter.from_pretrained(name)
    assert terms in caplog.text and "not for clinical use" in caplog.text
    assert segmenter.step == step
    calibration, why_not = segmenter.calibration()
    assert (why_not, calibration.coverage) == ("", 0.9)
    assert (calibration.about["dataset"], calibration.about["split"]) == (name, "val")
    assert segmenter.config["data"]["root"] == ""


def test_every_file_has_its_name():
    files = {path.stem for path in pretrained.file_of("any").parent.glob("*.safetensors")}
    assert files == set(pretrained.SHA256)


def test_the_packaged_lungs_are_found_on_a_phantom_they_never_saw():
    """Phantoms are drawn, and unlike films in much: that the right place is found shows that these are the weights."""
    segmenter = Segmenter.from_pretrained("lung_xray")
    phantom = load_dataset("phantom", "test", image_size=64)[0]
    result = segmenter.segment(phantom.image, seed=0)
    assert 2 * np.sum(result.mask & phantom.mask) / (result.mask.sum() + phantom.mask.sum()) > 0.7
    low, high, dice_low, unlike = result.bounds["foreground"]
    assert 0 <= low < result.mask.sum() < high <= 64 * 64 and 0 < dice_low < 1
    assert unlike is (result.unlikeness > 1)

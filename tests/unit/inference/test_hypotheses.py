"""Samples grouped into whole-mask hypotheses, and their file."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageSequence
from segmenters import picture, red_segmenter

from ddim_jax.imageio.writers.hypotheses import Hypotheses
from ddim_jax.inference import segment_files
from ddim_jax.inference.hypotheses import Hypothesis, hypotheses_of, why_no_opinions
from ddim_jax.inference.records import record_fields
from ddim_jax.inference.segmentation import Segmentation, fuse
from ddim_jax.inference.sliced_image import summed
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS, register
from ddim_jax.sampling_options import SamplingOptions

OPTIONS = SamplingOptions(steps=1, samples=5, protocol="mean", threshold=0.5)


def estimate(*columns, size=10, value=0.9):
    """x_0 whose given columns are foreground."""
    x0 = np.full((size, size), -1.0, np.float32)
    x0[:, list(columns)] = value
    return x0


LEFT, LEFT_LESS, RIGHT, NOTHING = estimate(*range(5)), estimate(*range(4)), estimate(8, 9), estimate()


def test_groups_weights_and_their_order_by_hand():
    # LEFT and LEFT_LESS have an IoU of 4/5, and the others of 0.
    found = hypotheses_of(np.stack([NOTHING, LEFT, RIGHT, LEFT_LESS, LEFT]), (10, 10), OPTIONS)
    assert [one.samples for one in found] == [(1, 3, 4), (0,), (2,)]
    assert [one.weight for one in found] == pytest.approx([0.6, 0.2, 0.2])
    np.testing.assert_array_equal(found[0].mask, LEFT > 0)  # of the three, the nearest to the others
    assert not found[1].mask.any()


def test_below_an_iou_of_four_fifths_there_are_two():
    found = hypotheses_of(np.stack([LEFT, estimate(*range(3))]), (10, 10), OPTIONS)
    assert [one.samples for one in found] == [(0,), (1,)]


@pytest.mark.parametrize(("columns", "groups"), [(31, [(0, 1, 2)]), (30, [(0, 1), (2,)])])
def test_of_a_chain_the_mean_iou_decides(columns, groups):
    """Means of 40, 36 and 31 columns: (31/36 + 31/40) / 2 = .82 with 31/40 < .8; of 30: (30/36 + 30/40) / 2 = .79."""
    chain = np.stack([estimate(*range(width), size=40) for width in (40, 36, columns)])
    assert [one.samples for one in hypotheses_of(chain, (40, 40), OPTIONS)] == groups


def test_one_sample_and_equal_samples_make_one_hypothesis_at_the_size_of_the_picture():
    for samples in ([LEFT], [LEFT] * 4, [NOTHING] * 2):
        (one,) = hypotheses_of(np.stack(samples), (20, 30), OPTIONS)
        assert one.weight == 1
        assert one.mask.shape == (20, 30)
        assert one.mask.any() == (samples[0] is LEFT)


@pytest.mark.parametrize(
    ("ensemble", "threshold", "pixels"),
    [("mean", 0.3, 100), ("mean", 0.5, 0), ("mean_of_each", 0.3, 100), ("majority", 0.3, 0), ("staple", 0.5, 0)],
)
def test_the_only_hypothesis_of_equal_samples_is_the_mask(ensemble, threshold, pixels):
    """With p = .4 everywhere; an ensemble of masks has its threshold for votes, and nobody votes."""
    options = replace(OPTIONS, ensemble=ensemble, threshold=threshold)
    result = fuse(np.full((3, 10, 10), -0.2, np.float32), (10, 10), options, hypotheses=True)
    (one,) = result.hypotheses
    assert one.mask.sum() == pixels
    np.testing.assert_array_equal(one.mask, result.mask)


def test_a_threshold_reaches_the_hypotheses_of_exclusive_classes():
    labels, samples = Labels.create({"a": 1, "b": 2}), np.stack([estimate(), estimate(*range(5), value=-0.2)], axis=-1)
    for threshold, pixels in ((None, 0), (0.3, 50)):  # b has .4 in half of the image, the background .6
        options = replace(OPTIONS, threshold=threshold)
        (one,) = fuse(samples[np.newaxis], (10, 10), options, labels, hypotheses=True).hypotheses
        assert (one.mask == 2).sum() == one.mask.astype(bool).sum() == pixels


def test_of_several_classes_masks_are_of_numbers():
    labels = Labels.create({"a": 1, "b": 2})
    both = np.stack([LEFT, RIGHT], axis=-1)
    other = np.stack([NOTHING, RIGHT], axis=-1)
    found = hypotheses_of(np.stack([both, other, both]), (10, 10), OPTIONS, labels)
    assert [one.samples for one in found] == [(0, 2), (1,)]
    np.testing.assert_array_equal(found[0].mask, (LEFT > 0) + 2 * (RIGHT > 0))


def test_a_result_has_them_where_they_are_asked_for():
    samples = np.stack([LEFT, RIGHT])
    assert fuse(samples, (10, 10), OPTIONS).hypotheses == ()
    result = fuse(samples, (10, 10), OPTIONS, hypotheses=True)
    facts = record_fields(np.zeros((10, 10, 3), np.uint8), result, Labels())
    assert facts["hypotheses"] == [
        {"weight": 0.5, "samples": 1, "area": 50},
        {"weight": 0.5, "samples": 1, "area": 20},
    ]
    json.dumps(facts)
    of_two = summed([facts | {"seconds": 1}, facts | {"seconds": 1}])
    assert of_two["hypotheses_of_slices"] == [facts["hypotheses"]] * 2
    assert "hypotheses" not in of_two


@pytest.mark.parametrize("labels", [Labels(), Labels.create({"a": 1, "b": 2})])
def test_the_file_has_a_page_for_each_with_its_weight(tmp_path, labels):
    masks = [(x0 > 0).astype(np.uint8) * labels.count for x0 in (LEFT, RIGHT)]
    hypotheses = (Hypothesis(masks[0], 0.75, (0, 1, 2)), Hypothesis(masks[1], 0.25, (3,)))
    result = Segmentation(masks[0], LEFT, LEFT, 0.0, hypotheses=hypotheses)
    Hypotheses().write(tmp_path / "x.tif", result, None, None, SimpleNamespace(labels=labels))
    with Image.open(tmp_path / "x.tif") as file:
        pages = [(np.array(page), page.tag_v2[270]) for page in ImageSequence.Iterator(file)]
    assert len(pages) == 2
    for (page, about), mask, weight in zip(pages, masks, ("0.7500 (3 samples)", "0.2500 (1 sample)"), strict=True):
        np.testing.assert_array_equal(page, mask if labels.several else 255 * mask)
        assert about.endswith(f"weight {weight}")


def test_what_gives_one_mask_and_noise_is_told_why():
    def why(steps=20, loss="mse", name="folder", annotators=(), recorded=None, model="trunk_ddim"):
        data = {"name": name, "annotators": annotators}
        config = {"model": {"name": model}, "data": data, "diffusion": {"loss": loss}}
        return why_no_opinions(
            config, {} if recorded is None else {"annotators": recorded}, replace(OPTIONS, steps=steps)
        )

    assert why(annotators=["a", "b"]) == "" == why(name="of a plug-in", recorded=4)
    assert why(name="of a plug-in", recorded=0).startswith("it was trained on one mask")
    assert why(name="ambiguous") == ""  # it does not say, as those of before
    assert why().startswith("it was trained on one mask") and ";" not in why()
    assert why(annotators=["a", "b"], steps=1).startswith("one step gives a mean")
    assert why(annotators=["a", "b"], loss="bce_dice").startswith("diffusion.loss=bce_dice")
    # Of the networks in one pass one draws whole masks, and the other has no noise.
    assert why(annotators=["a", "b"], steps=1, loss=None, model="stochastic_unet") == ""
    assert why(steps=1, loss=None, model="stochastic_unet").startswith("it was trained on one mask")
    assert why(steps=1, loss="bce_dice", model="unet").startswith("unet gives one mask")


def test_a_writer_that_needs_hypotheses_is_told_why_there_are_none(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(WRITERS, "_entries", dict(WRITERS.items()))

    @register.writer("groups")
    class Groups:
        suffix = ".txt"
        needs_hypotheses = True

        def write(self, path, result, image, source, context):
            path.write_text(str(len(result.hypotheses)))

    Image.fromarray(picture(0)).save(tmp_path / "x.png")
    segment_files(red_segmenter(), tmp_path / "x.png", tmp_path / "out", save=("groups",), steps=1)
    assert "expect one mask and noise, not opinions: one step gives a mean of masks" in caplog.text
    assert (tmp_path / "out/x_groups.txt").read_text() == "1"

"""The settings of an evaluation: sizes, limits, samplers, ensembles."""

import csv
import json

import numpy as np
import pytest
from evaluation_fakes import FIGURES, TOP_HALF, FakeSegmenter, MemorySource, hand_case, picture, rows

from ddim_jax.data import Example
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation.plan import choose_images
from ddim_jax.evaluation.record import replaced_in_words
from ddim_jax.metrics import Counts
from ddim_jax.runtime.errors import InputError


def test_settings_reach_the_segmenter_and_results_repeat(tmp_path):
    segmenter, source = hand_case()
    for folder in ("one", "two"):
        evaluate(segmenter, source, tmp_path / folder, split="val", seed=9, samples=1, steps=17, figures=False)
    assert segmenter.calls == [(1, 1, 17, 9), (2, 1, 17, 9), (3, 1, 17, 9)] * 2
    assert (tmp_path / "one/per_image.csv").read_bytes() == (tmp_path / "two/per_image.csv").read_bytes()
    assert not (tmp_path / "one/figures").exists()


def test_an_earlier_evaluation_with_other_settings_is_told_of(tmp_path, caplog):
    def told(**given):
        caplog.clear()
        evaluate(*hand_case(), tmp_path, split="val", samples=1, figures=False, **given)
        return [record.getMessage() for record in caplog.records if "replaced" in record.getMessage()]

    assert told(steps=17) == told(steps=17) == []
    ending = "; next time --output DIR keeps both"
    assert told(steps=3, ensemble="majority") == [f"replaced an earlier evaluation (steps 17, ensemble mean){ending}"]
    assert told(steps=3, ensemble="majority", limit=2) == [f"replaced an earlier evaluation (images 3){ending}"]


def test_other_images_are_told_of_by_their_set_and_folder():
    before = {"dataset": "A", "place": "1", "images": 3, "steps": 4}
    assert replaced_in_words(before, before) == replaced_in_words(None, before) == ""
    assert replaced_in_words(before, before | {"dataset": "B", "place": "2"}) == "dataset A"
    assert replaced_in_words(before, before | {"place": "2"}) == "another folder called A"


def test_model_and_native_resolution_differ_as_computed_by_hand(tmp_path):
    # Columns 0 and 1 at 2 x 2 become 0, 1/4, 3/4, 1 at 4 x 4 (bilinear): columns 2 and 3 pass a half. The truth holds
    # columns 1, 2 and 3: 8 pixels hit, 4 missed. At 2 x 2 its nearest pixels are columns 1 and 3: 2 hit, 2 missed.
    truth = np.tile(np.array([0, 1, 1, 1], np.uint8), (4, 1))
    source = MemorySource([Example("wide", picture(1), truth)])
    segmenter = FakeSegmenter({1: [[[-1.0, 1.0], [-1.0, 1.0]]]})
    dice = {}
    for resolution in ("model", "native"):
        metrics = evaluate(segmenter, source, tmp_path, split="test", samples=1, resolution=resolution, figures=False)
        assert metrics["resolution"] == resolution
        dice[resolution] = metrics["protocols"]["mean"]["per_image"]["dice"]["mean"]
    assert dice == pytest.approx({"model": 4 / 6, "native": 16 / 20})


class ReadsRed(FakeSegmenter):
    """A network that takes red for the mask, at each image's own size; notes the sizes it is asked for."""

    def __init__(self):
        super().__init__({0: [rows(0, 0, 0, 0)]})
        self.sizes = []

    def sample(self, image, options):
        self.sizes.append(options.size)
        return np.stack([image[..., 0] / np.float32(127.5) - 1] * options.samples)

    def trajectory(self, image, options):
        self.sizes.append(options.size)
        final, steps = self.sample(image, options)[0], options.steps
        return np.append(np.arange(steps)[::-1] * 100, -1), np.stack([final] * (steps + 1)), np.stack([final] * steps)


def test_a_network_at_native_size_is_scored_on_every_pixel(tmp_path):
    """Masks 1 and 2 pixels wide in images of 3 x 40 and 50 x 6 would not survive any resizing to 4 x 4."""
    truths = [np.zeros((3, 40), np.uint8), np.zeros((50, 6), np.uint8)]
    truths[0][1, 5:25] = 1
    truths[1][:, 2:4] = 1
    examples = []
    for k, truth in enumerate(truths):
        image = np.repeat(truth[..., None] * np.uint8(255), 3, axis=-1)
        examples.append(Example(str(k), image, truth))
    examples[0].image[1, 15:35] = 255  # ten pixels too many: 30 are drawn, 20 are right
    segmenter = ReadsRed()
    metrics = evaluate(segmenter, MemorySource(examples), tmp_path, split="test", size="native")
    assert set(segmenter.sizes) == {"native"} and len(segmenter.sizes) == 2 + 2 + 2  # scored, drawn, followed
    assert (metrics["size"], metrics["resolution"]) == ("native", "native")
    scores = metrics["protocols"]["mean"]
    assert scores["per_image"]["dice"]["mean"] == pytest.approx((2 * 20 / (30 + 20) + 1) / 2)
    assert (scores["pooled"]["true_positive"], scores["pooled"]["false_positive"]) == (120, 10)
    assert sum(scores["pooled"][name] for name in Counts._fields) == 3 * 40 + 50 * 6
    with open(tmp_path / "per_image.csv", newline="") as file:
        assert [(row["height"], row["width"]) for row in csv.DictReader(file)] == [("3", "40"), ("50", "6")]
    assert {file.name for file in (tmp_path / "figures").iterdir()} == FIGURES


@pytest.mark.parametrize(("size", "together"), [("tiles", [1, 1, 1]), ("native", [2, 1])])
def test_a_batch_is_of_the_tiles_of_one_picture(tmp_path, size, together):
    """The samples of a whole image at its own size take far more memory than those of a tile."""
    segmenter, source = hand_case()
    seen, sample_each = [], segmenter.sample_each

    def sample(images, options, batch_size):
        assert batch_size == 2
        seen.append(len(images))
        return sample_each(images, options)

    segmenter.sample_each = sample
    metrics = evaluate(segmenter, source, tmp_path, split="test", size=size, batch_size=2, figures=False)
    assert (seen, metrics["batch_size"]) == (together, 2)
    assert [call[0] for call in segmenter.calls] == [1, 2, 3]


def test_native_scoring_of_a_network_at_its_own_size_keeps_that_size(tmp_path):
    segmenter = ReadsRed()
    source = MemorySource([Example("a", np.zeros((4, 4, 3), np.uint8), TOP_HALF)])
    metrics = evaluate(segmenter, source, tmp_path, split="test", resolution="native", figures=False)
    assert (segmenter.sizes, metrics["size"], metrics["resolution"]) == (["model"], "model", "native")


def test_a_limit_takes_images_from_the_whole_set(tmp_path):
    assert choose_images(5, None) == choose_images(5, 9) == [0, 1, 2, 3, 4]
    assert choose_images(11, 3) == [0, 5, 10]
    assert choose_images(7, 1) == [0]
    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", limit=2, figures=False)
    assert (metrics["images"], metrics["images_in_split"]) == (2, 3)
    assert [call[0] for call in segmenter.calls] == [1, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is 0; expected 1 or more"),
        ({"resolution": "full"}, "resolution is 'full'; expected one of model, native"),
        (
            {"size": "native", "resolution": "model"},
            "resolution is 'model' and size 'native', at which there is native alone",
        ),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, arguments, message):
    segmenter, source = hand_case()
    with pytest.raises(InputError, match=message):
        evaluate(segmenter, source, tmp_path, split="test", **arguments)
    assert segmenter.calls == []


def test_staple_is_scored_and_said(tmp_path):
    """Two samples say the top half, one the whole image: STAPLE sides with the two, for both protocols."""
    segmenter = FakeSegmenter({1: [rows(1, 1, -1, -1), rows(1, 1, -1, -1), rows(1, 1, 1, -1)]})
    source = MemorySource([Example("a", picture(1), TOP_HALF)])
    metrics = evaluate(segmenter, source, tmp_path, split="test", samples=3, ensemble="staple", figures=False)
    assert (metrics["ensemble"], metrics["sampler"]) == ("staple", "ddim")
    assert "fused by STAPLE" in metrics["rules"]["ensemble"]
    assert metrics["protocols"]["mean"]["per_image"]["dice"]["mean"] == 1.0
    # One of the three samples alone has a Dice of 16/20.
    assert metrics["protocols"]["paper"]["per_image"]["dice_single"]["mean"] == pytest.approx((1 + 1 + 0.8) / 3)
    assert metrics["protocols"]["paper"]["per_image"]["dice"]["mean"] == 1.0
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"eta": 0.5, "clip_x0": 0.9}, (0.5, 0.9)),
        ({"eta": 1, "clip_x0": "off"}, (1.0, None)),
        ({}, (0.0, None)),
    ],
)
def test_eta_and_the_bound_reach_every_sample_and_figure(tmp_path, given, said):
    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", **given)
    assert segmenter.bounds == {said} and (metrics["eta"], metrics["clip_x0"]) == said
    with pytest.raises(InputError, match=r"eta is 2; expected a number from 0"):
        evaluate(segmenter, source, tmp_path, split="test", eta=2)
    with pytest.raises(TypeError, match="unexpected option 'threshold': every protocol is scored"):
        evaluate(segmenter, source, tmp_path, split="test", threshold=0.5)


def test_staple_differs_from_the_mean_where_a_sample_is_sure(tmp_path):
    """Means 1, 0.1, -1, -1: the second row counts for the mean alone, since only one of three masks has it."""
    samples = [rows(1, 1, -1, -1), rows(1, -0.3, -1, -1), rows(1, -0.4, -1, -1)]
    source = MemorySource([Example("a", picture(1), TOP_HALF)])
    dice = {}
    for ensemble in ("mean", "staple"):
        metrics = evaluate(
            FakeSegmenter({1: samples}), source, tmp_path, split="test", samples=3, ensemble=ensemble, figures=False
        )
        dice[ensemble] = metrics["protocols"]["mean"]["per_image"]["dice"]["mean"]
    assert dice == pytest.approx({"mean": 1.0, "staple": 2 / 3})


def test_without_diffusion_no_reverse_process_is_drawn(tmp_path):
    segmenter, source = hand_case()
    segmenter.one_pass = True
    evaluate(segmenter, source, tmp_path, split="test", figures=False)
    (tmp_path / "figures").mkdir(exist_ok=True)
    (tmp_path / "figures/reverse_process.png").write_bytes(b"of another checkpoint")
    evaluate(segmenter, source, tmp_path, split="test")
    assert {file.name for file in (tmp_path / "figures").iterdir()} == FIGURES - {"reverse_process.png"}

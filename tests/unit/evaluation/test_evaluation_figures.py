import io

import numpy as np
import pytest
from evaluation_fakes import EMPTY, TOP_HALF, hand_case, picture, rows
from matplotlib.colors import to_rgb
from rich.console import Console

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability
from ddim_jax.data import Example
from ddim_jax.evaluation import diagrams, pictures, summary_table
from ddim_jax.evaluation.cases import make_case
from ddim_jax.evaluation.figures import middle, rank, spread
from ddim_jax.evaluation.scoring import Scoring, score_image
from ddim_jax.evaluation.style import BOTH, PREDICTION, TRUTH, shorten
from ddim_jax.evaluation.summary import rank_correlation, rules, summarise
from ddim_jax.labels import Labels


def make(name: str, estimates, truth, image=None):
    estimates = np.asarray(estimates, np.float32)
    image = picture(1) if image is None else image
    example = Example(name, image, truth)
    return make_case(example, estimates, score_image(example, estimates))


HALF = Example("one", picture(1), TOP_HALF)
HALF_RIGHT = [rows(1, 1, -1, -1), rows(1, -0.2, -1, -1)]


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def test_grid_shows_picture_truth_samples_ensemble_and_uncertainty(drawn):
    pictures.draw_grid("grid.png", [make("one", HALF_RIGHT, TOP_HALF), make("two", HALF_RIGHT, EMPTY)])
    first, second = np.array(drawn[0].axes[:12]).reshape(2, 6)
    assert [axes.get_title() for axes in first] == ["image", "truth", "sample 1", "sample 2", "ensemble", "uncertainty"]
    np.testing.assert_array_equal(shown(first[0]), picture(1))
    np.testing.assert_array_equal(shown(first[1]), TOP_HALF)
    np.testing.assert_allclose(shown(first[2]), rows(1, 1, 0, 0))
    np.testing.assert_allclose(shown(first[3]), rows(1, 0.4, 0, 0))
    np.testing.assert_allclose(shown(first[4]), rows(1, 0.7, 0, 0))
    np.testing.assert_allclose(shown(first[5]), rows(0, 0.3, 0, 0), atol=1e-7)
    assert first[0].get_ylabel() == "one\nDice 1.000" and second[0].get_ylabel() == "two\nDice 0.000"
    assert len(first[4].collections) == 1 and len(second[4].collections) == 0  # an empty truth has no outline


def test_no_more_than_five_samples_are_shown(drawn):
    pictures.draw_grid("grid.png", [make("many", HALF_RIGHT * 4, TOP_HALF)])
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert "sample 5" in titles and "sample 6" not in titles
    assert "mean of 8 samples" in drawn[0].get_supxlabel()


def test_strip_colours_hits_misses_and_false_alarms(drawn):
    case = make("case", [rows(-1, 1, 1, -1)], TOP_HALF)
    pictures.draw_strip("worst.png", [case], "Lowest")
    overlay = np.asarray(drawn[0].axes[1].images[1].get_array())
    for row, colour in enumerate((TRUTH, BOTH, PREDICTION)):
        np.testing.assert_allclose(overlay[row, :, :3], np.tile(to_rgb(colour), (4, 1)))
        assert (overlay[row, :, 3] > 0).all()
    assert (overlay[3, :, 3] == 0).all()
    # Dice 2 * 4 / (8 + 8); the paper's protocol draws the same rows.
    assert drawn[0].axes[0].get_title() == "case\nDice 0.500 (paper 0.500)"


def test_outlines_surround_the_mask_in_the_coordinates_of_the_picture(drawn):
    image = np.zeros((8, 16, 3), np.uint8)
    pictures.draw_strip(
        "worst.png", [make("wide", [rows(-1, 1, -1, -1)], rows(0, 1, 0, 0).astype(np.uint8), image)], ""
    )
    truth, prediction = drawn[0].axes[0].collections
    box = truth.get_paths()[0].get_extents()
    # Row 1 of 4 lies between 2 and 4 of 8; the contour runs half way to the centres of its neighbours' rows.
    assert (box.y0, box.y1) == pytest.approx((2.0, 4.0), abs=1e-6)
    assert box.x0 < 2 and box.x1 > 14
    assert prediction.get_paths()[0].get_extents().y0 == pytest.approx(box.y0)


def test_reverse_process_shows_first_and_last_step_and_the_mask(drawn):
    noisy = np.arange(51, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32) - 25
    estimates = np.linspace(-1, 1, 50, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    timesteps = np.append(np.arange(999, 0, -20), -1)
    pictures.draw_reverse_process("r.png", make("one", HALF_RIGHT, TOP_HALF), timesteps, noisy, estimates)
    above, below = np.array(drawn[0].axes).reshape(2, 9)
    assert above[1].get_title() == "t = 999" and above[7].get_title() == "t = 19" and above[8].get_title() == "end"
    assert shown(above[1])[0, 0] == -25 and shown(above[8])[0, 0] == 25
    assert shown(below[1])[0, 0] == -1 and shown(below[7])[0, 0] == 1
    assert shown(below[8]).all()


def test_one_step_is_enough_for_a_figure(drawn):
    noisy, estimates = np.zeros((2, 4, 4), np.float32), np.ones((1, 4, 4), np.float32)
    pictures.draw_reverse_process("r.png", make("one", HALF_RIGHT, TOP_HALF), np.array([999, -1]), noisy, estimates)
    assert [axes.get_title() for axes in drawn[0].axes[:3]] == ["image", "t = 999", "end"]


def test_scores_hold_every_image_and_no_picture(drawn):
    segmenter, source = hand_case()
    results = [score_image(e, segmenter.sample(e.image)) for e in source.examples]
    about = {"dataset": "memory", "split": "test", "images": 3, "samples": 2, "steps": 1, "step": 8}
    diagrams.draw_scores("scores.png", results, about | summarise(results))
    left, right = drawn[0].axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["mean\n(> 0.5)", "paper\n(> 0.9)"]
    assert not left.images and not right.images
    mean, paper = (np.asarray(dots.get_offsets()) for dots in left.collections)
    assert sorted(paper[:, 0]) == pytest.approx([0, 2 / 3, 1]) and mean[:, 0] == pytest.approx(1)
    np.testing.assert_allclose(right.collections[0].get_offsets(), [[0.075, 1], [0, 1], [0, 1]], atol=1e-7)
    texts = [text.get_text() for text in left.texts]
    assert texts[1].startswith("mean 0.556 [0.000, 1.000], one sample alone 0.611")
    assert "3 images, 2 samples of 1 step, checkpoint at step 8" in drawn[0].get_suptitle()


def test_scores_of_exclusive_classes_say_that_the_likeliest_is_taken(drawn):
    labels, truth = Labels.create({"lung": 1, "heart": 2}), TOP_HALF
    samples = np.stack([rows(1, 1, -1, -1), rows(-1, -1, 1, 1)], axis=-1)[None]
    results = [score_image(Example("one", picture(1), truth), samples.astype(np.float32), Scoring(labels=labels))]
    about = {"dataset": "memory", "split": "test", "images": 1, "samples": 1, "steps": 1, "step": 8}
    diagrams.draw_scores("scores.png", results, about | summarise(results, labels=labels))
    assert drawn[0].axes[0].get_yticklabels()[0].get_text() == "mean\n(likeliest)"


def test_calibration_shows_bins_and_the_three_orders(drawn):
    # Dice 0, 2/3 and 1; the second is the most doubtful: 4 * 0.6 pixels expected of 4 drawn.
    estimates = [rows(-1, -1, 1, 1), rows(0.2, -1, -1, -1), rows(1, 1, -1, -1)]
    results = [score_image(HALF, np.stack([e]).astype(np.float32)) for e in estimates]
    about = {"dataset": "memory", "split": "test", "images": 3, "samples": 1, "steps": 1, "step": 8, "ensemble": "mean"}
    diagrams.draw_calibration("calibration.png", results, about | summarise(results))
    reliability, shares, rest = (drawn[0].axes[k] for k in (0, 2, 1))
    # Of 48 pixels: 28 of 0 (12 of them foreground), 4 of 0.6, all foreground, 16 of 1 (8 of them foreground).
    points = np.array([[0, 12 / 28], [0.6, 1], [1, 8 / 16]])
    np.testing.assert_allclose(reliability.lines[1].get_xydata(), points, atol=1e-6)
    heights = [bar.get_height() for bar in shares.patches]
    assert heights == pytest.approx([28 / 48, *[0] * 7, 4 / 48, *[0] * 5, 16 / 48])
    assert shares.get_xlabel() == "probability of a pixel (protocol mean, mean)"
    best, doubtful, none, kept = rest.lines
    np.testing.assert_allclose(best.get_xydata(), [[1, 5 / 9], [2 / 3, 5 / 6], [1 / 3, 1]])
    # The two certain images are tied: either may go first.
    np.testing.assert_allclose(doubtful.get_xydata(), [[1, 5 / 9], [2 / 3, 1 / 2], [1 / 3, 1 / 2]])
    assert none.get_ydata() == pytest.approx([5 / 9, 5 / 9])
    np.testing.assert_allclose(kept.get_xydata(), [[1, 5 / 9]])
    labels = [text.get_text() for text in rest.get_legend().get_texts()]
    assert labels[1] == "most doubtful first, area 0.519" and labels[3] == "3 of 3 kept: 0.556"
    assert "expected calibration error 0.4500" in reliability.get_title("left")


def test_where_all_dice_are_equal_the_figure_says_so(drawn):
    results = [score_image(HALF, rows(1, 1, -1, -1)[None])]
    about = {"dataset": "memory", "split": "test", "images": 1, "samples": 1, "steps": 1, "step": 8, "ensemble": "mean"}
    diagrams.draw_calibration("calibration.png", results, about | summarise(results))
    assert drawn[0].axes[1].get_title("left") == "all Dice are equal: nothing to gain"


def test_cases_are_chosen_by_rank():
    def result(dice_rows):
        return score_image(HALF, np.stack([rows(*dice_rows)]))

    # Dice 0, 1, 2/3 and 1 again: the two equal ones stay in order.
    results = [result(r) for r in ((-1, -1, 1, 1), (1, 1, -1, -1), (1, -1, -1, -1), (1, 1, -1, -1))]
    assert rank(results) == [0, 2, 1, 3]
    assert spread([4, 2, 0, 1, 3], 3) == [3, 0, 4]
    assert spread([4, 2], 5) == [2, 4]
    assert middle([4, 2, 0, 1, 3], 1) == [0] and middle([4, 2, 0, 1, 3], 3) == [2, 0, 1]
    assert middle([4, 2], 6) == [4, 2]


def test_large_pictures_are_kept_small_and_in_proportion():
    estimates = np.ones((1, 4, 4), np.float32)
    image, truth = np.zeros((600, 1200, 3), np.uint8), np.ones((600, 1200), np.uint8)
    example = Example("big", image, truth)
    case = make_case(example, estimates, score_image(example, estimates))
    assert case.image.shape == (256, 512, 3)
    assert case.prediction.shape == case.truth.shape == (600, 1200) and case.prediction.all()
    assert case.dice == 1.0


def test_maps_of_the_size_of_a_large_picture_are_kept_small_too():
    """The maps of a network at native size: the left half is foreground, in one of two samples."""
    image, truth = np.zeros((20, 1024, 3), np.uint8), np.zeros((20, 1024), np.uint8)
    estimates = np.full((2, 20, 1024), -1, np.float32)
    estimates[0, :, :512] = 1
    example = Example("big", image, truth)
    case = make_case(example, estimates, score_image(example, estimates))
    assert case.samples.shape == (2, 10, 512) and case.prediction.shape == (20, 1024)
    for values, left in (
        (case.samples[0], 1.0),
        (case.samples[1], 0.0),
        (case.probability, 0.5),
        (case.uncertainty, 0.5),
    ):
        np.testing.assert_allclose(values[:, :255], left, atol=1e-6)
        np.testing.assert_allclose(values[:, 257:], 0.0, atol=1e-6)


def test_a_dollar_in_a_name_begins_no_formula(tmp_path):
    """To matplotlib, what lies between two dollars is a formula, and "$^$" is an error."""
    case = make("a$^$b", HALF_RIGHT, TOP_HALF)
    about = {"dataset": "of $^$", "split": "test", "images": 1, "samples": 2, "steps": 1, "step": 8, "ensemble": "mean"}
    pictures.draw_grid(tmp_path / "grid.png", [case])
    diagrams.draw_scores(tmp_path / "scores.png", [case.result], about | summarise([case.result]))
    assert len(list(tmp_path.iterdir())) == 2


def test_brackets_in_the_name_of_a_data_set_are_printed():
    results = [score_image(HALF, rows(1, 1, -1, -1)[None])]
    about = {"dataset": "set [red]", "split": "test", "images": 1, "samples": 1, "steps": 1, "ensemble": "mean"}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(
        summary_table(
            about | {"size": "model", "resolution": "native", "note": "the [split] is ours"} | summarise(results)
        )
    )
    printed = " ".join(console.export_text().split())
    assert printed.endswith("the [split] is ours")
    assert printed.startswith("set [red] test: 1 image, 1 sample x 1 step, fused by mean, resized")
    assert "scored at each image's own size" in printed


def test_long_names_lose_their_middle():
    assert shorten("short", 16) == "short"
    assert shorten("abcdefghijklmnopqrst", 11) == "abcde…pqrst"


def test_rank_correlation_by_hand():
    assert rank_correlation([0.1, 0.2, 0.4, 0.3], [9, 8, 6, 7]) == pytest.approx(-1.0)
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15).
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
    assert rank_correlation([1, 2], [1, 2]) is None
    assert "2000 resamples" in rules("mean")["per_image"]


def test_the_grid_says_majority(drawn):
    samples = np.asarray(HALF_RIGHT, np.float32)
    result = score_image(HALF, samples, Scoring("majority"))
    pictures.draw_grid("grid.png", [make_case(HALF, samples, result, "majority")])
    np.testing.assert_array_equal(shown(drawn[0].axes[4]), rows(1, 0.5, 0, 0))
    assert "majority of 2 samples" in drawn[0].get_supxlabel()


def test_the_grid_shows_what_staple_makes_and_says_so(drawn):
    result = score_image(HALF, np.asarray(HALF_RIGHT, np.float32), Scoring("staple"))
    case = make_case(HALF, np.asarray(HALF_RIGHT, np.float32), result, "staple")
    pictures.draw_grid("grid.png", [case])
    fused = shown(drawn[0].axes[4])
    np.testing.assert_allclose(fused, ensemble_probability(np.asarray(HALF_RIGHT), PROTOCOLS["mean"], "staple"))
    assert "staple of 2 samples" in drawn[0].get_supxlabel()

"""Colours of the figures of several classes: each has one meaning."""

import numpy as np
import pytest
from evaluation_fakes import EMPTY, picture, rows
from matplotlib.colors import to_hex, to_rgb

from ddim_jax.data import Example
from ddim_jax.evaluation import diagrams, pictures
from ddim_jax.evaluation.cases import make_case
from ddim_jax.evaluation.colours import PREDICTION_ALONE
from ddim_jax.evaluation.scoring import Scoring, score_image
from ddim_jax.evaluation.summary import summarise
from ddim_jax.imageio.class_colours import class_colour
from ddim_jax.labels import Labels

CLASSES = Labels.create({"lung": 1, "heart": 2}, ignore=9)


def case_of_classes():
    """Rows of the truth: lung, heart, heart, nothing; of the prediction: lung, lung, nothing, lung."""
    estimates = np.full((1, 4, 4, 2), -1, np.float32)
    estimates[0, [0, 1, 3], :, 0] = 1
    truth = rows(1, 2, 2, 0).astype(np.uint8)
    truth[3, 3] = 255
    example = Example("case", picture(1), truth)
    return make_case(example, estimates, score_image(example, estimates, Scoring(labels=CLASSES)), labels=CLASSES)


def test_agreement_of_classes_has_hues_for_the_classes_alone(drawn):
    pictures.draw_strip("worst.png", [case_of_classes()], "Lowest")
    ground, overlay = (np.asarray(one.get_array()) for one in drawn[0].axes[1].images)
    assert ground.min() >= 0.7  # light, so that dark is wrong
    assert overlay.shape == (192, 192, 4)  # 4 x 4 pixels are too few for stripes
    right, other, missed, alone = overlay.reshape(4, 48, 192, 4)
    np.testing.assert_allclose(right, np.broadcast_to([*to_rgb("#56B4E9"), 0.5], right.shape))
    assert np.unique(other.reshape(-1, 4), axis=0).tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]
    assert 0.4 < other[..., 0].mean() < 0.6 and (other[0, :-1] != other[0, 1:]).any()
    assert (missed == [0, 0, 0, 1]).all()
    np.testing.assert_allclose(alone[:, :144], np.broadcast_to([*to_rgb(PREDICTION_ALONE), 1], (48, 144, 4)))
    assert (alone[:, 144:] == 0).all()  # ignored


def colours_of_the_legend(figure):
    (legend,) = figure.legends
    handles = dict(zip((text.get_text() for text in legend.get_texts()), legend.legend_handles, strict=True))
    return {
        label: (
            to_hex(one.get_color() if hasattr(one, "get_color") else one.get_facecolor()),
            getattr(one, "get_hatch", str)(),
        )
        for label, one in handles.items()
    }


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_no_colour_of_the_legend_has_two_meanings(drawn, count):
    labels = Labels.create({f"class {k}": k for k in range(1, count + 1)} if count > 1 else None)
    estimates = np.full((1, 4, 4, count) if count > 1 else (1, 4, 4), -1, np.float32)
    example = Example("case", picture(1), EMPTY)
    case = make_case(example, estimates, score_image(example, estimates, Scoring(labels=labels)), labels=labels)
    pictures.draw_strip("worst.png", [case], "Lowest")
    found = colours_of_the_legend(drawn[0])
    assert len(set(found.values())) == len(found) == (3 if count == 1 else count + 4)
    if count > 1:
        assert [found[f"class {k}"][0] for k in range(1, count + 1)] == [
            "#{:02x}{:02x}{:02x}".format(*class_colour(k)) for k in range(1, count + 1)
        ]


def test_the_calibration_of_classes_has_hues_for_the_classes_alone(drawn):
    labels = Labels.create({f"class {k}": k for k in range(1, 8)})
    estimates = np.full((1, 4, 4, 7), -0.5, np.float32)
    results = [score_image(Example("one", picture(1), EMPTY), estimates, Scoring(labels=labels))]
    about = {"dataset": "memory", "split": "test", "images": 1, "samples": 1, "steps": 1, "step": 8, "ensemble": "mean"}
    diagrams.draw_calibration("calibration.png", results, about | summarise(results, labels=labels))
    reliability, rest = drawn[0].axes[:2]
    of_classes = {"#{:02x}{:02x}{:02x}".format(*class_colour(k)) for k in range(1, 8)}
    assert {to_hex(line.get_color()) for line in reliability.lines[2:]} == of_classes
    others = {to_hex(line.get_color()) for line in (*reliability.lines[:2], *rest.lines)}
    assert not others & of_classes
    assert reliability.get_legend().get_texts()[0].get_text().startswith("all classes: 0.")


def test_figures_that_show_classes_name_them(drawn):
    case = case_of_classes()
    noisy, estimates = np.zeros((2, 4, 4, 3), np.float32), np.zeros((1, 4, 4, 2), np.float32)
    pictures.draw_grid("grid.png", [case])
    pictures.draw_reverse_process("r.png", case, np.array([999, -1]), noisy, estimates)
    for figure in drawn:
        assert list(colours_of_the_legend(figure)) == ["lung", "heart"]
        assert "White: outline of the truth. Grey: ignored." in figure.get_supxlabel()

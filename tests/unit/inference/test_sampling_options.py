import dataclasses
import re

import numpy as np
import pytest
from segmenters import SIZE, ReadsRed, config, red_segmenter

from ddim_jax.inference import Segmenter
from ddim_jax.registry import ENSEMBLES, SAMPLERS
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

create = SamplingOptions.create


def test_defaults_come_from_the_config_and_the_protocol():
    read = {"size": "model", "invert": False}
    assert create(config()) == SamplingOptions(samples=3, steps=2, seed=0, protocol="mean", threshold=0.5, **read)
    assert create(config(protocol="paper", steps=4)) == SamplingOptions(4, 3, protocol="paper", threshold=0.9, **read)
    chosen = create(config(), samples=1, steps=100, seed=2**32 - 1, protocol="paper", threshold=0, size="native")
    expected = SamplingOptions(100, 1, seed=2**32 - 1, protocol="paper", threshold=0.0, size="native", invert=False)
    assert chosen == expected
    assert create(config()).size == create(config(), size="model").size == "model"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples is 0; expected a whole number from 1"),
        ({"steps": 101}, "steps is 101; expected a whole number from 1 to 100"),
        ({"steps": True}, "steps is True"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ({"threshold": 1.5}, "threshold is 1.5; expected a number from 0 to 1"),
        ({"protocol": "papers"}, "protocol is 'papers'; expected one of paper, mean"),
        ({"sampler": "dpm"}, re.escape(f"sampler is 'dpm'; expected one of {', '.join(SAMPLERS)}")),
        ({"ensemble": "median"}, f"ensemble is 'median'; expected one of {', '.join(ENSEMBLES)}"),
        ({"flips": "no"}, "flips is 'no'; expected True or False"),
        ({"ensemble": ["mean"]}, r"ensemble is \['mean'\]"),
        ({"eta": 2}, "eta is 2; expected a number from 0"),
        ({"eta": True}, "eta is True"),
        ({"eta": 0.5, "sampler": "ddpm"}, "eta is 0.5; expected 0.0: the sampler ddpm has none"),
        ({"clip_x0": -1}, "clip_x0 is -1; expected a number above 0, or off"),
        ({"clip_x0": float("inf")}, "clip_x0 is inf"),
        ({"clip_x0": 10**400}, "clip_x0 is 1000"),  # JSON has such numbers, no float is so large
        ({"size": 256}, "size is 256; expected one of model, native, tiles"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(InputError, match=message):
        create(config(), **values)


def test_sampler_and_ensemble_come_from_the_config_and_staple_has_its_own_threshold():
    old = create(config())  # of a checkpoint from before there was a choice
    assert (old.sampler, old.ensemble) == ("ddim", "mean")
    chosen = create(config(sampler="ddpm", ensemble="staple", protocol="paper"))
    assert (chosen.sampler, chosen.ensemble, chosen.protocol, chosen.threshold) == ("ddpm", "staple", "paper", 0.5)
    other = create(config(sampler="ddpm", ensemble="staple"), sampler="ddim", ensemble="mean", threshold=0.3)
    assert (other.sampler, other.ensemble, other.threshold) == ("ddim", "mean", 0.3)


def test_eta_and_the_bound_come_from_the_config():
    about = config(eta=0.5, clip_x0=1)

    def bounds(**given):
        options = create(about, **given)
        return options.eta, options.clip_x0

    assert bounds() == (0.5, 1.0)
    assert bounds(eta=1, clip_x0=0.25) == (1.0, 0.25)
    assert bounds(eta=0.0, clip_x0="off") == (0.0, None)
    # An eta that a sampler does not have stays the checkpoint's, with which its calibration was made.
    none = (0.5, 1.0)
    assert bounds(sampler="dpm++") == bounds(sampler="dpm++", eta=0.0) == bounds(sampler="dpm++", eta=0.5) == none
    with pytest.raises(InputError, match=r"eta is 0.7; expected 0.0: the sampler dpm\+\+ has none"):
        bounds(sampler="dpm++", eta=0.7)
    assert create(config(sampler="ddpm", eta=0.7), sampler="dpm++", eta=0.0).eta == 0.7


def test_a_network_without_diffusion_takes_one_step_and_no_sampler():
    about = config(steps=1, sampler=None)
    about["diffusion"] = dict.fromkeys(about["diffusion"])
    assert create(about).sampler is None and create(about).steps == 1
    with pytest.raises(InputError, match="steps is 2; expected 1: the network works in one pass"):
        create(about, steps=2)
    with pytest.raises(InputError, match="sampler is 'ddpm'; expected None: the network works in one pass"):
        create(about, sampler="ddpm")
    with pytest.raises(InputError, match=r"eta is 1.0; expected 0.0: the network works in one pass"):
        create(about, eta=1.0)
    with pytest.raises(InputError, match=r"clip_x0 is 1.0; expected off: the network works in one"):
        create(about, clip_x0=1.0)
    assert create(about, eta=0.0, clip_x0="off") == create(about)
    about["sample"] |= {"eta": 0.7, "clip_x0": 1.0}  # of an older run
    assert (create(about).eta, create(about).clip_x0) == (0.7, 1.0)


def test_none_is_the_same_as_left_out():
    assert create(config(), **dict.fromkeys(f.name for f in dataclasses.fields(SamplingOptions))) == create(config())


@pytest.mark.parametrize(
    "given", [{"clip_x0": "off"}, {"clip_x0": 0.5, "eta": 1, "samples": 7, "flips": True, "seed": 3}]
)
def test_options_given_as_a_whole_are_the_same_again_and_fields_replace_theirs(given):
    about = config(clip_x0=1.0, eta=0.25, samples=2, steps=9, flips=True)
    options = create(about, **given)
    assert create(about, **options.as_given()) == options
    segmenter = red_segmenter(clip_x0=1.0, eta=0.25, samples=2, steps=9, flips=True)
    assert segmenter.options(options) == options == segmenter.options(**given)
    assert segmenter.options(options, steps=4) == dataclasses.replace(options, steps=4)


def test_a_program_does_not_depend_on_the_seed_or_on_what_is_made_of_the_samples():
    options = SamplingOptions(7, 3, "ddpm", clip_x0=0.5, flips=True)
    other = dataclasses.replace(options, seed=5, size="native", protocol="paper", ensemble="staple", threshold=0.2)
    assert other.program() == options.program() == options and hash(other.program()) == hash(options)
    for name, value in {
        "steps": 8,
        "samples": 4,
        "sampler": "ddim",
        "eta": 1.0,
        "clip_x0": None,
        "flips": False,
    }.items():
        assert dataclasses.replace(options, **{name: value}).program() != options.program()


@pytest.mark.parametrize("method", ["sample", "trajectory", "segment", "options"])
def test_each_method_refuses_what_it_does_not_know(method):
    about = [] if method == "options" else [np.zeros((SIZE, SIZE, 3), np.uint8)]
    with pytest.raises(TypeError, match="unexpected option 'step'"):
        getattr(red_segmenter(), method)(*about, step=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": "foo"}, "protocol is 'foo'; expected one of paper, mean"),
        ({"protocol": ["mean"]}, r"protocol is \['mean'\]"),
        ({"ensemble": "foo"}, f"ensemble is 'foo'; expected one of {', '.join(ENSEMBLES)}"),
        ({"ensemble": {}}, "ensemble is {}"),
        ({"threshold": np.ones(2)}, "threshold is array"),
        ({"window": 40}, "window is 40; expected a centre and a width"),
        ({"clip_x0": -1}, "clip_x0 is -1"),
        ({"seed": "0"}, "seed is '0'"),
    ],
)
def test_options_made_by_hand_are_refused_as_given_ones_are(values, message):
    with pytest.raises(InputError, match=message):
        red_segmenter().segment(np.zeros((SIZE, SIZE, 3), np.uint8), SamplingOptions(steps=2, **values))


def test_options_made_by_hand_read_pictures_as_the_training_did_unless_they_say_otherwise():
    about = config()
    about["data"] |= {"crop": SIZE, "invert": True, "window": [40.0, 400.0]}
    segmenter = Segmenter(ReadsRed(), {}, config=about, step=7, checkpoint="run/checkpoints/7")
    options = segmenter.options(SamplingOptions(steps=2))
    assert (options.size, options.invert, options.window) == ("tiles", True, (40.0, 400.0))
    other = segmenter.options(SamplingOptions(steps=2, size="model", invert=False))
    assert (other.size, other.invert) == ("model", False)


def test_none_in_options_made_by_hand_is_the_checkpoint_s():
    segmenter = red_segmenter(protocol="paper", ensemble="staple")
    options = segmenter.options(SamplingOptions(steps=2, protocol=None, ensemble=None, threshold=0.5))
    assert (options.protocol, options.ensemble, options.threshold) == ("paper", "staple", 0.5)
    assert segmenter.options(options, ensemble="mean").threshold == 0.9  # 0.5 was that of staple, not chosen


def test_a_threshold_that_was_not_chosen_is_that_of_the_new_protocol_or_ensemble():
    segmenter = red_segmenter()
    paper = segmenter.options(protocol="paper")
    assert (paper.threshold, segmenter.options(paper).threshold) == (0.9, 0.9)
    assert segmenter.options(paper, ensemble="majority").threshold == 0.5
    assert segmenter.options(paper, protocol="mean").threshold == 0.5
    assert segmenter.options(segmenter.options(threshold=0.3), protocol="paper").threshold == 0.3


def test_a_window_is_the_checkpoint_s_unless_given_and_is_recorded_as_json_has_it():
    about = config()
    assert create(about).window is None
    about["data"]["window"] = [40.0, 400.0]
    assert create(about).window == (40.0, 400.0)
    assert create(about, window=[50, 350]).window == (50.0, 350.0)
    assert create(about, window=(50, 350)).as_dict()["window"] == [50.0, 350.0]
    for wrong in ((40,), (40, 0), (40, float("inf")), "40,400"):
        with pytest.raises(InputError, match=r"window is .*expected a centre and a width above 0"):
            create(about, window=wrong)

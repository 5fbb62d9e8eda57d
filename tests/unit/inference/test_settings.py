import numpy as np
import pytest
from segmenters import SIZE, config, red_segmenter

from ddim_jax.inference import Settings
from ddim_jax.inference.options import Options
from ddim_jax.runtime.errors import InputError


def test_defaults_come_from_the_config_and_the_protocol():
    assert Settings.create(config()) == Settings(samples=3, steps=2, seed=0, protocol="mean", threshold=0.5)
    assert Settings.create(config(protocol="paper", steps=4)) == Settings(3, 4, 0, "paper", 0.9)
    chosen = Settings.create(
        config(), samples=1, steps=100, seed=2**32 - 1, protocol="paper", threshold=0, size="native"
    )
    assert chosen == Settings(1, 100, 2**32 - 1, "paper", 0.0, "native")
    assert Settings.create(config()).size == Settings.create(config(), size="model").size == "model"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples is 0; expected a whole number from 1"),
        ({"samples": 2.0}, "samples is 2.0"),
        ({"steps": 101}, "steps is 101; expected a whole number from 1 to 100"),
        ({"steps": True}, "steps is True"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ({"threshold": 1.5}, "threshold is 1.5; expected a number from 0 to 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"protocol": "papers"}, "protocol is 'papers'; expected one of paper, calibrated"),
        ({"sampler": "dpm"}, "sampler is 'dpm'; expected ddim or ddpm"),
        ({"ensemble": "median"}, "ensemble is 'median'; expected one of mean, majority, staple"),
        ({"eta": 2}, "eta is 2; expected a number from 0"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"eta": True}, "eta is True"),
        ({"eta": 0.5, "sampler": "ddpm"}, "eta is 0.5; expected the checkpoint's, 0.0: the sampler ddpm has none"),
        ({"clip_x0": -1}, "clip_x0 is -1; expected a number above 0, or off"),
        ({"clip_x0": 0.0}, "clip_x0 is 0.0"),
        ({"clip_x0": float("inf")}, "clip_x0 is inf"),
        ({"clip_x0": 10**400}, "clip_x0 is 1000"),  # JSON has such numbers, no float is so large
        ({"clip_x0": "none"}, "clip_x0 is 'none'"),
        ({"size": 256}, "size is 256; expected one of model, native"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(InputError, match=message):
        Settings.create(config(), **values)


def test_sampler_and_ensemble_come_from_the_config_and_staple_has_its_own_threshold():
    old = Settings.create(config())  # of a checkpoint from before there was a choice
    assert (old.sampler, old.ensemble) == ("ddim", "mean")
    chosen = Settings.create(config(sampler="ddpm", ensemble="staple", protocol="paper"))
    assert (chosen.sampler, chosen.ensemble, chosen.protocol, chosen.threshold) == ("ddpm", "staple", "paper", 0.5)
    other = Settings.create(config(sampler="ddpm", ensemble="staple"), sampler="ddim", ensemble="mean", threshold=0.3)
    assert (other.sampler, other.ensemble, other.threshold) == ("ddim", "mean", 0.3)


def test_eta_and_the_bound_come_from_the_config():
    about = config(eta=0.5, clip_x0=1)
    assert Settings.create(about)[-2:] == (0.5, 1.0)
    assert Settings.create(about, eta=1, clip_x0=0.25)[-2:] == (1.0, 0.25)
    assert Settings.create(about, eta=0.0, clip_x0="off")[-2:] == (0.0, None)
    # What another sampler has no use for is left as it is, and so can be given again.
    assert Settings.create(about, sampler="dpm++")[-2:] == Settings.create(about, sampler="dpm++", eta=0.5)[-2:]


def test_a_network_without_diffusion_takes_one_step_and_no_sampler():
    about = config(steps=1, sampler=None)
    about["diffusion"] = dict.fromkeys(about["diffusion"])
    assert Settings.create(about).sampler is None and Settings.create(about).steps == 1
    with pytest.raises(InputError, match="steps is 2; expected a whole number from 1 to 1"):
        Settings.create(about, steps=2)
    with pytest.raises(InputError, match="sampler is 'ddpm'; expected None: the network works in one pass"):
        Settings.create(about, sampler="ddpm")
    with pytest.raises(InputError, match=r"eta is 1.0; expected the checkpoint's, 0.0: the network works in one pass"):
        Settings.create(about, eta=1.0)
    with pytest.raises(InputError, match=r"clip_x0 is 1.0; expected the checkpoint's, off: the network works in one"):
        Settings.create(about, clip_x0=1.0)
    assert Settings.create(about, eta=0.0, clip_x0="off") == Settings.create(about)


def test_an_option_that_is_not_there_is_refused_by_name():
    with pytest.raises(TypeError, match="unexpected option 'step'; expected some of steps, seed, size, sampler, eta,"):
        Settings.create(config(), step=4)


def test_none_is_the_same_as_left_out():
    assert Settings.create(config(), **dict.fromkeys(Options.__annotations__)) == Settings.create(config())


def test_every_setting_has_its_option():
    assert set(Options.__annotations__) == set(Settings._fields)


@pytest.mark.parametrize(
    "given", [{"clip_x0": "off"}, {"clip_x0": 0.5, "eta": 1, "samples": 7, "flips": True, "seed": 3}]
)
def test_the_options_of_the_samples_give_the_same_settings(given):
    about = config(clip_x0=1.0, eta=0.25, samples=2, steps=9, flips=True)
    settings = Settings.create(about, **given)
    assert Settings.create(about, **settings.sampling()) == settings


@pytest.mark.parametrize(
    ("method", "given"),
    [("sample", "threshold"), ("trajectory", "samples"), ("segment", "save"), ("settings", "step")],
)
def test_each_method_refuses_what_it_does_not_know(method, given):
    about = [] if method == "settings" else [np.zeros((SIZE, SIZE, 3), np.uint8)]
    with pytest.raises(TypeError, match=f"unexpected option '{given}'"):
        getattr(red_segmenter(), method)(*about, **{given: 1})

"""Fields that were set and do nothing: refused for a new run, compared no more when a run goes on."""

import copy

import pytest
from tiny_runs import changed, tiny_config, unet_config

from ddim_jax.config import check_config, differences
from ddim_jax.data.generated import COUNTS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.unused_fields import refuse_unused

COSINE = tiny_config(lr_schedule="cosine")
COSINE["diffusion"] |= {"noise_schedule": "cosine", "beta_end": 0.02}
FOLDER = changed("data.counts", COUNTS, changed("data.name", "folder"))
RSUA = changed("data.name", "rsua", FOLDER)
BETAS = "diffusion.noise_schedule is cosine, so it does nothing; change that, or leave diffusion.beta_"


@pytest.mark.parametrize(
    ("field", "value", "base", "reason"),
    [
        (
            "data.fold",
            1,
            tiny_config(),
            "data.folds is not set, so it does nothing; change that, or leave data.fold at 0$",
        ),
        ("data.counts.train", 40, FOLDER, "data.name is folder, which takes all images of a split .*, so .* at 512$"),
        ("data.counts.val", 40, RSUA, "data.name is rsua, which has its own split, so .* at 64$"),
        ("data.groups", "none", RSUA, "data.name is rsua, which has its own split, so .* at folder$"),
        ("data.split_seed", 1, RSUA, "data.name is rsua, which has its own split, so .* at 0$"),
        ("data.groups", "none", tiny_config(), "data.name is phantom, which has no files, so .* at folder$"),
        ("data.invert", True, tiny_config(), "data.name is phantom, which has no files, so .* at False$"),
        ("diffusion.beta_end", 0.03, COSINE, f"{BETAS}end at 0.02$"),
        ("diffusion.beta_start", 0.001, COSINE, f"{BETAS}start at 0.0001$"),
        ("sample.clip_x0", 1.0, unet_config(), "unet works in one pass, so .* at None$"),
        ("sample.eta", 0.7, unet_config(), "unet works in one pass, so .* at 0.0$"),
        ("sample.eta", 0.7, changed("sample.sampler", "ddpm"), "the sampler ddpm has none, so .* at 0.0$"),
        ("train.schedule_steps", 20, tiny_config(), "train.lr_schedule is constant, so .* at 0$"),
        ("train.adversarial_share", 0.5, tiny_config(), "train.adversarial_epsilon is not set, so .* at 1.0$"),
        ("train.unlabelled_weight", 2.0, tiny_config(), "data.unlabelled is not set, so .* at 1.0$"),
    ],
)
def test_a_field_without_effect_is_refused_for_a_new_run_alone(field, value, base, reason):
    refuse_unused(base)
    config = changed(field, value, base)
    check_config(config)
    with pytest.raises(ConfigError, match=rf"^{field} is {value} and {reason}"):
        refuse_unused(config)
    assert differences(config, base) == differences(base, config) == {}


def test_the_same_fields_are_taken_where_they_do_something():
    config = copy.deepcopy(COSINE)
    refuse_unused(changed("data.counts.train", 40, config))
    config["data"] |= {"name": "folder", "counts": COUNTS, "folds": 3, "fold": 1, "groups": "none", "invert": True}
    config["data"] |= {"window": [40.0, 400.0], "split_seed": 1}
    config["diffusion"] |= {"noise_schedule": "linear", "beta_end": 0.3}
    config["sample"] |= {"clip_x0": 1.0, "eta": 0.7}
    config["train"] |= {"schedule_steps": 20}
    refuse_unused(config)
    assert differences(config, changed("diffusion.beta_end", 0.2, config)) == {"diffusion.beta_end": (0.3, 0.2)}
    assert set(differences(COSINE, changed("diffusion.noise_schedule", "linear", COSINE))) == {
        "diffusion.noise_schedule"
    }

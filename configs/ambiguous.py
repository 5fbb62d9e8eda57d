"""Images of known ambiguity, several annotators: whether a network's samples are all the masks that may be true.

Command: python train.py --config configs/ambiguous.py      (--config.model.name=stochastic_unet for the rival)
Expected: docs/how-to/annotators.md has what was measured.
Cost: some minutes on two CPU cores. On images of your own: --config.data.name=folder --config.data.root=DIR
--config.data.annotators='("anna", "ben")' --config.data.image_size=64
"""

from configs import small_x0
from configs.fast import set_levels


def get_config():
    config = small_x0.get_config()
    config.name = "ambiguous"
    config.data.name = "ambiguous"
    config.data.image_size = 24
    config.data.rotation_degrees = 180.0  # there is no upper side
    set_levels(config, 16, (1, 2, 3))

    # Squared errors and every step of an ancestral sampler: an overlap loss favours the likeliest mask, and one step
    # gives the mean of all. At a tenth of its height no mask can be read off x_t; at a third the choice falls in the
    # middle of the schedule, where there are steps to make it in.
    for name in ("lightweight_ddim", "trunk_ddim", "ddim"):
        own = config.systems[name]
        own.diffusion.loss = "mse"
        own.diffusion.mask_scale = 0.3
        own.diffusion.timestep_power = 1.0
        own.diffusion.noise_schedule = "cosine"
        own.train.validation_steps = 10
        own.sample.sampler = "ddpm"
        own.sample.steps = 20
        own.sample.clip_x0 = 1.0
    for name in ("lightweight_ddim", "trunk_ddim", "ddim", "medsegdiff", "unet", "stochastic_unet"):
        config.systems[name].sample.samples = 16
        config.systems[name].sample.flips = False
    # The best on the validation images; larger images may need less.
    for name, rate in (("lightweight_ddim", 0.016), ("stochastic_unet", 0.016), ("unet", 0.008)):
        config.systems[name].train.learning_rate = rate

    config.train.batch_size = 32
    config.train.steps = 1200
    config.train.checkpoint_every = 1200
    config.train.ema_decay = 0.995
    return config

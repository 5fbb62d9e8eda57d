"""Few evaluations on a CPU: the mask in one step, the image in its four mirror images, 4 evaluations in all.

What differs from small_x0, and what each change brought on the validation split, stands in
docs/explanation/few_steps.md. Names no data: configs/demo.py, folder.py (the recommended one, with trunk_ddim) and
table1.py build on it, and any field can be set on the command line:
python train.py --config configs/fast.py --config.data.name=folder --config.data.root=DIR --config.train.steps=5190
"""

from configs import small_x0

LEVELS = 16, (1, 2, 3, 4, 6)
"""The width and levels of the small U-Net: five levels, 0.53 million parameters of the light network."""


def get_config():
    config = small_x0.get_config()
    config.name = "fast"
    set_levels(config, *LEVELS)
    for name in ("lightweight_ddim", "trunk_ddim", "ddim"):
        own = config.systems[name]
        if name != "trunk_ddim":  # which has no such field
            own.model.overrides.channel_shuffle = True
        own.diffusion.timestep_power = 8.0
        own.sample.samples = 4
    config.data.image_size = 64
    return config


def set_levels(config, base_channels, channel_multipliers):
    """Sets width and levels of the networks that have them, in `config` itself."""
    for own in config.systems.values():
        if "channel_multipliers" in own.model.overrides:
            own.model.overrides.base_channels = base_channels
            own.model.overrides.channel_multipliers = channel_multipliers


def full_size(config):
    """Puts the networks of the paper in the place of the small ones, in `config` itself; all else stays as it is."""
    config.model.preset = None
    set_levels(config, None, None)
    for name in ("lightweight_ddim", "ddim"):
        config.systems[name].model.overrides.channel_shuffle = None
    return config

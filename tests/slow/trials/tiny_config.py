"""The network that the faults are done to, a network of one level on generated images of 16 x 16 pixels.

Command: python train.py --config tests/slow/trials/tiny_config.py --workdir DIR
Expected: no useful score.
Cost: most of it is starting the program; a checkpoint, with a validation, every third step.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "faults"
    config.model.preset = "small"
    config.model.overrides.update(base_channels=8, channel_multipliers=(1,), norm_groups=4, stem_stride=1, dropout=0.1)

    config.diffusion.prediction = "x0"
    config.diffusion.loss = "bce_dice"
    config.diffusion.mask_scale = 0.1
    config.diffusion.num_train_timesteps = 50
    config.train.validation_steps = 1
    config.sample.steps = 1
    config.sample.samples = 2
    config.sample.protocol = "mean"

    config.data.name = "phantom"
    config.data.image_size = 16
    config.data.counts = {"train": 12, "val": 4, "test": 1}

    config.train.batch_size = 8
    config.train.epochs = 0.0
    config.train.steps = 12
    config.train.learning_rate = 1e-3
    config.train.gradient_clip = 1.0
    config.train.ema_decay = 0.9
    config.train.log_every = 1
    config.train.checkpoint_every = 3
    config.train.keep_latest = 3
    config.train.validation_images = 4
    return config

"""What is ours to choose, for CPUs: the small network predicting the mask itself, sampled in one step.

The base of demo.py and folder.py; why each value differs from the paper's stands in docs/method.md.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "small_x0"
    config.model.preset = "small"

    config.diffusion.prediction = "x0"
    config.diffusion.loss = "bce_dice"
    config.diffusion.mask_scale = 0.1
    config.diffusion.timestep_power = 2.0

    config.data.image_size = 96

    config.train.batch_size = 16
    config.train.epochs = 0.0
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 100
    config.train.gradient_clip = 1.0
    config.train.ema_decay = 0.999
    config.train.validation_images = 64
    config.train.validation_steps = 1

    config.sample.steps = 1
    config.sample.samples = 5
    config.sample.flips = True
    config.sample.protocol = "calibrated"
    return config

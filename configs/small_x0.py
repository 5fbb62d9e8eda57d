"""Our own choices, for CPUs: the small network predicting the mask itself, sampled in one step.

The base of fast.py and folder_gpu.py; why each value differs from the paper's stands in docs/explanation/method.md.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "small_x0"
    config.model.preset = "small"

    for name in ("lightweight_ddim", "trunk_ddim", "ddim"):
        own = config.systems[name]
        own.diffusion.prediction = "x0"
        own.diffusion.loss = "bce_dice"
        own.diffusion.mask_scale = 0.1
        own.diffusion.timestep_power = 2.0
        own.train.validation_steps = 1
        own.train.learning_rate = 2e-3  # of the baselines: as the comparison has them, configs/table1.py
        own.sample.steps = 1
        own.sample.clip_x0 = None  # the network's own estimate of the mask is no farther out
        own.sample.flips = True
        own.sample.protocol = "mean"
    config.systems.unet.train.learning_rate = 2e-3
    config.systems.medsegdiff.train.learning_rate = 1e-3

    config.data.image_size = 96

    config.train.batch_size = 16
    config.train.epochs = 0.0
    config.train.lr_schedule = "cosine"
    config.train.warmup_steps = 100
    config.train.gradient_clip = 1.0
    config.train.ema_decay = 0.999
    return config

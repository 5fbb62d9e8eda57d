"""A first look: generated phantoms of chest X-rays, nothing to download.

Command: python train.py --config configs/demo.py      (make demo does this, evaluates and samples)
Expected: a Dice of .975 on 64 held-out phantoms, calibrated protocol, 1 step x 5 samples.
Cost: two minutes on two CPU cores.
"""

from configs import small_x0


def get_config():
    config = small_x0.get_config()
    config.name = "demo"
    config.data.name = "phantom"
    config.data.image_size = 64
    config.train.steps = 300
    config.train.checkpoint_every = 100
    return config

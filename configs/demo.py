"""A first look: generated phantoms of chest X-rays, nothing to download.

Command: python train.py --config configs/demo.py      (make demo does this, samples and evaluates)
"""

from configs import small_x0


def get_config():
    config = small_x0.get_config()
    config.name = "demo"
    config.data.name = "phantom"
    config.data.image_size = 64
    config.train.steps = 400
    config.train.checkpoint_every = 100
    return config

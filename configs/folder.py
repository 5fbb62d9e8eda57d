"""Your own images: DIR/images and DIR/masks with matching names, on a CPU.

Command: python train.py --config configs/folder.py --config.data.root=DIR
Give every set a run of its own with --workdir runs/NAME.
Expected: a test Dice of .952 on 100 chest X-rays after training on 416, .919 on 150 pictures of skin lesions after 500
  (docs/results).
Cost: about 16 minutes on two CPU cores, at 24 pictures a second, and a minute of compilation.
"""

from configs import small_x0


def get_config():
    config = small_x0.get_config()
    config.name = "folder"
    config.data.name = "folder"
    config.train.steps = 1400
    config.train.checkpoint_every = 200
    return config

"""Your own images: DIR/images and DIR/masks with matching names, on a CPU.

Command: python train.py --config configs/folder.py --config.data.root=DIR
Give every set a run of its own with --workdir runs/NAME.
Expected: a test Dice of .953 on 100 chest X-rays after training on 416, .920 on 150 pictures of skin lesions after 500:
  the training is that of lightweight_ddim in docs/explanation/results.md.
Cost: six minutes on two idle CPU cores, at 230 pictures a second, and a minute of compilation.
Masks are found at 64 x 64 and brought to each picture's size; --config.data.image_size=128 is finer, at four times the
cost.
"""

from configs import fast


def get_config():
    config = fast.get_config()
    config.name = "folder"
    config.data.name = "folder"
    config.train.steps = 5190
    config.train.checkpoint_every = 865
    return config

"""Your own colonoscopic images with polyps: configs/folder.py for images of which no side is up.

Command: python train.py --config configs/polyp.py --config.data.root=DIR
Expected: a test Dice of .816 on 150 images after training on 500: docs/explanation/results.md, "Small networks".
Cost: that of configs/folder.py.
"""

from configs import folder


def get_config():
    config = folder.get_config()
    config.name = "polyp"
    config.data.rotation_degrees = 180.0
    return config

"""Your own dermoscopic images with skin lesions: configs/folder.py for images of which no side is up.

Command: python train.py --config configs/skin.py --config.data.root=DIR
Expected: a test Dice of .920 on 150 images after training on 500: docs/explanation/results.md, "Small networks".
Cost: that of configs/folder.py.
"""

from configs import folder


def get_config():
    config = folder.get_config()
    config.name = "skin"
    config.data.rotation_degrees = 180.0
    return config

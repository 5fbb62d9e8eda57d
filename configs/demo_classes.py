"""The demo with three classes: the two lungs and the heart of the phantoms.

Command: python train.py --config configs/demo_classes.py
Expected: Dice .984 (right lung), .983 (left lung), .963 (heart) on 64 held-out phantoms, mean of four samples.
Cost: as configs/demo.py, a little more for the wider first and last layers.
"""

from configs import demo


def get_config():
    config = demo.get_config()
    config.name = "demo_classes"
    # As films are viewed: the right lung is on the left of the image.
    config.data.labels = {"right lung": 1, "left lung": 2, "heart": 3}
    # A mirrored lung would be the other one.
    config.data.flips = False
    for system in config.systems.values():
        system.sample.flips = False
    return config

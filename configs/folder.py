"""Your own images: DIR/images and DIR/masks with matching names, on a CPU.

Command: python train.py --config configs/folder.py --config.data.root=DIR
Give every set a run of its own with --workdir runs/NAME. Where no side of an image is up, take configs/skin.py or
configs/polyp.py, or add --config.data.rotation_degrees=180.
Expected: a test Dice of .954 on 100 chest X-rays after training on 416: docs/explanation/results.md, "Small networks".
Cost: a step takes 1.1 to 1.2 times that of the small U-Net (--config.model.name=unet), compiling less than a minute.
The network works at 64 x 64, its probabilities are resized to each image; --config.data.image_size=128 is finer, at
four times the cost. --config.model.name=lightweight_ddim is the paper's light network in this size: a step
takes 1.7 times that of the small U-Net (docs/results/costs.json).
"""

from configs import fast


def get_config():
    config = fast.get_config()
    config.name = "folder"
    config.model.name = "trunk_ddim"
    config.data.name = "folder"
    config.data.augmentation = "strong"
    config.train.steps = 8000
    config.train.checkpoint_every = 1000
    return config

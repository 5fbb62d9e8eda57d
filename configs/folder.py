"""Your own images: DIR/images and DIR/masks with matching names, on a CPU.

Command: python train.py --config configs/folder.py --config.data.root=DIR
Give every set a run of its own with --workdir runs/NAME. Where no side of an image is up, take configs/skin.py or
configs/polyp.py, or add --config.data.rotation_degrees=180.
Expected: a test Dice of .958 on 100 chest X-rays after training on 416: docs/explanation/results.md, "Small networks".
Cost: 340 s on two cores with AVX-512, and a minute of compilation; a step takes 1.2 times that of the small U-Net
(--config.model.name=unet).
The network works at 128 x 128, its probabilities are resized to each image. Its stem folds 4 x 4 pixels into channels:
a step takes 1.5 times that of a network at 64 x 64 that folds 2 x 2, not four times. Finer, at three times the cost:
--config.model.overrides.stem_stride=2. Sizes have to be multiples of 64, with a stem of 2 of 32.
--config.model.name=lightweight_ddim is the paper's light network in this size, at twice the time of a step.
"""

from configs import fast


def get_config():
    config = fast.get_config()
    config.name = "folder"
    config.model.name = "trunk_ddim"
    config.data.name = "folder"
    config.data.augmentation = "strong"
    config.data.image_size = 128
    for system in config.systems.values():
        if "stem_stride" in system.model.overrides:
            system.model.overrides.stem_stride = 4
    config.train.steps = 8000
    config.train.checkpoint_every = 1000
    return config

"""`tiny_config` with the network that has no diffusion, which is traced in a fraction of the time: for short trials.

Command: python train.py --config tests/slow/trials/short_config.py --workdir DIR
Expected: no useful score.
Cost: most of it is starting the program; a checkpoint, with a validation, every third step.
"""

from tests.slow.trials import tiny_config


def get_config():
    config = tiny_config.get_config()
    config.model.name = "unet"
    config.diffusion.update(dict.fromkeys(config.diffusion))  # what the network declares
    config.sample.update(sampler=None, steps=None, samples=None)
    return config

"""Your own images on a GPU: the paper's lightweight network at 256 x 256 in bfloat16, predicting the mask itself.

Command: python train.py --config configs/folder_gpu.py --config.data.root=DIR
Expected: a test Dice of .956 on 100 chest X-rays after training on 416, by version 0.1.0 with evaluate.py --no-flips
  --resolution model: docs/results/README.md.
What fast.py adds (later timesteps, shuffled groups) was tried on small networks alone and is not in this.
Cost: 9 minutes on one H100 80GB, 5 of them training, most of the rest compilation. On several GPUs train.batch_size has
  to be a multiple of their number.
"""

from configs import small_x0

LEARNING_RATES = {"lightweight_ddim": 2e-4, "trunk_ddim": 1e-3, "ddim": 2e-4, "unet": 1e-3, "medsegdiff": 1e-4}
"""The rate of each network of full size."""


def get_config():
    config = small_x0.get_config()
    config.name = "folder_gpu"
    config.model.preset = None
    config.model.overrides.dtype = "bfloat16"
    config.data.name = "folder"
    config.data.image_size = 256
    config.train.batch_size = 20
    config.train.steps = 3200
    for name, rate in LEARNING_RATES.items():
        config.systems[name].train.learning_rate = rate
    config.train.warmup_steps = 200
    config.train.log_every = 100
    config.train.checkpoint_every = 1000
    return config

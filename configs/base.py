"""The paper's setting, on which every other config builds; on its own it names no data.

Lightweight DDIM at 256 x 256, noise prediction, Adam at 2e-5, batch 20, 2000 epochs, 50 steps x 5 samples.
Any field can be set from the command line: --config.train.learning_rate=1e-4
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"  # runs/<name> is where a run goes unless --workdir says otherwise
    config.seed = 0

    config.model = ConfigDict()
    config.model.name = "lightweight_ddim"  # or ddim
    config.model.preset = config_dict.placeholder(str)  # none: the paper's size; or small
    # Fields of the network that replace the preset's; what is None stays as it is.
    config.model.overrides = ConfigDict()
    config.model.overrides.dtype = config_dict.placeholder(str)  # float32 or bfloat16
    config.model.overrides.base_channels = config_dict.placeholder(int)
    config.model.overrides.channel_multipliers = config_dict.placeholder(tuple)
    config.model.overrides.blocks_per_level = config_dict.placeholder(int)
    config.model.overrides.attention_levels = config_dict.placeholder(tuple)
    config.model.overrides.norm_groups = config_dict.placeholder(int)
    config.model.overrides.patch_size = config_dict.placeholder(int)
    config.model.overrides.dropout = config_dict.placeholder(float)

    config.diffusion = ConfigDict()
    config.diffusion.prediction = "noise"  # the paper; or x0
    config.diffusion.loss = "mse"  # the paper; or bce_dice (x0 only)
    config.diffusion.mask_scale = 1.0
    config.diffusion.timestep_power = 1.0
    config.diffusion.num_train_timesteps = 1000
    config.diffusion.beta_start = 1e-4
    config.diffusion.beta_end = 0.02

    config.data = ConfigDict()
    config.data.name = "folder"  # or phantom, rsua, isbi2016, polypdb
    config.data.root = ""
    config.data.image_size = 256
    config.data.rotation_degrees = 15.0
    config.data.flips = True
    config.data.split_seed = 0  # of phantoms, and of the split of a folder without splits.csv
    config.data.cache_dir = config_dict.placeholder(str)
    config.data.counts = ConfigDict({"train": 512, "val": 64, "test": 64})  # phantoms of each split
    config.data.resident_bytes = 2 * 1024**3  # data sets up to this size are held on the device

    config.train = ConfigDict()
    config.train.batch_size = 20
    config.train.steps = 0
    config.train.epochs = 2000.0  # used where steps is 0
    config.train.learning_rate = 2e-5
    config.train.schedule = "constant"  # or cosine
    config.train.warmup_steps = 0
    config.train.beta1 = 0.9
    config.train.beta2 = 0.999
    config.train.gradient_clip = 0.0  # off
    config.train.ema_decay = 0.9999
    config.train.log_every = 50
    config.train.checkpoint_every = 1000  # with a validation each time
    config.train.keep_latest = 2
    config.train.validation_images = 64
    config.train.validation_steps = 10

    config.sample = ConfigDict()
    config.sample.steps = 50
    config.sample.samples = 5
    config.sample.eta = 0.0
    config.sample.flips = False  # samples see the picture mirrored in turn
    config.sample.clip_x0 = config_dict.placeholder(float)  # off
    config.sample.protocol = "paper"  # how sample.py cuts; evaluate.py reports both
    return config.lock()  # so that a misspelt field is refused, here and in the configs that build on this one

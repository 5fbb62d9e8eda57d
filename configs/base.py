"""The paper's setting, on which every other config builds; on its own it names no data.

Lightweight DDIM, noise prediction, Adam at 2e-5, batch 20, 2000 epochs, 50 steps x 5 samples. Pictures of 256 x 256,
the average of the weights and the constant learning rate are ours: the paper states none.
Any field can be set from the command line: --config.train.learning_rate=1e-4

Four systems can be trained: --config.model.name=lightweight_ddim, ddim, unet or medsegdiff. What differs between them
stands in a section for each (ddim for the first two), laid out as the config itself. A field that is None takes the
value from there; one that is set holds for whatever system is chosen. config.json of a run has the values used.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"  # runs/<name> is where a run goes unless --workdir says otherwise
    config.seed = 0

    config.model = ConfigDict()
    config.model.name = "lightweight_ddim"  # or ddim, unet, medsegdiff
    config.model.preset = config_dict.placeholder(str)  # none: the paper's size; or small
    # Fields of the network that replace the preset's; what is None stays as it is.
    config.model.overrides = ConfigDict()
    config.model.overrides.dtype = config_dict.placeholder(str)  # float32 or bfloat16
    config.model.overrides.base_channels = config_dict.placeholder(int)
    config.model.overrides.channel_multipliers = config_dict.placeholder(tuple)
    config.model.overrides.blocks_per_level = config_dict.placeholder(int)
    config.model.overrides.attention_levels = config_dict.placeholder(tuple)
    config.model.overrides.fusion_levels = config_dict.placeholder(tuple)
    config.model.overrides.frequency_bins = config_dict.placeholder(int)
    config.model.overrides.norm_groups = config_dict.placeholder(int)
    config.model.overrides.stem_stride = config_dict.placeholder(int)
    config.model.overrides.channel_shuffle = config_dict.placeholder(bool)  # of lightweight_ddim
    config.model.overrides.remat = config_dict.placeholder(bool)  # less memory in training, more time
    config.model.overrides.dropout = config_dict.placeholder(float)

    config.diffusion = ConfigDict()
    config.diffusion.prediction = config_dict.placeholder(str)  # noise, x0 or v
    config.diffusion.loss = config_dict.placeholder(str)  # mse, or bce_dice (x0 only)
    config.diffusion.loss_weight = config_dict.placeholder(str)  # plain or min_snr
    config.diffusion.mask_scale = config_dict.placeholder(float)
    config.diffusion.timestep_power = config_dict.placeholder(float)
    config.diffusion.num_train_timesteps = config_dict.placeholder(int)
    config.diffusion.noise_schedule = config_dict.placeholder(str)  # linear, or cosine (without betas)
    config.diffusion.beta_start = config_dict.placeholder(float)
    config.diffusion.beta_end = config_dict.placeholder(float)
    config.diffusion.zero_terminal_snr = config_dict.placeholder(bool)  # x0 and v only

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
    config.train.accumulate = 1  # parts in which the network sees a batch: less memory, more time
    config.train.steps = 0
    config.train.epochs = 2000.0  # used where steps is 0
    config.train.learning_rate = config_dict.placeholder(float)
    config.train.lr_schedule = "constant"  # or cosine
    config.train.init_from = config_dict.placeholder(str)  # PyTorch weights to start from, .safetensors or .pt
    config.train.warmup_steps = 0
    config.train.beta1 = 0.9
    config.train.beta2 = 0.999
    config.train.gradient_clip = 0.0  # off
    config.train.ema_decay = 0.9999
    config.train.log_every = 50
    config.train.checkpoint_every = 1000  # with a validation each time
    config.train.keep_latest = 2
    config.train.validation_images = 64
    config.train.validation_steps = config_dict.placeholder(int)

    config.sample = ConfigDict()
    config.sample.sampler = config_dict.placeholder(str)  # ddim, ddpm or dpm++
    config.sample.steps = config_dict.placeholder(int)
    config.sample.samples = config_dict.placeholder(int)
    config.sample.eta = 0.0  # of DDIM
    config.sample.flips = config_dict.placeholder(bool)  # samples see the picture mirrored in turn
    config.sample.clip_x0 = config_dict.placeholder(float)
    config.sample.protocol = config_dict.placeholder(str)  # how sample.py cuts; evaluate.py reports both
    config.sample.ensemble = "mean"  # majority or staple

    config.ddim = _ddim()
    config.unet = _unet()
    config.medsegdiff = _medsegdiff()
    return config.lock()  # so that a misspelt field is refused, here and in the configs that build on this one


def _ddim() -> ConfigDict:
    """lightweight_ddim and ddim, as the paper has them."""
    own = ConfigDict()
    own.model = ConfigDict({"overrides": ConfigDict()})
    own.model.overrides.channel_shuffle = config_dict.placeholder(bool)  # off
    own.diffusion = _paper_diffusion()
    own.train = ConfigDict({"learning_rate": 2e-5, "validation_steps": 10})
    own.sample = ConfigDict({"sampler": "ddim", "steps": 50, "samples": 5, "flips": False, "protocol": "paper"})
    own.sample.clip_x0 = config_dict.placeholder(float)
    own.sample.clip_x0 = 1.0  # the mask has no other values; docs/explanation/method.md has what that is worth
    return own


def _unet() -> ConfigDict:
    """No diffusion: binary cross-entropy and Dice, one pass; the samples are the four mirror images."""
    own = ConfigDict()
    own.train = ConfigDict({"learning_rate": 1e-3, "validation_steps": 1})
    own.sample = ConfigDict({"steps": 1, "samples": 4, "flips": True, "protocol": "mean"})
    return own


def _medsegdiff() -> ConfigDict:
    """Noise prediction, ancestral sampling over all timesteps, its paper's learning rate."""
    own = ConfigDict()
    own.diffusion = _paper_diffusion()
    own.train = ConfigDict({"learning_rate": 1e-4, "validation_steps": 10})
    own.sample = ConfigDict({"sampler": "ddpm", "steps": 1000, "samples": 5, "flips": False, "protocol": "mean"})
    own.sample.clip_x0 = config_dict.placeholder(float)
    own.sample.clip_x0 = 1.0  # as DDPM samples: at large t the estimate is far off
    return own


def _paper_diffusion() -> ConfigDict:
    diffusion = ConfigDict({"prediction": "noise", "loss": "mse", "loss_weight": "plain"})
    diffusion.update({"mask_scale": 1.0, "timestep_power": 1.0, "num_train_timesteps": 1000})
    diffusion.update({"noise_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "zero_terminal_snr": False})
    return diffusion

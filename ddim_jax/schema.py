"""Every field of a config, stated once: type, default, range, help, and whether it may change when a run goes on.

From `SCHEMA` come the config that the files of configs/ build on, its checks and the reading back of a saved one
(`ddim_jax.config`), and the page "Configuration" of the reference (`ddim-jax fields`).

The networks of `ddim_jax.models` differ in how they are trained and sampled. A field that is None in a config takes its
value from the section of its network in `systems`, where that was changed, or from what the network declares
(`ddim_jax.models.ModelSpec`); the name in `data.augmentation` fills its ranges likewise.
"""

from typing import Any

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.data.generated import COUNTS, MOST
from ddim_jax.diffusion import PREDICTIONS, SCHEDULES
from ddim_jax.diffusion.losses import LossNames
from ddim_jax.diffusion.process import LOSS_WEIGHTS
from ddim_jax.diffusion.schedule import LEAST_BETA, MOST_TIMESTEPS
from ddim_jax.fields import Field
from ddim_jax.registry import DATASETS, ENSEMBLES, MODELS, SAMPLERS, TRANSFORMS

_MANY = 10**9
_SEEDS = {"low": 0, "high": 2**32 - 1}

SCHEMA: dict[str, Any] = {
    "name": Field(str, "base", "the run goes to runs/<name>, unless --workdir says otherwise", resume="free"),
    "seed": Field(int, 0, "of the initial weights, the order of the images, the noise", **_SEEDS),
    "plugins": Field(
        tuple, (), "modules to import, which register networks, samplers, data sets", items=str, resume="free"
    ),
    "model": {
        "name": Field(str, "lightweight_ddim", "the network", choices=MODELS),
        "preset": Field(str, None, "its size: small, or none for the network's own", optional=True),
        "overrides": {},  # the fields of the network
    },
    "diffusion": {
        "prediction": Field(str, help="what the network estimates", choices=PREDICTIONS, of_model=True),
        "loss": Field(str, help="all but mse are for x0 alone", choices=LossNames(), of_model=True),
        "loss_weight": Field(str, help="weight of each timestep's loss", choices=LOSS_WEIGHTS, of_model=True),
        "mask_scale": Field(float, help="the mask enters as +- this", above=0, high=1, of_model=True),
        "timestep_power": Field(
            float, help="timesteps are drawn with a density of t^(this - 1): 1 is uniform", low=1, of_model=True
        ),
        "num_train_timesteps": Field(int, help="timesteps of the process", low=1, high=MOST_TIMESTEPS, of_model=True),
        "noise_schedule": Field(str, help="cosine is without the betas", choices=SCHEDULES, of_model=True),
        "beta_start": Field(float, help="first beta of the linear schedule", low=LEAST_BETA, below=1, of_model=True),
        "beta_end": Field(float, help="last beta of the linear schedule", above=0, below=1, of_model=True),
        "zero_terminal_snr": Field(bool, help="end in pure noise; x0 and v only", of_model=True),
    },
    "data": {
        "name": Field(str, "folder", "the data set", choices=DATASETS),
        "root": Field(str, "", "its folder; on resume the images' names are compared", optional=True, resume="free"),
        "labels": Field(
            dict, None, "stored values of each class; none: one class, the brighter of two levels", optional=True
        ),
        "segments": Field(
            tuple,
            (),
            "what each class is in SNOMED CT, for DICOM-SEG: NAME=Lung, NAME=Tissue/Artery",
            items=str,
            lengths=(0, 254),
            resume="free",
        ),
        "ignore": Field(tuple, (), "stored values that count nowhere", low=-(2**15), high=2**16 - 1, lengths=(0, 256)),
        "multilabel": Field(bool, False, "classes may overlap: a stored value belongs to all that list it"),
        "annotators": Field(
            tuple,
            (),
            "folders of masks, one for each of several annotators, or numbered: x_mask_1, x_mask_2 of each image; "
            "none: one truth, numbered masks are parts of it",
            items=str,
            added=True,
        ),
        "unlabelled": Field(
            str,
            "",
            "a folder of images without masks to train on beside the others, with masks by the average of the "
            "weights; what is of another split, or of its patients, is left out; on resume the images are compared; a "
            "step takes more than twice the time, with several train.validation_steps still more",
            optional=True,
            resume="free",
            added=True,
        ),
        "image_size": Field(int, 256, "side in pixels that images are resized to", low=1, high=2**14),
        "window": Field(
            tuple,
            None,
            "centre and width of the values of DICOM, NIfTI and 16-bit images that are shown; none: the file's own",
            items=float,
            lengths=(2, 2),
            optional=True,
        ),
        "crop": Field(
            int,
            0,
            "train on squares of that side at the images' own scale; image_size follows; 0: resize",
            low=0,
            high=2**14,
        ),
        "invert": Field(bool, False, "files store images inverted, white as the smallest value: turn them round"),
        "augmentation": Field(
            str,
            "paper",
            "preset of the training augmentation: fills rotation_degrees and each field of augment that is none",
            choices=AUGMENTATIONS,
        ),
        "transforms": Field(
            tuple,
            (),
            "transforms of plug-ins that change the pair after all else, in this order",
            items=str,
            choices=TRANSFORMS,
            added=True,
        ),
        "rotation_degrees": Field(
            float,
            None,
            "images are turned by up to that in training; 180 where they have no upper side",
            low=0,
            high=180,
            of_augmentation=True,
        ),
        "flips": Field(bool, True, "images are mirrored in training"),
        "augment": {
            name: Field(float, None, help, low=0, high=high, of_augmentation=True)
            for name, high, help in (
                ("zoom", 1, "images are larger or smaller by up to e^this"),
                ("aspect", 1, "height by width changes by up to e^this"),
                ("shear", 1, "a row moves by up to that for each row of distance from the centre"),
                ("shift", 0.5, "images move along each axis by up to that part of their side"),
                ("contrast", 2, "distances from the mean grow or shrink by up to e^this"),
                ("brightness", 1, "is added or subtracted, up to that; 1 is from black to white"),
                ("saturation", 2, "distances of the channels from their mean grow or shrink by up to e^this"),
                ("tint", 1, "as brightness, for each channel by itself"),
                ("gamma", 2, "values from 0 to 1 are raised to powers of up to e^+-this"),
                ("blur", 0.1, "standard deviation of a Gaussian, up to that part of the longer side"),
                ("noise", 1, "standard deviation of noise, up to that; 1 is from black to white"),
            )
        },
        "empty_windows": Field(
            float,
            0.0,
            "that share of the training images also give a part of theirs without a structure, as an image whose "
            "mask is empty: against structures that are seen where there are none",
            low=0,
            high=1,
            added=True,
        ),
        "erased": Field(
            float,
            0.0,
            "that share of the training images also give one whose structures are replaced by other parts of it and "
            "whose mask is empty, and half as many one with a part beside its structures replaced: as empty_windows",
            low=0,
            high=1,
            added=True,
        ),
        "groups": Field(
            str,
            "folder",
            "what stays together in a drawn split besides volumes and patients that files name: the first folder below "
            "images/; or none",
            choices=("folder", "none"),
        ),
        "folds": Field(int, 0, "of a cross-validation, 3 or more, instead of a split; 0 for none", low=0, high=1000),
        "fold": Field(int, 0, "the fold that is held out, from 0", low=0, high=999),
        "split_seed": Field(int, 0, "of phantoms, and of the split of a folder without splits.csv", **_SEEDS),
        "cache_dir": Field(str, None, "for indices and splits; none: ~/.cache/ddim_jax", optional=True, resume="free"),
        "counts": {
            split: Field(int, count, f"phantoms of the {split} split", low=1, high=MOST)
            for split, count in COUNTS.items()
        },
        "same_pixels": Field(
            bool, True, "go on only with the pixels of before; false: say which pairs changed", resume="free"
        ),
        "resident_bytes": Field(
            int, 2 * 1024**3, "data sets up to this size are held on the device", low=0, high=2**50, resume="free"
        ),
    },
    "train": {
        "batch_size": Field(int, 20, "examples of a step, on all devices together", low=1, high=2**20),
        "accumulate": Field(
            int,
            1,
            "parts of a batch: less memory, more time; the same up to rounding, but for dropout",
            low=1,
            high=2**20,
            resume="free",
        ),
        "steps": Field(int, 0, "length of the run; 0 to count in epochs", low=0, high=_MANY, resume="length"),
        "epochs": Field(
            float,
            2000.0,
            "length of the run in passes over the training pairs, without what is made of them; 0 to count in steps",
            low=0,
            high=_MANY,
            resume="length",
        ),
        "learning_rate": Field(float, help="of Adam, after the warm-up", above=0, of_model=True),
        "lr_schedule": Field(str, "constant", "cosine falls to 1% at the end", choices=("constant", "cosine")),
        "schedule_steps": Field(
            int,
            0,
            "length of lr_schedule, whose last rate stays; 0: that of the run",
            low=0,
            high=_MANY,
            resume="length",
        ),
        "init_from": Field(
            str,
            None,
            "a run, packed weights, or PyTorch weights (.safetensors, .pt), to start from",
            optional=True,
            resume="ignored",
        ),
        "warmup_steps": Field(int, 0, "steps in which the learning rate rises from 0", low=0, high=_MANY),
        "beta1": Field(float, 0.9, "of Adam", low=0, below=1),
        "beta2": Field(float, 0.999, "of Adam", low=0, below=1),
        "gradient_clip": Field(float, 0.0, "largest norm of the gradient; 0 for none", low=0),
        "adversarial_epsilon": Field(
            float,
            0.0,
            "train on images changed by up to that so that their loss rises: against attacks, in half as much "
            "time again; 1 is from black to white, 0.0078 is 2 levels; 0: not",
            low=0,
            high=0.5,
            added=True,
        ),
        "adversarial_share": Field(
            float, 1.0, "of the images that are changed so; the others stay as they are", low=0, high=1, added=True
        ),
        "unlabelled_weight": Field(
            float,
            1.0,
            "of the loss of data.unlabelled beside that of the labelled images, reached in 1000 steps",
            low=0,
            high=100,
            added=True,
        ),
        "ema_decay": Field(
            float, 0.9999, "decay of the weights' moving average, which is sampled from", low=0, below=1
        ),
        "log_every": Field(int, 50, "steps between lines of metrics", low=1, high=_MANY, resume="free"),
        "checkpoint_every": Field(
            int, 1000, "steps between checkpoints, with a validation each time", low=1, high=_MANY, resume="free"
        ),
        "keep_latest": Field(int, 2, "checkpoints kept, besides the best", low=1, high=10**6, resume="free"),
        "validation_images": Field(int, 64, "images of a validation, at most", low=1, high=_MANY),
        "validation_steps": Field(
            int,
            help="sampling steps of a validation and of masks for data.unlabelled",
            low=1,
            high=10**6,
            of_model=True,
        ),
    },
    "sample": {
        "sampler": Field(str, help="how samples are drawn", choices=SAMPLERS, of_model=True, resume="free"),
        "steps": Field(int, help="network evaluations of a sample", low=1, high=10**6, of_model=True, resume="free"),
        "samples": Field(int, help="samples of an image", low=1, high=2**16, of_model=True, resume="free"),
        "eta": Field(float, 0.0, "noise in the steps of DDIM: 1 is as much as DDPM", low=0, high=1, resume="free"),
        "flips": Field(bool, help="samples see the image mirrored in turn", of_model=True, resume="free"),
        "clip_x0": Field(
            float,
            help="bound on the estimates of x_0; none: the network's own; systems.NAME.sample.clip_x0=none: no bound",
            above=0,
            optional=True,
            of_model=True,
        ),
        "protocol": Field(
            str,
            help="how samples become the mask of `sample`; `evaluate` reports all",
            choices=PROTOCOLS,
            of_model=True,
            resume="free",
        ),
        "ensemble": Field(str, "mean", "how samples are fused", choices=ENSEMBLES, resume="free"),
    },
}
"""Sections and fields. Fields `of_model` and `of_augmentation` are None in a config until they are set or resolved."""

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

MOST_SIDE = 2**14
"""The largest side of the images that a network sees, in pixels."""
_MANY = 10**9
_SEEDS = {"low": 0, "high": 2**32 - 1}

SCHEMA: dict[str, Any] = {
    "name": Field(str, "base", "name of the run, whose folder is runs/<name> without --workdir", resume="free"),
    "seed": Field(int, 0, "random seed of the initial weights, the order of the images and the noise", **_SEEDS),
    "plugins": Field(
        tuple, (), "Python modules to import that register networks, samplers, data sets", items=str, resume="free"
    ),
    "model": {
        "name": Field(str, "lightweight_ddim", "name of the network", choices=MODELS),
        "preset": Field(str, None, "size of the network: small; none: its full size", optional=True),
        "overrides": {},  # the fields of the network
    },
    "diffusion": {
        "prediction": Field(str, help="prediction target: noise, x0 (mask) or v", choices=PREDICTIONS, of_model=True),
        "loss": Field(
            str, help="training loss; losses other than mse require prediction=x0", choices=LossNames(), of_model=True
        ),
        "loss_weight": Field(str, help="weighting of the loss over timesteps", choices=LOSS_WEIGHTS, of_model=True),
        "mask_scale": Field(
            float, help="amplitude of the mask in the diffusion process", above=0, high=1, of_model=True
        ),
        "timestep_power": Field(
            float, help="power p of the density t^(p - 1) of training timesteps; 1 is uniform", low=1, of_model=True
        ),
        "num_train_timesteps": Field(int, help="diffusion timesteps", low=1, high=MOST_TIMESTEPS, of_model=True),
        "noise_schedule": Field(
            str, help="noise schedule; cosine ignores beta_start and beta_end", choices=SCHEDULES, of_model=True
        ),
        "beta_start": Field(float, help="first beta of the linear schedule", low=LEAST_BETA, below=1, of_model=True),
        "beta_end": Field(float, help="last beta of the linear schedule", above=0, below=1, of_model=True),
        "zero_terminal_snr": Field(bool, help="the last timestep is pure noise; requires x0 or v", of_model=True),
    },
    "data": {
        "name": Field(str, "folder", "name of the data set", choices=DATASETS),
        "root": Field(str, "", "folder of the data set; image names compared on resume", optional=True, resume="free"),
        "labels": Field(
            dict, None, "mask values of each class; none: one class, the brighter of two levels", optional=True
        ),
        "segments": Field(
            tuple,
            (),
            "SNOMED CT concept of each class, for DICOM-SEG: NAME=Lung, NAME=Tissue/Artery",
            items=str,
            lengths=(0, 254),
            resume="free",
        ),
        "ignore": Field(tuple, (), "mask values of ignored pixels", low=-(2**15), high=2**16 - 1, lengths=(0, 256)),
        "multilabel": Field(bool, False, "classes may overlap: a mask value belongs to every class that lists it"),
        "annotators": Field(
            tuple,
            (),
            "mask folders of several annotators, one each; or numbered, for x_mask_1, x_mask_2 of an image x; empty: "
            "one mask for each image, of which numbered files are parts",
            items=str,
            added=True,
        ),
        "unlabelled": Field(
            str,
            "",
            "folder of images without masks, trained on with pseudo-labels predicted by the averaged weights (mean "
            "teacher); images and patients of other splits are left out; images compared on resume; a step takes more "
            "than twice the time, longer with several train.validation_steps",
            optional=True,
            resume="free",
            added=True,
        ),
        "image_size": Field(int, 256, "side in pixels that images are resized to", low=1, high=MOST_SIDE),
        "window": Field(
            tuple,
            None,
            "grey-level window (centre, width) of DICOM, NIfTI and 16-bit images; none: each file's own",
            items=float,
            lengths=(2, 2),
            optional=True,
        ),
        "crop": Field(
            int,
            0,
            "side in pixels of crops to train on at full resolution, in place of image_size; 0: resize images",
            low=0,
            high=MOST_SIDE,
        ),
        "invert": Field(bool, False, "invert grey levels when reading; for files with white as the smallest value"),
        "augmentation": Field(
            str,
            "paper",
            "preset of the training augmentation: values of rotation_degrees and augment where these are none",
            choices=AUGMENTATIONS,
        ),
        "transforms": Field(
            tuple,
            (),
            "transforms of plug-ins, applied to image and mask after all other augmentation, in this order",
            items=str,
            choices=TRANSFORMS,
            added=True,
        ),
        "rotation_degrees": Field(
            float,
            None,
            "largest training rotation, in degrees; 180 for images without an up direction",
            low=0,
            high=180,
            of_augmentation=True,
        ),
        "flips": Field(bool, True, "mirror images at random in training"),
        "augment": {
            name: Field(float, None, help, low=0, high=high, of_augmentation=True)
            for name, high, help in (
                ("zoom", 1, "largest zoom in or out, as the logarithm of the factor"),
                ("aspect", 1, "largest change of the aspect ratio, as the logarithm of the factor"),
                ("shear", 1, "largest shear, in columns for each row of distance from the centre"),
                ("shift", 0.5, "largest shift along each axis, as a share of the side"),
                ("contrast", 2, "largest change of the contrast, as the logarithm of the factor"),
                ("brightness", 1, "largest change of the brightness; 1 is from black to white"),
                ("saturation", 2, "largest change of the colour saturation, as the logarithm of the factor"),
                ("tint", 1, "largest change of the brightness of each channel by itself; 1 is from black to white"),
                ("gamma", 2, "largest change of the gamma exponent, as its logarithm"),
                ("blur", 0.1, "largest standard deviation of a Gaussian blur, as a share of the longer side"),
                ("noise", 1, "largest standard deviation of Gaussian noise; 1 is from black to white"),
            )
        },
        "empty_windows": Field(
            float,
            0.0,
            "share of the training images of which a window without a structure is added as an image with an empty "
            "mask, against false positives",
            low=0,
            high=1,
            added=True,
        ),
        "erased": Field(
            float,
            0.0,
            "share of the training images of which a copy is added with its structures replaced by other parts of the "
            "image and an empty mask, against false positives; for half as many a copy with a part beside the "
            "structures replaced",
            low=0,
            high=1,
            added=True,
        ),
        "groups": Field(
            str,
            "folder",
            "images kept in one split when it is drawn, besides those of one volume or patient: folder, those of one "
            "first-level folder of images/; none, no others",
            choices=("folder", "none"),
        ),
        "folds": Field(int, 0, "number of cross-validation folds, 3 or more; 0: one split", low=0, high=1000),
        "fold": Field(int, 0, "index of the fold that is held out, from 0", low=0, high=999),
        "split_seed": Field(int, 0, "seed of phantoms and of the split of a folder without splits.csv", **_SEEDS),
        "cache_dir": Field(str, None, "cache folder; none: ~/.cache/ddim_jax", optional=True, resume="free"),
        "counts": {
            split: Field(int, count, f"number of phantoms of the {split} split", low=1, high=MOST)
            for split, count in COUNTS.items()
        },
        "same_pixels": Field(
            bool, True, "refuse to resume if the pixels of a pair changed; false: only report which", resume="free"
        ),
        "resident_bytes": Field(
            int, 2 * 1024**3, "bytes up to which a data set is kept in device memory", low=0, high=2**50, resume="free"
        ),
    },
    "train": {
        "batch_size": Field(int, 20, "images of a training step, on all devices together", low=1, high=2**20),
        "accumulate": Field(
            int,
            1,
            "parts of a batch whose gradients are accumulated: less memory, more time; same result without dropout, "
            "up to rounding",
            low=1,
            high=2**20,
            resume="free",
        ),
        "steps": Field(int, 0, "length of the run in steps; 0: given by epochs", low=0, high=_MANY, resume="length"),
        "epochs": Field(
            float,
            2000.0,
            "length of the run in passes over the training pairs, without added images; 0: given by steps",
            low=0,
            high=_MANY,
            resume="length",
        ),
        "learning_rate": Field(float, help="Adam's learning rate, after the warm-up", above=0, of_model=True),
        "lr_schedule": Field(str, "constant", "constant, or cosine decay to 1%", choices=("constant", "cosine")),
        "schedule_steps": Field(
            int,
            0,
            "length of lr_schedule in steps, after which the rate stays constant; 0: that of the run",
            low=0,
            high=_MANY,
            resume="length",
        ),
        "init_from": Field(
            str,
            None,
            "initial weights: a run, packed weights or PyTorch weights (.safetensors, .pt); none: random",
            optional=True,
            resume="ignored",
        ),
        "warmup_steps": Field(int, 0, "steps of linear warm-up of the learning rate from 0", low=0, high=_MANY),
        "beta1": Field(float, 0.9, "Adam's beta1, decay of the mean of the gradient", low=0, below=1),
        "beta2": Field(float, 0.999, "Adam's beta2, decay of the mean of the squared gradient", low=0, below=1),
        "gradient_clip": Field(float, 0.0, "norm to which larger gradients are clipped; 0: no clipping", low=0),
        "adversarial_epsilon": Field(
            float,
            0.0,
            "adversarial training (FGSM): largest change of a pixel; 1 is from black to white, 0.0078 is 2 levels of "
            "255; a step takes half as long again; 0: no adversarial training",
            low=0,
            high=0.5,
            added=True,
        ),
        "adversarial_share": Field(
            float, 1.0, "share of the images that adversarial training changes", low=0, high=1, added=True
        ),
        "unlabelled_weight": Field(
            float,
            1.0,
            "weight of the loss of data.unlabelled relative to that of labelled images, reached after 1000 steps",
            low=0,
            high=100,
            added=True,
        ),
        "ema_decay": Field(
            float, 0.9999, "decay of the exponential moving average of the weights, used for sampling", low=0, below=1
        ),
        "log_every": Field(int, 50, "steps between logged lines of metrics", low=1, high=_MANY, resume="free"),
        "checkpoint_every": Field(
            int, 1000, "steps between checkpoints, with a validation each time", low=1, high=_MANY, resume="free"
        ),
        "keep_latest": Field(int, 2, "latest checkpoints to keep, besides the best", low=1, high=10**6, resume="free"),
        "validation_images": Field(int, 64, "largest number of images of a validation", low=1, high=_MANY),
        "validation_steps": Field(
            int,
            help="sampling steps in validation and for the pseudo-labels of data.unlabelled",
            low=1,
            high=10**6,
            of_model=True,
        ),
    },
    "sample": {
        "sampler": Field(str, help="sampler of the diffusion process", choices=SAMPLERS, of_model=True, resume="free"),
        "steps": Field(int, help="network evaluations per sample", low=1, high=10**6, of_model=True, resume="free"),
        "samples": Field(int, help="samples per image", low=1, high=2**16, of_model=True, resume="free"),
        "eta": Field(float, 0.0, "noise of ddim: 0 is deterministic, 1 as in ddpm", low=0, high=1, resume="free"),
        "flips": Field(bool, help="sample the mirrored versions of the image in turn", of_model=True, resume="free"),
        "clip_x0": Field(
            float,
            help="bound on the predicted x_0; none: the network's own; systems.NAME.sample.clip_x0=none: no bound",
            above=0,
            optional=True,
            of_model=True,
        ),
        "protocol": Field(
            str,
            help="rule that turns the samples into the mask of `sample`; `evaluate` reports every rule",
            choices=PROTOCOLS,
            of_model=True,
            resume="free",
        ),
        "ensemble": Field(str, "mean", "method that fuses the samples", choices=ENSEMBLES, resume="free"),
    },
}
"""Sections and fields. Fields `of_model` and `of_augmentation` are None in a config until they are set or resolved."""

"""Configurations that train.py cannot use: files, fields, values."""

from collections.abc import Iterator
from pathlib import Path

from tests.slow.trials.bad_pictures import put_data
from tests.slow.trials.judge import Input, Make, Start
from tests.slow.trials.seeds import encoded, pixels
from tests.slow.trials.tiny import training

_IMPOSSIBLE = {
    "train.steps=-5": ("train.steps is -5",),
    "train.batch_size=0": ("train.batch_size is 0",),
    "train.batch_size=3 accumulate=2": ("train.batch_size is 3",),
    "train.learning_rate=0.0": ("train.learning_rate is 0",),
    "train.learning_rate=nan": ("train.learning_rate is nan",),
    "train.warmup_steps=2": ("train.warmup_steps is 2",),
    "train.beta2=1.0": ("train.beta2 is 1",),
    "train.ema_decay=1.5": ("train.ema_decay is 1.5",),
    "train.gradient_clip=-1.0": ("train.gradient_clip is -1",),
    "train.lr_schedule=stairs": ("train.lr_schedule is 'stairs'",),
    "train.epochs=3.0": ("train.steps is 2", "train.epochs is 3"),
    "train.log_every=0": ("train.log_every is 0",),
    "train.init_from=weights.npz": ("weights.npz", ".safetensors"),
    "data.image_size=0": ("data.image_size is 0",),
    "data.image_size=1000000": ("data.image_size is 1000000",),
    "data.name=polyps": ("data.name", "'polyps'"),
    "data.root=nowhere": ("nowhere: no such folder",),
    "data.root=": ("data.root",),
    "data.rotation_degrees=400.0": ("data.rotation_degrees is 400",),
    "data.split_seed=-1": ("data.split_seed is -1",),
    "data.resident_bytes=-1": ("data.resident_bytes is -1",),
    "model.name=lightweight": ("model.name is 'lightweight'",),
    "model.preset=tiny": ("model.preset is 'tiny'",),
    "model.overrides.base_channels=12": ("model.base_channels is 12",),
    "model.overrides.channel_multipliers=()": ("model.channel_multipliers is ()",),
    "model.overrides.channel_multipliers=(1,2) image_size=17": ("data.image_size is 17", "multiple of 2"),
    "model.overrides.channel_multipliers=('a',)": ("model.channel_multipliers is ('a',)",),
    "model.overrides.attention_levels=(7,)": ("model.attention_levels names [7]",),
    "model.overrides.attention_levels=('a',)": ("model.attention_levels is ('a',)",),
    "model.overrides.dropout=1.0": ("model.dropout is 1",),
    "model.overrides.dtype=float8": ("model.dtype is 'float8'",),
    "diffusion.beta_start=0.5": ("diffusion.beta_start is 0.5", "diffusion.beta_end is 0.02"),
    "diffusion.num_train_timesteps=1000000000000": ("diffusion.num_train_timesteps is 1000000000000",),
    "diffusion.zero_terminal_snr=true prediction=noise": ("diffusion.zero_terminal_snr is true",),
    "diffusion.prediction=mask": ("diffusion.prediction is 'mask'",),
    "diffusion.mask_scale=0.0": ("diffusion.mask_scale is 0",),
    "diffusion.timestep_power=inf": ("diffusion.timestep_power is inf",),
    "sample.steps=51": ("sample.steps is 51",),
    "sample.sampler=euler": ("sample.sampler is 'euler'",),
    "sample.clip_x0=-1.0": ("sample.clip_x0 is -1",),
    "seed=-1": ("seed is -1",),
    "train.stepz=3": ("'train.stepz'", "steps"),
    "trian.steps=3": ("'trian.steps'", "train"),
    "train.steps=many": ("train.steps", "many"),
}
"""Fields that are set (a second one stands in the section of the first) -> a part of the message."""


def trained(config: Path) -> Iterator[tuple[str, Make]]:
    """train.py on good data with a config, or an argument, that cannot be used.

    Args:
      config: one that works.
    """
    for text, told in _IMPOSSIBLE.items():
        yield text, _with_flags(config, _flags(text), told)
    for name, (content, told) in _files(config).items():
        yield name, _with_file(name, content, told)
    yield "config-missing", _with_flags(Path("nowhere.py"), (), ("nowhere.py",))
    yield "config-a-folder", _with_flags(Path("images"), (), ("images",))
    yield "config-with-text", _with_flags(config.with_name(f"{config.name}:small"), (), ("--config", "get_config()"))
    yield "argument", _with_flags(config, ("config.train.steps=3",), ("unexpected argument 'config.train.steps=3'",))
    yield "workdir-a-file", _with_flags(config, ("--workdir", "splits.csv"), ("splits.csv",))
    yield "workdir-below-a-file", _with_flags(config, ("--workdir", "splits.csv/run"), ("splits.csv/run",))
    yield "workdir-remote", _with_flags(config, ("--workdir", "s3://bucket/run"), ("workdir is s3://bucket/run",))


def _flags(text: str) -> tuple[str, ...]:
    first, *others = text.split(" ")
    section = first.rpartition("=")[0].split(".")[0]
    places = {"image_size": "data.image_size"}
    named = (other.partition("=") for other in others)
    rest = (f"{places.get(name, f'{section}.{name}')}={value}" for name, _, value in named)
    return tuple(f"--config.{field}" for field in (first, *rest))


def _with_flags(config: Path, flags: tuple[str, ...], told: tuple[str, ...]) -> Make:
    def make(folder: Path) -> Start:
        put_data(folder)
        return Start("train.py", training(config, *flags), (Input("", told),))

    return make


def _with_file(name: str, content: bytes, told: tuple[str, ...]) -> Make:
    def make(folder: Path) -> Start:
        put_data(folder)
        (folder / name).write_bytes(content)
        return Start("train.py", training(Path(name)), (Input("", told),))

    return make


def _files(config: Path) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Name of the file -> its content and what the message holds."""
    good = config.read_bytes()
    return {
        "syntax.py": (good.replace(b"return", b"retrun"), ("syntax.py", "line ")),
        "open.py": (good.replace(b"get_config()\n", b"get_config(\n"), ("open.py", "line ")),
        "latin.py": (good.replace(b"'tiny'", b"'gr\xfcn'"), ("latin.py", "line ")),
        "picture.py": (encoded(pixels(), "PNG"), ("picture.py",)),
        "nothing.py": (b"", ("nothing.py", "get_config")),
        "misspelt.py": (good.replace(b"config.name", b"config.nmae"), ("'nmae'", "name")),
        "types.py": (
            good.replace(b"'tiny'\n", b"'tiny'\n    config.train.steps = 'many'\n"),
            ("types.py", "line ", "int"),
        ),
        "none.py": (b"def get_config():\n    pass\n", ("none.py", "get_config")),
    }

"""The options of segmenting an image: one value, passed whole from the commands down to the sampler."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_threshold
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES, SAMPLERS
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.values import is_number

Size = Literal["model", "native", "tiles"]
SIZES: tuple[str, ...] = get_args(Size)
A_WINDOW = "a centre and a width above 0"
"""The values that `window` takes, in words."""

_ONE_PASS = "the network works in one pass, without diffusion"


def whole(low: int, high: int) -> Callable[[str, Any], int]:
    """A check of (name, value): a whole number from `low` to `high`, returned as int."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
            raise InputError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
        return int(value)

    return check


def fraction(meaning: str) -> Callable[[str, Any], float]:
    """A check of (name, value): a number from 0 to 1, returned as float; `meaning` is the end of the message."""

    def check(name: str, value: Any) -> float:
        if not is_number(value) or not 0.0 <= value <= 1.0:
            raise InputError(f"{name} is {value!r}; expected a number {meaning}")
        return float(value)

    return check


def bound(name: str, value: Any) -> float | None:
    """A check of (name, value): a number above 0, returned as float; or None or "off", returned as None."""
    if value is None or value == "off":
        return None
    if not (is_number(value) and 0.0 < value < math.inf):
        raise InputError(f"{name} is {value!r}; expected a number above 0, or off")
    return float(value)


def yes_or_no(name: str, value: Any) -> bool:
    """A check of (name, value): True or False, returned as bool."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {value!r}; expected True or False")
    return bool(value)


def window(name: str, value: Any) -> tuple[float, float]:
    """A check of (name, value): a centre and a width above 0, returned as floats."""
    pair = tuple(value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2 or not all(is_number(part) and abs(part) < math.inf for part in pair) or pair[1] <= 0:
        raise InputError(f"{name} is {value!r}; expected {A_WINDOW}")
    return float(pair[0]), float(pair[1])


def one_of(names: Any) -> Callable[[str, Any], str]:
    """A check of (name, value): one of `names`, which are read when something is checked."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(names)}")
        return value

    check.names = names
    return check


def check_flips(name: str, flips: bool, data: Mapping[str, Any]) -> None:
    """Refuses mirrored samples of a network that was trained without: where classes are left and right, they change.

    Args:
      name: of the value, for the message.
      flips: True if samples see the image mirrored in turn.
      data: the section `data` of the network's config.

    Raises:
      InputError: the network never saw a mirrored image.
    """
    if flips and not data["flips"]:
        raise InputError(
            f"{name} is True and data.flips is False: samples would see mirrored images, which training never shows; "
            f"expected both True, or {name}=False as well"
        )


check_batch_size = functools.partial(whole(1, 4096), "batch_size")
"""Returns the images that are started together as int; InputError for what is no whole number or out of range.

Their number is no field of `SamplingOptions`: on a CPU no result depends on it, elsewhere no more than last bits.
"""


def _option(
    default: Any,
    text: str,
    check: Callable[[str, Any], Any],
    *,
    program: bool = False,
    of_sampler: bool = False,
    otherwise: str = "the checkpoint's",
) -> Any:
    """A field; the program depends on it or not, and where it is not given, the command line says `otherwise`.

    One that is `of_sampler` is of the samplers alone that say so (`ddim_jax.diffusion.reverse.uses`).
    """
    metadata = {"help": text, "check": check, "program": program, "of_sampler": of_sampler, "otherwise": otherwise}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """All that a result depends on besides the image and the checkpoint.

    Made by hand, they replace all of the checkpoint's options but those that are None, and are not checked until they
    are used; `segmenter.options(steps=8)` is the checkpoint's with one field replaced, checked.

    Attributes:
      steps: network evaluations per sample, 1 .. num_train_timesteps; 1 for a network without diffusion.
      samples: noise samples per image, 1 .. 65536.
      sampler: a name in `ddim_jax.registry.SAMPLERS`; None for a network without diffusion.
      eta: of DDIM, in [0, 1]: 0 draws no noise in the steps, 1 as much as DDPM. Other samplers have none.
      clip_x0: bound on the estimate of x_0 in each step, above 0; None for no bound.
      flips: True if the samples see the image in turn as it is, mirrored left to right, top to bottom, and both; not
        of a network that was trained without (`data.flips`).
      size: the size the network works at: "model", the one it was trained at; "native", each image's own;
        "tiles", the one it was trained at, in overlapping tiles of each image at its own size; None for "tiles" of a
        network trained on crops, else "model".
      seed: of the noise, 0 .. 2^32 - 1.
      protocol: how samples become a probability, a key of `ddim_jax.aggregation.PROTOCOLS`.
      ensemble: how the samples are fused, a name in `ddim_jax.registry.ENSEMBLES`.
      threshold: pixels with a probability above it are foreground, in [0, 1]; None for that of protocol and ensemble,
        and once checked for exclusive classes of which the likeliest is taken, the background among them.
      window: centre and width of the values of a DICOM, NIfTI or 16-bit file that are shown; None for the one the
        training had (`data.window`) or, where that had none, the file's own. Arrays have none.
      invert: files store their images inverted, white as the smallest value, and are inverted back when they are
        read; arrays are taken as they are. None for what the training had (`data.invert`).
    """

    # `program`: the compiled program depends on it. `seed` reaches the program as an array instead.
    steps: int = _option(50, "network evaluations per sample", whole(1, 2**31 - 1), program=True)
    samples: int = _option(5, "noise samples per image", whole(1, 2**16), program=True)
    sampler: str | None = _option("ddim", "sampler of the diffusion process", one_of(SAMPLERS), program=True)
    eta: float = _option(
        0.0,
        "noise of ddim, from 0 (deterministic) to 1 (as in ddpm)",
        fraction("from 0 (no noise in the steps) to 1 (as DDPM)"),
        program=True,
        of_sampler=True,
    )
    clip_x0: float | None = _option(None, "bound on the predicted x_0; off: no bound", bound, program=True)
    flips: bool = _option(False, "sample the mirrored versions of the image in turn", yes_or_no, program=True)
    size: Size | None = _option(  # noqa: RUF009 - strings are not mutable
        None,
        "model: images are resized to the size the network was trained at and results back; native: nothing is "
        "resized, time and memory grow with the image; tiles: nothing is resized, overlapping tiles of the size the "
        "network was trained at are blended, time grows with the image",
        one_of(SIZES),
        otherwise="model; tiles for a network trained on crops",
    )
    seed: int = _option(0, "random seed of the noise", whole(0, 2**32 - 1), otherwise="0")
    protocol: str = _option("mean", "rule that turns the samples into a probability", one_of(PROTOCOLS))
    ensemble: str = _option("mean", "method that fuses the samples", one_of(ENSEMBLES))
    threshold: float | None = _option(
        None,
        "threshold of the probability, from 0 to 1",
        fraction("from 0 to 1"),
        otherwise="that of protocol and ensemble",
    )
    window: tuple[float, float] | None = _option(
        None,
        "grey-level window (centre, width) of DICOM, NIfTI and 16-bit files",
        window,
        otherwise="the checkpoint's, else each file's own",
    )
    invert: bool | None = _option(
        None, "invert grey levels when reading; for files with white as the smallest value", yes_or_no
    )

    @classmethod
    def create(cls, config: Mapping[str, Any], **given: Any) -> "SamplingOptions":
        """Options checked against a checkpoint's config, whose section `sample` fills what is None or left out.

        The size is "model", or "tiles" for a network trained on crops, and the seed 0 unless given, the threshold that
        of protocol and ensemble. "off" is no bound on x_0. An eta with samplers that have none, and an eta or a bound
        for a network that works in one pass, do nothing: they stay the checkpoint's, with which its calibration was
        made, and another value than that and the default of the class is refused.

        Raises:
          InputError: a value is out of range, or cannot work with the checkpoint; the message names it.
          TypeError: there is no option of that name.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = [name for name in given if name not in fields]
        if unknown:
            raise TypeError(f"unexpected option {unknown[0]!r}; expected some of {', '.join(fields)}")
        size = "tiles" if config["data"].get("crop") else "model"
        read = {name: config["data"].get(name) for name in ("window", "invert")}
        trained = read | {"size": size, **config["sample"]}
        defaults = {name: trained.get(name, field.default) for name, field in fields.items()}
        defaults["invert"] = bool(defaults["invert"])
        values = {name: defaults[name] if given.get(name) is None else given[name] for name in fields}
        timesteps = config["diffusion"]["num_train_timesteps"]
        sampler = values["sampler"]
        if not isinstance(sampler, str | None):
            raise InputError(f"sampler is {sampler!r}; expected a name")
        if timesteps is None and sampler is not None:
            raise InputError(f"sampler is {sampler!r}; expected None: {_ONE_PASS}")
        for name, field in fields.items():
            # The sampler of a network in one pass is None, as are a threshold and a window that are not chosen.
            may_be_none = ("threshold", "window", *(() if timesteps else ("sampler",)))
            if values[name] is not None or name not in may_be_none:
                values[name] = field.metadata["check"](name, values[name])
        check_flips("flips", values["flips"], config["data"])
        if timesteps is None and values["steps"] != 1:
            raise InputError(f"steps is {values['steps']}; expected 1: {_ONE_PASS}")
        whole(1, timesteps or 1)("steps", values["steps"])
        used = getattr(SAMPLERS.get(sampler), "uses", ()) if timesteps else ()
        unused = [name for name, field in fields.items() if field.metadata["of_sampler"] and name not in used]
        for name in unused if timesteps else [*unused, "clip_x0"]:
            default = fields[name].default
            if values[name] not in (default, defaults[name]):
                expected = "off" if default is None else default
                reason = f"the sampler {sampler} has none" if sampler else _ONE_PASS
                raise InputError(f"{name} is {values[name]!r}; expected {expected}: {reason}")
            values[name] = defaults[name]
        if values["threshold"] is None:
            labels = Labels.from_config(config["data"])
            values["threshold"] = ensemble_threshold(PROTOCOLS[values["protocol"]], values["ensemble"], labels)
        return cls(**values)

    def checked(self) -> "SamplingOptions":
        """These options with each value checked by itself, as far as that goes without a checkpoint; None stays.

        Raises:
          InputError: a value is out of range; the message names it.
        """
        values = {
            field.name: (getattr(self, field.name), field.metadata["check"]) for field in dataclasses.fields(self)
        }
        return SamplingOptions(
            **{name: None if value is None else check(name, value) for name, (value, check) in values.items()}
        )

    @classmethod
    def with_added(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record of `as_dict` with the defaults of the options of samplers that it lacks: it is from before these.

        Other options are in every record: one without them is damaged.
        """
        fields = dataclasses.fields(cls)
        return {field.name: field.default for field in fields if field.metadata["of_sampler"]} | dict(record)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as result files record them."""
        return dataclasses.asdict(self) | {"window": None if self.window is None else list(self.window)}

    def as_given(self) -> dict[str, Any]:
        """The arguments of `create` that give these options again with the same config: no bound is "off"."""
        return self.as_dict() | {"clip_x0": "off" if self.clip_x0 is None else self.clip_x0}

    def program(self) -> "SamplingOptions":
        """These options with all that the compiled program does not depend on at its default: equal for one program."""
        return SamplingOptions(
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["program"]}
        )


@functools.cache
def option_type(name: str) -> Any:
    """The type of the values of a field of `SamplingOptions` besides None, such as int or tuple[float, float]."""
    hint = get_type_hints(SamplingOptions)[name]
    return next(part for part in (*get_args(hint), hint) if part is not type(None))

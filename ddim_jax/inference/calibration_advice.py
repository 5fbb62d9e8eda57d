"""The weights and options that a calibration holds for, how others differ from them, and how one for them is made."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ddim_jax.aggregation import PROTOCOLS, ensemble_threshold
from ddim_jax.labels import Labels
from ddim_jax.registry import imported_plugins
from ddim_jax.sampling_options import SamplingOptions


def calibrated_options(options: SamplingOptions, labels: Labels) -> SamplingOptions:
    """The options with the protocol and the threshold that an evaluation calibrates."""
    threshold = ensemble_threshold(PROTOCOLS["mean"], options.ensemble, labels)
    return dataclasses.replace(options, protocol="mean", threshold=threshold)


def what_to_do(segmenter: Any, options: SamplingOptions) -> str:
    """A sentence with the command that calibrates with these options; or one that says that there is none with them."""
    own = calibrated_options(options, segmenter.labels)
    if (options.protocol, options.threshold) != (own.protocol, own.threshold):
        return "Bounds are made for --protocol mean without --threshold alone"
    # A run imports those of its own config by itself, a file does not.
    plugins = plugins_argument(() if segmenter.is_packed else segmenter.config.get("plugins") or ())
    command = f"ddim-jax evaluate --ckpt {shlex.quote(segmenter.checkpoint)} {plugins}"
    command += _as_arguments(segmenter, options)
    if segmenter.is_packed:
        return (
            f"`{command}--data-root DIR --split all --calibrate --output OUT`, DIR with images that were not "
            "trained on, makes a copy of the weights in OUT with one"
        )
    return f"`{command}--split val --calibrate` makes one"


def plugins_argument(but: Sequence[str] = ()) -> str:
    """`--plugins` with the modules that were imported here, but for some, and a blank behind it; "" for none."""
    names = [name for name in imported_plugins() if name not in but]
    return f"--plugins {','.join(names)} " if names else ""


def _as_arguments(segmenter: Any, options: SamplingOptions) -> str:
    """The arguments of the command line, each with a blank behind it, that replace options of the checkpoint."""
    default, text = segmenter.options().as_given(), ""
    for name, value in options.as_given().items():
        if name in ("seed", "protocol", "threshold") or value is None or value == default[name]:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            text += f"--{flag} " if value else f"--no-{flag} "
        elif name == "window":
            text += f"--window={value[0]:g},{value[1]:g} "
        else:
            text += f"--{flag} {value} "
    return text


def conditions(segmenter: Any, options: SamplingOptions) -> dict[str, Any]:
    """The weights, the size and the options under which a calibration that is made with them holds."""
    own = options.as_dict()
    del own["seed"]
    return {"weights": segmenter.fingerprint(), "image_size": segmenter.image_size, "options": own}


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each condition of a calibration, as its record has them, that is another now."""
    if there.get("weights") != now.get("weights"):
        return [f"it was made with other weights (step {there.get('step')})"]
    options = there.get("options")
    options = options if isinstance(options, dict) else {}
    pairs = [("image_size", there.get("image_size"), now["image_size"])]
    pairs += [(name, options.get(name), now["options"].get(name)) for name in sorted(options | now["options"])]
    return [
        f"{name} is {_told(name, value)} now and was {_told(name, was)}" for name, was, value in pairs if was != value
    ]


def _told(name: str, value: Any) -> str:
    """A value of an option in words, as the command line takes it."""
    if value is None:
        return "that of each file" if name == "window" else "none"
    return ",".join(f"{part:g}" for part in value) if name == "window" else str(value)

"""The weights and options that a calibration holds for, how others differ from them, and how one for them is made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ddim_jax.aggregation import PROTOCOLS, ensemble_threshold
from ddim_jax.labels import Labels
from ddim_jax.sampling_options import SamplingOptions

HOW_TO = (
    "`ddim-jax evaluate --ckpt RUN --split val --calibrate` with the same options makes one (of packed weights `--ckpt "
    "FILE --data-root DIR --split all --calibrate --output OUT`, with DIR of images that were not trained on), for the "
    "protocol mean and its own threshold alone"
)
"""The sentence that says how a calibration is made."""


def calibrated_options(options: SamplingOptions, labels: Labels) -> SamplingOptions:
    """The options with the protocol and the threshold that an evaluation calibrates."""
    threshold = ensemble_threshold(PROTOCOLS["mean"], options.ensemble, labels)
    return dataclasses.replace(options, protocol="mean", threshold=threshold)


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
    options = SamplingOptions.with_added(options) if isinstance(options, dict) else {}
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

"""Segmentation of medical images with lightweight diffusion models, in JAX.

The public API: `Segmenter` (load a checkpoint, segment images), `create_model`, `load_dataset`, and `register`
(decorators that add a model, a sampler, a data set and more by name). They are imported on first use, so that importing
a part of the package does not load all of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddim_jax.data import load_dataset
    from ddim_jax.inference import Segmenter
    from ddim_jax.models import create_model
    from ddim_jax.registry import register

__version__ = "0.2.0"
__all__ = ["Segmenter", "__version__", "create_model", "load_dataset", "register"]

_HOMES = {
    "Segmenter": "ddim_jax.inference",
    "create_model": "ddim_jax.models",
    "load_dataset": "ddim_jax.data",
    "register": "ddim_jax.registry",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

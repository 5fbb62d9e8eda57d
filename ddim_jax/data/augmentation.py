"""Augmentation on the device, under jit and vmap: the image recoloured, then moved with its mask, then noise.

What others register as transforms (`@register.transform`) comes last.

A range r of `Augmentation` is what is drawn from: uniform in [-r, r], or in [0, r] for blur and noise. Factors are e
to the power of what is drawn: .3 is .74 to 1.35. Lengths are in shares of the image's side, values in shares of the
range from black to white, so a setting means the same at every working size.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ddim_jax.data.image_ops import move, recolour
from ddim_jax.registry import TRANSFORMS
from ddim_jax.runtime.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The ranges that are drawn from; `Augmentation()` changes nothing.

    Attributes:
      rotation_degrees: of the angle about the centre.
      flips: each axis is mirrored with probability 1/2.
      transforms: names of registered transforms, which follow in this order.
      zoom, aspect: of the logarithm of the size, and of height by width at the same area.
      shear: of the columns that a row moves for each row of distance from the centre.
      shift: along each axis, in shares of the side.
      contrast, saturation: of the logarithm of the factor of distances from the image's mean, from each pixel's grey.
      brightness, tint: of what is added to all values, to each channel.
      gamma: of the logarithm of the power of the values.
      blur: of the standard deviation of a Gaussian, in shares of the longer side.
      noise: of the standard deviation of what is added to each value.
      continued: no range: the mask beyond the edge is continued as the image is. True of crops, whose edge is not that
        of what they show.
    """

    rotation_degrees: float = 0.0
    flips: bool = False
    transforms: tuple[str, ...] = ()
    zoom: float = 0.0
    aspect: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    saturation: float = 0.0
    tint: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    continued: bool = False

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> "Augmentation":
        """The augmentation of the section `data` of a resolved config."""
        beside = {name: data[name] for name in _BESIDE}
        return cls(**beside | {"transforms": tuple(data["transforms"])}, **data["augment"], continued=data["crop"] > 0)


_BESIDE = ("rotation_degrees", "flips", "transforms")
# The section `data.augment` of a config, beside which the others stand.
_IN_SECTION = tuple(
    field.name for field in dataclasses.fields(Augmentation) if field.name not in (*_BESIDE, "continued")
)

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "paper": {"rotation_degrees": 15.0, "augment": dict.fromkeys(_IN_SECTION, 0.0)},
    "strong": {
        "rotation_degrees": 20.0,
        "augment": {
            "zoom": 0.3,
            "aspect": 0.15,
            "shear": 0.1,
            "shift": 0.1,
            "contrast": 0.3,
            "brightness": 0.15,
            "saturation": 0.4,
            "tint": 0.05,
            "gamma": 0.2,
            "blur": 0.01,
            "noise": 0.03,
        },
    },
}
"""The values of the fields of `data` that a name of `data.augmentation` stands for, where they are not set."""


def augment(key: Array, image: Array, mask: Array, how: Augmentation, *, outside: float = -1.0) -> tuple[Array, Array]:
    """Recolours an image as drawn, moves the pair in one resample, adds noise. For a batch, vmap over keys and pairs.

    Args:
      key: a JAX random key; the result is a function of it.
      image: float32 [H, W, 3], in [-1, 1].
      mask: [H, W, C], of any dtype.
      how: the ranges; static. What is 0 is not drawn, and takes no time.
      outside: the mask beyond the edge, unless `how.continued`.

    Returns:
      The image (bilinear, the edge's value beyond the edge; in [-1, 1] where its colours change) and the mask (nearest,
      so that no new value appears), moved alike. `Augmentation()` returns the pair as it is.

    Raises:
      ConfigError: a transform gives another shape or dtype than it got.
    """
    drawn = _drawn(key, how)
    # Colours come first: those of a moved image would be computed from gathers that XLA repeats for each use of them.
    beyond = None if how.continued else outside
    image, mask = _moved(key, _recoloured(image, how, drawn), mask, how, drawn, beyond)
    image = _with_noise(key, image, how, drawn)
    for place, name in enumerate(how.transforms):
        # 2 and 3 are the keys of what is drawn and of the noise.
        image, mask = _transformed(name, jax.random.fold_in(key, 4 + place), image, mask)
    return image, mask


def _transformed(name: str, key: Array, image: Array, mask: Array) -> tuple[Array, Array]:
    """Applies a registered transform to a pair, and checks that it keeps shapes and dtypes."""
    pair = tuple(map(jnp.asarray, jax.tree.leaves(TRANSFORMS.get(name, "data.transforms")(key, image, mask))))
    found, expected = ([f"{array.dtype} {list(array.shape)}" for array in arrays] for arrays in (pair, (image, mask)))
    if found != expected:
        raise ConfigError(
            f"data.transforms: {name!r} gives {' and '.join(found)}; expected image and mask as they came, "
            f"{' and '.join(expected)}"
        )
    return pair


def _drawn(key: Array, how: Augmentation) -> dict[str, Array]:
    """Draws a value for each field beside rotation and flips, a scalar or [n]."""
    counts = {name: {"shift": 2, "tint": 3}.get(name, 1) for name in _IN_SECTION}
    # 0 and 1 would give the keys that `_moved` has from `split`.
    values = jax.random.uniform(jax.random.fold_in(key, 2), (sum(counts.values()),), minval=-1.0)
    drawn = {}
    for name, count in counts.items():
        own, values = values[:count] if count > 1 else values[0], values[count:]
        drawn[name] = getattr(how, name) * ((own + 1) / 2 if name in ("blur", "noise") else own)
    return drawn


def _moved(
    key: Array, image: Array, mask: Array, how: Augmentation, drawn: dict[str, Array], outside: float | None
) -> tuple[Array, Array]:
    if not (how.rotation_degrees or how.flips or how.zoom or how.aspect or how.shear or how.shift):
        return image, mask
    angle_key, flip_key = jax.random.split(key)
    radians = jnp.deg2rad(jax.random.uniform(angle_key, minval=-how.rotation_degrees, maxval=how.rotation_degrees))
    flipped = jax.random.bernoulli(flip_key, shape=(2,)) & how.flips
    zoom, aspect = drawn["zoom"], drawn["aspect"]
    return move(
        image,
        mask,
        radians,
        flipped[0],
        flipped[1],
        outside,
        # By name in Python: without a range nothing is computed, and the paper's pairs stay the same to the bit.
        scale=(jnp.exp(zoom + aspect / 2), jnp.exp(zoom - aspect / 2)) if how.zoom or how.aspect else None,
        shear=drawn["shear"] if how.shear else None,
        shift=drawn["shift"] * jnp.array(image.shape[:2]) if how.shift else None,
    )


def _recoloured(image: Array, how: Augmentation, drawn: dict[str, Array]) -> Array:
    names = ("contrast", "brightness", "saturation", "tint", "gamma", "blur")
    changes = {name: drawn[name] for name in names if getattr(how, name)}
    changes |= {name: jnp.exp(changes[name]) for name in ("contrast", "saturation", "gamma") if name in changes}
    return recolour(image, **changes)


def _with_noise(key: Array, image: Array, how: Augmentation, drawn: dict[str, Array]) -> Array:
    if not how.noise:
        return image
    # Values are shares of the range from black to white, which is 2 here.
    noise = 2 * drawn["noise"] * jax.random.normal(jax.random.fold_in(key, 3), image.shape)
    return jnp.clip(image + noise, -1, 1)

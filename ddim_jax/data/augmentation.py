"""Augmentation on the device: one rotation with flips for the image and its mask, under jit and vmap."""

import jax
import jax.numpy as jnp
from jax import Array


def augment(
    key: Array, image: Array, mask: Array, *, rotation_degrees: float = 15.0, flips: bool = True, outside: float = -1.0
) -> tuple[Array, Array]:
    """Rotates one pair about its centre by a uniform angle and flips it along each axis with probability 1/2.

    The paper's augmentation: rotation in [-15, 15] degrees and both flips. For a batch, vmap over keys and pairs.

    Args:
      key: a JAX random key; the result is a function of it.
      image: float32 [H, W, 3], any range (in training [-1, 1]).
      mask: [H, W, C], of any dtype.
      rotation_degrees: r, the angle is uniform in [-r, r]; static.
      flips: whether to flip; static. Without flips and with r = 0 the pair is returned as it is.
      outside: the mask beyond the edge.

    Returns:
      The image (bilinear, the edge's value beyond the edge) and the mask (nearest, so that no new value appears),
      transformed alike.
    """
    if rotation_degrees == 0 and not flips:
        return image, mask
    angle_key, flip_key = jax.random.split(key)
    radians = jnp.deg2rad(jax.random.uniform(angle_key, minval=-rotation_degrees, maxval=rotation_degrees))
    flipped = jax.random.bernoulli(flip_key, shape=(2,)) & flips
    return rotate_and_flip(image, mask, radians, flipped[0], flipped[1], outside)


def rotate_and_flip(
    image: Array, mask: Array, radians: Array, vertical: Array, horizontal: Array, outside: float = -1.0
) -> tuple[Array, Array]:
    """Rotates anticlockwise (as seen with row 0 on top) about the centre, then flips; one resample in all.

    Args:
      image: float32 [H, W, C].
      mask: [H, W, C].
      radians: the angle, a scalar.
      vertical: whether rows are reversed, a boolean scalar.
      horizontal: whether columns are reversed, a boolean scalar.

    Returns:
      Image and mask as `augment` gives them.
    """
    height, width = image.shape[:2]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    # For each pixel of the result, where it comes from: back through the flips, then back through the rotation.
    y = (jnp.arange(height, dtype=jnp.float32) - centre_y)[:, None] * jnp.where(vertical, -1.0, 1.0)
    x = (jnp.arange(width, dtype=jnp.float32) - centre_x)[None, :] * jnp.where(horizontal, -1.0, 1.0)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    from_y = centre_y + cos * y + sin * x
    from_x = centre_x + cos * x - sin * y
    return _bilinear(image, from_y, from_x), _nearest(mask, from_y, from_x, outside=outside)


def _bilinear(image: Array, y: Array, x: Array) -> Array:
    height, width, channels = image.shape
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    bottom, right = jnp.minimum(top + 1, height - 1), jnp.minimum(left + 1, width - 1)
    down, along = (y - top)[..., None], (x - left)[..., None]
    # Whole pixels are fetched by one flat index: four gathers of C values rather than 4 C gathers.
    pixels = image.reshape(height * width, channels)
    upper = pixels[top * width + left] * (1 - along) + pixels[top * width + right] * along
    lower = pixels[bottom * width + left] * (1 - along) + pixels[bottom * width + right] * along
    return upper * (1 - down) + lower * down


def _nearest(mask: Array, y: Array, x: Array, *, outside: float) -> Array:
    height, width, channels = mask.shape
    row, column = jnp.floor(y + 0.5).astype(jnp.int32), jnp.floor(x + 0.5).astype(jnp.int32)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    return jnp.where(inside[..., None], mask.reshape(height * width, channels)[index], outside)

"""Changes of an image by given amounts, under jit and vmap: moved with its mask in one resample, and recoloured."""

import jax.numpy as jnp
from jax import Array


def move(
    image: Array,
    mask: Array,
    radians: Array,
    vertical: Array,
    horizontal: Array,
    outside: float | None = -1.0,
    *,
    scale: tuple[Array, Array] | None = None,
    shear: Array | None = None,
    shift: Array | None = None,
) -> tuple[Array, Array]:
    """Scales, shears, rotates and flips about the centre, then shifts, in this order; one resample in all.

    Args:
      image: float32 [H, W, C].
      mask: [H, W, C].
      radians: the angle, a scalar; anticlockwise as seen with row 0 on top.
      vertical: whether rows are reversed, a boolean scalar.
      horizontal: whether columns are reversed, a boolean scalar.
      outside: the mask beyond the edge; None: the edge's value, as of the image.
      scale: factors of height and width, above 1 to enlarge.
      shear: columns that a row moves to the right for each row below the centre.
      shift: float32 [2], rows down and columns to the right.

    Returns:
      Image and mask as `augment` gives them.
    """
    height, width = image.shape[:2]
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    # For each pixel of the result, where it comes from: back through each of the moves, the last one first.
    down, right = (0.0, 0.0) if shift is None else (shift[0], shift[1])
    y = (jnp.arange(height, dtype=jnp.float32) - centre_y - down)[:, None] * jnp.where(vertical, -1.0, 1.0)
    x = (jnp.arange(width, dtype=jnp.float32) - centre_x - right)[None, :] * jnp.where(horizontal, -1.0, 1.0)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    if scale is None and shear is None:
        from_y = centre_y + cos * y + sin * x
        from_x = centre_x + cos * x - sin * y
    else:
        tall, wide = (1.0, 1.0) if scale is None else scale
        back_y, back_x = cos * y + sin * x, cos * x - sin * y
        back_x = back_x - (0.0 if shear is None else shear) * back_y
        from_y, from_x = centre_y + back_y / tall, centre_x + back_x / wide
    return _bilinear(image, from_y, from_x), _nearest(mask, from_y, from_x, outside=outside)


def _bilinear(image: Array, y: Array, x: Array) -> Array:
    height, width, channels = image.shape
    y, x = jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)
    top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    bottom, right = jnp.minimum(top + 1, height - 1), jnp.minimum(left + 1, width - 1)
    down, along = (y - top)[..., None], (x - left)[..., None]
    # Whole pixels are fetched by one flat index: four gathers of C values rather than 4 C gathers.
    pixels = image.reshape(height * width, channels)
    upper = _at(pixels, top * width + left) * (1 - along) + _at(pixels, top * width + right) * along
    lower = _at(pixels, bottom * width + left) * (1 - along) + _at(pixels, bottom * width + right) * along
    return upper * (1 - down) + lower * down


def _nearest(mask: Array, y: Array, x: Array, *, outside: float | None) -> Array:
    height, width, channels = mask.shape
    row, column = jnp.floor(y + 0.5).astype(jnp.int32), jnp.floor(x + 0.5).astype(jnp.int32)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    moved = _at(mask.reshape(height * width, channels), index)
    return moved if outside is None else jnp.where(inside[..., None], moved, outside)


def _at(pixels: Array, index: Array) -> Array:
    """The lines `index` of `pixels`, all of which are in bounds."""
    return pixels.at[index].get(mode="promise_in_bounds")


def recolour(
    image: Array,
    *,
    contrast: Array | None = None,
    brightness: Array | None = None,
    saturation: Array | None = None,
    tint: Array | None = None,
    gamma: Array | None = None,
    blur: Array | None = None,
) -> Array:
    """The image with other colours; what is None does nothing, and with nothing the image is returned as it is.

    In this order, on values v from 0 (black) to 1 (white): m + contrast (v - m) with m the image's mean;
    v + brightness; g + saturation (v - g) with g the mean of the pixel's channels; v + tint; the bounds 0 and 1;
    v^gamma; a Gaussian.

    Args:
      image: float32 [H, W, C], in [-1, 1].
      contrast, brightness, saturation, gamma: scalars.
      tint: float32 [C].
      blur: the standard deviation of the Gaussian in shares of the longer side; pixels outside do not count.

    Returns:
      float32 [H, W, C] in [-1, 1].
    """
    if all(change is None for change in (contrast, brightness, saturation, tint, gamma, blur)):
        return image
    v = (image + 1) / 2
    if contrast is not None:
        mean = jnp.mean(v)
        v = mean + contrast * (v - mean)
    if brightness is not None:
        v = v + brightness
    if saturation is not None:
        # Not jnp.mean: XLA's reduction of three numbers at a time takes many times as long as two additions.
        grey = sum(jnp.unstack(v, axis=-1))[..., None] / v.shape[-1]
        v = grey + saturation * (v - grey)
    if tint is not None:
        v = v + tint
    v = jnp.clip(v, 0, 1)
    if gamma is not None:
        v = jnp.exp(gamma * jnp.log(v))  # a power in a third of the time; 0 stays 0
    if blur is not None:
        v = _blurred(v, blur * max(image.shape[:2]))
    return 2 * v - 1


def _blurred(v: Array, sigma: Array) -> Array:
    """A Gaussian of `sigma` pixels along both axes, each as a product with a matrix: sigma is no constant."""

    def weights(length: int) -> Array:
        place = jnp.arange(length, dtype=jnp.float32)
        distance = (place[:, None] - place) / jnp.maximum(sigma, 1e-3)
        gauss = jnp.exp(-(distance**2) / 2)
        return gauss / jnp.sum(gauss, axis=1, keepdims=True)

    height, width = v.shape[:2]
    return jnp.einsum("yi,xj,ijc->yxc", weights(height), weights(width), v, precision="highest")

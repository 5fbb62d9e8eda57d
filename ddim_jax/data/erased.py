"""Training images whose structures are replaced by other parts of the same image, and whose mask is empty.

A network that is trained on images which all hold a structure finds one in every image. A window without one
(`ddim_jax.data.empty_windows`) does not look like a whole image; one whose structure is erased does. So that the
seams of the repair do not tell an erased image, others are repaired beside their structures, which stay.

A repair copies a part of the image, which may be mirrored, and adds to it the harmonic function that takes its border
to the border of what is replaced: Poisson image editing (Perez, Gangnet and Blake, 2003) with the gradients of the
copied part.
"""

from typing import NamedTuple

import numpy as np

from ddim_jax.data.empty_windows import DARK
from ddim_jax.data.sources import Example
from ddim_jax.labels import IGNORED
from ddim_jax.preprocessing import resize_image, resize_mask

ERASED, REPAIRED = "erased", "repaired"
"""The marks of an image without its structures, and of one with a part beside them replaced."""
STREAMS = {ERASED: 2**60, REPAIRED: 2**60 + 2**59}
"""Keys of the random numbers of each, apart from those of windows, of the order, of annotators and of crops."""
_LARGEST = 0.3
"""The share of an image up to which structures are erased: of a larger one too little is left to copy."""
_MARGIN = 0.02
"""The margin around a structure that is replaced too, in shares of the side: annotators do not draw its shadow."""
_PLACES = 200
"""Parts of an image that are tried for each repair."""
_SEAM = 40.0
"""Levels of 0 .. 255 by which the borders may differ in the mean: beyond, the repair shows."""
_DARKEST = 0.02
"""The share of dark pixels, as of the frame of an endoscope, that a copied part may have."""


class Repair(NamedTuple):
    """Image number `row`, `side` x `side`, with a part replaced; a `ddim_jax.data.derived.Derived`.

    Attributes:
      mark: `ERASED`, its structures are replaced and its mask is empty; or `REPAIRED`, a part beside them is.
    """

    row: int
    side: int
    seed: int
    mark: str

    def of(self, example: Example) -> Example:
        """Makes it of the pair."""
        return _made(example, self)


def find_repair(example: Example, row: int, *, side: int, seed: int, mark: str) -> Repair | None:
    """Returns a repair of a pair; None if it has no structure, too large ones, or no other part fits.

    Args:
      example: the pair.
      row: its number; with the seed it decides what is drawn.
      side: height and width in pixels that the image is resized to.
      seed: of the run.
      mark: `ERASED` or `REPAIRED`.
    """
    repair = Repair(row, side, seed, mark)
    return None if _made(example, repair) is None else repair


def replaced(image: np.ndarray, region: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Replaces a region by the part of the image, of 200 drawn ones, whose border is most like its own.

    Args:
      image: uint8 [H, W, 3].
      region: boolean [H, W], what is replaced; its outermost pixels stay.
      taken: boolean [H, W], what must not be copied; the region itself is not either.
      rng: draws places and mirror images.

    Returns:
      uint8 [H, W, 3]; None where no part is free and like enough, or the region has outermost pixels only.
    """
    from scipy import ndimage  # not at the head: few need it, and it takes long to import

    inner = ndimage.binary_erosion(region, border_value=1)  # the edge of the image is no border
    if not inner.any():
        return None
    rows, columns = np.nonzero(region)
    corner = np.array([rows.min(), columns.min()])
    offsets = np.stack([rows, columns]) - corner[:, None]
    size = offsets.max(axis=1) + 1
    outermost = ~inner[rows, columns]
    border = image[rows[outermost], columns[outermost]].astype(np.float64)
    free = ~(taken | region)
    dark = image.max(axis=-1) <= DARK
    best, least = None, _SEAM
    for _ in range(_PLACES):
        mirrored = rng.integers(2, size=2)[:, None]
        place = rng.integers(0, image.shape[:2] - size + 1)[:, None]
        at = tuple(place + np.where(mirrored, size[:, None] - 1 - offsets, offsets))
        if not free[at].all() or dark[at].mean() > _DARKEST:
            continue
        seam = np.abs(image[at][outermost] - border).mean()
        if seam < least:
            best, least = at, seam
    if best is None:
        return None
    result = image.astype(np.float64)
    result[rows, columns] = image[best]
    difference = np.zeros_like(result)
    difference[rows[outermost], columns[outermost]] = border - image[best][outermost]
    result[inner] += _harmonic(difference, inner)[inner]
    result[rows[outermost], columns[outermost]] = border
    return np.clip(result.round(), 0, 255).astype(np.uint8)


def _harmonic(values: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The values [H, W, C] with those at `inner` made the mean of their four neighbours (of those in the image)."""
    from scipy import sparse
    from scipy.sparse.linalg import splu

    number = np.full(inner.shape, -1)
    number[inner] = np.arange(inner.sum())
    links, knowns, degree = [], np.zeros((inner.sum(), values.shape[-1])), np.zeros(inner.sum())
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        rows, columns = np.nonzero(inner)
        beside = [rows, columns]
        beside[axis] = beside[axis] + step
        inside = (beside[axis] >= 0) & (beside[axis] < inner.shape[axis])
        own, beside = np.flatnonzero(inside), tuple(index[inside] for index in beside)
        degree[own] += 1
        unknown = inner[beside]
        links.append((own[unknown], number[beside][unknown]))
        knowns[own[~unknown]] += values[beside][~unknown]
    own, others = (np.concatenate(part) for part in zip(*links, strict=True))
    matrix = sparse.diags_array(degree) - sparse.coo_array((np.ones(len(own)), (own, others)), shape=[len(degree)] * 2)
    result = values.copy()
    result[inner] = splu(matrix.tocsc()).solve(knowns)
    return result


def _made(example: Example, repair: Repair) -> Example | None:
    small, structure, grown = _small(example, repair.side)
    if not structure.any() or structure.mean() > _LARGEST:
        return None
    key = np.array([repair.seed, STREAMS[repair.mark] + repair.row], np.uint64)
    make = {ERASED: _without_structures, REPAIRED: _repaired_beside}[repair.mark]
    return make(small, grown, np.random.Generator(np.random.Philox(key=key)))


def _without_structures(small: Example, grown: np.ndarray, rng: np.random.Generator) -> Example | None:
    from scipy import ndimage

    taken = grown | (small.mask == IGNORED)
    image, (parts, count) = small.image, ndimage.label(grown)
    for part in range(1, count + 1):
        image = replaced(image, parts == part, taken, rng)
        if image is None:
            return None
    kept = np.where(small.mask == IGNORED, small.mask, 0).astype(np.uint8)
    annotators = small.annotators
    if annotators is not None:
        annotators = np.where(annotators == IGNORED, annotators, 0).astype(np.uint8)
    return small._replace(image=image, mask=kept, annotators=annotators)


def _repaired_beside(small: Example, grown: np.ndarray, rng: np.random.Generator) -> Example | None:
    """The pair with a part of the form of its structures replaced, somewhere beside them."""
    side, dark, taken = len(grown), small.image.max(axis=-1) <= DARK, grown | (small.mask == IGNORED)
    for _ in range(_PLACES):
        elsewhere = np.zeros_like(grown)
        shift = rng.integers(1 - side, side, size=2)
        at = np.stack(np.nonzero(grown)) + shift[:, None]
        if (at < 0).any() or (at >= side).any():
            continue
        elsewhere[tuple(at)] = True
        if not (elsewhere & taken).any() and dark[elsewhere].mean() <= _DARKEST:
            image = replaced(small.image, elsewhere, taken, rng)
            return None if image is None else small._replace(image=image)
    return None


def _small(example: Example, side: int) -> tuple[Example, np.ndarray, np.ndarray]:
    """The pair at the size that it is trained at, its structures and these with a margin around, boolean [S, S]."""
    from scipy import ndimage

    shape = side, side
    annotators = example.annotators
    if annotators is not None:
        annotators = np.stack([resize_mask(mask, shape) for mask in annotators])
    small = Example(
        example.id, resize_image(example.image, shape), resize_mask(example.mask, shape), example.notes, annotators
    )
    masks = small.mask[None] if annotators is None else annotators
    structure = ((masks != 0) & (masks != IGNORED)).any(axis=0)
    return small, structure, ndimage.binary_dilation(structure, iterations=max(1, round(_MARGIN * side)))

"""The images of a run, decoded and checked once when it starts, and the batches that are made of them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from ddim_jax.data import (
    Arrays,
    Order,
    Selection,
    Source,
    Unlabelled,
    annotators_of,
    configured,
    load_dataset,
    load_selections,
    load_unlabelled,
    training_batches,
    training_indices,
)
from ddim_jax.data.crops import training_crops, validation_crops
from ddim_jax.data.facts import PairFacts
from ddim_jax.data.pipeline import UNLABELLED, training_annotators
from ddim_jax.data.pixels import digest_of
from ddim_jax.data.sources import SPLITS, EmptySplit
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.processes import allgather_int
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.values import quantity
from ddim_jax.training.sharding import global_batch, place
from ddim_jax.training.step import Batch


def check_split(source: Source) -> None:
    """Refuses a split of a folder that was drawn in another way than is asked for (`Division.check_drawn`).

    Raises:
      DataError: the seed or the groups are others.
    """
    if (division := getattr(source, "division", None)) is not None:
        division.check_drawn()


def check_ids(train: Source, validation: Source) -> None:
    """Refuses splits that share an id: the digest of a pair's pixels, by which a change is seen, is kept by its id.

    Raises:
      DataError: one names a pair of both.
    """
    if shared := sorted(set(train.ids).intersection(validation.ids)):
        raise DataError(
            f"the data set {train.name}: {shared[0]!r} names a pair of train and one of val "
            f"({quantity(len(shared), 'such id')}); expected ids that are unique in all splits. Put the split into "
            f"them, as in 'val_{shared[0]}'."
        )


def keep_split(source: Source) -> None:
    """Writes the split that was drawn of a folder (`ddim_jax.data.division.Division.keep`), on process 0.

    Raises:
      DataError: it cannot be written, or another one was meanwhile.
    """
    division = getattr(source, "division", None)
    if division is not None and jax.process_index() == 0:
        division.keep()


class RunImages(NamedTuple):
    """The images of a run.

    Attributes:
      resident: the training set on all devices, uint8 "images" [N, S, S, 3] and "masks" [N, S, S], of several
        annotators [N, A, S, S]; None where it is too large for that.
      validation: the pairs that are validated.
      pair_digests: for each pair that is trained on or validated, the SHA-256 of its pixels.
      facts: about the training pairs that this process has read, by row.
      image_digests: for each training pair the SHA-256 of its image alone, but for images of one value.
    """

    resident: Batch | None
    validation: Arrays
    pair_digests: dict[str, str]
    facts: dict[int, PairFacts]
    image_digests: dict[str, str]


def read_pictures(
    train: Source,
    val: Source,
    val_rows: Sequence[int],
    mesh: Mesh,
    *,
    image_size: int,
    resident_bytes: int,
    crop_seed: int | None = None,
    labels: Labels | None = None,
) -> RunImages:
    """Reads every pair of both splits once: those that are needed are kept, the others only checked.

    A training set whose resized uint8 images take at most `resident_bytes` lies on every device and never leaves it.
    With several processes, each reads its share of the pairs and the validation images. With `crop_seed` the training
    is on crops of `image_size` (`ddim_jax.data.crops`): nothing is resident, and the validation is of crops too.
    `labels` as for `load_selections`.

    Raises:
      DataError: pairs of either split cannot be used; the files are named.
    """
    index, count = jax.process_index(), jax.process_count()
    size = len(train) * image_size * image_size * (3 + max(1, annotators_of(train)))  # three channels and the masks
    is_resident = crop_seed is None and size <= resident_bytes
    # The shares of all processes have one length; what the last one has too much is cut off again.
    length = -(-len(train) // count)
    share = [row % len(train) for row in range(index * length, (index + 1) * length)]
    own, validation = load_selections(
        [
            Selection(train, keep=share if is_resident else (), check=share),
            Selection(
                val,
                keep=val_rows if crop_seed is None else (),
                check=sorted({*val_rows, *range(index, len(val), count)}),
            ),
        ],
        image_size,
        labels=labels,
    )
    facts = [own.facts[row] for row in share]
    both = (one.sha256 + (one.picture if one.levels > 1 else bytes(32)) for one in facts)
    digests = np.array([np.frombuffer(one, np.uint8) for one in both])
    if count > 1:
        digests = multihost_utils.process_allgather({"digests": digests}, tiled=True)["digests"]
    image_digests = {
        one: two[32:].tobytes().hex() for one, two in zip(train.ids, digests, strict=False) if two[32:].any()
    }
    pair_digests = {one: two[:32].tobytes().hex() for one, two in zip(train.ids, digests, strict=False)}
    pair_digests |= {val.ids[row]: validation.facts[row].sha256.hex() for row in val_rows}
    if crop_seed is not None:
        # With the facts of the whole images: what is told of the data is of these.
        crops = validation_crops(val, val_rows, image_size, crop_seed)._replace(facts=validation.facts)
        return RunImages(None, crops, pair_digests, own.facts, image_digests)
    if not is_resident:
        logging.info("%.1f GB of images are read as training goes (data.resident_bytes)", size / 1e9)
        return RunImages(None, validation, pair_digests, own.facts, image_digests)
    arrays = {"images": own.images, "masks": own.masks if own.annotators is None else own.annotators}
    if count > 1:
        every = multihost_utils.process_allgather(arrays, tiled=True)
        arrays = {name: array[: len(train)] for name, array in every.items()}
    return RunImages(place(mesh, arrays), validation, pair_digests, own.facts, image_digests)


def read_unlabelled(data: Mapping[str, Any], labelled: Mapping[str, Source], of: Sequence[str] = SPLITS) -> Unlabelled:
    """The images of `data.unlabelled` that are of none of the splits `of`; each process reads all of them.

    Args:
      data: the section of a resolved config.
      labelled: the splits that are loaded already; the others are loaded here, but for empty ones.
      of: the splits whose images are left out.

    Raises:
      DataError: as `ddim_jax.data.load_dataset` and `load_unlabelled`, or the processes do not read the same images.
    """
    labelled = dict(labelled)
    for split in (split for split in of if split not in labelled):
        with contextlib.suppress(EmptySplit):
            labelled[split] = load_dataset(split=split, **configured(data))
    found = load_unlabelled(
        local_path(data["unlabelled"], "data.unlabelled"),
        labelled,
        data["image_size"],
        ReadOptions.of(data),
        most=data["resident_bytes"],
        groups=data["groups"],
    )
    names = int(digest_of(found.digests)[:7], 16)
    if len(set(allgather_int(names))) > 1:
        raise DataError(f"{data['unlabelled']}: the processes do not read the same images (data.unlabelled).")
    return found


def batches(
    source: Source,
    resident: Batch | None,
    mesh: Mesh,
    order: Order,
    *,
    image_size: int,
    crops_of_bytes: int | None = None,
) -> Iterator[Batch]:
    """Yields the batches of steps start_step, start_step + 1, ... without end.

    Args:
      source: the training set.
      resident: the same on all devices, of which each batch takes rows; None to read the images of each batch with
        threads ahead of the step that needs them, on each process those of its share.
      mesh: the devices.
      order: where in the training stream, the share of this process.
      image_size: S, in pixels.
      crops_of_bytes: not None for crops of `image_size`; images of so many bytes are kept in memory.
    """
    if resident is not None:
        names, streams = ["row"], [training_indices(len(source), order)]
        if count := annotators_of(source):
            names, streams = [*names, "annotator"], [*streams, training_annotators(count, len(source), order)]
        for batch in zip(*streams, strict=True):
            yield {**resident, **global_batch(mesh, dict(zip(names, batch, strict=True)))}
    elif crops_of_bytes is not None:
        for batch in training_crops(source, order, size=image_size, keep_bytes=crops_of_bytes):
            yield global_batch(mesh, batch)
    else:
        for batch in training_batches(source, order, image_size=image_size):
            yield global_batch(mesh, {"image": batch["image"], "mask": batch["mask"]})


def with_unlabelled(
    labelled_batches: Iterator[Batch], unlabelled: jax.Array, mesh: Mesh, order: Order
) -> Iterator[Batch]:
    """Yields the labelled batches, each with as many of the `unlabelled` images in an order of their own.

    Args:
      labelled_batches: as `batches` gives it.
      unlabelled: uint8 [M, S, S, 3], on all devices.
      mesh: the devices.
      order: where in the streams of both, the share of this process.
    """
    rows = training_indices(len(unlabelled), order, UNLABELLED)
    for batch, own in zip(labelled_batches, rows, strict=True):
        yield {**batch, "unlabelled": unlabelled, **global_batch(mesh, {"unlabelled_row": own})}

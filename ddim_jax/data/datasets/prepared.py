"""The index of a published data set: made once, used until what lies in its folder changes."""

import contextlib
import hashlib
import os
import shutil
import uuid
from pathlib import Path

from absl import logging

from ddim_jax.data.datasets.published import Published
from ddim_jax.data.discovery import existing_root
from ddim_jax.data.sources import Pair, PairSource
from ddim_jax.data.splits import write_split
from ddim_jax.runtime.errors import InputError


def load_published(dataset: Published, root: str | os.PathLike, split: str, *, cache_dir: Path) -> PairSource:
    """One split of a published data set, from its prepared index.

    The index is made by the TensorFlow Datasets builder (array_record files of paths) and kept in
    `cache_dir`/tfds/NAME/ROOT/LISTING with a table of the split (splits.csv); LISTING is a digest of the pairs found
    and their split, so files that come, go or are renamed lead to a new index, and the old one is removed.

    Args:
      dataset: which.
      root: the folder it was unpacked into.
      split: train, val or test.
      cache_dir: where indices are kept.

    Raises:
      DataError: the data set is not there or not complete; what is missing is named.
      InputError: tensorflow-datasets is not installed.
    """
    root = existing_root(root, dataset.instructions).resolve()
    found = dataset.find(root)
    place = cache_dir / "tfds" / dataset.name / _digest([str(root)])
    index = place / _digest(
        f"{name}\t{pair.id}\t{pair.image.relative_to(root)}\t{pair.mask.relative_to(root)}"
        for name, pairs in found.items()
        for pair in sorted(pairs)
    )
    builders = _builders()
    if not index.is_dir():
        stale = sorted(other for other in place.iterdir() if not other.name.startswith(".")) if place.is_dir() else []
        reason = "the files below it have changed since the last index was made" if stale else "it is new"
        logging.info("Indexing %s below %s (%s) into %s.", dataset.name, root, reason, index)
        total = sum(len(pairs) for pairs in found.values())
        if total != dataset.pairs:
            logging.warning("%s: %d pairs found below %s, %d were published.", dataset.name, total, root, dataset.pairs)
        _prepare(builders[dataset.name], root, index, {pair.id: name for name in found for pair in found[name]})
        for other in stale:
            shutil.rmtree(other, ignore_errors=True)
    records = builders[dataset.name](data_dir=index, file_format="array_record").as_data_source(split)
    texts = ({key: value.decode() for key, value in record.items()} for record in records)
    pairs = [Pair(text["id"], root / text["image"], root / text["mask"]) for text in texts]
    return PairSource(dataset.name, sorted(pairs))


def _builders() -> dict:
    try:
        from ddim_jax.data.datasets.builders import BUILDERS
    except ModuleNotFoundError as error:
        raise InputError(
            f"The published data sets are read with tensorflow-datasets, which cannot be imported ({error}); "
            "run: pip install tensorflow-datasets. Plain folders (data.name = folder) do not need it."
        ) from error
    return BUILDERS


def _prepare(builder_class, root: Path, index: Path, split: dict[str, str]) -> None:
    """Makes the index beside its place and moves it there in one step: processes that start together may both try."""
    import tensorflow_datasets as tfds

    try:
        index.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{index.parent}: the index cannot be kept there ({error.strerror}); choose cache_dir."
        ) from error
    partial = index.parent / f".{index.name}.{uuid.uuid4().hex}"
    try:
        builder = builder_class(data_dir=partial, file_format="array_record")
        builder.download_and_prepare(
            download_dir=partial / "downloads",
            download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False),
        )
        shutil.rmtree(partial / "downloads", ignore_errors=True)
        write_split(partial / "splits.csv", split)
        with contextlib.suppress(OSError):
            os.rename(partial, index)
        if not index.is_dir():
            raise InputError(f"{index}: the index cannot be moved there from {partial}.")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _digest(lines) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

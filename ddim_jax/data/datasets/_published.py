"""Published data sets: their description, and an index of their files made by a TensorFlow Datasets builder.

The index is an array_record file of paths for each split, without TensorFlow and without the images: encoding those
again would take TensorFlow, and twice the disk. tensorflow_datasets is imported only where a builder is used.
"""

import contextlib
import functools
import hashlib
import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from absl import logging

from ddim_jax.data.options import DataOptions
from ddim_jax.data.seeded import seeded_split
from ddim_jax.data.sources import SPLITS, Pair, PairSource
from ddim_jax.data.tables import write_split
from ddim_jax.runtime.errors import DataError, InputError


class Found(NamedTuple):
    """The pairs of a data set.

    Attributes:
      pairs: by split.
      note: a remark for readers of the results; may be empty.
    """

    pairs: dict[str, list[Pair]]
    note: str = ""


class Published(NamedTuple):
    """A published data set.

    Attributes:
      name: as `load_dataset` takes it.
      description: one sentence.
      count: number of pairs published.
      homepage: the page that publishes it.
      licence: as its authors state it.
      citation: whom to cite.
      instructions: the steps to get it.
      find: returns the pairs below the folder it was unpacked into; raises DataError that names what is missing.
    """

    name: str
    description: str
    count: int
    homepage: str
    licence: str
    citation: str
    instructions: str
    find: Callable[[Path], Found]

    def load(self, split: str, options: DataOptions) -> PairSource:
        """One split, from the index.

        The index is kept in `options.cache_dir`/tfds/NAME/ROOT/LISTING with a table of the split (splits.csv); LISTING
        is a digest of the pairs found and their split, so files that come, go or are renamed lead to a new index, and
        the old one is removed.

        Raises:
          ConfigError: `options.root` is not given.
          DataError: the data set is not there or not complete; what is missing is named.
          InputError: tensorflow-datasets is not installed, or the index cannot be kept in `options.cache_dir`.
        """
        root = options.folder(self.name)
        if not root.is_dir():
            found = "is a file, expected the unpacked folder" if root.is_file() else "no such folder"
            raise DataError(f"{root}: {found}. {self.instructions}")
        root = root.resolve()
        found = self.find(root)
        place = options.cache_dir / "tfds" / self.name / _digest([str(root)])
        index = place / _digest(
            f"{name}\t{pair.id}\t{pair.image.relative_to(root)}\t{pair.mask.relative_to(root)}"
            for name, pairs in found.pairs.items()
            for pair in sorted(pairs)
        )
        try:
            builder = builder_class(self)
        except ModuleNotFoundError as error:
            raise InputError(
                f"The published data sets are read with tensorflow-datasets, which cannot be imported ({error}); "
                "run: pip install tensorflow-datasets. Plain folders (data.name = folder) do not need it."
            ) from error
        if not index.is_dir():
            stale = sorted(path for path in place.iterdir() if not path.name.startswith(".")) if place.is_dir() else []
            reason = "the files below it have changed since the last index was made" if stale else "it is new"
            logging.info("Indexing %s below %s (%s) into %s.", self.name, root, reason, index)
            total = sum(len(pairs) for pairs in found.pairs.values())
            if total != self.count:
                logging.warning("%s: %d pairs below %s, %d were published.", self.name, total, root, self.count)
            _prepare(builder, root, index, {pair.id: name for name in found.pairs for pair in found.pairs[name]})
            for other in stale:
                shutil.rmtree(other, ignore_errors=True)
        records = builder(data_dir=index, file_format="array_record").as_data_source(split)
        texts = ({key: value.decode() for key, value in record.items()} for record in records)
        pairs = sorted(Pair(text["id"], root / text["image"], root / text["mask"]) for text in texts)
        return PairSource(self.name, pairs, found.note, labels=options.labels, reading=options.reading)

    load.unused = dict.fromkeys(
        ("data.groups", "data.split_seed", *(f"data.counts.{name}" for name in SPLITS)), "has its own split"
    )


def split_by_stratum(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Splits pairs 8:1:1 within each stratum by a fixed seed, for data sets without a published split."""
    split = seeded_split([pair.id for pair in pairs], 0, {pair.id: pair.stratum for pair in pairs})
    return {name: [pair for pair in pairs if split[pair.id] == name] for name in SPLITS}


@functools.cache
def builder_class(dataset: Published) -> type:
    """The TensorFlow Datasets builder of a data set; making it also makes it known to `tfds.builder("rsua")`.

    Raises:
      ModuleNotFoundError: tensorflow-datasets is not installed.
    """
    import tensorflow_datasets as tfds

    class LocalInfo(tfds.core.DatasetInfo):
        """The facts of a data set that no bucket of TensorFlow Datasets has."""

        def initialize_from_bucket(self) -> None:
            """Does nothing: TFDS would make a folder for what the bucket has, find nothing, and leave the folder."""

    class Pairs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Pairs of paths relative to `manual_dir`, the folder the data set was unpacked into."""

        VERSION = tfds.core.Version("1.0.0")
        # TFDS would look here for checksums of downloads: there are none. Looking would take importlib_resources, which
        # tensorflow-datasets uses without requiring it.
        code_path = None

        def _info(self):
            # Built by hand: dataset_info_from_configs looks for metadata files beside the module.
            text = tfds.features.Text()
            return LocalInfo(
                builder=self,
                description=dataset.description,
                homepage=dataset.homepage,
                license=dataset.licence,
                citation=dataset.citation,
                features=tfds.features.FeaturesDict({"id": text, "image": text, "mask": text}),
            )

        def _split_generators(self, dl_manager):
            root = Path(dl_manager.manual_dir)
            return {split: self._generate_examples(root, pairs) for split, pairs in dataset.find(root).pairs.items()}

        def _generate_examples(self, root, pairs):
            for pair in pairs:
                image, mask = (path.relative_to(root).as_posix() for path in (pair.image, pair.mask))
                yield pair.id, {"id": pair.id, "image": image, "mask": mask}

    # The name of the class is that of the data set to TFDS.
    return type(dataset.name.capitalize(), (Pairs,), {"MANUAL_DOWNLOAD_INSTRUCTIONS": dataset.instructions})


def _prepare(builder_class: type, root: Path, index: Path, split: dict[str, str]) -> None:
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
        # TFDS would print the folder that is moved afterwards, and show bars for each split.
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(io.StringIO()):
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


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

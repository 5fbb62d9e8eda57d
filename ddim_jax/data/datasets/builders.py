"""TensorFlow Datasets builders of the published sets, without TensorFlow: an index of paths in array_record files.

Importing this module imports tensorflow_datasets; nothing else in the package does. It also makes the builders known
to `tfds.builder("rsua")` and the like. Stored are paths relative to the root, not the pictures: encoding those again
would take TensorFlow, and twice the disk.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from ddim_jax.data.datasets.published import PUBLISHED, Published
from ddim_jax.data.sources import Pair


class _PublishedPairs(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pairs of paths, `manual_dir` being the folder the data set was unpacked into."""

    VERSION = tfds.core.Version("1.0.0")
    # Where TFDS would look for checksums of downloads: there are none. Looking would take importlib_resources, which
    # tensorflow-datasets uses without requiring it.
    code_path = None
    published: Published

    def _info(self) -> tfds.core.DatasetInfo:
        # Built by hand: dataset_info_from_configs looks for metadata files beside the module.
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.published.description,
            homepage=self.published.homepage,
            license=self.published.licence,
            citation=self.published.citation,
            features=tfds.features.FeaturesDict(
                {"id": tfds.features.Text(), "image": tfds.features.Text(), "mask": tfds.features.Text()}
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        root = Path(dl_manager.manual_dir)
        return {split: self._generate_examples(root, pairs) for split, pairs in self.published.find(root).items()}

    def _generate_examples(self, root: Path, pairs: list[Pair]) -> Iterator[tuple[str, dict[str, str]]]:
        for pair in pairs:
            image, mask = (path.relative_to(root).as_posix() for path in (pair.image, pair.mask))
            yield pair.id, {"id": pair.id, "image": image, "mask": mask}


class Rsua(_PublishedPairs):
    """RSUA chest X-rays."""

    published = PUBLISHED["rsua"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = published.instructions


class Isbi2016(_PublishedPairs):
    """ISBI 2016 part 1, dermoscopy."""

    published = PUBLISHED["isbi2016"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = published.instructions


class Polypdb(_PublishedPairs):
    """PolypDB, colonoscopy."""

    published = PUBLISHED["polypdb"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = published.instructions


BUILDERS = {builder.published.name: builder for builder in (Rsua, Isbi2016, Polypdb)}

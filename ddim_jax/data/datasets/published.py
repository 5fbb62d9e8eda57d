"""The published data sets this package reads, as a user unpacks them: where they come from and how to get them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ddim_jax.data.datasets.isbi2016 import find_isbi2016
from ddim_jax.data.datasets.polypdb import find_polypdb
from ddim_jax.data.datasets.rsua import find_rsua
from ddim_jax.data.sources import Pair


class Published(NamedTuple):
    """A published data set.

    Attributes:
      name: as `load_dataset` takes it.
      description: one sentence.
      pairs: how many were published.
      homepage: where it is published.
      licence: as its authors state it.
      citation: whom to cite.
      instructions: how to get it.
      find: from the folder it is in to its pairs by split; raises DataError, saying what is missing.
    """

    name: str
    description: str
    pairs: int
    homepage: str
    licence: str
    citation: str
    instructions: str
    find: Callable[[Path], dict[str, list[Pair]]]


_RSUA = Published(
    name="rsua",
    description="292 chest X-rays (COVID-19, other pneumonia, healthy) with masks of both lungs, 256 x 256.",
    pairs=292,
    homepage="https://doi.org/10.17632/2jg8vfdmpm.1",
    licence="CC BY 4.0",
    citation="RSUA Chest X-Ray Dataset, Mendeley Data, version 1, doi:10.17632/2jg8vfdmpm.1.",
    instructions=(
        "Download 'RSUA Chest X-Ray Dataset' from Mendeley Data, https://doi.org/10.17632/2jg8vfdmpm.1 (CC BY 4.0), "
        "and unpack it below the root folder: it holds 'Data Chest X-Ray RSUA (Validated)' with the folders Covid, "
        "Non_Covid and Non_Covid_Pneumonia, each with images/ and masks/."
    ),
    find=find_rsua,
)

_ISBI2016 = Published(
    name="isbi2016",
    description="ISBI 2016 challenge, part 1: 900 + 379 dermoscopic pictures with masks of the lesion.",
    pairs=900 + 379,
    homepage="https://challenge.isic-archive.com/data/#2016",
    licence="CC0",
    citation=(
        "Gutman et al., Skin Lesion Analysis toward Melanoma Detection: A Challenge at the International Symposium on "
        "Biomedical Imaging (ISBI) 2016, hosted by the International Skin Imaging Collaboration (ISIC), "
        "arXiv:1605.01397."
    ),
    instructions=(
        "Download the four archives of part 1 of the 2016 challenge from https://challenge.isic-archive.com/data/#2016 "
        "(CC0): ISBI2016_ISIC_Part1_Training_Data.zip, ISBI2016_ISIC_Part1_Training_GroundTruth.zip, "
        "ISBI2016_ISIC_Part1_Test_Data.zip and ISBI2016_ISIC_Part1_Test_GroundTruth.zip; unpack them below the root."
    ),
    find=find_isbi2016,
)

_POLYPDB = Published(
    name="polypdb",
    description="3,934 colonoscopic pictures in five modalities with masks of the polyps.",
    pairs=3934,
    homepage="https://osf.io/pr7ms",
    licence="As stated at https://osf.io/pr7ms.",
    citation=(
        "Jha et al., PolypDB: A Curated Multi-Center Dataset for Development of AI Algorithms in Colonoscopy, "
        "arXiv:2409.00045."
    ),
    instructions=(
        "Download PolypDB from https://osf.io/pr7ms (its page states the licence) and unpack it below the root: it "
        "holds PolypDB_modality_wise with the folders BLI, FICE, LCI, NBI and WLI, each with images/ and masks/."
    ),
    find=find_polypdb,
)

PUBLISHED = {dataset.name: dataset for dataset in (_RSUA, _ISBI2016, _POLYPDB)}

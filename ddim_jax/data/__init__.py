"""Image/mask pairs: sources, the input pipeline and augmentation."""

from ddim_jax.data.arrays import Arrays, Selection, check_source, load_selections
from ddim_jax.data.augmentation import Augmentation, augment
from ddim_jax.data.derived import with_derived
from ddim_jax.data.load import configured, generated_names, has_split, load_dataset
from ddim_jax.data.masks import consensus_in_words
from ddim_jax.data.pipeline import Order, training_batches, training_indices
from ddim_jax.data.rows import Joined, Subset
from ddim_jax.data.sources import (
    Example,
    Pair,
    PairSource,
    Source,
    Volume,
    annotators_of,
    groups_of,
    ids_digest,
    note_of,
    volumes_of,
)
from ddim_jax.data.unlabelled import Unlabelled, load_unlabelled

__all__ = [
    "Arrays",
    "Augmentation",
    "Example",
    "Joined",
    "Order",
    "Pair",
    "PairSource",
    "Selection",
    "Source",
    "Subset",
    "Unlabelled",
    "Volume",
    "annotators_of",
    "augment",
    "check_source",
    "configured",
    "consensus_in_words",
    "generated_names",
    "groups_of",
    "has_split",
    "ids_digest",
    "load_dataset",
    "load_selections",
    "load_unlabelled",
    "note_of",
    "training_batches",
    "training_indices",
    "volumes_of",
    "with_derived",
]

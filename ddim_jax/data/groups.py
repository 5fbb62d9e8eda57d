"""The groups of a folder's pairs, which a split keeps together: patients, first folders, volumes."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ddim_jax.data.sources import Pair
from ddim_jax.data.tables import SPELLINGS
from ddim_jax.imageio.images import guarded_reader

Key = tuple[str, str]
"""A patient as a file knows it: ("patient", what the file says of him) or ("folder", the first folder)."""
_OF_PATIENT = "patient of "


def patient_keys(name: str, file: Path) -> tuple[Key, ...]:
    """The keys of the patient of an image: what its file says (PatientID) and its first folder, where there are such.

    The first is the patient's identity, and is for comparing alone: it goes into no file, log or error.

    Args:
      name: the path below the folder of images. Of a folder that is called after a split the first one in it counts.
      file: the image.

    Raises:
      DataError: the header of the file cannot be read.
    """
    with guarded_reader(file) as reader:
        identity = reader.patient(file) if hasattr(reader, "patient") else ""
    return tuple(key for key in (("patient", identity), ("folder", _first_folder(name))) if key[1])


def groups_of_pairs(pairs: Iterable[Pair], keys: Mapping[str, Iterable[Key]]) -> dict[str, str]:
    """The group of each pair that is in one: pairs of one key or one volume are of one group, and so are theirs.

    A group is called after the first pair whose file names its patient, else after the folder, else the volume: the
    table of the split is copied about, and not even a digest of the identity is in it, which trying numbers would turn
    back.

    Args:
      pairs: of the folder.
      keys: those of each pair that count.
    """
    joined: dict[Key, Key] = {}

    def joined_to(key: Key) -> Key:
        while (other := joined.get(key, key)) != key:
            joined[key] = joined.get(other, other)  # so that long chains are walked once
            key = other
        return key

    own = {}
    for pair in pairs:
        of_volume = [("volume", pair.volume.name)] if pair.volume is not None else []
        if found := [*keys[pair.id], *of_volume]:
            own[pair.id] = found
            for key in found[1:]:
                joined[joined_to(found[0])] = joined_to(key)
    called: dict[Key, str] = {}
    for name, (key, *_) in own.items():
        if key[0] == "patient":
            called.setdefault(joined_to(key), f"{_OF_PATIENT}{name}")
    return {name: called.get(joined_to(key), key[1]) for name, (key, *_) in own.items()}


def why_so_few(group: Mapping[str, str], apart: Mapping[str, str]) -> str:
    """Sentences on what made the groups of pairs fewer than are needed, and what to do.

    Args:
      group: of each pair.
      apart: its group with data.groups=none, called as `groups_of_pairs` does.
    """
    names, names_apart = set(group.values()), {apart[name] for name in group}
    why, way = "", "Write a splits.csv (stem,split; or stem,fold for data.folds)."
    of_folders = len(names_apart) > len(names)
    if any(name.startswith(_OF_PATIENT) for name in names_apart):
        if len(names_apart) == 1:
            why = "All files have one PatientID, as anonymised ones may. "
        elif of_folders:
            why = "Files of one PatientID stay together, and so do the folders that they are in. "
        else:
            why = "Files of one PatientID stay together, which anonymised ones may share. "
    if of_folders:
        way = f"Set data.groups=none if the folders are no patients, or w{way[1:]}"
    return why + way


def _first_folder(name: str) -> str:
    first, slash, rest = name.partition("/")
    if first.casefold() in SPELLINGS:
        first, slash, _ = rest.partition("/")
    return first if slash else ""

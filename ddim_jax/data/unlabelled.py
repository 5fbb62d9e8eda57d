"""Images without masks that a training sees beside its labelled ones; those that it knows already are left out."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ddim_jax.data.clinic_checks import check_planes, check_ranges
from ddim_jax.data.discovery import images_and_masks, listed, name_problem
from ddim_jax.data.facts import PixelBudget, image_digest
from ddim_jax.data.groups import Key, patient_keys
from ddim_jax.data.sources import Source, data_error, example_of, patients_of, same_name, trained_on_of
from ddim_jax.imageio.images import ReadOptions, count_pixels, log_notes, read_image
from ddim_jax.imageio.listing import iterate_images
from ddim_jax.imageio.stacks import count_slices, read_slice
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_image
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

_SMALL = (16, 16)
_SAME = 4.0
"""Two images are one if the root of their mean squared difference at that size is below this, of 255 levels. Of 120
polyps, chest X-rays and skin lesions each, the most similar two are 11 apart; copies as JPEG, down to a quarter of the
size, are within 3 of the original."""


class Unlabelled(NamedTuple):
    """Images without masks at one size.

    Attributes:
      ids: N names, paths below the folder; slices of a volume are x#001, x#002, ...
      images: uint8 [N, S, S, 3].
      digests: for each name, after unlabelled/, the SHA-256 of the pixels at the image's own size.
      told: lines on what was left out, for a log.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    digests: dict[str, str]
    told: tuple[str, ...]


def load_unlabelled(
    folder: Path,
    labelled: Mapping[str, Source],
    image_size: int,
    reading: ReadOptions = ReadOptions(),
    *,
    most: int,
    groups: Literal["folder", "none"] = "folder",
) -> Unlabelled:
    """Reads the images below `folder`, each once, without those that are labelled.

    An image of the validation or the test split that is trained on without its mask is a leak all the same: the
    scores would no longer be those of unknown images. So what looks like an image of any split is left out, be it
    saved again or at another size, and told; as are files that cannot be read, and other images of the patients of
    the validation and the test split (`ddim_jax.data.sources.patients_of`), known by PatientID or first folder, with
    what shares a first folder or a PatientID with these, and so on, but for those of the training split.

    Args:
      folder: searched through and through.
      labelled: the splits by name.
      image_size: S, in pixels.
      reading: how images are read.
      most: bytes of the images at that size, at most; they are all kept in memory.
      groups: as `ddim_jax.data.options.DataOptions` has it; first folders are those below images/ where `folder` has
        that.

    Raises:
      DataError: `folder` has no image, or none that can be read and is not labelled; it holds masks too; a name is
        not UTF-8; volumes are cut in different planes; or there are more bytes than `most`.
    """
    pictures = _Pictures(folder, reading)
    size = len(pictures) * image_size * image_size * 3
    if size > most:
        shape = f"of {image_size} x {image_size}"
        raise DataError(
            f"{folder}: {quantity(len(pictures), f'image {shape} takes', f'images {shape} take')} {size} bytes, kept "
            f"on the device; expected at most data.resident_bytes={most}. Raise it, or give fewer (data.unlabelled)."
        )
    images = np.empty((len(pictures), image_size, image_size, 3), np.uint8)
    small = np.empty((len(pictures), *_SMALL, 3), np.uint8)
    budget = PixelBudget()

    def read(row: int) -> str | DataError:
        try:
            with budget.room_for(pictures, row):
                pixels = pictures[row]
                images[row], small[row] = resize_image(pixels, images.shape[1:3]), resize_image(pixels, _SMALL)
                return image_digest(pixels).hexdigest()
        except DataError as error:
            return error

    def known(work: tuple[Source, int]) -> np.ndarray:
        source, row = work
        with budget.room_for(source, row):
            return resize_image(example_of(source, row).image, _SMALL)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(len(pictures))))
        left_out = {row: error for row, error in enumerate(found) if isinstance(error, DataError)}
        if len(left_out) == len(pictures):
            raise data_error(
                f"{folder}: none of {quantity(len(pictures), 'image')} can be read (data.unlabelled):", _texts(left_out)
            )
        told = []
        if left_out:
            told.append(
                f"{len(left_out)} of {len(pictures)} unlabelled images cannot be read and are left out: "
                + listed(_texts(left_out))
            )
        kept = [row for row in range(len(pictures)) if row not in left_out]
        has_patients = any(patients_of(source) for source in labelled.values())
        keys = {row: pictures.patient_keys(row, groups) for row in kept if has_patients}
        in_folders = False
        for split, source in labelled.items():
            own = np.stack(list(pool.map(known, ((source, row) for row in range(len(source))))))
            same = [row for row, is_same in zip(kept, looks_like_any(small[kept], own), strict=True) if is_same]
            kept = [row for row in kept if row not in set(same)]
            of_patients = _of_patients(keys, patients_of(source), trained_on_of(source))
            others = [row for row in kept if row in of_patients]
            kept = [row for row in kept if row not in of_patients]
            in_folders |= any(key[0] == "folder" for row in others for key in keys[row])
            for rows, what in ((same, f"of the {split} split"), (others, f"of patients of the {split} split")):
                if rows:
                    names = listed(pictures.ids[row] for row in rows)
                    told.append(f"{len(rows)} of {len(pictures)} unlabelled images are {what} and left out: {names}")
    if not kept:
        way_out = ". Set data.groups=none if the folders are no patients" if in_folders else ""
        raise DataError(
            f"{folder}: no image is left to train on without a mask (data.unlabelled). {'; '.join(told)}{way_out}"
        )
    ids = tuple(pictures.ids[row] for row in kept)
    return Unlabelled(
        ids, images[kept], {f"unlabelled/{pictures.ids[row]}": str(found[row]) for row in kept}, tuple(told)
    )


def looks_like_any(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns True for each of `pictures` that is one of `others`, but for what saving it again changes.

    Args:
      pictures, others: uint8 [N, h, w, 3] and [M, h, w, 3], small.

    Returns:
      bool [N].
    """
    flat, known = (array.reshape(len(array), -1).astype(np.float64) for array in (pictures, others))
    of_known, found = (known**2).sum(axis=1), np.zeros(len(flat), bool)
    for start in range(0, len(flat), 1024):
        part = flat[start : start + 1024]
        squares = (part**2).sum(axis=1)[:, None] + of_known - 2.0 * part @ known.T
        found[start : start + 1024] = squares.min(axis=1) < _SAME**2 * flat.shape[1]
    return found


class _Pictures:
    """The images below a folder, read when asked for."""

    name = "data.unlabelled"

    def __init__(self, folder: Path, reading: ReadOptions):
        images, masks = images_and_masks(folder) if folder.is_dir() else (None, None)
        self._above = f"{images.name}/" if images is not None else ""
        if masks is not None:
            raise DataError(
                f"{folder}: has a folder {masks.name}; masks would be taken for images. Expected a folder of "
                "images alone, such as its images (data.unlabelled)."
            )
        files = list(iterate_images(folder))
        if reading.window is None:
            check_ranges(folder, files)
        self._places: list[tuple[Path, int | None]] = []
        named = [(file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name) for file in files]
        wrong = [problem for pair in zip(named, files, strict=True) if (problem := name_problem(*pair, "pixels.csv"))]
        if wrong:
            told = quantity(len(wrong), "image")
            raise data_error(f"{folder}: {told} cannot be told by name (data.unlabelled):", wrong)
        names = []
        for name, file in zip(named, files, strict=True):
            try:
                count = count_slices(file)
            except DataError:
                count = 1  # reading it says what is wrong
            slices = [None] if count == 1 else list(range(count))
            self._places += [(file, number) for number in slices]
            names += [name if number is None else f"{name}#{number + 1:03d}" for number in slices]
        check_planes(folder, (file for file, number in self._places if number == 0))
        self.ids, self._reading = tuple(names), reading

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> np.ndarray:
        file, number = self._places[row]
        if number is None:
            return read_image(file, self._reading)
        picture, _ = read_slice(file, (), number, self._reading, Labels())
        log_notes(file, picture.notes)
        return picture.pixels

    def patient_keys(self, row: int, groups: str) -> tuple[Key, ...]:
        name = self.ids[row].removeprefix(self._above)
        keys = patient_keys(name, self._places[row][0])
        return tuple(_compared(key) for key in keys if groups == "folder" or key[0] == "patient")

    def count_pixels(self, row: int) -> int:
        return count_pixels(self._places[row][0])


def _compared(key: Key) -> Key:
    return (key[0], same_name(key[1])) if key[0] == "folder" else key


def _of_patients(keys: Mapping[int, Collection[Key]], patients: Iterable[Key], trained_on: Iterable[Key]) -> set[int]:
    """The rows that have a key of `patients`, or one of another such row that is not `trained_on`, and so on."""
    known, passed_over, found = set(map(_compared, patients)), set(map(_compared, trained_on)), set()
    while new := {row for row, own in keys.items() if row not in found and not known.isdisjoint(own)}:
        found |= new
        known |= {key for row in new for key in keys[row]} - passed_over
    return found


def _texts(errors: Mapping[int, DataError]) -> Sequence[str]:
    return [str(error) for error in errors.values()]

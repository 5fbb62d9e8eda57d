"""Lookup tables of DICOM files: of grey levels (PS3.3 C.11.1.1) and the palettes of colours (PS3.3 C.7.9)."""

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddim_jax.imageio.clinic import errors_naming, library
from ddim_jax.imageio.images import AGAIN
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset


class Table(NamedTuple):
    """A table of a file.

    Attributes:
      first: the value that has the first entry; its sign may be lost.
      bits: of an entry, as the file says.
      entries: int64 [N].
    """

    first: int
    bits: int
    entries: np.ndarray

    def look_up(self, values: np.ndarray, least: float) -> np.ndarray:
        """The entries of values, int64 of their shape; what lies before or behind the table gets its first or last one.

        The libraries count places in the type of the entries, which may be too small for them.

        Args:
          values: integers, or real numbers that are rounded.
          least: the smallest that values of the file can be.
        """
        first, count = self.first, len(self.entries)
        # The sign of the first value follows from that of the values, whatever type is written or assumed for it.
        if first >= 2**15 and least < 0 and first - 2**16 + count > least:
            first -= 2**16
        elif first < 0 and first + count <= least:
            first += 2**16
        return self.entries[np.clip(np.round(values).astype(np.int64) - first, 0, count - 1)]


def read_table(
    path: str | os.PathLike, group: "Dataset", big_endian: bool, name: str = "LUT", sequence: str = ""
) -> Table:
    """A table: `name`Descriptor has the number of entries (0 for 65536), the first value and the bits of an entry.

    `name`Data has the entries, as numbers or as words of 16 bits that have one or two entries each, which the libraries
    read in the order of the machine's bytes.

    Args:
      path: of the file.
      group: the header, or the item of a sequence in it.
      big_endian: the order of the bytes in words.
      name: of the table.
      sequence: its name, for messages.

    Raises:
      DataError: there is no such table, or it has fewer entries than it says.
    """
    place = f" ({sequence})" if sequence else ""
    try:
        count, first, bits = (int(number) for number in group.get(f"{name}Descriptor"))
    except (TypeError, ValueError):
        raise DataError(
            f"{path}: its {name}Descriptor{place} has not three whole numbers, expected those of entries, first value "
            f"and bits; {AGAIN}."
        ) from None
    count, content = count % 2**16 or 2**16, group.get(f"{name}Data")
    if content is None:
        raise DataError(f"{path}: has no {name}Data{place}, expected the {count} entries of its table; {AGAIN}.")
    if isinstance(content, bytes):
        words = np.frombuffer(content[: len(content) // 2 * 2], ">u2" if big_endian else "<u2")
        # Two to a word, and perhaps called entries of 16 bits all the same.
        is_packed = len(content) < 2 * count and (bits <= 8 or len(content) in (count, count + 1))
        entries = words.astype("<u2").view(np.uint8) if is_packed else words
    else:
        entries = np.atleast_1d(np.asarray(content))
    if len(entries) < count:
        raise DataError(
            f"{path}: its {name}Data{place} has {len(entries)} entries, its {name}Descriptor says {count}; expected as "
            f"many. {AGAIN.capitalize()}."
        )
    return Table(first, bits, entries[:count].astype(np.int64))


def palette_colours(
    path: str | os.PathLike, header: "Dataset", stored: np.ndarray, big_endian: bool, least: float
) -> tuple[np.ndarray, int]:
    """The colours [H, W, 3] of stored values by the palette of a file, and the bits that they have, 8 or 16.

    Args:
      path: of the file.
      header: its header.
      stored: integers [H, W].
      big_endian: as for `read_table`.
      least: as for `Table.look_up`.

    Raises:
      DataError: a colour has no table, or a damaged one.
    """
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    for name in names:
        has_data = f"{name}Data" in header or f"Segmented{name}Data" in header
        if f"{name}Descriptor" not in header or not has_data:
            raise DataError(f"{path}: is PALETTE COLOR and lacks its {name}Descriptor or {name}Data; {AGAIN}.")
    if f"{names[0]}Data" not in header:
        fault = f"its Segmented{names[0]}Data, or that of another colour, gives no table; {AGAIN}"
        with errors_naming(path, fault=fault):
            pixels = library("pydicom.pixels").apply_color_lut(stored, header)
        return pixels, 8 * pixels.dtype.itemsize
    tables = [read_table(path, header, big_endian, name) for name in names]
    # Entries of 8 bits may be kept, and called, as ones of 16. All are looked at, for frames use some of them each.
    bits = 16 if max(table.entries.max() for table in tables) > 255 else 8
    return np.stack([table.look_up(stored, least) for table in tables], axis=-1), bits

"""Sources made of rows of other sources: some of one, or those of several."""

from collections.abc import Sequence

from ddim_jax.data.sources import (
    Example,
    Source,
    annotators_of,
    groups_of,
    labels_of,
    note_of,
    pixels_of,
    volumes_of,
)


class OfRows:
    """Base of a source of other sources' pairs, with name, note, classes and annotators of the first source.

    Args:
      first: the first source.
      rows: for each pair the source and the row that it is from.
    """

    def __init__(self, first: Source, rows: Sequence[tuple[Source, int]]):
        self.name, self.note, self.labels = first.name, note_of(first), labels_of(first)
        self.annotators = annotators_of(first)
        self.ids = tuple(source.ids[row] for source, row in rows)
        self.groups = tuple(groups_of(source)[row] for source, row in rows)
        self.volumes = tuple(volumes_of(source)[row] for source, row in rows)
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        source, row = self._rows[index]
        return source[row]

    def count_pixels(self, index: int) -> int:
        """Pixels that are decoded for pair `index` (`pixels_of`)."""
        return pixels_of(*self._rows[index])


class Subset(OfRows):
    """The chosen rows of a source, as a source."""

    def __init__(self, source: Source, rows: Sequence[int]):
        super().__init__(source, [(source, row) for row in rows])


class Joined(OfRows):
    """Several sources, one after the other, as one.

    Attributes:
      part: for each pair, which of the sources it is from.
    """

    def __init__(self, sources: Sequence[Source]):
        super().__init__(sources[0], [(source, row) for source in sources for row in range(len(source))])
        self.part = tuple(number for number, source in enumerate(sources) for _ in source.ids)

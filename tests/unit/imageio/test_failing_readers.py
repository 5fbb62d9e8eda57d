"""Readers from outside of the package that fail, or give no image: the file is told with the reader and the place."""

import errno

import numpy as np
import pytest

from ddim_jax.data.groups import patient_keys
from ddim_jax.imageio import stacks
from ddim_jax.imageio.images import Picture, ReadOptions, check_fits, count_pixels, read_mask, read_picture
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError

GREY = np.zeros((3, 4, 3), np.uint8)


class Failing:
    """A reader that raises `error` wherever it is called."""

    suffixes = (".odd",)
    error: Exception = KeyError("Miller, Ann")

    @classmethod
    def read_image(cls, *_):
        raise cls.error

    read_mask = count_pixels = orientation = patient = read_slice_mask = slice_mask_notes = read_image


class Slices(stacks.Stack):
    """Opens; none of its slices can be read."""

    def __init__(self, files, options):
        self.files, self.count, self.shape = files, 2, (3, 4)

    def read(self, index):
        raise Failing.error


class OfSlices(Failing):
    open_stack = Slices


class FailingStack(Failing):
    open_stack = Failing.read_image


class FailingFacts(Failing):
    class open_stack(Slices):
        @property
        def patient(self):
            raise Failing.error


class Whole(Failing):
    """Failing at the masks of its images alone."""

    class open_stack(Slices):
        def read(self, index):
            return GREY


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.odd").touch()
    return tmp_path / "a.odd"


@pytest.mark.parametrize(
    ("reader", "use"),
    [
        (Failing, read_picture),
        (Failing, read_mask),
        (Failing, count_pixels),
        (Failing, lambda path: patient_keys("a.odd", path)),
        (Failing, lambda path: check_fits(path, Picture(GREY), path, GREY[..., 0])),
        (FailingStack, lambda path: stacks.open_stack([path])),
        (FailingStack, stacks.file_facts),
        (FailingFacts, stacks.file_facts),
        (OfSlices, lambda path: stacks.read_slice(path, (), 1, ReadOptions(), Labels())),
        (Whole, lambda path: stacks.read_slice(path, (path,), 1, ReadOptions(), Labels())),
        (Whole, lambda path: stacks.read_mask_of(path, path, Labels())),
        (Whole, lambda path: stacks.notes_of_mask(path, path, 1, Labels())),
    ],
)
def test_a_failing_reader_is_named_with_the_file_and_the_place(path, monkeypatch, reader, use):
    """The text of the error is not told, for it may be of a patient."""
    monkeypatch.setitem(READERS._entries, "odd", reader)
    place = rf"{__file__}, line \d+: KeyError$"
    with pytest.raises(DataError, match=rf"^{path}: the reader 'odd' failed at {place}") as failed:
        use(path)
    assert failed.value.__cause__ is Failing.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("no image"), DataError),  # as Pillow says it
        (OSError(errno.ESTALE, "Stale file handle"), OSError),
        (MemoryError(), MemoryError),
        (DataError("its own words"), DataError),
    ],
)
def test_what_is_of_the_disk_or_the_memory_stays_what_it_is(path, monkeypatch, error, told):
    monkeypatch.setitem(READERS._entries, "odd", Failing)
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(told) as failed:
        read_picture(path)
    assert (failed.value is error) == (error.args != ("no image",))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (GREY / 2.0, r"float64 \[3, 4, 3\]"),
        (GREY[..., 0], r"uint8 \[3, 4\]"),
        (Picture(GREY[..., :1]), r"uint8 \[3, 4, 1\]"),
        (GREY[:0], r"uint8 \[0, 4, 3\]"),
        (None, r"NoneType \[\]"),
    ],
)
def test_a_reader_that_gives_no_image_is_named(path, monkeypatch, given, told):
    class Other(Failing):
        read_image = staticmethod(lambda path, options: given)

    class Several(Failing):
        class open_stack(Slices):
            def read(self, index):
                return given.pixels if isinstance(given, Picture) else given

    message = rf"^{path}: the reader 'odd' gives {told}; expected uint8 \[H, W, 3\]\.$"
    monkeypatch.setitem(READERS._entries, "odd", Other)
    with pytest.raises(DataError, match=message):
        read_picture(path)
    monkeypatch.setitem(READERS._entries, "odd", Several)
    with pytest.raises(DataError, match=message):
        stacks.read_slice(path, (), 0, ReadOptions(), Labels())

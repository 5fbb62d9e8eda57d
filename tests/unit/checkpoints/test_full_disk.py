"""A checkpoint that the disk refuses: one error with the system's number."""

import errno
import os
import re
import shutil

import numpy as np
import pytest

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.full_disk import check_room, disk_errors
from ddim_jax.runtime.errors import report_input_errors

ORBAX = (
    'RESOURCE_EXHAUSTED: Error writing "w/0.0" in OCDBT database at local file "x/": Failed to write 79064 bytes to '
    "file 11: No space left on device [os_error_code='28']"
)


def test_orbax_words_become_the_systems_number(tmp_path):
    with pytest.raises(OSError) as error, disk_errors(tmp_path):
        raise ValueError(ORBAX)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path))
    with pytest.raises(OSError) as error, disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", "manifest.json")
    assert error.value.filename == "manifest.json"
    with pytest.raises(KeyError), disk_errors(tmp_path):
        raise KeyError("a bug")


def test_what_will_not_fit_is_not_begun(tmp_path):
    room = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "run/checkpoints", room // 2)
    with pytest.raises(OSError) as error:
        check_room(tmp_path / "run/checkpoints", 2 * room)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "run/checkpoints"))
    assert re.fullmatch(
        rf"No space left on device: a checkpoint takes {2 * room + 2**20:,} bytes, [\d,]+ are free",
        error.value.strerror,
    )


@pytest.mark.parametrize("small_disk", ["4m"], indirect=True)
def test_a_disk_that_fills_leaves_the_last_checkpoint_and_a_line(small_disk, capfd):
    store = CheckpointStore(small_disk / "checkpoints")
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.normal(size=(64, 64)).astype(np.float32) for i in range(8)}  # 128 KiB

    def save(step):
        return store.save(step, state={"step": np.int32(step), **weights}, ema_params=weights, metadata={})

    assert save(1)
    disk = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(bytes(disk.f_bavail * disk.f_frsize - 1_300_000))
    capfd.readouterr()
    with pytest.raises(SystemExit) as end, report_input_errors():
        save(2)
    assert end.value.code == 2
    assert re.fullmatch(
        f"error: {store.directory}: No space left on device: a checkpoint takes 1,310,724 bytes, [0-9,]+ are free. "
        "Make room there and start the same command again.\n",
        capfd.readouterr().err,
    )
    assert store.steps() == [1]
    (small_disk / "other").unlink()
    assert save(2) and store.steps() == [1, 2]
    restored = store.restore({"step": np.int32(0), **weights})
    assert restored.step == 2 and all(np.array_equal(restored.state[name], weights[name]) for name in weights)

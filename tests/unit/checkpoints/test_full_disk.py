"""A checkpoint that the disk refuses: one error with the system's number, and nothing said besides."""

import asyncio
import errno
import logging
import os
import shutil

import numpy as np
import pytest

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.full_disk import check_room, disk_errors
from ddim_jax.runtime.errors import CheckpointError, report_input_errors

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


def test_what_orbax_says_besides_is_not_heard(tmp_path):
    def passes(name, path, error):
        exc_info = (type(error), error, None) if error else None
        return bool(logging.getLogger(name).filter(logging.LogRecord(name, 40, path, 1, "failed", (), exc_info)))

    orbax = os.path.join("site-packages", "orbax", "future.py")
    with pytest.raises(OSError), disk_errors(tmp_path):
        assert not passes("absl", orbax, ValueError(ORBAX))
        assert passes("absl", orbax, None) and passes("absl", "store.py", KeyError("a bug"))
        raise ValueError(ORBAX)
    assert not passes("absl", orbax, KeyError("what follows"))  # of a thread that fails later
    assert not passes("asyncio", "base_events.py", ValueError(ORBAX))  # of a task that nobody waited for
    assert passes("asyncio", "base_events.py", KeyError("a bug"))
    task = logging.LogRecord("asyncio", 40, "base_events.py", 1, "<Task coro=<save() at /orbax/save.py:1>>", (), None)
    task.exc_info = (KeyError, KeyError("without words of the system"), None)
    assert not logging.getLogger("asyncio").filter(task)
    with pytest.raises(CheckpointError), disk_errors(tmp_path):
        raise CheckpointError("the folder is away")
    assert not passes("absl", orbax, KeyError("what follows"))
    with pytest.raises(ZeroDivisionError), disk_errors(tmp_path):
        raise ZeroDivisionError
    assert passes("absl", orbax, ValueError(ORBAX)) and passes("asyncio", "base_events.py", ValueError(ORBAX))


def test_threads_that_finish_late_are_not_heard(tmp_path):
    """They tell an event loop that Orbax has closed by then; loops made elsewhere refuse that as ever."""
    done = []
    with disk_errors(tmp_path):
        loop = asyncio.new_event_loop()
    loop.call_soon_threadsafe(done.append, 1)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert loop.call_soon_threadsafe(done.append, 2) is None and done == [1]
    other = asyncio.new_event_loop()
    other.close()
    with pytest.raises(RuntimeError):
        other.call_soon_threadsafe(done.append, 3)


def test_what_will_not_fit_is_not_begun(tmp_path):
    room = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "run/checkpoints", room // 2)
    with pytest.raises(OSError) as error:
        check_room(tmp_path / "run/checkpoints", 2 * room)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "run/checkpoints"))


@pytest.fixture(autouse=True)
def heard_again(tmp_path):
    """After a refusal, what follows is not heard until a block ends in another way."""
    yield
    with disk_errors(tmp_path):
        pass


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_disk_that_fills_leaves_the_last_checkpoint_and_a_line(small_disk, capfd):
    store = CheckpointStore(small_disk / "checkpoints")
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.normal(size=(64, 64)).astype(np.float32) for i in range(8)}  # 128 KiB

    def save(step):
        return store.save(step, state={"step": np.int32(step), **weights}, ema_params=weights, metadata={})

    assert save(1)
    disk = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(bytes(disk.f_bavail * disk.f_frsize - 150_000))
    capfd.readouterr()
    with pytest.raises(SystemExit) as end, report_input_errors():
        save(2)
    assert end.value.code == 2
    assert capfd.readouterr().err == (
        f"error: {store.directory}: No space left on device. Make room there and start the same command again.\n"
    )
    assert store.steps() == [1]
    (small_disk / "other").unlink()
    assert save(2) and store.steps() == [1, 2]
    restored = store.restore({"step": np.int32(0), **weights})
    assert restored.step == 2 and all(np.array_equal(restored.state[name], weights[name]) for name in weights)

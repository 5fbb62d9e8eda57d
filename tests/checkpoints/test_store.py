"""Saving, choosing, verifying and restoring, with every file damaged in turn."""

import logging
import os
import shutil
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_state import assert_same_bits, fill, make_state

from ddim_jax.checkpoints import CheckpointStore, locate
from ddim_jax.checkpoints.manifest import find_damage
from ddim_jax.io.errors import CheckpointError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    fill(CheckpointStore(directory, keep_latest=2), {10: 0.9, 20: 0.5, 30: 0.6})
    return directory


@pytest.fixture
def store(saved, tmp_path):
    """Steps 10 (best), 20 and 30 in a folder of the test's own."""
    return CheckpointStore(shutil.copytree(saved, tmp_path / "checkpoints"))


def template():
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "shape") else x, make_state(0))


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def array_file(store, step, item):
    """The file that holds the bulk of the array data."""
    return max((store.directory / str(step) / item).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)


def test_restores_the_newest_to_the_bit(store):
    restored = store.restore(template())
    assert restored.step == 30
    assert_same_bits(restored.state, make_state(30))
    assert restored.state.epoch == 37 and isinstance(restored.state.epoch, int)
    np.testing.assert_array_equal(restored.ema_params["ema"]["w"], np.full((2, 3), 30, np.float32))
    assert restored.metadata == {"config": {"seed": 30}, "package_version": "1.2.3"}


def test_restores_a_plain_dict_and_numpy_leaves(tmp_path):
    store = CheckpointStore(tmp_path)
    state = {"step": np.int32(3), "flag": np.array(True), "nested": [np.arange(4, dtype=np.uint8), {"n": 2.5}]}
    store.save(3, state=state, ema_params={"w": np.zeros(2, np.float32)}, metadata={})
    assert_same_bits(store.restore(state).state, state)


def test_a_step_asked_for_is_that_step(store):
    assert_same_bits(store.restore(template(), step=20).state, make_state(20))
    with pytest.raises(CheckpointError, match=r"25: no complete checkpoint of step 25; there are: 10, 20, 30"):
        store.restore(template(), step=25)


def test_relative_directories_work(store, monkeypatch):
    monkeypatch.chdir(store.directory.parent)
    assert CheckpointStore("checkpoints").restore(template()).step == 30


def test_nothing_saved_yet_is_none(tmp_path):
    store = CheckpointStore(tmp_path / "absent")
    assert store.steps() == [] and store.restore(template()) is None
    assert not (tmp_path / "absent").exists()
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        store.restore_params()


@pytest.mark.parametrize(
    ("scores", "left", "best"),
    [
        ({1: 0.3, 2: 0.9, 3: 0.4, 4: 0.5, 5: 0.2}, [2, 4, 5], 2),
        ({1: 0.9, 2: 0.8, 3: 0.9, 4: 0.1, 5: 0.1}, [3, 4, 5], 3),  # the newest among equals
        ({1: 0.3, 2: None, 3: None, 4: None}, [1, 3, 4], 1),  # a step without a score is never the best
        ({1: None, 2: None, 3: None}, [2, 3], 3),
    ],
)
def test_the_latest_and_the_best_stay(tmp_path, scores, left, best):
    for step, dice in scores.items():  # a new store for each step, as after a restart
        fill(CheckpointStore(tmp_path, keep_latest=2, keep_best=1), {step: dice})
    store = CheckpointStore(tmp_path)
    assert store.steps() == left
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(step) for step in left]
    assert store.restore_params("best")[0] == best
    assert store.restore_params("latest")[0] == left[-1]


def test_restore_params_needs_no_template(store):
    step, params, metadata = store.restore_params("best")
    assert step == 10 and metadata["config"] == {"seed": 10}
    assert type(params["ema"]["w"]) is np.ndarray and params["ema"]["w"].dtype == np.float32
    np.testing.assert_array_equal(params["ema"]["w"], np.full((2, 3), 10, np.float32))
    assert store.restore_params(20)[1]["ema"]["w"][0, 0] == 20


def test_a_flipped_byte_in_any_file_is_named_and_the_step_before_is_used(store, caplog):
    names = [path.relative_to(store.directory / "30") for path in files(store.directory / "30")]
    assert {name.parts[0] for name in names} >= {"state", "ema_params", "metadata", "metrics", "manifest.json"}
    for name in names:
        path = store.directory / "30" / name
        original = path.read_bytes()
        flip(path, len(original) // 2)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            restored = store.restore(template())
        assert restored.step == 20, name
        assert_same_bits(restored.state, make_state(20))
        assert f"30 is damaged: {name.as_posix()}: " in caplog.text and "using the checkpoint of step 20" in caplog.text
        path.write_bytes(original)
    assert store.restore(template()).step == 30


def test_truncated_missing_and_surplus_files_are_named(store, caplog):
    for path in files(store.directory / "30"):
        original, name = path.read_bytes(), path.relative_to(store.directory / "30").as_posix()
        path.write_bytes(original[:-1])
        with pytest.raises(CheckpointError, match=name):
            store.restore_params(30)
        path.unlink()
        if name != "manifest.json":
            with pytest.raises(CheckpointError, match=f"{name}: missing"):
                store.restore_params(30)
        path.write_bytes(original)
    (store.directory / "30" / "state" / "stray").write_bytes(b"x")
    assert store.restore(template()).step == 20
    assert "state/stray: not in the manifest" in caplog.text


def test_damage_to_all_steps_is_an_error_naming_every_file(store):
    for step in (10, 20, 30):
        flip(array_file(store, step, "state"))
    with pytest.raises(CheckpointError) as error:
        store.restore(template())
    for step in (10, 20, 30):
        name = array_file(store, step, "state").relative_to(store.directory / str(step)).as_posix()
        assert f"{store.directory / str(step)} is damaged: {name}: content changed" in str(error.value)


def test_a_damaged_step_asked_for_by_number_is_an_error(store):
    flip(array_file(store, 20, "ema_params"))
    with pytest.raises(CheckpointError, match="20 is damaged: ema_params/"):
        store.restore(template(), step=20)
    with pytest.raises(CheckpointError, match="20 is damaged: ema_params/"):
        store.restore_params(20)


@pytest.mark.parametrize("item", ["ema_params", "metrics"])
def test_a_damaged_best_falls_back_to_the_next_best_loudly(store, caplog, item):
    if item == "metrics":  # .9 becomes .1: it must not just pass for a bad step
        path = store.directory / "10" / "metrics" / "metrics"
        path.write_text(path.read_text().replace("0.9", "0.1"))
    else:
        flip(array_file(store, 10, item))
    step, params, _ = store.restore_params("best")
    assert step == 30 and params["ema"]["w"][0, 0] == 30
    assert f"10 is damaged: {item}/" in caplog.text


def test_what_is_loaded_was_hashed_once_since_it_was_last_touched(store, monkeypatch, caplog):
    hashed = []

    def counted(folder):
        hashed.append(folder.name)
        return find_damage(folder)

    monkeypatch.setattr("ddim_jax.checkpoints.store.find_damage", counted)
    assert store.newest_intact() == 30
    assert_same_bits(store.restore(template(), 30).state, make_state(30))
    assert hashed == ["30"]
    damaged = array_file(store, 30, "state")
    before = damaged.stat()
    flip(damaged)
    os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns))  # the length and the time of writing are as before
    with pytest.raises(CheckpointError, match=f"30 is damaged: {damaged.relative_to(store.directory / '30')}: content"):
        store.restore(template(), 30)
    flip(damaged)
    assert store.restore(template(), 30).step == 30 and hashed == ["30"] * 3

    # Saving hashes neither what it wrote nor what it has found intact, but what was touched.
    fill(store, {40: 0.7})
    fill(store, {50: 0.8})
    assert hashed == ["30"] * 3 + ["10", "20"]
    flip(array_file(store, 40, "ema_params"))
    fill(store, {60: 0.1})
    assert "40 is damaged: ema_params" in caplog.text and hashed[5:] == ["40"]


def test_an_interrupted_save_does_not_count(store, caplog):
    (store.directory / "30" / "manifest.json").unlink()
    shutil.copytree(store.directory / "20", store.directory / "40.orbax-checkpoint-tmp")
    assert store.steps() == [10, 20]
    assert store.restore(template()).step == 20
    assert f"{store.directory / '30'}: ignored, manifest.json is missing" in caplog.text
    assert store.restore_params("latest")[0] == 20
    fill(store, {40: 0.1})
    assert store.steps() == [10, 20, 40]
    assert not list(store.directory.glob("*tmp*"))
    assert f"{store.directory / '30'}: removed, manifest.json is missing" in caplog.text
    assert {path.name for path in store.directory.iterdir()} == {"10", "20", "40"}


def test_only_an_interrupted_save_is_nothing_to_resume(tmp_path, caplog):
    store = CheckpointStore(tmp_path)
    fill(store, {5: 0.5})
    (tmp_path / "5" / "manifest.json").unlink()
    assert store.restore(template()) is None
    assert "manifest.json is missing" in caplog.text
    with pytest.raises(CheckpointError, match=r"interrupted while saving: .*5"):
        store.restore_params()


def test_what_lies_there_is_for_process_0_to_say(store, monkeypatch):
    """Another process sees the folder a moment later than it is, and does not ask it."""
    monkeypatch.setattr("ddim_jax.checkpoints.store.find_damage", lambda folder: pytest.fail("it looked"))
    monkeypatch.setattr("jax.process_index", lambda: 1)
    told = iter([1, 0, 50])
    monkeypatch.setattr("ddim_jax.checkpoints.store.as_first", lambda value: next(told))
    arguments = dict(state=make_state(40), ema_params={"w": jnp.zeros(2)}, metadata={})
    assert store.save(40, **arguments) is False
    with pytest.raises(CheckpointError, match="cannot save step 40, the later step 50 is already there"):
        store.save(40, **arguments)
    assert store.steps() == [10, 20, 30]


def test_a_folder_without_a_manifest_stays_where_nothing_else_is_intact(store, caplog):
    (store.directory / "30" / "manifest.json").unlink()
    for step in (10, 20):
        flip(array_file(store, step, "state"))
    fill(CheckpointStore(store.directory), {40: 0.1})
    assert {path.name for path in store.directory.iterdir()} == {"10.damaged", "20.damaged", "30.damaged", "40"}
    assert "30 is damaged: manifest.json: missing" in caplog.text


def test_a_removal_that_was_interrupted_is_finished_by_the_next_save(store, monkeypatch):
    whole = shutil.rmtree

    def killed(folder, **_):
        whole(folder / "state")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ddim_jax.checkpoints.clearing.shutil.rmtree", killed)
        fill(store, {40: 0.1})
    assert store.steps() == [10, 30, 40] and (store.directory / "20").is_dir()
    again = CheckpointStore(store.directory)
    assert again.restore(template()).step == 40
    fill(again, {50: 0.2})
    assert {path.name for path in store.directory.iterdir()} == {"10", "40", "50"}


def test_training_on_from_an_older_step_moves_the_damaged_one_aside(store, caplog):
    flip(array_file(store, 30, "state"))
    flip(array_file(store, 10, "state"))
    store = CheckpointStore(store.directory)  # as after a restart
    assert store.restore(template()).step == 20
    fill(store, {25: 0.1, 30: 0.7})
    assert store.steps() == [25, 30]  # and 30 is the best as well: the damaged 10 no longer holds that place
    assert_same_bits(store.restore(template()).state, make_state(30))
    assert (store.directory / "30.damaged").is_dir() and (store.directory / "10.damaged").is_dir()
    assert "moved to" in caplog.text


def test_old_steps_stay_until_the_new_one_is_complete(store, monkeypatch):
    def killed(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddim_jax.checkpoints.store.write_manifest", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(store, {40: 0.99})
    assert CheckpointStore(store.directory).steps() == [10, 20, 30]
    assert CheckpointStore(store.directory).restore(template()).step == 30


def test_a_step_that_is_there_is_kept_and_an_earlier_one_refused(store):
    state = make_state(99)
    arguments = dict(state=state, ema_params={"w": jnp.zeros(2)}, metadata={})
    assert store.save(30, **arguments) is False
    assert_same_bits(store.restore(template()).state, make_state(30))
    with pytest.raises(CheckpointError, match="cannot save step 25, the later step 30 is already there"):
        store.save(25, **arguments)
    assert store.steps() == [10, 20, 30]


def test_refuses_scores_that_are_not_finite(tmp_path):
    with pytest.raises(ValueError, match="'dice' of step 1 is nan"):
        fill(CheckpointStore(tmp_path), {1: float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_another_model_is_named_by_its_leaves(store):
    with pytest.raises(CheckpointError) as error:
        store.restore(make_state(0, width=8))
    expected = "params.conv.kernel: float32[3, 3, 4, 4] in the checkpoint, float32[3, 3, 4, 8] in this model"
    assert expected in str(error.value) and "belongs to another model" in str(error.value)
    other = template()
    other = other.replace(params={**other.params, "odd": jax.ShapeDtypeStruct((4,), jnp.bfloat16)})
    with pytest.raises(
        CheckpointError, match=r"params.odd: float32\[4\] in the checkpoint, bfloat16\[4\] in this model"
    ):
        store.restore(other)
    del other.params["odd"]
    other.params["new"] = jax.ShapeDtypeStruct((1,), jnp.float32)
    with pytest.raises(CheckpointError) as error:
        store.restore(other)
    assert "params.new: only in this model (float32[1])" in str(error.value)
    assert "params.odd: only in the checkpoint (float32[4])" in str(error.value)


def test_other_numbers_of_devices(tmp_path):
    """Saved by a process with four devices, sharded and replicated; read by this one, and back onto four."""
    script = textwrap.dedent(
        """
        import sys
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
        from ddim_jax.checkpoints import CheckpointStore
        mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
        split, copied = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
        state = {"split": jax.device_put(np.arange(8.0, dtype=np.float32), split),
                 "copied": jax.device_put(np.arange(3.0, dtype=np.float32), copied)}
        store = CheckpointStore(sys.argv[1])
        store.save(1, state=state, ema_params={"w": state["split"]}, metadata={})
        template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        again = store.restore(template).state
        assert again["split"].sharding == split and again["copied"].sharding == copied
        np.testing.assert_array_equal(again["split"], np.arange(8.0))
        """
    )
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env={**os.environ, **environment})
    store = CheckpointStore(tmp_path)
    np.testing.assert_array_equal(store.restore_params("latest")[1]["w"], np.arange(8.0))
    state = store.restore({name: jax.ShapeDtypeStruct((n,), jnp.float32) for name, n in [("split", 8), ("copied", 3)]})
    assert state.state["split"].devices() == {jax.local_devices()[0]}
    np.testing.assert_array_equal(state.state["split"], np.arange(8.0))
    np.testing.assert_array_equal(state.state["copied"], np.arange(3.0))


def test_locate_accepts_run_checkpoints_and_step_folders(store, tmp_path):
    run = store.directory.parent
    assert locate(run) == (store.directory, None)
    assert locate(store.directory) == (store.directory, None)
    assert locate(store.directory / "20") == (store.directory, 20)
    with pytest.raises(CheckpointError, match="no such folder"):
        locate(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        locate(tmp_path / "empty")

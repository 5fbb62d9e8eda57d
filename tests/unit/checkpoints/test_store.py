"""Saving, choosing and restoring what is intact."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_state import fill, make_state, template
from tiny_runs import assert_same_bits

from ddim_jax.checkpoints import CheckpointStore, locate
from ddim_jax.runtime.errors import CheckpointError


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
        fill(CheckpointStore(tmp_path, keep_latest=2), {step: dice})
    store = CheckpointStore(tmp_path)
    assert store.steps() == left
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(step) for step in left]
    assert store.restore_params("best")[0] == best
    assert store.best() == (None if scores[best] is None else (best, scores[best]))
    assert store.restore_params("latest")[0] == left[-1]


def test_restore_params_needs_no_template(store):
    step, params, metadata, _ = store.restore_params("best")
    assert step == 10 and metadata["config"] == {"seed": 10}
    assert type(params["ema"]["w"]) is np.ndarray and params["ema"]["w"].dtype == np.float32
    np.testing.assert_array_equal(params["ema"]["w"], np.full((2, 3), 10, np.float32))
    assert store.restore_params(20)[1]["ema"]["w"][0, 0] == 20


def test_what_lies_there_is_for_process_0_to_say(store, monkeypatch):
    """Another process sees the folder a moment later than it is, and does not ask it."""
    monkeypatch.setattr("ddim_jax.checkpoints.steps.find_damage", lambda folder: pytest.fail("it looked"))
    monkeypatch.setattr("jax.process_index", lambda: 1)
    told = iter([1, 0, 50])
    monkeypatch.setattr("ddim_jax.checkpoints.store.broadcast_from_first", lambda value: next(told))
    arguments = dict(state=make_state(40), ema_params={"w": jnp.zeros(2)}, metadata={})
    assert store.save(40, **arguments) is False
    with pytest.raises(CheckpointError, match="cannot save step 40, the later step 50 is already there"):
        store.save(40, **arguments)
    assert store.steps() == [10, 20, 30]


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


@pytest.mark.slow
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

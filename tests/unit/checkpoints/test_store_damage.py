"""Every file damaged in turn, saves and removals stopped half way."""

import logging
import os
import shutil

import pytest
from checkpoint_state import array_file, fill, flip, make_state, template
from tiny_runs import assert_same_bits

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.manifest import find_damage
from ddim_jax.runtime.errors import CheckpointError


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


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
            store.restore(template(), 30)
        path.unlink()
        if name.startswith("state/"):  # not needed by who wants the weights alone
            assert store.restore_params(30)[0] == store.restore_params("latest")[0] == 30
        elif name != "manifest.json":
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
    step, params, *_ = store.restore_params("best")
    assert step == 30 and params["ema"]["w"][0, 0] == 30
    assert f"10 is damaged: {item}/" in caplog.text


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
        patch.setattr("ddim_jax.checkpoints.folders.shutil.rmtree", killed)
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


def test_what_is_loaded_was_hashed_once_since_it_was_last_touched(store, monkeypatch, caplog):
    hashed = []

    def counted(folder, leave_out=None):
        hashed.append(folder.name)
        return find_damage(folder)

    monkeypatch.setattr("ddim_jax.checkpoints.steps.find_damage", counted)
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

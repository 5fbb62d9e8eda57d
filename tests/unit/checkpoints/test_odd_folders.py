"""Folders that are not what they seem: patterns in a path, links, disks that are away, manifests made again."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import tensorstore
from checkpoint_state import fill, flip, make_state, template

from ddim_jax.checkpoints import CheckpointStore, folders
from ddim_jax.checkpoints import steps as steps_module
from ddim_jax.checkpoints import store as store_module
from ddim_jax.checkpoints.manifest import find_damage, manifest_digest, read_verified, recorded_digest, write_manifest
from ddim_jax.runtime.errors import CheckpointError, InputError


@pytest.mark.parametrize("name", ["run[seed=1]", "run*", "run?", "back\\slash"])
def test_a_path_that_would_be_taken_for_a_pattern_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"cannot be kept in a path with .*choose another --workdir"):
        fill(CheckpointStore(tmp_path / name / "checkpoints"), {1: 0.5})
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["run#1%20 {c,d}", "lung ü@x:y&z=1 ~"])
def test_other_characters_do_no_harm(name, store, tmp_path):
    shutil.move(store.directory, tmp_path / name / "checkpoints")
    moved = CheckpointStore(tmp_path / name / "checkpoints")
    fill(moved, {40: 0.7})
    assert moved.restore(template()).step == 40
    assert moved.restore_params("best").params["ema"]["w"][0, 0] == 10


def test_what_was_saved_is_opened_before_its_manifest_is_written(tmp_path, monkeypatch):
    """Without the refusal of its path, Orbax saves what nobody can read."""
    monkeypatch.setattr(store_module, "check_path", lambda directory: None)
    store = CheckpointStore(tmp_path / "run[1]" / "checkpoints")
    with pytest.raises(CheckpointError, match=r"run\[1\]/checkpoints/5: it was saved but it cannot be read"):
        fill(store, {5: 0.5})
    assert store.steps() == []


def test_a_disk_that_is_away_is_no_run_that_was_never_begun(store, tmp_path):
    disk = store.directory.rename(tmp_path / "disk")
    store.directory.symlink_to(disk)
    assert CheckpointStore(store.directory).steps() == [10, 20, 30]
    disk.rename(tmp_path / "away")
    for act in (
        lambda one: one.steps(),
        lambda one: one.newest_intact(),
        lambda one: one.restore_params("best"),
        lambda one: fill(one, {40: 0.1}),
    ):
        with pytest.raises(CheckpointError, match=rf"checkpoints: a link to {disk}, cannot be opened .*Is a disk away"):
            act(CheckpointStore(store.directory))
    assert not disk.exists()


def test_the_newest_step_is_a_link_to_a_disk_that_is_away(store, tmp_path):
    kept = (store.directory / "30").rename(tmp_path / "30")
    (store.directory / "30").symlink_to(kept)
    assert CheckpointStore(store.directory).newest_intact() == 30
    kept.rename(tmp_path / "away")
    with pytest.raises(CheckpointError, match=rf"checkpoints/30: a link to {kept}, cannot be opened"):
        CheckpointStore(store.directory).newest_intact()


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("orbax_fails", [False, True])
def test_a_folder_that_is_moved_gets_no_checkpoint(turn, orbax_fails, store, monkeypatch):
    calls = []

    def check_place():
        calls.append(sorted(path.name for path in store.directory.iterdir()))
        if len(calls) == turn:
            raise InputError("moved")

    def fails(tree):
        raise ValueError("as Orbax does where its folder is away")

    if orbax_fails:
        monkeypatch.setattr(store_module, "small_by_one", fails)
    with pytest.raises(InputError, match=r"^moved$"):
        store.save(40, state=make_state(40), ema_params={"w": np.zeros(3)}, metadata={}, check_place=check_place)
    assert len(calls) == turn and calls[0] == ["10", "20", "30"]
    assert ("40" in calls[-1]) is (turn == 2 and not orbax_fails)
    assert store.steps() == [10, 20, 30]


def test_what_cannot_be_checked_since_the_folder_went_away_is_told_so(store, monkeypatch):
    calls = []

    def check_place():
        calls.append(1)
        if len(calls) == 3:
            raise InputError("moved")

    def fails(*_, **__):
        raise CheckpointError("it was saved but it cannot be read")

    monkeypatch.setattr(store_module, "check_written", fails)
    with pytest.raises(InputError, match=r"^moved$"):
        store.save(40, state=make_state(40), ema_params={"w": np.zeros(3)}, metadata={}, check_place=check_place)
    assert store.steps() == [10, 20, 30]


def test_of_an_old_step_in_an_archive_the_link_alone_is_removed(store, tmp_path):
    archive = (store.directory / "20").rename(tmp_path / "archive")
    (store.directory / "20").symlink_to(archive)
    assert store.restore(template(), 20).step == 20
    fill(store, {40: 0.1})
    assert store.steps() == [10, 30, 40] and not os.path.lexists(store.directory / "20")
    assert find_damage(archive) == []
    (archive / "manifest.json").unlink()  # what looks interrupted is removed in the same way
    (store.directory / "20").symlink_to(archive)
    fill(store, {50: 0.1})
    assert not os.path.lexists(store.directory / "20") and (archive / "state").is_dir()


@pytest.mark.parametrize("inside", ["state", "metadata/metadata", "manifest.json", "new"])
def test_links_inside_a_step_are_refused(inside, store, tmp_path, caplog):
    path = store.directory / "30" / inside
    if inside == "new":
        path.symlink_to("state")
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    assert store.restore(template()).step == 20
    assert f"30 is damaged: {inside}: " in caplog.text and "symbolic link" in caplog.text


def made_again(folder, change):
    """The manifest of `folder` after `change` to its records, with a digest that agrees."""
    records = json.loads((folder / "manifest.json").read_text())["files"]
    change(records)
    own = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
    text = json.dumps({"files": records, "sha256": own}, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text)


ODD_RECORDS = {
    "no dict": lambda records: records.update({"metrics/metrics": [1]}),
    "none": lambda records: records.update({"metrics/metrics": None}),
    "no length": lambda records: records["metrics/metrics"].pop("bytes"),
    "no digest": lambda records: records["metrics/metrics"].pop("sha256"),
    "a text for a length": lambda records: records["metrics/metrics"].update(bytes="12"),
    "a number for a digest": lambda records: records["metrics/metrics"].update(sha256=7),
    "a negative length": lambda records: records["metrics/metrics"].update(bytes=-1),
    "one thing more": lambda records: records["metrics/metrics"].update(more=1),
    "an endless file": lambda records: records.update({"/dev/zero": records["metrics/metrics"]}),
    "a file above": lambda records: records.update({"../10/metrics/metrics": records["metrics/metrics"]}),
    "no name": lambda records: records.update({"": records["metrics/metrics"]}),
    "a name with a null": lambda records: records.update({"a\0b": records["metrics/metrics"]}),
    "a name that writes on the terminal": lambda records: records.update({"\x1b[2J": records["metrics/metrics"]}),
}


@pytest.mark.parametrize("kind", ODD_RECORDS)
def test_odd_records_of_a_manifest_made_again_are_damage(kind, store, caplog):
    made_again(store.directory / "30", ODD_RECORDS[kind])
    assert store.restore_params("latest").step == 20
    assert "30 is damaged: manifest.json: not a readable manifest" in caplog.text and "\x1b" not in caplog.text


@pytest.mark.parametrize(
    "content", [[], None, 3, "x", {"files": [1]}, {"files": None}, {"files": {"a": 1}, "sha256": 1}]
)
def test_a_manifest_of_another_form_is_damage(content, store):
    (store.directory / "30" / "manifest.json").write_text(json.dumps(content))
    assert store.restore_params("latest").step == 20


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_keeps_a_reader_waiting_is_not_read(make, store, caplog):
    for name in ("metrics/metrics", "metadata/metadata", "manifest.json"):
        path = store.directory / "30" / name
        before = path.read_bytes()
        path.unlink()
        make(path)
        assert store.restore_params("best").step == 10
        assert store.restore_params("latest").step == 20
        assert f"30 is damaged: {name}: " in caplog.text or name == "manifest.json"  # without it, it was interrupted
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(before)
    assert store.restore_params("latest").step == 30


def test_scores_that_are_none_are_named_and_never_the_best(store, caplog):
    path = store.directory / "30" / "metrics/metrics"
    numbers = ('"0.9"', "null", "NaN", "1e999", "[1]", "true", "9" * 5000)
    for scores in ("", "[]", "null", "\ud800", "[" * 9999, *(f'{{"dice": {number}}}' for number in numbers)):
        path.write_bytes(scores.encode("utf-8", "surrogatepass"))
        write_manifest(store.directory / "30")
        caplog.clear()
        assert store.restore_params("best").step == 10
        assert "30 is damaged: metrics/metrics: not the scores of a step" in caplog.text
    fill(store, {40: 0.2})
    assert store.steps() == [10, 20, 40] and (store.directory / "30.damaged").is_dir()


def test_a_file_that_is_read_whole_has_to_be_small(store, monkeypatch):
    monkeypatch.setattr("ddim_jax.checkpoints.manifest._LARGEST", 20)
    content, problem = read_verified(store.directory / "30", "metrics/metrics")
    assert content is None and problem == "manifest.json: more than 20 bytes; not a readable manifest"


def test_a_state_in_one_huge_piece_is_not_read(store):
    folder = store.directory / "30"
    files = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/state/"}).result()
    about = json.loads(files.read("params.conv.kernel/.zarray").result().value)
    files.write(
        "params.conv.kernel/.zarray", json.dumps(about | {"chunks": [2**10, 2**10, 2**10, 1]}).encode()
    ).result()
    write_manifest(folder)
    with pytest.raises(CheckpointError, match=r"params.conv.kernel has 144 numbers and .* pieces of 1,073,741,824"):
        store.restore(template())


@pytest.mark.parametrize("which", ["latest", "best"])
def test_a_step_removed_while_it_is_read_is_no_damage(which, store, monkeypatch, caplog):
    """A training saves two steps and removes the one that is being read, at two moments of reading."""
    read = store_module.read_params
    turns = iter((40, 50))

    def removed_meanwhile(folder):
        step = next(turns, None)
        if step is not None:
            fill(CheckpointStore(store.directory, keep_latest=1), {step: 0.9 + step / 1000})
        return read(folder)

    monkeypatch.setattr(store_module, "read_params", removed_meanwhile)
    found = store.restore_params(which)
    assert found.step == 50 and found.params["ema"]["w"][0, 0] == 50
    assert found.digest == recorded_digest(store.directory / "50", "ema_params")
    assert "damaged" not in caplog.text


def test_a_step_removed_while_it_is_verified_is_no_damage(store, monkeypatch, caplog):
    find, begun = steps_module.find_damage, []

    def removed_meanwhile(folder, leave_out=None):
        if not begun:
            begun.append(folder.name)
            for step in (20, 30):
                folders.remove(store.directory / str(step))
        return find(folder, leave_out)

    monkeypatch.setattr(steps_module, "find_damage", removed_meanwhile)
    assert store.restore_params("latest").step == 10
    assert begun == ["30"] and "damaged" not in caplog.text


def test_a_step_asked_for_by_number_and_removed_meanwhile_is_said_so(store, monkeypatch):
    def removed(folder):
        folders.remove(folder)
        raise CheckpointError(f"{folder}: gone")

    monkeypatch.setattr(store_module, "read_params", removed)
    with pytest.raises(CheckpointError, match="30: gone"):
        store.restore_params(30)


def test_a_required_manifest_pins_the_checkpoint(store):
    digest = manifest_digest(store.directory / "20")
    assert digest == hashlib.sha256((store.directory / "20/manifest.json").read_bytes()).hexdigest()
    assert store.restore_params(20, digest).step == store.restore_params(20, digest.upper()).step == 20
    best = manifest_digest(store.directory / "10")
    with pytest.raises(CheckpointError, match=f"10: the SHA-256 of its manifest is {best}, not {digest} as required"):
        store.restore_params("best", digest)
    with pytest.raises(InputError, match="the SHA-256 is 'abc'; expected 64 hexadecimal digits"):
        store.restore_params(20, "abc")
    flip(next((store.directory / "20/ema_params").rglob("d/*")))  # a forger makes the manifest again
    write_manifest(store.directory / "20")
    assert find_damage(store.directory / "20") == []
    with pytest.raises(CheckpointError, match="as required"):
        store.restore_params(20, digest)


def test_weights_that_are_not_those_saved_get_no_manifest(tmp_path, monkeypatch):
    save = store_module.small_by_one
    monkeypatch.setattr(
        store_module, "small_by_one", lambda tree: {"w": np.zeros(3)} if type(tree) is dict else save(tree)
    )
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointError, match=r"ema.w: only in this model \(float32\[2, 3\]\)"):
        fill(store, {1: 0.5})
    assert store.steps() == []

"""Every kind of damage to every file is named; nothing else is."""

import errno
import json
import os
from pathlib import Path

import pytest

from ddim_jax.checkpoints.manifest import find_damage, is_complete, read_verified, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "a.json").write_text('{"x": 1}')
    (tmp_path / "state" / "weights").write_bytes(bytes(range(256)) * 3)
    (tmp_path / "state" / "d" / "empty").write_bytes(b"")
    write_manifest(tmp_path)
    return tmp_path


def test_records_length_and_sha256_of_every_file(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["state/d/empty"] == {
        "bytes": 0,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # SHA-256 of nothing
    }
    assert {name: record["bytes"] for name, record in manifest["files"].items()} == {
        "a.json": 8,
        "state/weights": 768,
        "state/d/empty": 0,
    }
    assert is_complete(folder) and find_damage(folder) == []


def test_flipped_bit_is_named(folder):
    content = bytearray((folder / "state" / "weights").read_bytes())
    content[500] ^= 1
    (folder / "state" / "weights").write_bytes(content)
    (problem,) = find_damage(folder)
    assert problem.startswith("state/weights: content changed")


def test_all_problems_are_reported_at_once(folder):
    (folder / "a.json").write_text('{"x":')
    (folder / "state" / "weights").unlink()
    (folder / "state" / "extra").write_bytes(b"?")
    assert find_damage(folder) == [
        "a.json: 5 bytes, expected 8",
        "state/weights: missing",
        "state/extra: not in the manifest",
    ]


def test_a_file_replaced_by_a_folder_is_damage(folder):
    (folder / "a.json").unlink()
    (folder / "a.json").mkdir()
    (problem,) = find_damage(folder)
    assert problem.startswith("a.json: cannot be read")


def test_every_byte_of_the_manifest_counts(folder):
    path = folder / "manifest.json"
    original = path.read_bytes()
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        path.write_bytes(changed)
        (problem,) = find_damage(folder)
        assert problem.startswith("manifest.json: "), position
    path.write_bytes(original[:-1])
    assert find_damage(folder) == ["manifest.json: changed after it was written"]
    for text in ("[" * 100_000, "[]", '{"files": []}', "null"):
        path.write_text(text)
        assert find_damage(folder)[0].startswith("manifest.json: "), text[:20]
    path.unlink()
    assert not is_complete(folder)
    assert find_damage(folder)[0].startswith("manifest.json: missing")


def test_what_a_file_browser_leaves_is_not_damage(folder):
    (folder / "state" / ".DS_Store").write_bytes(b"view settings")
    (folder / "state" / "._weights").write_bytes(b"attributes")  # macOS, on a share
    assert find_damage(folder) == []


def test_read_verified_gives_content_only_if_it_is_as_written(folder):
    assert read_verified(folder, "a.json") == (b'{"x": 1}', None)
    assert read_verified(folder, "not/listed") == (None, None)
    (folder / "a.json").write_text('{"x": 2}')
    content, problem = read_verified(folder, "a.json")
    assert content is None and problem.startswith("a.json: content changed")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks the system for the names of open files")
def test_everything_is_flushed_before_the_manifest_appears(folder, monkeypatch):
    """Seen by what the file descriptors stand for: a power cut after the manifest must find what it vouches for."""
    flushed, real = [], os.fsync

    def watched(descriptor):
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    (folder / "manifest.json").unlink()
    monkeypatch.setattr(os, "fsync", watched)
    write_manifest(folder)
    names = {"a.json", "state/weights", "state/d/empty", ".", "state", "state/d", ".."}
    new = next(place for place, path in enumerate(flushed) if ".partial" in path.name)
    assert {(folder / name).resolve() for name in names} <= set(flushed[:new])
    assert flushed[new + 1 :] == [folder]  # and so is its name
    assert find_damage(folder) == []


def test_a_disk_that_fails_on_flushing_gets_no_manifest(folder, monkeypatch):
    def failing(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    (folder / "manifest.json").unlink()
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        write_manifest(folder)
    assert not is_complete(folder)

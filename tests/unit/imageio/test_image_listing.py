"""The images of a folder; none is passed over in silence."""

import os
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import ct_slice
from PIL import Image

from ddim_jax.data.discovery import all_images
from ddim_jax.imageio import images, listing
from ddim_jax.runtime.errors import DataError

GREY = np.array([[0, 10, 20], [100, 200, 255]], np.uint8)


def saved(path):
    Image.fromarray(GREY).save(path)
    return path


def test_list_images(tmp_path):
    for name in ["b.PNG", "a.jpg", "sub/c.tif", "sub/deep/d.bmp", "notes.txt", ".hidden.png", ".cache/e.png", "x.dat"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    names = [str(path.relative_to(tmp_path)) for path in listing.list_images(tmp_path)]
    assert names == ["a.jpg", "b.PNG", "sub/c.tif", "sub/deep/d.bmp"]
    assert listing.list_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    assert listing.list_images(f"{tmp_path}/sub/*") == [tmp_path / "sub/c.tif"]
    assert listing.list_images(f"{tmp_path}/**/*.bmp") == [tmp_path / "sub/deep/d.bmp"]
    with pytest.raises(DataError, match=r"nowhere: no such file or folder"):
        listing.list_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"glob .*\*\.gif matches no images"):
        listing.list_images(f"{tmp_path}/*.gif")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"folder .*none holds no images"):
        listing.list_images(tmp_path / "none")


def test_folders_of_the_system_are_left_out(tmp_path):
    for name in ("a.png", "lost+found/b.png", "__MACOSX/c.png", "System Volume Information/d.png", "lost/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        saved(tmp_path / name)
    assert listing.list_images(tmp_path) == [tmp_path / "a.png", tmp_path / "lost/e.png"]
    assert all_images(tmp_path) == [tmp_path / "a.png", tmp_path / "lost/e.png"]


def test_a_link_to_nothing_is_not_passed_over(tmp_path):
    saved(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "c.png").mkdir()
    assert listing.list_images(tmp_path) == [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(DataError, match=r"b\.png: cannot be read \(No such file"):
        images.read_image(tmp_path / "b.png")


def linked(root):
    """A folder with links to files and folders of every kind; the images that are found in it."""
    for name in ("in/a.png", "in/sub/b.png", "elsewhere/c.png", "elsewhere/deep/d.png", "other/e.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        saved(root / name)
    links = {
        "in/file.png": "../elsewhere/c.png",
        "in/.hidden": "../other",
        "in/linked": "../elsewhere",
        "elsewhere/back": "../in",  # a loop, from there
        "in/again": "sub",
        "in/inner": "../elsewhere/deep",
        "in/sub/up": "..",
        "in/whole": "..",  # whose other folders nobody has asked for
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    return [root / "in" / name for name in ("a.png", "file.png", "inner/d.png", "linked/c.png", "sub/b.png")]


def test_links_are_followed_but_into_what_is_searched_already(tmp_path, caplog):
    found = linked(tmp_path)
    assert listing.list_images(tmp_path / "in") == found == all_images(tmp_path / "in")
    assert listing.list_images(f"{tmp_path}/in/**/*.png") == found
    assert listing.list_images(f"{tmp_path}/in/**/?.png") == [file for file in found if file.name != "file.png"]
    assert listing.list_images(f"{tmp_path}/in/**/s*/**/*.png") == [tmp_path / "in/sub/b.png"]
    lines = [record.getMessage() for record in caplog.records]
    left_out = ", ".join(f"{tmp_path}/in/{name}" for name in ("again", "linked/back", "sub/up", "whole"))
    assert lines == [
        f"{tmp_path}/in: 4 links to folders are not followed, leading into a folder that is searched already, "
        f"or back up: {left_out}"
    ]
    (tmp_path / "in/inner").unlink()  # which comes before the folder that it lies in
    found[2:4] = [tmp_path / "in/linked" / name for name in ("c.png", "deep/d.png")]
    assert listing.list_images(tmp_path / "in") == found
    back = [tmp_path / "in/linked/back" / name for name in ("a.png", "file.png", "sub/b.png")]
    assert listing.list_images(tmp_path / "in/linked") == [*back, *found[2:4]]


def test_no_order_of_names_loses_what_lies_above_another_linked_folder(tmp_path):
    for name in ("pool/b.png", "pool/sub/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        saved(tmp_path / name)
    for first, second, found in (
        ("pool/sub", "pool", ["x/a.png", "y/b.png"]),
        ("pool", "pool/sub", ["x/b.png", "x/sub/a.png"]),
    ):
        place = tmp_path / f"of_{len(first)}"
        place.mkdir()
        (place / "x").symlink_to(tmp_path / first)
        (place / "y").symlink_to(tmp_path / second)
        assert listing.list_images(place) == [place / name for name in found]


def test_a_glob_searches_the_folders_alone_that_it_matches(tmp_path, monkeypatch):
    for name in ("pool/p.png", "x/c/deep/q.png", "locked/r.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        saved(tmp_path / name)
    for name in "ab":
        (tmp_path / "x" / name).symlink_to(tmp_path / "pool")
    scandir = listing.os.scandir

    def closed(path):
        assert "locked" not in os.fspath(path)
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", closed)
    assert listing.list_images(f"{tmp_path}/x*/b*/**/*.png") == [tmp_path / "x/b/p.png"]
    assert listing.list_images(f"{tmp_path}/x/*/../c/**/*.png") == [tmp_path / "x/c/../c/deep/q.png"]
    monkeypatch.chdir(tmp_path / "x")
    assert listing.list_images("**/q.png") == [Path("c/deep/q.png")]
    assert listing.list_images("./c/**/*.png") == [Path("c/deep/q.png")]


def test_what_cannot_be_looked_at_is_not_passed_over(tmp_path, monkeypatch):
    saved(tmp_path / "a.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "text").symlink_to("text")
    assert listing.list_images(tmp_path) == [tmp_path / "a.png", tmp_path / "loop.png"]
    assert listing.list_images(f"{tmp_path}/l*.png") == listing.list_images(tmp_path / "loop.png")
    with pytest.raises(DataError, match=r"loop\.png: cannot be read \(Too many levels"):
        images.read_image(tmp_path / "loop.png")
    with pytest.raises(OSError, match="Too many levels"):
        listing.list_images(tmp_path / "text")

    # As in a folder without x: its names are seen, nothing else is. Root may do all, so the refusal is played.
    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    for ask in ("stat", "lstat"):
        monkeypatch.setattr(listing.os, ask, closed)
    assert listing.list_images(tmp_path / "a.png") == [tmp_path / "a.png"]
    assert listing.list_images(f"{tmp_path}/a*.png") == [tmp_path / "a.png"]
    with pytest.raises(PermissionError):
        listing.list_images(tmp_path / "text")


def test_a_folder_that_may_not_be_read_is_not_passed_over(tmp_path, monkeypatch):
    """Root may read everything, so the refusal of the system is played."""
    scandir = listing.os.scandir

    def closed(path):
        if Path(path).name in ("locked", ".hidden"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    saved(tmp_path / "a.png")
    (tmp_path / ".hidden").mkdir()
    monkeypatch.setattr(listing.os, "scandir", closed)
    assert listing.list_images(tmp_path) == [tmp_path / "a.png"]
    (tmp_path / "sub" / "locked").mkdir(parents=True)
    with pytest.raises(DataError, match=r"sub/locked: the folder cannot be read \(Permission denied\)"):
        listing.list_images(tmp_path)


def test_a_folder_inside_a_hidden_one_and_one_with_brackets_are_searched(tmp_path):
    folder = tmp_path / ".runs" / "set [1]"
    folder.mkdir(parents=True)
    saved(folder / "x.png")
    assert listing.list_images(folder) == [folder / "x.png"]


def test_pipes_and_sockets_are_no_pictures(tmp_path, monkeypatch):
    """Reading a pipe would wait for ever."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is a pipe, a device or a socket; copy what it gives into a file"):
        listing.list_images(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"null: is a pipe, a device or a socket"):
        listing.list_images("/dev/null")
    saved(tmp_path / "b.png")
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("c.jpg")
        passed_over = []
        assert list(listing.iterate_images(tmp_path, passed_over.append)) == [tmp_path / "b.png"]
        assert sorted(map(listing.kind_of, passed_over)) == [
            ".jpg (a pipe, a device or a socket)",
            ".png (a pipe, a device or a socket)",
        ]
        for name in ("a.png", "c.jpg"):
            with pytest.raises(DataError, match=rf"{name}: is no regular file \(a pipe, a device or a socket\)"):
                images.read_image(tmp_path / name)


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    for name in ("a.xyz", "b.XYZ", "notes"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no images \(but other files: no suffix 1, \.xyz 2\); expected files"):
        listing.list_images(tmp_path)


def test_dicom_files_of_other_suffixes(tmp_path):
    """Siemens exports .IMA; other suffixes are asked for their content where a file is given by itself."""
    shown = []
    for name in ("PAT.CT.1.IMA", "PAT.CT.1.img", "a.dcm"):
        ct_slice(tmp_path / name, np.arange(12).reshape(3, 4))
        shown.append(images.read_image(tmp_path / name))
        assert listing.list_images(tmp_path / name) == [tmp_path / name]
    assert (shown[0] == shown[2]).all() and (shown[1] == shown[2]).all() and shown[2].max() == 255
    assert listing.list_images(tmp_path) == [tmp_path / "PAT.CT.1.IMA", tmp_path / "a.dcm"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "PAT.CT.1.IMA", "1/PAT.CT.1.IMA")
    assert listing.list_images(tmp_path / "x.zip") == [tmp_path / "x.zip/1/PAT.CT.1.IMA"]


def test_a_pipe_of_an_unknown_suffix_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.img")
    with pytest.raises(DataError, match=r"x\.img: is no regular file"):
        images.read_image(tmp_path / "x.img")

"""Files of packed weights that are damaged, of another kind, or made to do harm."""

import os

import numpy as np
import pytest
from packed_parts import flipped, parts, put

from ddim_jax.checkpoints import packed
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.errors import CheckpointError


def _cut(header, body):
    return header, body[:-4]


def _longer(header, body):
    return header, body + b"\0"


def _said(name, value):
    def change(header, body):
        header["__metadata__"][name] = value
        return header, body

    return change


def _foreign(header, body):
    del header["__metadata__"]
    return header, body


def _wide(header, body):
    header["conv_in.bias"] |= {"dtype": "BF16"}
    return header, body


def _far(header, body):
    header["conv_in.bias"] |= {"data_offsets": [0, 10**15]}
    return header, body


@pytest.mark.parametrize(
    "change, told",
    [
        (_cut, r"bytes, its header speaks of [0-9,]+; copy the file again, to the end"),
        (_longer, r"bytes, its header speaks of [0-9,]+; copy the file again, to the end"),
        (_far, r"its header speaks of 1,000,000,\d{3},\d{3}"),
        (flipped, r"changed after it was packed .*; copy the file again"),
        (_said("config", "{}"), r"changed after it was packed"),
        (_said("terms", "anything goes"), r"changed after it was packed"),
        (_said("format_version", "2"), r"its format is 2, expected 1; upgrade ddim_jax to read it"),
        (_said("format_version", "x"), r"its format is x, expected 1; make one with"),
        (_foreign, r"holds weights without a configuration of this package; make one with .*init_from"),
        (_wide, r"conv_in.bias is BF16, expected float32 or float16"),
    ],
)
def test_a_file_that_is_not_as_it_was_packed_is_refused_by_name(file, tmp_path, change, told):
    path = put(tmp_path / "bad.safetensors", *change(*parts(file)))
    with pytest.raises(CheckpointError, match=rf"bad\.safetensors: .*{told}") as caught:
        Segmenter.from_pretrained(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + bytes(99), b"\xff" * 64, b"\x80\x04\x95", b"text\n" * 9])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: no file of packed weights; make one with"):
        Segmenter.from_pretrained(path)


def test_a_file_cut_within_its_header_is_told_so(file, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(file.read_bytes()[:60])
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: ends within its header; copy the file again"):
        Segmenter.from_pretrained(path)


def test_weights_that_are_not_finite_are_refused(file, tmp_path, forged, monkeypatch):
    params = packed.read_packed(file).params
    params["conv_in"]["bias"] = np.full_like(params["conv_in"]["bias"], np.nan)
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in conv_in.bias"):
        forged(params)
    check = packed._check_finite
    monkeypatch.setattr(packed, "_check_finite", lambda *_: None)
    path = forged(params)
    monkeypatch.setattr(packed, "_check_finite", check)
    with pytest.raises(
        CheckpointError, match=r"bad\.safetensors: NaN or infinite weights in conv_in.bias; pack another"
    ):
        Segmenter.from_pretrained(path)


def test_weights_of_another_shape_are_named(file, forged):
    params = packed.read_packed(file).params
    params["conv_in"]["kernel"] = params["conv_in"]["kernel"][..., :4]
    with pytest.raises(CheckpointError, match=r"bad\.safetensors .*conv_in.kernel: float32\[3, 3, 4, 4\] in the check"):
        Segmenter.from_pretrained(forged(params))


def test_a_config_that_cannot_work_is_named(forged):
    path = forged(model={"name": "transformer", "preset": None, "overrides": {}})
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: .*'transformer'"):
        Segmenter.from_pretrained(path)


def test_modules_that_a_file_names_are_not_imported(forged, tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("open('ran', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: needs the modules harmful, .*--plugins harmful"):
        Segmenter.from_pretrained(forged(plugins=["harmful"]))
    assert not os.path.exists("ran")

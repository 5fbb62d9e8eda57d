"""Uploads that mean harm, or that went wrong: one clear sentence each, nothing executed, no name told."""

import gzip
import io
import logging
import struct
import time
import zipfile
import zlib

import nibabel
import numpy as np
import pytest
from hostile_bodies import BODIES, SCRIPT, chunk, dicom, saved
from PIL import Image
from served import half, network, png
from starlette.testclient import TestClient

from ddim_jax.serve import app as app_module
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.network import ServedNetwork

SECRET = "Secret^Name"


def png_that_claims(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def dicom_with(tmp_path, tag, value):
    """A slice with other bytes in an attribute of two bytes."""
    data, place = dicom(tmp_path), struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"US\2\0"
    assert data.count(place) == 1
    start = data.index(place) + len(place)
    return data[:start] + struct.pack("<H", value) + data[start + 2 :]


def nifti(shape=(8, 6, 3), packed=True, claims=None):
    image = nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4))
    data = bytearray(image.to_bytes())
    if claims:
        data[40:48] = struct.pack("<4h", 3, *claims)
    return gzip.compress(bytes(data), 1) if packed else bytes(data)


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name.replace("__", "/"), data)
    return file.getvalue()


def a_picture(tmp_path):
    return png(half())


def tiff_pages(tmp_path):
    pages = [Image.fromarray(half(k)) for k in range(3)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    return file.getvalue()


REFUSED = {
    "nothing": (lambda at: b"", 422),
    "noise": (lambda at: np.random.default_rng(1).bytes(5000), 415),
    "a page": (lambda at: f"<html>{SCRIPT}</html>".encode(), 415),
    "a drawing with a script": (lambda at: f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'.encode(), 415),
    "an animation": (lambda at: saved("GIF"), 415),
    "a program": (lambda at: b"\x7fELF" + bytes(200), 415),
    "a pickle": (lambda at: b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR.", 415),
    "a cut PNG": (lambda at: saved("PNG")[:900], 422),
    "a cut JPEG": (lambda at: saved("JPEG")[:500], 422),
    "a cut TIFF": (lambda at: saved("TIFF")[:500], 422),
    "a cut BMP": (lambda at: saved("BMP")[:500], 422),
    "a PNG with a flipped byte": (
        lambda at: (lambda data: data[:70] + bytes([data[70] ^ 9]) + data[71:])(saved("PNG")),
        422,
    ),
    "a bomb of 4 billion pixels": (lambda at: png_that_claims(65000, 65000), 422),
    "a bomb of 80 million pixels": (lambda at: png_that_claims(10000, 8000), 413),
    "no pixels": (lambda at: png_that_claims(0, 10), 422),
    "pages": (tiff_pages, 422),
    "a cut DICOM": (lambda at: dicom(at)[:700], 422),
    "a DICOM that is cut in its pixels": (lambda at: dicom(at)[:-50], 422),
    "a DICOM of 4 billion pixels": (lambda at: dicom_with(at, 0x00280010, 65535), 422),
    "a DICOM without rows": (lambda at: dicom_with(at, 0x00280010, 0), 422),
    "a DICOM of 7 bits": (lambda at: dicom_with(at, 0x00280100, 7), 422),
    "a DICOM without a syntax": (lambda at: bytes(128) + b"DICM" + bytes(400), 422),
    "a report": (lambda at: dicom(at, Modality="SR"), 422),
    "a deflated DICOM bomb": (
        lambda at: (
            dicom(at).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0")[:400]
            + zlib.compress(bytes(2**25))[2:-4]
        ),
        422,
    ),
    "a cut NIfTI": (lambda at: nifti(packed=False)[:400], 422),
    "a NIfTI that cannot hold its values": (lambda at: nifti(claims=(8000, 8000, 30)), 422),
    "a NIfTI of many slices": (lambda at: nifti(claims=(512, 512, 1025)), 422),
    "gzip of something else": (lambda at: gzip.compress(bytes(10**6)), 422),
    "a cut gzip": (lambda at: nifti()[:60], 422),
    "a zip bomb": (lambda at: archive(**{"x.dcm": dicom(at) + bytes(2**23)}), 413),
    "a zip of many": (lambda at: archive(**{f"{k}.png": b"\x89PNG\r\n\x1a\n" for k in range(40)}), 413),
    "a zip in a zip": (lambda at: archive(**{"a.zip": archive(**{"x.dcm": dicom(at)})}), 422),
    "an empty zip": (lambda at: archive(), 415),
    "a cut zip": (lambda at: archive(**{"x.dcm": dicom(at)})[:-40], 422),
    "a zip of text": (lambda at: archive(**{"a.txt": b"x", f"{SECRET}.html": SCRIPT.encode()}), 422),
}
"""Bodies that are sent, and the status of each."""


@pytest.mark.parametrize(
    ("data", "found"),
    [(saved("GIF"), " (it is a GIF file)"), (b"<html>x</html>", " (it is a web page file)"), (b"noise" * 9, "")],
)
def test_what_an_upload_is_instead_is_told(shared, data, found):
    answer = shared.post("/segment", files={"file": (f"{SECRET}.png.txt", data)})
    expected = "expected PNG, JPEG, TIFF, BMP, DICOM, NIfTI or a zip."
    assert answer.json()["error"] == f"The file is of no kind that can be read{found}; {expected}"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("encrypted", "which is encrypted; unpack it first."),
        ("wrong sum", "which is damaged; copy it again."),
        ("two names", "which is damaged; copy it again."),
    ],
)
def test_a_member_that_cannot_be_unpacked_is_called_by_its_number(shared, kind, why, caplog):
    data = bytearray(archive(**{"a.png": saved("PNG"), f"{SECRET}__IM1.png": saved("PNG")}))
    header, entry = data.rindex(b"PK\3\4"), data.rindex(b"PK\1\2")
    if kind == "encrypted":
        data[header + 6] |= 1
        data[entry + 8] |= 1
    elif kind == "wrong sum":
        data[entry + 16] ^= 1  # in the words of zipfile: Bad CRC-32 for file 'Secret^Name/IM1.png'
    else:
        data[header + 30] ^= 32  # File name in directory 'Secret ... and header 'secret ... differ
    answer = shared.post("/segment", content=bytes(data))
    said = f"Member 1 of the archive cannot be read from its archive, {why}"  # capital letters come first
    assert answer.status_code == 422 and answer.json()["error"] == said
    assert "secret" not in caplog.text.lower()


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_sentence(shared, kind, tmp_path, caplog):
    make, status = REFUSED[kind]
    data, began = make(tmp_path), time.process_time()
    with caplog.at_level(logging.DEBUG):
        answer = shared.post("/segment", files={"file": (f"{SECRET}{SCRIPT}", data)})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json" and set(answer.json()) == {"status", "error"}
    said = answer.json()["error"]
    assert 10 < len(said) < 400 and "\n" not in said
    for word in ("Traceback", "/tmp", SECRET, "Secret", "script", "ddim-jax-serve"):
        assert word not in said
    assert SECRET not in caplog.text and "Traceback" not in caplog.text
    assert time.process_time() - began < 20
    assert shared.app.state.jobs.unfinished() == 0


def test_a_body_is_refused_as_a_form_is(shared):
    as_form = shared.post("/segment", files={"file": b"noise"})
    as_body = shared.post("/segment", content=b"noise")
    assert as_body.status_code == as_form.status_code == 415 and as_body.json() == as_form.json()


HARMLESS = (
    "a PNG of more rows than it says",
    "a PNG whose palette is missing",
    "a TIFF that leads to itself",
)
"""Bodies that may give a mask: nothing in them is harmful to this program."""


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_means_harm_does_none(shared, kind, tmp_path, caplog, recwarn):
    data, began = BODIES[kind](tmp_path), time.process_time()
    with caplog.at_level(logging.DEBUG):
        answer = shared.post("/segment", files={"file": (f"{SECRET}{SCRIPT}.png", data)})
    assert answer.headers["content-type"] == "application/json" and time.process_time() - began < 20
    if kind in HARMLESS or (answer.status_code == 200 and kind.startswith(("a NIfTI", "a DICOM"))):
        assert answer.status_code == 200 and answer.json()["networks"][0]["slices"]
    else:
        assert answer.status_code in (413, 415, 422) and set(answer.json()) == {"status", "error"}, answer.text
        assert 10 < len(answer.json()["error"]) < 400 and "\n" not in answer.json()["error"]
    # JAX tells where its programs are kept when it compiles one.
    own = (record for record in caplog.records if not record.name.startswith("jax"))
    said = "\n".join(map(caplog.handler.format, own))
    for word in ("Traceback", "/tmp", "Secret", "script", "ddim-jax-serve", "a fault of the program"):
        assert word not in answer.text + said
    assert shared.app.state.jobs.unfinished() == 0


@pytest.fixture(scope="module")
def shared():
    limits = Limits(upload_bytes=2**22, upload_files=30)
    with TestClient(app_module.create_app([network()], limits), raise_server_exceptions=True) as client:
        yield client


@pytest.mark.parametrize(
    "name",
    [
        f"{SCRIPT}.png",
        "../../etc/passwd.png",
        "a\nb\0.png",
        "x" * 3000 + ".png",
        "\u202egnp.exe",
        "CON",
        ".png",
        "/",
        "%00",
    ],
)
def test_a_name_does_nothing(shared, name):
    answer = shared.post("/segment", files={"file": (name, png(half()))})
    assert answer.status_code == 200 and "script" not in answer.text and "passwd" not in answer.text


def test_scripts_and_names_in_dicom_are_not_told(shared, tmp_path, caplog):
    data = dicom(tmp_path, PatientName=SCRIPT, StudyDescription=SCRIPT, SeriesDescription=SCRIPT, ProtocolName=SCRIPT)
    with caplog.at_level(logging.DEBUG):
        answer = shared.post("/segment", files={"file": ("x", data)})
        # Values that cannot be what they should be.
        broken = shared.post("/segment", content=dicom(tmp_path).replace(b"0.5\\0.75", b"<script>"))
    assert answer.status_code == 200 and broken.status_code in (200, 422)
    for text in (answer.text, broken.text, caplog.text):
        assert "script" not in text and "Secret" not in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({SCRIPT: "1"}, "expected some of steps, samples, seed, protocol"),
        ({"sampler": "ddpm"}, "expected some of steps, samples, seed, protocol"),
        ({"steps": "1000000"}, "steps is 1000000; this server takes 1 to 50"),
        ({"steps": "0"}, "steps is 0; this server takes 1 to 50"),
        ({"samples": "17"}, "samples is 17; this server takes 1 to 16"),
        ({"samples": "-1"}, "samples is -1; this server takes 1 to 16"),
        ({"samples": "9" * 4000}, "expected a whole number"),
        ({"samples": "2.5"}, "samples is '2.5'; expected a whole number"),
        ({"samples": "\u0662"}, "expected a whole number"),
        ({"seed": "1_0"}, "expected a whole number"),
        ({"threshold": "-0.1"}, "hreshold is -0.1"),
        ({"window": "0,0"}, "expected a centre and a width above 0"),
        ({"window": "1,2,3"}, "window"),
        ({"window": ","}, "as in 40,400"),
        ({"ensemble": "__class__"}, "nsemble is '__class__'"),
        ({"protocol": "mean\r\nX: y"}, "rotocol is"),
        ({"threshold": "nan"}, "threshold is nan"),
        ({"threshold": "1e999"}, "threshold is inf"),
        ({"threshold": SCRIPT}, "expected a number"),
        ({"seed": "-1"}, "seed is -1"),
        ({"seed": "9" * 5000}, "Part exceeded"),
        ({"window": "1"}, "window is (1.0,)"),
        ({"window": "a,b"}, "as in 40,400"),
        ({"window": "0,inf"}, "expected a centre and a width above 0"),
        ({"invert": "maybe"}, "expected true or false"),
        ({"protocol": "x"}, "protocol is 'x'"),
        ({"example": "1"}, "There are a file and an example"),
        ({"wait": ""}, "expected true or false"),
        ({f"f{k}": "x" for k in range(30)}, "Too many fields"),
    ],
)
def test_a_field_that_cannot_be_used(shared, fields, said):
    answer = shared.post("/segment", files={"file": png(half())}, data=fields)
    assert answer.status_code in (400, 422) and said in answer.json()["error"], answer.text


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nabc\r\n--x--", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b"example=99", "application/x-www-form-urlencoded"),
        (b"example=1&example", "application/x-www-form-urlencoded"),
        (b'{"example": 1}', "application/json"),
    ],
)
def test_a_damaged_form(shared, body, kind):
    answer = shared.post("/segment", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 415, 422) and answer.json()["error"], answer.text


def test_a_refusal_is_a_sentence_with_the_file_for_its_subject(shared, tmp_path):
    report = shared.post("/segment", content=dicom(tmp_path, Modality="SR"))
    assert report.json()["error"] == "The file is a report, no image."
    empty = shared.post("/segment", content=dicom(tmp_path, SamplesPerPixel=0))
    assert empty.json()["error"] == "The file: 0 values of 16 bits a pixel; expected 1 or 3 of 8, 16 or 32."


def test_pictures_that_do_not_belong_together(shared):
    sent = [("file", ("a.png", png(half()))), ("file", ("b.png", png(half(3))))]
    answer = shared.post("/segment", files=sent)
    assert answer.status_code == 422 and "holds 2 images" in answer.json()["error"]


def test_views_without_a_position_are_no_series_and_the_log_says_nothing_of_them(shared, tmp_path, caplog):
    nowhere = {"ImagePositionPatient": None}
    sent = [("file", (f"{k}.dcm", dicom(tmp_path, number=k, **nowhere))) for k in (1, 2)]
    answer = shared.post("/segment", files=sent)
    assert answer.status_code == 422
    assert "holds 2 DICOM files, some of which have no position in the patient" in answer.json()["error"]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert "position" not in caplog.text


@pytest.mark.parametrize("error", [KeyError(SECRET), ZeroDivisionError(SECRET), RecursionError(SECRET)])
def test_a_fault_of_the_program_is_told_without_what_is_in_a_file(shared, monkeypatch, caplog, error):
    def fail(*given):
        raise error

    monkeypatch.setattr(app_module, "segment", fail)
    with caplog.at_level(logging.DEBUG):
        answer = shared.post("/segment", content=png(half()))
    assert answer.status_code == 500 and SECRET not in answer.text + caplog.text
    assert type(error).__name__ in caplog.text and "test_hostile_uploads.py" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(ServedNetwork, "about", lambda self: {}[SECRET])
    assert shared.get("/about").status_code == 500 and SECRET not in caplog.text
    monkeypatch.undo()
    assert shared.get("/about").status_code == 200


def test_too_little_memory(shared, monkeypatch):
    def fail(*given):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(app_module, "segment", fail)
    assert shared.post("/segment", content=png(half())).status_code == 413

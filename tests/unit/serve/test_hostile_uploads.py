"""Uploads that mean harm, or that went wrong: one clear sentence each, nothing executed, no name told."""

import logging
import time

import pytest
from hostile_bodies import BODIES, SCRIPT, SECRET, archive, dicom, saved
from served import half, network, png
from starlette.testclient import TestClient

from ddim_jax.serve import app as app_module
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.network import ServedNetwork


@pytest.mark.parametrize(
    ("data", "found"),
    [(saved("GIF"), " (it is a GIF file)"), (b"<html>x</html>", " (it is a web page file)"), (b"\x7fELF" * 9, "")],
)
def test_what_an_upload_is_instead_is_told(shared, data, found):
    answer = shared.post("/segment", files={"file": (f"{SECRET}.png.txt", data)})
    assert answer.status_code == 415
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
    data = bytearray(archive(("a.png", saved("PNG")), (f"{SECRET}/IM1.png", saved("PNG"))))
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


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_means_harm_does_none(shared, kind, tmp_path, caplog):
    make, status = BODIES[kind]
    data, began = make(tmp_path), time.process_time()
    with caplog.at_level(logging.DEBUG):
        answer = shared.post("/segment", files={"file": (f"{SECRET}{SCRIPT}.png", data)})
    assert time.process_time() - began < 20
    assert answer.status_code == status and answer.headers["content-type"] == "application/json", answer.text
    if status == 200:
        assert answer.json()["networks"][0]["slices"]
    else:
        said = answer.json()["error"]
        assert set(answer.json()) == {"status", "error"} and 10 < len(said) < 400 and "\n" not in said
    # JAX tells where its programs are kept when it compiles one.
    own = (record for record in caplog.records if not record.name.startswith("jax"))
    log = "\n".join(map(caplog.handler.format, own))
    for word in ("Traceback", "/tmp", "Secret", "script", "ddim-jax-serve", "a fault of the program"):
        assert word not in answer.text + log
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
        ({"steps": "1000000"}, "steps is 1000000; this server takes 1 to 50"),
        ({"samples": "-1"}, "samples is -1; this server takes 1 to 16"),
        ({"samples": "9" * 4000}, "expected a whole number"),
        ({"samples": "\u0662"}, "expected a whole number"),
        ({"seed": "1_0"}, "expected a whole number"),
        ({"window": "0,0"}, "expected a centre and a width above 0"),
        ({"window": ","}, "as in 40,400"),
        ({"ensemble": "__class__"}, "nsemble is '__class__'"),
        ({"protocol": "mean\r\nX: y"}, "rotocol is"),
        ({"threshold": "nan"}, "threshold is nan"),
        ({"threshold": SCRIPT}, "expected a number"),
        ({"seed": "9" * 5000}, "Part exceeded"),
        ({"window": "1"}, "window is (1.0,)"),
        ({"invert": "maybe"}, "expected true or false"),
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

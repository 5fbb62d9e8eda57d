"""Bounds on what uploads and results take: memory, disk, time and the patience of others."""

import asyncio
import errno
import struct
import threading
import time
from types import SimpleNamespace

import pytest
from hostile_bodies import archive
from served import half, network, png, ready
from starlette.requests import Request

from ddim_jax.imageio import archives
from ddim_jax.inference import segmenter
from ddim_jax.inference.reading import Opened
from ddim_jax.serve import app, jobs, segmenting, uploads
from ddim_jax.serve.jobs import Jobs
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal


def hidden_entries(count):
    """An archive of nothing but entries of hidden files, whose end says that there is one."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0) + b".000001"
    return entry * count + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(entry) * count, 0, 0)


def test_a_zip_of_hundred_thousands_of_entries_is_refused_unread(serving):
    client = serving(upload_files=30)
    began = time.monotonic()
    answer = client.post("/segment", content=b"PK\3\4" + bytes(26) + hidden_entries(300_000))
    assert answer.status_code == 413 and "too many files; expected at most 30" in answer.json()["error"]
    assert time.monotonic() - began < 5  # parsed, it takes longer


def test_the_directory_of_an_archive_is_read_once(client, monkeypatch, tmp_path):
    data = archive(*((f"{number}.txt", b"x") for number in range(20)), ("a.png", png(half())))
    other = archive(("other.txt", b"y"))
    opened, made = [], archives.zipfile.ZipFile
    monkeypatch.setattr(archives.zipfile, "ZipFile", lambda *given: (opened.append(1), made(*given))[1])
    assert client.post("/segment", content=data).status_code == 200 and len(opened) == 1
    (tmp_path / "x.zip").write_bytes(data)
    for number in range(20):
        assert archives.open_binary(tmp_path / "x.zip" / f"{number}.txt").read() == b"x"
    assert len(opened) == 2
    (tmp_path / "x.zip").write_bytes(other)
    assert archives.open_binary(tmp_path / "x.zip" / "other.txt").read() == b"y"


def test_an_upload_that_was_removed_is_unpacked_no_further(tmp_path):
    (tmp_path / "0001.zip").write_bytes(archive(("a.png", png(half())), ("b.png", png(half()))))
    asked = []

    def check():
        asked.append(1)
        if len(asked) > 1:
            raise Refusal(410, jobs.GONE)

    with pytest.raises(Refusal, match="removed"):
        uploads.unpack(tmp_path, Limits(), check)
    assert [path.name for path in tmp_path.glob("*.png")] == ["0001_0001.png"]


def test_uploads_on_their_way_have_room_for_all_that_they_say(serving):
    with Jobs(Limits(kept_bytes=1000)) as served:
        first = served.create(300, client="a")
        with pytest.raises(Refusal, match="queue is full"):
            served.create(201)
        other = served.create(200)
        served.remove(other)
        served.remove(first)
        served.create(800)  # alone, a larger one is taken
    client = serving(kept_bytes=20_000)
    client.app.state.jobs.create(9_999)
    assert client.post("/segment", content=png(half())).status_code == 503


def test_many_that_send_nothing_take_no_place_of_those_that_wait(serving):
    client = serving(receiving=3, waiting=2)
    for _ in range(2):
        client.app.state.jobs.create(10)
    assert client.post("/segment", content=png(half())).status_code == 200
    client.app.state.jobs.create(10)
    assert client.post("/segment", content=png(half())).status_code == 503


def test_an_upload_that_stands_still_ends_and_a_slow_one_does_not(tmp_path):
    def receive(*parts):
        coming = iter(parts)

        async def next_part():
            if (part := next(coming, None)) is None:
                await asyncio.sleep(10)
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": part, "more_body": True} if part else {"type": "http.request"}

        request = Request({"type": "http", "method": "POST", "query_string": b"", "headers": []}, next_part)
        return asyncio.run(uploads.receive(request, tmp_path, Limits(idle_seconds=0.2)))

    image = png(half())
    with pytest.raises(Refusal, match=r"For 0\.2 seconds nothing of the upload came") as refused:
        receive(image[:50])
    assert refused.value.status_code == 408
    receive(*(image[place : place + 9] for place in range(0, len(image), 9)), b"")
    assert (tmp_path / "0001.png").read_bytes() == image


def test_a_full_disk_is_no_fault_of_the_program(client, monkeypatch, caplog):
    def fail(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "_keep", fail)
    received = client.post("/segment", files={"file": png(half())})
    monkeypatch.undo()
    monkeypatch.setattr(app, "segment", fail)
    segmented = client.post("/segment", content=png(half()))
    for answer in (received, segmented):
        assert answer.status_code == 503 and "no room for it on its disk" in answer.json()["error"]
        assert answer.headers["retry-after"] == "60"
    assert "fault" not in caplog.text


def finished(served, size, client=""):
    """Has an upload of 240 bytes end with a result of so many."""
    upload = served.create(240, client)
    (upload.folder / "in" / "0001.png").write_bytes(bytes(240))

    def work(upload):
        (upload.folder / "in" / "0001.png").unlink()
        upload.files = {"mask.png": bytes(size)}

    return upload, served.submit(upload, work)


def test_a_result_is_not_removed_because_others_wait(monkeypatch):
    with Jobs(Limits(kept_bytes=1000)) as served:
        gate = threading.Event()
        served.first(lambda: gate.wait(20))
        first, second = finished(served, 50, "a"), finished(served, 50, "b")
        with pytest.raises(Refusal, match="queue is full"):
            finished(served, 50)
        gate.set()
        for upload, ending in (first, second):
            ending.result(20)
            assert served.get(upload.id).files == {"mask.png": bytes(50)}


def test_young_results_stay_and_old_ones_make_room(monkeypatch):
    with Jobs(Limits(kept_bytes=1000)) as served:
        made = []
        for _ in range(3):
            upload, ending = finished(served, 300)
            ending.result(20)
            made.append(upload)
        assert not any(upload.removed for upload in made)  # 900 of 1000, all of them young
        upload, ending = finished(served, 300)
        ending.result(20)
        assert [one.removed for one in (*made, upload)] == [True, False, False, False]
        monkeypatch.setattr(jobs, "_SECONDS_TO_LOOK", -1.0)
        served.sweep()
        assert [one.removed for one in (*made, upload)] == [True, True, True, False]
        with pytest.raises(Refusal, match="or for want of room"):
            served.get(made[0].id)


def test_the_result_of_a_client_that_went_away_is_not_kept(serving, monkeypatch):
    client = ready(serving())
    begun, gate = threading.Event(), threading.Event()

    def slow(*given):
        begun.set()
        assert gate.wait(20)
        given[-1](1)

    monkeypatch.setattr(app, "segment", slow)

    sent = iter([{"type": "http.request", "body": png(half()), "more_body": False}])
    answered = []

    async def receive():
        if (message := next(sent, None)) is not None:
            return message
        await asyncio.to_thread(begun.wait, 20)
        return {"type": "http.disconnect"}

    async def send(message):
        answered.append(message)

    scope = {"type": "http", "method": "POST", "path": "/segment", "query_string": b"", "headers": [], "root_path": ""}
    client.portal.call(client.app, scope, receive, send)
    assert client.app.state.jobs.unfinished() == 0 and not answered
    gate.set()


def test_the_evaluations_of_an_upload_are_bounded(serving):
    client = serving(evaluations=7, samples=9)
    assert client.post("/segment?steps=1&samples=7", content=png(half())).status_code == 200
    refused = client.post("/segment?steps=2&samples=4", content=png(half()))
    assert refused.status_code == 413
    assert refused.json()["error"].startswith("2 steps x 4 samples x 1 slice are 8 evaluations of a network; expected")


def test_a_volume_is_bounded_by_its_reader_alone_and_an_image_with_words_what_to_do():
    volume = SimpleNamespace(count=1024)
    segmenting._check_size(Opened(512 * 512, volume), Limits())
    with pytest.raises(Refusal, match=r"has 40,000,000 pixels; .* ddim-jax sample takes larger ones") as refused:
        segmenting._check_size(Opened(40_000_000), Limits())
    assert refused.value.status_code == 413


def test_options_of_requests_neither_fill_the_memory_nor_the_log(serving, monkeypatch):
    served, warned = network(), []

    def load(own, options, *, warn):
        warned.append(warn)
        return None, f"/a/place is not used: threshold is {options.threshold} now and was 0.5. Make it anew"

    monkeypatch.setattr(segmenter, "load_calibration", load)
    monkeypatch.setattr(served.segmenter, "_calibrations", {})
    for number in range(70):
        for seed in (0, 1):
            served.segmenter.calibration(served.segmenter.options(seed=seed, threshold=number / 100))
    assert warned == [True] + [False] * 69 and len(served.segmenter._calibrations) == 64
    (result,) = serving([served]).post("/segment?threshold=0.31", content=png(half())).json()["networks"]
    assert (result["calibration"], result["not_calibrated"]) == (None, "threshold is 0.31 now and was 0.5")

"""The jobs of the server: many at once, a full queue, results that are removed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from segmenters import SIZE
from served import decoded, half, png
from starlette.testclient import TestClient

from ddim_jax.serve import app, jobs
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal


def test_twenty_uploads_at_once_from_ten_clients_are_not_mixed_up(client):
    clients = [TestClient(client.app, client=(f"10.0.0.{number}", 1)) for number in range(10)]
    for one in clients:
        one.portal = client.portal

    def send(number):
        client = clients[number % 10]
        rows = number % 15 + 1
        image = half(rows)
        image[0, 0] = 255, number, 0  # each its own
        answer = client.post("/segment", files={"file": ("same.png", png(image))}).json()
        (found,) = answer["networks"][0]["slices"]
        shown = decoded(client.get(found["files"]["picture"]).content)
        mask = decoded(client.get(found["files"]["mask"]).content)
        assert tuple(shown[0, 0]) == (255, number, 0)
        assert (mask > 0).sum() == found["classes"][0]["area"] == SIZE * rows
        return answer["id"]

    with ThreadPoolExecutor(20) as threads:
        assert len(set(threads.map(send, range(20)))) == 20


def test_clients_take_turns():
    with jobs.Jobs(Limits()) as served:
        gate, order = threading.Event(), []
        served.first(lambda: gate.wait(20))

        def send(name):
            upload = served.create(0, client=name[0])
            return upload, served.submit(upload, lambda upload: order.append(name))

        sent = {name: send(name) for name in ("a1", "a2", "a3", "a4", "b1", "c1", "c2")}
        expected = ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
        assert [served.before(sent[name][0]) for name in expected] == list(range(7))
        served.remove(sent["a3"][0])
        gate.set()
        sent["a4"][1].result(20)
        assert order == ["a1", "b1", "c1", "a2", "c2", "a4"] and sent["a3"][1].cancelled()
        # Whose last turn is longest ago is next, though others were here before, and though nothing of it is kept.
        for upload, _ in sent.values():
            served.remove(upload)
        gate.clear()
        order.clear()
        served.first(lambda: gate.wait(20))
        sent = {name: send(name) for name in ("a5", "c3", "b2", "d1")}
        gate.set()
        for _, ending in sent.values():
            ending.result(20)
        assert order == ["d1", "b2", "c3", "a5"]


def test_a_client_alone_may_take_all_places_and_all_room():
    with jobs.Jobs(Limits(waiting=4, receiving=4, kept_bytes=2000)) as served:
        gate = threading.Event()
        served.first(lambda: gate.wait(20))
        for size in (400, 350, 200, 50):  # of 1000 bytes
            upload = served.create(size, client="a")
        with pytest.raises(Refusal, match="queue is full"):
            served.create(client="b")
        served.remove(upload)
        with pytest.raises(Refusal, match="queue is full"):
            served.create(51, client="b")
        for upload in list(served._uploads.values()):
            served.submit(upload, lambda upload: None)
        served.submit(served.create(client="a"), lambda upload: None)
        with pytest.raises(Refusal, match="queue is full"):
            served.create(client="a")
        gate.set()


def test_a_full_queue_says_when_to_try_again(serving, monkeypatch):
    client = serving(waiting=2)
    gate = threading.Event()
    assert client.app.state.jobs.unfinished() == 0
    run = jobs.Jobs._run
    monkeypatch.setattr(jobs.Jobs, "_run", lambda *given: (gate.wait(20), run(*given)))
    links = [client.post("/segment?wait=false", content=png(half())).json()["links"]["self"] for _ in range(2)]
    assert client.get(links[1]).json()["progress"]["before"] == 1
    refused = client.post("/segment", content=png(half()))
    assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
    assert client.delete(links[1]).status_code == 204  # what was removed makes room, and is not segmented
    gate.set()
    assert client.post("/segment", content=png(half())).status_code == 200
    assert client.get(links[0]).json()["status"] == "done"


def test_a_job_that_is_removed_while_it_is_segmented(client, monkeypatch, caplog):
    begun, gate = threading.Event(), threading.Event()

    def slow(planned, network, options, limits, prefix, folder, advance):
        begun.set()
        assert gate.wait(20)
        return (folder / "gone").read_bytes()

    monkeypatch.setattr(app, "segment", slow)
    link = client.post("/segment?wait=false", content=png(half())).json()["links"]["self"]
    assert begun.wait(20) and client.delete(link).status_code == 204
    gate.set()
    monkeypatch.undo()
    assert client.post("/segment", content=png(half())).status_code == 200
    assert client.get(link).status_code == 404 and "fault" not in caplog.text


def test_results_are_removed_after_a_while_and_when_they_are_too_many(serving):
    client = serving(kept_seconds=0.2)
    link = client.post("/segment", content=png(half())).json()["links"]["self"]
    time.sleep(0.25)
    assert client.get(link).status_code == 404
    client = serving(kept_bytes=20_000)
    rng = np.random.default_rng(0)
    links = [
        client.post("/segment", content=png(rng.integers(0, 256, (32, 32, 3), np.uint8))).json()["links"]["self"]
        for _ in range(8)
    ]
    there = [client.get(link).status_code == 200 for link in links]
    assert there[-1] and not there[0] and there == sorted(there)


def test_nothing_is_left_in_the_folder_of_the_server(serving, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "tempdir", str(tmp_path))
    client = serving()
    client.post("/segment", content=png(half()))
    (root,) = (path for path in tmp_path.iterdir() if path.name.startswith("ddim-jax-serve-"))
    assert root.stat().st_mode & 0o077 == 0
    assert [path.name for path in root.rglob("*") if path.is_file()] == [".lock"]
    client.__exit__(None, None, None)
    client.__enter__()
    assert not root.exists()


def test_a_result_that_takes_too_much_room_is_refused(serving):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    answer = serving(kept_bytes=20_000).post("/segment", content=png(noise))
    assert answer.status_code == 413 and "takes more than 10000 bytes" in answer.json()["error"]

"""Limits on who may ask and how much may be sent, and the headers that go out."""

import asyncio
import json
import logging
import re
import socket
import threading
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from dicom_files import ct_slice
from served import half, network, png, ready
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from ddim_jax.cli import serve as command
from ddim_jax.serve.app import STATIC, create_app
from ddim_jax.serve.guard import host_name
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.openapi import document

SERVE = Path(__file__).parents[3] / "docs" / "how-to" / "serve.md"


def test_a_page_that_fetches_nothing_from_elsewhere(client):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy and answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/app.js").headers["content-security-policy"] == policy
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, file
        for dangerous in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " onclick=",
            "style=",
        ):
            assert dangerous not in text, file
        assert client.get(f"/static/{file.name}").status_code == 200


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/nothing"])
def test_no_other_file_is_served(path):
    """The path reaches the application as it is; a client, such as that of the other tests, shortens it."""
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": unquote(path), "raw_path": path.encode(), "headers": []}
    asyncio.run(create_app([network()])(scope, receive, send))
    assert sent[0]["status"] == 404 and json.loads(sent[1]["body"])["status"] == 404


def test_a_token(serving, tmp_path):
    client = ready(serving(token="s3cret"))
    for path in ("/", "/healthz", "/openapi.json", "/static/app.js"):
        assert client.get(path).status_code == 200
    allowed = {"Authorization": "Bearer s3cret"}
    sent = ct_slice(tmp_path / "x.dcm", np.zeros((8, 6))).read_bytes()
    body = client.post("/segment", content=sent, headers=allowed).json()
    result, mask = body["links"]["self"], body["networks"][0]["slices"][0]["files"]["mask"]
    picture = f"{body['links']['picture']}?slice=1&window=0,80"
    for given in (None, "Bearer wrong", "Basic s3cret", "s3cret", "Bearer", "Bearer \xe4"):
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        answers = [client.get(path, headers=headers) for path in ("/about", "/healthz/x", result, mask, picture)]
        answers.append(client.delete(result, headers=headers))
        answers.append(client.post("/segment", content=png(half()), headers=headers))
        for answer in answers:
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", answer.url
    for path in ("/about", result, mask, picture):
        assert client.get(path, headers=allowed).status_code == 200, path
    assert client.delete(result, headers=allowed).status_code == 204


def test_a_page_of_another_site_is_refused(serving):
    client = serving(hosts=("localhost", "127.0.0.1", "::1"))
    for host, status in (
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("", 421),
    ):
        assert client.get("/about", headers={"Host": host}).status_code == status, host
    client.headers["Host"] = "localhost"
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        headers = {"Sec-Fetch-Site": site}
        assert client.post("/segment", content=png(half()), headers=headers).status_code == status
    # Browsers say it by Origin alone where there is no TLS; a program says neither.
    for origin, status in (("http://evil.example", 403), ("null", 403), ("http://localhost:8000", 200)):
        assert client.post("/segment", content=png(half()), headers={"Origin": origin}).status_code == status
        assert client.get("/about", headers={"Origin": origin}).status_code == 200
    assert [host_name(name) for name in ("A.b:80", "[::1]:80", "[::1]", "a")] == ["a.b", "::1", "::1", "a"]


def test_an_upload_that_is_too_large(serving):
    client = serving(upload_bytes=1000)

    def chunks():
        for _ in range(1000):
            yield b"x" * 100

    for answer in (
        client.post("/segment", content=b"x" * 1001),
        client.post("/segment", content=chunks()),
        client.post("/segment", content=b"", headers={"Content-Length": "9" * 30}),
        client.post("/segment", files={"file": b"x" * 2000}),
        client.post("/segment", content=chunks(), headers={"Content-Type": "multipart/form-data; boundary=x"}),
    ):
        assert answer.status_code == 413 and "more than 1000 bytes" in answer.json()["error"]
    assert client.app.state.jobs.unfinished() == 0


def test_links_behind_a_proxy(serving):
    client = serving(root_path="/seg")
    answer = client.post("/segment", content=png(half())).json()
    assert answer["links"]["self"].startswith("/seg/results/")
    assert answer["networks"][0]["slices"][0]["files"]["mask"].startswith(answer["links"]["self"])
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/seg"}]


def test_an_address_that_cannot_be_listened_at_is_told_before_checkpoints_are_loaded(monkeypatch, capsys):
    monkeypatch.setattr(command.Segmenter, "load", lambda *given, **more: pytest.fail("a checkpoint is loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for host, port, why in (
            ("127.0.0.1", taken.getsockname()[1], "Address already in use"),
            ("192.0.2.1", 0, "Cannot assign requested address"),  # of documents, of no machine
            ("\xfc..b", 0, "encoding of hostname failed"),  # of what is no name
        ):
            given = ["--ckpt", "A", "--host", host, "--port", f"{port}", "--token", "x" * 16]
            with pytest.raises(SystemExit):
                command.run(command.parse_arguments(None, given))
            said = f"error: cannot listen at --host {host} --port {port} ({why}"
            assert capsys.readouterr().err.startswith(said)


def test_a_field_or_a_file_that_there_is_not_is_told_with_those_that_there_are(client):
    answer = client.post("/segment", files={"file": png(half())}, data={"foo": "1"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("no field is called 'foo'; expected some of steps, samples, ")
    files = client.post("/segment", content=png(half())).json()["networks"][0]["slices"][0]["files"]
    answer = client.get(files["mask"] + "x")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("The result has no such file; it has ")
    assert files["mask"].rpartition("/files/")[2] in answer.json()["error"]


def test_the_document_has_all_routes():
    app = create_app([network()])
    there = {
        (route.path.replace(":path", ""), method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path != "/"
        for method in route.methods - {"HEAD"}
    }
    text = document("", Limits(), {"steps": 50, "samples": 16})
    assert there == {(path, method) for path, item in text["paths"].items() for method in item}
    assert [route.path for route in app.routes if isinstance(route, Mount)] == ["/static"]


def test_the_document_names_all_fields_and_no_other(client):
    paths = client.get("/openapi.json").json()["paths"]
    fields = [one["name"] for one in paths["/segment"]["post"]["parameters"]]
    refused = client.post("/segment", content=png(half()), params={"more": "1"}).json()["error"]
    assert refused == f"no field is called 'more'; expected some of {', '.join(fields)}"
    asked = {one["name"]: one["required"] for one in paths["/results/{id}/picture"]["get"]["parameters"]}
    assert asked == {"id": True, "slice": False, "window": True}


def test_the_page_on_serving_has_the_statuses_of_all_refusals(client):
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})?) \| .+ \|$", SERVE.read_text(), re.MULTILINE)
    modules = (file.read_text() for file in STATIC.parent.glob("*.py"))
    found = {status for text in modules for status in re.findall(r"Refusal\(\s*(\d{3})", text)}
    without_boundary = client.post("/segment", content=b"x", headers={"Content-Type": "multipart/form-data"})
    by_starlette = {f"{answer.status_code}" for answer in (without_boundary, client.put("/about"))}
    assert by_starlette == {"400", "405"} and {s for row in rows for s in row.split(", ")} == found | by_starlette


def test_a_field_that_is_there_twice(client):
    for address, fields in (
        ("?threshold=0.7", {"threshold": "0.4"}),
        ("?threshold=0.7&threshold=0.7", {}),
        ("", {"threshold": ["0.4", "0.4"]}),
    ):
        answer = client.post(f"/segment{address}", files={"file": png(half())}, data=fields)
        assert answer.status_code == 422 and "is there twice" in answer.json()["error"]


def test_a_probe_that_knows_the_address_alone(serving, monkeypatch):
    """A cluster calls the pod by its address, and sends it no request before it is ready."""
    gate, served = threading.Event(), network()
    segment = type(served.segmenter).segment
    monkeypatch.setattr(type(served.segmenter), "segment", lambda *given: (gate.wait(20), segment(*given))[1])
    client = serving([served], hosts=("lung.example",), token="x" * 16)
    pod = {"Host": "10.1.2.3:8000"}
    early = client.get("/healthz", headers=pod)
    assert (early.status_code, early.json()) == (503, {"status": "starting"})
    gate.set()
    client.headers |= pod
    assert ready(client).get("/healthz").json() == {"status": "ok"}
    assert client.get("/about").status_code == 421


def test_networks_that_do_not_work_end_the_server(monkeypatch, caplog):
    told, served = threading.Event(), network()

    def fail(*given):
        raise RuntimeError("no memory")

    monkeypatch.setattr(type(served.segmenter), "segment", fail)
    with TestClient(create_app([served], fault=told.set)) as client:
        assert told.wait(20) and client.get("/healthz").status_code == 503
    assert "a first phantom cannot be segmented: no memory" in caplog.text


def test_who_tried_a_wrong_token_is_logged(serving, caplog):
    client = serving(token="x" * 16)
    with caplog.at_level(logging.INFO, logger="absl"):
        client.get("/about", headers={"Authorization": "Bearer wrong"})
    assert "a missing or wrong token, from testclient" in caplog.text and "Bearer" not in caplog.text


def test_arguments(capsys):
    def parse(*given):
        return command.parse_arguments(None, ["--ckpt", "A", *given])

    options = parse()
    assert (options.ckpt, options.host, options.port, options.token) == (["A"], "127.0.0.1", 8000, None)
    assert parse("B", "--port", "0", "--threshold", "0.4").ckpt == ["A", "B"]
    for wrong, said in (
        (["B", "C"], "names 3 checkpoints"),
        (["--port", "70000"], "port is 70000"),
        (["--root-path", "x/"], "--root-path is 'x/'"),
        (["B", "--require-sha256", "x"], "of one checkpoint"),
        (["--kept-mib", "0"], "kept_mib is 0"),
        (["--token", ""], "--token is empty"),
        (["--token", "two words"], "--token is empty, or has spaces"),
        (["--token", "\xfcber"], "letters beyond ASCII"),
        (["--host", "0.0.0.0"], "expected --token TEXT"),
    ):
        with pytest.raises(SystemExit):
            parse(*wrong)
        assert said in capsys.readouterr().err


def test_the_token_of_the_environment(monkeypatch, capsys):
    monkeypatch.setenv(command.TOKEN, "abc\n")  # as a Secret made from a file has it
    assert command.parse_arguments(None, ["--ckpt", "A", "--host", "0.0.0.0"]).token == "abc"
    monkeypatch.setenv(command.TOKEN, "a b")
    with pytest.raises(SystemExit):
        command.parse_arguments(None, ["--ckpt", "A"])
    assert f"{command.TOKEN} is empty, or has spaces" in capsys.readouterr().err


def test_the_address_that_is_printed_works_without_the_proxy(monkeypatch, capsys):
    class Server:
        def run(self, sockets):
            self.port = sockets[0].getsockname()[1]

    monkeypatch.setattr(command.signal, "signal", lambda *given: None)
    server = Server()
    with command._listen("127.0.0.1", 0) as listening:
        command._serve(server, listening, "/lungs")
    printed = f"serving at http://127.0.0.1:{server.port}/ (Ctrl-C ends it; a proxy shows it at /lungs/)\n"
    assert capsys.readouterr().out == printed

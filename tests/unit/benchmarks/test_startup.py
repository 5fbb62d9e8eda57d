"""The cost of a call of sample.py besides its images: the arithmetic, and the rows of a file."""

import json

from benchmarks.speed import startup


def test_the_start_is_a_call_less_its_picture(monkeypatch):
    times = iter([30.0, 6.0, 22.0, 7.0, 23.0, 9.0, 19.0])
    asked = []
    monkeypatch.setattr(startup._Calls, "seconds", lambda self, pictures: asked.append(pictures) or next(times))
    monkeypatch.setattr(startup._Calls, "traced", lambda self: ["a.bin"])
    monkeypatch.setattr(startup, "save_untrained", lambda folder, network, size: config())
    row = startup.measure("small", 64, 3, "a machine")
    assert asked == [1, 1, 5, 1, 5, 1, 5]
    # The medians are 7 s for one image and 22 s for five.
    assert (row["first_call_s"], row["call_s"], row["call_s_range"]) == (30.0, 7.0, [6.0, 9.0])
    assert (row["picture_s"], row["start_s"]) == (3.75, 3.25)


def test_rows_of_other_networks_stay(tmp_path, monkeypatch):
    def measure(network, size, repeats, device):
        names = ("first_call_s", "call_s", "picture_s", "start_s")
        about = {"network": network, "size": size, "device": device, "compiled_cpu_kernels": True}
        return {**about, **dict.fromkeys(names, repeats)}

    monkeypatch.setattr(startup, "measure", measure)
    monkeypatch.setattr(startup, "this_machine", lambda: {"device": "a machine"})
    output = tmp_path / "startup.json"
    for networks, repeats in ((["full", "small"], "3"), (["small"], "4")):
        assert startup.main(["--networks", *networks, "--repeats", repeats, "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [(row["network"], row["call_s"]) for row in rows] == [("full", 3), ("small", 4)]


def config():
    return {"model": {"name": "a network"}, "sample": {"steps": 1, "samples": 4}}

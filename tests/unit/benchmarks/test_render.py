"""Tables of the pages: by rows written by hand, and by the committed files."""

import json
import re

import pytest

from benchmarks import render
from benchmarks.faults import PARTS, short_of_limits
from benchmarks.result_file import read_result
from benchmarks.speed.bars import bars_of
from benchmarks.tables import table


@pytest.fixture
def root(tmp_path):
    """The folder of the result files of a test."""
    for folder in ("docs/results", "benchmarks/results"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def write(path, content):
    path.write_text(json.dumps(content))


def test_a_table_is_a_row_of_formats_and_functions():
    columns = {"a": "{a:.2f}", "twice": lambda row: f"{2 * row['a']:g}", "b": "{b[0]}"}
    assert table(columns, [{"a": 1.25, "b": ["x"]}, {"a": 3.0}, {"a": None}]) == (
        "| a | twice | b |\n| --- | --- | --- |\n| 1.25 | 2.5 | x |\n| 3.00 | 6 |  |\n|  |  |  |\n"
    )


def test_what_stands_between_the_marks_is_written_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(render, "TABLES", {"one": lambda root: f"| {root} |\n"})
    page = "# A page\n<!-- table: one -->\nold\n<!-- end -->\nmore\n"
    written = render.rendered(page, "r")
    assert written == "# A page\n<!-- table: one -->\n| r |\n<!-- end -->\nmore\n"
    assert render.rendered(written, "r") == written
    with pytest.raises(ValueError, match="there is no table two"):
        render.rendered(page.replace("one", "two"), "r")
    with pytest.raises(ValueError, match="no <!-- end -->"):
        render.rendered(page + "<!-- table: one -->\n", "r")


def test_the_pages_of_the_repository_are_as_their_files_say():
    assert render.main(["--check"]) == 0
    text = "".join(path.read_text(encoding="utf-8") for path in (render.ROOT / "docs").rglob("*.md"))
    assert set(re.findall(r"<!-- table: (\S+) -->", text)) == render.TABLES.keys()


def test_protocols_by_the_names_of_before(tmp_path):
    rows = [{"protocol": "calibrated", "dice_mean": 0.9}, {"protocol": "paper", "dice_mean": 0.8}]
    write(tmp_path / "a.json", {"rows": rows, "leads": [{"protocol": "calibrated"}], "rules": {"a": "calibrated"}})
    found = read_result(tmp_path / "a.json")
    assert [row["protocol"] for row in found["rows"]] == ["mean", "paper"]
    assert found["leads"] == [{"protocol": "mean"}] and found["rules"] == {"a": "calibrated"}
    write(tmp_path / "b.json", {"protocols": {"paper": 1, "calibrated": 2}})
    assert read_result(tmp_path / "b.json") == {"protocols": {"paper": 1, "mean": 2}}
    assert read_result(tmp_path / "none.json") == {}


def test_a_row_of_the_suite(root):
    row = {"case": "forward", "model": "lightweight_ddim", "side": "ours", "dtype": "float32", "size": 256, "batch": 1}
    row |= {"steps": None, "runs": 3, "median_s": 1.25, "spread_s": 0.01, "compile_s": 3.5, "peak_bytes": 2**30}
    row |= {"difference": 2.8e-6, "flops": 24649e9, "bytes": 1.9e9, "roofline_fraction": 0.4, "beside": {"other": 8.0}}
    sampled = row | {"case": "segment", "steps": 50, "median_s": None, "runs": 0, "spread_s": None}
    sampled |= {"peak_bytes": None, "roofline_fraction": None, "difference": None, "commit": "abc", "isa": "avx2"}
    eager = row | {"side": "torch_eager", "median_s": 0.625, "spread_s": 0.75}
    machine = {"cpu": "A Processor", "threads": 2, "memory_gib": 8.0, "system": "Linux", "device": "a device"}
    result = {"suite": "cpu", "command": "a command", "quick": True, "versions": {"jax": "1.2.3"}}
    result |= {"machine": machine | {"compiled_cpu_kernels": False}, "ceilings": {"float32": 200e9, "bytes": 40e9}}
    result |= {"rows": [row, sampled, eager], "left_out": [{"case": "a", "side": "b", "reason": "c"}], "refused": []}
    write(root / "benchmarks/results/cpu.json", result)
    text = render.suite(root, "cpu")
    for line in (
        "- Machine: A Processor, 2 threads, 8.0 GiB, Linux; device a device; compiled CPU kernels not built",
        "- Ceilings measured: 200 GFLOP/s in float32, copies of 40 GB/s (read and written)",
        "- A quick run, in part or whole: fewer repetitions than the page calls for.",
        "| forward 256 x 256 batch 1 | lightweight_ddim | float32 | ours | 1.25 s | 10 ms | 3 | 3.5 s | 1,024 MiB "
        "| 24,649 | 1.9 | 40 % | 3e-06 | commit not recorded |",
        "| forward 256 x 256 batch 1 | lightweight_ddim | float32 | torch_eager | 625 ms | 750 ms \\* | 3 | 3.5 s "
        "| 1,024 MiB | 24,649 | 1.9 | 40 % | 3e-06 | commit not recorded |",
        "\\* The spread exceeds the median: ratios of such a row are the least sure.",
        "| segment 256 x 256 batch 1, 50 steps | lightweight_ddim | float32 | ours |  |  | 0 | 3.5 s |  | 24,649 | 1.9 "
        "|  |  | commit abc, avx2 |",
        "lightweight_ddim, forward, ours: added later, timed in turns with 8 s of other.",
        "- a, b: not measured. c",
    ):
        assert line in text.splitlines(), line
    bars = bars_of(result)
    measured = [bar for bar in bars if bar.value is not None]
    assert 0 < len(measured) < len(bars) and text.count("| met |") + text.count("| **missed** |") == len(measured)
    assert f"Not measured: the other {len(bars) - len(measured)} of {len(bars)}." in text.splitlines()
    assert render.suite(root, "gpu") == "Not yet measured.\n"
    write(root / "benchmarks/results/small.json", result | {"suite": "small", "rows": [sampled | {"pictures": 8}]})
    text = render.suite(root, "small")
    assert "| segment 256 x 256 batch 1 of 8 images, 50 steps |" in text and "\n- Code: commit abc, avx2\n" in text
    assert "exceeds the median" not in text


ROW = {"system": "unet", "dataset": "lung_xray", "networks": "small", "size": 64, "device": "a machine", "seed": 0}
ROW |= {"budget_s": 360.0, "limit": None, "settings": "abc", "parameters": 510788, "dtype": "float32", "clip_x0": None}
ROW |= {"learning_rate": 0.002, "train_s": 359.6, "steps": 3000, "epochs": 115.4, "picked_step": 2500, "flips": True}
ROW |= {"sampling_steps": 1, "samples": 4, "seconds_per_image": 0.0123, "n": 20, "n_in_split": 100, "ece": 0.0123}
ROW |= {"kept_dice": 0.97, "recall_mean": 0.94, "dice_pooled": 0.96, "dice_single": 0.9321, "dice_ci": [0.9, 0.99]}


def both(**changes):
    dice = changes.pop("dice", 0.95)
    return [ROW | {"dice_mean": d, "protocol": p} | changes for d, p in ((dice, "calibrated"), (0.9, "paper"))]


def table1_of(root, rows, parts=(), leads=()):
    write(root / "docs/results/table1.json", {"rows": rows, "on_the_same_pictures": [*parts], "leads": [*leads]})
    return render.table1(root).splitlines()


def test_one_seed_has_its_interval(root):
    lead = {name: ROW[name] for name in ("system", "dataset", "size", "budget_s", "seed", "settings")}
    lead |= {"lead": -0.5, "lead_ci": [-0.75, 0.25], "n": 20}
    lines = table1_of(root, both(), both(n=20, dice=0.5), [lead, lead | {"settings": "other"}])
    assert "### lung_xray, 64 x 64, small networks, 360 s" in lines
    interval = "[0.9000, 0.9900]"
    scores = f"| `unet` | 0.9500 {interval} | 0.9400 | 0.9600 | 0.9321 | 0.9000 {interval} | 0.9400 | 0.9600 "
    assert f"{scores}| 0.0123 | 0.9700 | 20 of 100 | 1 |" in lines
    assert "| `unet` | 510,788 | 0.002 | 360 s | 3000 | 115.4 | 2500 | no | 1 x 4 = 4, mirrored | 0.0123 s |" in lines
    assert f"Dice, cut at 0.5, of all systems on the same 20 images: `unet` 0.5000 {interval}." in lines
    assert [line for line in lines if "-0.5" in line] == ["| `unet` | -0.5000 [-0.7500, +0.2500] | 20 | 0 |"]
    assert (
        "Not measured: `lightweight_ddim`, `trunk_ddim`, `ddim`, `medsegdiff`, `lightweight_ddim_noise`, `ddim_noise`."
        in lines
    )


def test_several_seeds_have_their_spread_and_those_of_another_state_are_left_out(root):
    """Mean of .94, .95 and .99 is .96, their standard deviation .0265."""
    rows = [row for seed, dice in enumerate((0.94, 0.95, 0.99)) for row in both(seed=seed, dice=dice, n=100)]
    rows = [*both(seed=3, dice=0.1, settings="old"), *rows, *both(seed=0, dataset="ours", learning_rate=0.5)]
    lines = table1_of(root, rows)
    assert any(line.startswith("| `unet` | 0.9600 +- 0.0265 | 0.9400 |") for line in lines)
    assert any(line.endswith("| 100 | 3 |") for line in lines)
    ours = lines[lines.index("### ours, 64 x 64, small networks, 360 s") :]
    assert any("| 0.5 |" in line for line in ours)


def test_table_2_multiplies_what_was_timed(root):
    row = {"system": "ddim_noise", "size": 256, "device": "a CPU", "dtype": "float32", "parameters": 113672065}
    row |= {"weights_bytes": 4 * 113672065, "samples": 5, "sampling_steps": 50, "timed_steps": 2, "seconds": 12.345}
    write(root / "docs/results/table2.json", {"rows": [row | {"peak_bytes": 3 * 2**30}]})
    assert render.table2(root).splitlines()[-3:] == [
        "| `ddim_noise` | 113,672,065 | 433.6 | 50 x 5 | 2 | 12.35 | 309 | 3072 | 871.2, 433.0, 8.27 |",
        *("", "Code: commit not recorded."),
    ]


def test_archives_and_processes(root):
    row = {"network": "fast", "pictures": 20_000, "picture_size": 256, "device": "a processor"}
    row |= {"images_per_second": 12.5, "waited_share": 0.1001, "peak_bytes": 312 * 2**20, "held_bytes": 301 * 2**20}
    row |= {"held_bytes_of_a_tenth": 300 * 2**20, "bytes_per_picture": 500.4, "result_bytes": 106_000_000}
    row |= {"result_disk_bytes": 163_840_000}
    few = row | {"pictures": 100, "waited_share": 0.021}
    on_a_gpu = few | {"network": "recommended", "device": "a GPU", "images_per_second": 1499.0}
    on_a_cpu = on_a_gpu | {"device": "a processor, 2 threads"}
    write(root / "docs/results/archive.json", {"rows": [row, few, on_a_gpu, on_a_cpu]})
    many, short, missed, slow = render.archive(root).splitlines()[2:]
    assert "| a GPU | 1499.0 | **missed** |" in missed and "| a processor, 2 threads | 1499.0 |  |" in slow
    assert "| fast | 20,000 of 256 x 256 | a processor | 12.5 |" in many
    assert "| 12.5 |  | 10.0% | **missed** | 312 MiB | 300.0 MiB | 301.0 MiB | 500.4 B an image | **missed** |" in many
    assert "| 5.3 kB an image | 8.2 kB an image | 222 hours |" in many  # 10,000,000 / 12.5 / 3600
    assert "| 2.1% | met |" in short and short.count("too few to tell") == 2
    training = {"what": "training", "one": 10.0, "two": 18.0, "ratio": 1.8, "ratios": [1.7, 1.9], "batch_of_one": 4}
    segmenting = {"what": "segmenting", "one": 10.0, "two": 16.9, "ratio": 1.69, "ratios": [1.69]}
    rows = {"size": 64, "device": "a processor", "commit": "abc", "rows": [training | {"batch_of_two": 8}, segmenting]}
    write(root / "docs/results/processes.json", rows)
    text = render.processes(root)
    assert "On a processor" not in text and "At 64 x 64 on a processor; commit abc." in text
    assert "| training, 4 and 8 a step | 10.0 a second | 18.0 a second | 1.80 | 1.70, 1.90 | met |" in text
    assert "| segmenting | 10.0 a second | 16.9 a second | 1.69 | 1.69 | **missed** |" in text


def test_exported_programs(root):
    case = {"network": "lung_xray", "size": 64, "steps": 1, "samples": 4, "kernels": True}
    case |= {"device": "a processor", "threads": 2, "commit": "abc"}
    ours = case | {"by": "jax", "median_s": 0.0123, "times": 1.0}
    theirs = case | {"by": "onnx", "median_s": 0.0246, "times": 2.0, "bytes": 3 * 2**20, "probability": 8.9e-7}
    assert render.exported(root) == "Not yet measured.\n"
    write(root / "docs/results/exported.json", {"rows": [ours, theirs]})
    lines = render.exported(root).splitlines()
    assert lines[0] == "On a processor, 2 threads; commit abc."
    assert lines[-2:] == [
        "| `lung_xray`, 64 x 64 | 1 x 4 | JAX with kernels | 12.3 ms | 1.00 |  |  |",
        "| `lung_xray`, 64 x 64 | 1 x 4 | onnx | 24.6 ms | 2.00 | 3.0 MiB | 8.9e-07 |",
    ]


@pytest.mark.parametrize(
    ("part", "field", "good", "bad", "told"),
    [
        ("kills", "n", 100, 99, "99 kills (at least 100 expected)"),
        ("kills", "saves_in_flight", 20, 19, "19 of them with a checkpoint half written (at least 20 expected)"),
        ("kills", "bitwise_equal", True, False, "**no** weights, average"),
        ("flips", "n", 1000, 999, "999 bytes changed (at least 1,000 expected)"),
        ("truncations", "n", 100, 99, "99 files cut short (at least 100 expected)"),
        ("disk_full", "in_a_save", 4, 3, "3 of them with the checkpoints named"),
        ("disk_full", "in_results", 4, 3, "3 of them with a result or the index named"),
        ("peer_death", "seconds", 60.0, 60.1, "60.1 seconds until"),
        ("peer_death", "while_saving", 1, 0, "0 of them while"),
        ("peer_death", "before_first_step", 1, 0, "0 of them before"),
        ("sigterm", "seconds", 10.0, 10.6, "10.6 seconds from"),
        ("sigterm", "before_first_step", 1, 0, "0 of them before"),
        ("sigterm", "while_saving", 1, 0, "0 of them while"),
        ("bad_inputs", "n", 40, 39, "39 inputs (at least 40 expected)"),
    ],
)
def test_a_limit_that_is_missed_is_told(root, part, field, good, bad, told):
    found = {count.field: count.limit.value if count.limit else 0 for count in PARTS[part]} | {"measured_in_s": 1.0}
    assert short_of_limits(part, found | {field: good}) == []
    (missed,) = short_of_limits(part, found | {field: bad})
    assert missed.startswith(told) and missed.endswith(" expected)")
    write(root / "docs/results/faults.json", {part: found | {field: bad, "commit": "abc"}})
    assert told in render.faults(root) and render.faults(root).endswith(" expected) | commit abc |\n")
    less = {name: value for name, value in found.items() if name != field}
    assert short_of_limits(part, less)[0].startswith("not measured: ")


def test_what_went_wrong_is_told_one_by_one(root):
    bad = {count.field: 0 for count in PARTS["bad_inputs"]} | {"n": 8, "unclear": 1, "measured_in_s": 2.0}
    bad |= {"offenders": {"tracebacks": [], "unclear": ["pairs/a: b.png"]}, "rules": {"n": "inputs"}}
    write(root / "docs/results/faults.json", {"bad_inputs": bad, "kills": {"failed": "status 2: damaged"}})
    told = render.faults_of(root, "bad_inputs")
    assert "\n- `unclear: pairs/a: b.png`\n" in told and "tracebacks:" not in told and "n: inputs" not in told
    assert "| inputs without a line that names them and what is wrong, or with another exit status | 1 | 0 |" in told
    assert "`python -m tests.slow.trials bad_inputs` measures it again.\n" in told
    assert render.faults_of(root, "flips") == "Not measured.\n"
    assert render.faults_of(root, "kills") == "Could not be measured: status 2: damaged\n"
    assert "| kills |  | could not be measured: status 2: damaged |" in render.faults(root)

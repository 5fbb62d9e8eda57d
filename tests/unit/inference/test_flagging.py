"""The images that `flagged.csv` names, their order, and the state of the folder that it is of."""

import csv

import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, red_segmenter

from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.inference.flagging import check_share, write_flagged
from ddim_jax.runtime.errors import InputError

GREY = {
    "a": 0,
    "b": 40,
    "c": 80,
    "d": 120,
    "e": 20,
}  # what is added to a black background, taken from a white square


def grey_square(value):
    """A bright square on a dark ground; the nearer `value` to 127, the nearer all probabilities to a half."""
    image = np.full((SIZE, SIZE, 3), value, np.uint8)
    image[4:12, 4:12] = 255 - value
    return image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for name, value in GREY.items():
        Image.fromarray(grey_square(value)).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


@pytest.fixture
def started(monkeypatch):
    """Counts the images that are sampled."""
    images = []
    start = Segmenter.start_batch

    def counting(self, pictures, *arguments):
        images.extend(pictures)
        return start(self, pictures, *arguments)

    monkeypatch.setattr(Segmenter, "start_batch", counting)
    return images


def table(out):
    with open(out / "flagged.csv", newline="") as file:
        return list(csv.DictReader(file))


def names(out):
    return [row["name"] for row in table(out)]


def record(name, doubt, unlikeness=None):
    return {
        "name": name,
        "file": f"/in/{name}.png",
        "doubt": doubt,
        "mean_uncertainty": 0.25,
        "unlikeness": unlikeness,
        "area": 7,
        "status": "ok",
    }


def test_the_most_doubtful_first_and_ties_by_name(tmp_path):
    failed = {"name": "aa", "file": "/in/aa.png", "status": "failed", "reason": "damaged"}
    records = [record("b", 0.2), record("c", 0.7), record("a", 0.2), record("d", 0.1), failed]
    assert write_flagged(tmp_path / "flagged.csv", records, 0.6) == 3
    assert (tmp_path / "flagged.csv").read_text() == (
        "rank,name,file,doubt,mean_uncertainty,unlikeness,area\n"
        "1,c,/in/c.png,0.7,0.25,,7\n"
        "2,a,/in/a.png,0.2,0.25,,7\n"
        "3,b,/in/b.png,0.2,0.25,,7\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flagged.csv"]


def test_the_most_doubtful_slice_is_named_as_its_results_are(tmp_path):
    few = record("few", 0.7) | {"doubt_of_slices": [0.2, 0.7, 0.7]}
    many = record("many", 0.4) | {"doubt_of_slices": [0.4 if k == 6 else 0.1 for k in range(1000)]}
    write_flagged(tmp_path / "flagged.csv", [record("plain", 0.5), few, many], 0.9)
    assert (tmp_path / "flagged.csv").read_text().splitlines()[:4] == [
        "rank,name,file,slice,doubt,mean_uncertainty,unlikeness,area",
        "1,few,/in/few.png,002,0.7,0.25,,7",
        "2,plain,/in/plain.png,,0.5,0.25,,7",
        "3,many,/in/many.png,0007,0.4,0.25,,7",
    ]


def test_failed_images_are_ranked_where_they_have_results_and_a_doubt(tmp_path):
    failed = [record(name, 0.9, 2.0) | {"status": "failed"} for name in "abc"]
    failed[0]["outputs"] = ["mask"]
    failed[1]["outputs"] = []  # nothing was written
    failed[2] |= {"outputs": ["mask"]}
    del failed[2]["doubt"]  # it was killed meanwhile
    assert write_flagged(tmp_path / "flagged.csv", [*failed, record("d", 0.2)], 0.5) == 1
    assert names(tmp_path) == ["a"]


def test_pictures_unlike_those_of_the_calibration_follow_however_sure_they_are(tmp_path):
    records = [record("b", 0.2, 0.9), record("c", 0.7, 1.2), record("a", 0.1, 1.0), record("d", 0.0, 40.5)]
    assert write_flagged(tmp_path / "flagged.csv", records, 0.2) == 2
    assert [(row["rank"], row["name"], row["unlikeness"]) for row in table(tmp_path)] == [
        ("1", "c", "1.2"),
        ("2", "d", "40.5"),
    ]


def test_many_with_equal_doubts_against_sorted_rows(tmp_path):
    rng = np.random.default_rng(0)
    records = [record(f"{k}/é", round(float(rng.integers(20)) / 20, 6)) for k in rng.permutation(300)]
    assert write_flagged(tmp_path / "flagged.csv", records, 0.37) == 111
    expected = sorted(records, key=lambda record: (-record["doubt"], record["name"]))[:111]
    assert names(tmp_path) == [record["name"] for record in expected]
    assert len({record["doubt"] for record in expected}) < 20  # ties at the cut as well


@pytest.mark.parametrize(
    ("share", "count", "flagged"),
    [(0.07, 100, 7), (0.2, 5, 1), (0.2, 6, 2), (0.01, 3, 1), (0.99, 3, 3), (0.5, 0, 0), (np.float32(0.1), 10, 1)],
)
def test_the_number_is_rounded_up_from_the_digits_of_the_share(tmp_path, share, count, flagged):
    """0.07 * 100 is 7.000000000000001 in floating point."""
    records = [record(str(k), 0.5) for k in range(count)]
    assert write_flagged(tmp_path / "flagged.csv", records, share) == flagged == len(table(tmp_path))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), True, "0.5"])
def test_a_share_out_of_range_leaves_no_trace(folder, out, share):
    with pytest.raises(InputError, match=r"flag_uncertain is .*; expected a share of the images, above 0 and below 1"):
        check_share(share)
    with pytest.raises(InputError, match="flag_uncertain is"):
        segment_files(red_segmenter(), folder, out, flag_uncertain=share)
    assert not out.exists()


def test_the_list_of_a_folder_has_what_segment_gives(folder, out):
    summary = segment_files(red_segmenter(), folder, out, flag_uncertain=0.5)
    assert (summary.done, summary.flagged) == (5, 3)
    rows = table(out)
    assert [(row["rank"], row["name"]) for row in rows] == [("1", "d"), ("2", "c"), ("3", "b")]
    for row in rows:
        expected = red_segmenter().segment(grey_square(GREY[row["name"]]))
        assert float(row["doubt"]) == pytest.approx(expected.doubt, abs=1e-6)
        assert (row["file"], int(row["area"])) == (str(folder / f"{row['name']}.png"), 64)
        assert float(row["mean_uncertainty"]) == pytest.approx(0.0, abs=1e-6)
    assert float(rows[0]["doubt"]) > 0.4


def test_images_of_earlier_runs_are_ranked_with_the_others_and_failed_ones_are_not(folder, out):
    assert segment_files(red_segmenter(), folder / "d.png", out).flagged is None
    assert not (out / "flagged.csv").exists()
    (folder / "bad.png").write_bytes(b"")
    others = [folder / name for name in ("a.png", "c.png", "bad.png")]
    summary = segment_files(red_segmenter(), others, out, flag_uncertain=0.6)
    assert (summary.done, summary.kept, len(summary.failed), summary.flagged) == (2, 0, 1, 2)
    assert names(out) == ["d", "c"]


def test_another_share_needs_no_sampling(folder, out, started):
    segment_files(red_segmenter(), folder, out)
    started.clear()
    for share, expected in ((0.2, ["d"]), (0.4, ["d", "c"])):
        assert segment_files(red_segmenter(), folder, out, flag_uncertain=share).kept == 5
        assert names(out) == expected
    assert segment_files(red_segmenter(), folder, out).kept == 5
    assert names(out) == ["d", "c"] and not started  # nothing was segmented: the list still holds


def test_a_list_that_lacks_an_image_does_not_stay(folder, out, caplog):
    segment_files(red_segmenter(), folder, out, flag_uncertain=0.2)
    Image.fromarray(grey_square(125)).save(folder / "f.png")
    segment_files(red_segmenter(), folder, out)
    told = f"flagged.csv lacks the images segmented now, and is kept as {out}/flagged.1.csv"
    assert not (out / "flagged.csv").exists() and told in caplog.text
    segment_files(red_segmenter(), folder, out, flag_uncertain=0.2)
    assert names(out) == ["f", "d"]


@pytest.mark.parametrize("segments", [True, False])
def test_a_list_that_differs_is_kept_under_another_name(folder, out, caplog, segments):
    """A list is renamed because an image is segmented, or one of another share takes its place."""

    def run(share=0.4):
        return segment_files(red_segmenter(), folder, out, flag_uncertain=share)

    run()
    run()
    assert not list(out.glob("flagged.?.csv"))  # the same list
    for number in (1, 2):
        edited = f"checked on day {number}\n" + (out / "flagged.csv").read_text()
        (out / "flagged.csv").write_text(edited)
        if segments:
            Image.fromarray(grey_square(number)).save(folder / f"{number}.png")
        assert run().done == segments
        assert (out / f"flagged.{number}.csv").read_text() == edited
        assert names(out)[:2] == ["d", "c"]
        assert f", and is kept as {out}/flagged.{number}.csv" in caplog.text
    run()
    assert len(list(out.glob("flagged*.csv"))) == 3


def test_a_run_that_stops_leaves_no_list(folder, out, monkeypatch):
    segment_files(red_segmenter(), folder / "a.png", out, flag_uncertain=0.5)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("ddim_jax.inference.results.write_outputs", full)
        with pytest.raises(OSError, match="No space left"):
            segment_files(red_segmenter(), folder, out, flag_uncertain=0.5)
    assert not (out / "flagged.csv").exists()


def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path):
    assert write_flagged(tmp_path / "flagged.csv", [record("gr\udcfcn", 0.5)], 0.5) == 1
    assert names(tmp_path) == ["gr\\xfcn"]


def test_names_that_a_spreadsheet_would_compute_are_shown_as_texts(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("=cmd|'", "b\n\x1b[2J"):
        Image.fromarray(grey_square(90)).save(tmp_path / "in" / f"{name}.png")
    segment_files(red_segmenter(), tmp_path / "in", tmp_path / "out", flag_uncertain=0.9)
    assert sorted(names(tmp_path / "out")) == ["'=cmd|'", r"b\n\x1b[2J"]
    assert len((tmp_path / "out/flagged.csv").read_text().splitlines()) == 3
    assert len((tmp_path / "out/index.jsonl").read_bytes().splitlines()) == 2

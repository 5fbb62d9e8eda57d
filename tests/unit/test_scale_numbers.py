"""What docs/scale.md and docs/performance.md say of archives, two processes and kept memory is in result files."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def text_of(document):
    return " ".join((ROOT / document).read_text(encoding="utf-8").split())


def rows_of(name):
    return json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def test_the_archive():
    text = text_of("docs/scale.md")
    tiny, recommended = sorted(rows_of("archive"), key=lambda row: row["network"], reverse=True)
    assert (tiny["pictures"], recommended["picture_size"]) == (20_000, 256)
    hours = 10_000_000 / recommended["images_per_second"] / 3600
    held = [tiny[name] / 2**20 for name in ("held_bytes_of_a_tenth", "held_bytes")]
    curve = [bytes_ / 2**20 for bytes_ in tiny["held_curve"]]
    for phrase in (
        f"tenths of its time it held between {min(curve):.0f} and {max(curve):.0f} MiB",
        f"{tiny['images_per_second']:.1f} a second on two CPU cores, and in {tiny['waited_share']:.1%} of the time",
        f"pictures with the recommended configuration: {recommended['images_per_second']:.1f} a second.",
        f"held {held[0]:.0f} MiB near the end of the 2,000 and {held[1]:.0f} MiB near the end of the 20,000, "
        f"{tiny['bytes_per_picture'] / 1000:.1f} kB for each picture more",
        f"At {recommended['images_per_second']:.1f} pictures of 256 x 256 a second they take {hours:,.0f} hours, "
        f"{hours / 24:.0f} days, of one process",
    ):
        assert text.count(phrase) == 1, phrase
    verdict = "**met**" if tiny["bytes_per_picture"] <= 500 else "**missed**"
    assert f"where 0.5 kB were allowed for: {verdict}" in text


def test_two_processes():
    text = text_of("docs/scale.md")
    segmenting, same, small, large = rows_of("processes")
    assert [row["what"] for row in (segmenting, same, small, large)] == ["segmenting", *3 * ["training"]]
    batches = [(row["batch_of_one"], row["batch_of_two"]) for row in (same, small, large)]
    assert batches == [(16, 16), (16, 32), (64, 128)]
    for phrase in (
        f"Two processes with a thread each segment {segmenting['ratio']:.2f} times the pictures a second of one",
        f"train {same['ratio']:.2f} times as fast as one with the same global batch of 16",
        f"{small['ratio']:.2f} times with 16 each and {large['ratio']:.2f} times with 64 each",
    ):
        assert text.count(phrase) == 1, phrase


def test_kept_memory():
    text = text_of("docs/performance.md")
    training, segmenting = rows_of("allocator")
    assert (training["what"], segmenting["what"]) == ("training", "segmenting")
    for row, phrase in (
        (training, "training at 64 x 64, {kept:.0f} images a second instead of {given_back:.0f}"),
        (segmenting, "segmenting at 256 x 256, {kept:.1f} instead of {given_back:.1f}"),
    ):
        assert text.count(phrase.format(**row)) == 1, phrase.format(**row)
        peaks = [row[f"{way}_peak_bytes"] / 2**20 for way in ("kept", "given_back")]
        assert f"{peaks[0]:.0f} MiB instead of {peaks[1]:.0f}" in text
    assert re.search(r"python -m\s+benchmarks\.allocator", text)

"""The page in a real Chromium: what is dropped on it is shown, to its own tab alone, and everybody can use it."""

import io
import re
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from pages import GREEN, api, number, refused, shown
from PIL import Image

from ddim_jax.data.datasets.phantom import draw_phantom

SCRIPT = "<img src=x onerror=alert(1)>"

LABELS = """() => [...document.querySelectorAll("input, select, button, canvas, progress, summary")]
  .filter((one) => !one.hidden)
  .filter((one) => !(one.labels?.length || one.ariaLabel || one.getAttribute("aria-labelledby")))
  .filter((one) => !one.textContent.trim())
  .map((one) => one.outerHTML)"""

# The contrast of every text with what is behind it, as WCAG 2 defines it.
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => [r, g, b].map((c) => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const own = text || one.matches("input[type=number], select");
    const box = one.getBoundingClientRect();
    if (!own || box.width < 2 || box.height < 2 || one.disabled || !one.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 120)]);
  }
  return found;
}"""


@pytest.mark.parametrize(("scheme", "size"), [("light", (1360, 860)), ("dark", (390, 844))])
def test_an_example_is_shown_to_everybody(tab, scheme, size):
    page = tab(scheme, size)
    page.evaluate("document.querySelector('#more').open = true")
    places = [page.evaluate(CONTRAST)]
    assert page.evaluate(LABELS) == []
    # By keyboard alone: the second control of the page is the button of the examples.
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    shown(page)
    assert page.evaluate(GREEN) > 500
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    assert re.search(r"Done\. lung_xray: mask [\d,]+ pixels, doubt", page.text_content("#status"))
    assert re.search(r"90% interval.*images like those of the calibration", page.text_content("#figures"))
    # Noise is no film; who hears the page is told as well.
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(noise, "PNG")
    page.set_input_files("#files", [{"name": "noise.png", "mimeType": "image/png", "buffer": noise.getvalue()}])
    warning = "This image is unlike the images that the model was calibrated on: intervals do not hold for it."
    assert page.text_content("#figures .warning") == warning
    assert warning in page.text_content("#status")
    assert not re.search("interval|Dice at least", " ".join(page.locator("#figures th").all_text_contents()))
    page.click("#panel summary")
    places.append(page.evaluate(CONTRAST))
    assert page.evaluate(LABELS) == []
    assert min(len(found) for found in places) > 5
    poor = [one for found in places for one in found if one[0] < 4.5]
    assert poor == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_threshold_layers_and_samples(tab):
    page = tab()
    page.click("#example")
    shown(page)
    before = page.text_content("td.main"), page.evaluate(GREEN)
    assert page.is_disabled("#decided")
    page.fill("#threshold", "0.95")
    api.expect(page.locator("figcaption")).to_contain_text("above 0.95")
    # The interval stands beneath the area that it is of; the area above the threshold has none.
    rows = page.locator("#figures th").all_text_contents()
    assert rows[:4] == ["Area of the mask", "90% interval", "Dice at least", "Area above 0.95"]
    mask, above = page.locator("td.main").all_text_contents()
    assert mask == before[0] and number(above) < number(mask)
    assert page.evaluate(GREEN) != before[1]
    page.click("#decided")
    api.expect(page.locator("#figures")).not_to_contain_text("above")
    assert page.evaluate(GREEN) == before[1]
    page.uncheck("#outline")
    page.wait_for_timeout(200)
    assert page.evaluate(GREEN) == 0
    for layer in ("probability", "uncertainty"):
        page.check(f"input[value={layer}]")
        api.expect(page.locator("figcaption")).to_contain_text(layer)
    page.select_option("#sample", "all")
    api.expect(page.locator("figcaption")).to_contain_text("4 samples")
    with page.expect_download() as download:
        page.click("#downloads button >> nth=0")
    with Image.open(download.value.path()) as mask:
        assert mask.size == (512, 512) and set(np.unique(mask)) == {0, 255}
        area = int((np.asarray(mask) > 0).sum())
    assert f"{area:,} px" == before[0] and download.value.suggested_filename == "Example 1_mask.png"
    page.click("#new")
    page.click("#more summary")
    assert page.get_attribute("#samples", "placeholder") == "4" and "16 samples" in page.text_content("#more-help")
    page.fill("#samples", "17")
    page.click("#example")
    api.expect(page.locator("#error")).to_have_text("samples is 17; this server takes 1 to 16")
    page.wrong.clear()  # the browser tells of every answer above 400 there
    page.fill("#samples", "2")
    page.click("#example")
    shown(page)
    page.select_option("#sample", "all")
    api.expect(page.locator("figcaption")).to_contain_text("2 samples")


def test_a_dicom_series_with_scripts_in_its_tags_and_names(tab, tmp_path):
    ct_series(tmp_path / "in", count=3, shape=(40, 30), PatientName=SCRIPT, SeriesDescription=SCRIPT)
    page = tab()
    page.set_input_files("#files", sorted((tmp_path / "in").iterdir()))
    shown(page)
    assert page.text_content("#slice-value") == "2 / 3"
    page.locator("canvas").press("ArrowDown")
    api.expect(page.locator("#slice-value")).to_have_text("3 / 3")
    assert re.fullmatch(r"[\d.]+ [cm]m²", page.text_content("td.main"))
    assert re.fullmatch(r"[\d.]+ mL", page.locator("td.main").all_text_contents()[1])
    assert page.locator("#figures th").all_text_contents()[1] == "Volume, all 3 slices"
    labels = page.locator("#downloads button").all_text_contents()
    assert labels[0] == "Mask, slice 3" and "NIfTI, all 3 slices" in labels
    box = page.locator("canvas").bounding_box()
    width = float(page.input_value("#width"))
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    with page.expect_response(lambda answer: "/picture?" in answer.url and answer.ok):
        page.mouse.move(box["x"] + 100, box["y"] + 200, steps=4)
        page.mouse.up()
    assert float(page.input_value("#width")) < width
    # A finger does what the mouse does, and the page stays where it is.
    width, top = float(page.input_value("#width")), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    with page.expect_response(lambda answer: "/picture?" in answer.url and answer.ok):
        for kind, x in (("touchStart", 100), ("touchMove", 150), ("touchMove", 200), ("touchEnd", None)):
            points = [] if x is None else [{"x": box["x"] + x, "y": box["y"] + x}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_function("width => Number(document.querySelector('#width').value) > width", arg=width)
    assert page.evaluate("scrollY") == top
    # What a window was to load is not asked for when its result is gone: that would be an error in the console.
    page.evaluate(
        """() => {
            const width = document.querySelector('#width');
            width.value = 321;
            width.dispatchEvent(new Event('input'));
            document.querySelector('#window-segment').click();
        }"""
    )
    shown(page)
    for kind, start in (("DICOM-SEG", (128, b"DICM")), ("NIfTI", (0, b"\x1f\x8b"))):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind).click()
        assert Path(download.value.path()).read_bytes()[start[0] :].startswith(start[1])


def test_frames_in_time_have_no_volume(tab, tmp_path):
    values = np.zeros((3 * 32, 32))
    page = tab()
    page.set_input_files("#files", ct_slice(tmp_path / "x.dcm", values, Rows=32, NumberOfFrames=3))
    shown(page)
    rows = dict(zip(*(page.locator(f"#figures {cell}").all_text_contents() for cell in ("th", "td")), strict=True))
    assert rows["Volume, all 3 slices"] == "not known"
    api.expect(page.locator("#figures")).to_contain_text("Note: no volume (the slices have no places of their own")


def test_a_second_tab_sees_its_own_only_and_refusals_are_told(tab, address, tmp_path):
    named = tmp_path / f"secret{SCRIPT}.png"
    Image.fromarray(draw_phantom("test", 0, 3, 96)[0]).save(named)
    first, second = tab(), tab()
    first.set_input_files("#files", named)
    shown(first)
    assert first.text_content("#name") == named.name
    assert not second.is_visible("#result")
    link = first.evaluate(
        "performance.getEntriesByType('resource').map((one) => one.name).find((one) => one.includes('/results/'))"
    )
    assert re.fullmatch(rf"{address}results/[\w-]{{32}}(/.*)?", link)
    for broken, said in ((b"no image", "of no kind that can be read"), (b"\x89PNG\r\n\x1a\ncut", f"{SCRIPT}: ")):
        second.set_input_files("#files", {"name": SCRIPT, "mimeType": "image/png", "buffer": broken})
        refused(second, said)
    asked = urllib.request.Request(f"{address}segment", io.BytesIO(b"x").read(), {"Sec-Fetch-Site": "cross-site"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(asked)
    # The image goes with its tab.
    first.goto("about:blank")
    second.wait_for_timeout(500)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(re.sub(r"(results/[\w-]+).*", r"\1", link))

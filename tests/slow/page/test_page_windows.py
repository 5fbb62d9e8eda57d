"""Windows, edges and proportions of DICOM images on the page in a real Chromium, as the files say them."""

import re

import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from pages import GREY, api, refused, shown


def choose_centre(page, centre):
    """The mean grey at once, and after the server's answer."""
    held = []
    page.route("**/picture?*", lambda route: held.append(route))
    page.fill("#centre", str(centre))
    page.wait_for_timeout(500)
    at_once = page.evaluate(GREY)
    with page.expect_response(lambda answer: "/picture?" in answer.url and answer.ok):
        held[0].continue_()
    page.wait_for_timeout(300)
    return at_once, page.evaluate(GREY)


@pytest.mark.parametrize(("shown_as", "darker"), [("MONOCHROME1", False), ("MONOCHROME2", True)])
def test_a_dragged_window_is_as_the_server_then_shows_it(tab, tmp_path, shown_as, darker):
    told = {"WindowCenter": 500, "WindowWidth": 1000, "PhotometricInterpretation": shown_as}
    ramp = np.tile(np.linspace(0, 1000, 60).astype(int), (80, 1))
    page = tab()
    page.set_input_files("#files", ct_slice(tmp_path / "x.dcm", ramp, **told))
    shown(page)
    page.uncheck("#outline")
    page.wait_for_timeout(200)
    before = page.evaluate(GREY)
    at_once, then = choose_centre(page, 800)
    assert abs(at_once - then) < 3
    assert (then < before - 10) if darker else (then > before + 10)


def test_each_slice_has_its_own_window_until_one_is_chosen(tab, tmp_path):
    ct_series(tmp_path / "in", count=3, shape=(40, 30))
    windows = [[400, 1600], [100, 400], [0, 800]]

    def tell(route):
        answer = route.fetch()
        body = answer.json()
        for one, window in zip(body.get("networks", [{"slices": []}])[0]["slices"], windows, strict=False):
            one |= {"window": window, "area_at": "detector"}
        route.fulfill(response=answer, json=body)

    page = tab()
    page.route(re.compile(r"/results/[\w-]+$"), lambda at: tell(at) if at.request.method == "GET" else at.continue_())
    page.set_input_files("#files", sorted((tmp_path / "in").iterdir()))
    shown(page)
    assert page.text_content("#figures th") == "Area in this slice, at the detector"

    def expect(number, window):
        api.expect(page.locator("#slice-value")).to_have_text(f"{number} / 3")
        assert [float(page.input_value(name)) for name in ("#centre", "#width")] == window

    expect(2, windows[1])
    assert page.is_disabled("#window-segment")
    for number in (1, 2, 3):
        page.fill("#slice", str(number))
        expect(number, windows[number - 1])
    page.fill("#width", "321")
    api.expect(page.locator("#window-segment")).to_be_enabled()
    # A field that is empty while somebody types is no window.
    page.wait_for_timeout(300)
    before = page.evaluate(GREY)
    page.fill("#width", "")
    page.wait_for_timeout(300)
    assert page.evaluate(GREY) == before
    page.fill("#slice", "1")
    expect(1, [0, 321])
    page.click("#window-reset")
    page.wait_for_timeout(300)
    expect(1, windows[0])


def test_edges_and_pixels_that_are_not_square(tab, tmp_path):
    ct_series(tmp_path / "in", count=1, shape=(40, 30), PixelSpacing=[2.0, 0.5])
    page = tab("dark", (390, 844))
    page.set_input_files("#files", sorted((tmp_path / "in").iterdir()))
    shown(page)
    letters = {side: page.text_content(f".edge.{side}") for side in ("top", "right", "bottom", "left")}
    assert letters == {"top": "A", "right": "L", "bottom": "P", "left": "R"}
    assert "Edges: top A, right L, bottom P, left R." in page.get_attribute("canvas", "aria-label")
    box = page.locator("canvas").bounding_box()
    assert box["height"] / box["width"] == pytest.approx(40 * 2 / (30 * 0.5), rel=0.02)
    api.expect(page.locator("#figures")).to_contain_text("0.5 × 2 mm")
    # A ratio alone is enough.
    again = ct_slice(tmp_path / "x.dcm", np.zeros((40, 30)), PixelSpacing=None, PixelAspectRatio=[4, 1])
    other = tab("dark", (390, 844))
    other.set_input_files("#files", again)
    of_ratio = shown(other).locator("canvas").bounding_box()
    assert of_ratio["height"] / of_ratio["width"] == pytest.approx(40 * 4 / 30, rel=0.02)
    # Each letter lies in the image.
    for side in letters:
        letter = page.locator(f".edge.{side}").bounding_box()
        assert box["x"] <= letter["x"] and letter["x"] + letter["width"] <= box["x"] + box["width"]
        assert box["y"] <= letter["y"] and letter["y"] + letter["height"] <= box["y"] + box["height"]
    page.click("#new")
    page.click("#example")
    shown(page)
    assert page.text_content(".edge.top") == "" and "Edges" not in page.get_attribute("canvas", "aria-label")


def test_the_wheel_and_a_touchpad_step_by_what_they_turn(tab, tmp_path):
    ct_series(tmp_path / "in", count=9, shape=(40, 30))
    page = tab()
    page.set_input_files("#files", sorted((tmp_path / "in").iterdir()))
    shown(page)
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    for turns, number in (([(0, 15)] * 2, 5), ([(0, 15)], 6), ([(60, 0)], 6), ([(0, 120)], 7), ([(0, -20)] * 4, 5)):
        for turn in turns:
            page.mouse.wheel(*turn)
        page.wait_for_timeout(300)
        assert page.input_value("#slice") == f"{number}"


def test_the_legend_has_the_colour_of_each_class_that_is_tinted(tab):
    page = tab()
    classes = [{"name": name, "colour": colour} for name, colour in (("lung", [255, 0, 0]), ("heart", [0, 0, 255]))]

    def tell(route):
        answer = route.fetch()
        body = answer.json()
        if body["status"] == "done":
            body["networks"][0]["classes"] = [one | {"volume_ml": None} for one in classes]
        route.fulfill(response=answer, json=body)

    page.route(re.compile(r"/results/[\w-]+$"), lambda at: tell(at) if at.request.method == "GET" else at.continue_())
    page.click("#example")
    shown(page)
    page.uncheck("#outline")
    page.check("input[value=probability]")
    legend = page.locator("figcaption span:not(.swatch)")
    api.expect(legend).to_have_text(["probability of lung", "probability of heart"])
    swatches = "() => [...document.querySelectorAll('.swatch')].map((one) => one.style.background)"
    assert page.evaluate(swatches) == ["rgb(255, 0, 0)", "rgb(0, 0, 255)"]
    page.select_option("#structure", "heart")
    api.expect(legend).to_have_text(["probability: the stronger, the higher"])
    assert page.evaluate(swatches) == ["rgb(60, 160, 255)"]


def test_a_refusal_calls_a_file_by_its_name(tab, tmp_path):
    ct_series(tmp_path / "in", count=2, shape=(40, 30))
    paths = sorted((tmp_path / "in").iterdir())
    cut = tmp_path / "in" / "patient x.dcm"
    cut.write_bytes(paths[1].read_bytes()[:-400])
    page = tab()
    page.set_input_files("#files", [paths[0], cut])
    refused(page, "patient x.dcm")

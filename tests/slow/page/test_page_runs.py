"""Runs of the page in a real Chromium: what fails, is cancelled or is lost on its way takes nothing away."""

import json
import re

from dicom_files import ct_series
from pages import api, picture, refused, shown


def test_a_result_keeps_its_name_whatever_is_given_meanwhile(tab, tmp_path):
    page = tab()
    page.route("**/segment", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.set_input_files("#files", picture("first.png"))
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(3 * 2**20)}
    page.set_input_files("#files", large)
    assert page.text_content("#error") == "large.png: 3 MiB, and the server takes 2 at most. It was not sent."
    shown(page)
    assert page.text_content("#name") == "first.png" and page.title() == "Result - ddim_jax"
    # What is refused costs nothing of what is there.
    page.set_input_files("#files", large)
    refused(page, "large.png")
    page.set_input_files("#files", {"name": "notes.py", "mimeType": "text/plain", "buffer": b"import os"})
    refused(page, "What is shown is still first.png.")
    assert page.is_visible("#result") and page.text_content("#name") == "first.png"
    with page.expect_download() as download:
        page.click("#downloads button >> nth=0")
    assert download.value.suggested_filename == "first_mask.png"
    changed = tmp_path / "changed.png"
    changed.write_bytes(picture()["buffer"])
    page.unroute("**/segment")
    page.route("**/segment", lambda route: (changed.write_bytes(b"other"), route.abort()))
    page.set_input_files("#files", changed)
    refused(page, "changed.png cannot be read: it is a folder, or has changed since it was chosen.")
    with page.expect_download():
        page.click("#downloads button >> nth=1")


def test_of_names_known_suffixes_alone_are_sent(tab):
    page = tab()
    page.evaluate(
        """() => {
            const append = FormData.prototype.append;
            window.sent = [];
            FormData.prototype.append = function (...given) {
                if (given.length > 2) window.sent.push(given[2]);
                return append.apply(this, given);
            };
        }"""
    )
    names = ("Meier.Hans", "1.2.840.113", "Meier.PNG", "v.nii.gz", "Meier")
    page.set_input_files("#files", [picture(name) for name in names])
    refused(page, "The upload holds 5 images")
    assert page.evaluate("window.sent") == ["file", "file", "file.png", "file.nii.gz", "file"]


def test_lost_answers_are_asked_for_again_and_cancel_stops_an_upload(tab):
    page = tab()
    lost = []

    def lose(route):
        lost.append(route.request.url)
        route.abort() if len(lost) < 3 else route.continue_()

    polls = re.compile(r"/results/[\w-]+$")
    page.route(polls, lose)
    page.set_input_files("#files", picture())
    shown(page)
    page.unroute(polls)
    assert len(lost) >= 3 and [line for line in page.wrong if "net::ERR" not in line] == []
    page.wrong.clear()
    # A full queue: after Cancel the file is not sent again.
    sent = []

    def full(route):
        sent.append(route.request.url)
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"status": 503, "error": "full"})

    page.route("**/segment", full)
    page.set_input_files("#files", picture("second.png"))
    api.expect(page.locator("#progress-text")).to_contain_text("trying again")
    page.click("#cancel")
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    page.wait_for_timeout(1500)
    assert len(sent) == 1 and page.is_visible("#result") and page.text_content("#name") == "x.png"
    # An upload on its way ends with Cancel.
    page.unroute("**/segment")
    ended = []
    page.on("requestfailed", lambda request: ended.append(request.url))
    page.route("**/segment", lambda route: None)
    page.set_input_files("#files", picture("third.png"))
    page.wait_for_selector("#progress:not([hidden])")
    page.click("#cancel")
    page.wait_for_timeout(300)
    assert [url for url in ended if url.endswith("/segment")] and page.is_visible("#result")
    page.wrong.clear()


def test_progress_is_a_percentage_of_the_slices_of_all_checkpoints(tab):
    page = tab()
    told = {"status": "running", "progress": {"before": 0, "done": 5, "of": 24}}
    page.route(re.compile(r"/results/[\w-]+$"), lambda route: route.fulfill(json=route.fetch().json() | told))
    page.set_input_files("#files", picture())
    api.expect(page.locator("#progress-text")).to_have_text("Segmenting, 20%")
    told.clear()
    shown(page)


def test_limits_are_asked_for_again_and_hold_before_anything_is_sent(tab):
    page = tab()
    page.route("**/about", lambda route: route.abort())
    page.reload()
    refused(page, "The server does not answer.")
    with page.expect_event("requestfailed"):
        page.set_input_files("#files", picture())
    page.wait_for_timeout(200)
    refused(page, "The server does not answer.")
    page.unroute("**/about")
    page.route("**/about", lambda route: route.fulfill(json=route.fetch().json() | {"upload_files": 1}))
    page.set_input_files("#files", [picture("a.png"), picture("b.png")])
    api.expect(page.locator("#error")).to_have_text("2 files, and the server takes 1 at most. Nothing was sent.")
    page.set_input_files("#files", picture())
    shown(page)
    # What holds no file is told, too.
    page.evaluate("dispatchEvent(new DragEvent('drop', { cancelable: true, dataTransfer: new DataTransfer() }))")
    api.expect(page.locator("#error")).to_have_text("Nothing that was dropped is a file.")


def test_a_token_that_no_header_can_have_is_refused_before_it_is_kept(tab):
    page = tab()
    told = {"status": 401, "error": "The token is missing or wrong."}

    def ask(route):
        allowed = route.request.headers.get("authorization") == "Bearer right"
        route.continue_() if allowed else route.fulfill(status=401, json=told)

    page.route("**/about", ask)
    page.reload()
    for token, said in (("sn\u2603w", "letters of ASCII"), ("two words", "letters of ASCII"), ("wrong", told["error"])):
        page.fill("#token", token)
        page.click("#login button")
        refused(page, said)
        assert page.is_visible("#login")
        assert page.evaluate("sessionStorage.getItem('token')") == ("wrong" if token == "wrong" else None)
    page.fill("#token", " right ")
    page.click("#login button")
    page.wait_for_selector("#start:not([hidden])")
    assert not page.is_visible("#error")


def test_a_dropped_folder_is_walked(tab, tmp_path):
    ct_series(tmp_path / "in" / "deep", count=2, shape=(40, 30))
    (tmp_path / "in" / ".hidden").write_bytes(b"the system's own")
    page = tab()
    files = {"items": [], "files": [str(tmp_path / "in")], "dragOperationsMask": 1}
    mouse = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        mouse.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": files})
    shown(page)
    assert page.text_content("#name") == "2 files" and page.text_content("#slice-value") == "1 / 2"
    # Each slice under its own name; what holds all of them without one.
    page.locator("canvas").press("ArrowDown")
    api.expect(page.locator("#slice-value")).to_have_text("2 / 2")
    for label, name in (("Mask, slice 2", "2 files_s002_mask.png"), ("NIfTI, all 2 slices", "2 files_nifti.nii.gz")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label, exact=True).click()
        assert download.value.suggested_filename == name


def test_figures_are_of_the_slice_that_is_shown(tab, tmp_path):
    ct_series(tmp_path / "in", count=3, shape=(40, 30))
    page = tab()
    page.set_input_files("#files", sorted((tmp_path / "in").iterdir()))
    shown(page)
    # One load is on its way at a time; the newest wish alone waits for it.
    held, asked = [], []
    files = re.compile(r"/files/1/\d/picture")

    def hold(route):
        asked.append(route.request.url)
        route.continue_() if held else held.append(route)

    page.route(files, hold)
    for key in ("ArrowDown", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowUp"):
        page.locator("canvas").press(key)
    page.wait_for_timeout(200)
    assert len(asked) == 1 and page.text_content("#slice-value") == "2 / 3"
    held[0].continue_()
    api.expect(page.locator("#slice-value")).to_have_text("1 / 3")
    assert len(asked) == 2
    before = page.locator("#figures").text_content(), page.get_attribute("canvas", "aria-label")
    assert re.search(r"slice 1 of 3, mask [\d.]+ [cm]m², doubt", before[1])
    # The result is gone from the server.
    link = page.evaluate(
        """async () => {
            const asked = performance.getEntriesByType('resource').map((one) => one.name);
            const link = asked.find((one) => one.includes('/results/'));
            await fetch(link.match(/.*results\\/[\\w-]+/)[0], { method: 'DELETE' });
        }"""
    )
    assert link is None
    page.locator("canvas").press("ArrowDown")
    refused(page, "The server keeps this result no longer.")
    page.wait_for_timeout(500)  # the files of a slice are asked for together, and the browser has a line of each
    assert [line for line in page.wrong if "status of 404" not in line] == []
    page.wrong.clear()
    page.uncheck("#outline")
    page.wait_for_timeout(200)
    assert page.text_content("#slice-value") == "1 / 3" and page.input_value("#slice") == "1"
    assert page.locator("#figures").text_content() == before[0]
    assert page.get_attribute("canvas", "aria-label").startswith(before[1].partition("Shown")[0])
    assert page.is_disabled("#width") and page.is_disabled("#downloads button >> nth=0") and page.is_disabled("#slice")
    page.click("#new")
    page.wait_for_timeout(300)  # nothing is asked for that is not there: that would be in the console


def test_words(tab):
    """Figures and names as a person reads them."""
    page = tab()
    call = "async ([module, name, ...given]) => (await import(`/static/${module}.js`))[name](...given)"
    for given, text in (
        (("words", "area", 9996, 0.1), "999.6 mm²"),
        (("words", "area", 9999.6, 0.1), "1,000 mm²"),
        (("words", "area", 1234500, 1), "12,350 cm²"),
        (("words", "area", 1234.4, None), "1,234 px"),
        (("words", "volume", 5123.44), "5,123 mL"),
        (("words", "volume", 0.0123), "0.0123 mL"),
        (("words", "quantity", 1, "minute"), "1 minute"),
        (("words", "quantity", 1200, "step"), "1,200 steps"),
        (("words", "range", 545, 896, 1), "545 to 896 mm²"),
        (("words", "range", 545, 1896, 1), "545 mm² to 18.96 cm²"),
        (("words", "named", "File 2: cut, not file 1, 9", [{"name": "a"}, {"name": "$&"}]), "$&: cut, not a, 9"),
        (("words", "named", "The file: cut", [{"name": "a b.png"}]), "a b.png: cut"),
        (("words", "named", "Member 1 of the archive: cut", [{"name": "a.zip"}]), "Member 1 of a.zip: cut"),
        (("downloads", "fileName", "x.nii.gz", 12, "", "/results/I/files/1/12/mask.png"), "x_s012_mask.png"),
        (("downloads", "fileName", "x.png", 0, "my run", "/results/I/files/2/1/overlay.png"), "x_my_run_overlay.png"),
        (("downloads", "fileName", "1.2.840.101", 0, "", "/a/1/mask.png"), "1.2.840.101_mask.png"),
        (("downloads", "fileName", "scan.2024.dcm", 0, "", "/a/1/mask.png"), "scan.2024_mask.png"),
        (("downloads", "fileName", ".png", 0, "", "/a/nifti.nii.gz"), "result_nifti.nii.gz"),
    ):  # fmt: skip
        assert page.evaluate(call, list(given)) == text


def test_two_checkpoints_are_told_apart(tab, tmp_path):
    ct_series(tmp_path / "in", count=12, shape=(40, 30))
    page = tab()

    def answer(route):
        body = route.fetch().json()
        if body["status"] == "done":
            other = json.loads(json.dumps(body["networks"][0])) | {"name": "other"}
            for one, warning in ((body["networks"][0], None), (other, "It is unlike.")):
                for found in one["slices"]:
                    found["warning"] = warning
            body["networks"].append(other)
        route.fulfill(json=body)

    page.route(re.compile(r"/results/[\w-]+$"), answer)
    page.set_input_files("#files", sorted((tmp_path / "in").iterdir()))
    shown(page)
    assert page.locator("#viewers figcaption strong").all_text_contents() == ["lung_xray", "other"]
    assert page.locator("#figures caption").all_text_contents() == ["lung_xray", "other"]
    assert page.locator("#figures .warning").all_text_contents() == ["other: It is unlike."]
    assert page.text_content("#slice-value") == "6 / 12"  # on one line, as the threshold
    heights = [page.locator(f"#{name}-value").bounding_box()["height"] for name in ("slice", "threshold")]
    assert heights[0] == heights[1]
    names = page.locator("#downloads button").all_text_contents()
    assert names[:2] == ["Mask, slice 6, lung_xray", "Overlay, slice 6, lung_xray"] and "Mask, slice 6, other" in names

"""Helpers of the tests of the page: what is given to it, and read of it."""

import io

import pytest
from PIL import Image

from ddim_jax.data.datasets.phantom import draw_phantom

api = pytest.importorskip("playwright.sync_api")

GREEN = """() => {
  const canvas = document.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] === 0 && data[i + 1] === 255 && data[i + 2] === 170;
  return sum;
}"""

GREY = """() => {
  const canvas = document.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i];
  return sum / (data.length / 4);
}"""


def number(text):
    return float(text.split()[0].replace(",", ""))


def picture(name="x.png", seed=3):
    """A phantom as a file that a page takes."""
    file = io.BytesIO()
    Image.fromarray(draw_phantom("test", 0, seed, 96)[0]).save(file, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": file.getvalue()}


def refused(page, text):
    """Waits for an error and forgives the browser's own line of it."""
    api.expect(page.locator("#error")).to_contain_text(text)
    assert [line for line in page.wrong if "status of 4" not in line and "net::ERR" not in line] == []
    page.wrong.clear()


def shown(page):
    page.wait_for_selector("#result:not([hidden])")
    page.wait_for_selector("canvas[aria-label]")
    return page

"""Images that the tests of the server send, the network whose masks are known, and a server that is ready."""

import io
import time

import numpy as np
from PIL import Image
from segmenters import SIZE, red_segmenter

from ddim_jax.serve.network import ServedNetwork


def network(name="red", segments=("Lung",), **sample):
    return ServedNetwork.create(name, red_segmenter(**sample), segments)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def half(rows=SIZE // 2, size=SIZE):
    """An image at the size of the network, white in its first rows, and black."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[:rows] = 255
    return pixels


def ready(client):
    """The client, once its server has compiled its programs."""
    until = time.monotonic() + 60
    while client.get("/healthz").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.01)
    return client

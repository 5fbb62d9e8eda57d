"""A segmenter whose samples are written down, and a data set in memory, so that every score can be computed by hand."""

import numpy as np

from ddim_jax.data import Example
from ddim_jax.inference.calibration import load_calibration, load_reference
from ddim_jax.labels import Labels
from ddim_jax.sampling_options import SamplingOptions

CONFIG = {
    "diffusion": {"num_train_timesteps": 1000},
    "data": {"name": "folder", "root": "/data/lungs", "image_size": 4, "split_seed": 7},
    "sample": {"steps": 3, "samples": 2, "eta": 0.0, "clip_x0": None, "protocol": "mean"},
}


class FakeSegmenter:
    """The red value of an image's first pixel is the key to its samples in `estimates`."""

    def __init__(
        self,
        estimates: dict[int, np.ndarray],
        checkpoint: str = "RUN/checkpoints/800",
        labels: Labels = Labels(),
    ):
        self.estimates = {key: np.asarray(value, np.float32) for key, value in estimates.items()}
        self.config = CONFIG | {"data": CONFIG["data"] | labels.as_config()}
        self.labels, self.step, self.checkpoint = labels, 800, checkpoint
        self.image_size = next(iter(self.estimates.values())).shape[2]
        self.calls = []
        self.bounds = set()  # eta and clip_x0 of all calls
        self.training_data = {}
        self.weights = "0" * 64

    def fingerprint(self):
        return self.weights

    one_pass, others, is_packed = False, (), False

    @property
    def checkpoints(self):
        return (self.checkpoint,)

    def evaluations(self, options):
        return options.steps * options.samples

    def calibration(self, options):
        return load_calibration(self, options)

    def reference(self):
        return load_reference(self)

    def drop_calibration(self):
        pass

    def options(self, options=None, **given):
        return SamplingOptions.create(self.config, **({} if options is None else options.as_given()) | given)

    def batch_size(self, options, given=None, count=1):
        return given or 1

    def sample_each(self, images, options, batch_size=None):
        return [self.sample(image, options) for image in images]

    def sample(self, image, options=None, **given):
        options = self.options(options, **given)
        key = int(image[0, 0, 0])
        self.calls.append((key, options.samples, options.steps, options.seed))
        self.bounds.add((options.eta, options.clip_x0))
        return self.estimates[key][: options.samples]

    def trajectory(self, image, options):
        self.bounds.add((options.eta, options.clip_x0))
        steps = options.steps
        final = self.estimates[int(image[0, 0, 0])][0]
        rates = np.arange(steps + 1, dtype=np.float32).reshape(-1, *[1] * final.ndim) / steps
        return np.append(np.arange(steps)[::-1] * 100, -1), rates * final, rates[1:] * final


class MemorySource:
    name = "memory"

    def __init__(self, examples: list[Example]):
        self.examples = examples
        self.ids = tuple(example.id for example in examples)

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        return self.examples[i]


def picture(key: int, shape: tuple[int, int] = (4, 4)) -> np.ndarray:
    image = np.full((*shape, 3), 90, np.uint8)
    image[0, 0] = key
    return image


def rows(*values: float) -> np.ndarray:
    """A 4-column map whose rows hold these values."""
    return np.repeat(np.array(values, np.float32)[:, None], 4, axis=1)


FIGURES = {"grid.png", "worst.png", "median.png", "reverse_process.png", "scores.png", "calibration.png"}
TOP_HALF = rows(1, 1, 0, 0).astype(np.uint8)
EMPTY = np.zeros((4, 4), np.uint8)


def speck(value: float) -> np.ndarray:
    """-1 but for the first pixel."""
    field = np.full((4, 4), -1.0)
    field[0, 0] = value
    return field


def hand_case() -> tuple[FakeSegmenter, MemorySource]:
    """Three images of 4 x 4 with two samples each.

    a: truth is the top half; one sample is right, the other has the second row at -0.2. Means 1, 0.4, -1, -1: the
       mask of "mean" is right, the paper's stretch gives the second row 0.7 and drops it.
    b: nothing there, samples flat at -1.
    c: nothing there, one pixel at -0.5: stretched to 1 by the paper's protocol.
    """
    segmenter = FakeSegmenter(
        {
            1: [rows(1, 1, -1, -1), rows(1, -0.2, -1, -1)],
            2: [rows(-1, -1, -1, -1)] * 2,
            3: [speck(-0.5), speck(-0.5)],
        }
    )
    source = MemorySource(
        [Example("a", picture(1), TOP_HALF), Example("b", picture(2), EMPTY), Example("c", picture(3), EMPTY)]
    )
    return segmenter, source

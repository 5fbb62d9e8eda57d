"""Records from before an option of samplers was added, as one without eta: they hold for its default.

Other options are in every record: nobody knows what one without them was made with.
"""

import json

import numpy as np
import pytest
from index_records import SETTINGS
from segmenters import ReadsRed, config

from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import Calibrated, load_calibration, save_calibration
from ddim_jax.inference.calibration_advice import calibrated_options
from ddim_jax.inference.index import Index
from ddim_jax.inference.processes import Process
from ddim_jax.metrics import DoubtScale, Quantiles
from ddim_jax.runtime.errors import InputError

ABOUT = {"dataset": "lungs", "split": "val", "images": 40, "ids_sha256": "0" * 64}
CALIBRATED = Calibrated(0.9, (Quantiles(area=2.0, dice=5.0),), 1.5, ABOUT, DoubtScale(1.0, (0.0,), (1.0,)))


@pytest.mark.parametrize(
    ("lacks", "given", "reason"),
    [
        ("eta", {}, None),
        ("eta", {"eta": 0.5}, "eta is 0.5 now and was 0.0"),
        ("steps", {}, "steps is 2 now and was none"),
        ("flips", {}, "flips is False now and was none"),
    ],
)
def test_a_calibration(tmp_path, lacks, given, reason):
    place = tmp_path / "run" / "checkpoints" / "7"
    place.mkdir(parents=True)
    params = {"gain": np.float32(1), "bias": np.float32(0)}
    segmenter = Segmenter(ReadsRed(), params, config=config(), step=7, checkpoint=str(place))
    path = save_calibration(segmenter, calibrated_options(segmenter.options(), segmenter.labels), CALIBRATED)
    record = json.loads(path.read_text())
    del record["options"][lacks]
    path.write_text(json.dumps(record))
    found, why_not = load_calibration(segmenter, segmenter.options(**given))
    if reason is None:
        assert (found, why_not) == (CALIBRATED, "")
    else:
        assert found is None and f"is not used: {reason}. " in why_not


def test_a_folder_of_results(tmp_path):
    Index(tmp_path, SETTINGS, Process()).close()
    Index(tmp_path, SETTINGS | {"eta": 0.0}, Process()).close()
    with pytest.raises(InputError, match=r"of other settings: eta is 0\.0 there and 0\.5 now\. Use another"):
        Index(tmp_path, SETTINGS | {"eta": 0.5}, Process())
    with pytest.raises(InputError, match="of other settings: flips is None there and False now"):
        Index(tmp_path, SETTINGS | {"flips": False}, Process())

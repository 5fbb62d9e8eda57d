import pytest
from segmenters import config

from ddim_jax.inference import Settings
from ddim_jax.io.errors import InputError


def test_defaults_come_from_the_config_and_the_protocol():
    assert Settings.create(config()) == Settings(samples=3, steps=2, seed=0, protocol="calibrated", threshold=0.5)
    assert Settings.create(config(protocol="paper", steps=4)) == Settings(3, 4, 0, "paper", 0.9)
    chosen = Settings.create(
        config(), samples=1, steps=100, seed=2**32 - 1, protocol="paper", threshold=0, size="native"
    )
    assert chosen == Settings(1, 100, 2**32 - 1, "paper", 0.0, "native")
    assert Settings.create(config()).size == Settings.create(config(), size="model").size == "model"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples is 0; expected a whole number from 1"),
        ({"samples": 2.0}, "samples is 2.0"),
        ({"steps": 101}, "steps is 101; expected a whole number from 1 to 100"),
        ({"steps": True}, "steps is True"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ({"threshold": 1.5}, "threshold is 1.5; expected a number from 0 to 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"protocol": "papers"}, "protocol is 'papers'; expected one of paper, calibrated"),
        ({"size": 256}, "size is 256; expected one of model, native"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(InputError, match=message):
        Settings.create(config(), **values)

"""Fields that were set and do nothing are refused for a new run."""

import pytest
from test_config import changed

from ddim_jax.config import check_config, refuse_unused
from ddim_jax.runtime.errors import ConfigError


def test_a_fold_without_folds_is_refused():
    config = changed("data.fold", 1)
    check_config(config)
    with pytest.raises(ConfigError, match=r"^data\.fold is 1 and data\.folds is not set"):
        refuse_unused(config)

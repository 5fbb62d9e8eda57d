"""Trains a model: python train.py --config configs/demo.py [--workdir DIR] [--config.FIELD=VALUE ...]."""

from absl import app, flags
from ml_collections import config_flags

from ddim_jax.io.compile_cache import keep_compiled_programs
from ddim_jax.io.errors import report_input_errors
from ddim_jax.training import train
from ddim_jax.training.command import parse_flags
from ddim_jax.training.distributed import initialise
from ddim_jax.training.interrupt import StopRequest

_CONFIG = config_flags.DEFINE_config_file("config", None, "The configuration, a file of configs/.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run goes and is resumed from; runs/<config.name> by default."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator-address", None, "HOST:PORT of process 0, where several train together and no launcher says so."
)
_PROCESSES = flags.DEFINE_integer("process-count", None, "How many processes train together.")
_PROCESS = flags.DEFINE_integer("process-id", None, "Which of them this is, from 0.")


_NEED_LESS = "Raise train.accumulate, set model.overrides.remat, or lower data.image_size or train.batch_size."


def main(_) -> int:
    request = StopRequest()
    stopped = "stopped; the same command goes on from the last checkpoint, if there is one"
    with report_input_errors(stopped, _NEED_LESS):
        keep_compiled_programs()
        initialise(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
        train(_CONFIG.value, _WORKDIR.value or f"runs/{_CONFIG.value.name}", request)
    return request.exit_status


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse_flags)

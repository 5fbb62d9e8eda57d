"""Trains a model: python train.py --config configs/demo.py [--workdir DIR] [--config.FIELD=VALUE ...]."""

import sys

from ddim_jax.runtime.signals import StopRequest, stop_on_signals

_BEFORE = "stopped before training began"
_NEED_LESS = "Raise train.accumulate, set model.overrides.remat, or lower data.image_size or train.batch_size."


def main() -> None:
    request = StopRequest()
    request.leave_at_once(lambda _: print(_BEFORE, file=sys.stderr, flush=True))
    with stop_on_signals(request):
        _main(request)


def _main(request: StopRequest) -> None:
    # Not at the head of the file: they take seconds, in which a signal may come.
    from absl import app, flags
    from ml_collections import config_flags

    from ddim_jax.cli.train import parse_flags
    from ddim_jax.runtime.allocator import keep_freed_memory
    from ddim_jax.runtime.compile_cache import keep_compiled_programs
    from ddim_jax.runtime.distributed import initialise
    from ddim_jax.runtime.errors import report_input_errors
    from ddim_jax.training import train

    config = config_flags.DEFINE_config_file("config", None, "The configuration, a file of configs/.")
    workdir = flags.DEFINE_string(
        "workdir", None, "Where the run goes and is resumed from; runs/<config.name> by default."
    )
    coordinator = flags.DEFINE_string(
        "coordinator-address", None, "HOST:PORT of process 0, where several train together and no launcher says so."
    )
    processes = flags.DEFINE_integer("process-count", None, "How many processes train together.")
    process = flags.DEFINE_integer("process-id", None, "Which of them this is, from 0.")

    def run(_) -> int:
        stopped = "stopped; the same command goes on from the last checkpoint, if there is one"
        with report_input_errors(stopped, _NEED_LESS):
            keep_compiled_programs()
            keep_freed_memory()
            initialise(coordinator.value, processes.value, process.value)
            train(config.value, workdir.value or f"runs/{config.value.name}", request)
        return request.exit_status

    flags.mark_flag_as_required("config")
    app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    main()

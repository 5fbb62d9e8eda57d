"""`ddim-jax pretrain`: its arguments, and the lines that it prints."""

import functools
import sys
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from ddim_jax.cli.begin import begin, find_device
from ddim_jax.cli.train import NEED_LESS, parse_flags
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import printable
from ddim_jax.runtime.signals import cleaned_up_on_sigterm
from ddim_jax.training.pretraining import pretrain


def run(description: str) -> NoReturn:
    """Pre-trains as the command line says; ends the program with the exit status."""
    config = config_flags.DEFINE_config_file(
        "config", None, "The configuration of the training to come; data.unlabelled is the folder of images."
    )
    output = flags.DEFINE_string(
        "output", None, "FILE.safetensors to write, for --config.train.init_from; not an existing file."
    )

    def main(_) -> int:
        stopped = "stopped; nothing was written"
        with cleaned_up_on_sigterm(stopped), report_input_errors(stopped, NEED_LESS):
            begin()
            find_device()
            logging.set_verbosity(logging.INFO)
            packed = pretrain(config.value, output.value)
        size = Path(output.value).expanduser().stat().st_size
        print(f"{printable(output.value)}: {size / 2**20:.1f} MiB, {packed.metadata['data']['note']}")
        return 0

    for holder in (config, output):  # what --help shows
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[holder.name])
    app.run(main, flags_parser=functools.partial(parse_flags, description=description, required=("output",)))

"""Run by test_training_processes.py as one of several processes: trains, and has something done to it on the way.

python training_process.py FOLDER JSON [HOST:PORT COUNT INDEX]

JSON: {"config": fields of `tiny_config`, "diffusion": whether the network has it, "at": step, "to": process,
"signal": number, "slices": share out small arrays too, "reading": the signal comes while the data are read,
"validating": it comes in the first validation, "broken": a process that raises an error while the data are read,
"full": the step from which on the disk refuses numbers}
"""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
from tiny_runs import tiny_config, unet_config

from ddim_jax.checkpoints import items
from ddim_jax.runtime import distributed, processes
from ddim_jax.runtime.errors import DataError, report_input_errors
from ddim_jax.runtime.signals import StopRequest, stop_on_signals
from ddim_jax.training import loop, setup, train

if __name__ == "__main__":
    folder, told, joined = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    distributed.HEARTBEAT_SECONDS = processes.HEARTBEAT_SECONDS = 10
    if told.get("slices"):
        items._WORTH_SHARING = 0
    batches = loop.batches

    def disturbed(source, resident, mesh, order, **options):
        train_batches = batches(source, resident, mesh, order, **options)
        for step, batch in enumerate(train_batches, start=order.start_step + 1):
            if step >= told.get("at", 10**6):
                if step == told["at"] and jax.process_index() == told["to"]:
                    signal.raise_signal(told["signal"])
                time.sleep(0.5)
            yield batch

    def stopped(*arguments, **options):
        if jax.process_index() == told.get("broken"):
            raise DataError("x.png: no image")
        if jax.process_index() == told.get("to"):
            signal.raise_signal(told["signal"])
            time.sleep(600)
        return read(*arguments, **options)

    read = setup.read_pictures
    validate = loop.Validator.__call__

    def signalled(self, params, given_up):
        if jax.process_index() == told["to"]:
            signal.raise_signal(told["signal"])
        result = validate(self, params, given_up=given_up)
        print("validated" if result else "gave up")
        return result

    report = loop.Reporter.training

    def refused(self, step, values):
        if step >= told["full"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "metrics.jsonl"))
        report(self, step, values)

    loop.batches = disturbed
    if told.get("full"):
        loop.Reporter.training = refused
    if told.get("reading"):
        setup.read_pictures = stopped
    if told.get("validating"):
        loop.Validator.__call__ = signalled
    distributed.initialise(*joined[:1], *map(int, joined[1:]))
    request = StopRequest()
    config = (tiny_config if told.get("diffusion") else unet_config)(**told.get("config", {}))
    with report_input_errors(), stop_on_signals(request):
        reached = train(config, folder, request)
    print(f"reached {reached}")
    sys.exit(request.exit_status)

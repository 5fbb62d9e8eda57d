"""Run by test_training_processes.py as one of several processes: trains, and has something done to it on the way.

python on_processes.py FOLDER JSON [HOST:PORT COUNT INDEX]

JSON: {"config": fields of `tiny_config`, "diffusion": whether the network has it, "at": step, "to": process,
"signal": number, "slices": share out small arrays too, "reading": the signal comes while the data are read,
"validating": it comes in the first validation, which goes on when all know of it; those of "finish" end it}
"""

import json
import signal
import sys
import time
from pathlib import Path

import jax
from tiny_runs import tiny_config, unet_config

from ddim_jax.checkpoints import store
from ddim_jax.runtime.distributed import initialise
from ddim_jax.runtime.signals import StopRequest, stop_on_signals
from ddim_jax.training import loop, peers, train

if __name__ == "__main__":
    folder, told, joined = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    peers.SILENCE_SECONDS, peers.TICK_SECONDS = 8.0, 0.1
    if told.get("slices"):
        store._WORTH_SHARING = 0
    batches = loop.Feed.batches

    def disturbed(self, start_step):
        for step, batch in enumerate(batches(self, start_step), start=start_step + 1):
            if step >= told.get("at", 10**6):
                if step == told["at"] and jax.process_index() == told["to"]:
                    signal.raise_signal(told["signal"])
                time.sleep(0.5)  # or the run would be over before anybody heard of it
            yield batch

    def stopped(*arguments, **options):
        if jax.process_index() == told["to"]:
            signal.raise_signal(told["signal"])
            time.sleep(600)
        return read(*arguments, **options)

    read = loop.load_dataset
    validate = loop.Validator.__call__

    def signalled(self, params, given_up):
        if jax.process_index() == told["to"]:
            signal.raise_signal(told["signal"])
        while not given_up():
            time.sleep(0.05)
        finishes = jax.process_index() in told["finish"]
        result = validate(self, params, given_up=(lambda: False) if finishes else given_up)
        print("validated" if result else "gave up")
        return result

    loop.Feed.batches = disturbed
    if told.get("reading"):
        loop.load_dataset = stopped
    if told.get("validating"):
        loop.Validator.__call__ = signalled
    initialise(*joined[:1], *map(int, joined[1:]))
    request = StopRequest()
    config = (tiny_config if told.get("diffusion") else unet_config)(**told.get("config", {}))
    with stop_on_signals(request):
        reached = train(config, folder, request)
    print(f"reached {reached}")
    sys.exit(request.exit_status)

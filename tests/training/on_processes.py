"""Run by test_processes.py as one of several processes: trains, and has something done to it on the way.

python on_processes.py FOLDER HOST:PORT COUNT INDEX '{"config": FIELDS, "at": STEP, "to": INDEX, "signal": NUMBER}'
"""

import json
import signal
import sys
import time
from pathlib import Path

from tiny_runs import tiny_config

from ddim_jax.training import loop, peers, train
from ddim_jax.training.distributed import initialise

if __name__ == "__main__":
    folder, address, count, index, told = (
        Path(sys.argv[1]),
        sys.argv[2],
        *map(int, sys.argv[3:5]),
        json.loads(sys.argv[5]),
    )
    peers.SILENCE_SECONDS, peers.TICK_SECONDS = 8.0, 0.1
    batches = loop.Feed.batches

    def disturbed(self, start_step):
        for step, batch in enumerate(batches(self, start_step), start=start_step + 1):
            if step >= told.get("at", 10**6):
                if step == told["at"] and index == told["to"]:
                    signal.raise_signal(told["signal"])
                time.sleep(0.5)  # or the run would be over before anybody heard of it
            yield batch

    loop.Feed.batches = disturbed
    initialise(address, count, index, timeout=60)
    reached = train(tiny_config(**told.get("config", {})), folder)
    print(f"reached {reached}")

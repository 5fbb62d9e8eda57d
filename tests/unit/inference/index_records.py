"""An index that tests open, add to and look at."""

import contextlib
import json

from index_lines import line

from ddim_jax.inference.index import Index
from ddim_jax.inference.processes import Process

SETTINGS = {"checkpoint": "run/7", "weights": "abc", "steps": 2}


ONE = Process(0, 1)


def open_index(folder, process=ONE, **settings):
    return contextlib.closing(Index(folder, SETTINGS | settings, process))


def add(index, *names, **fields):
    for name in names:
        index.add(json.loads(line(name, **fields)))


def text(folder):
    return (folder / "index.jsonl").read_text()


def names(records):
    return [record["name"] for record in records]


def files(folder):
    return sorted(path.name for path in folder.iterdir())

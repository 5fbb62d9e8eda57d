"""python archive_process.py INPUT OUTPUT INDEX COUNT SECONDS: one process of several, as slow as it is told to be."""

import sys
import time

from segmenters import MixesNoise, tiny_segmenter

from ddim_jax.inference import Process, segment_files

source, output, index, count, seconds = sys.argv[1:]
segmenter = tiny_segmenter(MixesNoise())
fetch = segmenter.fetch


def fetch_slowly(started):
    time.sleep(float(seconds))
    return fetch(started)


segmenter.fetch = fetch_slowly
segment_files(segmenter, source, output, prefetch=2, process=Process(int(index), int(count)))

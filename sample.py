"""Segments image files with a trained checkpoint.

  python sample.py --ckpt runs/demo --input photos/ --output results/ --save mask,overlay
  srun --ntasks 4 python sample.py ...    (or mpirun -n 4, or --process-id I --process-count 4)

Exit status: 0 if every image was segmented, 1 if some could not be read (each is named at the end), 2 if an argument
cannot be used, 130 if it was stopped with Ctrl-C. A run that was stopped goes on when it is started again.
"""

import sys

from ddim_jax.runtime.signals import left_on_ctrl_c


def main() -> int:
    with left_on_ctrl_c("stopped before an image was segmented"):
        # Not at the head of the file: it takes seconds, in which Ctrl-C may come.
        from ddim_jax.cli.sample import parse_arguments, run

        options = parse_arguments(__doc__)
    return run(options)


if __name__ == "__main__":
    sys.exit(main())

"""Scores a checkpoint on a split of its data set: tables, numbers per image and figures.

python evaluate.py --ckpt RUN --split test
"""

from ddim_jax.runtime.signals import left_on_ctrl_c


def main() -> None:
    with left_on_ctrl_c("stopped before an image was evaluated"):
        # Not at the head of the file: it takes seconds, in which Ctrl-C may come.
        from ddim_jax.cli.evaluate import parse_arguments, run

        arguments = parse_arguments(__doc__)
    run(arguments)


if __name__ == "__main__":
    main()

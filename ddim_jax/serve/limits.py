"""Bounds on what a server takes and keeps."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """The bounds of one server; an upload past one of them is refused with a message that says so.

    Attributes:
      upload_bytes: of one request, and of what an archive in it holds when it is unpacked.
      upload_files: in one upload, those in an archive too.
      idle_seconds: that pass without a byte of an upload; it may take as long as its line needs.
      picture_pixels: of one image; readers bound those of all slices (`ddim_jax.imageio.stacks.MAX_VOXELS`).
      steps, samples: that a request may ask for; the server's own options may be beyond.
      evaluations: of a network for all samples of all slices of a source.
      programs: compiled programs that are held for each checkpoint; one more, and all are dropped.
      receiving: uploads that are on their way at once; more are told to try again.
      waiting: uploads that wait and are segmented at once; more are told to try again.
      kept_bytes: half of it for uploads on their way, waiting and being segmented, of which one may be larger; half for
        results, of which the oldest go first.
      kept_seconds: after which a result is removed.
    """

    upload_bytes: int = 2**28
    upload_files: int = 2048
    idle_seconds: float = 10.0
    picture_pixels: int = 2**25
    steps: int = 50
    samples: int = 16
    evaluations: int = 2**17
    programs: int = 8
    receiving: int = 256
    waiting: int = 64
    kept_bytes: int = 2**30
    kept_seconds: float = 1800.0

"""The plan of a run over files: its arguments checked, its images named, the settings that its folder has."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import logging

from ddim_jax.imageio.clinic import library
from ddim_jax.imageio.writers import Context, need_hypotheses
from ddim_jax.inference.file_options import FileOptions
from ddim_jax.inference.hypotheses import why_no_opinions
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import Job, absolute, plan_jobs
from ddim_jax.inference.ownership import refuse_shared_folders
from ddim_jax.inference.processes import Process
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.writing import writing_context
from ddim_jax.ops.cpu_kernels import loaded_digest
from ddim_jax.registry import READERS, WRITERS
from ddim_jax.runtime.environment import environment
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.values import taken
from ddim_jax.sampling_options import SamplingOptions


class SegmentationPlan(NamedTuple):
    """The arguments of `segment_files`, checked and resolved.

    Attributes:
      output_dir: the folder of the results.
      file_options: with the batch size that was chosen.
      process: which of the processes this is.
      jobs: the images of all processes.
      passed_over, not_judged: as in `Summary`.
      context: of the run, for writers; it has the options of sampling.
      settings: what all results of the folder have in common.
      described: what all processes that are at work together have in common, in words.
    """

    output_dir: Path
    file_options: FileOptions
    process: Process
    jobs: Sequence[Job]
    passed_over: Mapping[str, int]
    not_judged: str
    context: Context
    settings: dict[str, Any]
    described: dict[str, Any]

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of results that are asked for."""
        return self.file_options.save


def plan_work(
    segmenter: Segmenter,
    inputs: str | os.PathLike | Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    options: SamplingOptions | None,
    process: Process,
    **given: Any,
) -> SegmentationPlan:
    """Checks the arguments of `ddim_jax.inference.files.segment_files`, which it has; nothing is written.

    Raises:
      InputError, TypeError: as there.
    """
    say_once.cache_clear()
    inputs = [local_path(path, "input") for path in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    output_dir = local_path(output_dir, "output")
    process = Process.create(*process)
    file_options = taken(FileOptions, given, SamplingOptions)
    options = segmenter.options(options, **given)
    file_options = file_options.checked()
    kinds = file_options.save
    if need_hypotheses(kinds) and (why := why_no_opinions(segmenter.config, segmenter.training_data, options)):
        logging.warning("hypotheses: expect one mask and noise, not opinions: %s", why)
    output_dir = Path(absolute(output_dir))
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"{output_dir} is a file; expected a folder for the results")
    plan = plan_jobs(inputs, output_dir)
    refuse_shared_folders(plan.jobs, kinds)
    _check_libraries(plan.jobs)
    if plan.remark:
        logging.warning("%s", plan.remark)
    if process.count > 1 and plan.inside is not None:
        # A process could take for an image what another has just written.
        raise InputError(f"{plan.inside} lies in the output folder; with several processes, use another output folder")
    context = writing_context(segmenter, options, file_options.segments)
    for kind in kinds:
        if (check := getattr(WRITERS.get(kind), "check", None)) is not None:
            check([Path(job.files[0]) for job in plan.jobs], context)
    batch_size = segmenter.batch_size(options, file_options.batch_size, len(plan.jobs))
    reference, not_judged = segmenter.reference()
    settings = {"checkpoint": context.checkpoint, "weights": context.weights, "step": context.step}
    settings |= options.as_dict()
    settings |= {
        "surroundings": environment(loaded_digest())
        | ({} if jax.default_backend() == "cpu" else {"batch_size": str(batch_size)})
    }
    # The masks are the same without: a folder that knows of none is one of a run that was not calibrated.
    settings |= {} if context.calibration is None else {"calibration": context.calibration.digest()}
    settings |= {} if reference is None else {"unlikeness": reference.digest()}
    described = {
        "input": _described([absolute(path) for path in inputs]),
        # A part of an archive may be away while one of the processes looks at it.
        "list of images": _described(sorted(job.source for job in plan.jobs)),
        "save": list(kinds),
        "segments": dict(context.segments),
        "flag_uncertain": file_options.flag_uncertain,
    }
    return SegmentationPlan(
        output_dir=output_dir,
        file_options=dataclasses.replace(file_options, batch_size=batch_size),
        process=process,
        jobs=plan.jobs,
        passed_over=plan.passed_over,
        not_judged=not_judged,
        context=context,
        settings=settings,
        described=described,
    )


def check_earlier_kinds(work: SegmentationPlan, jobs: Iterable[Job], index: Index) -> None:
    """Checks the kinds of results that an earlier run saved of these images, which are made again with the wanted ones.

    Raises:
      InputError: what one of them needs besides its images is not there.
    """
    first: dict[str, Job] = {}
    for job in jobs:
        for kind in set(index.record(job.name).get("outputs", ())) - set(work.kinds):
            first.setdefault(kind, job)
    for kind, job in first.items():
        if (check := getattr(WRITERS.get(kind), "check", None)) is None:
            continue
        try:
            check([], work.context)  # what the images lack is said of each
        except InputError as error:
            raise InputError(
                f"an earlier run saved {kind} of {job.source} in {work.output_dir}, and it has to be made again with "
                f"the other results: {error}"
            ) from error


def _check_libraries(jobs: Sequence[Job]) -> None:
    """Asks for the libraries of all formats now: the first file that needs one may come after hours of others.

    Raises:
      InputError: as `ddim_jax.imageio.clinic.library`.
    """
    for reader, package in (("nifti", "nibabel"), ("dicom", "pydicom")):
        if any(job.files[0].lower().endswith(READERS.get(reader).suffixes) for job in jobs):
            library(package)


def _described(paths: Sequence[str]) -> str:
    """Paths in one line; of many, as a shell makes of a pattern, the first, their number and a digest of all."""
    if len(paths) <= 3:
        return ", ".join(paths)
    digest = hashlib.sha256("\0".join(paths).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{paths[0]} and {len(paths) - 1} more (SHA-256 {digest[:16]})"

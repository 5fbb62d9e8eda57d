"""A run before its first step: its config made into objects, its state, its images, its step. Nothing is written.

In two parts, since reading the images may take minutes: `open_run` refuses what can be told from the config, the
names of the images and the run that lies in the folder; `prepare` reads them and makes the step.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ddim_jax import __version__
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.weights import TRAINED_IN
from ddim_jax.config import total_steps
from ddim_jax.data import Source, annotators_of, configured, load_dataset, with_derived
from ddim_jax.data.pixels import PIXELS_FIELD, check_same_pixels, digest_of
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, create_process
from ddim_jax.models.levels import check_memory
from ddim_jax.runtime.atomic import check_place
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.processes import allgather_int, run_first_then_others
from ddim_jax.training.input_pipeline import RunImages, check_ids, check_split, read_pictures, read_unlabelled
from ddim_jax.training.mean_teacher import MeanTeacher
from ddim_jax.training.one_training import OneTraining, check_files
from ddim_jax.training.optimiser import Optimiser, configured_optimiser
from ddim_jax.training.resume import Found, as_begun, find_checkpoint, restore, training_environment
from ddim_jax.training.run_parts import Run, RunData, RunParts
from ddim_jax.training.sharding import data_mesh
from ddim_jax.training.state import TrainState, create_state, load_weights, parameter_count, start_from
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions
from ddim_jax.training.validation import Validator, validation_options, validation_rows
from ddim_jax.unused_fields import refuse_unused


def open_run(config: Mapping[str, Any], workdir: Path, one_training: OneTraining) -> tuple[Run, TrainState]:
    """Makes the objects of a run, and its state: that of the newest intact checkpoint, or a fresh one.

    Args:
      config: resolved (`ddim_jax.config.resolve_config`).
      workdir: the folder, which need not be there.
      one_training: takes the folder if a training has been there before.

    Raises:
      ConfigError, InputError, DataError, CheckpointError, InUseError: as `ddim_jax.training.train`.
    """
    check_place(workdir)
    check_files(workdir)
    check_place(workdir / "checkpoints")
    about, fields, data = config["model"], config["train"], config["data"]
    labels = Labels.from_config(data)
    model = create_model(about["name"], preset=about["preset"], mask_channels=labels.channels, **about["overrides"])
    process = create_process(model, config["diffusion"], labels)
    check_memory(model, data["image_size"])
    mesh = data_mesh(fields["batch_size"], accumulate=fields["accumulate"])

    store = CheckpointStore(workdir / "checkpoints", keep_latest=fields["keep_latest"])
    one_training.hold_if_known()
    parts = RunParts(
        workdir=workdir,
        labels=labels,
        model=model,
        process=process,
        mesh=mesh,
        store=store,
        steps_there=store.steps(),
    )
    found = find_checkpoint(store, config, str(workdir), one_training.last_saved)
    return _begin(config, parts) if found is None else _go_on(as_begun(config, found), found, parts)


def _begin(config: Mapping[str, Any], parts: RunParts) -> tuple[Run, TrainState]:
    """A run without a checkpoint."""
    refuse_unused(config)
    image_size, init_from, weights, initial = config["data"]["image_size"], config["train"]["init_from"], None, None
    if init_from is not None:
        weights = load_weights(init_from, parts.model, image_size, parts.labels)
    data, steps, optimiser = _open_data(config)
    check_split(data.train)
    state = create_state(parts.model, optimiser, image_size, config["seed"])
    if weights is not None:
        state, initial = start_from(state, weights), weights.description
    run = Run(
        config=config,
        data=data,
        optimiser=optimiser,
        steps=steps,
        start_step=0,
        parameters=parameter_count(state.params),
        initial=initial,
        saved={},
        **vars(parts),
    )
    return run, state


def _go_on(config: Mapping[str, Any], found: Found, parts: RunParts) -> tuple[Run, TrainState]:
    """A run that goes on from a checkpoint."""
    data, steps, optimiser = _open_data(config)
    state = restore(found, parts, data, optimiser, config["data"]["image_size"])
    run = Run(
        config=config,
        data=data,
        optimiser=optimiser,
        steps=steps,
        start_step=int(state.step),
        parameters=parameter_count(state.params),
        initial=None,
        saved=found.metadata,
        **vars(parts),
    )
    return run, state


def _open_data(config: Mapping[str, Any]) -> tuple[RunData, int, Optimiser]:
    """The data of a run, its length in steps, which may depend on them, and the optimiser, which depends on that."""
    data, fields = config["data"], config["train"]
    train, validation = run_first_then_others(
        lambda: [load_dataset(split=split, **configured(data)) for split in ("train", "val")]
    )
    check_ids(train, validation)
    steps = total_steps(fields["steps"], fields["epochs"], fields["batch_size"], len(train))
    optimiser = configured_optimiser(fields, steps)
    unlabelled = read_unlabelled(data, {"train": train, "val": validation}) if data["unlabelled"] else None
    return RunData(train, validation, unlabelled), steps, optimiser


class PreparedRun(NamedTuple):
    """The parts that the steps of a run are made with.

    Attributes:
      source: what is trained on: the training split, and what is made of its images (`with_derived`).
      pictures: of the training and the validation, read.
      digests: those of the pairs, `pictures.pair_digests`, and for each unlabelled image the SHA-256 of its pixels.
      trained_on: those of the training images, `pictures.image_digests`, and again those of the unlabelled ones.
      train_step: (state, batch) -> (state, metrics).
      validator: scores weights.
      metadata: of each checkpoint.
    """

    source: Source
    pictures: RunImages
    digests: dict[str, str]
    trained_on: dict[str, str]
    train_step: Callable
    validator: Validator
    metadata: dict[str, Any]


def prepare(run: Run) -> PreparedRun:
    """Reads the images of a run and makes its step and its validation.

    Raises:
      ConfigError: the run in the folder was trained on other pixels.
      DataError: an image cannot be used, or the processes do not read the same ones.
    """
    fields, data, seed = run.config["train"], run.config["data"], run.config["seed"]
    source = with_derived(
        run.data.train,
        windows=data["empty_windows"],
        erasures=data["erased"],
        side=data["image_size"],
        seed=seed,
    )
    # All processes come here, one that found nothing to make too.
    if (data["empty_windows"] or data["erased"]) and len(set(allgather_int(getattr(source, "digest", 0)))) > 1:
        raise DataError(f"{data['root']}: the processes do not read the same images (data.empty_windows, data.erased).")
    unlabelled = run.data.unlabelled
    pictures = read_pictures(
        source,
        run.data.validation,
        validation_rows(len(run.data.validation), fields["validation_images"]),
        run.mesh,
        image_size=data["image_size"],
        resident_bytes=data["resident_bytes"],
        crop_seed=seed if data["crop"] else None,
        labels=run.labels,
    )
    of_unlabelled = {} if unlabelled is None else unlabelled.digests
    digests, trained_on = pictures.pair_digests | of_unlabelled, pictures.image_digests | of_unlabelled
    if run.start_step:
        check_same_pixels(run.saved, digests, run.workdir, refuse=data["same_pixels"])
    sampling = validation_options(run.config)
    teacher = MeanTeacher(fields["unlabelled_weight"], sampling) if unlabelled else None
    options = StepOptions.from_config(run.config, teacher=teacher)
    train_step = make_train_step(run.model, run.process, run.optimiser, run.mesh, options)
    validator = Validator(
        run.model, run.process, pictures.validation, batch_size=fields["batch_size"], options=sampling, seed=seed
    )
    identity = run.data.identity() | {PIXELS_FIELD: digest_of(digests)}
    identity[TRAINED_IN] = os.getcwd()  # what a relative data.root is relative to
    identity["annotators"] = annotators_of(run.data.train)
    metadata = {
        "config": run.config,
        "package_version": __version__,
        "data": identity,
        "surroundings": training_environment(),
    }
    return PreparedRun(source, pictures, digests, trained_on, train_step, validator, metadata)

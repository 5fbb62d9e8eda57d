"""The whole of an evaluation from the names of a checkpoint and a split."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.checkpoints.weights import TRAINED_IN
from ddim_jax.data import Source, configured, generated_names, has_split, ids_digest, load_dataset
from ddim_jax.data.discovery import images_and_masks, listed
from ddim_jax.data.facts import image_digest
from ddim_jax.data.options import NoFolder
from ddim_jax.data.pixels import read_trained_on
from ddim_jax.data.split_files import called_after
from ddim_jax.evaluation.calibrating import refuse_several
from ddim_jax.evaluation.plan import choose_images
from ddim_jax.evaluation.run import evaluate
from ddim_jax.evaluation.targets import read_evaluation
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.inference import Segmenter, load_checkpoints
from ddim_jax.inference.calibration import run_folder
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.remote import local_path
from ddim_jax.sampling_options import SamplingOptions

_COMPARED = 20  # images of a training split, by their pixels


def evaluate_checkpoint(
    checkpoint: str | os.PathLike | Sequence[str | os.PathLike],
    split: str | None = None,
    options: SamplingOptions | None = None,
    *,
    output_dir: str | os.PathLike | None = None,
    data_root: str | os.PathLike | None = None,
    step: str | int = "best",
    require_sha256: str | None = None,
    annotators: Sequence[str] | None = None,
    **given: Any,
) -> tuple[dict[str, Any], Path]:
    """Loads a checkpoint and the data set it was trained on, and evaluates a split of it.

    Args:
      checkpoint: as for `Segmenter.load`, or several, which are fused (`ddim_jax.inference.Ensemble`); those of the
        folds of one cross-validation score each the images of its own fold, where no `data_root` is given.
      split: "train", "val" or "test"; with `data_root` also "all". None: "test", or "all" of a folder that is divided
        neither by a table nor by folders called after splits.
      output_dir: None for `evaluation/<split>` in the run directory, with `data_root` `evaluation/<folder>_<split>`; of
        weights without a run, of several checkpoints, and where that of another folder of this name is there, it has to
        be given.
      data_root: another folder of images/ and masks/, or another place of the published set that was trained on; None
        for the place that the checkpoint's config names. Images from there that were trained on are told of, where
        they are the same to the pixel, and the caller's to keep out of the split. Nothing is written there.
      step: "best", "latest" or a step.
      require_sha256: as for `Segmenter.load`.
      annotators: of `data_root`, as `data.annotators` of a config; () for one truth. None for those of the training.
      options, **given: passed on to `ddim_jax.evaluation.evaluate`; also `window` and `invert`, with which the images
        are then read, in the place of those of the training.

    Returns:
      What `metrics.json` holds, and the folder it was written to.

    Raises:
      InputError: as `Segmenter.load`, `load_dataset` and `evaluate` do, or the split has changed since training.
    """
    say_once.cache_clear()
    data_root, output_dir = local_path(data_root, "data_root"), local_path(output_dir, "output_dir")
    checkpoints = [checkpoint] if isinstance(checkpoint, str | os.PathLike) else list(checkpoint)
    segmenter = load_checkpoints(checkpoints, step=step, require_sha256=require_sha256)
    if segmenter.others and output_dir is None:
        raise InputError(f"{len(checkpoints)} checkpoints have no folder of their own; give --output DIR")
    if given.get("calibrate") is not None:
        refuse_several(segmenter)
    if segmenter.is_packed and output_dir is None:
        raise InputError(f"{checkpoints[0]} is a file of weights, beside which nothing is written; give --output DIR")
    data = segmenter.config["data"]
    if annotators is not None:
        if data_root is None:
            raise InputError("annotators are those of a folder of images; expected --data-root as well")
        data = {**data, "annotators": list(annotators)}
    read = {name: given.pop(name, None) for name in ("window", "invert")}
    if read := {name: value for name, value in read.items() if value is not None}:
        options = segmenter.options(options, **read)
        data = {**data, **{name: getattr(options, name) for name in read}}
    if data_root is None and len(folds_of(segmenter)) > 1:
        members = [Segmenter.load(segmenter.checkpoint), *segmenter.others]
        sources = fold_sources(members, split or "test", data)
        return evaluate(members, sources, output_dir, options, split=split or "test", **given), Path(output_dir)
    if data_root is None and given.get("calibrate") is not None and (split or "test") == "test":
        raise InputError("calibrate on the split test; expected val: test is left to measure what the bounds hold for")
    source, split = open_split(segmenter, split, data_root, data)
    if given.get("calibrate") is not None and getattr(source, "has_training_images", False):
        advice = "Give --split val, or --data-root DIR of images that were not trained on"
        raise InputError(f"calibrate: {source.note}. {advice}")
    if output_dir is None:
        output_dir = run_folder(segmenter.checkpoint) / "evaluation"
        output_dir /= split if data_root is None else f"{source.name}_{split}"
        before, place = read_evaluation(output_dir / "metrics.json") or {}, getattr(source, "place", None)
        if data_root is not None and before.get("place") not in (None, place):
            raise InputError(
                f"{output_dir} holds the evaluation of another folder called {source.name}, or of this one when it lay "
                "elsewhere; give --output DIR, or move it away"
            )
    return evaluate(segmenter, source, output_dir, options, split=split, **given), Path(output_dir)


def open_split(
    segmenter: Segmenter,
    split: str | None = None,
    data_root: str | os.PathLike | None = None,
    data: Mapping[str, Any] | None = None,
) -> tuple[Source, str]:
    """The data set that a checkpoint is evaluated on, and the name of its split.

    Args:
      segmenter: the checkpoint.
      split, data_root: as for `evaluate_checkpoint`.
      data: the section of a config that says how the images are read; None for that of the training.

    Raises:
      InputError, DataError: as `evaluate_checkpoint`.
    """
    data = segmenter.config["data"] if data is None else data
    if data_root is not None:
        return _elsewhere(segmenter, Path(data_root), split, data)
    try:
        return _of_training(segmenter, split or "test", data), split or "test"
    except NoFolder as error:  # packed weights hold no paths
        raise InputError(f"{segmenter.checkpoint} does not say where its images lie; give --data-root DIR") from error


def folds_of(segmenter: Segmenter) -> set[int]:
    """The folds of a cross-validation that the fused checkpoints are of; empty where they are of none."""
    members = [member.config["data"] for member in (segmenter, *segmenter.others)]
    return {data["fold"] for data in members if data.get("folds")}


def fold_sources(members: Sequence[Segmenter], split: str, data: Mapping[str, Any]) -> list[Source]:
    """For each checkpoint of a cross-validation the split of its own fold, in which nothing was trained on.

    Args:
      members: the checkpoints, of one fold each.
      split: "test", or "val" where the test images are the same in all folds.
      data: the section of a config that says how the images are read; folds are those of each checkpoint.

    Raises:
      InputError: an image is of two of the folds; or as `evaluate_checkpoint`.
    """
    sources = [_of_training(member, split, {**data, "fold": member.config["data"]["fold"]}) for member in members]
    times = Counter(name for source in sources for name in source.ids)
    if twice := [name for name, count in times.items() if count > 1]:
        raise InputError(
            f"{listed(twice)} ({len(twice)} of {len(times)} images) are in the {split} split of several of the "
            f"{len(members)} checkpoints; expected each in one, as the folds of one cross-validation have them. Where "
            "a splits.csv has test images these are no fold: --split val has the folds"
        )
    given, whole = sorted(member.config["data"]["fold"] for member in members), data["folds"]
    if len(given) < whole:
        logging.warning(f"folds {', '.join(map(str, given))} of {whole}: images of the others are not scored")
    return sources


def _of_training(segmenter: Segmenter, split: str, data: Mapping[str, Any]) -> Source:
    """A split of the data set that the checkpoint was trained on, where it lay then."""
    if split == "all":
        raise InputError(
            "the split all would score the images that were trained on: give --split test, or --data-root DIR with "
            "images that were not trained on"
        )
    about = configured(data)
    try:
        source = load_dataset(split=split, **about)
    except DataError as error:
        root = Path(about.get("root") or ".")
        if root.is_dir():
            raise
        relative = not root.is_absolute() and TRAINED_IN in segmenter.training_data
        lay = f" here; in training it was {segmenter.training_data[TRAINED_IN]}/{root}" if relative else ""
        raise DataError(
            f"data.root of {segmenter.checkpoint} is {root}: no such folder{lay}; give --data-root DIR"
        ) from error
    trained_on = [member.training_data.get("train_ids_sha256") for member in (segmenter, *segmenter.others)]
    now = ids_digest(load_dataset(split="train", **about)) if any(trained_on) else None
    for checkpoint, digest in zip(segmenter.checkpoints, trained_on, strict=True):
        if digest not in (None, now):
            raise InputError(
                f"{data.get('root') or data['name']}: its training split is not the one {checkpoint} was "
                "trained on, so images of it may be in the other splits now. Restore its splits.csv, or name the "
                "folder with --data-root if none of its images was trained on."
            )
    return source


def _elsewhere(segmenter: Segmenter, root: Path, split: str | None, data: Mapping[str, Any]) -> tuple[Source, str]:
    """The data set at `root`, and the split of it that is scored; nothing is written there.

    It is a folder of images/ and masks/ unless it is the published set that was trained on, unpacked elsewhere; it is
    one too where the training had no folder, and for packed weights of a plug-in's data set, which do not tell whether
    it had one. A folder without a table and without folders called after splits is scored whole, unless it is the one
    that was trained on, moved: then it has its split.
    """
    about = configured(data) | {"root": root}
    if root.is_file():
        raise DataError(f"{root}: is a file; unpack it, and give the folder with images/ and masks/ in it.")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder with images/ and masks/ in it.")
    of_package = (DATASETS.imports(data["name"]) or [""])[0].startswith("ddim_jax.")
    has_files = of_package if segmenter.is_packed else bool(data["root"])
    if data["name"] in generated_names() or not has_files or all(images_and_masks(root)):
        about["name"] = "folder"
    if about["name"] != "folder":
        about |= {"annotators": ()}
        return load_dataset(split=split or "test", **about), split or "test"
    about |= {"counts": None}
    told = _same_as_training(segmenter, about) if split != "all" or segmenter.is_packed else ""
    if split == "all":
        source = load_dataset(split="all", **about)
        if told:  # a run knows each of its images
            source.note = f"{told}: the images of its training are among those scored, and the scores are too good"
            source.has_training_images = True
        return source, "all"
    about |= {} if told else {"folds": 0}
    if told or has_split(root, about.get("cache_dir")):
        part = split or "test"
        source = load_dataset(split=part, **about)
        if told:
            source.note = (
                f"{told}. Its split is that of the training: scored is its {part} part, {len(source)} of "
                f"{len(source.division.split)} images; --split all scores all"
            )
        return source, part
    whole = load_dataset(split="all", **about)
    named = set(called_after(whole.ids).values())
    if named == {split}:
        return whole, split
    if len(named) > 1 and (split is not None or ("test" in named and "" not in named)):
        part = split or "test"
        return load_dataset(split=part, **about), part
    if split is not None:
        raise InputError(f"{root} has no splits.csv, so there is no split {split}; without --split it is scored whole")
    if after := ", ".join(sorted(named - {""})):
        logging.warning(
            f"{root} has no splits.csv: all of its pairs are scored, those of folders called after splits ({after}) "
            "among them; --split scores one"
        )
    else:
        logging.warning("%s has no splits.csv: all of its pairs are scored", root)
    return whole, "all"


def _same_as_training(segmenter: Segmenter, about: Mapping[str, Any]) -> str:
    """Words for a folder whose training split has the names and the pixels of the one that was trained on, else "".

    Where the run does not know the pixels, or none of the images can be read, names alone decide. Masks are not read.
    Images of such a folder that differ, or cannot be read, are logged.

    Args:
      segmenter: the checkpoint.
      about: the arguments of `load_dataset` for the folder.
    """
    names, root = segmenter.training_data.get("train_ids_sha256"), about["root"]
    if names is None:
        return ""
    reading = ReadOptions.of(segmenter.config["data"])
    try:
        train = load_dataset(split="train", **{**about, "reading": reading})
    except DataError:  # too few pairs for a split
        return ""
    if names != ids_digest(train):
        return ""
    known = read_trained_on(run_folder(segmenter.checkpoint))
    rows = [row for row, name in enumerate(train.ids) if name in known]
    compared = [rows[one] for one in choose_images(len(rows), _COMPARED)]
    unread = []
    for row in compared:
        try:
            image = train.read_image(row)
        except DataError as error:
            unread.append(str(error))
            continue
        if image_digest(image).hexdigest() != known[train.ids[row]]:
            logging.warning(
                f"{root} has the names of the images that were trained on and other pixels, such as those of "
                f"{train.ids[row]}: it is taken for another folder"
            )
            return ""
    if unread:
        logging.warning(
            f"{len(unread)} of {len(compared)} images of the training split of {root} cannot be read, and are not "
            f"compared with those that were trained on: {unread[0]}"
        )
    if len(unread) < len(compared):
        return "this is the folder that was trained on, by names and pixels"
    why = "none of these images can be read" if rows else "the checkpoint does not know the pixels"
    return f"taken for the folder that was trained on by its names alone, as {why}"

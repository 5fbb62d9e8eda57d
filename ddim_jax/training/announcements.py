"""The lines that a run says before its first step: the network, the images, what is told of them."""

from collections import Counter
from collections.abc import Iterator

import jax

from ddim_jax.data import annotators_of, consensus_in_words, note_of
from ddim_jax.data.empty_windows import Window
from ddim_jax.data.erased import ERASED, REPAIRED
from ddim_jax.data.preflight import describe
from ddim_jax.data.split_warnings import few_in_words, shared_in_words, unseen_classes
from ddim_jax.runtime.values import quantity
from ddim_jax.training.adversarial import Adversary
from ddim_jax.training.mean_teacher import RAMP
from ddim_jax.training.run_parts import Run
from ddim_jax.training.setup import PreparedRun


def announcements(run: Run, prepared: PreparedRun) -> Iterator[str]:
    """Yields the lines, without names of a folder's files; for the first process, which always has images."""
    data, whole, image_size = run.config["data"], run.data.train, run.config["data"]["image_size"]
    several = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    yield (
        f"{run.config['model']['name']}: {run.parameters:,} parameters, "
        f"{len(whole)} training and {len(run.data.validation)} validation images "
        f"{'in crops of' if data['crop'] else 'at'} {image_size} x {image_size}, "
        f"{len(jax.devices())} x {jax.devices()[0].device_kind}{several}, "
        f"{'resumes' if run.start_step else 'starts'} at step {run.start_step} of {run.steps}"
    )
    if run.initial:
        yield run.initial
    if data["folds"]:
        yield f"fold {data['fold']} of {data['folds']}; those of all images are in the run's folds.csv"
    if annotators := annotators_of(prepared.source):
        yield (
            f"{annotators} annotators: the mask of one is drawn each time an image is trained on; validation and all "
            f"that is told of masks is of their consensus: {consensus_in_words(annotators, run.labels)}"
        )
    if (sides := run.labels.mirrored()) and data["flips"]:
        and_samples = " and sample.flips=False" if run.config["sample"]["flips"] else ""
        yield (
            f"{' and '.join(sides)}: mirror images exchange them and are trained on; "
            f"set data.flips=False{and_samples} to tell left from right"
        )
    if adversary := Adversary.from_config(run.config["train"]):
        yield (
            f"{'all' if adversary.share == 1 else f'{adversary.share:.0%} of the'} images are changed by up to "
            f"{adversary.epsilon:g} of the range from black to white so that their loss rises "
            "(train.adversarial_epsilon)"
        )
    if note := note_of(prepared.source):
        yield note
    if unlabelled := run.data.unlabelled:
        yield f"{quantity(len(unlabelled.ids), 'unlabelled image')} beside them, as many in each step"
        if run.steps < RAMP:
            yield f"the weight of unlabelled images grows over {RAMP} steps: in {run.steps} they do next to nothing"
        yield from unlabelled.told
    made = Counter(one.mark for one in getattr(prepared.source, "derived", ()))
    if data["empty_windows"]:
        yield (
            f"{made[Window.mark]} parts of training images without a structure beside them, as "
            f"images with an empty mask; {_wanted(made[Window.mark], data['empty_windows'], len(whole))}"
        )
    if data["erased"]:
        yield (
            f"{made[ERASED]} training images with their structures erased beside them, and an empty mask; "
            f"{_wanted(made[ERASED], data['erased'], len(whole))}; "
            f"{made[REPAIRED]} repaired beside their structures"
        )
    facts = [fact for row, fact in prepared.pictures.facts.items() if row < len(whole)]
    division = getattr(whole, "division", None)
    alone = {"train": len(whole), "val": len(run.data.validation)}, "images"
    numbers, of_folders = (alone, False) if division is None else (division.numbers(), division.of_folders)
    advise = division is not None and not data["folds"]
    if few := few_in_words(*numbers, advise_folds=advise, of_folders=of_folders):
        yield few
    validated = prepared.pictures.validation.facts.values()
    trained_on = {digest: name for name, digest in prepared.trained_on.items()}
    known = ((row, one.picture.hex()) for row, one in prepared.pictures.validation.facts.items() if one.levels > 1)
    if shared := {digest: row for row, digest in known if digest in trained_on}:
        if division is not None:
            yield f"{shared_in_words(len(shared))}; ddim-jax doctor --data names one"
        else:  # which doctor cannot read
            digest, row = next(iter(shared.items()))
            example = f"{trained_on[digest]} of train = {run.data.validation.ids[row]} of val"
            yield shared_in_words(len(shared), example, of_folder=False)
    if several:
        yield f"what follows is of the {len(facts)} training images and {len(validated)} for validation of one process:"
    if unseen := unseen_classes({"train": facts, "val": validated}, run.labels):
        yield unseen
    for name, told, advice in describe(facts, None if data["crop"] else image_size, run.labels):
        yield f"{name}: {told}" + (f" -> {advice}" if advice else "")


def _wanted(made: int, share: float, whole: int) -> str:
    wanted = round(share * whole)
    few = (
        " -> the structures leave too little of most images: this changes next to nothing" if made < wanted / 4 else ""
    )
    return f"{wanted} were wanted{few}"

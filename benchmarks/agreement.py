"""Whether two sides computed the same, before anybody asks which was faster."""

import numpy as np

from benchmarks.cases import Case

LIMITS = {
    "forward": {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 5e-2},
    "segment": {"float32": 1e-2, "tf32": 5e-2, "bfloat16": 1e-1},
    "train_step": {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 5e-2},
}
"""Largest difference of outputs, losses and gradient norms, in norm and relative. A sampler feeds every step's rounding
to the next; the formats round to 2^-24, 2^-11 and 2^-9."""
UPDATE_LIMITS = {"float32": 0.1, "tf32": 0.3, "bfloat16": 0.5}
"""The same for the change of the weights: Adam's first step is the learning rate times the gradient's sign, so a
gradient near zero whose rounding differs counts in full."""


class Disagreement(RuntimeError):
    """Two sides of a case do not compute the same."""


def check_agreement(
    case: Case, side: str, found: dict[str, np.ndarray], reference_side: str, reference: dict[str, np.ndarray]
) -> float:
    """Compares what two sides gave for the same weights and inputs.

    Returns:
      The largest relative difference, changes of the weights aside.

    Raises:
      Disagreement: a difference is above its limit, not finite, or a value is missing; says by how much.
    """
    if found.keys() != reference.keys():
        raise Disagreement(f"{case.label}: {side} gives {sorted(found)}, {reference_side} {sorted(reference)}")
    worst = 0.0
    for name, expected in reference.items():
        changed = "update" in name
        limit = UPDATE_LIMITS[case.dtype] if changed else LIMITS[case.kind][case.dtype]
        difference = relative_difference(found[name], expected)
        if not difference <= limit:
            raise Disagreement(
                f"{case.label}: {name} of {side} differs from that of {reference_side} by {difference:.2g} of its "
                f"norm; at most {limit:.2g} is allowed, so the case is not timed"
            )
        worst = worst if changed else max(worst, difference)
    return worst


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected||, in float64; NaN or infinity where one of them is not finite."""
    found, expected = (np.asarray(array, np.float64).ravel() for array in (found, expected))
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

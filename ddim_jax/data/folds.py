"""The folds of a cross-validation: drawn, or those that a table gives; and the splits where one is held out."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ddim_jax.data.seeded import seeded_order
from ddim_jax.data.sources import data_error
from ddim_jax.data.tables import SplitTable
from ddim_jax.runtime.errors import ConfigError, DataError
from ddim_jax.runtime.values import quantity


def check_folds(name: str, folds: int, fold: int) -> None:
    """Refuses the fields `data.folds` and `data.fold` of the data set `name` where no fold can be held out.

    Raises:
      ConfigError: names the field, and the data set where it is no folder.
    """
    if folds and name != "folder":
        raise ConfigError(
            f"data.folds is {folds} and data.name is {name}, which decides its split itself; expected data.folds=0, or "
            "data.name=folder"
        )
    if folds and (folds < 3 or not 0 <= fold < folds):
        raise ConfigError(
            f"data.folds is {folds} and data.fold {fold}; expected at least 3 folds, and one of them, from 0"
        )


def draw_folds(group: Mapping[str, str], folds: int, seed: int, why: str = "") -> dict[str, int]:
    """The fold of each pair, 0 .. folds - 1, drawn by a seed: those of one group are in one.

    Args:
      group: of each pair.
      folds: their number.
      seed: another seed gives other folds.
      why: sentences for the error on what made the groups so few.

    Raises:
      DataError: there are fewer groups than folds.
    """
    names = seeded_order(set(group.values()), seed)
    if len(names) < folds:
        if len(names) == len(group):
            told, why = quantity(len(names), "image"), ""
        else:
            told = quantity(len(names), "group of pairs", "groups of pairs")
        raise DataError(f"{told} cannot be divided into {folds} folds (data.folds). {why}".rstrip())
    number = {name: place % folds for place, name in enumerate(names)}
    return {name: number[one] for name, one in group.items()}


def read_folds(path: Path, table: SplitTable, folds: int) -> dict[str, int]:
    """The fold of each pair by the column fold of a table; a pair of the split test may be in none.

    Raises:
      DataError: a fold is none of the numbers from 0 to `folds` - 1, no pair has it, or a pair is in none.
    """
    of_pair = {name: one for name, one in table.fold.items() if one or table.split.get(name) != "test"}
    expected = [str(one) for one in range(folds)]
    problems = [f"{name} has the fold {one!r}" for name, one in of_pair.items() if one not in expected]
    problems += [f"no pair has the fold {one}" for one in expected if one not in of_pair.values()]
    if problems:
        raise data_error(
            f"{path}: its column fold does not fit data.folds={folds}; expected 0 to {folds - 1}, or nothing for a "
            "pair whose split is test:",
            problems,
        )
    return {name: int(one) for name, one in of_pair.items()}


def hold_out(names: Iterable[str], of_pair: Mapping[str, int], folds: int, fold: int) -> dict[str, str]:
    """The splits where `fold` is the test and the next one the validation.

    Where some of the names are in no fold, these and no others are the test, and `fold` is the validation.
    """
    names = list(names)
    held_out = {fold: "test", (fold + 1) % folds: "val"} if len(of_pair) == len(names) else {fold: "val"}
    return {name: held_out.get(of_pair[name], "train") if name in of_pair else "test" for name in names}

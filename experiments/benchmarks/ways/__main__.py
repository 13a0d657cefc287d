"""``python -m experiments.benchmarks.ways NAME FOLDER``: take one way, print one line of JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from experiments.benchmarks.ways.given import Given, Missing, hand_back, read_given
from federation.errors import ConfigurationError

if TYPE_CHECKING:
    from federation.models.parameters import Vector


def main(way: str, folder: Path) -> str:
    """Take a way.

    Args:
        way: ``inline``, ``batched``, ``bare``, ``opacus``, ``opacus_ghost``, ``flower`` or ``pfl``.
        folder: Holds the work.

    Returns:
        A :class:`~experiments.benchmarks.ways.given.Finished`, or a `Missing` if something is not installed, as JSON.

    Raises:
        ConfigurationError: If there is no such way.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    given = read_given(folder)
    try:
        parameters, ends, workers = _take(way, given, folder)
    except ImportError as failure:
        return Missing(missing=f"{way} is not installed here: {failure}").model_dump_json()
    return hand_back(given, parameters, ends, folder=folder, way=way, workers=workers).model_dump_json()


def _take(way: str, given: Given, folder: Path) -> tuple[Vector, list[float], int]:
    """The final parameters, when each round ended, and how many processes beside this one trained."""
    # Imported here: a way must not pay for the libraries of another.
    match way:
        case "inline" | "batched":
            from experiments.benchmarks.ways.ours import ours_round

            return ours_round(given, way)
        case "bare":
            from experiments.benchmarks.ways import bare_loop

            return *bare_loop.run(given), 0
        case "opacus" | "opacus_ghost":
            from experiments.benchmarks.ways import opacus_loop

            return *opacus_loop.run(given, ghost=way == "opacus_ghost"), 0
        case "flower":
            from experiments.benchmarks.ways import flower_simulation

            return *flower_simulation.run(given, folder), flower_simulation.WORKERS
        case "pfl":
            from experiments.benchmarks.ways import pfl_simulation

            return *pfl_simulation.run(given), 0
        case _:
            raise ConfigurationError(f"expected a way to take, got {way!r}")


if __name__ == "__main__":
    sys.stdout.write("\n" + main(sys.argv[1], Path(sys.argv[2])) + "\n")
    sys.stdout.flush()

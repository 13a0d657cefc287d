"""The table of what private steps are made of, from the figures of :mod:`experiments.benchmarks.step_parts`."""

from __future__ import annotations

import re
from typing import Final

from experiments.benchmarks.records import Benchmarks, Figure

PARTS: Final = {
    "whole": "the whole step",
    "draw": "drawing patients, taking their records",
    "forward": "forward",
    "backward": "backward, with float64 copies",
    "norms": "norms, clipping factors",
    "sums": "weighted sums",
    "cut": "cutting to the grid",
    "key_stream": "noise: key-stream",
    "transform": "noise: normals",
    "release": "noise: grid, sum, float32",
    "apply": "applying it",
    "round": "a round's own, a step's share",
    "remainder": "remainder",
}
"""Name to what it is, in the order of a step; the remainder is the whole without all others."""
_NAME: Final = re.compile(r"step_parts_(?P<step>.+_[0-9]+)_(?P<part>" + "|".join(PARTS) + ")")


def figure_name(model: str, size: int, part: str) -> str:
    """Of the figure that holds a part."""
    return f"step_parts_{model}_{size}_{part}"


def is_part(figure: Figure) -> bool:
    """Whether a figure belongs to the table, and to no other."""
    return _NAME.fullmatch(figure.name) is not None


def parts_rows(run: Benchmarks) -> list[tuple[str, ...]]:
    """A head and a row for each step that was taken apart: shares of a plain step, the whole first; nothing measured, no rows."""
    steps: dict[str, dict[str, float]] = {}
    for figure in run.figures:
        found = _NAME.fullmatch(figure.name)
        if found is not None:
            steps.setdefault(found["step"], {})[found["part"]] = figure.value
    if not steps:
        return []
    head = ("step", *PARTS.values())
    rows = [
        (f"`{step}`", *(f"{parts[name]:.2f}" if name in parts else "" for name in PARTS))
        for step, parts in steps.items()
    ]
    return [head, *rows]

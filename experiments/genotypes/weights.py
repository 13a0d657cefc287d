"""Weights of a polygenic score, read from the file of tab-separated values that an association study wrote."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Final

import numpy as np

from federation.errors import InvalidInputError
from federation.statistics.genotype_source import Packed, Projection
from federation.statistics.genotypes.clumping import WEIGHT_COLUMNS
from federation.statistics.genotypes.variants import VariantList

_LARGEST_FILE: Final = 2**26
_REMEDY: Final = "give weights.tsv of a study with score_below=..."


def read_weights(path: Path, listed: VariantList, *, variants: str) -> Projection:
    """Read a score in the terms of a list of variants.

    Args:
        path: A file with the columns of :data:`~federation.statistics.genotypes.clumping.WEIGHT_COLUMNS`.
        listed: The study's list. A weight for the other allele changes its sign.
        variants: Digest that the sites' genotypes are aligned under.

    Raises:
        InvalidInputError: If the file is none, or a variant or its alleles are not in the list.
    """
    places = {name: place for place, name in enumerate(listed.names.tolist())}
    found: dict[int, tuple[float, float]] = {}
    for number, row in enumerate(_rows(path), 2):
        place = places.get(row["variant"])
        weight, frequency = _number(row["weight"]), _number(row["frequency"])
        alleles = (row["allele"], row["other"])
        own = None if place is None else (str(listed.first[place]), str(listed.second[place]))
        if place is None or own not in {alleles, alleles[::-1]} or place in found:
            raise InvalidInputError(
                f"expected variants of the study's list with its alleles, each once, got another in line {number} of {path.name}",
                remedy="use weights of a study with the same list",
            )
        if not (math.isfinite(weight) and 0 < frequency < 1):
            raise InvalidInputError(
                f"expected a weight and a frequency between 0 and 1 in line {number} of {path.name}", remedy=_REMEDY
            )
        found[place] = (weight, frequency) if own == alleles else (-weight, 1 - frequency)
    if not found:
        raise InvalidInputError(f"expected weights in {path.name}, got none", remedy=_REMEDY)
    rows = sorted(found.items())
    frequencies = np.array([frequency for _, (_, frequency) in rows])
    return Projection(
        variants=variants,
        places=Packed.of(np.array([place for place, _ in rows], dtype=np.int64)),
        centres=Packed.of(2 * frequencies),
        scales=Packed.of(np.ones(len(rows))),
        loadings=Packed.of(np.array([[weight] for _, (weight, _) in rows])),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InvalidInputError(f"expected a file of weights, found no {path.name}", remedy=_REMEDY)
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_FILE + 1)
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), delimiter="\t", strict=True)
        rows = list(reader) if len(content) <= _LARGEST_FILE else []
    except (csv.Error, UnicodeDecodeError):
        rows, reader = [], None
    is_whole = all(None not in row and None not in row.values() for row in rows)
    if reader is None or tuple(reader.fieldnames or ()) != WEIGHT_COLUMNS or not is_whole:
        raise InvalidInputError(
            f"expected tab-separated columns {', '.join(WEIGHT_COLUMNS)} in {path.name}, got another file",
            remedy=_REMEDY,
        )
    return rows


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

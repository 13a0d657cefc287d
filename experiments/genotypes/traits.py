"""Made-up traits on given genotypes: known hits, covariates, and differences between populations that confound.

Axis names: R people, V variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.privacy.randomness import RandomStreams

CopyArray = NDArray[np.int8]
FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_HITS: Final = 8
_EFFECT: Final = 0.55
"""Of one standardised genotype, in standard deviations of the noise."""
_FREQUENT: Final = 0.25
_MOST_MISSING: Final = 0.02
_DISCOVERY: Final = 0.7
_BETWEEN_POPULATIONS: Final = 0.8
_AFFECTED: Final = 0.4


@dataclass(frozen=True)
class Traits:
    """Values of every person, and what made them.

    Args:
        values: Variable to ``[R]``.
        hits: Places of the variants with an effect.
        effects: ``[hits]`` of one copy on ``trait``.
    """

    values: Mapping[str, FloatArray] = field(repr=False)
    hits: IndexArray
    effects: FloatArray


def made_up(copies: CopyArray, sites: NDArray[np.str_], streams: RandomStreams) -> Traits:
    """Draw traits.

    ``trait`` adds up the hits, age, sex, a mean of each population and noise of variance 1; ``affected`` are those with the largest
    liability, the same sum with noise of its own. ``discovery`` divides the people at random.

    Args:
        copies: ``[R, V]`` of the first allele; -1 is missing.
        sites: ``[R]`` population of each person.
        streams: For the draws.
    """
    draw = streams.stream("traits")
    people = len(copies)
    known = np.where(copies < 0, np.nan, copies.astype(np.float64))
    frequency = np.nanmean(known, axis=0) / 2
    frequent = np.flatnonzero(
        (np.minimum(frequency, 1 - frequency) > _FREQUENT) & (np.isnan(known).mean(axis=0) < _MOST_MISSING)
    )
    spaced = np.array_split(frequent, _HITS)
    hits = np.array([int(draw.choice(part)) for part in spaced if len(part)])
    signs = np.where(np.arange(len(hits)) % 2 == 0, 1.0, -1.0)
    effects = signs * _EFFECT / np.sqrt(2 * frequency[hits] * (1 - frequency[hits]))
    centred = np.nan_to_num(known[:, hits] - 2 * frequency[hits])
    _, population = np.unique(sites, return_inverse=True)
    shift = _BETWEEN_POPULATIONS * draw.normal(0.0, 1.0, int(population.max()) + 1)[population]
    male = (draw.random(people) < 1 / 2).astype(np.float64)
    age = np.round(draw.uniform(25, 85, people), 1)
    signal = centred @ effects + shift + 0.4 * male + 0.02 * (age - 55)
    liability = signal + draw.normal(0.0, 1.0, people)
    values = {
        "male": male,
        "age": age,
        "trait": np.round(signal + draw.normal(0.0, 1.0, people), 4),
        "affected": (liability > np.quantile(liability, 1 - _AFFECTED)).astype(np.float64),
        "discovery": (draw.random(people) < _DISCOVERY).astype(np.float64),
    }
    return Traits(values=values, hits=hits, effects=effects)

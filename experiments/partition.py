"""Dividing one public cohort over several hospitals, with the three kinds of difference that real consortia have.

* **Size skew**: hospitals differ in the number of patients (:func:`size_shares`, :func:`whole_sizes`).
* **Label skew**: hospitals differ in how often the outcome occurs (:func:`dirichlet_label_skew`).
* **Case mix**: hospitals differ in the kind of patient they see (:func:`case_mix`).

Every function takes its randomness as a NumPy generator, and gives a site to a *patient*, never to a record: all records of a
patient stay in one hospital.

Axis names: P patients, S sites, M characteristics.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import ConfigurationError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FITTING_STEPS: Final = 500


def size_shares(num_sites: int, *, skew: float) -> FloatArray:
    """Share of the patients that each hospital has, largest first.

    Args:
        num_sites: S, at least 1.
        skew: Exponent of the power law ``share(k) ∝ k ** -skew``; 0 makes equal hospitals, 1 is Zipf's law.

    Returns:
        ``[S]`` positive shares with sum 1.

    Raises:
        ConfigurationError: If there is no site, or ``skew`` is negative or not finite.
    """
    if num_sites < 1:
        raise ConfigurationError(f"expected at least one site, got {num_sites}", remedy="set num_sites to 1 or more")
    if not (np.isfinite(skew) and skew >= 0):
        raise ConfigurationError(f"expected a size skew of 0 or more, got {skew}", remedy="use 0 for equal hospitals")
    shares = np.arange(1, num_sites + 1, dtype=np.float64) ** -skew
    return shares / shares.sum()


def whole_sizes(total: int, *, shares: FloatArray, minimum: int = 1) -> IntArray:
    """Whole numbers of patients that follow the shares and add up to the total (largest remainders).

    Args:
        total: P.
        shares: ``[S]`` positive, with sum 1.
        minimum: Fewest patients of a site.

    Returns:
        ``[S]`` sizes, each at least ``minimum``.

    Raises:
        ConfigurationError: If there are not enough patients.
    """
    num_sites = len(shares)
    if total < minimum * num_sites:
        raise ConfigurationError(
            f"expected at least {minimum} patients for each of {num_sites} hospitals, got {total} patients in all",
            remedy="use fewer hospitals or more patients",
        )
    wanted = shares * (total - minimum * num_sites)
    sizes = np.floor(wanted).astype(np.int64)
    by_remainder = np.argsort(sizes - wanted, kind="stable")
    sizes[by_remainder[: total - minimum * num_sites - int(sizes.sum())]] += 1
    return sizes + minimum


def dirichlet_label_skew(
    labels: IntArray,
    *,
    shares: FloatArray,
    concentration: float,
    generator: np.random.Generator,
    minimum: int = 2,
) -> IntArray:
    """Give every patient a site so that outcome classes are spread unevenly, and sizes follow ``shares``.

    Every site draws its own class distribution from ``Dirichlet(concentration · p)``, where p is the distribution of classes over
    all patients: a concentration of 1 gives hospitals of nearly one class, 1000 gives hospitals that are alike. Iterative
    proportional fitting then makes sites of the wanted sizes that use up every class exactly, and keeps the odds ratios drawn.
    Method: Hsu, Qi and Brown 2019 (arXiv:1909.06335), section 3, with the fitting in place of their drawing until a class is empty,
    which favours the sites drawn first.

    Args:
        labels: ``[P]`` class of every patient.
        shares: ``[S]`` shares of the sites, with sum 1.
        concentration: Alpha, greater than 0.
        generator: Source of randomness.
        minimum: Fewest patients of a site; patients move from the largest site to those below it.

    Returns:
        ``[P]`` site index of every patient.

    Raises:
        ConfigurationError: If the concentration is not positive or there are too few patients.
    """
    if not (np.isfinite(concentration) and concentration > 0):
        raise ConfigurationError(
            f"expected a Dirichlet concentration greater than 0, got {concentration}",
            remedy="use 1 for strong, 1000 for almost no label skew",
        )
    num_sites = len(shares)
    whole_sizes(len(labels), shares=shares, minimum=minimum)  # refuses too few patients
    classes, totals = np.unique(labels, return_counts=True)
    mixes = generator.dirichlet(np.maximum(concentration * totals / len(labels), 1e-3), size=num_sites)
    wanted = _fit(np.maximum(mixes, 1e-6), rows=shares * len(labels), columns=totals.astype(np.float64))
    sites = np.empty(len(labels), dtype=np.int64)
    for column, (label, total) in enumerate(zip(classes, totals, strict=True)):
        members = generator.permutation(np.flatnonzero(labels == label))
        counts = whole_sizes(int(total), shares=wanted[:, column] / wanted[:, column].sum(), minimum=0)
        sites[members] = np.repeat(np.arange(num_sites), counts)
    return _with_minimum(sites, num_sites=num_sites, minimum=minimum, generator=generator)


def _fit(matrix: FloatArray, *, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Iterative proportional fitting (Deming and Stephan 1940) of a positive matrix to row and column sums."""
    for _ in range(_FITTING_STEPS):
        matrix = matrix * (rows / matrix.sum(axis=1))[:, None]
        matrix = matrix * (columns / matrix.sum(axis=0))[None, :]
    return matrix


def _with_minimum(sites: IntArray, *, num_sites: int, minimum: int, generator: np.random.Generator) -> IntArray:
    counts = np.bincount(sites, minlength=num_sites)
    while counts.min() < minimum:
        smallest, largest = int(counts.argmin()), int(counts.argmax())
        sites[generator.choice(np.flatnonzero(sites == largest))] = smallest
        counts[smallest] += 1
        counts[largest] -= 1
    return sites


def case_mix(
    characteristics: FloatArray,
    *,
    sizes: IntArray,
    preferences: FloatArray,
    generator: np.random.Generator,
) -> IntArray:
    """Give every patient a site so that sites of fixed size prefer different kinds of patients.

    A patient's affinity to a site is ``characteristics @ preferences[site]`` plus standard Gumbel noise (a draw from the
    softmax of the affinities, as in a discrete-choice model); pairs are served in order of affinity while the site has room.

    Args:
        characteristics: ``[P, M]`` public-scale characteristics of the patients, such as outcome and severity.
        sizes: ``[S]`` patients of every site; their sum is P.
        preferences: ``[S, M]`` log odds with which a site attracts a unit of a characteristic; zeros for no case mix.
        generator: Source of randomness.

    Returns:
        ``[P]`` site index of every patient, with exactly ``sizes`` patients per site.

    Raises:
        ConfigurationError: If the sizes do not add up to the number of patients.
    """
    num_patients, num_sites = len(characteristics), len(sizes)
    if int(sizes.sum()) != num_patients:
        raise ConfigurationError(
            f"expected hospital sizes that add up to {num_patients} patients, got {sizes.tolist()}",
            remedy="correct the sizes",
        )
    affinity = characteristics @ preferences.T + generator.gumbel(size=(num_patients, num_sites))
    room = sizes.copy()
    sites = np.full(num_patients, -1, dtype=np.int64)
    for pair in np.argsort(-affinity, axis=None, kind="stable"):
        patient, site = divmod(int(pair), num_sites)
        if sites[patient] < 0 and room[site] > 0:
            sites[patient] = site
            room[site] -= 1
    return sites

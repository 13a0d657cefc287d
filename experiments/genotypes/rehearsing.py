"""Drawn genotypes for the rehearsal of an association study: nobody's variants, under a list of their own.

Axis names: R people, V variants.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from aggregator.statistics.variant_lists import keep_variants
from experiments.genotypes.bed_writing import write_plink
from federation.privacy.randomness import RandomStreams
from federation.statistics.agreed_genotypes import AgreedVariants, one_list
from federation.statistics.genotypes.variants import VariantList
from federation.study.manifest import StudyManifest
from site_client.records_file import RecordsAt, read_records

MOST_DRAWN: Final = 1000
"""Variants of a rehearsal."""
_APART: Final = 100_000
"""Base pairs between them."""
_PER_CHROMOSOME: Final = 50
_MISSING: Final = 0.005
_SPREAD: Final = 0.05
"""Between the allele frequencies of sites."""


def with_drawn_variants(study: StudyManifest) -> StudyManifest:
    """The study with a drawn list in place of its own, of at most :data:`MOST_DRAWN` variants."""
    agreed = None if study.statistics is None else one_list(study.statistics.analyses)
    if study.statistics is None or agreed is None:
        return study
    listed = drawn_list(agreed)
    analyses = tuple(
        each.model_copy(update={"listed": listed.digest, "num_variants": len(listed)})
        if isinstance(each, AgreedVariants)
        else each
        for each in study.statistics.analyses
    )
    spec = study.statistics.model_copy(update={"analyses": analyses})
    return StudyManifest.from_data(study.model_copy(update={"statistics": spec}).as_data())


def drawn_list(agreed: AgreedVariants) -> VariantList:
    """As many variants as agreed, up to a limit, evenly over the autosomes; none is palindromic."""
    places = np.arange(min(agreed.num_variants, MOST_DRAWN))
    return VariantList(
        chromosomes=(places // _PER_CHROMOSOME % 22 + 1).astype(str),
        names=np.array([f"drawn{place + 1}" for place in places.tolist()]),
        positions=(places + 1) * _APART,
        first=np.full(len(places), "A"),
        second=np.full(len(places), "C"),
    )


def give_drawn_list(study: StudyManifest, folder: Path) -> None:
    """Put the list where the coordinator looks for it.

    Args:
        study: Of :func:`with_drawn_variants`.
        folder: Of the coordinator.
    """
    agreed = None if study.statistics is None else one_list(study.statistics.analyses)
    if agreed is not None:
        keep_variants(folder / "statistics", agreed, drawn_list(agreed))


def with_drawn_genotypes(
    place: RecordsAt, study: StudyManifest, site: str, *, streams: RandomStreams, folder: Path
) -> RecordsAt:
    """The same records with genotypes of their people, independent of everything, where the study needs them.

    Args:
        place: Of the site's records.
        study: Of :func:`with_drawn_variants`.
        site: Its name.
        streams: The same at every site.
        folder: Where files are written.
    """
    agreed = None if study.statistics is None else one_list(study.statistics.analyses)
    if agreed is None:
        return place
    listed = drawn_list(agreed)
    people = np.unique(read_records(place.file).patient_keys)
    common = streams.stream("allele-frequencies").uniform(0.1, 0.9, len(listed))
    draw = streams.stream("genotypes", site)
    frequency = np.clip(common + draw.normal(0.0, _SPREAD, len(listed)), 0.05, 0.95)
    copies = draw.binomial(2, frequency, (len(people), len(listed))).astype(np.int8)
    copies[draw.random(copies.shape) < _MISSING] = -1
    prefix = write_plink(folder / site, people.tolist(), listed, [copies])
    variants = folder / "list.bim"
    variants.write_bytes(listed.to_bim())
    return replace(place, genotypes=prefix, variants=variants)

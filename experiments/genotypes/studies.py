"""Studies of genotypes: HapMap3's founders by population, and drawn ones. Traits are made up, with known hits.

Axis names: R people, V variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from experiments.analyse_records import AnalysedStudy
from experiments.genotypes.bed_writing import write_plink
from experiments.genotypes.disarranging import disarranged
from experiments.genotypes.traits import Traits, made_up
from experiments.studies.definition import find_data, read_contract
from federation.data.cohort import CohortDefinition
from federation.documents import Document
from federation.errors import ConfigurationError, RecordsUnreadableError
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.statistics.genotypes.variants import VariantList, parse_bim
from site_client.genotypes.plink import PlinkFiles
from site_client.patients import Records

CopyArray = NDArray[np.int8]
NAMES: Final = ("generated_genotypes", "gwas_hapmap3")
CONTRACT: Final = Path(__file__).parent / "gwas_contract.yaml"
_FILES: Final = "HM3_thinned_autosomal_overlap"
_POPULATIONS: Final = "relationships_w_pops_121708.txt"
_LARGEST_FILE: Final = 2**26
_POPULATION_COLUMNS: Final = 7
_APART: Final = 100_000
"""Base pairs between drawn variants."""
_PER_CHROMOSOME: Final = 500
_DIFFERENCE: Final = 0.05
"""Between the allele frequencies of drawn sites: Wright's F."""


class GenotypeOptions(Document):
    """``study.options.*`` of a study of genotypes."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Of traits, drawn genotypes and disarranged alleles; public."""
    is_disarranged: bool = True
    """Whether some sites swap alleles, read the other strand, and lack variants."""
    num_sites: Annotated[int, Field(ge=1, le=100)] = 4
    patients_per_site: Annotated[int, Field(ge=5, le=100_000)] = 100
    num_variants: Annotated[int, Field(ge=20, le=200_000)] = 300
    """The last three of drawn genotypes only."""


@dataclass(frozen=True)
class GenotypeStudy:
    """A study whose records are read and whose genotypes can be read.

    Args:
        study: Names, contract and records.
        listed: The public list of variants.
        files: Of each site.
        traits: What was made up, hits included.
    """

    study: AnalysedStudy
    listed: VariantList = field(repr=False)
    files: tuple[PlinkFiles, ...] = field(repr=False)
    traits: Traits = field(repr=False)


def load_genotype_study(overrides: Sequence[str], *, folder: Path, data: Path | None) -> GenotypeStudy:
    """Prepare a study.

    Args:
        overrides: ``study=NAME`` and ``study.options.KEY=VALUE``.
        folder: Where the sites' files are written.
        data: ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: If the study or an option is unknown.
        RecordsUnreadableError: If a file is not there.
    """
    chosen: dict[str, Any] = {}
    for line in overrides:
        key, _, value = line.partition("=")
        chosen[key.removeprefix("study.options.")] = value if key == "study" else yaml.safe_load(value)
    name = str(chosen.pop("study", ""))
    options = GenotypeOptions.from_data(chosen, error=ConfigurationError)
    if name == "gwas_hapmap3":
        return hapmap3(data, options, folder)
    if name == "generated_genotypes":
        return generated(options, folder)
    raise ConfigurationError(f"expected study= to be one of {', '.join(NAMES)}, got {name!r}")


def hapmap3(data: Path | None, options: GenotypeOptions, folder: Path) -> GenotypeStudy:
    """The International HapMap 3 Consortium's founders (2010), thinned: each of the 11 populations is a site."""
    names = tuple(f"genotypes/{name}" for name in (f"{_FILES}.bed", f"{_FILES}.bim", f"{_FILES}.fam", _POPULATIONS))
    paths = find_data(data, study="gwas_hapmap3", files=names)
    whole = PlinkFiles.open(paths[0].with_suffix(""), site="all")
    populations = _populations(paths[3])
    sites = np.array([populations.get(person, "") for person in whole.people.tolist()])
    if (sites == "").any():
        raise RecordsUnreadableError(f"expected a population of every person in {_POPULATIONS}, got some without")
    copies = whole.read(np.arange(len(whole.variants)))
    streams = seeded_streams(options.seed, provenance="public").child("gwas_hapmap3")
    return _study("gwas_hapmap3", whole.variants, copies, whole.people, sites, options, streams, folder)


def generated(options: GenotypeOptions, folder: Path) -> GenotypeStudy:
    """Independent variants in sites of differing allele frequencies (Balding & Nichols 1995), a hundredth of them missing."""
    streams = seeded_streams(options.seed, provenance="synthetic").child("generated_genotypes")
    draw = streams.stream("genotypes")
    count, size = options.num_variants, options.num_sites * options.patients_per_site
    ancestral = draw.uniform(0.1, 0.9, count)
    spread = (1 - _DIFFERENCE) / _DIFFERENCE
    frequency = draw.beta(ancestral * spread, (1 - ancestral) * spread, (options.num_sites, count))
    site = np.repeat(np.arange(options.num_sites), options.patients_per_site)
    copies = draw.binomial(2, frequency[site]).astype(np.int8)
    copies[draw.random(copies.shape) < 0.01] = -1  # noqa: PLR2004 - the docstring's hundredth
    pairs = np.array([("A", "C"), ("C", "A"), ("A", "G"), ("G", "T"), ("T", "C"), ("A", "T"), ("C", "G")])
    alleles = pairs[draw.choice(len(pairs), count, p=[0.18] * 5 + [0.05] * 2)]
    places = np.arange(count)
    listed = VariantList(
        chromosomes=(places // _PER_CHROMOSOME % 22 + 1).astype(str),
        names=np.array([f"var{place + 1}" for place in range(count)]),
        positions=(places % _PER_CHROMOSOME + 1) * _APART,
        first=alleles[:, 0],
        second=alleles[:, 1],
    )
    people = np.array([f"person-{row:06d}" for row in range(size)])
    sites = np.array([f"hospital-{index + 1:03d}" for index in site])
    return _study("generated_genotypes", listed, copies, people, sites, options, streams, folder)


def _study(  # noqa: PLR0917 - the parts of a study
    name: str,
    listed: VariantList,
    copies: CopyArray,
    people: NDArray[np.str_],
    sites: NDArray[np.str_],
    options: GenotypeOptions,
    streams: RandomStreams,
    folder: Path,
) -> GenotypeStudy:
    traits = made_up(copies, sites, streams)
    records: list[Records] = []
    files: list[PlinkFiles] = []
    for place, site in enumerate(np.unique(sites).tolist()):
        here = sites == site
        own = disarranged(listed, place if options.is_disarranged else 0, streams)
        prefix = write_plink(folder / site, people[here].tolist(), own.variants, [own.copies(copies[here])])
        files.append(PlinkFiles.open(prefix, site=site))
        values = {column: numbers[here] for column, numbers in traits.values.items()}
        records.append(Records(site=site, patient_keys=people[here], values=values))
    provenance = "public" if name == "gwas_hapmap3" else "synthetic"
    study = AnalysedStudy(
        name=name,
        contract=read_contract(CONTRACT),
        cohort=CohortDefinition(provenance=provenance),
        records=tuple(records),
    )
    return GenotypeStudy(study=study, listed=listed, files=tuple(files), traits=traits)


def _populations(path: Path) -> dict[str, str]:
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_FILE + 1)
    rows = [line.split() for line in content.decode("utf-8").splitlines()[1:]]
    if len(content) > _LARGEST_FILE or any(len(row) != _POPULATION_COLUMNS for row in rows):
        raise RecordsUnreadableError(f"expected {_POPULATION_COLUMNS} columns in every line of {path.name}, got others")
    return {row[1]: row[6].lower() for row in rows}


def read_list(path: Path) -> VariantList:
    """A public list of variants from a ``.bim`` file.

    Raises:
        InvalidInputError: If it is none.
    """
    with path.open("rb") as stream:
        return parse_bim(stream.read(_LARGEST_FILE * 4), name=path.name)

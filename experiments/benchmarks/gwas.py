"""How many variants a second an association study tests, beside plain NumPy over the same genotypes in one place.

Genotypes are drawn onto disk, a block of variants at a time. Both ways read the same files in blocks and compute the linear
regression of a trait on each variant with covariates; people without a genotype are left out for that variant::

    python -m experiments.benchmarks.gwas --variants 100000 --people 10000

Axis names: R people, V variants.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray

from experiments.analyse_records import AnalysedStudy
from experiments.genotypes.bed_writing import write_plink
from experiments.genotypes.planning import gwas_analyst, gwas_plan
from experiments.genotypes.settings import GwasSettings
from experiments.genotypes.studies import CONTRACT, GenotypeStudy
from experiments.genotypes.traits import Traits
from experiments.module_command import run_module
from experiments.studies.definition import read_contract
from federation.data.cohort import CohortDefinition
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.statistics.genotypes.variants import VariantList
from federation.statistics.result import AnalysisResult
from site_client.genotypes.plink import PlinkFiles
from site_client.patients import Records

FloatArray = NDArray[np.float64]
_DRAWN_AT_ONCE: Final = 500
_READ_AT_ONCE: Final = 256
_MISSING: Final = 3
"""Of 256 genotypes."""
_MEGABYTE: Final = 2.0**20


@dataclass(frozen=True)
class Compared:
    """What the bench prints.

    Args:
        variants: Tested.
        people: Of all sites.
        federated_seconds: From the sites' files to the estimates.
        pooled_seconds: The same with plain NumPy.
        difference: Largest relative difference between the two estimates.
        before_megabytes: Most memory of this process up to then, the drawing of genotypes included.
        peak_megabytes: The same after the federated way, of which sites and centre are in this process.
        whole_megabytes: All genotypes as one byte each.
    """

    variants: int
    people: int
    federated_seconds: float
    pooled_seconds: float
    difference: float
    before_megabytes: float
    peak_megabytes: float
    whole_megabytes: float

    def lines(self) -> list[str]:
        """For a terminal."""
        return [
            f"{self.variants} variants x {self.people} people",
            f"federated: {self.federated_seconds:.1f} s, {self.variants / self.federated_seconds:.0f} SNPs per second",
            f"plain NumPy, pooled: {self.pooled_seconds:.1f} s, {self.variants / self.pooled_seconds:.0f} SNPs per second",
            f"largest relative difference of the estimates: {self.difference:.1e}",
            f"most memory: {self.peak_megabytes:.0f} MiB, {self.before_megabytes:.0f} MiB before",
            f"all genotypes at a time would be {self.whole_megabytes:.0f} MiB more",
        ]


def drawn_study(folder: Path, *, variants: int, people: int, sites: int, seed: int = 0) -> GenotypeStudy:
    """Independent variants, a hundredth of the genotypes missing, written site by site and block by block.

    Args:
        folder: For the files.
        variants: V.
        people: R of all sites; a multiple of the sites.
        sites: Number of sites.
        seed: Public.
    """
    streams = seeded_streams(seed, provenance="synthetic").child("gwas_bench")
    places = np.arange(variants)
    listed = VariantList(
        chromosomes=(places * 22 // variants + 1).astype(str),
        names=np.array([f"var{place}" for place in range(variants)]),
        positions=places + 1,
        first=np.full(variants, "A"),
        second=np.full(variants, "G"),
    )
    size = people // sites
    records: list[Records] = []
    files: list[PlinkFiles] = []
    for place in range(sites):
        site, draw = f"hospital-{place + 1:03d}", streams.stream("values", place)
        keys = np.array([f"{site}-{row:06d}" for row in range(size)])
        blocks = _blocks(streams, place, variants=variants, people=size)
        files.append(PlinkFiles.open(write_plink(folder / site, keys.tolist(), listed, blocks), site=site))
        values = {
            "male": (draw.random(size) < 1 / 2).astype(np.float64),
            "age": draw.uniform(25, 85, size),
            "trait": draw.normal(0.0, 1.0, size),
            "affected": (draw.random(size) < 1 / 2).astype(np.float64),
            "discovery": np.ones(size),
        }
        records.append(Records(site=site, patient_keys=keys, values=values))
    study = AnalysedStudy(
        name="gwas_bench",
        contract=read_contract(CONTRACT),
        cohort=CohortDefinition(provenance="synthetic"),
        records=tuple(records),
    )
    none = Traits(values={}, hits=np.zeros(0, dtype=np.int64), effects=np.zeros(0))
    return GenotypeStudy(study=study, listed=listed, files=tuple(files), traits=none)


def _blocks(streams: RandomStreams, place: int, *, variants: int, people: int) -> Iterator[NDArray[np.int8]]:
    draw = streams.stream("genotypes", place)
    frequency = streams.stream("frequencies").integers(20, 128, variants, dtype=np.int64).astype(np.uint8)
    for start in range(0, variants, _DRAWN_AT_ONCE):
        limit = frequency[start : start + _DRAWN_AT_ONCE]
        bytes_drawn = np.frombuffer(draw.bytes(3 * people * len(limit)), dtype=np.uint8).reshape(3, people, len(limit))
        copies = (bytes_drawn[0] < limit).astype(np.int8) + (bytes_drawn[1] < limit)
        copies[bytes_drawn[2] < _MISSING] = -1
        yield copies


def federated(study: GenotypeStudy, folder: Path, *, aggregation: str, block: int) -> AnalysisResult:
    """The command's own way."""
    settings = GwasSettings.from_data(
        {
            "method": "linear",
            "phenotype": "trait",
            "covariates": ["age", "male"],
            "hwe_within": 0.0,
            "aggregation": aggregation,
            "block": block,
        }
    )
    analyst = gwas_analyst(study, settings, memory=folder / "memory", work=folder / "work")
    return analyst.run(gwas_plan(settings, study))


def pooled(study: GenotypeStudy) -> tuple[FloatArray, FloatArray]:
    """``[V]`` coefficients and t statistics from all people in one place, in plain NumPy."""
    columns = {
        name: np.concatenate([one.values[name] for one in study.study.records]) for name in ("age", "male", "trait")
    }
    beside = np.column_stack([np.ones(len(columns["age"])), (columns["age"] - 55) / 30, columns["male"]])
    outcome, width = columns["trait"], beside.shape[1]
    pairs = (beside[:, :, None] * beside[:, None, :]).reshape(len(beside), -1)
    beta, statistic = np.empty(len(study.listed)), np.empty(len(study.listed))
    for start in range(0, len(study.listed), _READ_AT_ONCE):
        part = slice(start, min(start + _READ_AT_ONCE, len(study.listed)))
        copies = np.concatenate([files.read(np.arange(part.start, part.stop)) for files in study.files])
        known = (copies >= 0).astype(np.float64)
        genotype = np.maximum(copies, 0).astype(np.float64)
        gram = (known.T @ pairs).reshape(-1, width, width)
        sides = np.stack([genotype.T @ beside, known.T @ (beside * outcome[:, None])], axis=2)
        solved = np.linalg.solve(gram, sides)
        left = (genotype**2).sum(axis=0) - (sides[:, :, 0] * solved[:, :, 0]).sum(axis=1)
        score = genotype.T @ outcome - (sides[:, :, 0] * solved[:, :, 1]).sum(axis=1)
        rest = known.T @ outcome**2 - (sides[:, :, 1] * solved[:, :, 1]).sum(axis=1)
        beta[part] = score / left
        variance = (rest - score**2 / left) / (known.sum(axis=0) - width - 1) / left
        statistic[part] = beta[part] / np.sqrt(variance)
    return beta, statistic


def compare(study: GenotypeStudy, folder: Path, *, aggregation: str, block: int) -> Compared:
    """Run both ways, one after the other."""
    before = _most_memory()
    started = time.perf_counter()
    result = federated(study, folder, aggregation=aggregation, block=block)
    seconds, peak = time.perf_counter() - started, _most_memory()
    started = time.perf_counter()
    beta, statistic = pooled(study)
    pooled_seconds = time.perf_counter() - started
    table = result.table("association")
    names = {name: place for place, name in enumerate(study.listed.names.tolist())}
    places = [names[str(name)] for name in table.column("variant")]
    ours = np.array([table.numbers("beta"), table.numbers("statistic")])
    theirs = np.array([beta[places], statistic[places]])
    people = sum(len(one) for one in study.study.records)
    return Compared(
        variants=len(study.listed),
        people=people,
        federated_seconds=seconds,
        pooled_seconds=pooled_seconds,
        difference=float((np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max(axis=1)).max()),
        before_megabytes=before,
        peak_megabytes=peak,
        whole_megabytes=len(study.listed) * people / _MEGABYTE,
    )


def _most_memory() -> float:
    """Mebibytes of this process, at its largest so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bench(
    *,
    variants: Annotated[int, typer.Option(help="Variants.")] = 100_000,
    people: Annotated[int, typer.Option(help="People of all sites.")] = 10_000,
    sites: Annotated[int, typer.Option(help="Sites.")] = 4,
    aggregation: Annotated[str, typer.Option(help="masked or open.")] = "masked",
    block: Annotated[int, typer.Option(help="Most variants of one sum.")] = 4096,
) -> None:
    """Print how many SNPs a second are tested over sites and in one place."""
    with tempfile.TemporaryDirectory(prefix="cohortium-gwas-") as scratch:
        started = time.perf_counter()
        study = drawn_study(Path(scratch), variants=variants, people=people, sites=sites)
        typer.echo(f"drawn onto disk in {time.perf_counter() - started:.1f} s")
        found = compare(study, Path(scratch), aggregation=aggregation, block=block)
    for line in found.lines():
        typer.echo(line)


if __name__ == "__main__":
    run_module(bench)

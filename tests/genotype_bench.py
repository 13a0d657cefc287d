"""Association studies for tests: simulated sites with genotypes on disk, real sums, and the pooled genotypes beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aggregator.statistics.analysing import Analyst
from experiments.genotypes.planning import gwas_analyst, gwas_plan
from experiments.genotypes.settings import read_gwas_settings
from experiments.genotypes.studies import GenotypeStudy, load_genotype_study
from federation.statistics.genotypes.alignment import PalindromicRule
from federation.statistics.result import AnalysisResult
from site_client.genotypes.aligned import SiteGenotypes

GENERATED = "study=generated_genotypes"
Change = Callable[[Analyst], None]


def load(tmp_path: Path, *overrides: str, data: Path | None = None) -> GenotypeStudy:
    chosen = overrides if any(line.startswith("study=") for line in overrides) else (GENERATED, *overrides)
    return load_genotype_study(chosen, folder=tmp_path / "hospitals", data=data)


def run(tmp_path: Path, study: GenotypeStudy, *overrides: str, change: Change | None = None) -> AnalysisResult:
    """One analysis, with open sums unless `aggregation=` says otherwise, and a memory of its own."""
    chosen = (
        overrides if any(line.startswith("aggregation=") for line in overrides) else (*overrides, "aggregation=open")
    )
    settings, _ = read_gwas_settings(chosen)
    place = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
    analyst = gwas_analyst(study, settings, memory=place / "memory", work=place / "work")
    if change is not None:
        change(analyst)
    return analyst.run(gwas_plan(settings, study))


@dataclass(frozen=True)
class Pooled:
    """All people in one table, in the order of the sites: copies `[R, V]` of the list's first allele, NaN missing; values; sites."""

    copies: np.ndarray
    values: dict[str, np.ndarray]
    sites: np.ndarray
    people: np.ndarray


def pooled(study: GenotypeStudy, palindromic: PalindromicRule = "exclude") -> Pooled:
    parts = []
    for files, records in zip(study.files, study.study.records, strict=True):
        own = SiteGenotypes.aligned(
            files, study.listed, patients=records.patient_keys.tolist(), palindromic=palindromic
        )
        parts.append(own.of(records.patient_keys).read(np.arange(len(study.listed))).astype(float))
    copies = np.concatenate(parts)
    copies[copies < 0] = np.nan
    records = study.study.records
    return Pooled(
        copies=copies,
        values={name: np.concatenate([one.values[name] for one in records]) for name in records[0].values},
        sites=np.concatenate([[one.site] * len(one) for one in records]),
        people=np.concatenate([one.patient_keys for one in records]),
    )


def columns(result: AnalysisResult, table: str = "association") -> dict[str, np.ndarray]:
    """Columns of a table; numbers as floats, NaN where nothing is shown."""
    found = result.table(table)
    texts = {"chromosome", "variant", "allele", "other", "site", "verdict", "component"}
    return {
        name: np.array(found.column(name)) if name in texts else np.array(found.numbers(name)) for name in found.columns
    }

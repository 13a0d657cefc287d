"""A launched study with association studies, for tests: PLINK files at every site, real agents, real masks."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from aggregator.statistics.variant_lists import keep_variants
from experiments.agree_analyses import agreed_analysis
from experiments.genotypes.studies import GenotypeStudy
from experiments.identities import make_identities, public_keys
from experiments.privacy_plan.rehearsal import GeneratedSource
from federation.statistics.agreed_genotypes import one_list
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.records_file import RecordsAt, write_records
from site_client.site_folder import SiteFolder, write_patients
from tests.genotype_bench import load
from tests.small_study import manifest_data

ASKED = {
    "alleles": ["method=allelic"],
    "strata": ["method=cmh"],
    "trait": ["method=linear", "phenotype=trait", "covariates=[age,male]", "components=2", "score_below=1e-2"],
    "filled": ["method=linear", "phenotype=trait", "covariates=[age]", "missing_genotypes=mean", "block=50"],
    "risk": ["method=logistic", "covariates=[age]", "block=64"],
}
"""Name of the analysis to how it is asked for."""


def small_genotypes(folder: Path, *overrides: str) -> GenotypeStudy:
    return load(folder, "study.options.num_variants=120", "study.options.patients_per_site=80", *overrides)


def genotype_manifest(folder: Path, study: GenotypeStudy, *names: str, spec: dict | None = None) -> StudyManifest:
    """A study of these genotypes; the list of variants is written beside it as ``list.bim``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "list.bim").write_bytes(study.listed.to_bim())
    sites = tuple(records.site for records in study.study.records)
    keys = public_keys(make_identities(sites, folder / "identities", seed=3, provenance="synthetic"))
    roster = [{"site": site, "weight": 10.0, "training_patients": 40, "public_key": keys[site]} for site in sites]
    words = ["analysis=gwas", f"variants={folder / 'list.bim'}"]
    contract = study.study.contract
    analyses = [agreed_analysis([*words, *ASKED[name]], contract, name=name)[0].as_data() for name in names]
    data = manifest_data(roster=roster, contract=contract.as_data(), evaluation={"release": "none"})
    needed = len(sites) // 2 + 1
    masked = {"value_range": 10.0, "norm_bound": 10.0, "threshold": needed, "rounds_per_agreement": 50}
    data |= {
        "schedule": {"rounds": 1, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}},
        "aggregation": {"mode": "masked", "quorum": needed, "masked": masked},
        "statistics": {"analyses": analyses, **(spec or {})},
    }
    return StudyManifest.from_data(data)


def genotype_agents(folder: Path, genotypes: GenotypeStudy, study: StudyManifest) -> dict[str, SiteAgent]:
    """Agents whose mapping would name their own files and the study's list."""
    sites = tuple(entry.site for entry in study.roster)
    identities = make_identities(sites, folder / "identities", seed=3, provenance="synthetic")
    found = {}
    for records, files in zip(genotypes.study.records, genotypes.files, strict=True):
        site = records.site
        data = extract(
            GeneratedSource(records),
            site=site,
            contract=study.contract,
            definition=study.cohort,
            task=study.task,
            today=dt.date.max,
        ).data
        patients = folder / f"{site}.safetensors"
        place = RecordsAt(
            folder / f"{site}.records",
            folder / "answers" / site,
            genotypes=files.bed.with_suffix(""),
            variants=folder / "list.bim",
        )
        write_patients(patients, data)
        write_records(place.file, records)
        found[site] = SiteAgent(
            SiteFolder.create(
                folder / "sites" / site,
                site=site,
                manifest=study,
                patients=patients,
                seed=7,
                identity=identities[site],
                records=place,
            )
        )
    return found


def give_list(folder: Path, genotypes: GenotypeStudy, study: StudyManifest) -> None:
    """As `cohortium study launch --variants` does at the host."""
    agreed = one_list(study.statistics.analyses)
    keep_variants(folder / "coordinator" / "statistics", agreed, genotypes.listed)

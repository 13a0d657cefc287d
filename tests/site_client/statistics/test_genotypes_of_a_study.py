"""A site's genotypes in a launched study: named by its mapping, checked when they are prepared, asked about as agreed only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.genotypes.bed_writing import write_plink
from experiments.genotypes.planning import agree_variants
from experiments.genotypes.settings import read_gwas_settings
from experiments.genotypes.studies import GenotypeStudy
from federation.data.contract import DataContract
from federation.errors import MappingError, PatientKeyError, RecordsUnreadableError
from federation.protocol.messages import Envelope, Refusal, StatisticsReply, StatisticsRequest, read_envelope
from federation.statistics.genotype_source import Packed
from federation.statistics.genotypes.block_steps import GenotypeCountStep
from federation.statistics.genotypes.component_steps import LinkageStep
from federation.statistics.requests import StepRequest
from federation.statistics.step import Step
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.genotypes.agreed import study_genotypes
from site_client.records_file import RecordsAt
from site_client.sources.mapping import parse_mapping
from site_client.study_agents import prepare_patients, records_of
from tests.agreed_variants import listed_variants
from tests.genotype_study import genotype_agents, genotype_manifest, give_list, small_genotypes
from tests.masked_study import Lossy, run
from tests.site_client.hospital_site import Site
from tests.small_study import contract

SITE = "hospital-001"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyManifest, dict[str, SiteAgent], Envelope]:
    """A study whose requests were answered. A refused request changes nothing."""
    folder = tmp_path_factory.mktemp("asked")
    genotypes = small_genotypes(folder)
    study = genotype_manifest(folder, genotypes, "alleles")
    give_list(folder, genotypes, study)
    sites = genotype_agents(folder, genotypes, study)
    transport = Lossy(sites)
    run(study, folder, transport)
    requests = [request for site, request, _ in transport.seen if site == SITE]
    return study, sites, [request for request in requests if isinstance(request.header, StatisticsRequest)][-1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GenotypeStudy, StudyManifest]:
    folder = tmp_path_factory.mktemp("files")
    genotypes = small_genotypes(folder)
    return folder, genotypes, genotype_manifest(folder, genotypes, "alleles")


def changed(envelope: Envelope, step: Step) -> bytes:
    known = StepRequest.from_json(envelope.payload())
    asked = StepRequest(terms=known.terms, number=known.number, selection=known.selection, step=step)
    return Envelope(envelope.header).with_payload(asked.model_dump_json().encode()).to_bytes()


def test_a_repeated_request_gets_the_same_bytes_and_another_step_is_refused(asked) -> None:
    study, sites, request = asked
    reply = sites[SITE].handle(request.to_bytes())
    assert isinstance(read_envelope(reply).header, StatisticsReply)
    variants, places = study.statistics.analyses[0].variants, Packed.of(np.arange(5))
    for step in (
        GenotypeCountStep(variants=variants, places=places, least_p=1e-6),
        GenotypeCountStep(variants="sha256:" + "1" * 64, places=places, outcome="affected", least_p=1e-6),
        LinkageStep(variants=variants, places=places),
    ):
        header = read_envelope(sites[SITE].handle(changed(request, step))).header
        assert isinstance(header, Refusal)
        assert header.reason == "PrivacyRefusedError"


def at(folder: Path, study_files: GenotypeStudy, **changes: Path | None) -> RecordsAt:
    named = {"genotypes": study_files.files[0].bed.with_suffix(""), "variants": folder / "list.bim"} | changes
    return RecordsAt(folder / "records", folder / "answers", **named)


def patients(genotypes: GenotypeStudy) -> list[str]:
    return genotypes.study.records[0].patient_keys.tolist()


def test_files_and_list_are_aligned(files) -> None:
    folder, genotypes, study = files
    found = study_genotypes(study.statistics, at(folder, genotypes), site=SITE, patients=patients(genotypes))
    assert found.variants == study.statistics.analyses[0].variants
    assert len(found.alignment.columns) == len(genotypes.listed)


@pytest.mark.parametrize("absent", ["genotypes", "variants"])
def test_genotypes_that_no_mapping_names_are_an_error(files, absent: str) -> None:
    folder, genotypes, study = files
    with pytest.raises(RecordsUnreadableError, match="expected genotypes"):
        study_genotypes(
            study.statistics, at(folder, genotypes, **{absent: None}), site=SITE, patients=patients(genotypes)
        )


def test_an_absent_a_damaged_and_another_list_are_told_apart(files, tmp_path: Path) -> None:
    folder, genotypes, study = files

    def problem(path: Path) -> str:
        with pytest.raises(RecordsUnreadableError) as caught:
            study_genotypes(
                study.statistics, at(folder, genotypes, variants=path), site=SITE, patients=patients(genotypes)
            )
        return caught.value.message

    damaged, other = tmp_path / "damaged.bim", tmp_path / "other.bim"
    damaged.write_bytes((folder / "list.bim").read_bytes() + b"1 var\n")
    other.write_bytes(genotypes.listed.rows(np.arange(119)).to_bim())
    assert "FileNotFoundError" in problem(tmp_path / "absent.bim")
    assert "six columns" in problem(damaged) or "line 121" in problem(damaged)
    assert "of 119" in problem(other)


def test_somebody_without_a_record_is_an_error(files) -> None:
    folder, genotypes, study = files
    with pytest.raises(PatientKeyError, match="got 1 without"):
        study_genotypes(study.statistics, at(folder, genotypes), site=SITE, patients=patients(genotypes)[1:])


def test_the_mapping_names_files_and_list() -> None:
    text = """
site: north
source: {kind: csv, path: records.csv}
patient_key: {column: id}
variables: {age: {column: age}}
genotypes: {files: plink/chip, variants: list.bim}
"""
    assert parse_mapping(text).genotypes.files == "plink/chip"
    with pytest.raises(MappingError, match=r"genotypes\.variants"):
        parse_mapping(text.replace(", variants: list.bim", ""))


def test_paths_survive_the_sites_folder(tmp_path: Path) -> None:
    known = RecordsAt(tmp_path / "r", tmp_path / "a", genotypes=tmp_path / "g", variants=tmp_path / "v")
    assert RecordsAt.from_settings(known.as_settings()) == known
    plain = RecordsAt(tmp_path / "r", tmp_path / "a")
    assert RecordsAt.from_settings(plain.as_settings()) == plain
    assert RecordsAt.from_settings({"site": "north"}) is None


@pytest.fixture
def hospital(tmp_path: Path) -> tuple[Site, StudyManifest, Path]:
    """An enrolled site with records, and a study that associates variants with deaths."""
    settings, _ = read_gwas_settings(["method=logistic", "covariates=[x0]"])
    small = DataContract.from_data(contract())
    analysis = agree_variants(settings, small, listed_variants(), name="scan")
    masked = {"value_range": 10.0, "norm_bound": 10.0, "threshold": 3}
    changes = {
        "aggregation": {"mode": "masked", "quorum": 3, "masked": masked},
        "evaluation": {"release": "none"},
        "statistics": {"analyses": [analysis.as_data()]},
    }
    site = Site(tmp_path, **changes)
    return site, site.signed.proposal.manifest, tmp_path / "records"


def prepare(site: Site, manifest: StudyManifest) -> Path:
    return prepare_patients(site.layout, manifest, site="north", now=site.now)


def test_preparing_a_study_reads_the_genotypes_that_the_mapping_names(hospital) -> None:
    site, manifest, folder = hospital
    with pytest.raises(MappingError, match="expected genotypes in the mapping"):
        prepare(site, manifest)
    mapping = folder / "mapping.yaml"
    mapping.write_text(mapping.read_text() + "genotypes: {files: plink/chip, variants: list.bim}\n")
    with pytest.raises(RecordsUnreadableError, match=r"list\.bim"):
        prepare(site, manifest)
    (folder / "list.bim").write_bytes(listed_variants().to_bim())
    with pytest.raises(RecordsUnreadableError, match=r"chip\.bim"):
        prepare(site, manifest)
    people = [f"p{number}" for number in range(60)]
    copies = np.zeros((61, 40), dtype=np.int8)
    write_plink(folder / "plink" / "chip", [*people, "stranger"], listed_variants(), [copies])
    with pytest.raises(PatientKeyError, match="got 1 without"):
        prepare(site, manifest)
    write_plink(folder / "plink" / "chip", people, listed_variants(), [copies[:60]])
    path = prepare(site, manifest)
    assert path.is_file()
    found = records_of(site.layout, manifest, patients=path)
    assert found.genotypes == folder / "plink" / "chip"
    assert found.variants == folder / "list.bim"

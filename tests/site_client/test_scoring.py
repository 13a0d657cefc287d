from __future__ import annotations

import csv
import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from safetensors.numpy import save
from typer.testing import CliRunner, Result

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from federation.errors import (
    CohortTooSmallError,
    InvalidInputError,
    NotApprovedError,
    ReleaseRefusedError,
    SignatureRefusedError,
)
from federation.governance.release_files import REQUIRED
from federation.governance.releases import Parity, Release, sign_release
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest
from federation.study.model_file import StudyModel, read_model
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.score_commands import register
from site_client.scoring import score_site
from site_client.site_folder import SiteFolder, write_patients
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource
from tests.site_client.small_site import CONTRACT, MAPPING, TODAY
from tests.small_study import manifest_data

LEAD = SigningKey.from_bytes(bytes(range(32)))
SITES = ("st_mary", "st_paul", "st_john")


def _manifest(**changes: object) -> StudyManifest:
    roster = [{"site": site, "weight": 1.0, "training_patients": 100} for site in SITES]
    data = manifest_data(roster=roster, contract=CONTRACT, evaluation={"release": "per_site"})
    return StudyManifest.from_data(data | changes)


def _hospital(folder: Path, site: str, *, patients: int = 120) -> TableSource:
    generator = np.random.default_rng([7, len(site), *site.encode()])
    lines = ["pid,date,age,chol,sex,pain,stage,died"]
    for number in range(patients):
        age, chol = generator.integers(18, 100), generator.integers(100, 400)
        died = int(generator.random() < 1 / (1 + np.exp(-(age - 60) / 10)))
        sex, pain, stage = generator.choice(["m", "f"]), generator.integers(0, 3), generator.integers(1, 4)
        lines.append(f"{site}-{number},2021-01-01,{age},{chol},{sex},{pain},{stage},{died}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patients.csv").write_text("\n".join(lines) + "\n")
    (folder / "mapping.yaml").write_text(yaml.safe_dump(MAPPING | {"site": site}))
    return TableSource(SiteMapping.from_data(MAPPING | {"site": site}), folder=folder)


def _release(folder: Path, study: StudyManifest, parameters: np.ndarray, *, key: SigningKey = LEAD) -> Path:
    """A release without a graph that runs: sites do not run it."""
    import hashlib

    contents = dict.fromkeys(REQUIRED, b"{}") | {
        "manifest.json": study.sealed().encode(),
        "model.safetensors": save({"parameters": parameters}, {"cohortium": json.dumps({"manifest": study.digest})}),
    }
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    release = Release(
        study=study.study,
        manifest_digest=study.digest,
        released="2031-05-06T07:08:09+00:00",
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        parity=Parity(patients=1, largest_difference=0.0, tolerance=1e-5),
        audited=False,
    )
    (folder / "release.json").write_text(sign_release(release, key).model_dump_json())
    return folder


@pytest.fixture
def study() -> StudyManifest:
    return _manifest()


@pytest.fixture
def release(tmp_path: Path, study: StudyManifest) -> Path:
    parameters = np.linspace(-1, 1, 8).astype(np.float32)
    return _release(tmp_path / "release", study, parameters)


def test_a_site_s_score_is_what_the_study_s_evaluation_found_there(tmp_path: Path, study: StudyManifest) -> None:
    """The whole way twice: through extraction, agents, messages and sums; and through release, hashes and this command."""
    sources = {site: _hospital(tmp_path / site, site) for site in SITES}
    agents = {}
    for site, source in sources.items():
        found = extract(
            source, site=site, contract=study.contract, definition=study.cohort, task=study.task, today=TODAY
        )
        path = tmp_path / site / "patients.safetensors"
        write_patients(path, found.data)
        folder = SiteFolder.create(tmp_path / site / "study", site=site, manifest=study, patients=path, seed=7)
        agents[site] = SiteAgent(folder).handle
    result = run_study(
        study,
        InlineTransport(agents),
        NullTracker(),
        checkpoints=CheckpointStore(tmp_path / "coordinator", study=study.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
    )
    folder = _release(tmp_path / "release", study, result.parameters)
    for site in SITES:
        shown = json.loads(_score(folder, tmp_path / site, "--lead", LEAD.public_key, "--json").stdout)
        assert shown["patients_scored"] == "test"
        by_rank = shown["metrics"].pop("auroc_by_rank")
        assert by_rank == pytest.approx(shown["metrics"]["auroc"], abs=0.02)
        assert shown["metrics"] == pytest.approx(dict(result.rounds[-1].site_metrics[site]), rel=1e-12)
        assert shown["metrics"]["auroc"] > 0.6


def _score(release: Path, hospital: Path, *words: object) -> Result:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)  # with one command alone, typer would take its name away
    arguments = ["score", release, "--mapping", hospital / "mapping.yaml", "--home", hospital / "home", *words]
    return CliRunner().invoke(app, [str(word) for word in arguments])


def test_scores_are_written_only_when_asked_for_and_for_the_owner_only(tmp_path: Path, release: Path) -> None:
    hospital = tmp_path / "st_mary"
    _hospital(hospital, "st_mary")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    result = _score(release, hospital, "--lead", LEAD.public_key)
    assert result.exit_code == 0, result.output
    assert "st_mary-" not in result.output
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    output = tmp_path / "scores.csv"
    result = _score(release, hospital, "--lead", LEAD.public_key, "--output", output, "--patients", "all")
    assert result.exit_code == 0, result.output
    assert "st_mary-" not in result.output
    assert output.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert {row["patient"] for row in rows} == {f"st_mary-{number}" for number in range(120)}
    assert isinstance(
        _score(release, hospital, "--lead", LEAD.public_key, "--output", output).exception, InvalidInputError
    )


def test_an_enrolled_sites_audit_log_says_what_was_scored_and_what_was_refused(tmp_path: Path, release: Path) -> None:
    from federation.governance.audit_log import read_log
    from site_client.home_paths import SiteLayout
    from site_client.site_home import SiteHome

    hospital = tmp_path / "st_mary"
    _hospital(hospital, "st_mary")
    layout = SiteLayout(hospital / "home")
    key = SigningKey.generate().public_key
    layout.write(
        SiteHome(consortium="c", site="st_mary", gate="gate.example:1", coordinator_key=key, authority_fingerprint=key)
    )
    assert isinstance(_score(release, hospital, "--lead", LEAD.public_key).exception, InvalidInputError)  # no key
    layout.identity_key.write_bytes(SigningKey.generate().to_bytes())
    assert _score(release, hospital, "--lead", LEAD.public_key).exit_code == 0
    assert _score(release, hospital, "--lead", "0" * 64).exit_code != 0
    done, refused = read_log(layout.audit).entries[1:]
    assert (done.event, refused.event, refused.reason) == ("model_scored", "release_refused", "SignatureRefusedError")
    assert done.hashes == refused.hashes
    assert done.hashes["release"] == hashlib.sha256((release / "release.json").read_bytes()).hexdigest()
    assert (
        done.study == refused.study == json.loads((release / "release.json").read_text())["release"]["manifest_digest"]
    )


def test_each_row_of_the_csv_is_the_patient_s_own(tmp_path: Path, release: Path, study: StudyManifest) -> None:
    """Score and outcome of every patient, recomputed from that patient's line of the source alone."""
    from federation.data.encoding import encode_features

    hospital = tmp_path / "st_mary"
    source = _hospital(hospital, "st_mary")
    model = read_model((release / "model.safetensors").read_bytes(), study)
    found = score_site(model, source, site="st_mary", whom="all", today=TODAY)
    records = source.read(study.contract, today=TODAY)
    weights, bias = model.parameters[:-1].astype(np.float64), float(model.parameters[-1])
    features = encode_features(study.contract, records.values).astype(np.float64)
    expected = dict(zip(records.patient_keys, 1 / (1 + np.exp(-(features @ weights + bias))), strict=True))
    died = dict(zip(records.patient_keys, records.values["died"], strict=True))
    for key, score, outcome in zip(found.patient_keys, found.scores, found.outcomes, strict=True):
        assert score == pytest.approx(expected[key], abs=1e-6)
        assert outcome == died[key]


def test_the_area_by_rank_is_the_share_of_pairs_in_the_right_order(
    tmp_path: Path, release: Path, study: StudyManifest
) -> None:
    model = read_model((release / "model.safetensors").read_bytes(), study)
    found = score_site(model, _hospital(tmp_path / "a", "st_mary"), site="st_mary", whom="all", today=TODAY)
    high, low = found.scores[found.outcomes == 1], found.scores[found.outcomes == 0]
    pairs = (high[:, None] > low[None, :]) + 0.5 * (high[:, None] == low[None, :])
    assert found.performance.metrics["auroc_by_rank"] == pytest.approx(pairs.mean(), rel=1e-12)


def test_who_took_part_scores_test_patients_and_others_score_all(tmp_path: Path, study: StudyManifest) -> None:
    model = StudyModel(study, np.zeros(8, dtype=np.float32))
    inside = score_site(model, _hospital(tmp_path / "a", "st_mary"), site="st_mary", today=TODAY)
    outside = score_site(model, _hospital(tmp_path / "b", "elsewhere"), site="elsewhere", today=TODAY)
    assert inside.performance.patients_scored == "test"
    assert 0 < inside.performance.patients < 120
    assert (outside.performance.patients_scored, outside.performance.patients) == ("all", 120)


def test_nobody_to_score_is_an_error(tmp_path: Path) -> None:
    study = _manifest(cohort={"provenance": "synthetic", "test_fraction": 1e-9})
    model = StudyModel(study, np.zeros(8, dtype=np.float32))
    with pytest.raises(CohortTooSmallError):
        score_site(model, _hospital(tmp_path / "a", "st_mary"), site="st_mary", today=TODAY)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_changed_file_is_refused_before_a_patient_is_read(tmp_path: Path, release: Path, name: str) -> None:
    hospital = tmp_path / "st_mary"
    hospital.mkdir()  # no records, no mapping: reading them would be another error
    path = release / name
    path.write_bytes(path.read_bytes() + b" ")
    failure = _score(release, hospital, "--lead", LEAD.public_key).exception
    assert isinstance(failure, ReleaseRefusedError)
    assert name in failure.message


def test_another_s_signature_and_no_known_lead_are_refused(tmp_path: Path, release: Path, study: StudyManifest) -> None:
    hospital = tmp_path / "st_mary"
    hospital.mkdir()
    assert isinstance(_score(release, hospital).exception, NotApprovedError)
    forged = _release(tmp_path / "forged", study, np.ones(8, dtype=np.float32), key=SigningKey.generate())
    assert isinstance(_score(forged, hospital, "--lead", LEAD.public_key).exception, SignatureRefusedError)


def test_the_lead_of_an_imported_proposal_is_known(tmp_path: Path) -> None:
    from federation.governance.proposals import Proposal, SignedProposal

    roster = [
        {"site": site, "weight": 1.0, "training_patients": 100, "public_key": SigningKey.generate().public_key}
        for site in SITES
    ]
    study = _manifest(roster=roster)
    release = _release(tmp_path / "release", study, np.zeros(8, dtype=np.float32))
    hospital = tmp_path / "st_mary"
    _hospital(hospital, "st_mary")
    proposals = hospital / "home" / "proposals"
    proposals.mkdir(parents=True)
    (proposals / ("0" * 64 + ".json")).write_text("not a proposal")
    coordinator = SigningKey.generate().public_key
    proposal = Proposal(manifest=study, lead=LEAD.public_key, coordinator=coordinator, approvals_needed=0)
    (proposals / f"{proposal.digest.removeprefix('sha256:')}.json").write_text(
        SignedProposal.signed(proposal, LEAD).model_dump_json()
    )
    assert _score(release, hospital).exit_code == 0
    forged = _release(tmp_path / "forged", study, np.ones(8, dtype=np.float32), key=SigningKey.generate())
    assert isinstance(_score(forged, hospital).exception, SignatureRefusedError)


def test_scores_of_survival_are_a_column_for_each_time_beside_time_and_event() -> None:
    from site_client.scoring import LocalPerformance, LocalScores, scores_csv
    from tests.survival_study import changes

    study = StudyManifest.from_data(manifest_data(**changes()))
    performance = LocalPerformance(
        site="north",
        study="small",
        manifest_digest=study.digest,
        patients_scored="all",
        patients=2,
        records=2,
        metrics={},
    )
    scores = LocalScores(
        performance=performance,
        patient_keys=np.array(["a", "b"]),
        scores=np.array([[0.9, 0.8, 0.5, 0.25], [1.0, 1.0, 0.75, 0.5]]),
        outcomes=np.array([[2.5, 1.0], [12.0, 0.0]]),
    )
    assert scores_csv(scores, study).splitlines() == [
        "patient,score_0,score_1,score_2,score_3,t,died",
        "a,0.9,0.8,0.5,0.25,2.5,1.0",
        "b,1.0,1.0,0.75,0.5,12.0,0.0",
    ]

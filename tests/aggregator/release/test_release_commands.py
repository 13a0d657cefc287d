from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from aggregator.release.bundle import make_release
from aggregator.release.finished_study import read_finished
from aggregator.release_commands import register
from federation.errors import CohortiumError, InvalidInputError, ReleaseRefusedError, SignatureRefusedError
from federation.governance.proposals import Proposal, SignedProposal
from federation.protocol.signatures import SigningKey
from tests.aggregator.release.finished_run import LEAD, NOW, SITE, finished_run
from tests.example_report import SITES, example_manifest, example_report

KEYS = {site: SigningKey.from_bytes(bytes([number]) * 32) for number, site in enumerate(SITES, start=1)}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    finished_run(tmp_path / "run")
    (tmp_path / "LEAD.key").write_bytes(LEAD.to_bytes())
    (tmp_path / "site.key").write_bytes(SITE.to_bytes())
    return tmp_path


def _run(*words: object) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def _error(*words: object) -> CohortiumError:
    failure = _run(*words).exception
    assert isinstance(failure, CohortiumError)
    return failure


def _released(place: Path) -> Path:
    result = _run("release", place / "run", "--key", place / "LEAD.key", "-o", place / "release")
    assert result.exit_code == 0, result.output
    return place / "release"


def test_release_and_verify(place: Path) -> None:
    folder = _released(place)
    result = _run("verify-release", folder, "--lead", LEAD.public_key)
    assert result.exit_code == 0, result.output
    assert "the release of study example holds" in result.output
    facts = json.loads(_run("verify-release", folder, "--lead", LEAD.public_key, "--json").stdout)
    assert facts["largest_difference"] < 1e-5
    assert facts["audited"] is False


def test_verify_needs_the_lead_s_key_from_elsewhere(place: Path) -> None:
    folder = _released(place)
    assert isinstance(_error("verify-release", folder), InvalidInputError)
    assert isinstance(_error("verify-release", folder, "--lead", SITE.public_key), SignatureRefusedError)
    (folder / "model.onnx").write_bytes(b"")
    assert isinstance(_error("verify-release", folder, "--lead", LEAD.public_key), ReleaseRefusedError)


def _proposal(place: Path, **changes: object) -> Path:
    """The run and its proposal, of a manifest whose sites have keys."""
    roster = [
        {"site": site, "weight": 2.0 * count, "training_patients": 2 * count, "public_key": KEYS[site].public_key}
        for site, count in SITES.items()
    ]
    manifest = example_manifest(roster=roster)
    finished_run(place / "proposed", roster=roster)
    assert json.loads((place / "proposed" / "report.json").read_text())["manifest_digest"] == manifest.digest
    assert example_report(roster=roster).manifest_digest == manifest.digest
    content = {"lead": LEAD.public_key, "coordinator": SigningKey.generate().public_key} | changes
    proposal = Proposal(manifest=manifest, approvals_needed=2, **content)
    signer = SITE if proposal.lead == SITE.public_key else LEAD
    (place / "proposal.json").write_text(SignedProposal.signed(proposal, signer).model_dump_json())
    return place / "proposal.json"


def test_a_site_accepts_and_the_proposal_says_whose_keys_count(place: Path) -> None:
    proposal = _proposal(place)
    folder = place / "release"
    make_release(read_finished(place / "proposed"), folder, lead=LEAD, now=NOW)
    (place / "cleveland.key").write_bytes(KEYS["cleveland"].to_bytes())
    accepted = _run(
        "accept-release", folder, "--key", place / "cleveland.key", "--as", "cleveland", "--proposal", proposal
    )
    assert accepted.exit_code == 0, accepted.output
    assert "accepted by cleveland" in accepted.output
    facts = json.loads(_run("verify-release", folder, "--proposal", proposal, "--json").stdout)
    assert facts["accepted_by"] == ["cleveland"]
    unknown = _run("verify-release", folder, "--lead", LEAD.public_key)
    assert "acceptance of cleveland not checked" in unknown.output
    # a signature in another site's name
    failure = _error("accept-release", folder, "--key", place / "site.key", "--as", "hungarian", "--proposal", proposal)
    assert isinstance(failure, SignatureRefusedError)


def test_the_release_of_another_study_or_lead_does_not_fit_a_proposal(place: Path) -> None:
    folder = _released(place)
    assert isinstance(_error("verify-release", folder, "--proposal", _proposal(place)), ReleaseRefusedError)
    other = place / "other"
    other.mkdir()
    proposal = _proposal(other, lead=SITE.public_key)
    make_release(read_finished(other / "proposed"), other / "release", lead=LEAD, now=NOW)
    assert isinstance(_error("verify-release", other / "release", "--proposal", proposal), SignatureRefusedError)


def test_a_key_file_that_is_none_is_refused(place: Path) -> None:
    (place / "bad.key").write_bytes(b"short")
    for key in ("bad.key", "absent.key"):
        failure = _error("release", place / "run", "--key", place / key, "-o", place / "release")
        assert isinstance(failure, InvalidInputError)
    assert not (place / "release").exists()


@pytest.mark.slow
def test_a_release_is_registered_once(place: Path) -> None:
    pytest.importorskip("mlflow")
    folder, uri = _released(place), f"sqlite:///{place}/mlflow.db"
    words = ("register-release", folder, "--lead", LEAD.public_key, "--uri", uri, "--json")
    first = _run(*words)
    assert first.exit_code == 0, first.exception
    assert json.loads(first.stdout) == json.loads(_run(*words).stdout)
    assert json.loads(first.stdout)["version"] == "1"
    assert json.loads(first.stdout)["name"] == "example"
    found = {path.name: path.read_bytes() for path in place.rglob("artifacts/release/*")}
    assert found == {path.name: path.read_bytes() for path in folder.iterdir()}

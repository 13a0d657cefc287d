from __future__ import annotations

import json
import stat

import pytest
import typer
import yaml
from typer.testing import CliRunner

from aggregator.commands import app as study_app
from aggregator.proposal_commands import register
from federation.errors import (
    InvalidInputError,
    ManifestError,
    SignatureRefusedError,
    TestModeRefusedError,
)
from federation.governance.approvals import Dossier, reasons_not_to_run
from federation.governance.proposals import SignedProposal
from tests.small_proposal import COORDINATOR, LEAD, NOW, SITES, decision, key_of, proposal, signed, study_data
from tests.small_study import private

app = typer.Typer()
app.command("check")(
    next(entry.callback for entry in study_app.registered_commands if entry.callback.__name__ == "check")
)
register(app)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def lead(tmp_path):
    path = tmp_path / "lead.key"
    path.write_bytes(LEAD.to_bytes())
    return path


def study(folder, name="study.yaml", **changes):
    path = folder / name
    path.write_text(yaml.safe_dump(study_data(**changes)))
    return path


def sign(manifest, lead, output, *more, needed=2):
    terms = ("--coordinator", COORDINATOR.public_key, "--approvals-needed", needed)
    return run("sign", manifest, "--key", lead, *terms, "--output", output, *more)


def saved(folder, name, document):
    path = folder / name
    path.write_text(document.model_dump_json())
    return path


def test_a_leads_key_is_secret_and_made_once(tmp_path):
    path = tmp_path / "a lead.key"
    text = run("lead-key", "--output", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    from aggregator.proposals import read_lead_key

    assert read_lead_key(path).public_key in text
    assert path.read_bytes().hex() not in text
    with pytest.raises(InvalidInputError, match="expected no file"):
        run("lead-key", "--output", path)


def test_a_signed_manifest_is_a_proposal_that_sites_can_approve(tmp_path, lead):
    output = tmp_path / "proposal.json"
    text = sign(study(tmp_path), lead, output, "--purpose", "Better triage")
    found = SignedProposal.from_json(output.read_bytes())
    found.check()
    assert (found.proposal.purpose, found.proposal.approvals_needed) == ("Better triage", 2)
    assert found.proposal.digest in text
    approvals = [decision(found.proposal, site) for site in SITES]
    assert reasons_not_to_run(found, approvals, site="north", now=NOW) == ()


def test_the_same_manifest_is_the_same_proposal_and_another_is_not_put_over_it(tmp_path, lead):
    output = tmp_path / "proposal.json"
    first = sign(study(tmp_path), lead, output)
    assert sign(study(tmp_path), lead, output) == first
    with pytest.raises(InvalidInputError, match="never overwritten"):
        sign(study(tmp_path, title="Another"), lead, output)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cohort": {"provenance": "patients", "inclusion": [{"variable": "x9", "operator": "present"}]}}, "x9"),
        ({"privacy": private(epsilon=2.0, delta=1e-5) | {"epsilon": 0.5}}, "noise_multiplier"),
        ({"legal_basis": "FILL IN"}, "legal_basis"),
        ({"legal_basis": ""}, "legal basis or a purpose"),
        ({"roster": []}, "roster"),
    ],
)
def test_what_check_refuses_is_not_signed(tmp_path, lead, changes, expected):
    with pytest.raises(ManifestError, match=expected):
        sign(study(tmp_path, **changes), lead, tmp_path / "proposal.json")
    assert not (tmp_path / "proposal.json").exists()


def test_bad_terms_are_not_signed(tmp_path, lead):
    output = tmp_path / "proposal.json"
    with pytest.raises(ManifestError, match="coordinator"):
        run("sign", study(tmp_path), "--key", lead, "--coordinator", "x", "--approvals-needed", 2, "-o", output)
    with pytest.raises(ManifestError, match="at most the 2 other sites"):
        sign(study(tmp_path), lead, output, needed=3)
    with pytest.raises(TestModeRefusedError):
        sign(study(tmp_path), lead, output, "--test-seed", 1)
    with pytest.raises(InvalidInputError, match="expected a key of 32 bytes"):
        sign(study(tmp_path), study(tmp_path), output)
    sign(study(tmp_path, cohort={"provenance": "public"}), lead, output, "--test-seed", 1)
    assert SignedProposal.from_json(output.read_bytes()).proposal.test_seed == 1


def test_each_site_gets_a_letter_with_what_to_compare(tmp_path):
    folder = tmp_path / "letters"
    run("propose", saved(tmp_path, "p.json", signed(title="Title\x1b[2J")), "-o", folder)
    assert {path.name for path in folder.iterdir()} == {"proposal.json", "north.txt", "south.txt", "west.txt"}
    text = (folder / "south.txt").read_text()
    assert "cohortium site approve proposal.json" in text
    assert "\x1b" not in text
    SignedProposal.from_json((folder / "proposal.json").read_bytes()).check()
    forged = signed().model_copy(update={"proposal": proposal(title="Another")})
    with pytest.raises(SignatureRefusedError):
        run("propose", saved(tmp_path, "forged.json", forged), "-o", tmp_path / "none")


def test_who_has_approved_declined_withdrawn_and_who_is_missing(tmp_path):
    found = signed(approvals_needed=1)
    path, of = saved(tmp_path, "p.json", found), found.proposal
    files = [
        saved(tmp_path, "north.json", decision(of, "north")),
        saved(tmp_path, "south.json", decision(of, "south", "decline", note="no time")),
        saved(tmp_path, "other.json", decision(proposal(), "west")),
        saved(tmp_path, "forged.json", decision(of, "west", key=key_of("south"))),
    ]
    told = json.loads(run("approvals", path, *files, "--json", code=62))
    assert [site["decision"] for site in told["sites"]] == ["approve", "decline", "missing"]
    assert {name.rsplit("/", 1)[1] for name in told["ignored"]} == {"other.json", "forged.json"}
    assert told["reasons_not_to_launch"] == ["expected approvals of 3 sites, got 1"]
    text = run("approvals", path, *files, code=62)
    assert "no time" in text
    assert "may not be launched" in text


def test_with_all_approvals_it_may_be_launched_until_one_is_withdrawn_or_it_is_amended(tmp_path):
    found = signed()
    path, of = saved(tmp_path, "p.json", found), found.proposal
    files = [saved(tmp_path, f"{site}.json", decision(of, site)) for site in SITES]
    dossier = tmp_path / "dossier.json"
    assert "may be launched" in run("approvals", path, *files, "--output", dossier)
    sent = Dossier.from_json(dossier.read_bytes())
    assert reasons_not_to_run(sent.proposal, sent.approvals, site="west", now=NOW) == ()
    withdrawn = saved(tmp_path, "w.json", decision(of, "west", "withdraw", number=2))
    assert "withdraw" in run("approvals", path, *files, withdrawn, code=62)
    newer = saved(tmp_path, "p2.json", signed(version=2, terms={"supersedes": of.digest}))
    assert "which version 2 replaced" in run("approvals", path, *files, "--known", newer, code=62)


def test_a_file_that_is_no_decision_is_an_error(tmp_path):
    path = saved(tmp_path, "p.json", signed())
    with pytest.raises(InvalidInputError):
        run("approvals", path, path)
    with pytest.raises(InvalidInputError, match="expected a readable file"):
        run("approvals", tmp_path / "absent.json")


def test_an_amendment_keeps_the_terms_and_names_what_it_replaces(tmp_path, lead):
    old = signed(terms={"purpose": "Better triage"})
    path, output = saved(tmp_path, "p.json", old), tmp_path / "p2.json"
    schedule = study_data()["schedule"] | {"rounds": 3}
    text = run(
        "amend", study(tmp_path, version=2, schedule=schedule), "--supersedes", path, "--key", lead, "-o", output,
    )  # fmt: skip
    assert "number of rounds" in text
    new = SignedProposal.from_json(output.read_bytes()).proposal
    assert (new.supersedes, new.manifest.version, new.purpose) == (old.proposal.digest, 2, "Better triage")
    assert (new.coordinator, new.approvals_needed) == (COORDINATOR.public_key, 2)


def test_what_is_no_next_version_is_no_amendment(tmp_path, lead):
    path, output = saved(tmp_path, "p.json", signed()), tmp_path / "p2.json"
    other = tmp_path / "other.key"
    other.write_bytes(key_of("other").to_bytes())
    for changes, key, expected in (
        ({}, lead, "expected at least 2"),
        ({"version": 3}, lead, "version: expected 2"),
        ({"version": 2, "study": "another"}, lead, "study: expected small"),
        ({"version": 2}, other, "lead: expected"),
    ):
        with pytest.raises(ManifestError, match=expected):
            run("amend", study(tmp_path, **changes), "--supersedes", path, "--key", key, "-o", output)
    forged = saved(tmp_path, "f.json", signed().model_copy(update={"proposal": proposal(title="Another")}))
    with pytest.raises(SignatureRefusedError):
        run("amend", study(tmp_path, version=2), "--supersedes", forged, "--key", lead, "-o", output)
    assert not output.exists()

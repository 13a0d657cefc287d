from __future__ import annotations

import json
import stat

import pytest
import typer
import yaml
from typer.testing import CliRunner

from federation.errors import (
    BudgetExhaustedError,
    ConfigurationError,
    InvalidInputError,
    ManifestError,
    NotApprovedError,
    PolicyRefusedError,
    SignatureRefusedError,
)
from federation.governance.approvals import Dossier
from federation.governance.audit_log import read_log
from federation.governance.proposals import SignedApproval, SignedProposal
from federation.governance.signed import sign_document
from site_client.approval_commands import register
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.study_papers import StudyPapers
from tests.site_client.test_policy import WIDE
from tests.small_proposal import LEAD, NOW, decision, enrolled, key_of, proposal, roster, signed

app = typer.Typer()
register(app)
OFFICER = ("--officer", "Dr A. Weiss")


@pytest.fixture
def site(tmp_path):
    layout = enrolled(tmp_path / "home")
    layout.policy.write_text(yaml.safe_dump(WIDE))
    return layout


def run(layout, *arguments, code=0):
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, [*words, "--home", str(layout.folder)], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def file_of(folder, document, name="proposal.json"):
    path = folder / name
    path.write_text(document.model_dump_json())
    return path


def test_an_approval_is_signed_by_the_site_and_kept(site, tmp_path):
    found = signed()
    run(site, "approve", file_of(tmp_path, found), *OFFICER, "--note", "go", "--output", tmp_path / "back.json")
    approval = SignedApproval.from_json((tmp_path / "back.json").read_bytes())
    approval.check(found.proposal)
    assert (approval.approval.decision, approval.approval.officer, approval.approval.note) == (
        "approve", "Dr A. Weiss", "go",
    )  # fmt: skip
    papers = StudyPapers(site)
    assert papers.own(found.proposal.digest) == approval
    assert papers.proposal(found.proposal.digest) == found
    assert papers.of_manifest(found.proposal.manifest.digest) == found
    assert stat.S_IMODE(site.approval(found.proposal.digest).stat().st_mode) == 0o600
    events = [entry.event for entry in read_log(site.audit).entries]
    assert events == ["log_opened", "code_accepted", "proposal_imported", "approved"]


def test_without_a_policy_nothing_is_approved(site, tmp_path):
    site.policy.unlink()
    with pytest.raises(PolicyRefusedError, match="this site has no policy"):
        run(site, "approve", file_of(tmp_path, signed()), *OFFICER, "--output", tmp_path / "back.json")
    assert not (tmp_path / "back.json").exists()
    assert not site.approvals.exists()


def test_what_the_policy_forbids_is_not_approved_but_can_be_declined(site, tmp_path):
    site.policy.write_text(yaml.safe_dump(WIDE | {"max_rounds": 3}))
    path, back = file_of(tmp_path, signed()), tmp_path / "back.json"
    with pytest.raises(PolicyRefusedError, match="max_rounds: allowed at most 3, wanted 4"):
        run(site, "approve", path, *OFFICER, "--output", back)
    run(site, "decline", path, *OFFICER, "--reason", "too many rounds", "--output", back)
    assert SignedApproval.from_json(back.read_bytes()).approval.decision == "decline"


def test_declined_then_approved_is_the_second_decision(site, tmp_path):
    path, back = file_of(tmp_path, signed()), tmp_path / "back.json"
    run(site, "decline", path, *OFFICER, "--reason", "holiday", "--output", back)
    run(site, "approve", path, *OFFICER, "--output", back)
    approval = SignedApproval.from_json(back.read_bytes()).approval
    assert (approval.decision, approval.number) == ("approve", 2)


def test_an_approval_is_withdrawn_and_not_declined(site, tmp_path):
    path, back = file_of(tmp_path, signed()), tmp_path / "back.json"
    with pytest.raises(NotApprovedError, match="expected a proposal"):
        run(site, "withdraw-approval", path, *OFFICER)
    run(site, "approve", path, *OFFICER, "--output", back)
    with pytest.raises(NotApprovedError, match="withdraw the approval instead"):
        run(site, "decline", path, *OFFICER, "--reason", "no", "--output", back)
    run(site, "withdraw-approval", proposal().digest, *OFFICER, "--reason", "consent", "--output", back)
    assert SignedApproval.from_json(back.read_bytes()).approval.decision == "withdraw"
    with pytest.raises(NotApprovedError, match="a withdrawal is final"):
        run(site, "approve", path, *OFFICER, "--output", back)
    assert [entry.event for entry in read_log(site.audit).entries][-1] == "withdrawn"


@pytest.mark.parametrize("command", ["review", "approve", "decline"])
def test_a_proposal_that_the_lead_did_not_sign_is_not_even_shown(site, tmp_path, command):
    forged = SignedProposal(proposal=proposal(), signature=sign_document(proposal(), key_of("x"), purpose="proposal"))
    more = {"review": (), "approve": OFFICER, "decline": (*OFFICER, "--reason", "x")}[command]
    with pytest.raises(SignatureRefusedError, match="the study's lead"):
        run(site, command, file_of(tmp_path, forged), *more)


def test_a_lead_whom_the_site_does_not_know_is_refused(site, tmp_path):
    of_other = SignedProposal.signed(proposal(terms={"lead": key_of("x").public_key}), key_of("x"))
    with pytest.raises(PolicyRefusedError) as caught:
        run(site, "approve", file_of(tmp_path, of_other), *OFFICER)
    assert caught.value.facts["rules"] == ["allowed_leads"]


def test_another_coordinator_or_another_key_in_this_sites_name_is_refused(site, tmp_path):
    elsewhere = signed(terms={"coordinator": key_of("elsewhere").public_key})
    with pytest.raises(SignatureRefusedError, match="the coordinator that this site was enrolled with"):
        run(site, "approve", file_of(tmp_path, elsewhere), *OFFICER)
    swapped = roster()
    swapped[0]["public_key"] = key_of("x").public_key
    with pytest.raises(SignatureRefusedError, match="this site's own key"):
        run(site, "approve", file_of(tmp_path, signed(roster=swapped)), *OFFICER)
    with pytest.raises(ManifestError, match="a site of the roster"):
        run(site, "approve", file_of(tmp_path, signed(roster=roster(("south", "west", "east")))), *OFFICER)


def test_what_is_over_or_replaced_is_not_approved(site, tmp_path):
    with pytest.raises(NotApprovedError, match="the study's last"):
        run(site, "approve", file_of(tmp_path, signed(terms={"expires": "2020-01-01"})), *OFFICER)
    old = signed()
    new = signed(version=2, terms={"supersedes": old.proposal.digest})
    run(site, "approve", file_of(tmp_path, new), *OFFICER, "--output", tmp_path / "back.json")
    with pytest.raises(NotApprovedError, match="which version 2 replaced"):
        run(site, "approve", file_of(tmp_path, old), *OFFICER, "--output", tmp_path / "back.json")


def test_two_contents_of_one_version_are_not_both_approved(site, tmp_path):
    run(site, "approve", file_of(tmp_path, signed()), *OFFICER, "--output", tmp_path / "back.json")
    with pytest.raises(NotApprovedError, match="expected one version 1"):
        run(site, "approve", file_of(tmp_path, signed(title="B")), *OFFICER, "--output", tmp_path / "back.json")


def test_a_study_that_does_not_fit_into_the_ledger_is_not_approved(site, tmp_path):
    terms = LedgerTerms(population="cardiology", site="north", epsilon_cap=1.0, delta=1e-5)
    Ledger.create(site.ledger, terms, clock=lambda: NOW).close()
    with pytest.raises(BudgetExhaustedError, match="what remains of cardiology"):
        run(site, "approve", file_of(tmp_path, signed()), *OFFICER)


def test_the_decisions_of_others_are_kept_and_decide(site, tmp_path):
    found = signed()
    ours = tmp_path / "back.json"
    run(site, "approve", file_of(tmp_path, found), *OFFICER, "--output", ours)
    south, west = decision(found.proposal, "south"), decision(found.proposal, "west")
    half = file_of(tmp_path, Dossier(proposal=found, approvals=(south,)), "half.json")
    assert "expected approvals of 2 other sites, got 1" in run(site, "approvals", half, code=62)
    forged = decision(found.proposal, "west", key=key_of("south"))
    bad = file_of(tmp_path, Dossier(proposal=found, approvals=(south, forged)), "bad.json")
    run(site, "approvals", bad, code=62)
    whole = file_of(tmp_path, Dossier(proposal=found, approvals=(west,)), "whole.json")
    told = json.loads(run(site, "approvals", whole, "--json"))
    assert told == {"decisions": dict.fromkeys(("north", "south", "west"), "approve"), "reasons_not_to_run": []}
    # an old approval that is shown again does not undo a refusal
    refusal = decision(found.proposal, "south", "decline", number=2)
    run(site, "approvals", file_of(tmp_path, Dossier(proposal=found, approvals=(refusal,)), "no.json"), code=62)
    run(site, "approvals", half, code=62)


def test_nobody_else_speaks_for_this_site(site, tmp_path):
    found = signed()
    run(site, "decline", file_of(tmp_path, found), *OFFICER, "--reason", "no", "--output", tmp_path / "back.json")
    own = decision(found.proposal, "north", number=9)  # even with this site's own key: it is not the decision kept here
    everyone = (own, decision(found.proposal, "south"), decision(found.proposal, "west"))
    sent = file_of(tmp_path, Dossier(proposal=found, approvals=everyone), "dossier.json")
    assert "expected the approval of north itself, got a refusal" in run(site, "approvals", sent, code=62)


def test_a_damaged_paper_is_an_error_and_no_permission(site, tmp_path):
    run(site, "approve", file_of(tmp_path, signed()), *OFFICER, "--output", tmp_path / "back.json")
    site.approval(proposal().digest).write_text("{}")
    with pytest.raises(InvalidInputError):
        StudyPapers(site).reasons_not_to_run(proposal().digest, site="north", now=NOW)


def test_a_site_that_is_not_enrolled_decides_nothing(tmp_path):
    from site_client.home_paths import SiteLayout

    with pytest.raises(InvalidInputError, match="expected an enrolled site"):
        run(SiteLayout(tmp_path / "empty"), "approve", file_of(tmp_path, signed()), *OFFICER)


def test_policy_init_writes_a_strict_policy_once(site, tmp_path):
    with pytest.raises(ConfigurationError, match="expected no policy"):
        run(site, "policy", "init")
    site.policy.unlink()
    with pytest.raises(ConfigurationError, match="allowed_leads"):
        run(site, "policy", "init", "--lead", "nonsense")
    assert not site.policy.exists()
    run(site, "policy", "init", "--lead", LEAD.public_key)
    assert "valid" in run(site, "policy", "check")
    assert "valid" in run(site, "policy", "check", file_of(tmp_path, signed()))
    over = signed(schedule={"rounds": 2, "local_steps": 3, "optimiser": {"learning_rate": 0.5}}, approvals_needed=0)
    assert "min_other_approvals" in run(site, "policy", "check", file_of(tmp_path, over), code=61)
    told = json.loads(run(site, "policy", "check", file_of(tmp_path, over), "--json", code=61))
    assert [violation["rule"] for violation in told["violations"]] == ["min_other_approvals"]

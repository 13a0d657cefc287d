from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import (
    CohortiumError,
    ManifestError,
    NotApprovedError,
    SignatureRefusedError,
    TestModeRefusedError,
)
from federation.governance.proposals import Approval, Proposal, SignedApproval, SignedProposal
from federation.governance.signed import sign_document
from tests.small_proposal import LEAD, decision, key_of, proposal, roster, signed, study_data
from tests.small_study import manifest_data


def test_a_signed_proposal_survives_the_journey_as_a_file():
    sent = signed()
    received = SignedProposal.from_json(sent.model_dump_json(indent=1))
    received.check()
    assert received.proposal.digest == sent.proposal.digest


def test_nobody_but_the_named_lead_can_sign():
    with pytest.raises(SignatureRefusedError, match="signed by the study's lead"):
        SignedProposal.signed(proposal(), key_of("somebody"))


def test_a_proposal_of_another_lead_put_under_this_name_does_not_hold():
    of_other = sign_document(proposal(), key_of("somebody"), purpose="proposal")
    claimed = of_other.model_copy(update={"public_key": LEAD.public_key})
    for signature in (of_other, claimed):
        with pytest.raises(SignatureRefusedError):
            SignedProposal(proposal=proposal(), signature=signature).check()


def test_a_signature_for_another_purpose_is_worth_nothing():
    signature = sign_document(proposal(), LEAD, purpose="release")
    with pytest.raises(SignatureRefusedError, match="does not"):
        SignedProposal(proposal=proposal(), signature=signature).check()


ORIGINAL = signed().model_dump_json().encode()


@given(place=st.integers(0, len(ORIGINAL) - 1), bit=st.integers(0, 7))
@settings(max_examples=max(100, 3 * settings().max_examples // 10))  # more of them at night
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(place, bit):
    changed = bytearray(ORIGINAL)
    changed[place] ^= 1 << bit
    try:
        received = SignedProposal.from_json(bytes(changed))
        received.check()
    except CohortiumError:
        return
    # Some bytes do not count, such as another spelling of the same number; then it is the same proposal.
    assert received == SignedProposal.from_json(ORIGINAL)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("approvals_needed",), 0),
        (("lead",), "ab" * 32),
        (("coordinator",), "ab" * 32),
        (("expires",), "2041-01-01"),
        (("purpose",), "something else"),
        (("manifest", "title"), "Another"),
        (("manifest", "initial_seed"), 7),
        (("manifest", "version"), 3),
        (("manifest", "cohort", "test_fraction"), 0.31),
        (("manifest", "privacy", "clipping_norm"), 1.0000001),
        (("manifest", "roster", 0, "training_patients"), 401),
    ],
)
def test_every_field_is_covered_by_the_signature(path, value):
    data = signed().as_data()
    inner = data["proposal"]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(SignatureRefusedError):
        SignedProposal.from_data(data).check()


@pytest.mark.parametrize(
    ("terms", "changes", "expected"),
    [
        ({"approvals_needed": 3}, {}, "at most the 2 other sites"),
        ({"approvals_needed": -1}, {}, "greater than or equal to 0"),
        ({"lead": key_of("north").public_key}, {}, "a key of its own for lead"),
        ({"coordinator": LEAD.public_key}, {}, "a key of its own for lead"),
        ({"supersedes": "sha256:" + "0" * 64}, {}, "expected at least 2 in a proposal that supersedes"),
        ({"supersedes": "0" * 64}, {"version": 2}, "supersedes"),
        ({"purpose": "read this\x1b[2J"}, {}, "purpose"),
        ({"purpose": "two\nlines"}, {}, "purpose"),
        ({"hurry": True}, {}, "hurry"),
    ],
)
def test_bad_terms_are_refused(terms, changes, expected):
    with pytest.raises(ManifestError, match=expected):
        proposal(terms=terms, **changes)


def test_every_site_needs_a_key_of_its_own():
    without = manifest_data()
    with pytest.raises(ManifestError, match="the public key of every site"):
        proposal(**without)
    shared = roster()
    shared[1]["public_key"] = shared[0]["public_key"]
    with pytest.raises(ManifestError, match="a key of its own"):
        proposal(**(without | {"roster": shared}))


def test_a_seed_is_for_records_that_are_nobodys():
    public = study_data(cohort={"provenance": "synthetic"})
    assert proposal(terms={"test_seed": 7}, **public).test_seed == 7
    with pytest.raises(TestModeRefusedError, match="patients' records"):
        proposal(terms={"test_seed": 7})
    # nor can one be slipped into a proposal that was signed
    data = signed().as_data()
    data["proposal"]["test_seed"] = 0
    with pytest.raises(TestModeRefusedError):
        SignedProposal.from_data(data)


def test_the_earlier_last_day_counts():
    assert proposal().last_day() is None
    both = proposal(terms={"expires": "2031-06-01"}, expires="2031-05-20")
    assert str(both.last_day()) == "2031-05-20"
    assert str(proposal(terms={"expires": "2031-06-01"}).last_day()) == "2031-06-01"


def test_a_decision_counts_for_its_own_proposal_only():
    ours, other = proposal(), proposal(approvals_needed=1)
    decision(ours, "north").check(ours)
    with pytest.raises(NotApprovedError, match="expected a decision of north about"):
        decision(other, "north").check(ours)


def test_a_decision_is_signed_by_the_site_it_names():
    ours = proposal()
    for forged in (decision(ours, "north", key=key_of("south")), decision(ours, "north", key=LEAD)):
        with pytest.raises(SignatureRefusedError, match="signed by site north"):
            forged.check(ours)
    with pytest.raises(NotApprovedError, match="a site of the roster"):
        decision(ours, "east").check(ours)


@pytest.mark.parametrize("field", ["decision", "officer", "time", "note", "number", "site"])
def test_a_changed_decision_does_not_hold(field):
    ours = proposal()
    changed = {"decision": "decline", "officer": "B", "time": "2031-05-02T12:00:00Z", "note": "x", "number": 2}
    approval = decision(ours, "north").approval.as_data() | {field: (changed | {"site": "south"})[field]}
    forged = SignedApproval(approval=Approval.from_data(approval), signature=decision(ours, "north").signature)
    with pytest.raises(SignatureRefusedError):
        forged.check(ours)


@pytest.mark.parametrize("officer", ["", "A\x1b[31m", "A\u202eB", "A" * 2001, "A\nB"])
def test_the_name_of_an_officer_is_one_line_of_text(officer):
    with pytest.raises(ManifestError, match="officer"):
        decision(proposal(), "north", officer=officer)


def test_a_decision_has_a_time_zone():
    with pytest.raises(ManifestError, match="time"):
        decision(proposal(), "north", time="2031-05-01T12:00:00")


def test_a_proposal_of_another_format_is_refused():
    with pytest.raises(ManifestError, match="format"):
        Proposal.from_data(proposal().as_data() | {"format": "cohortium/proposal/2"})

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from federation.errors import InvalidInputError, ManifestError, NotApprovedError
from federation.governance.approvals import (
    Dossier,
    check_amendment,
    check_may_run,
    decisions,
    reason_against,
    reasons_not_to_run,
)
from federation.governance.proposals import SignedProposal
from federation.governance.signed import sign_document
from tests.small_proposal import LEAD, NOW, SITES, decision, key_of, proposal, roster, signed

DAY = dt.timedelta(days=1)


def everyone(of, sites=SITES):
    return [decision(of, site) for site in sites]


def reasons(found, approvals, site="north", now=NOW, known=()):
    return reasons_not_to_run(found, approvals, site=site, now=now, known=known)


def amendment(of: SignedProposal, **changes) -> SignedProposal:
    return signed(terms={"supersedes": of.proposal.digest}, version=of.proposal.manifest.version + 1, **changes)


def test_with_everything_it_may_run_at_every_site_and_be_launched():
    found = signed()
    for site in (*SITES, None):
        assert reasons(found, everyone(found.proposal), site) == ()
    check_may_run(found, everyone(found.proposal), site="north", now=NOW)


def test_without_the_leads_signature_nothing_runs():
    found = signed()
    for signature in (
        sign_document(found.proposal, key_of("somebody"), purpose="proposal"),
        sign_document(found.proposal, LEAD, purpose="approval"),
    ):
        unsigned = SignedProposal(proposal=found.proposal, signature=signature)
        assert "the study's lead" in reasons(unsigned, everyone(found.proposal))[0]


def test_without_the_sites_own_approval_it_does_not_run_there():
    found = signed()
    others = everyone(found.proposal, ("south", "west"))
    assert reasons(found, others) == ("expected the approval of north itself, got none",)
    forged = decision(found.proposal, "north", key=key_of("south"))
    assert reasons(found, [*others, forged]) == ("expected the approval of north itself, got none",)


def test_one_other_approval_too_few():
    found = signed()
    two = everyone(found.proposal, ("north", "south"))
    assert reasons(found, two) == ("expected approvals of 2 other sites, got 1",)
    # nor does the same site count twice, or this site as another
    again = [*two, decision(found.proposal, "south", number=2), decision(found.proposal, "north", number=5)]
    assert reasons(found, again) == ("expected approvals of 2 other sites, got 1",)


def test_the_last_day_is_the_last():
    for found in (signed(terms={"expires": "2031-05-01"}), signed(expires="2031-05-01")):
        assert reasons(found, everyone(found.proposal), now=NOW) == ()
        late = reasons(found, everyone(found.proposal), now=NOW + DAY)
        assert late == ("expected a day up to 2031-05-01, the study's last, got 2031-05-02",)


def test_the_last_day_is_one_of_utc_whatever_the_callers_zone():
    found = signed(terms={"expires": "2031-05-01"})
    far_east = dt.datetime(2031, 5, 2, 9, 0, tzinfo=dt.timezone(dt.timedelta(hours=14)))
    assert reasons(found, everyone(found.proposal), now=far_east) == ()
    with pytest.raises(InvalidInputError, match="time zone"):
        reasons(found, [], now=NOW.replace(tzinfo=None))


def test_after_an_amendment_the_old_version_does_not_run_again():
    old = signed()
    new = amendment(old)
    approvals = [*everyone(old.proposal), *everyone(new.proposal)]
    assert "which version 2 replaced" in reasons(old, approvals, known=[old, new])[0]
    assert "which version 2 replaced" in reasons(old, approvals, None, known=[old, new])[0]
    assert reasons(new, approvals, known=[old, new]) == ()
    # approvals of the old version are worth nothing for the new one
    assert len(reasons(new, everyone(old.proposal), known=[old])) == 2
    # a later version ends all before it, also if it names only the one in between
    third = amendment(new)
    assert "which version 3 replaced" in reasons(old, approvals, known=[third])[0]


def test_nobody_but_the_lead_ends_a_version():
    old = signed()
    new = amendment(old)
    forged = SignedProposal(
        proposal=new.proposal, signature=sign_document(new.proposal, key_of("x"), purpose="proposal")
    )
    of_other = proposal(terms={"supersedes": old.proposal.digest, "lead": key_of("x").public_key}, version=2)
    of_other_lead = SignedProposal.signed(of_other, key_of("x"))
    other_study = signed(study="another", version=2)
    assert reasons(old, everyone(old.proposal), known=[forged, of_other_lead, other_study, old]) == ()


def test_a_roster_with_one_more_site_needs_approvals_of_its_own():
    found = signed()
    larger = signed(roster=roster((*SITES, "east")))
    assert reasons(larger, everyone(found.proposal)) != ()
    swapped = signed(roster=roster(("north", "south", "east")))
    assert reasons(swapped, everyone(found.proposal)) != ()
    assert reasons(found, everyone(found.proposal), "east") == ("expected site east in the roster, it is not",)


def test_a_refusal_counts_until_it_is_taken_back():
    found = signed()
    others = everyone(found.proposal, ("south", "west"))
    declined, approved = (
        decision(found.proposal, "north", "decline"),
        decision(found.proposal, "north", number=2),
    )
    assert reasons(found, [*others, declined]) == ("expected the approval of north itself, got a refusal",)
    assert reasons(found, [*others, declined, approved]) == ()
    again = decision(found.proposal, "north", "decline", number=3)
    assert reasons(found, [approved, *others, again, declined]) != ()
    assert reasons(found, [*others, declined], "south") == ("expected approvals of 2 other sites, got 1",)
    # of two decisions with one number, the refusal counts
    both = [decision(found.proposal, "north", number=4), decision(found.proposal, "north", "decline", number=4)]
    assert reasons(found, [*others, *both]) != ()


def test_a_clock_that_was_wrong_does_not_make_an_approval_last():
    found = signed()
    future = decision(found.proposal, "north", time="2099-01-01T00:00:00Z")
    later = decision(found.proposal, "north", "decline", number=2)
    approvals = [future, later, *everyone(found.proposal, ("south", "west"))]
    assert reasons(found, approvals) != ()


def test_a_withdrawal_is_final_in_any_order():
    found = signed()
    mine = [
        decision(found.proposal, "north"),
        decision(found.proposal, "north", "withdraw", number=2),
        decision(found.proposal, "north", number=3),
    ]
    others = everyone(found.proposal, ("south", "west"))
    for order in itertools.permutations(mine):
        assert reasons(found, [*order, *others]) == ("expected the approval of north itself, got a withdrawal",)
        assert reasons(found, [*order, *others], "south") == ("expected approvals of 2 other sites, got 1",)
    forged = decision(found.proposal, "north", "withdraw", number=2, key=key_of("south"))
    assert reasons(found, [*everyone(found.proposal), forged]) == ()


def test_rubbish_among_the_approvals_spoils_nothing():
    found, other = signed(), signed(approvals_needed=1)
    rubbish = [*everyone(other.proposal), decision(found.proposal, "east"), decision(found.proposal, "west", key=LEAD)]
    assert reasons(found, [*rubbish, *everyone(found.proposal)]) == ()
    assert all(reason_against(candidate, found.proposal) for candidate in rubbish)
    assert reasons(found, rubbish) != ()
    assert decisions(found.proposal, rubbish) == {}


def test_a_launch_needs_sites_enough_for_a_round():
    found = signed(approvals_needed=0)
    assert reasons(found, everyone(found.proposal, ("north",))) == ()
    assert reasons(found, everyone(found.proposal, ("north", "south")), None) == (
        "expected approvals of 3 sites, got 2",
    )


def test_what_may_not_run_is_refused_with_every_reason():
    found = signed(terms={"expires": "2031-04-01"})
    with pytest.raises(NotApprovedError) as caught:
        check_may_run(found, [], site="north", now=NOW)
    assert len(caught.value.facts["reasons"]) == 3


def test_decisions_are_in_the_order_of_the_roster():
    found = proposal()
    assert list(decisions(found, reversed(everyone(found)))) == list(SITES)


def test_an_amendment_is_the_next_version_by_the_same_lead():
    old = signed()
    check_amendment(amendment(old).proposal, old.proposal)
    digest = {"supersedes": old.proposal.digest}
    for wrong, word in (
        (signed(version=2), "supersedes"),
        (signed(terms=digest, version=3), "version"),
        (signed(terms=digest, version=2, study="another"), "study"),
    ):
        with pytest.raises(ManifestError, match=word):
            check_amendment(wrong.proposal, old.proposal)
    with pytest.raises(ManifestError, match="lead"):
        check_amendment(
            proposal(terms=digest | {"lead": key_of("x").public_key}, version=2),
            old.proposal,
        )


def test_a_dossier_carries_both():
    found = signed()
    sent = Dossier(proposal=found, approvals=tuple(everyone(found.proposal)))
    received = Dossier.from_json(sent.model_dump_json())
    assert reasons(received.proposal, received.approvals) == ()

"""A host runs what the lead has signed and enough sites have approved, and nothing else; what the lead asks lies in files."""

from __future__ import annotations

import datetime as dt

import pytest

from aggregator.host.launching import close, coordinator_key, find_study, launch, pause, resume, stop
from aggregator.host.participation import Participation
from aggregator.host.study_outcome import end_study, read_outcome
from aggregator.host.study_place import StudyPlace, launched_studies
from federation.errors import (
    InvalidInputError,
    NonFiniteModelError,
    NotApprovedError,
    SignatureRefusedError,
    StudyError,
)
from federation.governance.audit_log import read_log
from federation.protocol.signatures import SigningKey
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.launched_study import approval_of, enrolled, proposal_of, study_of, written
from tests.agreed_variants import CONTRACT, agreed_variants


def now():
    return dt.datetime.now(tz=dt.UTC)


@pytest.fixture(scope="module")
def sites_and_consortium(tmp_path_factory):
    consortium = Consortium(tmp_path_factory.mktemp("consortium") / "authority")
    return enrolled(consortium), consortium


@pytest.fixture
def sites(sites_and_consortium):
    return sites_and_consortium[0]


@pytest.fixture
def layout(sites_and_consortium, tmp_path):
    return sites_and_consortium[1].host(tmp_path / "host")[0]


@pytest.fixture
def propose(layout, sites, tmp_path):
    """Makes a proposal for this host, and files of it and of decisions."""

    def make(*decisions, coordinator=None, study=None, **terms):
        signed = proposal_of(
            study or study_of(sites), coordinator=coordinator or coordinator_key(layout).public_key, **terms
        )
        approvals = [approval_of(signed, sites[name], **how) for name, how in decisions]
        return written(tmp_path / f"mail-{len(list(tmp_path.iterdir()))}", signed, approvals)

    return make


YES = {}
EVERYBODY = (("north", YES), ("south", YES), ("west", YES))


def test_what_is_signed_and_approved_is_launched(layout, propose):
    place = launch(layout, *propose(*EVERYBODY), now=now())
    assert launched_studies(layout) == (place,)
    assert [entry.event for entry in read_log(layout.audit).entries] == ["log_opened", "study_launched"]
    assert len(place.decisions()) == 3
    launch(layout, *propose(*EVERYBODY), now=now())  # again: nothing changes
    assert launched_studies(layout) == (place,)


@pytest.mark.parametrize(
    ("decisions", "terms"),
    [
        ((), {}),
        ((("north", YES),), {}),
        ((("north", YES), ("south", YES)), {}),  # quorum is three
        ((("north", YES), ("south", YES), ("west", {"decision": "decline"})), {}),
        ((*EVERYBODY, ("west", {"decision": "withdraw", "number": 2})), {}),
        (EVERYBODY, {"expires": dt.date(2020, 1, 1).isoformat()}),
        (EVERYBODY, {"coordinator": SigningKey.from_bytes(b"\x01" * 32).public_key}),
    ],
)
def test_what_is_not_approved_is_refused_and_leaves_nothing(layout, propose, decisions, terms):
    with pytest.raises(NotApprovedError):
        launch(layout, *propose(*decisions, **terms), now=now())
    assert launched_studies(layout) == ()
    assert list(layout.studies.iterdir()) == []


def test_records_that_nothing_would_look_at_are_refused_and_leave_nothing(layout, propose, tmp_path):
    reference = tmp_path / "reference.csv"
    reference.write_text("x0,x1,x2,x3,died\n" + "0,0,0,0,1\n" * 40)
    with pytest.raises(InvalidInputError, match="held_out_bound"):
        launch(layout, *propose(*EVERYBODY), now=now(), held_out=reference)
    assert launched_studies(layout) == ()
    assert list(layout.studies.iterdir()) == []


def test_changed_proposals_and_foreign_approvals_are_refused(layout, propose, sites):
    proposal, files = propose(*EVERYBODY)
    text = proposal.read_text()
    proposal.write_text(text.replace("A small study", "Another study"))
    with pytest.raises(SignatureRefusedError):
        launch(layout, proposal, files, now=now())
    proposal.write_text(text)
    foreign = text and propose(*EVERYBODY, study=study_of(sites, title="Other"))[1]
    with pytest.raises(NotApprovedError, match="about"):
        launch(layout, proposal, [*files, foreign[0]], now=now())
    files[0].write_text(files[0].read_text().replace("Dr. Test", "Dr. Else"))
    with pytest.raises(NotApprovedError, match="signature"):
        launch(layout, proposal, files, now=now())
    assert launched_studies(layout) == ()


def test_an_amendment_that_is_not_approved_does_not_end_the_version_that_runs(layout, propose, sites):
    first = launch(layout, *propose(*EVERYBODY), now=now())
    next_version = study_of(sites, version=2)
    supersedes = first.proposal().proposal.digest
    with pytest.raises(NotApprovedError):
        launch(layout, *propose(("north", YES), study=next_version, supersedes=supersedes), now=now())
    launch(layout, *propose(*EVERYBODY), now=now())
    second = launch(layout, *propose(*EVERYBODY, study=next_version, supersedes=supersedes), now=now())
    with pytest.raises(NotApprovedError, match="last version"):
        launch(layout, *propose(*EVERYBODY), now=now())
    assert find_study(layout, "small") == second
    assert find_study(layout, first.folder.name[:12]) == first


def test_a_study_is_found_by_name_or_digest_and_never_by_a_path(layout, propose):
    place = launch(layout, *propose(*EVERYBODY), now=now())
    assert find_study(layout, "small") == find_study(layout, f"sha256:{place.folder.name}") == place
    for word in ("", "smal", "sha256:", "../small", place.folder.name[:5], "0" * 64):
        with pytest.raises(InvalidInputError):
            find_study(layout, word)
    for digest in ("../../etc", "sha256:" + "g" * 64, "a" * 63):
        with pytest.raises(InvalidInputError):
            StudyPlace.of(layout, digest)


def test_pause_resume_stop_and_close_are_files_and_only_make_sense_in_order(layout, propose):
    place = launch(layout, *propose(*EVERYBODY), now=now())
    pause(place, now=now())
    assert place.pause_request.exists()
    resume(place, now=now())
    assert not place.pause_request.exists()
    with pytest.raises(StudyError, match="over"):
        close(layout, place, now=now())
    stop(place, now=now())
    assert place.stop_request.exists()
    end_study(place, "stopped", now=now())
    for command in (pause, resume, stop):
        with pytest.raises(StudyError):
            command(place, now=now())
    close(layout, place, now=now())
    assert launched_studies(layout) == ()
    close(layout, place, now=now())
    assert [entry.event for entry in read_log(layout.audit).entries].count("study_closed") == 1


def test_a_failed_or_stopped_study_can_be_taken_up_and_a_finished_one_cannot(layout, propose):
    place = launch(layout, *propose(*EVERYBODY), now=now())
    end_study(place, "failed", now=now(), error=NonFiniteModelError("expected finite, got NaN"))
    assert read_outcome(place).error == "NonFiniteModelError"
    resume(place, now=now())
    assert read_outcome(place) is None
    stop(place, now=now())
    end_study(place, "stopped", now=now())
    launch(layout, *propose(*EVERYBODY), now=now())
    assert read_outcome(place) is None
    assert not place.stop_request.exists()
    assert len(list(place.folder.glob("outcome-until-*.json"))) == 2
    end_study(place, "finished", now=now())
    with pytest.raises(StudyError, match="finished"):
        launch(layout, *propose(*EVERYBODY), now=now())


def test_who_takes_part_follows_decisions_lists_and_withdrawals(sites, propose, layout):
    place = launch(layout, *propose(*EVERYBODY), now=now())
    signed = place.proposal()

    class Lists:
        revoked, members = frozenset(), {"north", "south", "west"}

        def current(self):
            return self

        def revoked_sites(self):
            return self.revoked

        def member(self, site):
            return site if site in self.members else None

    lists, clock = Lists(), [0.0]
    participation = Participation(signed.proposal, place, lists, clock=lambda: clock[0])
    assert participation.gone() == {}
    place.keep_decisions([approval_of(signed, sites["north"], decision="withdraw", number=2)])
    lists.revoked, lists.members = frozenset({"south"}), {"north"}
    assert participation.gone() == {}  # believed for a second
    clock[0] += 1.1
    assert participation.gone() == {"north": "withdrawn", "south": "revoked", "west": "not_a_member"}
    place.keep_decisions([approval_of(signed, sites["south"], decision="decline", number=2)])
    place.request(place.withdrawal("west"), now=now())
    clock[0] += 1.1
    assert participation.gone() == {"north": "withdrawn", "south": "not_approved", "west": "withdrawn"}


def test_an_association_study_is_launched_with_its_list_of_variants(layout, propose, sites, tmp_path):
    agreed, listed = agreed_variants()
    masked = {"value_range": 10.0, "norm_bound": 10.0, "threshold": 3}
    study = study_of(
        sites,
        contract=CONTRACT.as_data(),
        evaluation={"release": "none"},
        aggregation={"mode": "masked", "quorum": 3, "masked": masked},
        statistics={"analyses": [agreed.as_data()]},
    )
    mail, other, right = propose(*EVERYBODY, study=study), tmp_path / "other.bim", tmp_path / "list.bim"
    other.write_bytes(listed.to_bim() + b"2\tmore\t0\t9\tA\tG\n")
    right.write_bytes(listed.to_bim())
    for wrong in (None, other, tmp_path / "absent.bim"):
        with pytest.raises(InvalidInputError, match="list"):
            launch(layout, *mail, now=now(), variants=wrong)
        assert launched_studies(layout) == ()
    place = launch(layout, *mail, now=now(), variants=right)
    launch(layout, *mail, now=now())  # it is kept
    assert launched_studies(layout) == (place,)
    with pytest.raises(InvalidInputError, match="association study"):
        launch(layout, *propose(*EVERYBODY), now=now(), variants=right)

"""The agent for all studies: what reaches the records, what is refused on the way, and what is written down."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from federation.governance.audit_log import read_log
from federation.protocol.audit_head import AuditHead, HeadsShown, countersign
from federation.protocol.messages import Envelope, Refusal, TrainReply, read_envelope
from site_client.activity import read_activity
from site_client.gateway_notice import notice_of
from site_client.pausing import pause, resume
from tests.site_client.hospital_site import COORDINATOR, LEAD, OTHERS, STRANGER, Site


class Recorder:
    """Stands in for the studies' agents: whatever reaches it would have reached the records."""

    def __init__(self, answer: object = b"") -> None:
        self.reached: list[bytes] = []
        self.answer = answer

    def handle(self, proposal: object, request: bytes) -> bytes:
        self.reached.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        header = read_envelope(request).header
        return self.answer or Envelope(TrainReply(study=header.study, site="north", round_number=1)).to_bytes()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.approve()
    return found


def test_an_approved_study_trains_and_a_repeated_request_gets_the_same_payload(site: Site) -> None:
    hospital, request = site.hospital(), site.request()
    first = hospital.handle(request)
    reply = site.opened(first, request)
    header = read_envelope(reply.payload).header
    assert isinstance(header, TrainReply)
    assert header.round_number == 1
    again = site.hospital().handle(request)  # a new process, too
    assert site.opened(again, request).payload == reply.payload
    assert site.opened(again, request).heads != reply.heads  # the audit log has grown
    events = [entry.event for entry in read_log(site.layout.audit).entries]
    assert events == ["log_opened", "request_accepted", "released", "request_accepted", "released"]
    entry = read_log(site.layout.audit).entries[2]
    assert entry.study == site.study
    assert set(entry.hashes) == {"request", "reply"}


def test_two_studies_are_answered_side_by_side(site: Site) -> None:
    other = site.proposal(study="other")
    first = site.signed
    hospital = site.hospital()
    for signed in (first, other):
        site.papers.keep_proposal(signed)
        site.signed = signed
        site.approve()
        request = site.request()
        assert site.reason(hospital.handle(request), request) == ""
    assert len(list(site.layout.studies.iterdir())) == 2


def refused(site: Site, request: bytes | None = None) -> str:
    """The reason of a refusal; the records were not reached."""
    agents, content = Recorder(), site.request() if request is None else request
    reply = site.hospital(agents).handle(content)
    assert agents.reached == []
    return site.reason(reply, content)


def test_a_study_that_nobody_proposed_or_approved_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert refused(site) == "NotApprovedError"
    site.approve("north")
    assert refused(site) == "NotApprovedError"  # one other site is needed
    site.approve("south")
    request = site.request()
    assert site.reason(site.hospital(Recorder()).handle(request), request) == ""
    unknown = site.request(study="sha256:" + "0" * 64)
    reply = site.hospital(Recorder()).handle(unknown)
    assert read_envelope(_payload(reply, site, unknown)).header.reason == "NotApprovedError"


def _payload(reply: bytes, site: Site, request: bytes) -> bytes:
    from federation.protocol.authenticated import claim_of, open_reply

    return open_reply(
        reply, public_key=site.key.public_key, study=claim_of(request).study, site="north", request=request
    ).payload


def test_a_withdrawn_study_stops_at_once(site: Site) -> None:
    hospital = site.hospital(Recorder())
    assert site.reason(hospital.handle(site.request()), site.request()) == ""
    site.papers.keep_own(site.decision("north", "withdraw", number=2))
    assert site.reason(hospital.handle(site.request()), site.request()) == "NotApprovedError"


def test_a_study_is_over_after_its_last_day(tmp_path: Path) -> None:
    site = Site(tmp_path, expires="2026-11-25")
    site.approve()
    hospital = site.hospital(Recorder())
    assert site.reason(hospital.handle(site.request()), site.request()) == ""
    site.now += dt.timedelta(days=1)
    assert site.reason(hospital.handle(site.request()), site.request()) == "NotApprovedError"


def test_an_amended_study_ends(site: Site) -> None:
    amended = site.proposal(version=2)
    site.papers.keep_proposal(amended)
    assert refused(site) == "NotApprovedError"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("allowed_models: [linear]", "allowed_models: [mlp]"),
        (LEAD.public_key, STRANGER.public_key),
        ("max_rounds: 100", "max_rounds: 3"),
        ("allow_test_seed: true", ""),
        ("min_other_approvals: 0", "min_other_approvals: 2"),
        ('"00:00-24:00"', '"00:00-00:01"'),
    ],
)
def test_a_policy_that_became_stricter_counts_at_once(site: Site, old: str, new: str) -> None:
    hospital, text = site.hospital(Recorder()), site.layout.policy.read_text()
    assert site.reason(hospital.handle(site.request()), site.request()) == ""
    assert old in text
    site.layout.policy.write_text(text.replace(old, new))
    assert site.reason(hospital.handle(site.request()), site.request()) == "PolicyRefusedError"


def test_no_policy_and_a_damaged_policy_allow_nothing(site: Site) -> None:
    site.layout.policy.write_text("allowed_modles: [linear]")
    assert refused(site) == "ConfigurationError"
    site.layout.policy.unlink()
    assert refused(site) == "PolicyRefusedError"


def test_damaged_papers_allow_nothing(site: Site) -> None:
    path = site.layout.approval(site.signed.proposal.digest)
    content = path.read_text()
    path.write_text(content.replace("Dr. Example", "Dr. Somebody"))
    assert refused(site) == "NotApprovedError"
    path.write_text(content[:-20])
    assert refused(site) == "InvalidInputError"


def test_pausing_counts_at_once_for_one_study_or_all(site: Site) -> None:
    for paused in (site.study, None):
        hospital = site.hospital(Recorder())
        pause(site.layout, paused)
        assert site.reason(hospital.handle(site.request()), site.request()) == "PolicyRefusedError"
        resume(site.layout, paused)
        assert site.reason(hospital.handle(site.request()), site.request()) == ""
    pause(site.layout, None)
    resume(site.layout, site.study)
    assert refused(site) == "PolicyRefusedError"  # a pause of everything outlasts it


def strangers(site: Site) -> dict[str, bytes]:
    genuine = site.request()
    return {
        "unsigned": site.train(),
        "another key": site.request(key=STRANGER),
        "the site's own key": site.request(key=site.key),
        "another site": site.request(site="south"),
        "changed payload": genuine[:-1] + bytes([genuine[-1] ^ 1]),
        "cut": genuine[:200],
        "nothing": b"",
        "noise": bytes(range(256)) * 40,
        "text": OTHERS["south"].public_key.encode(),
    }


STRANGERS = (
    "unsigned",
    "another key",
    "the site's own key",
    "another site",
    "changed payload",
    "cut",
    "nothing",
    "noise",
    "text",
)


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_reaches_nothing_and_gets_no_signature(site: Site, name: str) -> None:
    agents = Recorder()
    reply = site.hospital(agents).handle(strangers(site)[name])
    assert agents.reached == []
    header = read_envelope(reply).header  # not even framed as an authenticated message
    assert isinstance(header, Refusal)
    assert header.reason in {"SignatureRefusedError", "TransportError"}
    assert len(read_log(site.layout.audit).entries) == 1  # and nothing that could fill a disk
    activity = read_activity(site.layout)
    assert activity is not None
    assert activity.strangers == 1


def test_whatever_goes_wrong_only_a_class_leaves(site: Site) -> None:
    agents, request = Recorder(KeyError("CANARY patient Anna Muster")), site.request()
    reply = site.hospital(agents).handle(request)
    assert b"CANARY" not in reply
    assert site.reason(reply, request) == "InternalError"
    assert "CANARY" not in site.layout.audit.read_text() + (site.layout.folder / "activity.json").read_text()


def test_records_that_cannot_be_read_are_refused_by_class(site: Site) -> None:
    (site.layout.folder.parent / "records" / "records.csv").write_text("patient,x0\nCANARY,1\n")
    request = site.request()
    reply = site.hospital().handle(request)
    assert b"CANARY" not in reply
    assert site.reason(reply, request) in {"MappingError", "RecordsUnreadableError"}


def test_a_coordinator_that_saw_more_of_the_audit_log_is_believed(site: Site) -> None:
    """A restored backup of the log: nothing is computed."""
    ahead = AuditHead.signed(site.key, log="north", sequence=99, entry_hash="c" * 64)
    heads = HeadsShown(countersigned=countersign(ahead, COORDINATOR))
    assert refused(site, site.request(heads=heads)) == "AuditLogDamagedError"


def test_what_cannot_be_recorded_is_not_done(site: Site) -> None:
    agents = Recorder()
    hospital = site.hospital(agents)
    site.layout.audit.rename(site.layout.audit.with_suffix(".away"))
    request = site.request()
    assert site.reason(hospital.handle(request), request) == "StudyError"
    assert agents.reached == []


def test_a_status_that_cannot_be_written_keeps_no_answer_back(site: Site) -> None:
    hospital, request = site.hospital(), site.request()
    (site.layout.folder / ".activity.json.part").mkdir()
    assert isinstance(read_envelope(site.opened(hospital.handle(request), request).payload).header, TrainReply)
    assert isinstance(read_envelope(hospital.handle(b"rubbish")).header, Refusal)


def test_a_refused_run_is_in_the_audit_log_but_cannot_fill_it(site: Site) -> None:
    hospital = site.hospital(Recorder())
    for _ in range(50):
        assert hospital.handle(notice_of("bundle")) == b""
    entries = read_log(site.layout.audit).entries
    assert [(entry.event, entry.actor, entry.reason) for entry in entries[1:]] == [
        ("request_refused", "gateway", "run_bundle")
    ]
    site.now += dt.timedelta(seconds=11)
    hospital.handle(notice_of("configuration"))
    assert read_log(site.layout.audit).entries[-1].reason == "run_configuration"
    activity = json.loads((site.layout.folder / "activity.json").read_text())
    assert activity["refused_runs"] == 51


def test_a_proposal_for_another_coordinator_is_refused(site: Site, tmp_path: Path) -> None:
    home = site.layout.read()
    site.layout.write(home.model_copy(update={"coordinator_key": STRANGER.public_key}))
    assert refused(site, site.request(key=STRANGER)) == "NotApprovedError"

"""A reply that took far longer than the site allows stays, and so does how long it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import PolicyRefusedError
from federation.governance.audit_log import read_log
from federation.protocol.messages import Envelope, Refusal, TrainReply, read_envelope
from site_client.home_paths import SiteLayout
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.release_desk import ReleaseDesk
from site_client.running_time import RunningTime
from site_client.site_folder import SiteFolder
from site_client.study_agents import StudyAgents
from tests.site_client.hospital_site import Site
from tests.site_client.test_hospital import Recorder
from tests.site_client.test_release_desk import EVENT, STUDY, reply, request
from tests.small_study import now

LIMIT = 100.0


class Machine:
    """A clock that goes on when something is computed."""

    def __init__(self) -> None:
        self.seconds = 5000.0
        self.time = RunningTime(lambda: LIMIT, clock=lambda: self.seconds)

    def taking(self, seconds: float, found: object = None) -> object:
        self.seconds += seconds
        return found


class SlowAgents(Recorder):
    """Answers as the recorder does, after so many seconds."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        super().__init__()
        self.machine, self.seconds = machine, seconds

    def handle(self, proposal: object, request: bytes) -> bytes:
        self.machine.taking(self.seconds)
        return super().handle(proposal, request)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.approve()
    return found


@pytest.mark.parametrize(
    ("seconds", "reason"), [(10.0, ""), (LIMIT, ""), (100.1, "PolicyRefusedError"), (1000.0, "PolicyRefusedError")]
)
def test_a_reply_that_took_ten_times_as_long_is_withheld_with_a_reason_code_only(
    site: Site, seconds: float, reason: str
) -> None:
    machine = Machine()
    hospital = site.hospital(SlowAgents(machine, seconds))
    hospital._time = machine.time
    asked = site.request()
    payload = site.opened(hospital.handle(asked), asked).payload
    header = read_envelope(payload).header
    events = [entry.event for entry in read_log(site.layout.audit).entries][1:]
    if not reason:
        assert isinstance(header, TrainReply)
        assert events == ["request_accepted", "released"]
        return
    assert header == Refusal(study=site.study, site="north", reason=reason)
    assert payload == Envelope(Refusal(study=site.study, site="north", reason=reason)).to_bytes()  # and nothing else
    assert events == ["request_accepted", "request_refused"]
    assert read_log(site.layout.audit).entries[-1].reason == reason


def test_what_took_too_long_is_not_kept_and_leaves_only_when_it_is_computed_in_time(tmp_path: Path) -> None:
    machine = Machine()
    terms = LedgerTerms(population="cardiology", site="north", epsilon_cap=1.0, delta=1e-5)
    with Ledger.create(tmp_path / "ledger.sqlite", terms, clock=now) as ledger:
        desk = ReleaseDesk(SiteFolder(tmp_path / "study"), ledger, STUDY, machine.time)

        def release(seconds: float, value: float) -> bytes:
            return desk.release(
                "train/1", request(), events=(EVENT,), compute=lambda: machine.taking(seconds, reply(value)), check=lambda _: None
            )  # fmt: skip

        for _ in range(2):
            with pytest.raises(PolicyRefusedError, match="longer"):
                release(10 * LIMIT, 1.0)
            assert ledger.find(STUDY, "train/1").state == "reserved"
        spent = ledger.status().epsilon_spent
        left = read_envelope(release(LIMIT, 2.0))
        assert left.arrays["update"][0] == 2.0
        assert ledger.status().epsilon_spent == spent  # charged once, whatever was computed how often
        assert read_envelope(release(10 * LIMIT, 3.0)).arrays["update"][0] == 2.0  # what left is not computed again


def test_training_that_takes_too_long_stays_and_a_repetition_trains_anew(site: Site, monkeypatch) -> None:
    from site_client import agent

    machine, trained = Machine(), agent.train_locally
    slow = [True]

    def train(*arguments: object, **options: object) -> object:
        return machine.taking(1000 if slow[0] else 1, trained(*arguments, **options))

    monkeypatch.setattr(agent, "train_locally", train)
    hospital = site.hospital(StudyAgents(site.layout, "north", clock=site.clock, time=machine.time))
    asked = site.request()
    assert site.reason(hospital.handle(asked), asked) == "PolicyRefusedError"
    slow[0] = False
    assert site.reason(hospital.handle(asked), asked) == ""


def test_the_limit_is_the_policys_and_counts_at_once(site: Site) -> None:
    seconds = iter([0.0, 50.0, 100.0, 150.0])
    time = RunningTime.of(site.layout, clock=lambda: next(seconds))
    assert time.bounded(lambda: "found") == "found"
    with site.layout.policy.open("a") as stream:
        stream.write("max_request_seconds: 49\n")
    with pytest.raises(PolicyRefusedError, match="49 s") as refused:
        time.bounded(lambda: "found")
    assert refused.value.facts["rules"] == ["max_request_seconds"]
    assert "50" not in str(refused.value)  # how long it took is nobody's business


def test_an_older_policy_allows_four_hours_and_no_policy_nothing(site: Site, tmp_path: Path) -> None:
    assert RunningTime.of(site.layout).limit() == 4 * 3600
    assert RunningTime.of(SiteLayout(tmp_path / "nowhere")).limit() == 0

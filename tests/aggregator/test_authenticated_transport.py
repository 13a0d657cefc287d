"""Between coordinator and agents, messages can be lost and nothing else: no other answer than the asked site's own counts."""

from __future__ import annotations

import datetime as dt

import pytest

from aggregator.authenticated_transport import AuthenticatedTransport
from aggregator.transport import SiteReply
from federation.errors import AuditLogDamagedError
from federation.governance.audit_exchange import HeadExchange
from federation.governance.audit_log import AuditLog, read_log
from federation.protocol.audit_head import COORDINATOR
from federation.protocol.authenticated import open_request, sign_reply
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest
from tests.small_study import SITES, manifest_data

KEY = SigningKey.from_bytes(b"\x01" * 32)
SITE_KEYS = {site: SigningKey.from_bytes(bytes([10 + number]) * 32) for number, site in enumerate(SITES)}


def clock():
    return dt.datetime(2026, 11, 26, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def study():
    roster = [entry | {"public_key": SITE_KEYS[entry["site"]].public_key} for entry in manifest_data()["roster"]]
    return StudyManifest.from_data(manifest_data(roster=roster))


class Sites:
    """Three honest sites with audit logs, and whatever `trouble` makes of their answers."""

    def __init__(self, study, folder):
        self.study, self.trouble, self.requests, self.replies = study, {}, [], []
        self.logs = {
            site: AuditLog(folder / f"{site}.jsonl", log=site, key=key, clock=clock) for site, key in SITE_KEYS.items()
        }
        self.exchanges = {
            site: HeadExchange(log, SITE_KEYS[site], peers={COORDINATOR: KEY.public_key})
            for site, log in self.logs.items()
        }

    def exchange(self, requests):
        self.requests.append(dict(requests))
        for site, request in requests.items():
            reply = self.answer(site, request)
            self.replies.append(reply)
            yield self.trouble.get(site, lambda reply: reply)(reply)

    def answer(self, site, request):
        opened = open_request(request, public_key=KEY.public_key, study=self.study.digest, site=site)
        self.exchanges[site].take(COORDINATOR, opened.heads)
        content = sign_reply(
            b"reply to " + opened.payload,
            key=SITE_KEYS[site],
            study=self.study.digest,
            site=site,
            request=request,
            heads=self.exchanges[site].show(COORDINATOR),
        )
        return SiteReply(site=site, content=content)

    def close(self):
        for log in self.logs.values():
            log.close()


@pytest.fixture
def sites(study, tmp_path):
    found = Sites(study, tmp_path)
    yield found
    found.close()


@pytest.fixture
def log(tmp_path):
    with AuditLog(tmp_path / "audit.jsonl", log=COORDINATOR, key=KEY, clock=clock) as found:
        yield found


@pytest.fixture
def transport(sites, study, log):
    return AuthenticatedTransport(sites, study=study, key=KEY, log=log)


def ask(transport, text=b"train"):
    return {reply.site: reply for reply in transport.exchange(dict.fromkeys(SITES, text))}


def test_honest_answers_come_through_unwrapped_round_after_round(transport):
    for number in range(4):
        text = b"round %d" % number
        found = ask(transport, text)
        assert {site: reply.content for site, reply in found.items()} == dict.fromkeys(SITES, b"reply to " + text)
        assert all(reply.reason == "" for reply in found.values())


def test_losses_are_passed_on(transport, sites):
    sites.trouble["north"] = lambda reply: SiteReply(site="north", content=None, reason="deadline")
    found = ask(transport)
    assert (found["north"].content, found["north"].reason) == (None, "deadline")
    assert found["south"].content == b"reply to train"


@pytest.mark.parametrize(
    "change",
    [
        lambda content, _: b"",
        lambda content, _: b"reply to train",
        lambda content, _: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content, _: content[:40] + bytes([content[40] ^ 1]) + content[41:],
        lambda content, _: content + b"x",
        lambda content, others: others["south"],
    ],
    ids=["empty", "unsigned", "payload changed", "header changed", "longer", "another site's"],
)
def test_what_the_site_has_not_signed_counts_as_no_answer(transport, sites, log, tmp_path, change):
    ask(transport)
    others = {reply.site: reply.content for reply in sites.replies}
    sites.trouble["north"] = lambda reply: SiteReply(site="north", content=change(reply.content, others))
    found = ask(transport)
    assert found["north"].content is None
    assert found["north"].reason in ("TransportError", "SignatureRefusedError")
    assert found["south"].content == b"reply to train"
    refused = [entry for entry in read_log(tmp_path / "audit.jsonl").entries if entry.event == "reply_refused"]
    assert [(entry.site, entry.reason) for entry in refused] == [("north", found["north"].reason)]


def test_an_answer_to_an_earlier_request_is_no_answer(transport, sites):
    ask(transport, b"round 1")
    earlier = {reply.site: reply for reply in sites.replies}
    sites.trouble["north"] = lambda reply: earlier["north"]
    assert ask(transport, b"round 2")["north"].reason == "SignatureRefusedError"


def test_what_a_site_does_not_understand_of_us_is_not_ours(sites, study, log):
    other = AuthenticatedTransport(sites, study=study, key=SigningKey.from_bytes(b"\x02" * 32), log=log)
    with pytest.raises(Exception, match="coordinator"):
        ask(other)


def test_a_site_that_rewrites_its_audit_log_is_not_heard(transport, sites, tmp_path):
    ask(transport)
    ask(transport)
    sites.logs["north"].close()
    (tmp_path / "north.jsonl").unlink()
    fresh = AuditLog(tmp_path / "north.jsonl", log="north", key=SITE_KEYS["north"], clock=clock)
    sites.logs["north"] = fresh
    sites.exchanges["north"] = HeadExchange(fresh, SITE_KEYS["north"], peers={COORDINATOR: KEY.public_key})
    sites.exchanges["north"].take = lambda *_, **__: None  # it does not look at what the coordinator has seen
    found = ask(transport)
    assert (found["north"].content, found["north"].reason) == (None, "AuditLogDamagedError")
    assert found["south"].content is not None


def test_a_coordinator_whose_own_log_was_restored_stops(sites, study, tmp_path):
    path = tmp_path / "audit.jsonl"
    with AuditLog(path, log=COORDINATOR, key=KEY, clock=clock) as log:
        ask(AuthenticatedTransport(sites, study=study, key=KEY, log=log))
        backup = path.read_bytes()
        ask(AuthenticatedTransport(sites, study=study, key=KEY, log=log))
        ask(AuthenticatedTransport(sites, study=study, key=KEY, log=log))
    path.write_bytes(backup)
    with AuditLog(path, log=COORDINATOR, key=KEY, clock=clock) as log:
        for exchange in sites.exchanges.values():
            exchange.take = lambda *_, **__: None
        with pytest.raises(AuditLogDamagedError):
            ask(AuthenticatedTransport(sites, study=study, key=KEY, log=log))

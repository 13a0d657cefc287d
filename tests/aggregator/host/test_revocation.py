"""Whom the gate believes: signed lists only, never older ones, and a revoked site is out within seconds, connections included."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from aggregator.authority.certificates import Client
from aggregator.host.revocation import Membership
from tests.aggregator.host.consortium import CONSORTIUM, NOW, Consortium
from tests.aggregator.host.gate_bench import answer_of, head, is_cut


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def host(own_consortium, tmp_path):
    layout, _ = own_consortium.host(tmp_path / "host")
    return layout


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def membership(host, clock):
    return membership_of(host, clock)


def membership_of(layout, clock):
    return Membership(layout, clock=clock, now=lambda: NOW, reread_seconds=5, keep_floor=True)


def client_of(found, **changes):
    fields = {
        "consortium": CONSORTIUM,
        "site": found.name,
        "serial": found.issued.serial,
        "fingerprint": found.issued.fingerprint,
        "expires": found.issued.expires,
    }
    return Client(**fields | changes)


def test_a_member_is_let_in_and_others_are_not(membership, own_consortium):
    north = own_consortium.members["north"]
    assert membership.reason_against(client_of(north)) == ""
    assert membership.reason_against(client_of(north, consortium="lungs")) == "consortium"
    assert membership.reason_against(client_of(north, site="east")) == "not_a_member"
    assert membership.reason_against(client_of(north, expires=NOW)) == "expired"
    assert membership.reason_against(client_of(north, expires=NOW + dt.timedelta(seconds=1))) == ""


def test_a_revocation_counts_after_five_seconds_at_most(membership, own_consortium, host, clock):
    north = own_consortium.members["north"]
    assert membership.reason_against(client_of(north)) == ""
    own_consortium.revoke(north)
    own_consortium.install(host)
    clock.seconds += 4.9
    assert membership.reason_against(client_of(north)) == ""  # what was read is believed this long
    clock.seconds += 0.2
    assert membership.reason_against(client_of(north)) == "revoked"
    assert membership.member("north") is None
    assert membership.member("south") is not None


def test_the_replaced_certificate_is_out_and_the_new_one_is_in(own_consortium, host, clock):
    old = own_consortium.members["north"]
    new = own_consortium.issue("north", member=True)
    own_consortium.revoke(old)
    own_consortium.install(host)
    membership = membership_of(host, clock)
    assert membership.reason_against(client_of(old)) == "revoked"
    assert membership.reason_against(client_of(new)) == ""
    assert membership.member("north") == new.member()


@pytest.mark.parametrize("again", [False, True], ids=["same process", "after a restart"])
def test_an_older_list_is_not_believed(own_consortium, host, clock, again):
    north = own_consortium.members["north"]
    before = host.revocations.read_bytes(), host.members.read_bytes()
    own_consortium.revoke(north)
    own_consortium.install(host)
    membership = membership_of(host, clock)
    assert membership.reason_against(client_of(north)) == "revoked"
    host.revocations.write_bytes(before[0])
    host.members.write_bytes(before[1])
    if again:
        membership = membership_of(host, clock)
    clock.seconds += 6
    assert membership.reason_against(client_of(north)) == ("no_lists" if again else "revoked")
    assert "newer than number" in membership.problem


def test_another_list_of_the_same_number_is_not_believed(own_consortium, host, clock):
    membership = membership_of(host, clock)
    assert membership.current() is not None
    number = own_consortium.number
    own_consortium.issue("east", member=True)
    own_consortium.install(host, number=number)
    clock.seconds += 6
    assert membership.current().members.of_site("east") is None
    assert "another content" in membership.problem


@pytest.mark.parametrize("name", ["members", "revocations", "authority"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "another authority's", "huge"])
def test_what_is_damaged_leaves_what_was_known_in_force(
    own_consortium, host, clock, membership, tmp_path, name, damage
):
    north = own_consortium.members["north"]
    assert membership.reason_against(client_of(north)) == ""
    path = getattr(host, name)
    content = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(content[:-20])
        case "changed":
            data = json.loads(content)
            key = "consortium" if name == "authority" else name
            data[key] = "lungs" if name == "authority" else data[key] | {"number": 99}
            path.write_text(json.dumps(data))
        case "another authority's":
            other = Consortium(tmp_path / "other")
            other.members = own_consortium.members
            foreign, _ = other.host(tmp_path / "other_host")
            path.write_bytes(getattr(foreign, name).read_bytes())
        case "huge":
            path.write_bytes(b" " * (2 * 1024 * 1024))
    clock.seconds += 6
    assert membership.reason_against(client_of(north)) == ""
    assert membership.problem
    fresh = membership_of(host, clock)
    assert fresh.reason_against(client_of(north)) == "no_lists"
    path.write_bytes(content)
    clock.seconds += 6
    assert membership.reason_against(client_of(north)) == ""
    assert membership.problem == ""


def test_a_live_connection_is_cut_when_its_site_is_revoked(gate_of, own_consortium):
    gate = gate_of(own_consortium, reread_seconds=0.3)
    north, south = own_consortium.members["north"], own_consortium.members["south"]
    with gate.raw(north) as ours, gate.raw(south) as theirs:
        for site, connection in ((north, ours), (south, theirs)):
            connection.sendall(head(site, "content-length: 0"))
            assert answer_of(connection) == 200
        own_consortium.revoke(north)
        own_consortium.install(gate.layout)
        assert is_cut(ours, seconds=5)
        theirs.sendall(head(south, "content-length: 0"))
        assert answer_of(theirs) == 200
    assert gate.counts.refused["revoked"] == 1


def test_a_live_connection_is_refused_with_its_next_request_before_it_is_cut(gate_of, own_consortium):
    gate = gate_of(own_consortium, reread_seconds=5)
    north = own_consortium.members["north"]
    with gate.raw(north) as connection:
        connection.sendall(head(north, "content-length: 0"))
        assert answer_of(connection) == 200
        own_consortium.revoke(north)
        own_consortium.install(gate.layout)
        gate.membership.reread()  # as its own time would have come, while the listener has not looked at connections yet
        connection.sendall(head(north, "content-length: 0"))
        assert answer_of(connection) == 401
    assert len(gate.arrived) == 1

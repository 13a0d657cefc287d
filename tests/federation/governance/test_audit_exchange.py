from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from federation.errors import AuditLogDamagedError, SignatureRefusedError
from federation.governance.audit_log import read_log
from federation.protocol import audit_head
from federation.protocol.audit_head import AuditHead, HeadsShown, countersign
from federation.protocol.signatures import SigningKey
from tests.federation.governance.audit_cases import (
    COORDINATOR_KEY,
    SITE_KEY,
    accepted,
    approved,
    coordinator_log,
    exchanges,
    site_log,
    talk,
)


def test_both_logs_hold_what_the_other_signed(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        for number in range(5):
            site.record(accepted(number))
            talk(ours, theirs)
    for name, key in (("audit.jsonl", COORDINATOR_KEY), ("coordinator.jsonl", SITE_KEY)):
        read = read_log(tmp_path / name)
        assert read.problem is None
        seen = read.chain.countersigned[key.public_key]
        assert seen.is_genuine()
        assert seen.head.sequence > 4
        assert len(read.chain.witnessed) == 1


def test_a_restart_continues_the_exchange(tmp_path: Path) -> None:
    for number in range(4):
        with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
            site.record(accepted(number), approved(number))
            talk(*exchanges(site, coordinator))
    assert read_log(tmp_path / "audit.jsonl").problem is None


def test_a_repeated_message_adds_nothing(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        talk(ours, theirs)
        request = theirs.show("north")
        ours.take("coordinator", request)
        before = site.head().sequence
        ours.take("coordinator", request)
        assert site.head().sequence == before


def test_answers_may_overtake_each_other(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        talk(ours, theirs)
        first, second, third = theirs.show("north"), theirs.show("north"), theirs.show("north")
        answers: list[HeadsShown] = []
        for request in (first, second, third):
            ours.take("coordinator", request)
            site.record(approved())
            answers.append(ours.show("coordinator"))
        theirs.take("north", answers[1], answering=second)
        theirs.take("north", answers[0], answering=first)
        theirs.take("north", answers[2], answering=third)
        talk(ours, theirs)


def test_a_restored_backup_of_the_site_is_noticed_by_the_site(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        talk(*exchanges(site, coordinator))
        shutil.copy(tmp_path / "audit.jsonl", tmp_path / "backup")
        site.record(approved())
        talk(*exchanges(site, coordinator))
    shutil.copy(tmp_path / "backup", tmp_path / "audit.jsonl")
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        with pytest.raises(AuditLogDamagedError) as caught:
            ours.take("coordinator", theirs.show("north"))
        assert caught.value.facts["log"] == "north"
        # a site that goes on regardless is noticed by the other
        with pytest.raises(AuditLogDamagedError) as caught:
            theirs.take("north", HeadsShown(own=site.head(since=1)), answering=theirs.show("north"))
        assert caught.value.facts["log"] == "north"


def test_a_forked_log_is_refused_whatever_links_it_shows(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        shutil.copy(tmp_path / "audit.jsonl", tmp_path / "fork.jsonl")
        ours, theirs = exchanges(site, coordinator)
        talk(ours, theirs)
        request = theirs.show("north")
        assert request.countersigned is not None
        since = request.countersigned.head.sequence
        (tmp_path / "f").mkdir()
        shutil.move(tmp_path / "fork.jsonl", tmp_path / "f" / "audit.jsonl")
        with site_log(tmp_path / "f") as fork:
            fork.record(*(approved(number) for number in range(20)))
            for shown in (fork.head(), fork.head(since=since), fork.head(since=1), fork.head(since=since + 1)):
                with pytest.raises(AuditLogDamagedError):
                    theirs.take("north", HeadsShown(own=shown), answering=request)
        ours.take("coordinator", request)
        theirs.take("north", ours.show("coordinator"), answering=request)


def test_a_head_that_goes_back_is_refused_in_an_answer(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        talk(ours, theirs)
        old = ours.show("coordinator")
        site.record(approved())
        talk(ours, theirs)
        with pytest.raises(AuditLogDamagedError):
            theirs.take("north", old, answering=theirs.show("north"))


def test_an_answer_without_a_head_is_refused_once_there_was_one(tmp_path: Path) -> None:
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        theirs.take("north", None, answering=HeadsShown())
        talk(ours, theirs)
        for nothing in (None, HeadsShown()):
            with pytest.raises(AuditLogDamagedError):
                theirs.take("north", nothing, answering=theirs.show("north"))


def test_signatures_of_others_are_refused(tmp_path: Path) -> None:
    stranger = SigningKey.generate()
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        talk(ours, theirs)
        right = theirs.show("north")
        assert right.own is not None
        assert right.countersigned is not None
        forged = AuditHead.signed(stranger, log="coordinator", sequence=99, entry_hash="00" * 32)
        changed = right.countersigned.model_copy(update={"signature": "00" * 64})
        length = site.head().sequence
        for wrong in (
            HeadsShown(own=forged),
            HeadsShown(own=right.own.model_copy(update={"public_key": stranger.public_key})),
            HeadsShown(own=right.own.model_copy(update={"sequence": 99, "since": None, "links": ()})),
            HeadsShown(countersigned=countersign(right.countersigned.head, stranger)),
            HeadsShown(countersigned=changed),
            HeadsShown(own=site.head()),
        ):
            with pytest.raises(SignatureRefusedError):
                ours.take("coordinator", wrong)
        with pytest.raises(SignatureRefusedError):
            ours.take("south", right)
        assert site.head().sequence == length
        ours.take("coordinator", right)


def test_a_log_that_grew_a_lot_catches_up_over_several_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from federation.governance import audit_log

    monkeypatch.setattr(audit_log, "MOST_LINKS", 8)
    assert audit_head.MOST_LINKS == 4096
    with site_log(tmp_path) as site, coordinator_log(tmp_path) as coordinator:
        ours, theirs = exchanges(site, coordinator)
        talk(ours, theirs)
        site.record(*(approved(number) for number in range(30)))
        seen: list[int] = []
        for _ in range(8):
            talk(ours, theirs)
            with coordinator.writing() as chain:
                seen.append(chain.witnessed["north"].sequence)
        assert seen == sorted(seen)
        assert seen[-1] > 30

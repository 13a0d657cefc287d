"""A ledger that went back in time, or goes on twice, locks itself; nobody else can lock it."""

from __future__ import annotations

import shutil

import pytest

from federation.errors import LedgerDamagedError, LedgerLockedError, PrivacyRefusedError, StudyError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey
from site_client.ledger import journal
from site_client.ledger.key_file import key_path
from tests.site_client.ledger.ledger_cases import (
    answer,
    assert_sound,
    content,
    digest,
    entries_of,
    make,
    open_again,
    reserve,
)


def copy_ledger(path, folder):
    """What a backup or ``cp -r`` takes; the ledger is closed."""
    folder.mkdir()
    for file in (path, key_path(path)):
        shutil.copy2(file, folder)
    return folder / path.name


def assert_locked_for_good(ledger, path, reservation):
    for attempt in (
        lambda: reserve(ledger, 99),
        lambda: reserve(ledger, 1),
        lambda: ledger.computed(reservation, digest("bytes")),
        lambda: ledger.sent(reservation),
        ledger.head,
        lambda: ledger.witness(
            LedgerHead.signed(key_of(path), population="cardiology", sequence=1, entry_hash="0" * 64)
        ),
    ):
        with pytest.raises(LedgerLockedError):
            attempt()
    assert "restored backup or one of several copies" in ledger.status().locked
    assert ledger.find("heart", "train/1") == reservation
    assert ledger.verify().intact
    assert entries_of(path)[-1].kind == "locked"


def key_of(path):
    return SigningKey.from_bytes(key_path(path).read_bytes())


def test_a_ledger_knows_every_head_it_gave(ledger):
    heads = [ledger.head()]
    for number in range(3):
        answer(ledger, number)
        heads.append(ledger.head())
    for head in heads:
        assert head.is_genuine()
        assert head.public_key == ledger.public_key
        ledger.witness(head)
    assert heads[-1].sequence == ledger.status().entries


def test_a_restored_backup_locks_itself(path, tmp_path):
    with make(path) as ledger:
        reservation = reserve(ledger, 1)
    backup = copy_ledger(path, tmp_path / "backup")
    with open_again(path) as ledger:
        answer(ledger, 2)
        witnessed = ledger.head()
    with open_again(backup) as restored:
        restored.witness(restored.head())
        before = content(backup)
        with pytest.raises(LedgerLockedError, match="others witnessed 6") as refusal:
            restored.witness(witnessed)
        assert "the copy that went on" in refusal.value.remedy
        assert content(backup)[:-1] == before
        assert_locked_for_good(restored, backup, reservation)
    with open_again(backup) as again:
        assert_locked_for_good(again, backup, reservation)
    with open_again(path) as ledger:  # the original goes on
        ledger.witness(witnessed)
        answer(ledger, 3)


def test_of_two_copies_that_both_go_on_one_locks_itself(path, tmp_path):
    with make(path) as ledger:
        reservation = reserve(ledger, 1)
    clone = copy_ledger(path, tmp_path / "clone")
    with open_again(path) as first, open_again(clone) as second:
        for number in range(2, 5):
            answer(second, number, study="heart")
            answer(first, number, study="kidney")
        first.witness(first.head())
        with pytest.raises(LedgerLockedError, match="is not the one that others witnessed"):
            second.witness(first.head())
        assert_locked_for_good(second, clone, reservation)
        reserve(first, 9)
    assert_sound(path)


def test_a_ledger_deleted_and_made_anew_locks_itself(path):
    with make(path) as ledger:
        answer(ledger, 1)
        witnessed = ledger.head()
    path.unlink()
    with make(path) as fresh, pytest.raises(LedgerLockedError):
        fresh.witness(witnessed)


@pytest.mark.parametrize("spoil", ["other key", "false signature", "other population"])
def test_a_forged_head_locks_nobody(ledger, path, spoil):
    reserve(ledger, 1)
    key = SigningKey.generate() if spoil == "other key" else key_of(path)
    population = "oncology" if spoil == "other population" else "cardiology"
    head = LedgerHead.signed(key, population=population, sequence=99, entry_hash="ab" * 32)
    if spoil == "false signature":
        head = head.model_copy(update={"sequence": 98})
    before = content(path)
    with pytest.raises(PrivacyRefusedError, match="this ledger's key"):
        ledger.witness(head)
    assert content(path) == before
    answer(ledger, 2)


def test_a_lock_holds_even_if_it_cannot_be_written(path, tmp_path, monkeypatch):
    with make(path) as ledger:
        reserve(ledger, 1)
    backup = copy_ledger(path, tmp_path / "backup")
    with open_again(path) as ledger:
        reserve(ledger, 2)
        witnessed = ledger.head()
    with open_again(backup) as restored:
        with monkeypatch.context() as patch:
            full = StudyError("no space left")
            patch.setattr(journal.Store, "append", lambda *_: (_ for _ in ()).throw(full))
            with pytest.raises(StudyError, match="no space"):
                restored.witness(witnessed)
        with pytest.raises(LedgerLockedError):
            reserve(restored, 2)
        with pytest.raises(LedgerLockedError):
            restored.head()


def test_every_process_with_the_file_open_sees_the_lock(path, tmp_path):
    with make(path) as ledger:
        reserve(ledger, 1)
    backup = copy_ledger(path, tmp_path / "backup")
    with open_again(path) as ledger:
        reserve(ledger, 2)
        witnessed = ledger.head()
    with open_again(backup) as one, open_again(backup) as other:
        with pytest.raises(LedgerLockedError):
            one.witness(witnessed)
        with pytest.raises(LedgerLockedError):
            reserve(other, 2)


def test_what_others_appended_counts_as_contained(path):
    with make(path) as one, open_again(path) as other:
        answer(other, 1)
        one.witness(other.head())
        assert one.spent() == other.spent()


def test_without_its_key_a_ledger_can_only_be_read(path):
    with make(path) as ledger:
        reservation = reserve(ledger, 1)
    key_path(path).unlink()
    with open_again(path) as ledger:
        assert ledger.verify().intact
        assert ledger.status().reserved == 1
        assert reserve(ledger, 1) == reservation
        attempts = (lambda: reserve(ledger, 2), ledger.head, lambda: ledger.computed(reservation, digest("bytes")))
        for attempt in attempts:
            with pytest.raises(LedgerDamagedError, match="signing key"):
                attempt()
        assert ledger.find("heart", "train/1").state == "reserved"
        assert ledger.status().entries == 2


@pytest.mark.parametrize("spoil", [bytes(31), bytes(32)], ids=["short", "another key"])
def test_the_wrong_key_is_refused(path, spoil):
    make(path).close()
    key_path(path).write_bytes(spoil)
    with pytest.raises(LedgerDamagedError, match="key"):
        open_again(path)


def test_a_key_that_cannot_be_read(path):
    make(path).close()
    key_path(path).unlink()
    key_path(path).mkdir()
    with pytest.raises(StudyError, match="directory"):
        open_again(path)

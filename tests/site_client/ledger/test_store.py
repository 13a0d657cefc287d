"""The file: append-only by its own triggers, one writer, settings that are checked, errors that say what to do."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from federation.errors import InvalidInputError, LedgerDamagedError, StudyError
from site_client.ledger import key_file, store
from site_client.ledger.key_file import key_path
from site_client.ledger.ledger import Ledger
from site_client.ledger.store import Store
from tests.site_client.ledger.ledger_cases import (
    TERMS,
    answer,
    assert_sound,
    clock,
    content,
    make,
    open_again,
    reserve,
)


def script(path, text):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(text)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = x'7b7d' WHERE sequence = 2",
        "UPDATE entries SET sequence = 9 WHERE sequence = 2",
        "DELETE FROM entries WHERE sequence = 2",
        "DELETE FROM entries",
        "INSERT INTO entries VALUES (9, x'7b7d', zeroblob(32))",
        "INSERT OR REPLACE INTO entries VALUES (2, x'7b7d', zeroblob(32))",
        "REPLACE INTO entries VALUES (1, x'7b7d', zeroblob(32))",
        "INSERT INTO entries VALUES (3, 'text', zeroblob(32))",
        "INSERT INTO entries VALUES (3, x'7b7d', zeroblob(31))",
        "INSERT INTO entries VALUES (NULL, x'7b7d', zeroblob(32))",
    ],
)
def test_the_file_itself_refuses_everything_but_appending(path, statement):
    with make(path) as ledger:
        reserve(ledger, 1)
    before = content(path)
    with pytest.raises(sqlite3.IntegrityError):
        script(path, statement + ";")
    assert content(path) == before


@pytest.mark.parametrize(
    "tampering",
    [
        "DROP TRIGGER entries_never_change",
        "DROP TRIGGER entries_never_go",
        "DROP TRIGGER entries_follow",
        "CREATE TRIGGER another AFTER INSERT ON entries BEGIN SELECT 1; END",
        "CREATE TABLE another (x)",
        "CREATE INDEX another ON entries (entry_hash)",
        "ALTER TABLE entries ADD COLUMN x",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
        "DROP TRIGGER entries_never_go; CREATE TRIGGER entries_never_go BEFORE DELETE ON entries BEGIN SELECT 1; END",
    ],
)
def test_other_tables_and_triggers_are_noticed(path, tampering):
    make(path).close()
    script(path, tampering + ";")
    with pytest.raises(LedgerDamagedError, match="tables and triggers"):
        open_again(path)


def test_the_settings_hold_on_the_open_file(path):
    make(path).close()
    with closing(Store(path)) as opened:
        found = {name: opened._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in store._SETTINGS}
    assert found["journal_mode"] == b"wal"
    assert found["synchronous"] == 2
    assert found["foreign_keys"] == 1


def test_a_setting_that_sqlite_ignores_is_noticed(path, monkeypatch):
    make(path).close()
    monkeypatch.setitem(store._SETTINGS, "synchronous", ("NORMAL", 2))
    with pytest.raises(StudyError, match="synchronous = NORMAL"):
        open_again(path)


def test_a_ledger_is_made_once(path):
    with make(path) as ledger:
        reserve(ledger, 1)
    with pytest.raises(InvalidInputError, match="expected no ledger"):
        make(path)
    path.rename(path.with_name("moved"))
    path.with_name(path.name + "-wal").write_bytes(b"left over")
    with pytest.raises(InvalidInputError, match="what is left of one"):
        make(path)
    with pytest.raises(InvalidInputError, match="what is left of one"):
        Ledger.open_or_create(path, TERMS, clock=clock)


def test_open_or_create(path):
    with Ledger.open_or_create(path, TERMS, clock=clock) as ledger:
        answer(ledger, 1)
        public_key = ledger.public_key
    with Ledger.open_or_create(path, TERMS, clock=clock) as ledger:
        assert ledger.public_key == public_key
        assert ledger.status().sent == 1


@pytest.mark.parametrize(
    "other", [{"epsilon_cap": 9.0}, {"delta": 1e-5}, {"order": 8.0}, {"site": "elsewhere"}, {"population": "oncology"}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_the_terms_never_change(ledger, path, other):
    reserve(ledger, 1)
    with pytest.raises(InvalidInputError, match="never change"):
        Ledger.open_or_create(path, TERMS.model_copy(update=other), clock=clock)
    assert ledger.terms == TERMS


def test_of_two_that_make_it_at_once_both_get_the_same(path, monkeypatch):
    def other_is_first(*_):
        monkeypatch.undo()
        make(path).close()
        raise FileExistsError

    monkeypatch.setattr(os, "link", other_is_first)
    with pytest.raises(InvalidInputError, match="expected no ledger"):
        make(path)
    path.unlink()
    key_path(path).unlink()
    monkeypatch.setattr(Store, "create", other_is_first)
    with Ledger.open_or_create(path, TERMS, clock=clock) as ledger:
        assert ledger.verify().intact


def test_creation_leaves_nothing_behind(path):
    make(path).close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, path.name + ".key"]


def test_no_such_file(path):
    with pytest.raises(InvalidInputError, match="no such file"):
        open_again(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("spoiled", [b"", b"not a database" * 500, bytes(8192)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_ledger_is_not_made_one(path, spoiled):
    path.write_bytes(spoiled)
    with pytest.raises(LedgerDamagedError):
        open_again(path)
    with pytest.raises(LedgerDamagedError):
        Ledger.open_or_create(path, TERMS, clock=clock)


def test_another_file_in_its_place_is_noticed(ledger, path, tmp_path):
    reserve(ledger, 1)
    with make(tmp_path / "other"):
        pass
    (tmp_path / "other").replace(path)
    with pytest.raises(LedgerDamagedError, match="another in its place"):
        reserve(ledger, 2)
    path.unlink()
    with pytest.raises(LedgerDamagedError, match="another in its place"):
        ledger.spent()


def test_a_locked_file_is_refused_and_nothing_is_lost(ledger, path, monkeypatch):
    reserve(ledger, 1)
    ledger._journal.store._connection.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyError, match="locked"):
            reserve(ledger, 2)
        other.execute("ROLLBACK")
    assert reserve(ledger, 2).sequence == 3
    assert_sound(path)


def test_a_closed_ledger_says_so(path):
    ledger = make(path)
    ledger.close()
    with pytest.raises(StudyError, match="closed"):
        reserve(ledger, 1)


def test_a_full_disk_is_refused_and_nothing_is_lost(ledger, path):
    for number in range(3):
        reserve(ledger, number)
    connection = ledger._journal.store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    committed: list[int] = []
    with pytest.raises(StudyError, match="full"):
        committed.extend(reserve(ledger, number).sequence for number in range(3, 30))
    assert len(content(path)) == 4 + len(committed)
    connection.execute("PRAGMA max_page_count = 1000000")
    answer(ledger, 99)
    assert_sound(path)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="expected to read and write the key"):
        make(tmp_path / "file" / "ledger.sqlite")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "link", refuse)
        patch.setattr(key_file, "find_or_make_key", None)
        key_file_made = tmp_path / "ledger.sqlite"
        key_path(key_file_made).write_bytes(bytes(32))
        with pytest.raises(StudyError, match="Permission denied"):
            make(key_file_made)
    assert not key_file_made.exists()


def test_a_new_file_whose_log_cannot_be_written_back_does_not_appear(path, monkeypatch):
    connect = store._connect

    class Busy:
        def __init__(self, *words, **options):
            self.connection = connect(*words, **options)

        def execute(self, statement):
            return self.connection.execute("SELECT 1, 5, 0" if "wal_checkpoint" in statement else statement)

        def __getattr__(self, name):
            return getattr(self.connection, name)

    monkeypatch.setattr(store, "_connect", Busy)
    with pytest.raises(StudyError, match="written back"):
        make(path)
    assert [file.name for file in path.parent.iterdir()] == [key_path(path).name]


def test_a_key_that_vanishes_while_it_is_made(path, monkeypatch):
    monkeypatch.setattr(key_file, "read_key", lambda _: None)
    with pytest.raises(StudyError, match="vanished"):
        make(path)


def test_rows_of_a_wrong_type_are_damage(path):
    make(path).close()
    # SQLite's checks can be switched off by whoever writes; ours are on reading.
    script(
        path,
        "PRAGMA ignore_check_constraints = ON; INSERT INTO entries VALUES (2, 7, zeroblob(32));",
    )
    with pytest.raises(LedgerDamagedError, match="byte strings"):
        open_again(path)


def test_a_ledger_that_another_program_shortened_is_noticed(ledger, path):
    reserve(ledger, 1)
    script(path, "DROP TRIGGER entries_never_go; DELETE FROM entries WHERE sequence = 2;")
    with pytest.raises(LedgerDamagedError, match="entry 2"):
        reserve(ledger, 2)

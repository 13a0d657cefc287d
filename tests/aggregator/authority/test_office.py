"""The authority's folder: whole or not at all, private to its owner, useless without its passphrase; its register only grows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from aggregator.authority.office import Office, read_passphrase
from aggregator.authority.register import Register
from federation.errors import InvalidInputError, StudyError
from tests.small_consortium import START, SmallConsortium

PASSPHRASE = b"correct horse battery"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Office.create(tmp_path / "authority", "cardio", passphrase=PASSPHRASE, now=START)
    return tmp_path / "authority"


def test_only_the_owner_can_read_what_is_private(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in ("ca.key", "signing.key", "register.sqlite"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name


def test_the_keys_need_the_passphrase(folder: Path) -> None:
    for name in ("ca.key", "signing.key"):
        assert (folder / name).read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    with Office(folder) as office:
        keys = office.unlock(PASSPHRASE)
        assert keys.signing.public_key == office.authority.public_key
        assert repr(keys) == "AuthorityKeys()"
        for wrong in (None, b"wrong", PASSPHRASE + b"\n"):
            with pytest.raises(InvalidInputError) as refused:
                office.unlock(wrong)
            assert "horse" not in str(refused.value)


def test_a_short_passphrase_makes_no_authority(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        Office.create(tmp_path / "authority", "cardio", passphrase=b"short", now=START)
    with pytest.raises(InvalidInputError):
        Office.create(tmp_path / "authority", "Not A Name", passphrase=None, now=START)
    assert list(tmp_path.iterdir()) == []  # not even a part


def test_an_authority_is_made_once(folder: Path) -> None:
    before = (folder / "authority.json").read_bytes()
    with pytest.raises(InvalidInputError):
        Office.create(folder, "cardio", passphrase=None, now=START)
    assert (folder / "authority.json").read_bytes() == before
    with pytest.raises(InvalidInputError):
        Office(folder.parent)


@pytest.mark.parametrize("name", ["ca.key", "signing.key"])
def test_keys_of_another_authority_are_noticed(name: str, folder: Path, tmp_path: Path) -> None:
    Office.create(tmp_path / "other", "cardio", passphrase=PASSPHRASE, now=START)
    (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with Office(folder) as office, pytest.raises(InvalidInputError):
        office.unlock(PASSPHRASE)


def test_the_passphrase_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "passphrase.txt"
    file.write_bytes(PASSPHRASE + b"\r\nnotes\n")
    assert read_passphrase(file) == PASSPHRASE
    assert read_passphrase(None) is None
    file.write_bytes(b"\n")
    with pytest.raises(InvalidInputError):
        read_passphrase(file)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invitations",
        "UPDATE invitations SET used = NULL",
        "UPDATE invitations SET site = 'other'",
        "UPDATE invitations SET expires = '2099'",
        "DELETE FROM admissions",
        "UPDATE admissions SET site = 'other'",
        "DELETE FROM revocations",
        "UPDATE revocations SET serial = '1'",
        "DELETE FROM aggregators",
        "UPDATE aggregators SET gate = 'other:1'",
    ],
)
def test_the_register_only_grows(statement: str, tmp_path: Path) -> None:
    consortium = SmallConsortium(tmp_path)
    consortium.enrol("st_mary")
    consortium.enrol("university")
    consortium.revoke("university")
    database = sqlite3.connect(consortium.office.folder / "register.sqlite")
    try:
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
    finally:
        database.close()


def test_the_register_keeps_no_token(tmp_path: Path) -> None:
    consortium = SmallConsortium(tmp_path)
    invitation = consortium.invite("st_mary")
    consortium.admit(consortium.request("st_mary", invitation=invitation))
    content = b"".join(path.read_bytes() for path in consortium.office.folder.iterdir())
    assert invitation.token.encode() not in content


def test_something_else_is_no_register(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        Register(tmp_path / "register.sqlite")
    (tmp_path / "register.sqlite").write_bytes(b"ward 3" * 1000)
    with pytest.raises(InvalidInputError):
        Register(tmp_path / "register.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE wards (name TEXT)")
    other.close()
    with pytest.raises(InvalidInputError):
        Register(tmp_path / "other.sqlite")


def test_a_failing_disk_changes_nothing(tmp_path: Path) -> None:
    consortium = SmallConsortium(tmp_path)
    request = consortium.request("st_mary")
    path = consortium.office.folder / "register.sqlite"
    before = path.read_bytes()
    consortium.office.register._database.execute("PRAGMA max_page_count = 1")  # full
    consortium.office.register._database.execute("PRAGMA query_only = ON")  # read-only
    with pytest.raises(StudyError):
        consortium.admit(request)
    assert path.read_bytes() == before
    consortium.office.register._database.execute("PRAGMA query_only = OFF")
    consortium.office.register._database.execute("PRAGMA max_page_count = 100000")
    consortium.admit(request)

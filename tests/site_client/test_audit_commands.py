from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from federation.errors import AuditLogDamagedError, InvalidInputError, SignatureRefusedError
from federation.governance.audit_export import SignedExport, export_log, read_export
from site_client.audit_commands import audit_app
from tests.federation.governance.audit_cases import COORDINATOR_KEY, SITE_KEY, clock, small_log


@pytest.fixture
def home(tmp_path: Path) -> Path:
    small_log(tmp_path)
    (tmp_path / "identity.key").write_bytes(SITE_KEY.to_bytes())
    coordinator = export_log(tmp_path / "coordinator.jsonl", key=COORDINATOR_KEY, now=clock())
    (tmp_path / "coordinator.json").write_text(coordinator.model_dump_json())
    return tmp_path


def _run(home: Path, *words: object) -> Result:
    return CliRunner().invoke(audit_app, [str(words[0]), "--home", str(home), *map(str, words[1:])])


def test_verify_says_that_the_log_holds(home: Path) -> None:
    result = _run(home, "verify", "--against", home / "coordinator.json")
    assert result.exit_code == 0, result.output
    assert "the log of north holds" in result.output
    found = json.loads(_run(home, "verify", "--json").stdout)
    assert found["intact"] is True
    assert found["public_key"] == SITE_KEY.public_key


def test_verify_names_the_first_bad_entry_and_leaves_with_its_code(home: Path) -> None:
    path = home / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = (
        lines[4].replace(b"agent", b"aGent").replace(b"officer", b"oFFicer").replace(b'"coordinator"', b'"koordinator"')
    )
    path.write_bytes(b"".join(lines))
    result = _run(home, "verify")
    assert result.exit_code == AuditLogDamagedError.exit_code == 64
    assert "first bad entry: 5" in result.output
    assert json.loads(_run(home, "verify", "--json").stdout)["entries"] == 4


def test_verify_against_the_other_side_finds_a_truncated_log(home: Path) -> None:
    path = home / "audit.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    assert _run(home, "verify").exit_code == 0
    result = _run(home, "verify", "--against", home / "coordinator.json")
    assert result.exit_code == 64
    assert "others have witnessed" in result.output


def test_show_filters_entries(home: Path) -> None:
    entries = json.loads(_run(home, "show", "--event", "approved", "--last", 2, "--json").stdout)
    assert [entry["event"] for entry in entries] == ["approved", "approved"]
    assert "log_opened" in _run(home, "show").output


def test_an_export_is_complete_signed_and_new(home: Path) -> None:
    output = home / "out.json"
    assert _run(home, "export", "-o", output).exit_code == 0
    signed, chain = read_export(output)
    assert chain.sequence == len((home / "audit.jsonl").read_bytes().splitlines())
    assert signed.export.head.public_key == SITE_KEY.public_key
    again = _run(home, "export", "-o", output)
    assert isinstance(again.exception, InvalidInputError)


def test_a_changed_export_is_refused(home: Path) -> None:
    output = home / "out.json"
    _run(home, "export", "-o", output)
    text = output.read_text()
    for old, new in (
        ("officer", "oFFicer"),
        ('"exported":"2', '"exported":"3'),
        ("request_accepted", "request_refused"),
    ):
        output.write_text(text.replace(old, new))
        with pytest.raises((SignatureRefusedError, InvalidInputError)):
            read_export(output)
    data = json.loads(text)
    del data["export"]["entries"][-1]
    output.write_text(json.dumps(data))
    with pytest.raises(SignatureRefusedError):
        read_export(output)
    output.write_text(json.dumps({"not": "an export"}))
    with pytest.raises(InvalidInputError):
        read_export(output)


def test_an_export_signed_by_its_owner_still_has_to_hold(home: Path) -> None:
    """Whoever has the key can sign anything; entries that do not follow are refused all the same."""
    from federation.governance.signed import sign_document

    _run(home, "export", "-o", home / "out.json")
    signed, _ = read_export(home / "out.json")
    for entries in (signed.export.entries[:-1], (*signed.export.entries[:3], *signed.export.entries[4:])):
        export = signed.export.model_copy(update={"entries": entries})
        forged = SignedExport(export=export, signature=sign_document(export, SITE_KEY, purpose="audit-export"))
        (home / "forged.json").write_text(forged.model_dump_json())
        with pytest.raises(AuditLogDamagedError):
            read_export(home / "forged.json")


def test_an_export_needs_the_log_s_own_key(home: Path) -> None:
    (home / "identity.key").write_bytes(COORDINATOR_KEY.to_bytes())
    assert isinstance(_run(home, "export", "-o", home / "a.json").exception, AuditLogDamagedError)
    (home / "identity.key").unlink()
    assert isinstance(_run(home, "export", "-o", home / "a.json").exception, InvalidInputError)
    assert not (home / "a.json").exists()


def test_an_export_that_never_saw_this_log_is_no_comparison(home: Path) -> None:
    _run(home, "export", "-o", home / "own.json")
    foreign = CliRunner().invoke(
        audit_app, ["verify", "--log", str(home / "coordinator.jsonl"), "--against", str(home / "coordinator.json")]
    )
    assert foreign.exit_code == 0  # its own export holds its own head
    (home / "b").mkdir()
    from tests.federation.governance.audit_cases import coordinator_log

    with coordinator_log(home / "b"):
        pass
    empty = export_log(home / "b" / "coordinator.jsonl", key=COORDINATOR_KEY, now=clock())
    (home / "empty.json").write_text(empty.model_dump_json())
    assert isinstance(_run(home, "verify", "--against", home / "empty.json").exception, SignatureRefusedError)

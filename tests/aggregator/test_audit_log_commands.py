from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aggregator.audit_log_commands import audit_app
from federation.errors import AuditLogDamagedError, InvalidInputError
from federation.governance.audit_export import export_log, read_export
from tests.federation.governance.audit_cases import COORDINATOR_KEY, SITE_KEY, clock, small_log


@pytest.fixture
def home(tmp_path: Path) -> Path:
    small_log(tmp_path)
    (tmp_path / "site.json").write_text(
        export_log(tmp_path / "audit.jsonl", key=SITE_KEY, now=clock()).model_dump_json()
    )
    (tmp_path / "coordinator.jsonl").rename(tmp_path / "audit.jsonl")
    (tmp_path / "coordinator.key").write_bytes(COORDINATOR_KEY.to_bytes())
    return tmp_path


def _run(home: Path, *words: object) -> Result:
    return CliRunner().invoke(audit_app, [str(words[0]), "--home", str(home), *map(str, words[1:])])


def test_verify_show_and_export(home: Path) -> None:
    result = _run(home, "verify", "--against", home / "site.json")
    assert result.exit_code == 0, result.output
    assert "the log of coordinator holds" in result.output
    assert json.loads(_run(home, "show", "--json").stdout)[0]["event"] == "log_opened"
    assert _run(home, "export", "-o", home / "out.json").exit_code == 0
    assert read_export(home / "out.json")[0].export.head.log == "coordinator"


def test_a_rewritten_log_is_found_by_a_site_s_export(home: Path) -> None:
    path = home / "audit.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert _run(home, "verify").exit_code == 0
    assert _run(home, "verify", "--against", home / "site.json").exit_code == AuditLogDamagedError.exit_code


def test_a_key_that_is_none_is_refused(home: Path) -> None:
    for content in (b"", b"x" * 33):
        (home / "coordinator.key").write_bytes(content)
        assert isinstance(_run(home, "export", "-o", home / "out.json").exception, InvalidInputError)
    (home / "coordinator.key").unlink()
    assert isinstance(_run(home, "export", "-o", home / "out.json").exception, InvalidInputError)

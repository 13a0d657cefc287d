"""An account that cannot run this Python is told so before anything is started with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from federation.errors import ConfigurationError
from site_client.accounts import Account, check_interpreter

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another account")


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@as_root
def test_the_same_python_is_no_problem() -> None:
    check_interpreter(Account(user=0, group=0))


@as_root
@pytest.mark.parametrize(
    ("text", "got"), [("echo '3.11.0 (another)'", "got 3.11.0"), ("exit 1", "got none"), ("exit 0", "got none")]
)
def test_another_python_is_named(text: str, got: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", script(tmp_path, text))
    with pytest.raises(ConfigurationError, match=got) as caught:
        check_interpreter(Account(user=0, group=0, name="root"))
    assert "account root" in str(caught.value)
    assert "/opt" in caught.value.remedy


@as_root
def test_a_python_that_the_account_may_not_reach_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(sys, "executable", script(closed, f'exec {sys.executable} "$@"'))
    with pytest.raises(ConfigurationError, match="got none"):
        check_interpreter(Account(user=41001, group=41001))


@as_root
def test_the_account_learns_nothing_of_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of the hospital")
    monkeypatch.setattr(sys, "executable", script(tmp_path, f'env > {tmp_path / "seen"}; exec {sys.executable} "$@"'))
    check_interpreter(Account(user=0, group=0))
    assert "hospital" not in (tmp_path / "seen").read_text()

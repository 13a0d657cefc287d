"""The environment of peers sees our packages behind its own, and pip writes into it alone."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from experiments.benchmarks import peer_environment
from experiments.benchmarks.peer_environment import PACKAGES, make


def test_it_is_made_beside_ours_without_touching_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(peer_environment.subprocess, "run", lambda command, **_: commands.append(command))
    make(tmp_path / "peers")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = tmp_path / "peers" / "lib" / version / "site-packages"
    assert (tmp_path / "peers" / "bin" / "python").exists()
    assert (packages / "cohortium_packages.pth").read_text().strip() == sysconfig.get_path("purelib")
    assert (tmp_path / "peers" / ".gitignore").read_text() == "*\n"
    ((*words,),) = commands
    assert words[words.index("--target") + 1] == str(packages)
    assert "--no-deps" in words
    assert set(PACKAGES) <= set(words)

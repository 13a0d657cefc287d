from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.site_client.ledger.ledger_cases import make

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path():
    """In memory where there is such a folder: thousands of commits, and none of them has to reach a disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cardiology.sqlite"


@pytest.fixture
def ledger(path):
    with make(path) as opened:
        yield opened

"""A copy of our packages in a folder of its own, which a test may change, and programs that run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from site_client.installed_code import PACKAGES, ROOT

AGENT = """
import sys
from site_client import agent_process
try:
    agent_process.main(["--home", sys.argv[1], "--socket", sys.argv[1] + "/s"])
except Exception as failure:
    imported = [name for name in ("torch", "site_client.hospital", "site_client.training") if name in sys.modules]
    print(type(failure).__name__, failure.facts.get("reason"), failure.facts.get("differ"), imported)
"""


def copied(folder: Path) -> Path:
    """Our packages, without compiled files."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def flip(path: Path, at: int = -2) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def run_in(tree: Path, program: str, *words: str) -> str:
    """What a program prints that runs from the copy."""
    environment = dict(os.environ) | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()

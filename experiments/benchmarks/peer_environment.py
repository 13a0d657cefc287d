"""``python -m experiments.benchmarks.peer_environment``: make ``.venv-peers``, for peers that ask for other versions than ours.

It sees our installed packages, PyTorch among them, behind its own, so that nothing large is installed twice and ours is not
touched. Without it these peers are skipped by name.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

from federation.durable_files import write_durably

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / ".venv-peers"
PYTHON: Final = FOLDER / "bin" / "python"
COMMAND: Final = "python -m experiments.benchmarks.peer_environment"
PACKAGES: Final = (
    "pfl==0.6",
    "dp-accounting>=0.4,<0.6",
    "multiprocess>=0.70.15,<0.71",
    "prv-accountant>=0.2,<0.3",
    "dill",
)
"""pfl, and what it asks for that is not among our own packages in a version that fits."""


def make(folder: Path = FOLDER) -> None:
    """Make the environment, or bring it up to date.

    Args:
        folder: Where. Git ignores what is in it.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    write_durably(folder / ".gitignore", b"*\n")
    # Ours come after its own on the path: what is installed there wins.
    write_durably(packages / "cohortium_packages.pth", sysconfig.get_path("purelib").encode() + b"\n")
    pip = [sys.executable, "-m", "pip", "install", "--upgrade", "--no-deps", "--target", str(packages), *PACKAGES]
    subprocess.run(pip, check=True)  # noqa: S603 - fixed words


if __name__ == "__main__":
    make()

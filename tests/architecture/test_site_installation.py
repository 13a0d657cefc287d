"""A hospital installs `cohortium[site]`: it gets neither MLflow nor Ray, and its commands start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ABSENT = ("mlflow", "ray", "hydra", "sklearn", "matplotlib", "pytest")


def _run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    result = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{words}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    return result


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with a wheel of this tree and the extra `site`, away from the source."""
    folder = tmp_path_factory.mktemp("site")
    _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    # Built from a copy: setuptools leaves a build folder, and what an old one holds would get into the wheel.
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (folder / "venv/bin/python", "-m", "pip")
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("cohortium-*.whl")
    _run(*pip, "install", "-c", ROOT / "constraints.txt", f"{wheel}[site]", cwd=folder)
    return folder


def test_a_site_has_no_tracking_and_no_simulation(site: Path) -> None:
    code = f"import importlib.util as u; print([name for name in {ABSENT!r} if u.find_spec(name)])"
    assert _run(site / "venv/bin/python", "-c", code, cwd=site).stdout.strip() == "[]"


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("site", "--help"), ("study", "--help")])
def test_the_commands_of_a_site_start(site: Path, words: tuple[str, ...]) -> None:
    assert _run(site / "venv/bin/cohortium", *words, cwd=site).stdout.strip()


def test_what_a_site_runs_can_be_imported(site: Path) -> None:
    code = "import site_client.agent, site_client.training, site_client.gateway.app, site_client.sources.tables"
    _run(site / "venv/bin/python", "-W", "error::ImportWarning", "-c", code, cwd=site)


def test_a_simulation_says_which_extra_is_missing(site: Path) -> None:
    result = subprocess.run(
        [str(site / "venv/bin/cohortium"), "simulate", "study=demo"],
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 30, result.stderr[-2000:]
    assert "cohortium[simulation]" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_the_wheel_holds_every_file_that_is_not_code(site: Path) -> None:
    (installed,) = (site / "venv").glob("lib/python*/site-packages")
    wanted = [
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    ]
    assert len(wanted) > 100
    assert [path.as_posix() for path in wanted if not (installed / path).is_file()] == []

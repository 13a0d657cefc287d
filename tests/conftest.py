"""What every test shares: quiet libraries, one math thread, Hypothesis profiles, and the hospital files if they are there."""

from __future__ import annotations

import os

# Before torch, ray or mlflow is imported anywhere: the tests run one process per core, and tell nobody about it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
# A wide terminal without colours, so that messages are compared as text.
os.environ["COLUMNS"] = "200"
os.environ["NO_COLOR"] = "1"
os.environ.pop("FORCE_COLOR", None)

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: a busy machine is not a bug. `ci` is derandomised, so that a red run can be repeated; `nightly` explores.
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "nightly", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def cohortium_data() -> Path:
    """The folder of openly licensed hospital files named by ``COHORTIUM_DATA``; skips by that name where it is absent."""
    named = os.environ.get("COHORTIUM_DATA", "")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail(f"COHORTIUM_DATA: expected a folder, got {named!r}")
        pytest.skip("COHORTIUM_DATA is not set: it names the folder of hospital files (docs: CONTRIBUTING.md)")
    return folder.resolve()


def _data_folder(data: Path, name: str) -> Path:
    folder = data / name
    if not folder.is_dir():
        pytest.skip(f"COHORTIUM_DATA has no folder {name!r}")
    return folder


@pytest.fixture(scope="session")
def heart_disease_folder(cohortium_data: Path) -> Path:
    """UCI Heart Disease: four hospitals."""
    return _data_folder(cohortium_data, "heart_disease")


@pytest.fixture(scope="session")
def diabetes130_folder(cohortium_data: Path) -> Path:
    """Diabetes 130-US hospitals: encounters with readmission."""
    return _data_folder(cohortium_data, "diabetes130")


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    """SQLAlchemy URL of a PostgreSQL server for tests, from ``COHORTIUM_TEST_POSTGRESQL``; skips by that name."""
    url = os.environ.get("COHORTIUM_TEST_POSTGRESQL", "")
    if not url:
        pytest.skip("COHORTIUM_TEST_POSTGRESQL is not set: it is the SQLAlchemy URL of a scratch PostgreSQL database")
    return url

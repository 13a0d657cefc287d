"""The import contracts hold, and each of them can be broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT

# Contract (by the beginning of its name) to a file and the import planted at its end.
VIOLATIONS = {
    "direction": ("federation/planted.py", "import conf.loading"),
    "inside federation": ("federation/privacy/planted.py", "import federation.study.manifest"),
    "no cycles between siblings": ("federation/errors.py", "import federation.checks"),
    "only the record side": ("site_client/gateway/planted.py", "import site_client.patients"),
    "the gateway reaches neither": ("site_client/gateway/planted.py", "import site_client.agent"),
    "the domain knows no framework": ("federation/models/planted.py", "import opacus"),
    "home of flwr": ("site_client/training.py", "import flwr.app"),
    "home of opacus": ("federation/privacy/accounting.py", "from opacus.accountants import RDPAccountant"),
    "home of mlflow": ("aggregator/coordinator.py", "import mlflow"),
    "home of hydra": ("experiments/simulate.py", "from hydra.utils import instantiate"),
    "home of duckdb": ("site_client/agent.py", "import duckdb"),
    "home of wfdb": ("site_client/evaluation.py", "import wfdb"),
    "home of matplotlib": ("aggregator/rounds.py", "import matplotlib.pyplot"),
    "home of dp-accounting": ("federation/privacy/calibration.py", "import dp_accounting"),
    "home of pydicom": ("site_client/training.py", "import pydicom"),
    "home of formulaic": ("aggregator/rounds.py", "import formulaic"),
    "home of bed-reader": ("experiments/simulate.py", "import bed_reader"),
    "home of cryptography": ("site_client/training.py", "import cryptography.fernet"),
    "home of onnx": ("aggregator/release/bundle.py", "import onnx"),
    "scikit-learn brings": ("site_client/evaluation.py", "import sklearn.metrics"),
}


def _contract_names() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        return [contract["name"] for contract in tomllib.load(stream)["tool"]["importlinter"]["contracts"]]


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    # The script puts its working folder first on the path, so that a copy is read instead of what is installed.
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_import_contracts_hold() -> None:
    result = _lint_imports(ROOT)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def test_every_contract_reports_its_planted_violation(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in VIOLATIONS.values():
        path = tmp_path / file
        assert path.exists() or path.name == "planted.py", f"{file} is gone: plant the violation elsewhere"
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"\n{line}\n")
    result = _lint_imports(tmp_path)
    broken = re.findall(r"^(.*) BROKEN", result.stdout, flags=re.MULTILINE)
    assert result.returncode == 1, result.stdout[-3000:] + result.stderr[-3000:]
    assert len(broken) == len(_contract_names()), result.stdout[-6000:]


@pytest.mark.parametrize("name", _contract_names())
def test_every_contract_has_a_planted_violation(name: str) -> None:
    assert [beginning for beginning in VIOLATIONS if name.startswith(beginning)], name

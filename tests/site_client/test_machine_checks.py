from __future__ import annotations

from importlib import metadata

import pytest

from site_client import machine_checks
from site_client.machine_checks import check_machine


def test_this_machine_can_take_part(tmp_path):
    report = check_machine(tmp_path)
    assert report.passed, [check for check in report.checks if not check.passed]
    assert report.exit_code == 0
    assert list(tmp_path.iterdir()) == []
    names = [check.name for check in report.checks]
    assert {"Python", "torch", "duckdb", "folder is writable", "torch threads"} <= set(names)


def test_a_folder_that_is_not_there(tmp_path):
    report = check_machine(tmp_path / "absent")
    (failed,) = [check for check in report.checks if not check.passed]
    assert failed.name == "folder is writable"
    assert failed.remedy
    assert report.exit_code == 2


def test_a_package_that_is_not_there(tmp_path, monkeypatch):
    def version(name: str) -> str:
        if name == "duckdb":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(machine_checks.metadata, "version", version)
    report = check_machine(tmp_path)
    (failed,) = [check for check in report.checks if not check.passed]
    assert (failed.name, failed.found) == ("duckdb", "not installed")
    assert "cohortium[site]" in failed.remedy
    assert report.exit_code == 30


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 99, 0)])
def test_python_itself(tmp_path, monkeypatch, version):
    monkeypatch.setattr(machine_checks.sys, "version_info", version)
    assert check_machine(tmp_path).passed == (version >= (3, 11))

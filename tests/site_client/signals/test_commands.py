"""``cohortium site signals import``: a table for people, JSON for machines, errors with their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from federation.errors import CohortiumError, InvalidInputError, ManifestError, MappingError, RecordsUnreadableError
from site_client.commands import app
from tests.site_client.signals.small_import import write_site


def _run(folder: Path, *more: str, **files: str) -> Result:
    words = {"contract": "contract.yaml", "plan": "plan.yaml", "mapping": "signals.yaml", "store": "store"} | files
    options = [part for name, file in words.items() for part in (f"--{name}", str(folder / file))]
    return CliRunner().invoke(app, ["signals", "import", *options, *more])


def test_the_attrition_table(tmp_path: Path) -> None:
    write_site(tmp_path)
    result = _run(tmp_path)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["candidate", "windows", "24", "3"] in lines
    assert "4 of 4 recordings of 3 patients" in result.output
    assert not any(patient in result.output for patient in ("anna", "ben", "cleo"))


def test_json_and_nothing_else(tmp_path: Path) -> None:
    write_site(tmp_path)
    report = json.loads(_run(tmp_path, "--json", "--generated").stdout)
    assert (report["recordings"], report["patients"], report["steps"][-1]["windows"]) == (4, 3, 12)
    assert json.loads((tmp_path / "store" / "store.json").read_text())["generated"] is True


def test_a_recording_that_cannot_be_used(tmp_path: Path) -> None:
    write_site(tmp_path)
    (tmp_path / "e.edf").write_bytes(b"rubbish")
    result = _run(tmp_path)
    assert isinstance(result.exception, RecordsUnreadableError)
    assert "line 3 of the list" in str(result.exception)
    assert json.loads(_run(tmp_path, "--json", "--skip-unusable").stdout)["recordings_not_used"] == 1


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("plan.yaml", "a: [", ManifestError),
        ("plan.yaml", "variable: ecg", ManifestError),
        ("signals.yaml", "[]", MappingError),
        ("signals.yaml", "\x00", MappingError),
        ("contract.yaml", "name: x", ManifestError),
    ],
)
def test_files_that_do_not_parse(file: str, content: str, error: type[CohortiumError], tmp_path: Path) -> None:
    write_site(tmp_path)
    (tmp_path / file).write_text(content)
    assert isinstance(_run(tmp_path).exception, error)
    assert not (tmp_path / "store").exists()


def test_the_folder_of_a_store_must_be_empty(tmp_path: Path) -> None:
    write_site(tmp_path)
    assert isinstance(_run(tmp_path, store="").exception, InvalidInputError)
    assert (tmp_path / "recordings.csv").is_file()


def test_help_loads_no_library_of_signals() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from site_client.commands import app\n"
        "assert CliRunner().invoke(app, ['signals', 'import', '--help']).exit_code == 0\n"
        "print([name for name in ('wfdb', 'edfio', 'scipy', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

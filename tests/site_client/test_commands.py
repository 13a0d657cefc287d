from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from federation.errors import (
    CohortiumError,
    ConfigurationError,
    ManifestError,
    MappingError,
    RecordsUnreadableError,
    TamperedManifestError,
)
from federation.study.manifest import StudyManifest
from site_client.commands import app
from tests.site_client.small_site import CONTRACT, MAPPING, SECRET, write
from tests.small_study import manifest_data

ROWS = [f"p{number},2021-01-01,{20 + number % 80},{100 + number},m,1,1,{number % 2}" for number in range(30)]


@pytest.fixture
def hospital(tmp_path):
    write(tmp_path, ROWS)
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(MAPPING), encoding="utf-8")
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(CONTRACT), encoding="utf-8")
    return tmp_path


def run(hospital, command="check", *more, agreement=("--contract", "contract.yaml")):
    words = [str(hospital / word) if word.endswith((".yaml", ".json")) else word for word in agreement]
    return CliRunner().invoke(app, ["data", command, *words, "--mapping", str(hospital / "mapping.yaml"), *more])


def test_the_readiness_report(hospital):
    result = run(hospital)
    assert result.exit_code == 0, result.output
    assert "Readiness of st_mary for small: 30 records of 30 patients" in result.output


def test_the_verdict_tells_no_count(hospital):
    result = run(hospital, "verdict")
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "st_mary: pass"
    assert not any(character.isdigit() for character in result.output)


def test_json(hospital):
    report = json.loads(run(hospital, "check", "--json").output)
    assert report["records"] == 30
    verdict = json.loads(run(hospital, "verdict", "--json").output)
    assert set(verdict) == {"site", "contract_digest", "variables", "passed"}


@pytest.mark.parametrize("command", ["check", "verdict"])
def test_a_problem_has_the_exit_code_of_its_class(hospital, command):
    write(hospital, [*ROWS, f"q,2021-01-01,50,200,{SECRET},1,1,0"])
    result = run(hospital, command)
    assert result.exit_code == 23
    assert "fail" in result.output
    assert SECRET not in result.output
    assert json.loads(run(hospital, command, "--json").output)["site"] == "st_mary"


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda folder: (folder / "patients.csv").unlink(), RecordsUnreadableError),
        (lambda folder: (folder / "mapping.yaml").write_text("site: ["), MappingError),
        (lambda folder: (folder / "contract.yaml").write_text("name: ["), ManifestError),
        (lambda folder: (folder / "contract.yaml").write_bytes(b"\xff\xfe\x00"), ManifestError),
        (lambda folder: (folder / "contract.yaml").unlink(), ManifestError),
    ],
)
def test_what_cannot_be_read_at_all(hospital, spoil, kind):
    spoil(hospital)
    error = run(hospital).exception
    assert type(error) is kind
    assert error.remedy


def test_one_agreement_is_needed(hospital):
    for agreement in ((), ("--contract", "contract.yaml", "--manifest", "study.json")):
        error = run(hospital, agreement=agreement).exception
        assert isinstance(error, ConfigurationError)
        assert "--manifest" in error.remedy


def test_the_mapping_of_another_site(hospital):
    assert isinstance(run(hospital, "check", "--site", "st_john").exception, MappingError)
    assert run(hospital, "check", "--site", "st_mary").exit_code == 0


def sealed(folder, **changes):
    manifest = StudyManifest.from_data(manifest_data(contract=CONTRACT, **changes))
    (folder / "study.json").write_text(manifest.sealed(), encoding="utf-8")
    return ("--manifest", "study.json")


def test_a_manifest_brings_its_cohort(hospital):
    criterion = {"variable": "age", "operator": "ge", "value": 30}
    result = run(hospital, agreement=sealed(hospital, cohort={"provenance": "patients", "inclusion": [criterion]}))
    assert result.exit_code == 0, result.output
    assert "included: age ge 30" in result.output
    few = run(hospital, agreement=sealed(hospital, cohort={"provenance": "patients", "minimum_patients": 100}))
    assert few.exit_code == 26


def test_a_tampered_manifest_is_refused(hospital):
    agreement = sealed(hospital)
    text = (hospital / "study.json").read_text(encoding="utf-8")
    (hospital / "study.json").write_text(text.replace("Does it work?", "Does it?"), encoding="utf-8")
    assert isinstance(run(hospital, agreement=agreement).exception, TamperedManifestError)


def test_an_unsealed_manifest_is_refused(hospital):
    (hospital / "study.json").write_text("{}")
    assert isinstance(run(hospital, agreement=("--manifest", "study.json")).exception, CohortiumError)


def test_the_doctor(tmp_path):
    good = CliRunner().invoke(app, ["doctor", "--folder", str(tmp_path)])
    assert good.exit_code == 0, good.output
    assert "torch threads" in good.output
    bad = CliRunner().invoke(app, ["doctor", "--folder", str(tmp_path / "absent"), "--json"])
    assert bad.exit_code == 2
    assert not all(check["passed"] for check in json.loads(bad.output)["checks"])


def test_nothing_heavy_is_imported_until_it_is_needed():
    heavy = ("torch", "duckdb", "pint", "opacus", "flwr", "sqlalchemy", "numpy")
    code = f"import sys, site_client.commands; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

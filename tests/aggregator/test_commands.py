from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from aggregator.commands import app
from federation.errors import CohortiumError, ManifestError
from federation.study.manifest import StudyManifest, read_sealed
from tests.small_study import manifest, manifest_data, private


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(manifest_data(privacy=private())))
    return path


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_check_says_what_the_study_is(study: Path) -> None:
    text = _run("check", study)
    for expected in (
        "small, version 1",
        "north, south, west",
        "fedavg, 4 rounds of 3 local steps",
        "epsilon 4",
        "valid",
    ):
        assert expected in text
    assert manifest(privacy=private()).digest in text


def test_check_as_json_is_json_only(study: Path) -> None:
    found = json.loads(_run("check", study, "--json"))
    assert found["valid"] is True
    assert found["digest"] == manifest(privacy=private()).digest
    assert found["sealed"] == "no"


def test_check_of_a_study_without_privacy(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    path.write_text(json.dumps(manifest_data()))
    assert json.loads(_run("check", path, "--json"))["privacy"] == "none: no guarantee"


def test_check_recomputes_the_promise(tmp_path: Path) -> None:
    path = tmp_path / "weak.yaml"
    path.write_text(yaml.safe_dump(manifest_data(privacy=private() | {"epsilon": 0.5})))
    for command in (["check", path], ["seal", path, "--output", tmp_path / "sealed.json"]):
        with pytest.raises(ManifestError, match=r"privacy\.noise_multiplier: expected noise that keeps epsilon 0\.5"):
            _run(*command)
    assert not (tmp_path / "sealed.json").exists()


def test_check_compares_the_cohort_with_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "cohort.yaml"
    cohort = {"provenance": "synthetic", "inclusion": [{"variable": "agee", "operator": "ge", "value": 18}]}
    path.write_text(yaml.safe_dump(manifest_data(cohort=cohort)))
    with pytest.raises(ManifestError, match="expected a variable of the contract, got 'agee'"):
        _run("check", path)


def test_digest_prints_the_digest_alone(study: Path) -> None:
    assert _run("digest", study) == manifest(privacy=private()).digest + "\n"


def test_seal_writes_what_read_sealed_reads_and_overwrites_nothing(study: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "sealed.json"
    assert manifest(privacy=private()).digest in _run("seal", study, "--output", output)
    sealed = output.read_text()
    assert read_sealed(sealed) == manifest(privacy=private())
    _run("seal", study, "--output", output)
    _run("seal", output, "--output", output)
    assert output.read_text() == sealed
    study.write_text(yaml.safe_dump(manifest_data(title="Another")))
    with pytest.raises(ManifestError, match="it holds something else"):
        _run("seal", study, "--output", output)
    with pytest.raises(ManifestError, match="it holds something else"):
        _run("seal", study, "--output", tmp_path)
    assert output.read_text() == sealed


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_show_writes_every_default_out(study: Path, option: tuple[str, ...]) -> None:
    text = _run("show", study, *option)
    data = json.loads(text) if option else yaml.safe_load(text)
    assert data["evaluation"]["score_bins"] == 200
    assert StudyManifest.from_data(data).digest == manifest(privacy=private()).digest


def test_schema_is_the_manifests(study: Path) -> None:
    schema = json.loads(_run("schema"))
    assert schema == StudyManifest.model_json_schema()
    assert schema["additionalProperties"] is False
    assert {"study", "contract", "roster"} <= set(schema["required"])


@pytest.mark.parametrize("command", ["check", "digest", "show"])
def test_every_command_refuses_a_bad_file(command: str, tmp_path: Path) -> None:
    with pytest.raises(CohortiumError, match="expected a manifest file"):
        _run(command, tmp_path / "absent.yaml")

"""`study new --members`: whose keys go into a roster, and whether the authority's signature on them was checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from aggregator.members_file import read_members
from aggregator.proposal_commands import register
from federation.errors import CohortiumError, EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import Authority
from federation.governance.fingerprints import spoken
from tests.aggregator.test_study_template import members
from tests.small_proposal import key_of
from tests.small_study import contract

SITES = ("north", "south", "west")
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def authority(folder: Path, *, signer: str = "authority", consortium: str = "cardio") -> Path:
    """The authority's public document."""
    key = key_of(signer).public_key
    path = folder / "authority.json"
    found = Authority(consortium=consortium, certificate=PEM, public_key=key, sealing_key=key)
    path.write_text(found.model_dump_json())
    return path


def fingerprint(path: Path) -> str:
    return spoken(Authority.from_json(path.read_bytes()).fingerprint)


def test_a_list_of_the_authority_is_checked(tmp_path: Path) -> None:
    known = authority(tmp_path)
    for heard in (None, fingerprint(known)):
        found = read_members(members(tmp_path, SITES), authority=known, heard=heard)
        assert found.is_checked
        assert dict(found.keys) == {site: key_of(site).public_key for site in SITES}
        assert ("compare its fingerprint" in found.said) == (heard is None)


def test_a_fingerprint_alone_finds_the_authority_beside_the_list(tmp_path: Path) -> None:
    listed = members(tmp_path, SITES)
    with pytest.raises(InvalidInputError, match="public document"):
        read_members(listed, authority=None, heard="00 " * 16)
    heard = fingerprint(authority(tmp_path))
    assert read_members(listed, authority=None, heard=heard).is_checked
    with pytest.raises(EnrolmentRefusedError, match="fingerprint"):
        read_members(listed, authority=None, heard="00 " * 16)


@pytest.mark.parametrize("changes", [{"signer": "north"}, {"consortium": "lungs"}])
def test_a_list_of_another_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(EnrolmentRefusedError):
        read_members(members(tmp_path, SITES), authority=authority(tmp_path, **changes), heard=None)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_changed_list_is_refused_with_or_without_the_authority(tmp_path: Path, *, is_known: bool) -> None:
    path = members(tmp_path, SITES)
    data = json.loads(path.read_text())
    data["members"]["members"][0]["identity_key"] = key_of("mallory").public_key
    path.write_text(json.dumps(data))
    with pytest.raises(EnrolmentRefusedError, match="to hold"):
        read_members(path, authority=authority(tmp_path) if is_known else None, heard=None)


def test_without_the_authority_the_lead_is_told(tmp_path: Path) -> None:
    found = read_members(members(tmp_path, SITES), authority=None, heard=None)
    assert not found.is_checked
    assert "NOT CHECKED" in found.said
    assert "NOT CHECKED" in found.comment


def test_an_authority_without_a_list_is_a_mistake(tmp_path: Path) -> None:
    assert not read_members(None, authority=None, heard=None).is_checked
    with pytest.raises(InvalidInputError, match="--members"):
        read_members(None, authority=authority(tmp_path), heard=None)


def _new(folder: Path, *words: object) -> Result:
    app = typer.Typer()
    register(app)
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract()))
    arguments = ["new", "--contract", folder / "contract.yaml", "-o", folder / "study.yaml", *words]
    return CliRunner().invoke(app, [str(word) for word in arguments])


def test_the_command_says_so_and_so_does_the_manifest(tmp_path: Path) -> None:
    listed = members(tmp_path, SITES)
    result = _new(tmp_path, "--members", listed)
    assert result.exit_code == 0
    assert "NOT CHECKED" in result.output
    assert "NOT CHECKED" in (tmp_path / "study.yaml").read_text().splitlines()[0]
    (tmp_path / "study.yaml").unlink()
    known = authority(tmp_path)
    result = _new(tmp_path, "--members", listed, "--authority", known, "--fingerprint", fingerprint(known), "--json")
    assert json.loads(result.stdout)["members_checked"] is True
    assert "NOT CHECKED" not in (tmp_path / "study.yaml").read_text()
    (tmp_path / "study.yaml").unlink()
    refused = _new(tmp_path, "--members", listed, "--authority", authority(tmp_path, signer="north"))
    assert isinstance(refused.exception, CohortiumError)
    assert not (tmp_path / "study.yaml").exists()

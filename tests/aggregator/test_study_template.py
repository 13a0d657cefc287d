from __future__ import annotations

import datetime as dt

import pytest
import typer
import yaml
from typer.testing import CliRunner

from aggregator.manifest_file import read_manifest_file
from aggregator.proposal_commands import register
from aggregator.study_checks import check_study
from aggregator.study_noise import smallest_noise
from federation.errors import InvalidInputError, ManifestError
from federation.governance.enrolment import SignedMembers
from federation.governance.signed import sign_document
from federation.privacy.accounting import epsilon_of_cost
from tests.small_proposal import NOW, key_of
from tests.small_study import contract, manifest_data, private

app = typer.Typer()
register(app)
PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


def new(folder, *more):
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract()))
    arguments = ["new", "--contract", folder / "contract.yaml", "-o", folder / "study.yaml", *more]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return folder / "study.yaml"


def members(folder, sites):
    from federation.governance.enrolment import Members

    found = Members.from_data(
        {
            "consortium": "cardio",
            "number": 1,
            "members": [
                {
                    "site": site, "identity_key": key_of(site).public_key, "node_key": PEM, "certificate_serial": "1f",
                    "certificate_fingerprint": "ab" * 32, "expires": (NOW + dt.timedelta(days=90)).isoformat(),
                }
                for site in sites
            ],
        }
    )  # fmt: skip
    path = folder / "members.json"
    signature = sign_document(found, key_of("authority"), purpose="members")
    path.write_text(SignedMembers(members=found, signature=signature).model_dump_json())
    return path


def filled(path, **changes):
    data = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(data))
    return path


def test_without_a_roster_the_template_says_what_is_missing(tmp_path):
    path = new(tmp_path)
    assert "# Every site with its public key" in path.read_text()
    with pytest.raises(ManifestError, match="roster"):
        read_manifest_file(path)


def test_with_members_and_their_patients_it_passes_the_check(tmp_path):
    sites = ("north", "south", "west")
    numbers = [word for site in sites for word in ("--patients", f"{site}=400")]
    path = new(tmp_path, "--members", members(tmp_path, sites), *numbers)
    manifest = read_manifest_file(path).manifest
    assert check_study(manifest).startswith("epsilon 2 with delta 1e-05 per patient")
    assert manifest.aggregation.mode == "masked"
    assert [entry.public_key for entry in manifest.roster] == [key_of(site).public_key for site in sites]
    assert manifest.contract.as_data()["variables"] == read_manifest_file(path).manifest.contract.as_data()["variables"]
    assert manifest.cohort.provenance == "patients"
    assert "cohortium" in manifest.software


def test_numbers_of_patients_are_the_sites_to_declare(tmp_path):
    path = new(tmp_path, "--members", members(tmp_path, ("north", "south", "west")), "--patients", "north=400")
    with pytest.raises(ManifestError, match=r"roster\[1\]\.training_patients"):
        read_manifest_file(path)


def test_two_sites_hide_nobody_so_the_template_does_not_pretend(tmp_path):
    path = new(
        tmp_path, "--members", members(tmp_path, ("north", "south")), "--patients", "north=4", "--patients", "south=4"
    )
    found = filled(path)
    assert read_manifest_file(found).manifest.aggregation.mode == "plain"


@pytest.mark.parametrize("option", ["east=4", "north", "north=many", "north=-1", "north=4 --patients north=5"])
def test_bad_numbers_are_refused(tmp_path, option):
    with pytest.raises(InvalidInputError):
        new(tmp_path, "--members", members(tmp_path, ("north", "south")), *f"--patients {option}".split())
    assert not (tmp_path / "study.yaml").exists()


def test_nothing_is_overwritten(tmp_path):
    new(tmp_path)
    with pytest.raises(InvalidInputError, match=r"expected .* to be new"):
        new(tmp_path)


def test_after_a_change_the_noise_is_calibrated_again(tmp_path):
    path = new(
        tmp_path,
        "--members",
        members(tmp_path, ("a", "b", "c")),
        *["--patients", "a=9", "--patients", "b=9", "--patients", "c=9"],
    )
    data = yaml.safe_load(path.read_text())
    data["schedule"] |= {"rounds": 40, "evaluate_every": 40}
    filled(path, schedule=data["schedule"])
    with pytest.raises(ManifestError, match="noise_multiplier"):
        read_manifest_file(path)
    result = CliRunner().invoke(app, ["calibrate", str(path)])
    noise = float(result.stdout)
    manifest = read_manifest_file(filled(path, privacy=data["privacy"] | {"noise_multiplier": noise})).manifest
    assert 0.99 * 2 < epsilon_of_cost(manifest.privacy_cost(), delta=1e-5) <= 2
    with pytest.raises(ManifestError, match="noise_multiplier"):
        read_manifest_file(filled(path, privacy=data["privacy"] | {"noise_multiplier": noise - 1e-4}))


def test_calibration_agrees_with_the_simulations_and_needs_a_promise():
    data = manifest_data(privacy=private())
    data["schedule"] |= {"local_steps": 12, "rounds": 1}
    assert smallest_noise(data) == private()["noise_multiplier"]
    for other in (manifest_data(), [], {"privacy": "none"}):
        with pytest.raises(ManifestError, match="nothing to calibrate"):
            smallest_noise(other)

"""The aggregator's host: it pins one authority, installs what that signed for its own keys, and never an older list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aggregator.authority import member_lists
from aggregator.authority.list_files import replace_members
from aggregator.host import enrolment, enrolment_commands
from federation.errors import EnrolmentRefusedError, InvalidInputError
from federation.governance.aggregator_enrolment import SignedAggregatorAdmission
from federation.governance.enrolment import SignedMembers, SignedRevocations
from federation.governance.fingerprints import spoken
from tests.small_consortium import DAY, SmallConsortium, real_time


@pytest.fixture
def consortium(tmp_path: Path) -> SmallConsortium:
    return SmallConsortium(tmp_path)


def _install(
    consortium: SmallConsortium, signed: SignedAggregatorAdmission | None = None, *, heard: str | None = None
) -> None:
    signed = signed or consortium.gate_admission
    assert signed is not None
    enrolment.install_admission(consortium.host, signed, heard=heard, now=consortium.now)


def _refusal(consortium: SmallConsortium, signed: SignedAggregatorAdmission, *, heard: str | None = None) -> str:
    with pytest.raises(EnrolmentRefusedError) as refused:
        _install(consortium, signed, heard=heard)
    return str(refused.value.facts.get("reason", "signature"))


def test_the_host_gets_a_certificate_and_the_lists(consortium: SmallConsortium) -> None:
    _install(consortium, heard=spoken(consortium.office.authority.fingerprint))
    host = consortium.host
    assert enrolment.pinned_authority(host) == consortium.office.authority
    assert SignedMembers.from_json(host.members.read_text()).members.members == ()
    for secret in (host.tls_key, host.coordinator_key):
        assert secret.stat().st_mode & 0o777 == 0o600
    _install(consortium)  # again: pinned, so no fingerprint is needed


def test_the_same_keys_make_the_same_request(consortium: SmallConsortium) -> None:
    first, second = (enrolment.make_request(consortium.host, "cardio") for _ in range(2))
    assert first == second
    assert enrolment.coordinator_key(consortium.host).public_key == first.claim.coordinator_key


def test_the_first_time_the_fingerprint_is_needed(consortium: SmallConsortium) -> None:
    with pytest.raises(InvalidInputError):
        _install(consortium)
    assert consortium.gate_admission is not None
    assert _refusal(consortium, consortium.gate_admission, heard="0" * 32) == "fingerprint"
    assert not consortium.host.authority.exists()


def test_another_authority_is_refused_from_then_on(consortium: SmallConsortium, tmp_path: Path) -> None:
    _install(consortium, heard=consortium.office.authority.fingerprint)
    other = SmallConsortium(tmp_path / "other")
    other.host = consortium.host  # it certifies the very same keys
    signed = other.certify()
    assert _refusal(consortium, signed, heard=other.office.authority.fingerprint) == "authority"
    members = member_lists.signed_members(other.office, other.keys)
    with pytest.raises(EnrolmentRefusedError):
        enrolment.install_members(consortium.host, members)


def test_a_certificate_for_other_keys_or_out_of_date_is_refused(consortium: SmallConsortium, tmp_path: Path) -> None:
    heard = consortium.office.authority.fingerprint
    assert consortium.gate_admission is not None
    signed = consortium.gate_admission
    consortium.now += 91 * DAY
    assert _refusal(consortium, signed, heard=heard) == "expired"
    consortium.now -= 91 * DAY
    changed = signed.admission.model_copy(update={"gate": "evil.example.org:1"})
    assert _refusal(consortium, signed.model_copy(update={"admission": changed}), heard=heard) == "signature"
    consortium.host.tls_key.unlink()
    assert _refusal(consortium, signed, heard=heard) == "tls_key"
    consortium.host.coordinator_key.unlink()
    assert _refusal(consortium, signed, heard=heard) == "coordinator_key"


def test_the_authority_certifies_what_was_read_out_only(consortium: SmallConsortium) -> None:
    request = enrolment.make_request(consortium.host, "cardio")
    for change, names, gate, heard in (
        ({}, ("gate.example.org",), "gate.example.org:1", "0" * 32),  # another request was read out
        ({}, ("gate.example.org",), "other.example.org:1", request.claim.fingerprint),  # sites could not check the name
        ({"tls_proof": "00" * 70}, ("gate.example.org",), "gate.example.org:1", request.claim.fingerprint),
        ({"coordinator_proof": "00" * 64}, ("gate.example.org",), "gate.example.org:1", request.claim.fingerprint),
    ):
        with pytest.raises((EnrolmentRefusedError, InvalidInputError)):
            member_lists.certify_aggregator(
                consortium.office, consortium.keys, request.model_copy(update=change),
                names=names, gate=gate, heard=heard, now=consortium.now,
            )  # fmt: skip
    other = enrolment.make_request(consortium.host, "onco")
    with pytest.raises(EnrolmentRefusedError):
        member_lists.certify_aggregator(
            consortium.office, consortium.keys, other,
            names=("gate.example.org",), gate="gate.example.org:1", heard=other.claim.fingerprint, now=consortium.now,
        )  # fmt: skip


def test_an_old_list_never_replaces_a_newer_one(consortium: SmallConsortium, tmp_path: Path) -> None:
    _install(consortium, heard=consortium.office.authority.fingerprint)
    consortium.enrol("st_mary")
    before = member_lists.signed_members(consortium.office, consortium.keys)
    consortium.revoke("st_mary")
    old = SignedRevocations.from_json(consortium.host.revocations.read_text())
    new = member_lists.signed_revocations(consortium.office, consortium.keys)
    after = member_lists.signed_members(consortium.office, consortium.keys)
    enrolment.install_revocations(consortium.host, new)
    enrolment.install_members(consortium.host, after)
    for refused in (
        lambda: enrolment.install_revocations(consortium.host, old),
        lambda: enrolment.install_members(consortium.host, before),
        lambda: replace_members(consortium.host.members, before, consortium.office.authority),
    ):
        with pytest.raises(EnrolmentRefusedError) as failure:
            refused()
        assert failure.value.facts["reason"] == "rollback"
    _install(consortium)  # the old admission carries old lists: they are left alone
    assert SignedRevocations.from_json(consortium.host.revocations.read_text()) == new


def test_the_commands_install_each_kind_of_file(tmp_path: Path) -> None:
    consortium = SmallConsortium(tmp_path, now=real_time())
    app = typer.Typer(pretty_exceptions_enable=False)
    enrolment_commands.register(app)
    runner = CliRunner()
    home = ["--home", str(consortium.host.folder), "--json"]

    def run(*words: str) -> dict[str, object]:
        result = runner.invoke(app, [*words, *home], catch_exceptions=False)
        assert result.exit_code == 0
        return json.loads(result.stdout)

    files = {
        "admission": consortium.gate_admission,
        "members": member_lists.signed_members(consortium.office, consortium.keys),
        "revocations": member_lists.signed_revocations(consortium.office, consortium.keys),
    }
    heard = ["--fingerprint", spoken(consortium.office.authority.fingerprint)]
    for kind, document in files.items():
        assert document is not None
        (tmp_path / "file.json").write_text(document.model_dump_json())
        assert run("install", str(tmp_path / "file.json"), *(heard if kind == "admission" else []))["installed"] == kind
    for text in ("ward 3", "[]", "{}", json.dumps({"wards": 3})):
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(EnrolmentRefusedError):
            run("install", str(tmp_path / "file.json"))

"""Enrolment by commands, as `docs/enrolment.md` says it: two machines and files between them; no output shows a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aggregator.authority.commands import app as consortium_app
from aggregator.host import enrolment_commands as host_commands
from aggregator.host.home import AggregatorHome
from aggregator.host.home_paths import HostLayout
from federation.errors import CohortiumError, EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import Invitation, SignedMembers, SignedRevocations
from site_client import enrolment_commands
from site_client.home_paths import SiteLayout

PASSPHRASE = "correct horse battery"
GATE = "gate.example.org:8443"


class Machines:
    """An authority, a host and sites, each in a folder, and everything they printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        (folder / "passphrase.txt").write_text(PASSPHRASE + "\n")
        self.host = HostLayout(folder / "aggregator")
        self.host.write(
            AggregatorHome(
                consortium="cardio", gate=GATE, listen="127.0.0.1:8443",
                superlink_port=1, mlflow_port=2, health_port=3, gate_health_port=4,
            )
        )  # fmt: skip
        self._apps = {"consortium": consortium_app, "aggregator": _app(host_commands), "site": _app(enrolment_commands)}

    def run(self, command: str, *words: str, as_json: bool = True) -> dict[str, object]:
        """One command line, in words without blanks; more words may follow."""
        part, *rest = command.split()
        options = {
            "consortium": ["--authority", str(self.folder / "authority")],
            "aggregator": ["--home", str(self.host.folder)],
        }.get(part, [])
        if part == "consortium" and rest[0] != "invite":
            options += ["--passphrase-file", str(self.folder / "passphrase.txt")]
        arguments = [*rest, *words, *options, *(["--json"] if as_json else [])]
        result = CliRunner().invoke(self._apps[part], arguments)
        self.printed += result.output + str(result.exception or "")
        if isinstance(result.exception, CohortiumError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if as_json else {}

    def prepare(self) -> str:
        """Authority and gate, as far as sites can be invited. Returns the authority's fingerprint."""
        fingerprint = str(self.run("consortium init cardio")["read_out"])
        heard = str(self.run("aggregator request --output gate.request.json")["read_out"])
        self.run(f"consortium certify-aggregator gate.request.json --name gate.example.org --gate {GATE} --output gate.json",
                 "--fingerprint", heard)  # fmt: skip
        self.run("aggregator install gate.json", "--fingerprint", fingerprint)
        return fingerprint

    def site(self, name: str) -> Path:
        return self.folder / name

    def enrol(self, name: str) -> None:
        self.run(f"consortium invite {name} --output {name}.invitation.json")
        self.run(
            f"site enrol --invitation {name}.invitation.json --output {name}.request.json --home {self.site(name)}"
        )
        self.run(f"consortium admit {name}.request.json --output {name}.admission.json")
        self.run(f"site enrol --admission {name}.admission.json --home {self.site(name)}")


def _app(module: object) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    module.register(app)  # type: ignore[attr-defined]
    return app


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    monkeypatch.chdir(tmp_path)
    return Machines(tmp_path)


def test_the_whole_of_the_guide(machines: Machines) -> None:
    fingerprint = machines.prepare()
    machines.run("consortium invite st_mary --output st_mary.invitation.json")
    asked = machines.run(
        f"site enrol --invitation st_mary.invitation.json --output st_mary.request.json --home {machines.site('st_mary')}",
        "--fingerprint", fingerprint,
    )  # fmt: skip
    assert asked["authority_read_out"] == fingerprint  # both sides show the same
    admitted = machines.run(
        "consortium admit st_mary.request.json --output st_mary.admission.json",
        "--fingerprint", str(asked["request_read_out"]),
    )  # fmt: skip
    assert admitted["request_fingerprint"] == asked["request_fingerprint"]
    machines.run(f"site enrol --admission st_mary.admission.json --home {machines.site('st_mary')}")
    machines.run("consortium sites --output members.json --revocations revocations.json")
    assert machines.run("aggregator install members.json")["sites"] == ["st_mary"]

    machines.run(f"site renew --output renewal.json --home {machines.site('st_mary')}")
    machines.run("consortium renew renewal.json --output st_mary.admission.json")
    machines.run(f"site enrol --admission st_mary.admission.json --home {machines.site('st_mary')}")

    machines.run("consortium revoke st_mary --output revocations.json", "--reason", "key stolen")
    installed = machines.run("aggregator install revocations.json")
    assert installed["certificates"] == 2
    listed = machines.run("consortium sites")["sites"]
    assert isinstance(listed, list)
    assert [row["state"] for row in listed] == ["revoked"]
    home = SiteLayout(machines.site("st_mary")).read()
    assert (home.gate, home.site) == (GATE, "st_mary")
    assert SignedRevocations.from_json(machines.host.revocations.read_text()).revocations.number == 3


def test_no_output_and_no_file_but_the_invitation_shows_a_secret(machines: Machines) -> None:
    machines.prepare()
    machines.enrol("st_mary")
    for words in ("consortium sites", "consortium invite university --output university.invitation.json"):
        machines.run(words, as_json=False)
    machines.run(f"site renew --output renewal.json --home {machines.site('st_mary')}", as_json=False)
    with pytest.raises(EnrolmentRefusedError):
        machines.run("consortium admit st_mary.request.json --output again.json")
    tokens = [
        Invitation.from_json(Path(f"{site}.invitation.json").read_text()).token for site in ("st_mary", "university")
    ]
    letters = "".join(path.read_text() for path in machines.folder.glob("*.txt") if path.name != "passphrase.txt")
    travelling = "".join(path.read_text() for path in machines.folder.glob("*.json") if "invitation" not in path.name)
    identity = SiteLayout(machines.site("st_mary")).identity_key.read_bytes().hex()
    for secret in (*tokens, PASSPHRASE, "PRIVATE KEY", identity):
        assert secret not in machines.printed
        assert secret not in letters
        assert secret not in travelling
    for site in ("st_mary", "university"):
        assert Path(f"{site}.invitation.json").stat().st_mode & 0o777 == 0o600


def test_the_letter_tells_a_person_everything_but_the_token(machines: Machines) -> None:
    fingerprint = machines.prepare()
    machines.run("consortium invite st_mary --output st_mary.invitation.json")
    letter = Path("st_mary.invitation.txt").read_text()
    for needed in (fingerprint, "st_mary", "cardio", GATE, "cohortium site enrol --invitation st_mary.invitation.json"):
        assert needed in letter


def test_the_letter_never_takes_the_invitations_place(machines: Machines) -> None:
    machines.prepare()
    with pytest.raises(InvalidInputError):
        machines.run("consortium invite st_mary --output st_mary.txt")
    assert not Path("st_mary.txt").exists()


def test_an_old_list_of_revocations_is_never_written_over_a_newer_one(machines: Machines) -> None:
    machines.prepare()
    for site in ("st_mary", "university"):
        machines.enrol(site)
    machines.run("consortium sites --output old.json --revocations revocations.json")
    backup = {path.name: path.read_bytes() for path in (machines.folder / "authority").iterdir()}
    machines.run("consortium revoke st_mary --output revocations.json")
    newest = Path("revocations.json").read_bytes()
    for name, content in backup.items():  # somebody restores the authority from a backup
        (machines.folder / "authority" / name).write_bytes(content)
    with pytest.raises(EnrolmentRefusedError) as refused:
        machines.run("consortium sites --revocations revocations.json")
    assert refused.value.facts["reason"] == "rollback"
    assert Path("revocations.json").read_bytes() == newest


def test_a_lost_admission_is_written_again(machines: Machines) -> None:
    machines.prepare()
    machines.enrol("st_mary")
    machines.run("consortium admit --again st_mary --output again.json")
    assert Path("again.json").read_bytes() == Path("st_mary.admission.json").read_bytes()
    for words in ("consortium admit", "consortium admit st_mary.request.json --again st_mary"):
        with pytest.raises(InvalidInputError):
            machines.run(words)


@pytest.mark.parametrize("words", ["site enrol", "site enrol --invitation a --admission b"])
def test_enrol_is_one_step_at_a_time(words: str, machines: Machines) -> None:
    with pytest.raises(InvalidInputError):
        machines.run(words)


def test_what_others_sent_is_bounded_and_checked_before_it_is_used(machines: Machines) -> None:
    machines.prepare()
    Path("large.json").write_bytes(b" " * (5 * 1024 * 1024))
    Path("text.json").write_text("ward 3")
    os.mkfifo("pipe.json")
    for file in ("large.json", "text.json", "pipe.json", "absent.json"):
        for words in (
            f"consortium admit {file}",
            f"consortium renew {file}",
            f"site enrol --invitation {file} --home {machines.site('new')}",
            f"aggregator install {file}",
        ):
            with pytest.raises((EnrolmentRefusedError, InvalidInputError)):
                machines.run(words)
    assert not machines.site("new").exists()


def test_a_wrong_passphrase_opens_nothing_and_an_invitation_needs_none(machines: Machines) -> None:
    machines.prepare()
    Path("passphrase.txt").write_text("wrong horse battery\n")
    machines.run("consortium invite st_mary --output st_mary.invitation.json")
    with pytest.raises(InvalidInputError):
        machines.run("consortium revoke st_mary")
    assert not Path("revocations.json").exists()


def test_the_members_list_names_keys_and_certificates(machines: Machines) -> None:
    machines.prepare()
    machines.enrol("st_mary")
    machines.run("consortium sites --output members.json")
    (member,) = SignedMembers.from_json(Path("members.json").read_text()).members.members
    layout = SiteLayout(machines.site("st_mary"))
    from site_client import keystore

    assert member.node_key == keystore.node_key(layout).public_key
    assert member.identity_key == keystore.identity_key(layout).public_key
    assert member.certificate_serial == keystore.certificate_serial(layout.tls_certificate.read_text())

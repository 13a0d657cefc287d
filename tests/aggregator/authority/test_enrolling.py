"""Who becomes a member: the invited site, once, in time, with keys that it holds, under the name that the register says."""

from __future__ import annotations

import datetime as dt
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aggregator.authority.certificates import read_client, verify_client
from aggregator.authority.enrolling import admit
from aggregator.authority.office import Office
from federation.errors import CohortiumError, EnrolmentRefusedError, InvalidInputError
from federation.governance.enrolment import EnrolmentRequest, SignedAdmission
from federation.governance.fingerprints import spoken
from site_client.enrolment import request_enrolment
from tests.architecture.source_tree import ROOT
from tests.small_consortium import DAY, HOUR, SmallConsortium


@pytest.fixture
def consortium(tmp_path: Path) -> SmallConsortium:
    return SmallConsortium(tmp_path)


def _refusal(consortium: SmallConsortium, request: EnrolmentRequest, **options: str) -> str:
    with pytest.raises(EnrolmentRefusedError) as refused:
        consortium.admit(request, **options)
    return str(refused.value.facts["reason"])


def test_an_invited_site_becomes_a_member(consortium: SmallConsortium) -> None:
    request = consortium.request("st_mary")
    signed = consortium.admit(request, heard=spoken(request.claim.fingerprint))
    certificate = signed.admission.certificate.encode()
    authority = consortium.office.authority.certificate
    client = verify_client(certificate, authority=authority, now=consortium.now + 89 * DAY)
    assert (client.consortium, client.site) == ("cardio", "st_mary")
    with pytest.raises(EnrolmentRefusedError):
        verify_client(certificate, authority=authority, now=consortium.now + 91 * DAY)
    assert signed.admission.identity_key == request.claim.identity_key


def test_an_invitation_is_used_once(consortium: SmallConsortium) -> None:
    request = consortium.request("st_mary")
    consortium.admit(request)
    assert _refusal(consortium, request) == "invitation"
    assert len(_rows(consortium)) == 1


def _two_answers(consortium: SmallConsortium) -> list[EnrolmentRequest]:
    """Two sets of keys that answer the same invitation: the site's, and those of whoever copied the letter."""
    invitation = consortium.invite("st_mary")
    return [
        request_enrolment(consortium.site(folder), invitation, now=consortium.now) for folder in ("st_mary", "thief")
    ]


def test_of_many_threads_that_use_an_invitation_one_succeeds(consortium: SmallConsortium) -> None:
    requests = _two_answers(consortium) * 4
    start, outcomes = threading.Barrier(len(requests)), list[str]()

    def run(request: EnrolmentRequest) -> None:
        with Office(consortium.office.folder) as office:  # a connection of its own
            start.wait()
            try:
                admit(office, consortium.keys, request, now=consortium.now)
            except EnrolmentRefusedError as refused:
                outcomes.append(str(refused.facts["reason"]))
            else:
                outcomes.append("admitted")

    threads = [threading.Thread(target=run, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["admitted"] + ["invitation"] * 7


def test_of_two_processes_that_use_an_invitation_one_succeeds(consortium: SmallConsortium, tmp_path: Path) -> None:
    code = (
        "import sys, datetime as dt; from pathlib import Path\n"
        "from aggregator.authority.office import Office; from aggregator.authority.enrolling import admit\n"
        "from federation.governance.enrolment import EnrolmentRequest\n"
        "office = Office(Path(sys.argv[1])); keys = office.unlock(None)\n"
        "request = EnrolmentRequest.from_json(Path(sys.argv[2]).read_text())\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        "admit(office, keys, request, now=dt.datetime.fromisoformat(sys.argv[3]))\n"
    )
    processes: list[subprocess.Popen[str]] = []
    for number, request in enumerate(_two_answers(consortium)):
        file = tmp_path / f"{number}.json"
        file.write_text(request.model_dump_json())
        command = [sys.executable, "-c", code, str(consortium.office.folder), str(file), consortium.now.isoformat()]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert "it was used before" in "".join(errors)
    assert len(_rows(consortium)) == 1


@pytest.mark.parametrize(
    ("later", "is_admitted"), [(72 * HOUR - HOUR / 60, True), (72 * HOUR, False), (100 * DAY, False)]
)
def test_an_invitation_expires(consortium: SmallConsortium, later: dt.timedelta, is_admitted: bool) -> None:
    request = consortium.request("st_mary")
    consortium.now += later
    if is_admitted:
        consortium.admit(request)
    else:
        assert _refusal(consortium, request) == "invitation"


def test_a_newer_invitation_and_a_revocation_withdraw_an_older_one(consortium: SmallConsortium) -> None:
    first = consortium.request("st_mary")
    second = consortium.request("st_mary")
    assert _refusal(consortium, first) == "invitation"
    consortium.revoke("st_mary")
    assert _refusal(consortium, second) == "invitation"


def test_an_invitation_of_another_site_is_refused_and_stays_usable(consortium: SmallConsortium) -> None:
    invitation = consortium.invite("st_mary")
    pretender = invitation.model_copy(update={"site": "university"})
    request = request_enrolment(consortium.site("pretender"), pretender, now=consortium.now)
    assert _refusal(consortium, request) == "site"
    consortium.admit(consortium.request("st_mary", invitation=invitation))


def test_an_invitation_of_another_consortium_is_refused(consortium: SmallConsortium, tmp_path: Path) -> None:
    other = SmallConsortium(tmp_path, name="onco")
    assert _refusal(consortium, other.request("st_mary")) == "token"


def test_the_request_that_was_read_out_is_the_one_that_counts(consortium: SmallConsortium) -> None:
    mine, thiefs = _two_answers(consortium)
    assert _refusal(consortium, thiefs, heard=spoken(mine.claim.fingerprint)) == "fingerprint"
    consortium.admit(mine, heard=spoken(mine.claim.fingerprint))


def test_every_single_changed_byte_of_a_request_is_refused(consortium: SmallConsortium) -> None:
    request = consortium.request("st_mary")
    text = bytearray(request.model_dump_json(), "utf-8")
    refused = 0
    # Every byte of the names and hexadecimal fields, and every seventh of all: the PEM texts are long.
    for place in sorted({*range(0, len(text), 7), *range(200), *range(len(text) - 400, len(text))}):
        changed = bytearray(text)
        changed[place] ^= 1 << (place % 7)
        if changed == text:
            continue
        try:
            received = EnrolmentRequest.from_json(bytes(changed), error=EnrolmentRefusedError)
        except CohortiumError:
            refused += 1
            continue
        if received == request:
            continue  # white space
        with pytest.raises(CohortiumError):
            consortium.admit(received)
        refused += 1
    assert refused > 600
    consortium.admit(request)  # none of the attempts used the invitation up


@pytest.mark.parametrize("field", ["sealed_token", "token_proof", "proofs", "claim"])
def test_a_request_without_a_proof_is_none(field: str, consortium: SmallConsortium) -> None:
    data = consortium.request("st_mary").as_data()
    del data[field]
    with pytest.raises(EnrolmentRefusedError):
        EnrolmentRequest.from_data(data, error=EnrolmentRefusedError)


def test_keys_of_another_site_make_nobody_a_member(consortium: SmallConsortium) -> None:
    consortium.enrol("st_mary")
    university = consortium.site("university")
    request_enrolment(university, consortium.invite("university"), now=consortium.now)
    own = consortium.site("st_mary")
    for stolen, path in (
        (own.identity_key, university.identity_key),
        (own.node_key, university.node_key),
        (own.tls_key, university.tls_key),
    ):
        kept = path.read_bytes()
        path.write_bytes(stolen.read_bytes())
        assert _refusal(consortium, consortium.request("university")) == "key_of_another_site"
        path.write_bytes(kept)
    consortium.admit(consortium.request("university"))


def test_a_member_keeps_its_keys_until_it_is_revoked(consortium: SmallConsortium) -> None:
    consortium.enrol("st_mary")
    invitation = consortium.invite("st_mary")
    thief = request_enrolment(consortium.site("thief"), invitation, now=consortium.now)
    assert _refusal(consortium, thief) == "member"
    again = consortium.admit(consortium.request("st_mary", invitation=invitation))  # the same keys: the same member
    assert read_client(again.admission.certificate.encode()).site == "st_mary"


def test_a_site_cannot_be_invited_before_there_is_a_gate(tmp_path: Path) -> None:
    with pytest.raises(EnrolmentRefusedError):
        SmallConsortium(tmp_path, certify=False).invite("st_mary")


@pytest.mark.parametrize("site", ["St Mary", "../st_mary", "", "a" * 64, "st_mary\n"])
def test_names_are_checked_where_they_enter(site: str, consortium: SmallConsortium) -> None:
    with pytest.raises(InvalidInputError):
        consortium.invite(site)
    with pytest.raises(InvalidInputError):
        consortium.invite("st_mary", hours=0)


def test_an_admission_that_was_lost_is_the_same_when_it_is_handed_out_again(consortium: SmallConsortium) -> None:
    from aggregator.authority.member_lists import last_admission

    signed = consortium.enrol("st_mary")
    assert SignedAdmission.from_json(last_admission(consortium.office, "st_mary")) == signed
    with pytest.raises(InvalidInputError):
        last_admission(consortium.office, "university")


def _rows(consortium: SmallConsortium) -> list[object]:
    database = sqlite3.connect(consortium.office.folder / "register.sqlite")
    try:
        return database.execute("SELECT serial FROM admissions").fetchall()
    finally:
        database.close()

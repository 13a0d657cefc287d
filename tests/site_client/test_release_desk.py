"""The order of a release: charged before the first noise, kept before it is recorded, recorded before it leaves."""

import hashlib
import shutil

import numpy as np
import pytest

from federation.errors import (
    BudgetExhaustedError,
    CheckpointError,
    InternalError,
    LedgerDamagedError,
    LedgerLockedError,
    PrivacyRefusedError,
)
from federation.privacy.events import DiscreteGaussian
from federation.protocol.messages import Envelope, TrainReply, TrainRequest, read_envelope
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.release_desk import ReleaseDesk
from site_client.site_folder import SiteFolder
from tests.small_study import now

STUDY = "sha256:" + "1" * 64
EVENT = DiscreteGaussian(sensitivity_squared=1, variance=400)


def request(number=1, **changes):
    header = TrainRequest(study=STUDY, site="north", round_number=number, **changes)
    return Envelope(header, {"parameters": np.zeros(3, dtype=np.float32)})


def reply(value=1.0, number=1):
    header = TrainReply(study=STUDY, site="north", round_number=number, event=EVENT)
    return Envelope(header, {"update": np.full(3, value, dtype=np.float32)})


@pytest.fixture
def ledger(tmp_path):
    terms = LedgerTerms(population="cardiology", site="north", epsilon_cap=1.0, delta=1e-5)
    with Ledger.create(tmp_path / "ledger.sqlite", terms, clock=now) as opened:
        yield opened


@pytest.fixture
def desk(tmp_path, ledger):
    return ReleaseDesk(folder=SiteFolder(tmp_path / "study"), ledger=ledger, study=STUDY)


class Crash(BaseException):
    """The power goes."""


def crash(*_args, **_kwargs):
    raise Crash


def release(desk, *, name="train/1", asked=None, compute=reply, events=(EVENT,), check=lambda _: None):
    return desk.release(name, asked or request(), events=events, compute=compute, check=check)


def test_the_charge_is_on_the_disk_before_anything_is_computed(desk, tmp_path):
    def compute():
        with Ledger.open(tmp_path / "ledger.sqlite", clock=now) as another:
            assert another.find(STUDY, "train/1").state == "reserved"
        return reply()

    release(desk, compute=compute)


def test_the_reply_carries_a_head_that_contains_its_record(desk, ledger):
    envelope = read_envelope(release(desk))
    ledger.witness(envelope.header.head)
    recorded = ledger.find(STUDY, "train/1")
    assert recorded.state == "sent"
    assert recorded.released == hashlib.sha256(reply().to_bytes()).hexdigest()
    # The head came after the hash was recorded: a ledger set back to before cannot contain it.
    assert envelope.header.head.sequence > recorded.sequence


def test_a_repeated_request_gets_the_same_bytes_and_costs_nothing(desk, ledger):
    first, spent = release(desk), ledger.spent()
    witnessed = read_envelope(first).header.head
    assert release(desk, compute=crash) == first
    assert release(desk, compute=crash, asked=request(witnessed=witnessed)) == first, "the witness is not the request"
    assert ledger.spent() == spent


def test_another_request_for_the_same_release_is_refused(desk):
    release(desk)
    with pytest.raises(CheckpointError):
        release(desk, asked=request(number=2))


@pytest.mark.parametrize("at", ["compute", "keep_reply", "computed", "keep_head", "sent"])
def test_a_crash_anywhere_leads_to_one_release(desk, ledger, monkeypatch, at):
    with monkeypatch.context() as patch:
        if at in {"computed", "sent"}:
            patch.setattr(Ledger, at, crash)
        elif at != "compute":
            patch.setattr(SiteFolder, at, crash)
        with pytest.raises(Crash):
            release(desk, compute=crash if at == "compute" else lambda: reply(1.0))
    spent = ledger.spent()
    answer = read_envelope(release(desk, compute=lambda: reply(2.0)))
    nothing_was_kept = at in {"compute", "keep_reply"}
    assert answer.array("update")[0] == (2.0 if nothing_was_kept else 1.0)
    assert ledger.spent() == spent
    assert ledger.find(STUDY, "train/1").state == "sent"
    assert ledger.verify().intact


@pytest.mark.parametrize("spoil", ["remove", "change"])
def test_what_was_recorded_is_never_computed_again(desk, tmp_path, spoil):
    release(desk)
    kept = tmp_path / "study" / "replies" / "train-000001.bin"
    content = kept.read_bytes()
    kept.unlink()
    if spoil == "change":
        kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LedgerDamagedError):
        release(desk, compute=lambda: reply(2.0))


def test_what_the_gate_refuses_is_not_kept(desk, ledger):
    def refuse(_):
        raise InternalError("expected less")

    with pytest.raises(InternalError):
        release(desk, check=refuse)
    assert ledger.find(STUDY, "train/1").state == "reserved"
    assert read_envelope(release(desk, compute=lambda: reply(3.0))).array("update")[0] == 3.0


def test_over_the_cap_nothing_is_computed(desk):
    for number in range(1, 100):
        try:
            release(desk, name=f"train/{number}", asked=request(number), compute=reply)
        except BudgetExhaustedError:
            break
    assert number > 3
    with pytest.raises(BudgetExhaustedError):
        release(desk, name="train/100", asked=request(100), compute=crash)


def test_a_restored_backup_locks_itself(desk, ledger, tmp_path):
    release(desk)
    ledger.close()
    backup = tmp_path / "backup"
    backup.mkdir()
    for path in tmp_path.glob("ledger.sqlite*"):
        shutil.copy(path, backup / path.name)
    with Ledger.open(tmp_path / "ledger.sqlite", clock=now) as newer:
        later = ReleaseDesk(folder=desk.folder, ledger=newer, study=STUDY)
        head = read_envelope(
            release(later, name="train/2", asked=request(2), compute=lambda: reply(number=2))
        ).header.head
    with Ledger.open(backup / "ledger.sqlite", clock=now) as older:
        restored = ReleaseDesk(folder=SiteFolder(tmp_path / "restored"), ledger=older, study=STUDY)
        with pytest.raises(LedgerLockedError, match="backup"):
            restored.witness(head)
        with pytest.raises(LedgerLockedError):
            release(restored, name="train/3", asked=request(3), compute=crash)


def test_without_a_ledger_nothing_private_is_released(desk):
    plain = ReleaseDesk(folder=desk.folder, ledger=None, study=STUDY)
    plain.witness(None)
    with pytest.raises(InternalError, match="ledger"):
        release(plain, compute=crash)
    first = release(plain, events=())
    assert release(plain, events=(), compute=crash) == first
    assert read_envelope(first).header.head is None


def test_with_a_ledger_nothing_uncharged_is_released(desk):
    with pytest.raises(PrivacyRefusedError):
        release(desk, events=(), compute=crash)

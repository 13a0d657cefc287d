from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from federation.errors import AuditLogDamagedError, BudgetExhaustedError, InvalidInputError, StudyError
from federation.governance.audit import AuditChain, AuditEntry, AuditEvent, line_of, reason_of
from federation.governance.audit_export import verify_log
from federation.governance.audit_log import read_log
from federation.protocol.audit_head import GENESIS, AuditHead, chained
from tests.federation.governance.audit_cases import SITE_KEY, STUDY, accepted, approved, site_log, small_log


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_what_is_written_verifies_and_reads_back(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    found = verify_log(path, log="north", public_key=SITE_KEY.public_key)
    assert (found.intact, found.problem, found.unfinished) == (True, "", False)
    assert found.entries == len(lines(path)) > 10
    events = [entry.event for entry in read_log(path).entries]
    assert events[0] == "log_opened"
    assert {"approved", "request_accepted", "head_witnessed", "head_countersigned"} <= set(events)
    assert found.witnessed.keys() == {"coordinator"}


def test_the_chain_is_the_formula(tmp_path: Path) -> None:
    """Recomputed here from the file alone, with json and hashlib."""
    import hashlib

    previous = GENESIS
    for line in lines(small_log(tmp_path)):
        content = json.loads(line)
        body = line[len(b'{"body":') : line.rindex(b',"hash":')]
        assert json.loads(body) == content["body"]
        tagged = b"cohortium/audit-log/1\0" + bytes.fromhex(previous) + hashlib.sha256(body).digest()
        previous = hashlib.sha256(tagged).hexdigest()
        assert previous == content["hash"]


def test_every_flipped_byte_of_a_log_is_detected(tmp_path: Path) -> None:
    """Nothing in a line is irrelevant: an entry has one spelling."""
    chain = AuditChain()
    for line in lines(small_log(tmp_path)):
        for position in range(len(line)):
            flipped = bytearray(line)
            flipped[position] ^= (0x01, 0x20, 0x80)[position % 3]
            assert not chain.can_take(bytes(flipped)), (line, position)
        chain.take(line)
    assert chain.sequence > 10


def test_the_entry_of_a_flipped_byte_is_named(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    content, changed = path.read_bytes(), tmp_path / "changed.jsonl"
    newlines = [position for position, byte in enumerate(content) if byte == 0x0A]
    for position in [*newlines, *range(0, len(content), 97)]:
        flipped = bytearray(content)
        flipped[position] ^= 0x20
        changed.write_bytes(flipped)
        found = verify_log(changed)
        assert not found.intact, position
        assert found.entries == sum(newline < position for newline in newlines), position


def test_a_flip_of_the_last_newline_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    content = path.read_bytes()
    for byte in (*range(0, 256, 15), 0x0B, 0x0D, 0x20, 0x7D, 0x8A):
        path.write_bytes(content[:-1] + bytes([byte]))
        assert not verify_log(path).intact, byte
        with pytest.raises(AuditLogDamagedError):
            site_log(tmp_path)
        assert path.read_bytes() == content[:-1] + bytes([byte])


def test_removed_swapped_and_repeated_entries_are_named(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    whole = lines(path)
    for at in range(len(whole) - 1):
        path.write_bytes(b"".join(whole[:at] + whole[at + 1 :]))
        assert verify_log(path).entries == at
        path.write_bytes(b"".join([*whole[:at], whole[at + 1], whole[at], *whole[at + 2 :]]))
        assert verify_log(path).entries == at
        path.write_bytes(b"".join(whole[: at + 1] + whole[at:]))
        assert verify_log(path).entries == at + 1


def test_an_entry_appended_without_the_chain_is_refused(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    entries = read_log(path).entries
    forged = AuditEntry(**dict(approved(99)), sequence=len(entries) + 1, time=entries[-1].time)
    path.write_bytes(path.read_bytes() + line_of(forged, GENESIS))
    found = verify_log(path)
    assert (found.intact, found.entries) == (False, len(entries))


def test_a_truncated_log_is_found_by_whoever_witnessed_more(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    with site_log(tmp_path) as log:
        witnessed = log.head()
    whole = lines(path)
    path.write_bytes(b"".join(whole[:-2]))
    assert verify_log(path).intact  # by itself it is a good log
    found = verify_log(path, against=[witnessed])
    assert (found.intact, found.entries) == (False, len(whole) - 2)
    assert str(len(whole)) in found.problem


def test_a_rewritten_log_is_found_by_whoever_witnessed_it(tmp_path: Path) -> None:
    with site_log(tmp_path) as log:
        log.record(approved(1), approved(2))
        early = log.head()
        log.record(approved(3), approved(4))
        late = log.head()
    other = tmp_path / "other"
    with site_log(other) as log:  # the site's own key writes another history
        log.record(approved(1), approved(2), approved(5), approved(4), approved(6))
    found = verify_log(other / "audit.jsonl", against=[late, early])
    assert (found.intact, found.entries) == (False, early.sequence)


def test_the_wrong_log_and_the_wrong_key_are_refused(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    assert not verify_log(path, log="south").intact
    assert not verify_log(path, public_key="00" * 32).intact
    with pytest.raises(InvalidInputError):
        verify_log(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").touch()
    assert not verify_log(tmp_path / "empty.jsonl").intact


def test_a_long_line_is_not_read_whole(tmp_path: Path) -> None:
    path = small_log(tmp_path)
    entries = verify_log(path).entries
    with path.open("ab") as stream:
        stream.write(b"x" * 5_000_000)
    found = verify_log(path)
    assert (found.intact, found.entries) == (False, entries)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "anything"},
        {"actor": "Dr. Erika Mustermann, born 1951"},
        {"reason": "patient 17 is missing"},
        {"study": "heart disease of Mrs. Smith"},
        {"hashes": {"note": "Erika"}},
        {"hashes": {"A note": "00" * 32}},
        {"site": "a b"},
        {"text": "free"},
        {"round_number": "3"},
    ],
)
def test_an_entry_has_no_room_for_free_text(wrong: dict[str, object]) -> None:
    data = {"event": "request_refused", "actor": "agent", "study": STUDY} | wrong
    with pytest.raises(ValidationError):
        AuditEvent.model_validate_json(json.dumps(data))


def test_an_error_leaves_its_class_name_and_nothing_else() -> None:
    assert reason_of(BudgetExhaustedError("of Erika", remedy="Erika", name="Erika")) == "BudgetExhaustedError"
    assert reason_of(StudyError("Erika")) == "StudyError"
    assert reason_of(ValueError("Erika")) == "InternalError"
    assert reason_of(type("Erika", (Exception,), {})()) == "InternalError"


def test_a_chain_is_unchanged_by_what_it_refuses() -> None:
    chain = AuditChain()
    opened = AuditEvent(event="log_opened", actor="x", site="north", hashes={"public_key": SITE_KEY.public_key})
    first = line_of(AuditEntry(**dict(opened), sequence=1, time="2031-05-06T07:08:09+00:00"), GENESIS)
    for wrong in (accepted(1), approved(1)):
        with pytest.raises(AuditLogDamagedError) as caught:
            chain.take(line_of(AuditEntry(**dict(wrong), sequence=1, time="2031-05-06T07:08:09+00:00"), GENESIS))
        assert caught.value.facts["entry"] == 1
    assert (chain.sequence, chain.entry_hash, chain.log) == (0, GENESIS, "")
    assert chain.can_take(first)
    assert chain.sequence == 0
    chain.take(first)
    assert (chain.sequence, chain.log) == (1, "north")


def test_a_head_of_other_content_is_not_genuine() -> None:
    head = AuditHead.signed(SITE_KEY, log="north", sequence=7, entry_hash="ab" * 32)
    assert head.is_genuine()
    for change in ({"log": "south"}, {"sequence": 8}, {"entry_hash": "ac" * 32}, {"public_key": "00" * 32}):
        assert not head.model_copy(update=change).is_genuine()
    linked = AuditHead.signed(SITE_KEY, log="north", sequence=7, entry_hash="ab" * 32, since=6, links=["cd" * 32])
    assert linked.hashes_from(GENESIS) == {}
    right = chained(GENESIS, "cd" * 32)
    assert linked.model_copy(update={"entry_hash": right}).hashes_from(GENESIS) == {7: right}
    with pytest.raises(ValidationError):
        AuditHead.signed(SITE_KEY, log="north", sequence=7, entry_hash="ab" * 32, since=5, links=["cd" * 32])

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from federation import durable_files
from federation.errors import AuditLogDamagedError, StudyError
from federation.governance.audit import LONGEST_LINE, AuditEvent
from federation.governance.audit_export import verify_log
from federation.governance.audit_log import AuditLog, read_log
from tests.federation.governance.audit_cases import COORDINATOR_KEY, SITE_KEY, approved, clock, site_log

ROOT = Path(__file__).parents[3]


def test_a_log_is_for_its_owner_only(tmp_path: Path) -> None:
    site_log(tmp_path).close()
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_log_of_another_is_refused(tmp_path: Path) -> None:
    site_log(tmp_path).close()
    for name, key in (("south", SITE_KEY), ("north", COORDINATOR_KEY)):
        with pytest.raises(AuditLogDamagedError):
            AuditLog(tmp_path / "audit.jsonl", log=name, key=key, clock=clock)


def test_a_damaged_log_takes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with site_log(tmp_path) as log:
        log.record(approved(1), approved(2))
        content = path.read_bytes()
        path.write_bytes(content.replace(b"officer", b"offizer", 1) + b"\n")
        with pytest.raises(AuditLogDamagedError):
            log.record(approved(3))
    with pytest.raises(AuditLogDamagedError) as caught:
        site_log(tmp_path)
    assert caught.value.facts["entry"] == 2


def test_a_shorter_file_is_damage_while_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with site_log(tmp_path) as log:
        log.record(approved(1))
        os.truncate(path, path.stat().st_size - 10)
        with pytest.raises(AuditLogDamagedError):
            log.record(approved(2))


def test_a_file_that_was_moved_away_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with site_log(tmp_path) as log:
        path.rename(tmp_path / "old.jsonl")
        with pytest.raises(StudyError, match="stay in place"):
            log.record(approved(1))
        site_log(tmp_path).close()  # somebody begins a new one
        with pytest.raises(StudyError, match="stay in place"):
            log.record(approved(1))


def test_every_beginning_of_an_entry_is_taken_away_and_recorded(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with site_log(tmp_path) as log:
        log.record(approved(1))
        whole = path.read_bytes()
        log.record(approved(2))
    line = path.read_bytes()[len(whole) :]
    for length in range(1, len(line), 7):
        path.write_bytes(whole + line[:length])
        assert verify_log(path).unfinished
        with site_log(tmp_path) as log:
            log.record(approved(3))
        events = [entry.event for entry in read_log(path).entries]
        assert events == ["log_opened", "approved", "log_repaired", "approved"], length
    path.write_bytes(whole + line[:-1])  # all but the newline: the entry counts
    with site_log(tmp_path) as log:
        log.record(approved(3))
    assert path.read_bytes().startswith(whole + line)
    assert verify_log(path).intact


def test_a_crash_at_the_first_entry_leaves_a_log_that_can_begin(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_bytes(b'{"body":{"ac')
    with site_log(tmp_path) as log:
        log.record(approved(1))
    assert verify_log(tmp_path / "audit.jsonl").entries == 2


def _failing(call: Callable[..., int], error: int, *, at: int, part: bool = False) -> Callable[..., int]:
    count = 0

    def fail(*arguments: object) -> int:
        nonlocal count
        count += 1
        if count == at:
            if part:  # half of it reaches the disk
                descriptor, content, offset = arguments
                assert isinstance(content, bytes)
                call(descriptor, content[: len(content) // 2], offset)
            raise OSError(error, os.strerror(error))
        return call(*arguments)

    return fail


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize(("name", "part"), [("pwrite", False), ("pwrite", True), ("fsync", False)])
@pytest.mark.parametrize("cut_fails", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_failing_disk_leaves_a_log_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, error: int, name: str, part: bool, cut_fails: bool, at: int
) -> None:
    path = tmp_path / "audit.jsonl"
    with site_log(tmp_path) as log:
        acknowledged = [entry for number in range(3) for entry in log.record(approved(number))]
        with monkeypatch.context() as patch:
            patch.setattr(durable_files.os, name, _failing(getattr(os, name), error, at=at, part=part))
            if cut_fails:
                patch.setattr(durable_files.os, "ftruncate", _failing(os.ftruncate, error, at=1))
            failures = 0
            for number in range(3, 7):
                try:
                    acknowledged += log.record(approved(number))
                except StudyError:
                    failures += 1
            assert failures == 1
        acknowledged += log.record(approved(9), approved(10))
    with site_log(tmp_path) as log:
        acknowledged += log.record(approved(11))
    read = read_log(path)
    assert (read.problem, read.torn) == (None, False)
    kept = [entry.hashes for entry in read.entries]
    assert [entry.hashes for entry in acknowledged if entry.hashes in kept] == [entry.hashes for entry in acknowledged]


def test_two_writers_take_turns(tmp_path: Path) -> None:
    logs = [site_log(tmp_path) for _ in range(4)]

    def write(number: int) -> None:
        for extra in range(20):
            logs[number].record(approved(100 * number + extra), approved(100 * number + extra))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    found = verify_log(tmp_path / "audit.jsonl")
    assert (found.intact, found.entries) == (True, 1 + 4 * 20 * 2)


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with site_log(tmp_path) as log:
        with pytest.raises(AuditLogDamagedError):
            log.record(approved(1), AuditEvent(event="head_witnessed", actor="agent"))
        assert log.head().sequence == 1
        log.record(approved(1))
    assert verify_log(tmp_path / "audit.jsonl").entries == 2


def test_the_largest_event_fits_a_line() -> None:
    hashes = {f"a{number:063}": "0" * 64 for number in range(16)}
    study = "sha256:" + "0" * 64
    largest = AuditEvent(
        event="head_countersigned", actor="a" * 64, study=study, site="a" * 64, reason="A" * 64, hashes=hashes
    )
    assert len(largest.canonical_bytes()) + 4096 < LONGEST_LINE  # the rest is for a head and its countersignature


def _killed(folder: Path, start: int, *, after: int) -> list[str]:
    """Acknowledgements of a process that is killed after so many of them."""
    command = [sys.executable, "-m", "tests.federation.governance.appending_process", str(folder), str(start)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        lines = [output.readline() for _ in range(after)]
        process.kill()
        process.wait()
        return [line.strip() for line in (*lines, *output) if line.endswith("\n")]


def _check_kills(folder: Path, kills: int) -> None:
    acknowledged: list[str] = []
    for kill in range(kills):
        acknowledged += _killed(folder, 1000 * kill, after=1 + kill % 5)
        assert verify_log(folder / "audit.jsonl").intact
    entries = {f"{entry.sequence} {entry.body_digest()}" for entry in read_log(folder / "audit.jsonl").entries}
    assert len(acknowledged) >= kills
    assert set(acknowledged) <= entries


def test_kill_9_while_adding_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    _check_kills(tmp_path, 10)


@pytest.mark.slow
def test_kill_9_while_adding_a_hundred_times(tmp_path: Path) -> None:
    _check_kills(tmp_path, 100)

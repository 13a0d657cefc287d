"""The outbox: durable, ordered, once, and honest about damage."""

import datetime as dt
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from aggregator.outbox import OUTBOX_FILE, Outbox
from aggregator.outbox_database import OutboxDatabase
from aggregator.run_records import RunRecord
from aggregator.tracking import TrackingTarget
from federation.errors import CheckpointError, InvalidInputError
from tests.aggregator.tracked_run import server_target

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC)


@pytest.fixture
def outbox(tmp_path):
    return Outbox(tmp_path / "tracking", create=True, now=lambda: MOMENT)


@pytest.fixture
def target(tmp_path):
    return server_target(tmp_path)


def numbered(number):
    return RunRecord(step=number, metrics={"round/auroc": 0.1 + number / 3})


def test_events_come_back_in_order_and_to_the_last_bit(outbox, target) -> None:
    for number in range(5):
        assert outbox.add(f"round:{number}", numbered(number))
    events = Outbox(outbox.folder).pending(target, limit=3)
    assert [event.key for event in events] == ["round:0", "round:1", "round:2"]
    assert [event.record for event in events] == [numbered(number) for number in range(3)]
    assert {event.recorded_ms for event in events} == {int(MOMENT.timestamp() * 1000)}


def test_a_key_is_recorded_once_and_stays_as_it_was(outbox, target) -> None:
    assert outbox.add("round:1", numbered(1))
    assert not outbox.add("round:1", numbered(2))
    assert [event.record for event in outbox.pending(target, limit=9)] == [numbered(1)]


def test_several_are_recorded_together_in_their_order_and_each_key_once(outbox, target) -> None:
    outbox.add("round:2", numbered(2))
    assert outbox.add_all({f"round:{number}": numbered(number + 10) for number in (3, 2, 1)}) == 2
    events = outbox.pending(target, limit=9)
    assert [(event.key, event.record.step) for event in events] == [("round:2", 2), ("round:3", 13), ("round:1", 11)]
    assert outbox.add_all({}) == 0


def test_a_crash_while_several_are_recorded_leaves_none_of_them(outbox, target, monkeypatch) -> None:
    class Crash(BaseException):
        pass

    session = OutboxDatabase.session

    @contextmanager
    def crashing(database):
        with session(database) as connection:
            yield connection
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(OutboxDatabase, "session", crashing)
        with pytest.raises(Crash):
            outbox.add_all({f"round:{number}": numbered(number) for number in range(3)})
    assert outbox.counts(target).recorded == 0


def test_marks_are_kept_by_target(outbox, target, tmp_path) -> None:
    other = TrackingTarget.choose("sqlite", output=tmp_path)
    for number in range(3):
        outbox.add(f"round:{number}", numbered(number))
    first, second, third = outbox.pending(target, limit=9)
    outbox.mark([first], target)
    outbox.mark([second], target, refused="no")
    assert outbox.pending(target, limit=9) == [third]
    counts = outbox.counts(target)
    assert (counts.recorded, counts.delivered, counts.refused, counts.waiting) == (3, 1, 1, 1)
    assert outbox.refusals(target) == {"round:1": "no"}
    assert outbox.counts(other).waiting == 3


def test_refused_events_can_wait_again_and_an_emptied_target_gets_everything(outbox, target) -> None:
    for number in range(2):
        outbox.add(f"round:{number}", numbered(number))
    first, second = outbox.pending(target, limit=9)
    outbox.mark([first], target)
    outbox.mark([second], target, refused="no")
    outbox.note_run(target, "key", "abc")
    outbox.forget(target, only_refused=True)
    assert outbox.pending(target, limit=9) == [second]
    assert outbox.run_of(target, "key") == "abc"
    outbox.forget(target, only_refused=False)
    assert outbox.pending(target, limit=9) == [first, second]
    assert outbox.run_of(target, "key") is None


def test_the_run_key_is_chosen_once_and_holds_the_digest(outbox) -> None:
    digest = "sha256:" + "ab" * 32
    key = outbox.begin(digest)
    assert key.startswith("abababababababab-")
    assert Outbox(outbox.folder).begin(digest) == key
    assert outbox.fact("run_key") == key


def test_two_outboxes_of_one_study_have_two_keys(tmp_path) -> None:
    digest = "sha256:" + "ab" * 32
    assert Outbox(tmp_path / "a", create=True).begin(digest) != Outbox(tmp_path / "b", create=True).begin(digest)


def test_another_study_is_refused(outbox) -> None:
    outbox.begin("sha256:" + "ab" * 32)
    with pytest.raises(CheckpointError, match="choose another output folder"):
        outbox.begin("sha256:" + "cd" * 32)


def test_the_target_is_remembered(outbox, target) -> None:
    assert outbox.target is None
    outbox.note_target(target)
    assert Outbox(outbox.folder).target == target


def test_the_last_attempt_is_remembered(outbox, target) -> None:
    assert outbox.last_attempt(target).failure == ""
    outbox.note_attempt(target, number=4, failure="down")
    attempt = outbox.last_attempt(target)
    assert (attempt.number, attempt.time, attempt.failure) == (4, "2026-01-02T03:04:05+00:00", "down")


def test_an_artefact_is_kept_as_it_was_recorded(outbox, tmp_path) -> None:
    report = tmp_path / "report.html"
    report.write_text("first")
    first = outbox.keep(report, folder="")
    report.write_text("second")
    second = outbox.keep(report, folder="")
    report.unlink()
    assert outbox.copy_of(first).read_text() == "first"
    assert outbox.copy_of(second).read_text() == "second"
    assert outbox.copy_of(first).name == "report.html"


@pytest.mark.parametrize("name", ["absent.html", "."])
def test_only_a_file_is_an_artefact(outbox, tmp_path, name) -> None:
    with pytest.raises(InvalidInputError, match="expected a file"):
        outbox.keep(tmp_path / name, folder="")


def test_one_process_delivers_at_a_time(outbox) -> None:
    with outbox.delivering() as first, outbox.delivering() as second:
        assert (first, second) == (True, False)
    with outbox.delivering() as again:
        assert again


def test_threads_may_write_together(outbox, target) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda number: outbox.add(f"round:{number % 20}", numbered(number % 20)), range(40)))
    assert sum(added) == 20
    assert outbox.counts(target).recorded == 20


WRITER = """
import sys
from pathlib import Path
from aggregator.outbox import Outbox
from aggregator.run_records import RunRecord
outbox = Outbox(Path(sys.argv[1]), create=True)
for number in range(10_000):
    outbox.add(f"round:{number}", RunRecord(step=number))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_was_recorded_survives_the_kill_of_the_writer(tmp_path, repository, target) -> None:
    for stop_after in (0, 7, 30):
        folder = tmp_path / f"killed-{stop_after}"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=repository
        )
        with writer:
            promised = [int(writer.stdout.readline()) for _ in range(stop_after + 1)]
            writer.send_signal(signal.SIGKILL)
            promised += [int(line) for line in writer.stdout.read().splitlines() if line]
        keys = {event.key for event in Outbox(folder).pending(target, limit=20_000)}
        assert {f"round:{number}" for number in promised} <= keys


def _foreign(path):
    import sqlite3

    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE patients (name TEXT)")
    database.close()


def _newer(path):
    import sqlite3

    Outbox(path.parent, create=True)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def _torn(path):
    outbox = Outbox(path.parent, create=True)
    for number in range(2000):
        outbox.add(f"round:{number}", numbered(number)) if number < 60 else None
    content = bytearray(path.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"not a database" * 500),
        lambda path: path.write_text("{}"),
        _foreign,
        _newer,
        _torn,
    ],
    ids=["text", "json", "another program's", "a newer format", "torn pages"],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_damaged_outbox_is_named_and_not_replaced(tmp_path, damage, create) -> None:
    path = tmp_path / OUTBOX_FILE
    damage(path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="unreadable") as refusal:
        Outbox(tmp_path, create=create)
    assert str(path) in str(refusal.value)
    assert "restore" in refusal.value.remedy
    assert path.read_bytes() == before


def test_an_absent_outbox_is_named_and_not_made(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="there is none"):
        Outbox(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_crash_while_the_file_was_made_is_healed(tmp_path, target) -> None:
    (tmp_path / OUTBOX_FILE).touch()
    outbox = Outbox(tmp_path, create=True)
    assert outbox.add("round:1", numbered(1))
    assert outbox.counts(target).recorded == 1


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path, outbox) -> None:
    outbox.add("round:1", numbered(1))
    for path in outbox.folder.iterdir():
        path.unlink()
    outbox.folder.rmdir()
    with pytest.raises(CheckpointError, match="cannot use the tracking outbox"):
        outbox.add("round:2", numbered(2))

"""The status file is whole at every instant, and says who was asked, who answered and what it cost."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import signal
import time

import pytest

from aggregator.host.status_table import status_table
from aggregator.host.study_status import ReportingTransport, StatusFile, read_status
from aggregator.transport import SiteReply
from federation.errors import CheckpointError
from federation.study.result import RoundResult
from tests.small_study import SITES, manifest


def now():
    return dt.datetime.now(tz=dt.UTC)


def result(number, **changes):
    fields = {
        "round_number": number,
        "contributors": SITES,
        "dropouts": {},
        "metrics": {"auroc": 0.75},
        "site_metrics": {},
        "epsilon_spent": dict.fromkeys(SITES, 0.5 * number),
        "update_norm": 1.0,
        "model_digest": "sha256:" + "0" * 64,
        "seconds": 1.0,
    }
    return RoundResult(**fields | changes)


@pytest.fixture
def status(tmp_path):
    return StatusFile(tmp_path / "status.json", manifest(), now=now, process=7)


def test_an_exchange_is_told_as_it_happens(status, tmp_path):
    class Inner:
        def exchange(self, requests):
            assert read_status(tmp_path / "status.json").asked == SITES
            yield SiteReply(site="south", content=b"x")
            assert read_status(tmp_path / "status.json").asked == ("north", "west")
            yield SiteReply(site="north", content=None, reason="deadline")
            yield SiteReply(site="west", content=b"x")

        def close(self):
            pass

    transport = ReportingTransport(Inner(), status)
    assert [reply.site for reply in transport.exchange(dict.fromkeys(SITES, b"q"))] == ["south", "north", "west"]
    found = read_status(tmp_path / "status.json")
    assert (found.phase, found.asked, found.missing) == ("running", (), {"north": "deadline"})
    assert set(found.answered) == {"south", "west"}
    transport.close()


def test_rounds_are_told_and_a_new_process_goes_on_with_what_the_last_one_told(status, tmp_path):
    status.round_done(result(1))
    status.round_done(result(2, metrics={}, dropouts={"west": "revoked"}))
    status.change(phase="waiting", last_error="QuorumError")
    again = StatusFile(tmp_path / "status.json", manifest(), now=now, process=8)
    found = read_status(tmp_path / "status.json")
    assert found == again.status
    assert (found.rounds_complete, found.process, found.last_error, found.phase) == (2, 8, "", "launched")
    assert found.metrics == {"auroc": 0.75}
    assert found.missing == {"west": "revoked"}
    assert found.epsilon_spent["north"] == 1.0


def _write_for_ever(path):
    status = StatusFile(path, manifest(), now=now, process=os.getpid())
    for number in range(1, 100_000):
        status.round_done(result(number))


def test_a_kill_at_any_instant_leaves_a_whole_file(tmp_path):
    path, context = tmp_path / "status.json", multiprocessing.get_context("fork")
    seen = 0
    for attempt in range(8):
        process = context.Process(target=_write_for_ever, args=(path,))
        process.start()
        time.sleep(0.05 + 0.013 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = read_status(path)
        seen += found is not None and found.rounds_complete > 0
    assert seen


def test_a_file_that_holds_something_else_is_an_error(tmp_path):
    assert read_status(tmp_path / "status.json") is None
    (tmp_path / "status.json").write_text('{"phase": "running"}')
    with pytest.raises(CheckpointError):
        read_status(tmp_path / "status.json")


def test_the_table_shows_every_site(status):
    from rich.console import Console

    status.round_done(result(1, dropouts={"west": "deadline"}))
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(status_table(status.status, None))
    text = console.export_text()
    assert all(site in text for site in SITES)
    assert "missing: deadline" in text
    assert "1 of 4 rounds" in text
    console.file.close()
    assert "no coordinator" in str(status_table(None, None).renderables[0])

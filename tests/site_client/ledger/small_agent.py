"""What the agent does with a ledger, in one loop that may die anywhere, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from federation.durable_files import write_durably
from federation.errors import BudgetExhaustedError, StudyError
from site_client.ledger.entries import Row
from site_client.ledger.ledger import Ledger
from tests.site_client.ledger.ledger_cases import TERMS, assert_sound, cap_that_admits, clock, content, reserve

RELEASES = 12
"""So many fit the cap; the thirteenth is refused."""
CAP = cap_that_admits(RELEASES)
STUDY = "heart"


def reached(point: str) -> None:
    """A named point between the steps; tests put a kill in its place."""


def ledger_path(folder: Path) -> Path:
    return folder / "ledger.sqlite"


def work(folder: Path, *, releases: int = RELEASES + 1, attempts: int = 1) -> None:
    """Release after release until the cap; go on from whatever an earlier run left.

    Args:
        folder: Ledger, replies, and what the world was told.
        releases: Stop after so many.
        attempts: How often to try a release when the disk fails, with the same open ledger.
    """
    terms = TERMS.model_copy(update={"epsilon_cap": CAP})
    with Ledger.open_or_create(ledger_path(folder), terms, clock=clock) as ledger:
        for number in range(releases):
            try:
                release_patiently(ledger, folder, number, attempts=attempts)
            except BudgetExhaustedError:
                assert number == RELEASES
                return


def release_patiently(ledger: Ledger, folder: Path, number: int, *, attempts: int) -> None:
    for attempt in range(1, attempts + 1):
        try:
            return release(ledger, folder, number)
        except StudyError:
            if attempt == attempts:
                raise
    return None


def release(ledger: Ledger, folder: Path, number: int) -> None:
    reached("before reserve")
    reservation = reserve(ledger, number, study=STUDY)
    acknowledge(folder, reservation.sequence)
    reached("after reserve")
    reply_path = folder / f"reply-{number}"
    if reservation.state == "reserved":
        reply = os.urandom(48)  # fresh noise: a second computation gives other bytes
        reached("before the reply is written")
        with _own_disk():
            write_durably(reply_path, reply)
        reached("after the reply is written")
        reservation = ledger.computed(reservation, hashlib.sha256(reply).hexdigest())
        reached("after computed")
    if reservation.state == "computed":
        announce(folder, number, reply_path.read_bytes())
        reached("after sending")
        ledger.sent(reservation)
        reached("after sent")


def acknowledge(folder: Path, sequence: int) -> None:
    """Keep that the ledger said yes, where no crash of the process takes it back."""
    _append(folder / "acknowledged", str(sequence))


def announce(folder: Path, number: int, reply: bytes) -> None:
    """The bytes leave: from here on the world has them."""
    reached("before sending")
    _append(folder / "announced", f"{number} {reply.hex()}")


def _append(path: Path, line: str) -> None:
    with _own_disk(), path.open("ab") as stream:
        stream.write(f"\n{line};".encode())
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _own_disk():
    """The agent stops when it cannot write its own files; an ``OSError`` of the ledger would be a fault of it."""
    try:
        yield
    except OSError as failure:
        raise StudyError("the agent's own disk") from failure


def check(folder: Path, before: tuple[Row, ...]) -> tuple[Row, ...]:
    """Assert everything that no crash may break.

    Args:
        folder: Where :func:`work` worked.
        before: The rows that were there at the last check: none of them may change.

    Returns:
        The rows now.
    """
    path = ledger_path(folder)
    if not path.exists():
        assert before == ()
        assert not (folder / "acknowledged").exists()
        return ()
    assert_sound(path)
    rows = content(path)
    assert rows[: len(before)] == before
    with Ledger.open(path, clock=clock) as ledger:
        for line in _whole_lines(folder / "acknowledged"):
            assert int(line) <= len(rows)
        sent: dict[int, str] = {}
        for line in _whole_lines(folder / "announced"):
            number, reply = line.split()
            assert sent.setdefault(int(number), reply) == reply, f"release {number} left twice, with different bytes"
        for number, reply in sent.items():
            known = ledger.find(STUDY, f"train/{number}")
            assert known is not None, f"release {number} left, and there is no record of it"
            assert known.released == hashlib.sha256(bytes.fromhex(reply)).hexdigest()
        for number in range(RELEASES):
            known = ledger.find(STUDY, f"train/{number}")
            if known is not None and known.released is not None:
                reply = (folder / f"reply-{number}").read_bytes()
                assert known.released == hashlib.sha256(reply).hexdigest()
    return rows


def is_done(folder: Path) -> bool:
    """Whether every release that fits the cap left."""
    return len({line.split()[0] for line in _whole_lines(folder / "announced")}) == RELEASES


def _whole_lines(path: Path) -> list[str]:
    """A line that a crash cut short was not handed over."""
    text = path.read_text(encoding="ascii") if path.exists() else ""
    return [line.removesuffix(";") for line in text.splitlines() if line.endswith(";")]

"""Bytes that change, and power cuts: noticed, or without any meaning, or the state before or after a commit."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from federation.errors import CohortiumError, LedgerLockedError, StudyError
from site_client.ledger.chain import Reservation
from site_client.ledger.entries import Row
from site_client.ledger.key_file import key_path
from site_client.ledger.verification import verify_ledger
from tests.site_client.ledger.ledger_cases import answer, content, digest, make, open_again, reserve


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def read(path: Path) -> tuple[Row, ...] | None:
    """What the ledger opens to and verifies as; ``None`` if it is refused."""
    try:
        with open_again(path):
            pass
        return content(path) if verify_ledger(path).intact else None
    except CohortiumError:
        return None


def spoiled(original: bytes, offset: int, mask: int) -> bytes:
    changed = bytearray(original)
    changed[offset] ^= mask
    return bytes(changed)


def flip_bytes(path: Path, count: int) -> dict[str, int]:
    with make(path) as ledger:
        for number in range(6):
            answer(ledger, number)
    assert not beside(path, "-wal").exists()
    original, rows = path.read_bytes(), content(path)
    generator = random.Random(1)
    seen = {"noticed": 0, "without meaning": 0}
    offsets = [generator.randrange(len(original)) for _ in range(count)]
    for offset in [*range(100), *offsets]:  # every byte of the header, too
        path.write_bytes(spoiled(original, offset, generator.randrange(1, 256)))
        found = read(path)
        assert found in {None, rows}, f"byte {offset} changed what is read, and nobody noticed"
        seen["noticed" if found is None else "without meaning"] += 1
        if found is not None:
            go_on(path, rows)
        for remains in ("-wal", "-shm"):
            beside(path, remains).unlink(missing_ok=True)
    return seen


def test_a_changed_byte_is_noticed_or_means_nothing(path):
    seen = flip_bytes(path, 300)
    assert seen["noticed"] > 150


def go_on(path: Path, rows: tuple[Row, ...]) -> None:
    """What means nothing when it is read means nothing for what is written next, or nothing is written."""
    with open_again(path) as ledger:
        try:
            answer(ledger, 99)
        except StudyError as refusal:  # SQLite's header has a byte that says: only read this
            if "readonly" not in refusal.message:
                raise
            added = 0
        else:
            assert ledger.verify().intact
            added = 4
    assert content(path)[: len(rows)] == rows
    assert len(content(path)) == len(rows) + added


@pytest.mark.parametrize("byte", [0x00, 0x80, 0xC3, 0xFF])
def test_a_changed_name_is_noticed(path, byte):
    """SQLite quotes damaged names in its messages, which need not be text any more."""
    make(path).close()
    original = path.read_bytes()
    for name in (b"CREATE TABLE", b"CREATE TRIGGER", b"sequence", b"entries_never_go"):
        start = original.index(name)
        for offset in range(start, start + len(name) + 8):
            path.write_bytes(spoiled(original, offset, original[offset] ^ byte))
            with pytest.raises(CohortiumError):
                open_again(path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_changed_bytes(path):
    seen = flip_bytes(path, 10_000)
    assert seen["noticed"] > 4_000


def test_a_changed_byte_of_the_key_is_noticed(path):
    make(path).close()
    original = key_path(path).read_bytes()
    for offset in range(32):
        key_path(path).write_bytes(spoiled(original, offset, 1))
        with pytest.raises(CohortiumError, match="another"):
            open_again(path)


class LogImages:
    """A ledger whose last three commits are still in its log, and copies of it with the log cut or spoiled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.image = path.with_name("image.sqlite")
        with make(path) as ledger:
            answer(ledger, 1)
            reservation: Reservation = reserve(ledger, 2)
            self.states = [(self._log_size(), content(path))]
            steps = (
                lambda: ledger.computed(reservation, digest("bytes")),
                lambda: ledger.sent(reservation),
                lambda: reserve(ledger, 3),
            )
            for step in steps:
                step()
                self.states.append((self._log_size(), content(path)))
            self.head = ledger.head()
            self.database, self.log = path.read_bytes(), beside(path, "-wal").read_bytes()
        shutil.copy(key_path(path), key_path(self.image))
        sizes = [size for size, _ in self.states]
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == len(self.log)

    def _log_size(self) -> int:
        return beside(self.path, "-wal").stat().st_size

    def read_with(self, log: bytes) -> tuple[Row, ...] | None:
        self.image.write_bytes(self.database)
        beside(self.image, "-wal").write_bytes(log)
        beside(self.image, "-shm").unlink(missing_ok=True)
        return read(self.image)

    def expected(self, size: int) -> tuple[Row, ...]:
        return max((end, rows) for end, rows in self.states if end <= size)[1]

    def cuts(self, step: int) -> list[int]:
        """Lengths of the log within the last three commits, those around each commit's end always."""
        ends = {end + by for end, _ in self.states for by in (-1, 0, 1)}
        first, last = self.states[0][0], self.states[-1][0]
        return sorted({*range(first, last + 1, step), *(end for end in ends if first <= end <= last)})


def cut_everywhere(images: LogImages, step: int) -> int:
    for size in images.cuts(step):
        assert images.read_with(images.log[:size]) == images.expected(size), size
    return len(images.cuts(step))


def test_a_power_cut_leaves_the_state_before_or_after_a_commit(path):
    assert cut_everywhere(LogImages(path), 199) > 100


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_power_cut_at_every_byte_of_the_last_three_commits(path):
    images = LogImages(path)
    assert cut_everywhere(images, 1) == images.states[-1][0] - images.states[0][0] + 1


@pytest.mark.parametrize("garbage", [b"\0", b"\xa5"], ids=["zeros", "garbage"])
def test_a_power_cut_that_leaves_other_bytes_behind(path, garbage):
    images = LogImages(path)
    for size in images.cuts(997):
        log = images.log[:size] + garbage * (len(images.log) - size)
        assert images.read_with(log) in [rows for _, rows in images.states]


def test_a_spoiled_log_goes_back_in_time_and_a_witness_notices(path):
    """A log that was cut by hand looks like one cut by a power failure: only a head that somebody kept tells."""
    images = LogImages(path)
    generator, went_back = random.Random(2), 0
    for _ in range(60):
        offset = generator.randrange(32, len(images.log))
        found = images.read_with(spoiled(images.log, offset, generator.randrange(1, 256)))
        full = images.states[-1][1]
        assert found is not None
        assert found == full[: len(found)]
        if found != full:
            went_back += 1
            with open_again(images.image) as ledger, pytest.raises(LedgerLockedError):
                ledger.witness(images.head)
    assert went_back > 30

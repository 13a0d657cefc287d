"""The entries of a ledger, their bytes, and the hash chain that holds them together.

Entry ``n`` hashes to ``SHA-256(tag || hash of entry n-1 || body)``, so whoever knows the last hash knows all entries. A
body is JSON with sorted keys and no spaces: an entry has exactly one body.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from federation.documents import Document
from federation.errors import LedgerDamagedError
from federation.privacy.accounting import UNBOUNDED
from federation.privacy.events import PrivacyEvent
from federation.privacy.rdp_curves import ORDERS
from federation.protocol.ledger_head import Hexadecimal, LedgerHead
from site_client.ledger.terms import LedgerTerms

GENESIS: Final = bytes(32)
"""What stands for the hash before the first entry."""
_TAG: Final = b"cohortium/ledger/1\0"

Name = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
"""Printable and without spaces, such as a study's name or digest, or ``train/7``."""
Charge = Annotated[
    tuple[Annotated[int, Field(ge=0, le=UNBOUNDED)], ...], Field(min_length=len(ORDERS), max_length=len(ORDERS))
]
_Sequence = Annotated[int, Field(ge=1)]
_Time = Annotated[str, Field(max_length=40)]
"""When, by the site's clock, in ISO 8601. For people: nothing is decided by it."""


class Opened(Document):
    """The first entry: the terms, the grid of orders that costs refer to, and the key that signs heads."""

    kind: Literal["opened"] = "opened"
    at: _Time
    terms: LedgerTerms
    public_key: Hexadecimal
    orders: tuple[float, ...]


class Reserved(Document):
    """A release is paid for. Written before the first noise is drawn."""

    kind: Literal["reserved"] = "reserved"
    at: _Time
    study: Name
    release: Name
    request: Hexadecimal
    """SHA-256 of the request that asked for it."""
    events: Annotated[tuple[PrivacyEvent, ...], Field(min_length=1)]
    charge: Charge
    spent_after: Charge


class Computed(Document):
    """What may leave for a reservation: the bytes with this hash, and no others."""

    kind: Literal["computed"] = "computed"
    at: _Time
    reservation: _Sequence
    released: Hexadecimal


class Sent(Document):
    """The bytes of a reservation were handed over."""

    kind: Literal["sent"] = "sent"
    at: _Time
    reservation: _Sequence


class HeadSigned(Document):
    """The head at the entry before, signed."""

    kind: Literal["head_signed"] = "head_signed"
    at: _Time
    head: LedgerHead


class Locked(Document):
    """The last entry of a ledger that is behind or beside what others witnessed."""

    kind: Literal["locked"] = "locked"
    at: _Time
    reason: Annotated[str, Field(max_length=1000)]
    witnessed: LedgerHead


Entry = Opened | Reserved | Computed | Sent | HeadSigned | Locked
_ENTRY: Final[TypeAdapter[Entry]] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


class Row(NamedTuple):
    """An entry as it is stored."""

    sequence: int
    """1 for the first entry; no gaps."""
    body: bytes
    entry_hash: bytes


def encode(entry: Entry) -> bytes:
    """The body of an entry."""
    return json.dumps(entry.as_data(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode(row: Row) -> Entry:
    """The entry of a row.

    Raises:
        LedgerDamagedError: If the body is not that of an entry.
    """
    try:
        return _ENTRY.validate_json(row.body)
    except ValidationError as failure:
        raise damaged(row.sequence, f"its body has {failure.error_count()} fields that no entry can have") from failure


def following(sequence: int, entry_hash: bytes, entry: Entry) -> Row:
    """The row of ``entry`` after the row with the given sequence number and hash."""
    body = encode(entry)
    return Row(sequence + 1, body, chained(entry_hash, body))


def chained(previous: bytes, body: bytes) -> bytes:
    """Hash of an entry, 32 bytes, from the hash of the entry before."""
    return hashlib.sha256(_TAG + previous + body).digest()


def damaged(sequence: int, problem: str) -> LedgerDamagedError:
    """The error that names the first bad entry."""
    return LedgerDamagedError(
        f"expected an unbroken ledger, got entry {sequence}: {problem}",
        remedy="release nothing; keep the file as evidence, run `cohortium site ledger verify` and see docs/ledger.md",
        entry=sequence,
        problem=problem,
    )

"""The head of an audit log, signed by its owner and countersigned by whoever it was shown to.

Sites and coordinator show each other the heads of their audit logs with every round, as :class:`HeadsShown`. A head carries
the digests of the entries since the last one that the reader countersigned: the reader can compute that the new log is the
old one continued, without seeing an entry. So neither side can rewrite what the other has witnessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from federation.documents import Document
from federation.protocol.ledger_head import Hexadecimal
from federation.protocol.signatures import SigningKey, verify

COORDINATOR: Final = "coordinator"
"""Name of the coordinator's log; a site's log has the site's name."""
GENESIS: Final = "00" * 32
"""What stands for the hash before the first entry."""
MOST_LINKS: Final = 4096
"""Entries between two heads; a log that grew by more catches up over several messages."""
_TAG: Final = b"cohortium/audit-log/1\0"
_HEAD: Final = "audit-head"
_COUNTERSIGNATURE: Final = "audit-countersignature"

LogName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
SignatureText = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
_Sequence = Annotated[int, Field(ge=0, lt=2**53)]


def chained(previous: str, digest: str) -> str:
    """Hash of an entry: ``SHA-256(tag || hash of the entry before || SHA-256 of the body)``, all as hexadecimal text."""
    return hashlib.sha256(_TAG + bytes.fromhex(previous) + bytes.fromhex(digest)).hexdigest()


class AuditHead(Document):
    """A signed statement: after ``sequence`` entries the hash of ``log`` is ``entry_hash``.

    ``since`` and ``links`` are not signed, they prove themselves: from the hash at ``since``, the links lead to ``entry_hash``.
    """

    log: LogName
    sequence: _Sequence
    entry_hash: Hexadecimal
    public_key: Hexadecimal
    signature: SignatureText
    since: _Sequence | None = None
    """Number of the last entry that the reader is known to have witnessed; ``None``: no links."""
    links: Annotated[tuple[Hexadecimal, ...], Field(max_length=MOST_LINKS)] = ()
    """SHA-256 of the bodies of entries ``since + 1`` to ``sequence``."""

    @model_validator(mode="after")
    def _check_links(self) -> Self:
        if len(self.links) != (0 if self.since is None else self.sequence - self.since):
            message = (
                f"links: expected one for each entry after {self.since} up to {self.sequence}, got {len(self.links)}"
            )
            raise ValueError(message)
        return self

    @classmethod
    def signed(
        cls,
        key: SigningKey,
        *,
        log: str,
        sequence: int,
        entry_hash: str,
        since: int | None = None,
        links: Sequence[str] = (),
    ) -> AuditHead:
        """Sign a head."""
        return cls(
            log=log,
            sequence=sequence,
            entry_hash=entry_hash,
            public_key=key.public_key,
            signature=key.sign(_content(log, sequence, entry_hash), purpose=_HEAD),
            since=since,
            links=tuple(links),
        )

    def is_genuine(self) -> bool:
        """Whether the signature is that of the named key. Whether the key is the right one is the reader's to know."""
        content = _content(self.log, self.sequence, self.entry_hash)
        return verify(content, purpose=_HEAD, public_key=self.public_key, signature=self.signature)

    def bare(self) -> AuditHead:
        """The signed part alone."""
        return self.model_copy(update={"since": None, "links": ()})

    def hashes_from(self, start: str) -> dict[int, str]:
        """Hashes of entries ``since + 1`` to ``sequence`` as the links make them; empty if they do not lead to ``entry_hash``.

        Args:
            start: Hash of entry ``since``.
        """
        hashes: dict[int, str] = {}
        reached = start
        for number, digest in enumerate(self.links, start=(self.since or 0) + 1):
            reached = hashes[number] = chained(reached, digest)
        return hashes if reached == self.entry_hash else {}


class CounterSignature(Document):
    """Another party's signature on a head: it has seen the head, and will refuse a log that does not contain it."""

    head: AuditHead
    """Without links."""
    public_key: Hexadecimal
    """Of whoever countersigned."""
    signature: SignatureText

    def is_genuine(self) -> bool:
        """Whether both signatures hold, each by the key that is named. Whose keys they are is the reader's to know."""
        return self.head.is_genuine() and verify(
            self.head.bare().canonical_bytes(),
            purpose=_COUNTERSIGNATURE,
            public_key=self.public_key,
            signature=self.signature,
        )


class HeadsShown(Document):
    """What one message between coordinator and site carries beside its payload, in either direction."""

    own: AuditHead | None = None
    """Head of the sender's log, linked to the last one that the reader countersigned."""
    countersigned: CounterSignature | None = None
    """The last head of the *reader's* log that the sender has seen, countersigned by the sender: the log must contain it."""


def countersign(head: AuditHead, key: SigningKey) -> CounterSignature:
    """Countersign a head. Whoever does must have checked it: see :class:`federation.governance.audit_exchange.HeadExchange`."""
    bare = head.bare()
    signature = key.sign(bare.canonical_bytes(), purpose=_COUNTERSIGNATURE)
    return CounterSignature(head=bare, public_key=key.public_key, signature=signature)


def _content(log: str, sequence: int, entry_hash: str) -> bytes:
    return f"{log}\n{sequence}\n{entry_hash}".encode()

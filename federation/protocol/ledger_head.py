"""The head of a site's ledger, signed: what others keep so that the ledger cannot go back in time.

It says how many entries the ledger has and what the last one hashes to; nothing about patients or budgets. Whoever
received one gives it back with the next request (a *witnessed* head), and a ledger that does not contain it locks itself.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from federation.documents import Document
from federation.identifiers import SiteId
from federation.protocol.signatures import SigningKey, verify

_PURPOSE: Final = "ledger-head"

Hexadecimal = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LedgerHead(Document):
    """A signed statement: after ``sequence`` entries the chain's hash is ``entry_hash``."""

    population: SiteId
    """The patient population's short name."""
    sequence: Annotated[int, Field(ge=0, lt=2**53)]
    entry_hash: Hexadecimal
    public_key: Hexadecimal
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @classmethod
    def signed(cls, key: SigningKey, *, population: str, sequence: int, entry_hash: str) -> LedgerHead:
        """Sign a head."""
        content = _content(population, sequence, entry_hash)
        return cls(
            population=population,
            sequence=sequence,
            entry_hash=entry_hash,
            public_key=key.public_key,
            signature=key.sign(content, purpose=_PURPOSE),
        )

    def is_genuine(self) -> bool:
        """Whether the signature is that of the named key. Whether the key is the right one is the reader's to know."""
        return verify(
            _content(self.population, self.sequence, self.entry_hash),
            purpose=_PURPOSE,
            public_key=self.public_key,
            signature=self.signature,
        )


def _content(population: str, sequence: int, entry_hash: str) -> bytes:
    return f"{population}\n{sequence}\n{entry_hash}".encode()

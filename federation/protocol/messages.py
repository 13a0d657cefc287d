"""What the coordinator and a site say to each other, as frozen values with canonical, versioned, length-limited bytes.

A message is one safetensors buffer: arrays under their names, and one metadata entry ``cohortium`` that holds the header as
canonical JSON. safetensors never runs code, and one metadata entry makes the bytes reproducible. Every header names the study by
its manifest digest, so that a message of another study is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from federation.documents import Document
from federation.errors import TransportError
from federation.identifiers import RoundNumber, SiteId
from federation.privacy.events import PrivacyEvent
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.secure_sum.terms import KeyBatch

MAXIMUM_BYTES: Final = 2**31
_HEADER: Final = "cohortium"
_LENGTH_BYTES: Final = 8
_DTYPES: Final = frozenset({"float32", "float64"})
PAYLOAD: Final = "payload"
"""The one array that is not of floats: bytes of a secure sum, which only its protocol reads."""

Arrays = Mapping[str, NDArray[np.float32] | NDArray[np.float64] | NDArray[np.uint8]]


class TrainRequest(Document):
    """Train on these parameters.

    Arrays: ``parameters``, whatever the algorithm broadcasts (``algorithm/...``), and the public map of the features where the
    study pays for preparation (``preparation/...``).
    """

    kind: Literal["train_request/1"] = "train_request/1"
    study: str
    site: SiteId
    round_number: RoundNumber
    witnessed: LedgerHead | None = None
    """The last head of the site's ledger that the sender was given: the ledger must contain it."""
    batch: KeyBatch | None = None
    """Keys under which the answer is masked; ``None`` in a study without secure aggregation."""


class TrainReply(Document):
    """The site's update. Arrays: ``update`` and what the algorithm sends (``algorithm/...``); masked: ``payload``."""

    kind: Literal["train_reply/1"] = "train_reply/1"
    study: str
    site: SiteId
    round_number: RoundNumber
    event: PrivacyEvent | None = None
    """What the mechanism did; ``None`` without privacy."""
    head: LedgerHead | None = None
    """Of the site's ledger after this release was recorded; ``None`` without privacy."""


class EvaluateRequest(Document):
    """Evaluate these parameters on the site's test patients. Arrays: ``parameters``, and ``preparation/...`` as for training."""

    kind: Literal["evaluate_request/1"] = "evaluate_request/1"
    study: str
    site: SiteId
    round_number: Annotated[int, Field(ge=0)]
    """Rounds that the parameters have seen."""
    witnessed: LedgerHead | None = None
    """As in :class:`TrainRequest`."""
    batch: KeyBatch | None = None
    """As in :class:`TrainRequest`."""


class EvaluateReply(Document):
    """Additive metrics. Arrays: ``metrics/...`` if they are exact, ``counts/...`` if they are paid for."""

    kind: Literal["evaluate_reply/1"] = "evaluate_reply/1"
    study: str
    site: SiteId
    round_number: Annotated[int, Field(ge=0)]
    event: PrivacyEvent | None = None
    """What the noise of a paid evaluation costs; ``None``: the sums are exact."""
    head: LedgerHead | None = None
    """As in :class:`TrainReply`."""


class PrepareRequest(Document):
    """Count what paid preparation counts, once, before round 1. No arrays."""

    kind: Literal["prepare_request/1"] = "prepare_request/1"
    study: str
    site: SiteId
    witnessed: LedgerHead | None = None
    """As in :class:`TrainRequest`."""
    batch: KeyBatch | None = None
    """As in :class:`TrainRequest`."""


class PrepareReply(Document):
    """The site's noisy counts. Arrays: ``counts``."""

    kind: Literal["prepare_reply/1"] = "prepare_reply/1"
    study: str
    site: SiteId
    event: PrivacyEvent | None = None
    """What the noise costs. Preparation is always paid for; ``None`` is refused."""
    head: LedgerHead | None = None
    """As in :class:`TrainReply`."""


class StatisticsRequest(Document):
    """One step of an exact statistic. Array: ``payload``, the step as JSON; its hash is bound into the masks."""

    kind: Literal["statistics_request/1"] = "statistics_request/1"
    study: str
    site: SiteId
    number: Annotated[int, Field(ge=1, lt=2**31)]
    """Of the sum, over all analyses of the study."""
    batch: KeyBatch
    """Keys under which the answer is masked: there is no other way to ask."""


class StatisticsReply(Document):
    """The site's part of a sum. Array: ``payload``, masked."""

    kind: Literal["statistics_reply/1"] = "statistics_reply/1"
    study: str
    site: SiteId
    number: Annotated[int, Field(ge=1, lt=2**31)]


class SecureSumRequest(Document):
    """One step of a secure sum beside the contributions themselves. Array: ``payload``, but for the first step."""

    kind: Literal[
        "key_agreement_request/1",
        "shares_request/1",
        "parcels_request/1",
        "consistency_request/1",
        "unmask_request/1",
    ]
    study: str
    site: SiteId
    batch: KeyBatch
    round_number: Annotated[int, Field(ge=0)] | None = None
    """Of the two steps that end a round."""


class SecureSumReply(Document):
    """The answer to a :class:`SecureSumRequest`. Array: ``payload``, possibly empty."""

    kind: Literal["secure_sum_reply/1"] = "secure_sum_reply/1"
    study: str
    site: SiteId


class Refusal(Document):
    """The site declines, with a reason code and nothing else: exception text never crosses the wire."""

    kind: Literal["refusal/1"] = "refusal/1"
    study: str
    site: SiteId
    reason: Annotated[str, Field(pattern=r"^[A-Za-z_]{1,64}$")]
    """Class name of the error."""


Request = TrainRequest | EvaluateRequest | PrepareRequest
Reply = TrainReply | EvaluateReply | PrepareReply
Header = Annotated[
    TrainRequest
    | TrainReply
    | EvaluateRequest
    | EvaluateReply
    | PrepareRequest
    | PrepareReply
    | StatisticsRequest
    | StatisticsReply
    | SecureSumRequest
    | SecureSumReply
    | Refusal,
    Field(discriminator="kind"),
]
_HEADERS: TypeAdapter[Header] = TypeAdapter(Header)


@dataclass(frozen=True)
class Envelope:
    """A header and its arrays."""

    header: Header
    arrays: Arrays = field(default_factory=dict, repr=False)

    def to_bytes(self) -> bytes:
        """Canonical bytes: the same message gives the same bytes."""
        metadata = {_HEADER: self.header.model_dump_json()}
        return save({name: np.ascontiguousarray(array) for name, array in self.arrays.items()}, metadata)

    def without_witness(self) -> Envelope:
        """A request without witness and keys: what repeated requests for one release have in common."""
        if not isinstance(self.header, Request):
            return self
        return Envelope(self.header.model_copy(update={"witnessed": None, "batch": None}), self.arrays)

    def with_payload(self, payload: bytes | bytearray) -> Envelope:
        """A reply whose arrays are replaced by bytes of a secure sum."""
        return Envelope(self.header, {PAYLOAD: np.frombuffer(payload, dtype=np.uint8)})

    def payload(self) -> bytes:
        """The bytes of a secure sum.

        Raises:
            TransportError: If there are none, or another array beside them.
        """
        if set(self.arrays) != {PAYLOAD}:
            raise TransportError(f"expected the array {PAYLOAD!r} and no other, got {sorted(self.arrays)}")
        return self.arrays[PAYLOAD].tobytes()

    def content_hash(self) -> bytes:
        """SHA-256 over all arrays: what a site received, whatever the header says of whom it is for."""
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{len(name)}:{name}:{array.dtype.str}:{array.size};".encode())
            digest.update(array.tobytes())
        return digest.digest()

    def with_head(self, head: LedgerHead) -> Envelope:
        """A reply with the head of the site's ledger.

        Raises:
            TransportError: If it is not a reply that carries one.
        """
        if not isinstance(self.header, Reply):
            raise TransportError(f"expected a reply that carries a ledger's head, got {self.header.kind}")
        return Envelope(self.header.model_copy(update={"head": head}), self.arrays)

    def array(self, name: str) -> NDArray[np.float64]:
        """The array of that name as float64.

        Raises:
            TransportError: If it is absent or not finite.
        """
        if name not in self.arrays or name == PAYLOAD:
            raise TransportError(f"expected array {name!r} in a {self.header.kind} message, got {sorted(self.arrays)}")
        array = np.asarray(self.arrays[name], dtype=np.float64)
        if not np.isfinite(array).all():
            raise TransportError(f"expected finite numbers in array {name!r} of a {self.header.kind} message")
        return array

    def named(self, prefix: str) -> dict[str, NDArray[np.float64]]:
        """Arrays whose name starts with ``prefix/``, without the prefix."""
        return {
            name.removeprefix(prefix + "/"): self.array(name) for name in self.arrays if name.startswith(prefix + "/")
        }


def read_envelope(content: bytes, *, maximum_bytes: int = MAXIMUM_BYTES) -> Envelope:
    """Read a message.

    Args:
        content: What arrived.
        maximum_bytes: Longer messages are refused unread.

    Raises:
        TransportError: If the message is too long, malformed, of unknown kind, or holds an array that is not a float vector.
    """
    if len(content) > maximum_bytes:
        raise TransportError(f"expected a message of at most {maximum_bytes} bytes, got {len(content)}")
    try:
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        preamble = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        header = _HEADERS.validate_json(preamble["__metadata__"][_HEADER])
        arrays = load(content)
    except (
        SafetensorError,
        ValidationError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
        AttributeError,
    ) as failure:
        raise TransportError("expected a Cohortium message, got bytes that do not parse") from failure
    for name, array in arrays.items():
        is_payload = name == PAYLOAD and array.dtype == np.uint8
        if not (array.dtype.name in _DTYPES or is_payload) or array.ndim != 1:
            raise TransportError(
                f"expected float vectors in a message, got {array.dtype}{list(array.shape)} as {name!r}"
            )
    return Envelope(header=header, arrays=arrays)

"""Where every release of a site passes: charged, computed, checked, kept, recorded, and only then handed over.

::

    reserve (ledger, durable) -> compute -> gate -> keep the reply -> computed (ledger) -> keep the head -> sent (ledger)

A crash between any two leaves a state from which the same request leads to the same release: before the reply is kept,
nothing has left and it is computed again under the same reservation; afterwards only the kept bytes may leave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from federation.errors import InternalError, LedgerDamagedError
from federation.privacy.events import PrivacyEvent
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.messages import Envelope, read_envelope
from site_client.ledger.ledger import Ledger
from site_client.running_time import RunningTime
from site_client.site_folder import SiteFolder


@dataclass(frozen=True)
class ReleaseDesk:
    """Releases of one study at one site.

    Args:
        folder: Where replies are kept.
        ledger: Of the patient population; ``None`` in a study without privacy.
        study: Digest of the manifest.
        time: How long a computation may take; ``None``: as long as it likes, as in a simulation.
    """

    folder: SiteFolder
    ledger: Ledger | None
    study: str
    time: RunningTime | None = None

    def witness(self, head: LedgerHead | None) -> None:
        """Show the ledger what others witnessed of it.

        Raises:
            LedgerLockedError: If the ledger does not contain it: it was restored or copied, and is locked now.
            PrivacyRefusedError: If the head is not this ledger's.
        """
        if head is not None and self.ledger is not None:
            self.ledger.witness(head)

    def release(
        self,
        name: str,
        request: Envelope,
        *,
        events: Sequence[PrivacyEvent],
        compute: Callable[[], Envelope],
        check: Callable[[Envelope], None],
    ) -> bytes:
        """Answer a request with a release; the same request gets the same bytes, and is computed and charged once.

        Args:
            name: Of the release, unique within the study, such as ``train/7``.
            request: What was asked.
            events: What the mechanisms are going to do; empty in a study without privacy, and only there.
            compute: Draws the noise and makes the reply, without head.
            check: The release gate; raises if the reply must not leave.

        Raises:
            BudgetExhaustedError: If the release would pass the population's cap. Nothing is computed then.
            CheckpointError: If the release was made for a different request.
            LedgerDamagedError: If what was recorded as computed is not what is kept.
            PolicyRefusedError: If it took longer than the site allows. It is not kept; a repeated request computes it again.
        """
        identity = hashlib.sha256(request.without_witness().to_bytes()).hexdigest()
        kept = self.folder.kept_reply(name, identity)
        if self.ledger is None:
            if events:
                raise InternalError(f"expected a ledger to charge {name} to, got none")
            return kept if kept is not None else self._computed(name, identity, compute, check)
        reservation = self.ledger.reserve(study=self.study, release=name, request=identity, events=events)
        if reservation.released is None:
            reply = kept if kept is not None else self._computed(name, identity, compute, check)
            reservation = self.ledger.computed(reservation, hashlib.sha256(reply).hexdigest())
        elif kept is None or hashlib.sha256(kept).hexdigest() != reservation.released:
            raise LedgerDamagedError(
                f"expected the kept reply of {name} to be what the ledger recorded, got "
                + ("none" if kept is None else "other bytes"),
                remedy="restore the study's folder as it was; a second computation would be a second release",
            )
        else:
            reply = kept
        head = self.folder.kept_head(name)
        if head is None:
            head = self.ledger.head()
            self.folder.keep_head(name, head)
        self.ledger.sent(reservation)
        return read_envelope(reply).with_head(head).to_bytes()

    def _computed(
        self, name: str, identity: str, compute: Callable[[], Envelope], check: Callable[[Envelope], None]
    ) -> bytes:
        reply = compute() if self.time is None else self.time.bounded(compute)
        check(reply)
        content = reply.to_bytes()
        self.folder.keep_reply(name, identity, content)
        return content

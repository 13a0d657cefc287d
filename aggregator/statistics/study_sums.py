"""Sums of a launched study's exact statistics: its secure sums, under numbers that no restart uses twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from aggregator.secure_sums import SecureSums
from aggregator.statistics.links import Summed
from aggregator.sum_requests import OpenedSum, SumRequest
from federation import errors
from federation.durable_files import write_durably
from federation.errors import CheckpointError, QuorumError, StudyError, TransportError
from federation.protocol.messages import Envelope, StatisticsReply, StatisticsRequest
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.terms import KeyBatch
from federation.statistics.requests import StepRequest
from federation.study.manifest import StudyManifest
from federation.study.secure_sums import STATISTICS

_FILE: Final = "statistics.number"
_FOR_GOOD: Final = (errors.PrivacyRefusedError, errors.RecordsError, errors.InvalidInputError, errors.ManifestError)


@dataclass
class StudySums:
    """See :class:`~aggregator.statistics.links.Sums`.

    Args:
        study: With statistics.
        sums: Its secure sums.
        folder: Where the last number is kept.
    """

    study: StudyManifest
    sums: SecureSums = field(repr=False)
    folder: Path

    @property
    def last_number(self) -> int:
        """Of the last sum that was begun; 0 before the first.

        Raises:
            CheckpointError: If the file holds something else.
        """
        path = self.folder / _FILE
        if not path.is_file():
            return 0
        text = path.read_text(encoding="ascii", errors="replace")
        if not text.isascii() or not text.isdigit():
            raise CheckpointError(f"expected a number in {path}, got other bytes", remedy="restore the file")
        return int(text)

    def sum(self, request: StepRequest, sites: Sequence[str]) -> Summed:
        """One sum over the sites that answer.

        Raises:
            QuorumError: If too few do.
            StudyError: If the study allows no more sums, or sites refuse for good.
        """
        spec = self.study.statistics
        most = 0 if spec is None else spec.most_sums
        if request.number > most:
            raise StudyError(
                f"expected at most the {most} sums of the manifest, got number {request.number}: sites answer no more",
                remedy="make a version of the study with a larger statistics.most_sums",
            )
        bound = self.sums.first_asked(STATISTICS) if spec is not None and spec.drop_outs == "wait" else None
        asked = [site for site in sites if bound is None or site in bound]
        write_durably(self.folder / _FILE, str(request.number).encode())
        opened = self._opened(request, asked)
        total = request.step.opened(opened.total.statistics.view(np.int64))
        reasons = dict.fromkeys(set(sites) - set(asked), "not_in_the_first_sum") | dict(opened.dropouts)
        lost = {site: reasons.get(site, "no_answer") for site in sites if site not in opened.survivors}
        return Summed(total=total, sites=opened.survivors, lost=lost)

    def _opened(self, request: StepRequest, sites: Sequence[str]) -> OpenedSum:
        """The sum; where sites refuse it for good, an error that no other attempt mends."""
        try:
            return self.sums.sum(self._sum_request(request, sites))
        except QuorumError as failure:
            lost = failure.facts.get("lost")
            refused = {site: why for site, why in lost.items() if _is_for_good(why)} if isinstance(lost, dict) else {}
            if not refused:
                raise
            said = ", ".join(f"{site}: {why}" for site, why in sorted(refused.items()))
            raise StudyError(
                f"expected answers of enough sites, got refusals that will not change ({said})",
                remedy="the sites' own logs say why; propose a version of the study that they can answer",
            ) from failure

    def _sum_request(self, request: StepRequest, sites: Sequence[str]) -> SumRequest:
        study, number, payload = self.study.digest, request.number, request.model_dump_json().encode()

        def envelope(site: str, batch: KeyBatch) -> Envelope:
            return Envelope(StatisticsRequest(study=study, site=site, number=number, batch=batch)).with_payload(payload)

        def accept(site: str, reply: Envelope) -> None:
            header = reply.header
            if not isinstance(header, StatisticsReply) or header.number != number:
                raise TransportError(f"expected masked statistics of sum {number} from {site}, got {header.kind}")

        example = KeyBatch(purpose=STATISTICS, first_round=number, rounds=1)  # only the payload is bound into the masks
        return SumRequest(
            purpose=STATISTICS,
            round_number=number,
            layout=Layout(updates=0, statistics=request.step.num_words),
            content=envelope(self.study.roster[0].site, example),
            envelope_for=envelope,
            accept=accept,
            sites=frozenset(sites),
        )


def _is_for_good(reason: str) -> bool:
    """Whether a site's reason is about its records or its patients, and not about messages."""
    found = getattr(errors, reason, None)
    return isinstance(found, type) and issubclass(found, _FOR_GOOD)

"""A site's answers to the statistics of a launched study: only agreed steps, only masked, and so many at most."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from federation.errors import InternalError, PrivacyRefusedError, TransportError
from federation.protocol.messages import Envelope, StatisticsReply, StatisticsRequest
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.messages import RECEIPT_BYTES
from federation.statistics.private_step import PrivateStep
from federation.statistics.requests import StepRequest
from federation.study.manifest import StudyManifest
from federation.study.secure_sums import STATISTICS
from federation.study.statistics_spec import StatisticsSpec
from site_client.records_file import RecordsAt, read_records
from site_client.secure_participant import SecureParticipant
from site_client.statistics.earlier_selections import EarlierSelections
from site_client.statistics.private_answers import PrivateAnswers
from site_client.statistics.site import StatisticsSite

_LARGEST_STEP = 2**24


@dataclass(frozen=True)
class StudyStatistics:
    """The record side of a study's statistics.

    Args:
        manifest: What was agreed.
        participant: Masks what leaves.
        records: The site's, with its memory of earlier selections over all its studies.
        private: Where answers with noise are charged and kept.
    """

    manifest: StudyManifest
    participant: SecureParticipant | None
    records: RecordsAt | None
    private: PrivateAnswers

    def answer(self, header: StatisticsRequest, envelope: Envelope) -> bytes:
        """Answer one step.

        Args:
            header: Of the request; study and site are checked.
            envelope: The request.

        Returns:
            Bytes of the masked reply.

        Raises:
            PrivacyRefusedError: If the study agreed on no such step, or the selection is nearly an earlier one.
            TransportError: If the request cannot be read, is under other keys, or says another number than its step.
            RecordsError: If the records do not allow the step.
            SecureSumRefusedError: If the site cannot or must not mask under these keys.
        """
        spec = self.manifest.statistics
        if spec is None:
            raise PrivacyRefusedError("expected no statistics: the manifest agrees on none")
        payload = envelope.payload()
        if len(payload) > _LARGEST_STEP:
            raise TransportError(f"expected a step of at most {_LARGEST_STEP} bytes, got {len(payload)}")
        request = StepRequest.from_json(payload, error=TransportError)
        if request.number != header.number or header.batch.purpose != STATISTICS:
            raise TransportError("expected one number in request and step, and keys for statistics, got others")
        self._check_agreed(spec, request)
        # What is bound into the masks is the request as it came: sites that were asked different things open nothing.
        masked = self._site.masked_answer(request, header.batch, bound=envelope.content_hash())
        self._check_length(masked, request)
        reply = StatisticsReply(study=self.manifest.digest, site=self._site.site, number=header.number)
        return Envelope(reply).with_payload(masked).to_bytes()

    def _check_agreed(self, spec: StatisticsSpec, request: StepRequest) -> None:
        if request.number > spec.most_sums:
            raise PrivacyRefusedError(
                f"expected at most the {spec.most_sums} sums of the manifest, got number {request.number}",
                remedy="make a version of the study that allows more",
                reason="too_many_sums",
            )
        if not spec.allows(request, self.manifest.contract):
            raise PrivacyRefusedError(
                "expected a step and a selection of an analysis that the manifest names, got others",
                remedy="propose a version of the study with that analysis",
                reason="not_agreed",
            )
        if isinstance(request.step, PrivateStep) and self.private.charges is None:
            raise InternalError("expected a ledger to charge noisy statistics to, got none")

    def _check_length(self, masked: bytes, request: StepRequest) -> None:
        """The gate's last look: masked words of the step's length, and nothing beside them."""
        layout = Layout(updates=0, statistics=request.step.num_words)
        if len(masked) != layout.payload_bytes + RECEIPT_BYTES:
            raise InternalError("expected masked numbers of the step's length, got another")

    @cached_property
    def _site(self) -> StatisticsSite:
        spec, manifest = self.manifest.statistics, self.manifest
        if spec is None or self.participant is None or self.records is None:
            raise InternalError("expected records, keys and a memory of answers in a study with statistics")
        sites = tuple(entry.site for entry in manifest.roster)
        return StatisticsSite(
            records=read_records(self.records.file),
            terms=spec.terms(manifest.contract, manifest.cohort, sites),
            earlier=EarlierSelections(folder=self.records.answers, threshold=spec.threshold, key=self.participant.site),
            participant=self.participant,
            private=self.private,
        )

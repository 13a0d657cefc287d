"""A site answers the steps of analyses: one vector of sums each, about a selection that tells nothing new about few patients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from federation.errors import PrivacyRefusedError, RecordsError, TransportError
from federation.protocol.messages import SecureSumRequest
from federation.protocol.secure_sum.contributing import Numbers
from federation.protocol.secure_sum.terms import KeyBatch
from federation.statistics import wide_sums
from federation.statistics.private_step import PrivateStep
from federation.statistics.requests import Selection, StatisticsTerms, StepRequest
from federation.statistics.step import Columns
from federation.statistics.wide_sums import Words
from site_client.genotypes.aligned import SiteGenotypes
from site_client.patients import Records
from site_client.secure_participant import SecureParticipant
from site_client.statistics.columns import as_columns, selected_records
from site_client.statistics.earlier_selections import EarlierSelections
from site_client.statistics.private_answers import PrivateAnswers

PURPOSE: Final = "statistics"
"""Keys of these sums are for nothing else."""


@dataclass
class StatisticsSite:
    """The record side of one site in a study's analyses.

    Args:
        records: All of the site.
        terms: What the study's analyses fix in advance.
        earlier: The memory of what was answered.
        genotypes: Of the site's patients, if the study has any.
        participant: Of secure sums; ``None``: answers are open, which only public and generated records allow.
        private: Answers with noise, each given once.
    """

    records: Records = field(repr=False)
    terms: StatisticsTerms
    earlier: EarlierSelections
    participant: SecureParticipant | None = field(default=None, repr=False)
    genotypes: SiteGenotypes | None = field(default=None, repr=False)
    private: PrivateAnswers = field(default_factory=PrivateAnswers, repr=False)
    _known: tuple[Selection, bool, Columns] | None = field(default=None, init=False, repr=False)

    @property
    def site(self) -> str:
        """Its name."""
        return self.records.site

    def open_answer(self, request: StepRequest) -> Words:
        """The site's part of a sum, for everybody to see.

        Raises:
            PrivacyRefusedError: If the records are of patients, or the selection is refused.
            RecordsError: If the records do not allow the step.
            TransportError: If the request is of other terms.
        """
        if self.terms.cohort.provenance == "patients":
            raise PrivacyRefusedError(
                "expected secure sums for records of patients, got a request for numbers in the open",
                remedy="use aggregation=masked",
                reason="open_sum",
            )
        return self._words(request)

    def masked_answer(self, request: StepRequest, batch: KeyBatch, *, bound: bytes | None = None) -> bytes:
        """The site's part of a sum, masked under keys that the sites agreed on.

        Args:
            request: Its hash is bound into the masks.
            batch: Of keys, for :data:`PURPOSE`.
            bound: A hash to bind instead, of the message that carried the request.

        Raises:
            As :meth:`open_answer`; SecureSumRefusedError: If the site holds no such keys or answered this number before.
        """
        if self.participant is None or batch.purpose != PURPOSE:
            raise TransportError("expected keys for statistics and a site with an identity, got others")
        numbers = Numbers(statistics=wide_sums.source(self._words(request), sites=len(self.terms.sites)))
        return self.participant.contribution(
            batch, round_number=request.number, model_hash=bound or request.content_hash(), numbers=numbers
        )

    def secure_step(self, header: SecureSumRequest, payload: bytes) -> bytes:
        """A step of the protocol beside the contributions: keys, shares, signatures.

        Raises:
            SecureSumRefusedError: If it asks for more than the sum.
            TransportError: If the site has no identity.
        """
        if self.participant is None:
            raise TransportError("expected a site with an identity for secure sums, got one without")
        return self.participant.answer(header, payload)

    def _words(self, request: StepRequest) -> Words:
        if request.terms != self.terms.digest:
            raise TransportError("expected a request under this study's terms, got one of others")
        if isinstance(request.step, PrivateStep):
            return self._noisy_words(request, request.step)
        try:
            return request.step.words(self._columns(request.selection))
        except RecordsError as failure:
            if failure.site:
                raise
            raise type(failure)(
                failure.message.partition(f"variable {failure.variable}: ")[2] or failure.message,
                site=self.site,
                variable=failure.variable,
                remedy=failure.remedy,
            ) from failure

    def _noisy_words(self, request: StepRequest, step: PrivateStep) -> Words:
        """The noise is the guard: comparing the selection with earlier ones would tell of patients, so it is not."""
        if self.terms.records_per_patient != 1:
            raise PrivacyRefusedError(
                "expected one record of each patient in sums with privacy, got terms that take several",
                remedy="take such analyses without privacy",
                reason="several_records",
            )
        return self.private.words(request, step, lambda: self._columns(request.selection, is_private=True))

    def _columns(self, selection: Selection, *, is_private: bool = False) -> Columns:
        """Of the latest selection, which all steps of an analysis share."""
        if self._known is None or self._known[:2] != (selection, is_private):
            chosen = selected_records(self.records, terms=self.terms, selection=selection, is_private=is_private)
            if not is_private:
                self.earlier.admit(chosen, terms=self.terms)
            columns = as_columns(chosen, terms=self.terms, selection=selection)
            if self.genotypes is not None:
                columns = replace(columns, genotypes=self.genotypes.of(chosen.patient_keys))
            self._known = (selection, is_private, columns)
        return self._known[2]

"""What a study fixes in advance, as fields, and what follows from them: mechanisms, rounds and what they cost a patient."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, cast

from pydantic import Field

from federation.algorithms.spec import AlgorithmSpec
from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.data.preparation import PreparationSpec
from federation.documents import Document
from federation.errors import ManifestError
from federation.identifiers import StudyId, TaskKind
from federation.models.spec import ModelSpec
from federation.models.task_terms import Objective, TaskTerms
from federation.privacy.accounting import NOTHING, Cost, add, cost_of
from federation.privacy.distributed import NoiseShare
from federation.privacy.events import DiscreteGaussian, PrivacyEvent, SubsampledGaussian
from federation.privacy.promise import MechanismSpec, PatientLevelPrivacy, PrivacySpec, SiteLevelPrivacy
from federation.privacy.site_level import site_round_event
from federation.study.agreements import AggregationSpec, EvaluationSpec, RosterSite
from federation.study.schedule import Schedule


class StudyTerms(Document):
    """The fields of a study manifest, and what they mean together: rounds, mechanisms and costs.

    Read manifests as :class:`federation.study.manifest.StudyManifest`, which also checks that the fields fit together.
    """

    format: Literal["cohortium/study-manifest/1"] = "cohortium/study-manifest/1"
    study: StudyId
    version: Annotated[int, Field(ge=1)] = 1
    title: Annotated[str, Field(min_length=1)]
    question: Annotated[str, Field(min_length=1)]
    data_licence: str = ""
    legal_basis: str = ""
    expires: dt.date | None = None
    contract: DataContract
    cohort: CohortDefinition
    preprocessing: Literal["public_ranges", "site_standardised"] = "public_ranges"
    """``site_standardised`` uses each site's own mean and spread: an unpaid release, so it is refused in a private study."""
    preparation: PreparationSpec | None = None
    """Quantiles, means and vocabularies that a private study pays for, once, before round 1; ``None``: public ranges alone."""
    task: TaskKind
    task_terms: Annotated[TaskTerms | None, Field(exclude_if=lambda terms: terms is None)] = None
    """Levels of quantiles, intervals and method of survival; ``None`` for tasks that need none. Without it the field is not in the
    canonical bytes."""
    model: ModelSpec
    schedule: Schedule
    algorithm: AlgorithmSpec
    privacy: PrivacySpec
    aggregation: AggregationSpec = AggregationSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    roster: Annotated[tuple[RosterSite, ...], Field(min_length=1)]
    initial_seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    """Public seed of the initial parameters. Nothing else depends on it."""
    software: dict[str, str] = {}
    """Versions the study was composed with."""

    @property
    def objective(self) -> Objective:
        """What is learned, with everything a loss needs to know.

        Raises:
            ManifestError: If the task needs terms and has none; a manifest that was read has them.
        """
        if self.task in {"quantile", "survival"}:
            if self.task_terms is None:
                raise ManifestError(f"task_terms: expected terms for task {self.task!r}, got none")
            return self.task_terms
        return cast("Objective", self.task)

    def evaluation_rounds(self) -> tuple[int, ...]:
        """Rounds after which the study evaluates; empty if it releases nothing about performance."""
        if self.evaluation.release == "none":
            return ()
        schedule = self.schedule
        due = set(range(schedule.evaluate_every, schedule.rounds + 1, schedule.evaluate_every)) | {schedule.rounds}
        return tuple(sorted(due))

    def evaluation_event(self) -> DiscreteGaussian | None:
        """What one paid evaluation does; ``None`` if evaluation is not paid for, or not released."""
        noise = self.evaluation.noise
        if noise is None or self.evaluation.release == "none":
            return None
        return DiscreteGaussian(sensitivity_squared=noise.sensitivity_squared, variance=noise.variance)

    def training_event(self) -> SubsampledGaussian | None:
        """What one round of training does; ``None`` without privacy."""
        if not isinstance(self.privacy, PatientLevelPrivacy):
            return None
        return SubsampledGaussian(
            noise_multiplier=self.privacy.noise_multiplier,
            sampling_numerator=self.privacy.sampling_numerator,
            steps=self.schedule.local_steps,
        )

    def preparation_event(self) -> DiscreteGaussian | None:
        """What paid preparation does, once; ``None`` without.

        Raises:
            ManifestError: If its variables do not fit the contract.
        """
        return None if self.preparation is None else self.preparation.event(self.contract)

    def cost_beside_training(self, evaluations: int) -> Cost:
        """What preparation and some paid evaluations cost a patient of one site, charge by charge."""
        preparation, evaluation = self.preparation_event(), self.evaluation_event()
        cost = NOTHING if preparation is None else add(NOTHING, cost_of(preparation), times=1)
        return cost if evaluation is None else add(cost, cost_of(evaluation), times=evaluations)

    def privacy_cost(self) -> Cost:
        """What the whole study costs a patient of one site: preparation, training and paid evaluations."""
        training, cost = self.training_event(), self.cost_beside_training(len(self.evaluation_rounds()))
        return cost if training is None else add(cost, cost_of(training), times=self.schedule.rounds)

    def privacy_events(self) -> tuple[PrivacyEvent, ...]:
        """Everything the study releases about the patients of one site: preparation, every round, every evaluation."""
        times = (
            (self.preparation_event(), 1),
            (self.training_event(), self.schedule.rounds),
            (self.evaluation_event(), len(self.evaluation_rounds())),
        )
        return tuple(event for event, number in times if event is not None for _ in range(number))

    def entry(self, site: str) -> RosterSite:
        """The roster's entry of a site.

        Raises:
            ManifestError: If the roster has none.
        """
        for entry in self.roster:
            if entry.site == site:
                return entry
        raise ManifestError(
            f"expected a site of the roster, got {site!r}",
            remedy=f"use one of {[entry.site for entry in self.roster]}",
        )

    def mechanism(self, site: str) -> MechanismSpec:
        """The site's mechanism: what sampler, clipping, noise, divisor and accountant all read.

        Raises:
            ManifestError: If the study is not private or the site is not in the roster.
        """
        if not isinstance(self.privacy, PatientLevelPrivacy):
            raise ManifestError(f"expected a private study, got privacy {self.privacy.kind!r}")
        return MechanismSpec(
            clipping_norm=self.privacy.clipping_norm,
            noise_multiplier=self.privacy.noise_multiplier,
            sampling_numerator=self.privacy.sampling_numerator,
            steps_per_round=self.schedule.local_steps,
            rounds=self.schedule.rounds,
            divisor=self.privacy.sampling_probability * self.entry(site).training_patients,
        )

    def noise_share(self) -> NoiseShare | None:
        """One site's part of the noise of distributed privacy; ``None`` in any other study.

        A site knows its own share, so towards that site it hides nothing: the shares of all *other* survivors, at least one less
        than a sum needs, make up the promised noise.

        Raises:
            InvalidInputError: If the noise cannot be shared.
        """
        privacy, masked = self.privacy, self.aggregation.masked
        if not isinstance(privacy, PatientLevelPrivacy) or privacy.noise != "distributed" or masked is None:
            return None
        least = max(masked.threshold_of(len(self.roster)), self.aggregation.quorum)
        return NoiseShare.of(privacy.noise_multiplier, shares=least - 1)

    def site_cost(self) -> Cost:
        """What the whole study costs a site under site-level privacy; nothing otherwise."""
        if not isinstance(self.privacy, SiteLevelPrivacy):
            return NOTHING
        return add(NOTHING, cost_of(site_round_event(self.privacy)), times=self.schedule.rounds)

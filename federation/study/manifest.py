"""The study manifest: everything the sites agree on, in one frozen document with a digest.

Everything in it is public. A site computes nothing that its manifest does not name; a change is a new version.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from federation.algorithms.spec import AlgorithmSpec, ScaffoldSpec
from federation.data.cohort import CohortDefinition
from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    Integer,
    Ordinal,
)
from federation.documents import Document, Json
from federation.errors import ManifestError, TamperedManifestError
from federation.identifiers import StudyId, TaskKind
from federation.models.spec import LinearSpec, ModelSpec
from federation.privacy.accounting import NOTHING, Cost, add, cost_of, epsilon_of_cost
from federation.privacy.events import DiscreteGaussian, PrivacyEvent, SubsampledGaussian
from federation.privacy.promise import MechanismSpec, PatientLevelPrivacy, PrivacySpec
from federation.study.agreements import AggregationSpec, EvaluationSpec, RosterSite
from federation.study.schedule import Schedule


class StudyManifest(Document):
    """Everything agreed: question, cohort, contract, task, model, schedule, privacy, aggregation, outputs and roster."""

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
    task: TaskKind
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

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        self._check_roster()
        self._check_outcome()
        self._check_privacy()
        self._check_evaluation()
        if isinstance(self.algorithm, ScaffoldSpec) and (
            self.schedule.optimiser.kind != "sgd" or self.schedule.optimiser.momentum
        ):
            message = "algorithm scaffold: expected plain SGD at the sites (its control variates assume it), got " + (
                self.schedule.optimiser.kind if self.schedule.optimiser.kind != "sgd" else "momentum"
            )
            raise ValueError(message)
        return self

    def _check_roster(self) -> None:
        names = [entry.site for entry in self.roster]
        if len(set(names)) != len(names):
            message = f"roster: expected every site once, got {names}"
            raise ValueError(message)
        if self.aggregation.quorum > len(names):
            message = f"aggregation.quorum: expected at most the {len(names)} sites of the roster, got {self.aggregation.quorum}"
            raise ValueError(message)

    def _check_outcome(self) -> None:
        outcome = self.contract.outcome
        fits = {
            "binary": isinstance(outcome, Binary),
            "multiclass": isinstance(outcome, Categorical | Ordinal),
            "regression": isinstance(outcome, Continuous | Integer),
        }[self.task]
        if not fits:
            message = f"task: expected an outcome that fits {self.task!r}, got {outcome.name} of kind {outcome.kind!r}"
            raise ValueError(message)

    def _check_privacy(self) -> None:
        if not isinstance(self.privacy, PatientLevelPrivacy):
            return
        if self.preprocessing != "public_ranges":
            message = (
                "preprocessing: expected 'public_ranges' in a private study, got 'site_standardised' "
                "(a fitted mean is an unpaid release)"
            )
            raise ValueError(message)
        model = self.model
        if not isinstance(model, LinearSpec) and model.normalisation == "batch":
            message = "model.normalisation: expected a kind that keeps patients apart in a private study, got 'batch'"
            raise ValueError(message)
        epsilon = epsilon_of_cost(self.privacy_cost(), delta=self.privacy.delta)
        if epsilon > self.privacy.epsilon:
            message = (
                f"privacy.noise_multiplier: expected noise that keeps epsilon {self.privacy.epsilon} over "
                f"{self.schedule.rounds} rounds and {len(self.evaluation_rounds())} paid evaluations, got "
                f"{self.privacy.noise_multiplier}, which gives {epsilon:.4g}"
            )
            raise ValueError(message)
        if self.cohort.provenance == "patients" and self.evaluation.release != "none" and self.evaluation.noise is None:
            message = (
                "evaluation.release: expected 'none' or paid evaluation (evaluation.noise) in a private study of real "
                f"patients, got {self.evaluation.release!r} without noise"
            )
            raise ValueError(message)

    def _check_evaluation(self) -> None:
        noise = self.evaluation.noise
        if noise is None:
            return
        if not isinstance(self.privacy, PatientLevelPrivacy):
            message = f"evaluation.noise: expected none in a study without privacy, got variance {noise.variance}"
            raise ValueError(message)  # noqa: TRY004 - pydantic turns ValueError, and only that, into its own error
        with_levels = {
            variable.name
            for variable in self.contract.variables
            if isinstance(variable, Binary | Categorical | Ordinal)
        }
        unknown = [name for name in noise.subgroups if name not in with_levels]
        if unknown or len(set(noise.subgroups)) != len(noise.subgroups):
            message = (
                f"evaluation.noise.subgroups: expected variables of the contract that have levels, each once "
                f"({sorted(with_levels)}), got {list(noise.subgroups)}"
            )
            raise ValueError(message)

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

    def privacy_cost(self) -> Cost:
        """What the whole study costs a patient of one site: training and paid evaluations, charge by charge."""
        training, evaluation = self.training_event(), self.evaluation_event()
        cost = NOTHING if training is None else add(NOTHING, cost_of(training), times=self.schedule.rounds)
        return cost if evaluation is None else add(cost, cost_of(evaluation), times=len(self.evaluation_rounds()))

    def privacy_events(self) -> tuple[PrivacyEvent, ...]:
        """Everything the study releases about the patients of one site, one event for each round and evaluation."""
        training, evaluation = self.training_event(), self.evaluation_event()
        rounds = () if training is None else (training,) * self.schedule.rounds
        return rounds if evaluation is None else rounds + (evaluation,) * len(self.evaluation_rounds())

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

    def sealed(self) -> str:
        """The manifest and its digest, as the text of a manifest file."""
        return json.dumps({"digest": self.digest, "manifest": self.as_data()}, indent=2, ensure_ascii=False) + "\n"


def read_sealed(text: str | bytes) -> StudyManifest:
    """Read the text of a manifest file.

    Raises:
        ManifestError: If the text is not JSON or the manifest is invalid.
        TamperedManifestError: If the digest does not match.
    """
    try:
        data: Json = json.loads(text)
    except (ValueError, UnicodeDecodeError) as failure:
        raise ManifestError(
            "expected a manifest file in JSON, got text that does not parse",
            remedy="write it with `cohortium study seal`, and copy it as a whole",
        ) from failure
    if not isinstance(data, dict) or set(data) != {"digest", "manifest"}:
        raise ManifestError(
            "expected the keys 'digest' and 'manifest' in a manifest file, got "
            + (str(sorted(data)) if isinstance(data, dict) else type(data).__name__),
            remedy="write it with `cohortium study seal`",
        )
    manifest = StudyManifest.from_data(data["manifest"])
    if data["digest"] != manifest.digest:
        raise TamperedManifestError(
            f"expected digest {manifest.digest}, got {data['digest']!r}",
            remedy="the manifest was changed after it was sealed: ask the study lead for the original, or seal a new version",
        )
    return manifest

"""The study manifest: everything the sites agree on, in one frozen document with a digest.

Everything in it is public. A site computes nothing that its manifest does not name; a change is a new version.
"""

from __future__ import annotations

import json
from typing import Annotated, Self

from pydantic import Field, model_validator

from federation.algorithms.spec import FedProxSpec, ScaffoldSpec
from federation.data.arrays import Image
from federation.data.contract import Binary, Categorical, Ordinal
from federation.documents import Json
from federation.errors import InvalidInputError, ManifestError, TamperedManifestError
from federation.models.spec import GruSpec, LinearSpec
from federation.privacy.accounting import epsilon_of_cost
from federation.privacy.promise import PatientLevelPrivacy, SiteLevelPrivacy
from federation.privacy.site_level import reason_against
from federation.protocol.secure_sum.layout import WORD_BITS
from federation.protocol.secure_sum.terms import SecureSumTerms
from federation.statistics.agreed_reports import reason_against_groups
from federation.study import statistics_spec
from federation.study.compression import CompressionSpec
from federation.study.robust_spec import CoordinateMedian, TrimmedMean
from federation.study.statistics_spec import StatisticsSpec
from federation.study.task_checks import reason_against_private_task, reason_against_task
from federation.study.terms import StudyTerms


class StudyManifest(StudyTerms):
    """Everything agreed: question, cohort, contract, task, model, schedule, privacy, aggregation, outputs and roster."""

    compression: Annotated[CompressionSpec | None, Field(exclude_if=lambda spec: spec is None)] = None
    """How visible updates are made smaller on their way; ``None``: they travel whole. Without it the field is not in the canonical
    bytes, so that a manifest has the digest that it had before there was compression."""

    statistics: Annotated[StatisticsSpec | None, Field(exclude_if=lambda spec: spec is None)] = None
    """Exact statistics that the study takes after its last round; ``None``: none, and the field is not in the canonical bytes."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        self._check_roster()
        self._check_outcome()
        self._check_preparation()
        self._check_privacy()
        self._check_site_level()
        self._check_evaluation()
        self._check_masked()
        self._check_distributed()
        self._check_compression()
        self._check_statistics()
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
        refused = self.aggregation.reason_against(self.roster, algorithm=self.algorithm, privacy=self.privacy)
        if refused is not None:
            message = f"aggregation: {refused}"
            raise ValueError(message)

    def _check_outcome(self) -> None:
        problem = reason_against_task(self.task, self.task_terms, self.contract.outcome)
        if problem is None and isinstance(self.privacy, PatientLevelPrivacy):
            problem = reason_against_private_task(
                self.task_terms, is_evaluated=self.evaluation.release != "none", task=self.task
            )
        if problem is not None:
            raise ValueError(problem)

    def _check_preparation(self) -> None:
        if self.contract.arrays and (self.preparation is not None or self.preprocessing != "public_ranges"):
            message = "preprocessing: expected public ranges and no paid preparation in a study of images or signals"
            raise ValueError(message)
        if self.schedule.augmentation.is_on and not any(isinstance(each, Image) for each in self.contract.variables):
            message = "schedule.augmentation: expected it on images only, got a contract without an image"
            raise ValueError(message)
        if self.preparation is None:
            return
        if not isinstance(self.privacy, PatientLevelPrivacy):
            message = f"preparation: expected privacy 'patient_level', which pays for it, got {self.privacy.kind!r}"
            raise ValueError(message)  # noqa: TRY004 - pydantic turns ValueError, and only that, into its own error
        try:
            self.preparation_event()
        except ManifestError as misfit:
            raise ValueError(misfit.message) from misfit

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
        if not isinstance(model, LinearSpec | GruSpec) and model.normalisation == "batch":
            message = "model.normalisation: expected a kind that keeps patients apart in a private study, got 'batch'"
            raise ValueError(message)
        epsilon = epsilon_of_cost(self.privacy_cost(), delta=self.privacy.delta)
        if epsilon > self.privacy.epsilon:
            message = (
                f"privacy.noise_multiplier: expected noise that keeps epsilon {self.privacy.epsilon} over "
                f"{self.schedule.rounds} rounds and everything else that is paid for, got "
                f"{self.privacy.noise_multiplier}, which gives {epsilon:.4g}"
            )
            raise ValueError(message)
        if self.evaluation.release != "none" and self.evaluation.noise is None:
            message = (
                "evaluation.release: expected 'none' or paid evaluation (evaluation.noise) in a private study, got "
                f"{self.evaluation.release!r} without noise"
            )
            raise ValueError(message)

    def _check_distributed(self) -> None:
        privacy = self.privacy
        if not isinstance(privacy, PatientLevelPrivacy) or privacy.noise != "distributed":
            return
        optimiser, refused = self.schedule.optimiser, None
        if self.aggregation.masked is None:
            refused = "secure aggregation (aggregation=masked), in which the shares of the noise add up"
        elif self.aggregation.masked.update_bits < WORD_BITS:
            refused = "aggregation.masked.update_bits 32: its sums are whole numbers of 64 bits, and none may be lost"
        elif self.schedule.local_steps != 1:
            refused = f"schedule.local_steps 1 (a round is one step over all patients), got {self.schedule.local_steps}"
        elif optimiser.kind != "sgd" or optimiser.momentum or optimiser.weight_decay:
            refused = (
                "plain SGD at the sites; momentum and adaptive steps are the aggregator's (algorithm=fedavgm, fedadam)"
            )
        elif isinstance(self.algorithm, FedProxSpec | ScaffoldSpec):
            refused = f"an algorithm without a local correction, got {self.algorithm.kind}"
        if refused is not None:
            message = f"privacy.noise: expected with 'distributed' noise {refused}"
            raise ValueError(message)
        try:
            self.noise_share()
        except InvalidInputError as misfit:
            message = f"privacy.noise_multiplier: {misfit.message}"
            raise ValueError(message) from misfit

    def _check_compression(self) -> None:
        spec, robust, refused = self.compression, self.aggregation.robust, None
        if spec is None:
            return
        if self.aggregation.masked is not None:
            refused = "updates that the aggregator sees, got secure aggregation, whose sums need every coordinate of every site"
        elif isinstance(self.algorithm, ScaffoldSpec):
            refused = (
                "an algorithm that sends nothing but its update, got scaffold: control variates would travel whole"
            )
        elif robust is not None and isinstance(robust.rule, TrimmedMean | CoordinateMedian) and spec.has_feedback:
            refused = (
                f"every coordinate of every update (no kept_fraction) for the rule {robust.rule.kind}, got a part of them: "
                "a coordinate that few sites send would count as zero"
            )
        if refused is not None:
            message = f"compression: expected {refused}"
            raise ValueError(message)

    def _check_statistics(self) -> None:
        if self.statistics is None:
            return
        refused = statistics_spec.reason_against(
            self.statistics,
            contract=self.contract,
            cohort=self.cohort,
            aggregation=self.aggregation,
            privacy=self.privacy,
            sites=len(self.roster),
        ) or reason_against_groups(
            self.statistics.analyses,
            tuple(entry.site for entry in self.roster),
            drop_outs=self.statistics.drop_outs,
        )
        if refused is not None:
            message = f"statistics: {refused}"
            raise ValueError(message)

    def _check_site_level(self) -> None:
        privacy = self.privacy
        if not isinstance(privacy, SiteLevelPrivacy):
            return
        refused = reason_against(len(self.roster), privacy)
        if refused is None and isinstance(self.algorithm, ScaffoldSpec):
            refused = "expected an algorithm that sends nothing but its update under site-level privacy, got scaffold"
        if refused is None and len({entry.weight for entry in self.roster}) > 1:
            refused = "expected equal weights of all sites under site-level privacy, got different ones"
        if refused is None and self.evaluation.release != "none":
            refused = "expected evaluation.release 'none' under site-level privacy: a site's sums are not paid for"
        epsilon = epsilon_of_cost(self.site_cost(), delta=privacy.delta)
        if refused is None and epsilon > privacy.epsilon:
            refused = (
                f"expected noise that keeps epsilon {privacy.epsilon} over {self.schedule.rounds} rounds, got noise "
                f"multiplier {privacy.noise_multiplier}, which gives {epsilon:.4g}"
            )
        if refused is not None:
            message = f"privacy: {refused}"
            raise ValueError(message)

    def _check_masked(self) -> None:
        if self.aggregation.masked is None:
            return
        if self.evaluation.release == "per_site":
            message = (
                "evaluation.release: expected 'sum' or 'none' under secure aggregation, got 'per_site': "
                "the aggregator sees no site's own figures"
            )
            raise ValueError(message)
        try:
            total = sum(int(entry.weight) for entry in self.roster)
            self.aggregation.masked.updates(total, sites=len(self.roster))
        except InvalidInputError as misfit:
            message = f"aggregation.masked: {misfit.message}"
            raise ValueError(message) from misfit

    def secure_sum_terms(self) -> SecureSumTerms:
        """The public terms of the study's secure sums.

        Raises:
            ManifestError: If the study has no secure aggregation.
        """
        masked = self.aggregation.masked
        if masked is None:
            raise ManifestError("expected a study with secure aggregation (aggregation.mode 'masked'), got one without")
        threshold = masked.threshold_of(len(self.roster))
        return SecureSumTerms.agreed(
            study=self.digest,
            public_keys={entry.site: str(entry.public_key) for entry in self.roster},
            threshold=threshold,
            minimum_survivors=max(threshold, self.aggregation.quorum),
        )

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

"""The settings of a simulation: exactly the tree that Hydra composes, as frozen, strictly validated values.

Settings choose; they never compute. What must agree between parties goes on from here into the
:class:`~federation.study.manifest.StudyManifest`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from experiments.audit_choice import AuditChoice
from experiments.ray_choice import RayEngine
from experiments.robust_choice import AggregationChoice
from experiments.wire_choice import CompressionChoice
from federation.algorithms.spec import AlgorithmSpec
from federation.data.cohort import Criterion
from federation.documents import Document
from federation.identifiers import VariableName
from federation.models.spec import ModelSpec
from federation.privacy.promise import NoPrivacy
from federation.study.schedule import OptimiserSpec, Schedule


class StudyChoice(Document):
    """A named study and its options."""

    name: str
    options: dict[str, Any] = {}


class CohortChoice(Document):
    """Changes to the named study's cohort definition; ``None`` keeps the study's own."""

    inclusion: tuple[Criterion, ...] | None = None
    exclusion: tuple[Criterion, ...] | None = None
    max_records_per_patient: Annotated[int, Field(ge=1)] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    split_key: str | None = None
    minimum_patients: Annotated[int, Field(ge=2)] | None = None


class PatientLevelChoice(Document):
    """Patient-level privacy by its target; the noise multiplier is calibrated when the manifest is made."""

    kind: Literal["patient_level"]
    epsilon: Annotated[float, Field(gt=0, le=1000)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    clipping_norm: Annotated[float, Field(gt=0)]
    sampling_probability: Annotated[float, Field(gt=0, le=1)]
    noise: Literal["local", "distributed"] = "local"
    """``distributed``: shares of the noise that add up inside a secure sum (``aggregation=masked``)."""


class SiteLevelChoice(Document):
    """Site-level privacy by its target; for studies of many sites only."""

    kind: Literal["site_level"]
    epsilon: Annotated[float, Field(gt=0, le=1000)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    clipping_norm: Annotated[float, Field(gt=0)]


class EvaluationChoice(Document):
    """What the study releases about performance: exact sums without privacy, noisy counts that are paid for with it."""

    release: Literal["none", "sum", "per_site"] = "per_site"
    score_bins: Annotated[int, Field(ge=10, le=10_000)] | None = None
    """``None``: 200 of exact sums, 20 of paid counts, where every bin has noise of its own."""
    every: Annotated[int, Field(ge=1)] | None = None
    """Rounds between evaluations; ``None``: the schedule's, but only after the last round where evaluation is paid for."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Paid only: all evaluations together cost at most this fraction of the study's epsilon."""
    max_records_per_patient: Annotated[int, Field(ge=1, le=1000)] = 1
    """Paid only: test records of one patient that count."""
    subgroups: tuple[VariableName, ...] = ()
    """Paid only: variables with levels, each of which gets tables of its own. They share the noise's budget."""


class PreparationChoice(Document):
    """Paid preprocessing of a private study: what is counted before round 1, and what it may cost."""

    enabled: bool = False
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Preparation alone costs at most this fraction of the study's epsilon."""
    quantiles_of: tuple[VariableName, ...] | None = None
    """Numbers whose public range is too wide; ``None``: all. Each makes the others noisier."""
    vocabulary_of: tuple[VariableName, ...] | None = ()
    """Categorical variables whose rare levels are merged; ``None``: all."""
    centre: Literal["median", "mean"] = "median"
    grid: Literal["geometric", "even"] = "geometric"
    levels: Annotated[int, Field(ge=1, le=16)] = 12
    limit: Annotated[float, Field(ge=1, le=1000)] = 4.0
    vocabulary_threshold: Annotated[int, Field(ge=1)] = 20


class InlineEngine(Document):
    """Real site sessions called in process, one after another."""

    kind: Literal["inline"]


class BatchedEngine(Document):
    """All sites of a round as one tensor program; `inline` where that does not cover a study."""

    kind: Literal["batched"]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    memory_mib: Annotated[int, Field(ge=16)] = 1024
    """What the tensors of the sites under way may take, beside the records and which of them a round draws: sites are computed in
    blocks. A single site, or two of small networks, is computed as a whole."""
    num_workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Processes that compute blocks of sites; ``None``: one for each core where the work is worth it, else none but this."""


class FlowerEngine(Document):
    """Real SuperLink, SuperNode and agent processes on the loopback interface."""

    kind: Literal["flower"]
    deadline_seconds: Annotated[float, Field(gt=0, le=1e6)] = 3600.0
    """A site that has not answered a request by then is left out of the round."""


class TrackingChoice(Document):
    """Where MLflow records go."""

    kind: Literal["sqlite", "server", "none"] = "sqlite"
    uri: str | None = None
    experiment: str = "cohortium"

    @model_validator(mode="before")
    @classmethod
    def _infer_server(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the YAML held
        """``tracking.uri=http://...`` alone means a server."""
        if isinstance(data, dict) and data.get("uri") and data.get("kind", "sqlite") == "sqlite":
            return {**data, "kind": "server"}
        return data

    @model_validator(mode="after")
    def _check_uri(self) -> Self:
        if self.kind == "server" and not self.uri:
            message = "expected tracking.uri with tracking kind 'server', got none"
            raise ValueError(message)
        return self


class PooledChoice(Document):
    """The reference trained on all sites' patients together."""

    enabled: bool = True
    optimiser: OptimiserSpec | None = None
    """``None``: the schedule's."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """``None``: as many steps as the federation takes (rounds x local steps)."""
    batch_size: Annotated[int, Field(ge=1)] | None = None


class BaselineChoice(Document):
    """Which references to train."""

    pooled: PooledChoice = PooledChoice()
    local_only: bool = True
    cyclic: bool = True
    non_private: bool = True
    """The same federation without privacy; only when the study is private."""
    distributed: bool = True
    """The same steps with all of the noise at every site, and DP-SGD on pooled records; only with distributed noise."""


class ReportChoice(Document):
    """How the report states uncertainty."""

    bootstrap_samples: Annotated[int, Field(ge=20, le=100_000)] = 1000
    confidence_level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class SimulationSettings(Document):
    """Everything that defines a simulation. The composed Hydra tree, and nothing else."""

    name: str = ""
    """Label of the run; empty means the study's name."""
    study: StudyChoice
    cohort: CohortChoice = CohortChoice()
    model: ModelSpec
    privacy: Annotated[NoPrivacy | PatientLevelChoice | SiteLevelChoice, Field(discriminator="kind")]
    algorithm: AlgorithmSpec
    schedule: Schedule
    preprocessing: Literal["public_ranges", "site_standardised"] = "public_ranges"
    aggregation: AggregationChoice = AggregationChoice()
    compression: CompressionChoice = CompressionChoice()
    evaluation: EvaluationChoice = EvaluationChoice()
    preparation: PreparationChoice = PreparationChoice()
    engine: Annotated[InlineEngine | BatchedEngine | RayEngine | FlowerEngine, Field(discriminator="kind")]
    tracking: TrackingChoice = TrackingChoice()
    baselines: BaselineChoice = BaselineChoice()
    report: ReportChoice = ReportChoice()
    audit: AuditChoice = AuditChoice()
    """Attacks on the finished study; a claim that they refute is not released."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (42,)
    """The study is repeated once per seed; the report is of the first, the table gives mean and interval over all."""
    resplit: bool = False
    """Draw a new division into training and test patients for every seed."""
    seeded: bool = True
    """Seeded test mode: reproducible, therefore without protection; only for synthetic and public cohorts."""
    initial_seed: Annotated[int, Field(ge=0)] | None = None
    """Public seed of the initial parameters; ``None``: the run's seed."""
    output: str | None = None

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            message = f"seeds: expected distinct seeds, got {list(self.seeds)}"
            raise ValueError(message)
        if isinstance(self.privacy, PatientLevelChoice | SiteLevelChoice) and not math.isfinite(self.privacy.epsilon):
            message = "privacy.epsilon: expected a finite number"
            raise ValueError(message)
        return self

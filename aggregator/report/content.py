"""Everything a study report shows, as data: the page and its figures are drawn from this and from nothing else.

Also written as ``report.json``. Holds no patient: counts are optional and absent in a study of real patients, where only pass or
fail leaves a site. A figure that is not defined is an :class:`Estimate` without a value and with the reason, never NaN.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aggregator.report.statistics_content import ReportedAnalysis
from aggregator.report.task_curves import Line, QuantileCurves, SurvivalCurves
from federation.documents import Document
from federation.identifiers import Provenance, TaskKind
from federation.privacy.audit_result import AuditResult

Count = Annotated[int, Field(ge=0)]


class Estimate(Document):
    """One figure with its confidence interval, or the reason why there is none."""

    value: float | None
    """``None``: not defined; ``note`` says why."""
    lower: float | None = None
    upper: float | None = None
    note: str = ""


class Fact(Document):
    """One labelled setting, with an explanation for a reader from another field."""

    label: str
    value: str
    explanation: str = ""


class FlowStep(Document):
    """What one step of the cohort definition left at a site."""

    step: str
    records: Count
    patients: Count


class Participant(Document):
    """One site. All counts are ``None`` in a study of real patients."""

    site: str
    weight: float
    declared_training_patients: Count
    """Public constant of the manifest."""
    flow: tuple[FlowStep, ...] = ()
    training_patients: Count | None = None
    test_patients: Count | None = None
    test_records: Count | None = None
    outcome: str = ""
    """Case mix of the test patients in words, such as ``38% with the outcome``."""


class VariableReadiness(Document):
    """Whether one variable at one site meets the data contract."""

    variable: str
    passed: bool


class SiteReadiness(Document):
    """The only part of a site's readiness report that leaves it."""

    site: str
    variables: tuple[VariableReadiness, ...]

    @property
    def passed(self) -> bool:
        """Whether every variable passed."""
        return all(variable.passed for variable in self.variables)


class RoundPoint(Document):
    """The state of the global model after one round."""

    round_number: int
    metrics: dict[str, float]
    site_metrics: dict[str, dict[str, float]]
    update_norm: float
    epsilon_spent: dict[str, float]
    contributors: tuple[str, ...]
    dropouts: dict[str, str]
    metric_errors: dict[str, float] = Field(default_factory=dict)
    """Error that the noise of a paid evaluation adds to each of ``metrics``."""
    observed: dict[str, float] = Field(default_factory=dict)
    """Seen by the simulator, not released by the study."""
    exclusions: dict[str, str] = Field(default_factory=dict)
    """Sites whose update came and was not used, and why."""
    rolled_back: str = ""
    """Why the round's model was not taken; empty if it was."""
    unopened: str = ""
    unevaluated: str = ""
    """Why nobody could open the masked sum of the round, or of its evaluation."""
    bytes_sent: Count = 0
    """Of the aggregator's requests to all sites; 0 if they were not counted."""
    bytes_received: Count = 0
    """Of the sites' replies."""


class Exclusion(Document):
    """A site whose updates robust aggregation left out."""

    site: str
    rounds: Count
    reason: str
    """In the last of these rounds."""


class SitePerformance(Document):
    """Performance on the test patients of one site."""

    site: str
    patients: Count
    records: Count
    metrics: dict[str, Estimate]
    note: str = ""
    """A warning, such as that the site is too small to judge."""


class WorstSite(Document):
    """Where the model serves patients least well."""

    site: str
    metric: str
    estimate: Estimate
    best_site: str
    gap: float
    """Distance to the best site, in the metric's own unit, never negative."""


class SeedSpread(Document):
    """One metric over repetitions of the whole study with different seeds."""

    values: tuple[float, ...]
    mean: float
    lower: float | None
    upper: float | None


class SettingPerformance(Document):
    """Performance of one training setting on the same test patients."""

    setting: str
    title: str
    explanation: str
    overall: dict[str, Estimate]
    """All sites' test patients together."""
    mean_of_sites: dict[str, Estimate]
    """Every site counts the same, whatever its size."""
    sites: tuple[SitePerformance, ...]
    worst_site: WorstSite | None = None
    over_seeds: dict[str, SeedSpread] = Field(default_factory=dict)


class CalibrationBin(Document):
    """Records with about the same predicted risk."""

    predicted: float
    observed: float
    lower: float
    upper: float
    records: Count


class BinaryCurves(Document):
    """Curves of one setting over all sites' test records."""

    kind: Literal["binary"] = "binary"
    setting: str
    prevalence: float
    roc: Line | None
    """False positive rate against sensitivity; ``None`` with one outcome class."""
    precision_recall: Line | None
    calibration: tuple[CalibrationBin, ...]
    net_benefit: Line
    """Threshold probability against net benefit."""
    net_benefit_treat_all: Line


class MulticlassCurves(Document):
    """Confusion matrix of one setting over all sites' test records: ``confusion[true][predicted]``."""

    kind: Literal["multiclass"] = "multiclass"
    setting: str
    levels: tuple[str, ...]
    confusion: tuple[tuple[Count, ...], ...]


class PredictionBin(Document):
    """Records with about the same predicted value; the range holds the middle 80% of the observed ones."""

    predicted: float
    observed: float
    lower: float
    upper: float
    records: Count


class RegressionCurves(Document):
    """Predicted against observed values, and residuals, in the unit of the outcome."""

    kind: Literal["regression"] = "regression"
    setting: str
    unit: str
    bins: tuple[PredictionBin, ...]
    residual_edges: tuple[float, ...]
    residual_counts: tuple[Count, ...]


Curves = Annotated[
    BinaryCurves | MulticlassCurves | RegressionCurves | QuantileCurves | SurvivalCurves, Field(discriminator="kind")
]


class PrivacyStatement(Document):
    """What the study promises its patients, and what it does not: the points of NIST SP 800-226."""

    private: bool
    epsilon: float | None = None
    """Promised over the whole study, per patient and site; always with ``delta``."""
    delta: float | None = None
    summary: str
    parameters: tuple[Fact, ...] = ()
    """The guarantee: unit, neighbouring data sets, epsilon with delta, mechanism, accounting."""
    hyperparameters: tuple[Fact, ...] = ()
    """What the mechanism and the training were set to; all public constants."""
    epsilon_spent: dict[str, float] = Field(default_factory=dict)
    """By site, over the whole study."""
    trust_model: str
    composition: str = ""
    """How the guarantee adds up over steps, rounds, releases and studies."""
    exposure: tuple[Fact, ...] = ()
    """Where records are, and channels beside the releases."""
    not_covered: tuple[str, ...]
    audits: tuple[AuditResult, ...] = ()
    """Measured lower bounds on epsilon, to be read beside the claim."""
    reproducible_noise: bool = False
    """Seeded test mode: whoever knows the seed can subtract the noise."""


class ReportFile(Document):
    """A file that belongs to the study."""

    name: str
    description: str


class Reproducibility(Document):
    """How to obtain the same figures again."""

    seeds: tuple[int, ...] = ()
    seeded: bool = False
    command: str = ""
    software: dict[str, str] = Field(default_factory=dict)
    files: tuple[ReportFile, ...] = ()


class StudyReport(Document):
    """A finished study, as shown to its readers."""

    format: Literal["cohortium/study-report/1"] = "cohortium/study-report/1"
    title: str
    question: str
    study: str
    manifest_digest: str
    created: str
    """As given by the caller: the report reads no clock."""
    data_licence: str
    provenance: Provenance
    task: TaskKind
    outcome: str
    """Name of the outcome variable."""
    outcome_unit: str = ""
    primary_metric: str
    confidence_level: float
    bootstrap_samples: int
    """0: no figure of this report has an interval."""
    participants: tuple[Participant, ...]
    readiness: tuple[SiteReadiness, ...]
    training: tuple[Fact, ...]
    convergence: tuple[RoundPoint, ...]
    performance: tuple[SettingPerformance, ...]
    curves: tuple[Curves, ...]
    privacy: PrivacyStatement
    reproducibility: Reproducibility
    statistics: tuple[ReportedAnalysis, ...] = ()
    """Exact statistics that a launched study took."""

    def setting(self, name: str) -> SettingPerformance | None:
        """The performance of that setting, or ``None`` if it was not run."""
        return next((entry for entry in self.performance if entry.setting == name), None)

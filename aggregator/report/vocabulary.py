"""The words and digits of the report: one title, direction and explanation for every metric and training setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aggregator.report.metric import Metric
from aggregator.report.task_metrics import TASK_METRICS
from federation.identifiers import TaskKind
from federation.privacy.audit_result import AuditKind, AuditResult

_METRICS: Final = (
    Metric(
        "auroc",
        "AUROC",
        "Area under the receiver operating characteristic: the chance that a patient with the outcome has a higher "
        "predicted risk than one without. 0.5 is guessing, 1 is perfect.",
    ),
    Metric(
        "average_precision",
        "Average precision",
        "Area under the precision-recall curve. Guessing gives the frequency of the outcome, 1 is perfect.",
    ),
    Metric(
        "accuracy",
        "Accuracy",
        "Share of records classified correctly; for a yes-or-no outcome, at a predicted risk of 50%.",
    ),
    Metric(
        "sensitivity",
        "Sensitivity",
        "Share of records with the outcome that are recognised, at a predicted risk of 50%.",
    ),
    Metric(
        "specificity",
        "Specificity",
        "Share of records without the outcome that are recognised, at a predicted risk of 50%.",
    ),
    Metric(
        "brier",
        "Brier score",
        "Mean squared distance between predicted risk and what happened. 0 is perfect; lower is better.",
        higher_is_better=False,
        extra_digits=1,
    ),
    Metric(
        "log_loss",
        "Log loss",
        "Penalty for confident wrong predictions. 0 is perfect; lower is better.",
        higher_is_better=False,
        extra_digits=1,
    ),
    Metric(
        "risk_excess",
        "Predicted −\u00a0observed",
        "Mean predicted risk minus the observed frequency. 0 is right on average; above 0 the model predicts too "
        "much risk.",
        higher_is_better=None,
    ),
    Metric("macro_recall", "Mean recall", "Share recognised within each class, averaged over the classes."),
    Metric("macro_auroc", "Mean AUROC", "AUROC of each class against all others, averaged over the classes."),
    Metric(
        "rmse",
        "RMSE",
        "Root mean squared error: a typical size of the error that weighs large errors more. Lower is better.",
        higher_is_better=False,
        in_outcome_unit=True,
    ),
    Metric(
        "mae",
        "Mean absolute error",
        "Average size of the error. Lower is better.",
        higher_is_better=False,
        in_outcome_unit=True,
    ),
    Metric(
        "r2",
        "R²",
        "Share of the outcome's variance that the model explains. 1 is perfect, 0 is no better than the mean.",
    ),
    Metric(
        "mean_error",
        "Predicted −\u00a0observed",
        "Mean predicted minus mean observed value. 0 is right on average.",
        higher_is_better=None,
        in_outcome_unit=True,
    ),
    *TASK_METRICS,
    Metric("prevalence", "Frequency of the outcome", "Share of records with the outcome.", higher_is_better=None),
)
METRICS: Final = {metric.name: metric for metric in _METRICS}

PRIMARY_METRIC: Final[dict[TaskKind, str]] = {
    "binary": "auroc",
    "multiclass": "accuracy",
    "regression": "rmse",
    "count": "deviance",
    "quantile": "pinball",
    "survival": "concordance",
}
"""The one figure of the summary, the worst site and the forest plot."""


@dataclass(frozen=True)
class TrainingSetting:
    """How one of the compared ways to train is called."""

    title: str
    short: str
    explanation: str


SETTINGS: Final = {
    "local_only": TrainingSetting(
        "Each site alone",
        "Each alone",
        "Every site trains on its own training patients and is tested on its own test patients.",
    ),
    "federated": TrainingSetting(
        "Federated", "Federated", "One model trained by all sites together; no record leaves its site."
    ),
    "federated_local_noise": TrainingSetting(
        "Federated, noise at every site",
        "Fed., local noise",
        "The same steps at the same epsilon, but each site adds all of the noise: what trusting nobody, not even the secure sum, "
        "costs.",
    ),
    "federated_non_private": TrainingSetting(
        "Federated without privacy",
        "Fed., no privacy",
        "The same federation without differential privacy: the difference is the price of privacy.",
    ),
    "cyclic": TrainingSetting(
        "Passed from site to site", "Passed on", "One model that travels from site to site (cyclic training)."
    ),
    "pooled_private": TrainingSetting(
        "Pooled records, private",
        "Pooled, private",
        "DP-SGD at the same epsilon on all training records in one place: what distributed noise tries to equal.",
    ),
    "pooled": TrainingSetting(
        "Pooled records",
        "Pooled",
        "All training records in one place: what a federation tries to reach without moving a record.",
    ),
}
"""In the order in which they are shown."""


def metric_of(name: str) -> Metric:
    """The metric of that name; an unknown one is shown under its own name."""
    return METRICS.get(name) or Metric(name, name.replace("_", " ").capitalize(), "", higher_is_better=None)


def setting_of(name: str, *, private: bool = False) -> TrainingSetting:
    """The training setting of that name; an unknown one is shown under its own name."""
    if name == "federated" and private:
        return TrainingSetting(
            "Federated, private",
            "Fed., private",
            "One model trained by all sites together with patient-level differential privacy; no record leaves its "
            "site.",
        )
    plain = name.replace("_", " ").capitalize()
    return SETTINGS.get(name) or TrainingSetting(plain, plain, "")


def ordered_settings(names: tuple[str, ...]) -> tuple[str, ...]:
    """The known settings in their usual order, then the others as they came."""
    known = tuple(name for name in SETTINGS if name in names)
    return known + tuple(name for name in names if name not in SETTINGS)


_AUDITS: Final[dict[AuditKind, str]] = {
    "mechanism": "Noise of one release",
    "one_run": "Planted patients",
    "membership": "Membership inference",
}


def audit_title(audit: AuditResult) -> str:
    """What an audit is called."""
    return _AUDITS[audit.kind]


def audit_size(audit: AuditResult) -> str:
    """How much an audit looked at."""
    if audit.kind == "mechanism":
        return f"{audit.samples:,} releases with and as many without"
    if audit.kind == "one_run":
        return f"{audit.samples:,} planted; {audit.num_correct or 0:,} of {audit.num_guesses or 0:,} guesses right"
    return f"{audit.samples:,} patients; {audit.num_shadow_models or 0:,} models for comparison"

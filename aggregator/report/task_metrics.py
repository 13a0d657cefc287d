"""Metrics of counts, quantiles and survival, in a report's words."""

from __future__ import annotations

from typing import Final

from aggregator.report.metric import Metric

TASK_METRICS: Final = (
    Metric(
        "deviance",
        "Deviance",
        "Mean Poisson deviance: how far predicted counts are from what happened. 0 is perfect; lower is better.",
        higher_is_better=False,
        extra_digits=1,
    ),
    Metric(
        "deviance_explained",
        "Deviance explained",
        "Share of the deviance that the model explains. 1 is perfect, 0 is no better than the mean count.",
    ),
    Metric(
        "calibration_ratio",
        "Observed / predicted",
        "Calibration in the large: the observed total over the predicted one. 1 is right on average; above 1 the model "
        "predicts too "
        "few.",
        higher_is_better=None,
    ),
    Metric(
        "pinball",
        "Pinball loss",
        "Mean loss of the predicted quantiles: distance to the outcome, weighted by the level. Lower is better.",
        higher_is_better=False,
        in_outcome_unit=True,
    ),
    Metric(
        "coverage_error",
        "Coverage error",
        "How far, on average over the levels, the share of outcomes at or below a predicted quantile is from its level. 0 "
        "is right.",
        higher_is_better=False,
    ),
    Metric(
        "crossing",
        "Crossed quantiles",
        "Share of records at which a higher quantile is predicted below a lower one. It should be near 0.",
        higher_is_better=False,
    ),
    Metric(
        "concordance",
        "Concordance",
        "Harrell's C: of two patients, of whom it is known who had the event first, the chance that this one has the "
        "higher predicted "
        "risk. 0.5 is guessing, 1 is perfect.",
    ),
    Metric(
        "mean_auroc",
        "AUROC over time",
        "Chance that a patient with the event before a time has a higher risk than one event-free there, weighted for censoring, "
        "averaged over the study's times.",
    ),
    Metric(
        "integrated_brier",
        "Integrated Brier score",
        "Mean squared distance between predicted survival and what happened, over follow-up and weighted for censoring. 0 "
        "is perfect, "
        "0.25 is saying one half to everyone; lower is better.",
        higher_is_better=False,
        extra_digits=1,
    ),
)

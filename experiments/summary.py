"""What a simulation found, in one small document: the table a reader sees first, and what ``--json`` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field

from aggregator.report.content import Exclusion
from experiments.point_metrics import point_metrics
from experiments.predictions import SitePredictions, joined, scored
from experiments.settings import PatientLevelChoice, SimulationSettings, SiteLevelChoice
from federation.documents import Document
from federation.identifiers import TaskKind
from federation.models.task_terms import Objective

POOLED_AT_SITES: Final = "pooled_at_sites"
"""A recipe's pooled model on test records as each site scales them: what FLamby publishes by site."""
FEDERATED_AT_POOLED: Final = "federated_at_pooled"
"""A recipe's federated model on test records as the pooled reference scales them: FLamby's pooled test."""
OTHER_SCALING: Final = frozenset({POOLED_AT_SITES, FEDERATED_AT_POOLED})
"""Not training settings of their own: compared with published figures, shown nowhere else."""

SETTINGS: Final = (
    "local_only",
    "federated",
    "federated_local_noise",
    "federated_non_private",
    "cyclic",
    "pooled_private",
    "pooled",
    *sorted(OTHER_SCALING),
)
"""Training settings, in the order of the table."""


class SettingRow(Document):
    """One training setting: means over the seeds, with intervals where there are several seeds."""

    setting: str
    metrics: dict[str, float]
    """Over all sites' test patients together; ``mean_site_<metric>`` counts every site the same."""
    interval: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """95% Student interval of the mean over seeds; empty with one seed."""
    per_site: dict[str, dict[str, float]]
    by_seed: dict[str, tuple[float, ...]]


class Comparison(Document):
    """A figure of this run beside a published one."""

    name: str
    published: float
    tolerance: float
    here: float | None

    @property
    def within(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.here is not None and abs(self.here - self.published) <= self.tolerance


class SimulationSummary(Document):
    """A finished simulation."""

    format: Literal["cohortium/simulation-summary/1"] = "cohortium/simulation-summary/1"
    study: str
    name: str
    task: TaskKind
    algorithm: str
    model: str
    privacy_kind: str
    epsilon: float | None
    delta: float | None
    epsilon_spent: dict[str, float]
    seeds: tuple[int, ...]
    seeded: bool
    output: str
    report: str | None
    mlflow_command: str | None
    manifest_digest: str
    model_digest: str
    primary_metric: str
    settings_table: tuple[SettingRow, ...]
    comparisons: tuple[Comparison, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    """Of the first seed: whose updates robust aggregation left out, and why."""
    bytes_sent_per_round: float = 0.0
    """Of the aggregator's requests to all sites, the mean over the rounds of the first seed; 0 if they were not counted."""
    bytes_received_per_round: float = 0.0
    """Of the sites' replies."""


def summary_rows(
    task: Objective, by_seed: Sequence[Mapping[str, tuple[SitePredictions, ...]]]
) -> tuple[SettingRow, ...]:
    """One row per training setting, from the predictions of every seed.

    Args:
        task: What the scores mean.
        by_seed: For every seed, setting to the predictions of every site.
    """
    return tuple(_row(task, name, [run[name] for run in by_seed]) for name in SETTINGS if name in by_seed[0])


def _row(task: Objective, name: str, runs: Sequence[tuple[SitePredictions, ...]]) -> SettingRow:
    overall = [_overall(task, predictions) for predictions in runs]
    names = sorted(set.intersection(*(set(metrics) for metrics in overall)))
    values = {metric: tuple(metrics[metric] for metrics in overall) for metric in names}
    sites = [{entry.site: point_metrics(scored(task, entry)) for entry in predictions} for predictions in runs]
    return SettingRow(
        setting=name,
        metrics={metric: float(np.mean(found)) for metric, found in values.items()},
        interval={metric: _interval(found) for metric, found in values.items() if len(found) > 1},
        per_site={site: _mean([run[site] for run in sites]) for site in sites[0]},
        by_seed=values,
    )


def _overall(task: Objective, predictions: tuple[SitePredictions, ...]) -> dict[str, float]:
    entries = tuple(scored(task, entry) for entry in predictions)
    metrics = point_metrics(joined(entries))
    by_site = [point_metrics(entry) for entry in entries]
    for metric in list(metrics):
        found = [values[metric] for values in by_site if metric in values]
        if found:
            metrics[f"mean_site_{metric}"] = float(np.mean(found))
    return metrics


def _mean(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = set.intersection(*(set(run) for run in runs))
    return {name: float(np.mean([run[name] for run in runs])) for name in sorted(names)}


def _interval(values: Sequence[float]) -> tuple[float, float]:
    from scipy.stats import t

    mean, number = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, number - 1)) * float(np.std(values, ddof=1)) / math.sqrt(number)
    return mean - half, mean + half


def compare_with_published(
    expected: Mapping[str, tuple[float, float]], rows: Sequence[SettingRow], *, algorithm: str
) -> tuple[Comparison, ...]:
    """Published figures beside this run's.

    Args:
        expected: ``<setting>.<place>.<metric>`` to value and tolerance. The setting is one of the table's or an algorithm, which
            is the federated setting if the study ran it; the place is a site or ``pooled_test``.
        rows: The table.
        algorithm: That the study ran.
    """
    here: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: row.setting in OTHER_SCALING):  # these last: they replace
        setting = {POOLED_AT_SITES: "pooled", FEDERATED_AT_POOLED: "federated"}.get(row.setting, row.setting)
        name = algorithm if setting == "federated" else setting
        if row.setting != POOLED_AT_SITES:
            here |= {f"{name}.pooled_test.{metric}": value for metric, value in row.metrics.items()}
        if row.setting != FEDERATED_AT_POOLED:
            for site, metrics in row.per_site.items():
                here |= {f"{name}.{site}.{metric}": value for metric, value in metrics.items()}
    return tuple(
        Comparison(name=name, published=value, tolerance=tolerance, here=here.get(name))
        for name, (value, tolerance) in expected.items()
    )


def privacy_target(settings: SimulationSettings) -> tuple[float | None, float | None]:
    """(epsilon, delta) of the settings, or (None, None)."""
    choice = settings.privacy
    return (choice.epsilon, choice.delta) if isinstance(choice, PatientLevelChoice | SiteLevelChoice) else (None, None)

"""Performance of every training setting, per site and over all sites, with intervals by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from aggregator.report.content import Estimate, SeedSpread, SettingPerformance, SitePerformance, WorstSite
from aggregator.report.vocabulary import metric_of, setting_of
from experiments.bootstrap import draw_patients, estimates, interval_over_seeds
from experiments.predictions import FloatArray, Scored, joined
from experiments.resampled_metrics import Weights, weighted_metrics

_FEW_PATIENTS: Final = 20
_FEW_OF_A_CLASS: Final = 5

ScoredBySite = Mapping[str, Scored]


@dataclass(frozen=True)
class Draws:
    """The patients drawn at every site: the same for all settings, so that they are judged on equal terms.

    Args:
        by_site: Site to ``[B, P]`` weights.
        confidence_level: Such as 0.95.
    """

    by_site: Mapping[str, Weights]
    confidence_level: float


def draw(sites: ScoredBySite, *, samples: int, confidence_level: float, generator: np.random.Generator) -> Draws:
    """Draw patients at every site, in the order of the site names."""
    return Draws(
        by_site={
            site: draw_patients(_num_patients(sites[site]), samples=samples, generator=generator)
            for site in sorted(sites)
        },
        confidence_level=confidence_level,
    )


def same_records(one: ScoredBySite, other: ScoredBySite) -> bool:
    """Whether two settings were scored on the same test records of the same sites, in the same order."""
    return set(one) == set(other) and all(
        np.array_equal(one[site].patient_of_record, other[site].patient_of_record)
        and np.array_equal(one[site].outcomes, other[site].outcomes)
        for site in one
    )


def setting_performance(
    setting: str, sites: ScoredBySite, *, draws: Draws, primary: str, private: bool, explanation: str = ""
) -> SettingPerformance:
    """Everything about one setting.

    Args:
        setting: Its name.
        sites: Scored test records by site, at least one site.
        draws: From :func:`draw`.
        primary: Metric that finds the worst site.
        private: Whether the study is private, which changes the title of the federated setting.
        explanation: Replaces the usual explanation, if given.
    """
    points: dict[str, dict[str, float]] = {}
    resampled: dict[str, dict[str, FloatArray]] = {}
    for site, records in sites.items():
        points[site] = point_metrics(records)
        resampled[site] = weighted_metrics(records, draws.by_site[site])
    everyone = joined(tuple(sites.values()))
    words = setting_of(setting, private=private)
    by_site = tuple(
        _site_performance(
            site,
            records,
            estimates(
                points[site],
                resampled[site],
                confidence_level=draws.confidence_level,
                num_patients=_num_patients(records),
                shares=_shares(records),
            ),
        )
        for site, records in sites.items()
    )
    return SettingPerformance(
        setting=setting,
        title=words.title,
        explanation=explanation or words.explanation,
        overall=estimates(
            point_metrics(everyone),
            weighted_metrics(everyone, np.concatenate([draws.by_site[site] for site in sites], axis=1)),
            confidence_level=draws.confidence_level,
            num_patients=_num_patients(everyone),
            shares=_shares(everyone),
        ),
        mean_of_sites=_mean_of_sites(points, resampled, draws, _num_patients(everyone)),
        sites=by_site,
        worst_site=_worst(by_site, primary),
    )


def point_metrics(records: Scored) -> dict[str, float]:
    """The plain metrics: every patient counts once. NaN where not defined."""
    ones: Weights = np.ones((1, _num_patients(records)), dtype=np.uint16)
    return {name: float(values[0]) for name, values in weighted_metrics(records, ones).items()}


def over_seeds(repetitions: Sequence[ScoredBySite], *, confidence_level: float) -> dict[str, SeedSpread]:
    """Each metric over all sites' test records, once per seed, with the t interval of its mean."""
    runs = [point_metrics(joined(tuple(sites.values()))) for sites in repetitions]
    spreads: dict[str, SeedSpread] = {}
    for name in runs[0]:
        values = tuple(run[name] for run in runs)
        if not np.isfinite(values).all():
            continue
        bounds = interval_over_seeds(values, confidence_level=confidence_level)
        spreads[name] = SeedSpread(
            values=values,
            mean=float(np.mean(values)),
            lower=None if bounds is None else bounds[0],
            upper=None if bounds is None else bounds[1],
        )
    return spreads


def _num_patients(records: Scored) -> int:
    return int(records.patient_of_record.max(initial=-1)) + 1


def _shares(records: Scored) -> dict[str, int]:
    """Metrics that are shares of patients, and of how many."""
    shares = {"accuracy": _num_patients(records)} if records.task in ("binary", "multiclass") else {}
    if records.task == "binary":
        for name, outcome in (("sensitivity", 1), ("specificity", 0)):
            shares[name] = len(np.unique(records.patient_of_record[records.outcomes == outcome]))
    return shares


def _site_performance(site: str, records: Scored, metrics: dict[str, Estimate]) -> SitePerformance:
    patients = _num_patients(records)
    return SitePerformance(
        site=site, patients=patients, records=len(records.outcomes), metrics=metrics, note=_warning(records, patients)
    )


def _warning(records: Scored, patients: int) -> str:
    if patients < _FEW_PATIENTS:
        return f"only {patients} test patient{'s' if patients != 1 else ''}: read with care"
    if records.task == "binary":
        rarer = int(min(records.outcomes.sum(), (1 - records.outcomes).sum()))
        if rarer < _FEW_OF_A_CLASS:
            return f"only {rarer} records of the rarer outcome: read with care"
    return ""


def _mean_of_sites(
    points: Mapping[str, Mapping[str, float]],
    resampled: Mapping[str, Mapping[str, FloatArray]],
    draws: Draws,
    num_patients: int,
) -> dict[str, Estimate]:
    """Unweighted mean over the sites that define a metric."""
    names = next(iter(points.values())).keys()
    result: dict[str, Estimate] = {}
    for name in names:
        defined = [site for site in points if np.isfinite(points[site][name])]
        if not defined:
            result[name] = Estimate(value=None, note="not defined at any site")
            continue
        mean = float(np.mean([points[site][name] for site in defined]))
        estimate = estimates(
            {name: mean},
            {name: np.mean([resampled[site][name] for site in defined], axis=0)},
            confidence_level=draws.confidence_level,
            num_patients=num_patients,
        )[name]
        missing = len(points) - len(defined)
        note = f"over {len(defined)} of {len(points)} sites" if missing else ""
        result[name] = estimate.model_copy(update={"note": "; ".join(part for part in (note, estimate.note) if part)})
    return result


def _worst(sites: Sequence[SitePerformance], primary: str) -> WorstSite | None:
    values = {entry.site: value for entry in sites if (value := entry.metrics[primary].value) is not None}
    if len(values) < 2:  # noqa: PLR2004 - with one site there is nothing to compare
        return None
    ranked = sorted(values, key=lambda site: values[site], reverse=metric_of(primary).higher_is_better is False)
    worst, best = ranked[0], ranked[-1]
    return WorstSite(
        site=worst,
        metric=primary,
        estimate=next(entry.metrics[primary] for entry in sites if entry.site == worst),
        best_site=best,
        gap=abs(values[best] - values[worst]),
    )

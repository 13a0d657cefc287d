import numpy as np
import pytest

from experiments.performance import draw, over_seeds, point_metrics, same_records, setting_performance
from experiments.predictions import Scored

PRIMARY = {"binary": "auroc", "regression": "rmse"}


def site(size, *, shift=1.0, seed=0, task="binary", patients=None):
    generator = np.random.default_rng(seed)
    if task == "regression":
        outcomes = generator.normal(size=size)
        return Scored(task, outcomes + shift * generator.normal(size=size), outcomes, np.arange(size))
    outcomes = (generator.random(size) < 0.5).astype(float)
    scores = 1 / (1 + np.exp(-shift * (outcomes - 0.5) - generator.normal(size=size)))
    return Scored(task, scores, outcomes, np.arange(size) if patients is None else patients)


def performance(sites, *, task="binary", samples=200, **options):
    draws = draw(sites, samples=samples, confidence_level=0.95, generator=np.random.default_rng(5))
    options = {"primary": PRIMARY[task], "private": False, **options}
    return setting_performance("federated", sites, draws=draws, **options)


def test_overall_is_of_all_records_and_the_mean_counts_sites_alike():
    sites = {"large": site(400, shift=4), "small": site(30, shift=0.5, seed=1)}
    found = performance(sites)
    by_site = {entry.site: entry.metrics["accuracy"].value for entry in found.sites}
    mean = (by_site["large"] + by_site["small"]) / 2
    assert found.mean_of_sites["accuracy"].value == pytest.approx(mean)
    pooled = (400 * by_site["large"] + 30 * by_site["small"]) / 430
    assert found.overall["accuracy"].value == pytest.approx(pooled)
    assert found.overall["accuracy"].value > mean


def test_small_sites_have_wide_intervals_and_a_warning():
    found = performance({"large": site(400, shift=2), "small": site(12, shift=2, seed=1)})
    large, small = (entry.metrics["brier"] for entry in found.sites)
    assert small.upper - small.lower > 2 * (large.upper - large.lower)
    assert [entry.note for entry in found.sites] == ["", "only 12 test patients: read with care"]


def test_few_of_one_class_is_said():
    rare = site(200)
    rare = Scored("binary", rare.scores, (np.arange(200) < 3).astype(float), rare.patient_of_record)
    assert performance({"rare": rare}).sites[0].note == "only 3 records of the rarer outcome: read with care"


def test_the_worst_site_is_the_one_of_least_auroc_and_undefined_ones_do_not_count():
    certain = Scored("binary", np.full(40, 0.9), np.ones(40), np.arange(40))
    sites = {"good": site(300, shift=4), "bad": site(300, shift=0.2, seed=2), "one-class": certain}
    found = performance(sites)
    assert (found.worst_site.site, found.worst_site.best_site) == ("bad", "good")
    values = {entry.site: entry.metrics["auroc"].value for entry in found.sites}
    assert found.worst_site.gap == pytest.approx(values["good"] - values["bad"])
    assert values["one-class"] is None
    assert found.mean_of_sites["auroc"].note == "over 2 of 3 sites"


def test_the_worst_site_of_a_regression_has_the_largest_error():
    sites = {"good": site(100, shift=0.1, task="regression"), "bad": site(100, shift=2, seed=1, task="regression")}
    found = performance(sites, task="regression")
    assert (found.worst_site.site, found.worst_site.best_site) == ("bad", "good")


def test_a_metric_defined_nowhere_and_a_single_site():
    only = {"one-class": Scored("binary", np.full(9, 0.9), np.ones(9), np.arange(9))}
    found = performance(only)
    assert found.mean_of_sites["auroc"].value is None
    assert found.worst_site is None


def test_an_empty_site_does_not_hide_the_others():
    empty = Scored("binary", np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    found = performance({"a": site(50), "empty": empty, "b": site(60, seed=2)})
    assert found.sites[1].metrics["accuracy"].note == "not defined (no records)"
    assert found.overall["accuracy"].value is not None


def test_the_same_scores_have_the_same_intervals_in_every_setting():
    sites = {"a": site(50), "b": site(40, seed=2)}
    draws = draw(sites, samples=100, confidence_level=0.9, generator=np.random.default_rng(6))
    first, second = (
        setting_performance(name, sites, draws=draws, primary="auroc", private=True) for name in ("federated", "pooled")
    )
    assert first.overall == second.overall
    assert first.title == "Federated, private"


def test_records_are_compared_by_patient_and_outcome_not_by_score():
    one = {"a": site(50)}
    assert same_records(one, {"a": Scored("binary", np.zeros(50), one["a"].outcomes, np.arange(50))})
    assert not same_records(one, {"a": site(50, patients=np.arange(50) // 2)})
    assert not same_records(one, {"a": site(50), "b": site(50)})


def test_spread_over_seeds_leaves_out_what_is_not_defined():
    runs = [{"a": site(80, seed=seed)} for seed in range(3)]
    found = over_seeds(runs, confidence_level=0.95)["auroc"]
    assert found.values == tuple(point_metrics(run["a"])["auroc"] for run in runs)
    assert found.lower < found.mean < found.upper
    certain = {"a": Scored("binary", np.full(9, 0.9), np.ones(9), np.arange(9))}
    assert "auroc" not in over_seeds([*runs, certain], confidence_level=0.95)


def test_a_perfect_specificity_is_a_share_of_those_without_the_outcome():
    outcomes = np.repeat([1.0, 0.0], [50, 4])
    found = performance({"a": Scored("binary", np.where(outcomes == 1, 0.4, 0.1), outcomes, np.arange(54))})
    specificity = found.overall["specificity"]
    assert (specificity.value, specificity.note) == (1.0, "Wilson interval")
    assert specificity.lower == pytest.approx(0.510, abs=1e-3)  # Wilson, 4 of 4
    assert found.overall["auroc"].note == "no interval: all draws agree"
